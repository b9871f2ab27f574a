//! Writes the same history that LTX files hold as snapshots and WAL segments.
//!
//! The WAL is one that never was on a disk: each LTX file becomes a transaction of it. What SQLite and Litestream make of it is the same
//! as of a copied one, since a checkpoint takes nothing from a WAL but pages and the size of the database.

use std::io::{self, Read, Write};

use ltx::{Decoder, Header, PageCount, PageSize};
use wal::{ByteOrder, FrameHeader, Salt, WalChecksum, WalHeader, frame_checksum};

use crate::frame::FrameWriter;

/// What keeps a file from being written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The LTX file cannot be used.
    #[error("the LTX file cannot be used")]
    Ltx(#[from] ltx::Error),
    /// A WAL cannot hold this: a transaction without pages, one that leaves an empty database, or pages of another size.
    #[error("no WAL can hold the transaction")]
    Unfit,
    /// The object cannot be written.
    #[error("cannot write")]
    Output(#[from] io::Error),
}

/// A WAL that is written, as far as it goes. The same state and the same LTX file give the same segment, so an upload of which nobody
/// knows whether it worked is simply done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalState {
    /// Page size of the database.
    pub page_size: PageSize,
    /// Marks of the WAL.
    pub salt: Salt,
    /// Checksum of the last frame, or of the header.
    pub checksum: WalChecksum,
    /// Bytes of the WAL; 0 before its header.
    pub offset: u64,
}

impl WalState {
    /// A WAL in which nothing is yet.
    #[must_use]
    pub fn new(page_size: PageSize, salt: Salt) -> Self {
        Self { page_size, salt, checksum: WalChecksum::ZERO, offset: 0 }
    }

    /// Writes the transactions of one LTX file as the next segment to `output`, in an LZ4 frame; the state after it.
    ///
    /// # Errors
    /// Any [`WriteError`]. What was written by then is worth nothing.
    pub fn append<R: Read>(&self, file: R, output: impl Write) -> Result<Self, WriteError> {
        let mut decoder = Decoder::new(file)?;
        let header = *decoder.header();
        if header.page_size != self.page_size || header.commit.get() == 0 || decoder.peek_pgno()?.is_none() {
            return Err(WriteError::Unfit);
        }
        let mut output = FrameWriter::new(output)?;
        let mut state = *self;
        if state.offset == 0 {
            let header = WalHeader::new(ByteOrder::NATIVE, self.page_size, 0, self.salt);
            output.write_all(&header.encode())?;
            (state.offset, state.checksum) = (WalHeader::SIZE as u64, header.checksum);
        }
        let mut page = vec![0; self.page_size.bytes()];
        while let Some(pgno) = decoder.next_page(&mut page)? {
            let commit = if decoder.peek_pgno()?.is_none() { Some(header.commit) } else { None };
            let mut frame = FrameHeader { pgno, commit, salt: state.salt, checksum: WalChecksum::ZERO };
            frame.checksum = frame_checksum(state.checksum, ByteOrder::NATIVE, &frame.encode(), &page);
            output.write_all(&frame.encode())?;
            output.write_all(&page)?;
            state.offset += (FrameHeader::SIZE + page.len()) as u64;
            state.checksum = frame.checksum;
        }
        decoder.finish()?;
        output.finish()?;
        Ok(state)
    }
}

/// Writes the database that an LTX file with all of its pages holds as a snapshot to `output`, in an LZ4 frame.
///
/// # Errors
/// Any [`WriteError`]. What was written by then is worth nothing.
pub fn write_snapshot<R: Read>(file: R, output: impl Write) -> Result<Header, WriteError> {
    let mut decoder = Decoder::new(file)?;
    let header = *decoder.header();
    if !header.is_snapshot() {
        return Err(WriteError::Unfit);
    }
    let (mut output, mut page) = (FrameWriter::new(output)?, vec![0; header.page_size.bytes()]);
    let mut next = 1;
    while let Some(pgno) = decoder.next_page(&mut page)? {
        if pgno.get() > next {
            // The page for locks, which no LTX file has.
            output.write_all(&vec![0; page.len()])?;
        }
        output.write_all(&page)?;
        next = pgno.get() + 1;
    }
    if PageCount::new(next) == header.commit {
        output.write_all(&vec![0; page.len()])?;
    }
    decoder.finish()?;
    output.finish()?;
    Ok(header)
}
