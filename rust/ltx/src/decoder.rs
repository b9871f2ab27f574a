//! Reading LTX files as a stream, with bounded memory.

use std::fmt;
use std::io::Read;

use crate::aligned::AlignedBuf;
use crate::bytes::u64_at;
use crate::checksum::{FileHasher, RollingChecksum, page_checksum};
use crate::error::{Error, Result};
use crate::header::Header;
use crate::index::IndexDigest;
use crate::input::{BUFFER_LIMIT, Buffered, InMemory, Input};
use crate::page::{BLOCK_PREFIX, PAGE_HEADER_SIZE, PageEncoding, PageHeader, check_page_len};
use crate::sequence::Sequence;
use crate::trailer::{Trailer, validate_post_apply};
use crate::types::{Checksum, Pgno};

/// Reads one LTX file from a reader ([`Decoder::new`]) or from memory ([`Decoder::in_memory`]).
///
/// Pages are handed out before the file's checksum is known: nothing they led to may be kept unless
/// [`Decoder::finish`] agrees. Memory is one buffer of up to 64 KiB and a page or two, whatever the file
/// says.
pub struct Decoder<I> {
    input: I,
    header: Header,
    hasher: FileHasher,
    sequence: Sequence,
    index: IndexDigest,
    /// Only snapshots that track checksums say what the whole database's checksum must be.
    database: Option<RollingChecksum>,
    state: State,
    page: AlignedBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Pages,
    PagesEnded,
    Failed,
}

/// One page of an LTX file, as [`Decoder::next_frame`] lends it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The page's number.
    pub pgno: Pgno,
    /// The page's content.
    pub page: &'a [u8],
    /// The LZ4 block it came from; `None` if it came in an LZ4 frame.
    pub block: Option<&'a [u8]>,
}

/// A frame that was taken from the input.
struct Taken {
    header: PageHeader,
    len: usize,
}

impl<R: Read> Decoder<Buffered<R>> {
    /// Reads and checks the header. `reader` need not be buffered.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::NotLtx`], those of [`Header::validate`], [`Error::Io`].
    pub fn new(reader: R) -> Result<Self> {
        Self::with_buffer(reader, BUFFER_LIMIT)
    }

    /// As [`Decoder::new`], with a buffer of at most `limit` bytes or one frame.
    pub(crate) fn with_buffer(reader: R, limit: usize) -> Result<Self> {
        Self::open(Buffered::new(reader, limit))
    }
}

impl<'a> Decoder<InMemory<'a>> {
    /// Checks the header of a file that is wholly in memory, and decodes the file where it is.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn in_memory(file: &'a [u8]) -> Result<Self> {
        Self::open(InMemory::new(file))
    }
}

impl<I: Input> Decoder<I> {
    fn open(mut input: I) -> Result<Self> {
        let mut hasher = FileHasher::new();
        let bytes = input.peek(Header::SIZE)?;
        let header = Header::parse(bytes)?;
        hasher.update(bytes);
        input.consume(Header::SIZE);
        let tracked = header.is_snapshot() && !header.flags.no_checksum;
        Ok(Self {
            input,
            header,
            hasher,
            sequence: Sequence::new(&header),
            index: IndexDigest::new(),
            database: tracked.then(RollingChecksum::new),
            state: State::Pages,
            page: AlignedBuf::default(),
        })
    }

    /// The file's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Number of the page that comes next; `None` after the last.
    ///
    /// # Errors
    /// As [`Decoder::next_page`].
    pub fn peek_pgno(&mut self) -> Result<Option<Pgno>> {
        self.latched(|decoder| Ok(decoder.peek_header()?.map(|header| header.pgno)))
    }

    /// Expands the next page into `page`; its number, or `None` after the last.
    ///
    /// # Errors
    /// [`Error::PageLength`] unless `page` is one page long. Any other error is final: it says how
    /// the file is damaged, [`Error::Truncated`] or [`Error::Io`].
    pub fn next_page(&mut self, page: &mut [u8]) -> Result<Option<Pgno>> {
        check_page_len(self.header.page_size, page)?;
        let taken = self.latched(|decoder| decoder.read_frame(page))?;
        Ok(taken.map(|taken| taken.header.pgno))
    }

    /// Lends the next page together with its compressed form; `None` after the last.
    ///
    /// # Errors
    /// As [`Decoder::next_page`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        let mut page = self.take_page();
        let taken = self.latched(|decoder| decoder.read_frame(page.get_mut()));
        self.page = page;
        Ok(taken?.map(|taken| self.lend(&taken, self.page.get())))
    }

    /// As [`Decoder::next_frame`], in a buffer of the caller.
    pub(crate) fn next_frame_in<'a>(&'a mut self, page: &'a mut [u8]) -> Result<Option<Frame<'a>>> {
        check_page_len(self.header.page_size, page)?;
        let taken = self.latched(|decoder| decoder.read_frame(page))?;
        Ok(taken.map(|taken| self.lend(&taken, page)))
    }

    /// The decoder's own page, made when it is first needed.
    fn take_page(&mut self) -> AlignedBuf {
        let page = std::mem::take(&mut self.page);
        let len = self.header.page_size.bytes();
        if page.get().len() == len { page } else { AlignedBuf::new(len) }
    }

    fn lend<'a>(&'a self, taken: &Taken, page: &'a [u8]) -> Frame<'a> {
        let PageHeader { pgno, encoding } = taken.header;
        let block = match encoding {
            PageEncoding::Block => self.input.taken(taken.len).get(BLOCK_PREFIX..),
            PageEncoding::Frame => None,
        };
        Frame { pgno, page, block }
    }

    /// Reads what is left and gives the verdict on the whole file.
    ///
    /// The file is good if every page expands, pages ascend and none is missing from a snapshot, the index is
    /// the one of these pages, nothing follows the trailer, and the file checksum is right; and, for
    /// snapshots with checksums, if the database's checksum is right too.
    ///
    /// # Errors
    /// How the file is damaged; [`Error::Truncated`]; [`Error::Io`]; [`Error::AfterFailure`] if the
    /// decoder has failed before.
    pub fn finish(mut self) -> Result<Trailer> {
        let mut page = self.take_page();
        while self.next_page(page.get_mut())?.is_some() {}
        self.read_index()?;
        self.read_trailer()
    }

    /// Runs `step`, and remembers if it failed: what comes after damage is noise.
    fn latched<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.state == State::Failed {
            return Err(Error::AfterFailure);
        }
        let result = step(self);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// The next page's header, not yet taken; `None` at the terminator, which is taken.
    fn peek_header(&mut self) -> Result<Option<PageHeader>> {
        if self.state == State::PagesEnded {
            return Ok(None);
        }
        let bytes = self.input.peek_array::<PAGE_HEADER_SIZE>()?;
        let header = PageHeader::parse(&bytes)?;
        if header.is_none() {
            self.sequence.finish()?;
            self.hasher.update(&bytes);
            self.input.consume(bytes.len());
            self.state = State::PagesEnded;
        }
        Ok(header)
    }

    fn read_frame(&mut self, page: &mut [u8]) -> Result<Option<Taken>> {
        let Some(header) = self.peek_header()? else { return Ok(None) };
        self.sequence.push(header.pgno)?;
        let offset = self.input.offset();
        let prefix = self.input.peek(header.prefix_len())?;
        let len = header.frame_len(prefix, self.header.page_size)?;
        let frame = self.input.peek(len)?;
        header.decode(frame, page)?;
        self.hasher.update(frame.get(..header.hashed_len()).unwrap_or_default());
        self.hasher.update(page);
        self.input.consume(len);
        self.index.push(header.pgno, offset, len as u64);
        if let Some(database) = &mut self.database {
            database.add(page_checksum(header.pgno, page));
        }
        Ok(Some(Taken { header, len }))
    }

    /// The frames say what the index must be, byte for byte; so it is compared without being kept or
    /// understood.
    fn read_index(&mut self) -> Result<()> {
        let offset = self.input.offset();
        let (expected, len) = self.index.finish();
        let (mut left, mut found) = (len, FileHasher::new());
        while left > 0 {
            let part = self.input.peek_some(left)?;
            self.hasher.update(part);
            found.update(part);
            let taken = part.len();
            self.input.consume(taken);
            left -= taken as u64;
        }
        if found.finish() != expected {
            return Err(Error::IndexMismatch { offset });
        }
        let stored = self.input.peek_array::<8>()?;
        self.hasher.update(&stored);
        self.input.consume(stored.len());
        let actual = u64::from_be_bytes(stored);
        if actual == len { Ok(()) } else { Err(Error::IndexLength { expected: len, actual }) }
    }

    fn read_trailer(&mut self) -> Result<Trailer> {
        let bytes = self.input.peek_array::<{ Trailer::SIZE }>()?;
        let trailer = Trailer::parse(&bytes);
        self.hasher.update(&u64_at(&bytes, 0).to_be_bytes());
        self.input.consume(bytes.len());
        self.check_trailer(&trailer)?;
        let offset = self.input.offset();
        if self.input.is_at_end()? { Ok(trailer) } else { Err(Error::TrailingBytes { offset }) }
    }

    fn check_trailer(&self, trailer: &Trailer) -> Result<()> {
        let (expected, actual) = (trailer.file_checksum, self.hasher.checksum());
        if expected != actual {
            return Err(Error::ChecksumMismatch { expected, actual });
        }
        validate_post_apply(&self.header, trailer.post_apply_checksum)?;
        let expected = trailer.post_apply_checksum;
        match self.database.map(RollingChecksum::get) {
            Some(actual) if actual != expected => Err(database_mismatch(expected, actual)),
            _ => Ok(()),
        }
    }
}

fn database_mismatch(expected: Checksum, actual: Checksum) -> Error {
    Error::DatabaseChecksumMismatch { expected, actual }
}

impl<I> fmt::Debug for Decoder<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("header", &self.header).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
