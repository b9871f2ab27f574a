//! Writes the same history that LTX files hold as snapshots and WAL segments.
//!
//! The WAL is one that never was on a disk: each LTX file becomes a transaction of it. What SQLite and Litestream make of it is the same
//! as of a copied one, since a checkpoint takes nothing from a WAL but pages and the size of the database.

use std::io::{self, Read, Write};

use ltx::{Decoder, Header, PageCount, PageSize};
use wal::{ByteOrder, FrameHeader, Salt, WalChecksum, WalHeader, frame_checksum};

use crate::frame::FrameWriter;
use crate::names::Generation;

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

/// A segment that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The WAL as it goes on.
    pub wal: WalState,
    /// The header of the LTX file.
    pub header: Header,
    /// The segment has every page of the database, so that it does not matter what came before.
    pub is_whole: bool,
}

/// The marks of a WAL. They follow from its place, so that nothing has to be kept to write it once more; and two generations do not
/// have the same, so that no segment of one is ever taken for a part of the other.
#[must_use]
pub fn wal_salt(generation: Generation, index: u32) -> Salt {
    // As SQLite has it, the first grows by one from WAL to WAL.
    let [.., a, b, c, d] = generation.get().to_be_bytes();
    let salt1 = u32::from_be_bytes([a, b, c, d]).wrapping_add(index);
    let [a, b, c, d, ..] = mixed(generation.get() ^ mixed(u64::from(index))).to_be_bytes();
    Salt { salt1, salt2: u32::from_be_bytes([a, b, c, d]) }
}

/// The finalizer of splitmix64: each bit of the input changes about half of the others.
fn mixed(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl WalState {
    /// A WAL in which nothing is yet.
    #[must_use]
    pub fn new(page_size: PageSize, salt: Salt) -> Self {
        Self { page_size, salt, checksum: WalChecksum::ZERO, offset: 0 }
    }

    /// Writes the transactions of one LTX file as the next segment to `output`, in an LZ4 frame.
    ///
    /// # Errors
    /// Any [`WriteError`]. What was written by then is worth nothing.
    pub fn append<R: Read>(&self, file: R, output: impl Write) -> Result<Appended, WriteError> {
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
        let (mut page, mut pages) = (vec![0; self.page_size.bytes()], 0_u64);
        while let Some(pgno) = decoder.next_page(&mut page)? {
            let commit = if decoder.peek_pgno()?.is_none() { Some(header.commit) } else { None };
            let mut frame = FrameHeader { pgno, commit, salt: state.salt, checksum: WalChecksum::ZERO };
            frame.checksum = frame_checksum(state.checksum, ByteOrder::NATIVE, &frame.encode(), &page);
            output.write_all(&frame.encode())?;
            output.write_all(&page)?;
            state.offset += (FrameHeader::SIZE + page.len()) as u64;
            state.checksum = frame.checksum;
            pages += 1;
        }
        decoder.finish()?;
        output.finish()?;
        let (commit, lock) = (header.commit.get(), header.lock_pgno().get());
        let is_whole = pages == u64::from(commit - u32::from(lock <= commit));
        Ok(Appended { wal: state, header, is_whole })
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
