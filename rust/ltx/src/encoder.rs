//! Writing LTX files: header, ascending pages, index, trailer.

use std::fmt;
use std::io::Write;

use crate::checksum::FileHasher;
use crate::error::{Error, Result};
use crate::header::Header;
use crate::index;
use crate::output::Output;
use crate::page::{BLOCK_PREFIX, PAGE_HEADER_SIZE, PageEncoding, PageHeader, check_page_len, frame_bound};
use crate::sequence::Sequence;
use crate::trailer::{Trailer, validate_post_apply};
use crate::types::{Checksum, Pgno};
use crate::{legacy_frame, lz4};

/// Writes one LTX file to `W`.
///
/// Output is gathered in a buffer of 64 KiB; the page index, about 9 bytes a page, is kept until the end.
/// After a failed write every call fails.
pub struct Encoder<W> {
    out: Output<W>,
    header: Header,
    encoding: PageEncoding,
    sequence: Sequence,
    hasher: FileHasher,
    index: Vec<u8>,
}

impl<W: Write> Encoder<W> {
    /// Starts a file whose pages are compressed to LZ4 blocks.
    ///
    /// # Errors
    /// Those of [`Header::validate`].
    pub fn new(out: W, header: &Header) -> Result<Self> {
        Self::with_encoding(out, header, PageEncoding::Block)
    }

    /// Starts a file whose pages are compressed in the given way.
    ///
    /// # Errors
    /// Those of [`Header::validate`].
    pub fn with_encoding(out: W, header: &Header, encoding: PageEncoding) -> Result<Self> {
        header.validate()?;
        let mut encoder = Self {
            out: Output::new(out),
            header: *header,
            encoding,
            sequence: Sequence::new(header),
            hasher: FileHasher::new(),
            index: Vec::new(),
        };
        encoder.put(&header.encode())?;
        Ok(encoder)
    }

    /// The header as written.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Size in bytes of the file so far.
    pub fn bytes_written(&self) -> u64 {
        self.out.len()
    }

    /// Compresses and writes a page.
    ///
    /// # Errors
    /// [`Error::PageLength`]; [`Error::PageAboveCommit`], [`Error::LockPage`], [`Error::PageOrder`]
    /// and [`Error::SnapshotGap`] if it is not this page's turn; [`Error::Io`]. The file can be continued
    /// after any but the last.
    pub fn write_page(&mut self, pgno: Pgno, page: &[u8]) -> Result<()> {
        check_page_len(self.header.page_size, page)?;
        self.sequence.push(pgno)?;
        let header = PageHeader { pgno, encoding: self.encoding };
        let frame = self.out.room(frame_bound(page.len()))?;
        let len = compress_frame(&header, page, frame).ok_or(Error::Compress)?;
        self.take_frame(&header, page, len)
    }

    /// Writes a page that is compressed already.
    ///
    /// `block` is an LZ4 block made by [`compress_page`](crate::compress_page) or copied from another file;
    /// `page` is what it expands to, for the file checksum. That the two belong together is the caller's
    /// promise.
    ///
    /// # Errors
    /// Those of [`Encoder::write_page`], and [`Error::PayloadLength`] if no page compresses to so many bytes.
    pub fn write_compressed(&mut self, pgno: Pgno, page: &[u8], block: &[u8]) -> Result<()> {
        check_page_len(self.header.page_size, page)?;
        let limit = lz4::bound(page.len());
        if block.is_empty() || block.len() > limit {
            return Err(Error::PayloadLength { pgno, limit, actual: block.len() as u64 });
        }
        self.sequence.push(pgno)?;
        let header = PageHeader { pgno, encoding: PageEncoding::Block };
        let len = BLOCK_PREFIX + block.len();
        let frame = self.out.room(len)?;
        frame[BLOCK_PREFIX..].copy_from_slice(block);
        put_block_prefix(&header, block.len(), frame);
        self.take_frame(&header, page, len)
    }

    /// Accounts for the frame of `len` bytes that now lies in the output's room.
    fn take_frame(&mut self, header: &PageHeader, page: &[u8], len: usize) -> Result<()> {
        let offset = self.out.len();
        let frame = self.out.room(len)?;
        self.hasher.update(&frame[..header.hashed_len()]);
        self.hasher.update(page);
        self.out.advance(len);
        index::push_entry(&mut self.index, header.pgno, offset, len as u64);
        Ok(())
    }

    /// Ends the file: terminator, index and trailer. `post_apply` is the checksum of the database afterwards,
    /// [`Checksum::NONE`] in files without checksums. Returns the writer, flushed.
    ///
    /// # Errors
    /// [`Error::SnapshotIncomplete`], [`Error::PostApplyChecksum`], [`Error::Io`].
    pub fn finish(mut self, post_apply: Checksum) -> Result<(W, Trailer)> {
        self.sequence.finish()?;
        validate_post_apply(&self.header, post_apply)?;
        self.put(&[0; PAGE_HEADER_SIZE])?;
        let index = std::mem::take(&mut self.index);
        self.put(&index)?;
        self.put(&[0])?;
        self.put(&(index.len() as u64 + 1).to_be_bytes())?;
        self.hasher.update(&post_apply.get().to_be_bytes());
        let trailer = Trailer { post_apply_checksum: post_apply, file_checksum: self.hasher.checksum() };
        self.out.write(&trailer.encode())?;
        Ok((self.out.finish()?, trailer))
    }

    /// Writes bytes that the file checksum covers as they are.
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.out.write(bytes)
    }
}

impl<W> fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Makes a whole frame at the start of `frame`; its length.
fn compress_frame(header: &PageHeader, page: &[u8], frame: &mut [u8]) -> Option<usize> {
    match header.encoding {
        PageEncoding::Block => {
            let len = lz4::compress(page, frame.get_mut(BLOCK_PREFIX..)?)?;
            put_block_prefix(header, len, frame);
            Some(BLOCK_PREFIX + len)
        }
        PageEncoding::Frame => {
            let (start, payload) = frame.split_first_chunk_mut()?;
            *start = header.encode();
            Some(PAGE_HEADER_SIZE + legacy_frame::encode(page, payload)?)
        }
    }
}

/// Page header and payload length; the payload is bounded by the page size, so its length fits.
fn put_block_prefix(header: &PageHeader, len: usize, frame: &mut [u8]) {
    frame[..PAGE_HEADER_SIZE].copy_from_slice(&header.encode());
    frame[PAGE_HEADER_SIZE..BLOCK_PREFIX].copy_from_slice(&(len as u32).to_be_bytes());
}

#[cfg(test)]
mod tests;
