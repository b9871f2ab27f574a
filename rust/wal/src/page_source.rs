//! Pages of the database as the last commit left them: from the WAL if they are there, else from the file.

use ltx::{PageSize, Pgno, ReadAt};

use crate::error::{Error, Result};
use crate::page_map::PageMap;
use crate::window::{BLOCK_BYTES, Window};

/// How far a request may lie behind the end of the one before and still count as reading in order. Pages in a WAL
/// are a frame header apart; in a database file a few pages in between may come from the WAL.
const GAP_BYTES: u64 = 64 * 1024;

/// Reads pages through a page map.
///
/// Requests in ascending order are cheapest: it then reads ahead in both files, up to 256 KiB at a time.
#[derive(Debug)]
pub struct PageSource<'a, D: ?Sized, L: ?Sized> {
    page_size: PageSize,
    map: Option<&'a PageMap>,
    db: Stream<'a, D>,
    wal: Stream<'a, L>,
    zeros: Vec<u8>,
}

impl<'a, D: ReadAt + ?Sized, L: ReadAt + ?Sized> PageSource<'a, D, L> {
    /// Reads from the database file `db` with pages of `page_size`, and those in `map` from `wal`. Without a map
    /// the WAL is not read.
    ///
    /// # Errors
    ///
    /// [`Error::PageSizeMismatch`] if the map is of a WAL with other pages.
    pub fn new(db: &'a D, wal: &'a L, map: Option<&'a PageMap>, page_size: PageSize) -> Result<Self> {
        if let Some(other) = map.map(PageMap::page_size).filter(|other| *other != page_size) {
            return Err(Error::PageSizeMismatch { expected: other.get(), actual: page_size.get() });
        }
        Ok(PageSource { page_size, map, db: Stream::new(db), wal: Stream::new(wal), zeros: Vec::new() })
    }

    /// Lends page `pgno`.
    ///
    /// A page wholly behind the end of the database file is all zeros, which is what SQLite reads there: a
    /// database may grow over pages that it never wrote.
    ///
    /// # Errors
    ///
    /// [`Error::ShortPage`] if a file ends inside the page, or the WAL before it; [`Error::Io`].
    pub fn page(&mut self, pgno: Pgno) -> Result<&[u8]> {
        let size = self.page_size.bytes();
        let in_wal = self.map.and_then(|map| map.get(pgno));
        let offset = in_wal.unwrap_or_else(|| pgno.offset(self.page_size));
        let page = match in_wal {
            Some(_) => self.wal.get(offset, size)?,
            None => self.db.get(offset, size)?,
        };
        match page.len() {
            actual if actual == size => Ok(page),
            0 if in_wal.is_none() => {
                self.zeros.resize(size, 0);
                Ok(&self.zeros)
            }
            actual => Err(Error::ShortPage { pgno, offset, expected: size, actual }),
        }
    }
}

/// One file, read ahead while requests come in order.
#[derive(Debug)]
struct Stream<'a, R: ?Sized> {
    io: &'a R,
    window: Window,
    next: u64,
    ahead: usize,
}

impl<'a, R: ReadAt + ?Sized> Stream<'a, R> {
    fn new(io: &'a R) -> Self {
        Stream { io, window: Window::default(), next: 0, ahead: 0 }
    }

    fn get(&mut self, offset: u64, size: usize) -> Result<&[u8]> {
        let is_in_order = offset.checked_sub(self.next).is_some_and(|gap| gap <= GAP_BYTES);
        self.ahead = if is_in_order { (self.ahead * 2).clamp(size, BLOCK_BYTES.max(size)) } else { size };
        self.next = offset.saturating_add(size as u64);
        self.window.get(self.io, offset, size, self.ahead)
    }
}

#[cfg(test)]
#[path = "page_source_tests.rs"]
mod tests;
