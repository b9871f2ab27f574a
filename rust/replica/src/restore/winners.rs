//! Which file has written which page of the output.
//!
//! Files are taken newest first, but several at once, so an older page may arrive before or after a newer one. A page
//! is written only if no newer file has written it; asking, writing and noting happen under one lock per region of
//! the database. In the end every page is the newest one, and each file has been read just once.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use ltx::{PageCount, PageSize, Pgno};

use crate::restore::marks::MISSING;

/// Bytes of the database that go to the output under one lock, and in one write at best.
pub(crate) const REGION: usize = 256 << 10;

/// Above this number of pages the file numbers are kept in a file: memory does not grow with the database.
const MOST_IN_MEMORY: u32 = 2 << 20;

const LOCKS: usize = 64;

/// Length in bytes of a stored file number.
const WIDTH: usize = size_of::<u32>();

/// Pages whose numbers are saved together.
const SAVED: usize = 16 << 10;

enum Numbers {
    Memory(Vec<AtomicU32>),
    /// In a file, from this offset (bytes) on.
    Spilled(File, u64),
}

/// For every page the number of the newest file that has written it, from 1; 0 for none. With [`MISSING`] it is a number that a
/// file must not be below to write the page, which nobody has written.
pub(crate) struct Winners {
    numbers: Numbers,
    /// Which numbers in memory have changed since they were saved, [`SAVED`] of them each.
    changed: Vec<AtomicBool>,
    commit: PageCount,
    page_size: PageSize,
    is_sparse: bool,
    locks: Vec<Mutex<()>>,
}

/// Consecutive pages of one region, from one file.
pub(crate) struct Run<'a> {
    pub(crate) first: Pgno,
    pub(crate) pages: &'a [u8],
    /// Number of the file, from 1; higher is newer.
    pub(crate) number: u32,
}

impl Winners {
    /// For a database of `commit` pages, in an output that reads as zeros where nothing has been written if it `is_sparse`;
    /// `spill` makes an empty file if the database is a large one.
    pub(crate) fn new(
        commit: PageCount,
        page_size: PageSize,
        is_sparse: bool,
        spill: impl FnOnce() -> io::Result<File>,
    ) -> io::Result<Self> {
        let numbers = if commit.get() <= MOST_IN_MEMORY {
            Numbers::Memory((0..commit.get()).map(|_| AtomicU32::new(0)).collect())
        } else {
            let file = spill()?;
            file.set_len(u64::from(commit.get()) * WIDTH as u64)?;
            Numbers::Spilled(file, 0)
        };
        Ok(Self::with(numbers, commit, page_size, is_sparse))
    }

    /// The same with the numbers that are in `file` from `offset` (bytes) on, where they can be saved again.
    pub(crate) fn saved(
        commit: PageCount,
        page_size: PageSize,
        is_sparse: bool,
        file: File,
        offset: u64,
    ) -> io::Result<Self> {
        let spilled = Self::with(Numbers::Spilled(file, offset), commit, page_size, is_sparse);
        if commit.get() > MOST_IN_MEMORY {
            return Ok(spilled);
        }
        let mut numbers = vec![0; commit.get() as usize];
        spilled.load(0, &mut numbers)?;
        let numbers = Numbers::Memory(numbers.into_iter().map(AtomicU32::new).collect());
        Ok(Self::with(numbers, commit, page_size, is_sparse))
    }

    fn with(numbers: Numbers, commit: PageCount, page_size: PageSize, is_sparse: bool) -> Self {
        let locks = (0..LOCKS).map(|_| Mutex::new(())).collect();
        let blocks = (commit.get() as usize).div_ceil(SAVED);
        let changed = (0..blocks).map(|_| AtomicBool::new(false)).collect();
        Self { numbers, changed, commit, page_size, is_sparse, locks }
    }

    /// Writes to `file`, from `offset` (bytes) on, what is in memory and has changed since the last time. What changes
    /// meanwhile may be written or not.
    pub(crate) fn save(&self, file: &File, offset: u64) -> io::Result<()> {
        let Numbers::Memory(all) = &self.numbers else { return Ok(()) };
        for (block, (changed, numbers)) in self.changed.iter().zip(all.chunks(SAVED)).enumerate() {
            // Before they are looked at: who changes one now says so afterwards.
            if !changed.swap(false, Ordering::AcqRel) {
                continue;
            }
            let held = numbers.iter().map(|held| held.load(Ordering::Relaxed));
            let bytes: Vec<u8> = held.flat_map(u32::to_be_bytes).collect();
            let written = file.write_all_at(&bytes, offset + (block * SAVED * WIDTH) as u64);
            if written.is_err() {
                changed.store(true, Ordering::Release);
                return written;
            }
        }
        Ok(())
    }

    /// Whether the page after `pgno` has to go into another [`Run`].
    pub(crate) fn ends_region(&self, pgno: Pgno) -> bool {
        let pages = (REGION / self.page_size.bytes()) as u32;
        pgno.get().is_multiple_of(pages)
    }

    /// Writes those pages of `run` that no newer file has; `write` gets bytes and their offset in the database.
    ///
    /// Pages of zeros are left out of a sparse output where nothing has been written: a new file reads as zeros there.
    pub(crate) fn write(
        &self,
        run: &Run<'_>,
        write: impl Fn(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let size = self.page_size.bytes();
        let (start, count) = ((run.first.get() - 1) as usize, run.pages.len() / size);
        let lock = self.locks.get(start / (REGION / size) % LOCKS);
        let _guard = lock.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        let mut numbers = vec![0; count];
        self.load(start, &mut numbers)?;
        let wanted = |i: usize| {
            let page = run.pages.get(i * size..(i + 1) * size).unwrap_or_default();
            let differs = |held| held != 0 || !self.is_sparse || !is_zero(page);
            // What the same file has written may be half a page, of a restore that was killed.
            numbers.get(i).is_some_and(|held| *held & !MISSING <= run.number && differs(*held))
        };
        for span in spans(count, wanted) {
            let offset = run.first.offset(self.page_size) + (span.start * size) as u64;
            write(run.pages.get(span.start * size..span.end * size).unwrap_or_default(), offset)?;
        }
        let written = numbers.iter_mut().filter(|held| **held & !MISSING <= run.number);
        written.for_each(|held| *held = run.number);
        self.store(start, &numbers)
    }

    /// The first page that nobody has written, of those behind the first `there`.
    pub(crate) fn first_missing(&self, there: PageCount) -> io::Result<Option<Pgno>> {
        let (lock_pgno, mut found) = (self.page_size.lock_pgno(), None);
        self.blocks(there.get()..self.commit.get(), |start, numbers| {
            let missing = (start..).zip(numbers).filter(|(_, held)| is_missing(**held));
            let mut pgnos = missing.filter_map(|(page, _)| Pgno::new(page.checked_add(1)?));
            found = pgnos.find(|pgno| *pgno != lock_pgno);
            found.is_none()
        })?;
        Ok(found)
    }

    /// Whether each of these pages, counted from 0, has been written.
    pub(crate) fn has_all(&self, pages: Range<u32>) -> io::Result<bool> {
        let mut all = true;
        self.blocks(pages, |_, numbers| {
            all &= !numbers.iter().any(|held| is_missing(*held));
            all
        })?;
        Ok(all)
    }

    /// Calls `see` with each page, counted from 0, and the number of its file, in order.
    pub(crate) fn each(&self, mut see: impl FnMut(u32, u32)) -> io::Result<()> {
        self.blocks(0..self.commit.get(), |start, numbers| {
            (start..).zip(numbers).for_each(|(page, number)| see(page, *number));
            true
        })
    }

    /// Whether anybody has written page 1.
    pub(crate) fn has_page_1(&self) -> io::Result<bool> {
        let mut number = [0];
        if self.commit.get() > 0 {
            self.load(0, &mut number)?;
        }
        Ok(number != [0])
    }

    /// Calls `see` with the numbers of some pages after the others, and the first of these pages, until it returns false.
    fn blocks(&self, pages: Range<u32>, mut see: impl FnMut(u32, &[u32]) -> bool) -> io::Result<()> {
        let most = 1 << 14;
        let mut numbers = vec![0; pages.len().min(most)];
        for start in pages.clone().step_by(most) {
            let count = numbers.len().min((pages.end - start) as usize);
            let Some(block) = numbers.get_mut(..count) else { break };
            self.load(start as usize, block)?;
            if !see(start, block) {
                break;
            }
        }
        Ok(())
    }

    fn load(&self, start: usize, out: &mut [u32]) -> io::Result<()> {
        match &self.numbers {
            Numbers::Memory(all) => {
                let held = all.get(start..).unwrap_or_default();
                out.iter_mut().zip(held).for_each(|(out, held)| *out = held.load(Ordering::Relaxed));
            }
            Numbers::Spilled(file, offset) => {
                let mut bytes = vec![0; out.len() * WIDTH];
                file.read_exact_at(&mut bytes, offset + (start * WIDTH) as u64)?;
                let held = bytes.as_chunks().0.iter().map(|bytes| u32::from_be_bytes(*bytes));
                out.iter_mut().zip(held).for_each(|(out, held)| *out = held);
            }
        }
        Ok(())
    }

    fn store(&self, start: usize, numbers: &[u32]) -> io::Result<()> {
        match &self.numbers {
            Numbers::Memory(all) => {
                let held = all.get(start..).unwrap_or_default();
                numbers.iter().zip(held).for_each(|(new, held)| held.store(*new, Ordering::Relaxed));
                let blocks = start / SAVED..=(start + numbers.len()).saturating_sub(1) / SAVED;
                let changed = self.changed.get(blocks).unwrap_or_default();
                changed.iter().for_each(|changed| changed.store(true, Ordering::Release));
                Ok(())
            }
            Numbers::Spilled(file, offset) => {
                let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
                file.write_all_at(&bytes, offset + (start * WIDTH) as u64)
            }
        }
    }
}

/// Maximal ranges of `0..count` in which `wanted` holds.
fn spans(count: usize, wanted: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    for i in (0..count).filter(|i| wanted(*i)) {
        match spans.last_mut() {
            Some(span) if span.end == i => span.end = i + 1,
            _ => spans.push(i..i + 1),
        }
    }
    spans
}

/// In blocks, so that the comparison is vectorised and still stops early.
fn is_zero(page: &[u8]) -> bool {
    page.chunks(128).all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Whether a page with this holder has to be written by somebody.
fn is_missing(held: u32) -> bool {
    held == 0 || held & MISSING != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 512;

    fn winners(commit: u32, spilled: bool) -> Winners {
        let page_size = PageSize::new(512).unwrap();
        let mut winners = Winners::new(PageCount::new(commit), page_size, true, || panic!("small")).unwrap();
        if spilled {
            let file = tempfile::tempfile().unwrap();
            file.set_len(u64::from(commit) * 4).unwrap();
            winners.numbers = Numbers::Spilled(file, 0);
        }
        winners
    }

    /// Returns the first page, from 0, and the number of pages of each write.
    fn write(
        winners: &Winners,
        out: &Mutex<Vec<u8>>,
        first: u32,
        fills: &[u8],
        number: u32,
    ) -> Vec<(u64, u64)> {
        let pages: Vec<u8> = fills.iter().flat_map(|fill| [*fill; SIZE]).collect();
        let written = Mutex::new(Vec::new());
        let run = Run { first: Pgno::new(first).unwrap(), pages: &pages, number };
        let note = |bytes: &[u8], offset: u64| {
            written.lock().unwrap().push((offset / 512, bytes.len() as u64 / 512));
            ltx::WriteAt::write_all_at(out, bytes, offset)
        };
        winners.write(&run, note).unwrap();
        written.into_inner().unwrap()
    }

    #[test]
    fn the_newest_file_wins_in_any_order_and_zeros_are_holes_only_in_new_space() {
        for spilled in [false, true] {
            let winners = winners(5, spilled);
            let out = Mutex::new(vec![0; 5 * SIZE]);
            assert_eq!(write(&winners, &out, 1, &[1, 1, 0, 1], 2), [(0, 2), (3, 1)]);
            assert_eq!(winners.first_missing(PageCount::new(0)).unwrap(), Pgno::new(5));
            assert_eq!(write(&winners, &out, 2, &[9, 9, 9, 9], 1), [(4, 1)], "older pages are skipped");
            assert_eq!(write(&winners, &out, 2, &[0], 3), [(1, 1)], "zeros over content are written");
            assert_eq!(winners.first_missing(PageCount::new(0)).unwrap(), None);
            let fills: Vec<u8> = out.lock().unwrap().chunks(SIZE).map(|page| page[7]).collect();
            assert_eq!(fills, [1, 0, 0, 1, 9]);
        }
    }

    #[test]
    fn zeros_are_written_where_they_stand_for_something_else() {
        let (winners, out) =
            (Winners { is_sparse: false, ..winners(3, false) }, Mutex::new(vec![0; 3 * SIZE]));
        assert_eq!(write(&winners, &out, 1, &[0, 0, 1], 1), [(0, 3)]);
    }

    #[test]
    fn a_page_that_is_missing_is_written_by_files_that_are_new_enough() {
        for spilled in [false, true] {
            let winners = Winners { is_sparse: false, ..winners(3, spilled) };
            let out = Mutex::new(vec![0; 3 * SIZE]);
            winners.store(0, &[MISSING | 3, 3, MISSING | 3]).unwrap();
            assert_eq!(write(&winners, &out, 1, &[2, 2, 2], 2), []);
            assert_eq!(winners.first_missing(PageCount::new(0)).unwrap(), Pgno::new(1));
            assert_eq!(write(&winners, &out, 1, &[0, 3], 3), [(0, 2)], "again, and zeros too");
            assert_eq!(winners.first_missing(PageCount::new(0)).unwrap(), Pgno::new(3));
            assert_eq!(write(&winners, &out, 3, &[4], 4), [(2, 1)]);
            assert_eq!(winners.first_missing(PageCount::new(0)).unwrap(), None);
        }
    }

    #[test]
    fn numbers_are_saved_where_they_have_changed() {
        let (file, commit) = (tempfile::tempfile().unwrap(), PageCount::new(SAVED as u32 + 10));
        file.set_len(7 + u64::from(commit.get()) * 4).unwrap();
        let page_size = PageSize::new(512).unwrap();
        let read = || Winners::saved(commit, page_size, false, file.try_clone().unwrap(), 7).unwrap();
        let numbers = |winners: &Winners, start| {
            let mut numbers = [0; 2];
            winners.load(start, &mut numbers).unwrap();
            numbers
        };
        let winners = read();
        winners.store(SAVED - 1, &[8, 9]).unwrap();
        winners.save(&file, 7).unwrap();
        assert_eq!(numbers(&read(), SAVED - 1), [8, 9]);
        // Nothing has changed since then, as far as anybody said.
        file.write_all_at(&[0; 4], 7 + SAVED as u64 * 4).unwrap();
        winners.store(5, &[1, 2]).unwrap();
        winners.save(&file, 7).unwrap();
        assert_eq!((numbers(&read(), SAVED - 1), numbers(&read(), 5)), ([8, 0], [1, 2]));
    }

    #[test]
    fn the_lock_page_is_never_missing() {
        let page_size = PageSize::new(65536).unwrap();
        let winners = Winners::new(PageCount::new(16_386), page_size, true, || panic!("small")).unwrap();
        winners.store(0, &vec![1; 16_384]).unwrap();
        assert_eq!(winners.first_missing(PageCount::new(0)).unwrap(), Pgno::new(16_386));
    }

    #[test]
    fn regions_are_aligned_and_zeros_are_told_from_others() {
        let winners = winners(3, false);
        assert!(winners.ends_region(Pgno::new(512).unwrap()));
        assert!(!winners.ends_region(Pgno::new(513).unwrap()));
        assert!(is_zero(&[0; 512]));
        assert!((0..512).all(|i| !is_zero(&(0..512).map(|n| u8::from(n == i)).collect::<Vec<_>>())));
    }
}
