//! LTX files from a page map and the database file.

use std::io::Write;

use ltx::{Checksum, Encoder, Header, PageCount, Pgno, ReadAt, RollingChecksum, Trailer};

use crate::error::{Error, Result};
use crate::page_map::PageMap;
use crate::page_source::PageSource;

/// Writes the whole database as an LTX file: every page from 1 to the header's commit size except the lock page.
///
/// `map` covers the WAL from its first frame; `None` if there is no log. For a header that tracks checksums the
/// database checksum is computed on the way. Returns the writer and the trailer written.
///
/// # Errors
///
/// [`Error::PageSizeMismatch`] and [`Error::CommitMismatch`] if the header contradicts the map; [`Error::ShortPage`]
/// and [`Error::Io`] from reading; [`Error::Ltx`] from writing.
pub fn write_snapshot<D, L, W>(
    db: &D,
    wal: &L,
    map: Option<&PageMap>,
    header: &Header,
    out: W,
) -> Result<(W, Trailer)>
where
    D: ReadAt + ?Sized,
    L: ReadAt + ?Sized,
    W: Write,
{
    check_commit(map, header.commit)?;
    let mut source = PageSource::new(db, wal, map, header.page_size)?;
    let mut encoder = Encoder::new(out, header)?;
    let mut sum = RollingChecksum::new();
    for pgno in header.commit.pgnos(header.page_size) {
        let page = source.page(pgno)?;
        if !header.flags.no_checksum {
            sum.add(ltx::page_checksum(pgno, page));
        }
        encoder.write_page(pgno, page)?;
    }
    let post_apply = if header.flags.no_checksum { Checksum::NONE } else { sum.get() };
    Ok(encoder.finish(post_apply)?)
}

/// Writes what changed as an LTX file: the pages of `map`, and the pages by which the database grew since it had
/// `prev_commit` pages, in the log or not.
///
/// `post_apply` is the database checksum afterwards, [`Checksum::NONE`] for a header that does not track it.
/// Returns the writer and the trailer written.
///
/// # Errors
///
/// As [`write_snapshot`].
pub fn write_incremental<D, L, W>(
    db: &D,
    wal: &L,
    map: &PageMap,
    prev_commit: PageCount,
    header: &Header,
    post_apply: Checksum,
    out: W,
) -> Result<(W, Trailer)>
where
    D: ReadAt + ?Sized,
    L: ReadAt + ?Sized,
    W: Write,
{
    check_commit(Some(map), header.commit)?;
    let mut source = PageSource::new(db, wal, Some(map), header.page_size)?;
    let mut encoder = Encoder::new(out, header)?;
    for pgno in incremental_pages(map, prev_commit, header.commit) {
        encoder.write_page(pgno, source.page(pgno)?)?;
    }
    Ok(encoder.finish(post_apply)?)
}

/// Pages of an increment in ascending order. All growth pages come from the range, so that a page missing in the
/// log is not missing in the file.
fn incremental_pages(map: &PageMap, prev: PageCount, commit: PageCount) -> impl Iterator<Item = Pgno> {
    let changed = map.iter().map(|(pgno, _)| pgno).take_while(move |pgno| pgno.get() <= prev.get());
    let lock = map.page_size().lock_pgno();
    let growth = (prev.get()..commit.get()).filter_map(|before| Pgno::new(before.checked_add(1)?));
    changed.chain(growth.filter(move |pgno| *pgno != lock))
}

fn check_commit(map: Option<&PageMap>, commit: PageCount) -> Result<()> {
    match map.filter(|map| map.commit.get() != 0 && map.commit != commit) {
        Some(map) => Err(Error::CommitMismatch { expected: map.commit.get(), actual: commit.get() }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "to_ltx_tests.rs"]
mod tests;
