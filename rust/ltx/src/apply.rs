//! Whole databases: LTX to database file and back.

use std::io::{self, Write};

use crate::aligned::AlignedBuf;
use crate::checksum::{RollingChecksum, page_checksum};
use crate::decoder::Decoder;
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::header::Header;
use crate::input::Input;
use crate::io::{ReadAt, WriteAt};
use crate::trailer::Trailer;
use crate::types::{Checksum, PageCount, PageSize, Pgno};

/// Bytes of a database that are read or written at once; a multiple of every page size.
const RUN_SIZE: usize = 256 << 10;

/// Writes the pages of an LTX file into a database file and cuts it to the commit size.
///
/// Pages are written before the file is verified. An error leaves the database neither in its old nor its new
/// state, so it has to be a copy that is thrown away then. Neighbouring pages are written together.
///
/// # Errors
/// Those of [`Decoder::next_page`] and [`Decoder::finish`]; [`Error::Io`].
pub fn apply<I: Input>(mut decoder: Decoder<I>, database: &(impl WriteAt + ?Sized)) -> Result<Trailer> {
    let Header { page_size, commit, .. } = *decoder.header();
    let mut run = Run::new(page_size);
    while let Some(pgno) = decoder.next_page(run.slot()?)? {
        run.push(pgno, database)?;
    }
    run.write_to(database)?;
    let trailer = decoder.finish()?;
    database.set_len(commit.bytes(page_size))?;
    Ok(trailer)
}

/// Neighbouring pages that wait to be written, and behind them a slot for the next page.
struct Run {
    page_size: PageSize,
    buf: AlignedBuf,
    len: usize,
    start: u64,
}

impl Run {
    fn new(page_size: PageSize) -> Self {
        Self { page_size, buf: AlignedBuf::new(RUN_SIZE + page_size.bytes()), len: 0, start: 0 }
    }

    /// Where the next page is to be expanded.
    fn slot(&mut self) -> Result<&mut [u8]> {
        let page_len = self.page_size.bytes();
        self.buf.get_mut().get_mut(self.len..self.len + page_len).ok_or(Error::AfterFailure)
    }

    /// Takes the page in the slot; writes those before it unless it continues them and there is room for
    /// more.
    fn push(&mut self, pgno: Pgno, database: &(impl WriteAt + ?Sized)) -> Result<()> {
        let offset = pgno.offset(self.page_size);
        let page_len = self.page_size.bytes();
        if offset != self.start + self.len as u64 || self.len + page_len > RUN_SIZE {
            let slot = self.len;
            self.write_to(database)?;
            self.buf.get_mut().copy_within(slot..slot + page_len, 0);
            self.start = offset;
        }
        self.len += page_len;
        Ok(())
    }

    fn write_to(&mut self, database: &(impl WriteAt + ?Sized)) -> Result<()> {
        if self.len > 0 {
            database.write_all_at(&self.buf.get()[..self.len], self.start)?;
        }
        self.len = 0;
        Ok(())
    }
}

/// Writes the database that a snapshot describes, the lock page as zeros.
///
/// # Errors
/// [`Error::NotSnapshot`]; those of [`Decoder::next_page`] and [`Decoder::finish`]; [`Error::Io`].
/// What was written before an error is worthless.
pub fn decode_database<I: Input, W: Write>(mut decoder: Decoder<I>, out: W) -> Result<Trailer> {
    let header = *decoder.header();
    if !header.is_snapshot() {
        return Err(Error::NotSnapshot { min: header.min_txid, max: header.max_txid });
    }
    let before_lock = header.lock_pgno().get() - 1;
    let has_lock_page = header.commit.get() > before_lock;
    let mut out = io::BufWriter::with_capacity(RUN_SIZE, out);
    let mut page = AlignedBuf::new(header.page_size.bytes());
    let page = page.get_mut();
    while let Some(pgno) = decoder.next_page(page)? {
        out.write_all(page)?;
        if has_lock_page && pgno.get() == before_lock {
            page.fill(0);
            out.write_all(page)?;
        }
    }
    let trailer = decoder.finish()?;
    out.flush()?;
    Ok(trailer)
}

/// Writes all pages of a database, `header.commit` many, as one LTX file; usually a snapshot.
///
/// If the header wants checksums the post-apply checksum is computed.
///
/// # Errors
/// Those of [`Header::validate`]; [`Error::Io`], also if the database is shorter than its commit size.
pub fn encode_database<W: Write>(
    database: &(impl ReadAt + ?Sized),
    header: &Header,
    out: W,
) -> Result<Trailer> {
    let mut encoder = Encoder::new(out, header)?;
    let mut rolling = RollingChecksum::new();
    let tracked = !header.flags.no_checksum;
    for_each_page(database, header.page_size, header.commit, |pgno, page| {
        if tracked {
            rolling.add(page_checksum(pgno, page));
        }
        encoder.write_page(pgno, page)
    })?;
    let post_apply = if tracked { rolling.get() } else { Checksum::NONE };
    Ok(encoder.finish(post_apply)?.1)
}

/// Rolling checksum of a whole database, the lock page left out.
///
/// # Errors
/// [`Error::Io`], also if the length is no multiple of the page size.
pub fn checksum_database(database: &(impl ReadAt + ?Sized), page_size: PageSize) -> Result<Checksum> {
    let len = database.len()?;
    let page_len = u64::from(page_size.get());
    if len % page_len != 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let count = u32::try_from(len / page_len).map_err(io::Error::other)?;
    let mut rolling = RollingChecksum::new();
    for_each_page(database, page_size, PageCount::new(count), |pgno, page| {
        rolling.add(page_checksum(pgno, page));
        Ok(())
    })?;
    Ok(rolling.get())
}

/// Visits `count` pages in ascending order, without the lock page, reading many at once.
fn for_each_page(
    database: &(impl ReadAt + ?Sized),
    page_size: PageSize,
    count: PageCount,
    mut visit: impl FnMut(Pgno, &[u8]) -> Result<()>,
) -> Result<()> {
    let total = count.bytes(page_size);
    let mut buf = AlignedBuf::new(RUN_SIZE.min(usize::try_from(total).unwrap_or(RUN_SIZE)));
    let buf = buf.get_mut();
    let lock = page_size.lock_pgno();
    let mut pgnos = (1..=count.get()).filter_map(Pgno::new);
    let mut offset = 0;
    while offset < total {
        let len = usize::try_from(total - offset).unwrap_or(RUN_SIZE).min(RUN_SIZE);
        database.read_exact_at(&mut buf[..len], offset)?;
        offset += len as u64;
        for (page, pgno) in buf[..len].chunks_exact(page_size.bytes()).zip(pgnos.by_ref()) {
            if pgno != lock {
                visit(pgno, page)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
