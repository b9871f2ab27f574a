//! Walks the page index of an LTX file from front to back in bounded memory (LTX format, "Page index").
//!
//! The index says where every frame lies, so that a file can be cut into parts that are decoded side by side. It
//! is believed only as far as it describes frames that lie end to end between the header and itself; that the
//! frames are those pages is for the decoder to find out.

use ltx::{Checksum, Error as LtxError, FileHasher, Header, PAGE_HEADER_SIZE, PageSize, Pgno, Trailer};

use crate::head::ReadFn;

/// How many index bytes are read at a time.
const BLOCK: usize = 256 << 10;

/// The longest index entry: three variable-length integers.
const MAX_ENTRY: usize = 30;

/// Bytes behind the index entries: their length, then the trailer.
pub(crate) const TAIL: usize = 8 + Trailer::SIZE;

/// Length in bytes of the end mark behind the last frame.
pub(crate) const TERMINATOR: usize = PAGE_HEADER_SIZE;

/// Where one frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) pgno: Pgno,
    pub(crate) size: u32,
}

/// Position in a page index.
pub(crate) struct IndexCursor {
    header: Header,
    /// File range of the index, its final zero included.
    start: u64,
    end: u64,
    /// File offset of the first byte behind `buf`.
    read_to: u64,
    buf: Vec<u8>,
    used: usize,
    /// Where the next frame has to begin.
    frame_end: u64,
    last: Option<Pgno>,
    hasher: FileHasher,
    trailer: Trailer,
    length: [u8; 8],
    done: bool,
}

impl IndexCursor {
    /// Takes the last [`TAIL`] bytes of a file of `len` bytes.
    pub(crate) fn new(header: Header, tail: &[u8; TAIL], len: u64) -> Result<Self, LtxError> {
        let (length, trailer) = tail.split_first_chunk().ok_or(LtxError::Truncated { offset: len })?;
        let trailer = trailer.first_chunk().map(Trailer::parse).ok_or(LtxError::Truncated { offset: len })?;
        let end = len.saturating_sub(TAIL as u64);
        let actual = u64::from_be_bytes(*length);
        let most = end.saturating_sub((Header::SIZE + TERMINATOR) as u64);
        if actual == 0 || actual > most {
            return Err(LtxError::IndexLength { expected: most, actual });
        }
        Ok(Self {
            header,
            start: end - actual,
            end,
            read_to: end - actual,
            buf: Vec::new(),
            used: 0,
            frame_end: Header::SIZE as u64,
            last: None,
            hasher: FileHasher::new(),
            trailer,
            length: *length,
            done: false,
        })
    }

    /// File offset at which the next frame begins.
    pub(crate) fn frame_end(&self) -> u64 {
        self.frame_end
    }

    pub(crate) fn trailer(&self) -> Trailer {
        self.trailer
    }

    /// CRC and length of everything behind the page block that the file checksum covers; known at the end.
    pub(crate) fn hash(&self) -> (u64, u64) {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.length);
        hasher.update(&self.trailer.post_apply_checksum.get().to_be_bytes());
        (hasher.finish(), (self.end - self.start).saturating_add(16))
    }

    /// The next entry; `None` at the end, again and again.
    pub(crate) fn next(&mut self, read: &mut ReadFn<'_>) -> Result<Option<Entry>, IndexError> {
        if self.done {
            return Ok(None);
        }
        self.refill(read)?;
        let at = self.offset();
        let pgno = self.varint()?;
        if pgno == 0 {
            self.finish(at)?;
            return Ok(None);
        }
        let (offset, size) = (self.varint()?, self.varint()?);
        let pgno = u32::try_from(pgno).ok().and_then(Pgno::new);
        let size = u32::try_from(size).ok().filter(|size| *size <= largest_frame(self.header.page_size));
        let (Some(pgno), Some(size)) = (pgno, size) else { return Err(mismatch(at)) };
        let least = (PAGE_HEADER_SIZE + 1) as u32;
        if offset != self.frame_end || size < least {
            return Err(mismatch(at));
        }
        self.check_pgno(pgno)?;
        self.frame_end += u64::from(size);
        self.last = Some(pgno);
        Ok(Some(Entry { pgno, size }))
    }

    /// Reads on when less than one entry may be left. Keeps what has not been parsed.
    fn refill(&mut self, read: &mut ReadFn<'_>) -> Result<(), IndexError> {
        let missing = self.end - self.read_to;
        if self.buf.len() - self.used >= MAX_ENTRY || missing == 0 {
            return Ok(());
        }
        self.buf.drain(..self.used);
        self.used = 0;
        let old = self.buf.len();
        let more = usize::try_from(missing).unwrap_or(BLOCK).min(BLOCK);
        self.buf.resize(old + more, 0);
        let fresh = self.buf.get_mut(old..).unwrap_or_default();
        read(self.read_to, fresh)?;
        self.hasher.update(fresh);
        self.read_to += more as u64;
        Ok(())
    }

    fn offset(&self) -> u64 {
        self.read_to.saturating_sub((self.buf.len() - self.used) as u64)
    }

    fn varint(&mut self) -> Result<u64, IndexError> {
        let at = self.offset();
        let rest = self.buf.get(self.used..).unwrap_or_default();
        let (value, len) = parse_varint(rest).ok_or_else(|| mismatch(at))?;
        self.used += len;
        Ok(value)
    }

    fn check_pgno(&self, pgno: Pgno) -> Result<(), LtxError> {
        let commit = self.header.commit;
        if pgno.get() > commit.get() {
            return Err(LtxError::PageAboveCommit { pgno, commit });
        }
        if pgno == self.header.lock_pgno() {
            return Err(LtxError::LockPage { pgno });
        }
        if let Some(previous) = self.last
            && pgno <= previous
        {
            return Err(LtxError::PageOrder { previous, pgno });
        }
        match self.expected() {
            Some(expected) if expected != pgno => Err(LtxError::SnapshotGap { expected, actual: pgno }),
            _ => Ok(()),
        }
    }

    /// The page that has to come next in a snapshot.
    fn expected(&self) -> Option<Pgno> {
        if !self.header.is_snapshot() {
            return None;
        }
        let next = self.last.map_or(Some(Pgno::FIRST), Pgno::next)?;
        if next == self.header.lock_pgno() { next.next() } else { Some(next) }
    }

    /// The end mark was read: nothing may follow it, and the frames must reach up to the index.
    fn finish(&mut self, at: u64) -> Result<(), IndexError> {
        self.done = true;
        if self.offset() != self.end || self.frame_end.saturating_add(TERMINATOR as u64) != self.start {
            return Err(mismatch(at));
        }
        match self.expected() {
            Some(expected) if expected.get() <= self.header.commit.get() => {
                Err(LtxError::SnapshotIncomplete { expected }.into())
            }
            _ => Ok(()),
        }
    }
}

/// Why an index could not be walked: it is bad, or it could not be read.
#[derive(Debug)]
pub(crate) enum IndexError {
    Format(LtxError),
    Read(crate::error::Error),
}

impl From<LtxError> for IndexError {
    fn from(error: LtxError) -> Self {
        Self::Format(error)
    }
}

impl From<crate::error::Error> for IndexError {
    fn from(error: crate::error::Error) -> Self {
        Self::Read(error)
    }
}

fn mismatch(offset: u64) -> IndexError {
    IndexError::Format(LtxError::IndexMismatch { offset })
}

/// An upper limit for the length of a frame: no encoding makes a page much longer than it is.
fn largest_frame(page_size: PageSize) -> u32 {
    page_size.get().saturating_add(page_size.get() / 128).saturating_add(256)
}

/// Little-endian base 128 with at most ten bytes: the value, and how many bytes it took.
pub(crate) fn parse_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        let shift = 7 * i as u32;
        if part.checked_shl(shift)? >> shift != part {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// The stored file checksum must be the computed one.
pub(crate) fn check_file_checksum(crc: u64, trailer: &Trailer) -> Result<(), LtxError> {
    let (actual, expected) = (Checksum::new(crc | Checksum::FLAG), trailer.file_checksum);
    if actual == expected { Ok(()) } else { Err(LtxError::ChecksumMismatch { expected, actual }) }
}
