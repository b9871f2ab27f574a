//! What a restored database stands on, so that a later restore can begin with it although the replica was merged meanwhile.
//!
//! Files come and go: those of level 0 are deleted minutes after they were merged. So besides the file that ended at the database's
//! transaction, others are kept in mind that ended earlier and stay longer: of each level the last one that was read. Any of
//! them that is still in the replica proves that its history up to there is the database's, too. What the database has from later
//! files is in doubt then. So for each page is kept after which of these files it was written, and a restore that begins at one
//! of them counts only if its files have brought every page that was written after that one. Then nothing is left of what was in
//! doubt, whatever has become of the later files: merged, deleted, or replaced by another history.

use std::io;

use ltx::{PageCount, PageSize, SNAPSHOT_LEVEL, Timestamp, TxId};

use super::index::parse_varint;
use super::winners::Winners;
use crate::client::FileInfo;

/// How many files are kept in mind. Their places have to fit into [`CLASS_BITS`], that of the last one left out.
const MOST_MARKS: usize = 8;

/// How many bytes [`Past::runs`] has at most. Rather than that, the oldest files are forgotten.
const MOST_RUNS: usize = 1 << 20;

/// Bits of the place of a file within the number that holds the length of a run, too.
const CLASS_BITS: u32 = 3;

/// A file as it was read. Its checksum tells it from every other one of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Compaction level.
    pub level: u8,
    /// First transaction.
    pub min_txid: TxId,
    /// Last transaction.
    pub max_txid: TxId,
    /// Size in bytes.
    pub size: u64,
    /// The last eight bytes of the file, big-endian: the checksum over all others.
    pub checksum: u64,
}

impl Mark {
    pub(crate) fn new(file: &FileInfo, checksum: u64) -> Self {
        let FileInfo { level, min_txid, max_txid, size, .. } = *file;
        Self { level, min_txid, max_txid, size, checksum }
    }

    /// What a listing would say, but for the time.
    pub(crate) fn file(&self) -> FileInfo {
        let Self { level, min_txid, max_txid, size, .. } = *self;
        FileInfo { level, min_txid, max_txid, size, created_at: Timestamp::from_millis(0) }
    }
}

/// What a database stands on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Files, by ascending last transaction, each of which was the newest one once. The last one ends where the database is.
    pub marks: Vec<Mark>,
    /// Which pages were written after which of these files.
    ///
    /// Variable-length numbers: the page size in bytes; then for each run of consecutive pages how many pages come between it and the
    /// one before, and `length << 3 | place`, where `place` is that of the newest file of `marks` after which the pages were
    /// written, from 0. Pages that have not been written since the first of these files are in no run.
    pub runs: Vec<u8>,
}

/// Consecutive pages that were written after the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRun {
    /// The first page, from 0.
    pub(crate) first: u32,
    pub(crate) len: u32,
    /// The place of that file.
    pub(crate) class: usize,
}

impl Past {
    /// The runs, if they are of pages of this size and make sense.
    pub(crate) fn decode(&self, page_size: PageSize) -> Option<Vec<PageRun>> {
        let (mut rest, mut runs, mut end) = (self.runs.as_slice(), Vec::new(), 0_u32);
        if rest.is_empty() {
            // There is something to say as soon as there are two files, and be it that nothing was written in between.
            return (self.marks.len() < 2).then_some(runs);
        }
        let mut next = || {
            let (number, used) = parse_varint(rest)?;
            rest = rest.get(used..).filter(|_| used > 0)?;
            Some((number, rest.is_empty()))
        };
        let (stored, mut is_end) = next()?;
        if stored != u64::from(page_size.get()) {
            return None;
        }
        while !is_end {
            let (gap, _) = next()?;
            let (packed, last) = next()?;
            let class = usize::try_from(packed & ((1 << CLASS_BITS) - 1)).ok()?;
            let first = end.checked_add(u32::try_from(gap).ok()?)?;
            let len = u32::try_from(packed >> CLASS_BITS).ok().filter(|len| *len > 0)?;
            end = first.checked_add(len)?;
            runs.push(PageRun { first, len, class });
            is_end = last;
        }
        // The file that ends where the database is has nothing after it.
        runs.iter().all(|run| run.class + 1 < self.marks.len()).then_some(runs)
    }
}

/// The copy that a restore began with: what it stood on, and the place of the file up to which that still holds.
pub(crate) struct Known<'a> {
    pub(crate) past: &'a Past,
    pub(crate) runs: &'a [PageRun],
    pub(crate) place: usize,
    /// The transaction that it is taken for.
    pub(crate) txid: TxId,
}

impl Known<'_> {
    /// Whether every page that was written after that file has been written once more, of those that the database still has.
    pub(crate) fn is_rewritten(&self, winners: &Winners, commit: PageCount) -> io::Result<bool> {
        for run in self.runs.iter().filter(|run| run.class >= self.place) {
            let end = (run.first + run.len).min(commit.get());
            if run.first < end && !winners.has_all(run.first..end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The files before that one, and that one.
    fn marks(&self) -> &[Mark] {
        self.past.marks.get(..=self.place).unwrap_or_default()
    }
}

/// What a restore has read.
pub(crate) struct Read<'a> {
    pub(crate) files: &'a [FileInfo],
    /// Their checksums.
    pub(crate) checksums: &'a [u64],
    /// The file that ends where the database is, whether it was read or not.
    pub(crate) newest: Mark,
}

/// What a database stands on that was made from `known`, if anything, and the files of `read`.
pub(crate) fn past(
    known: Option<&Known<'_>>,
    read: &Read<'_>,
    winners: &Winners,
    page_size: PageSize,
) -> io::Result<Past> {
    let old = known.map(Known::marks).unwrap_or_default();
    let new = read.files.iter().zip(read.checksums).map(|(file, checksum)| Mark::new(file, *checksum));
    let mut marks: Vec<Mark> = old.iter().copied().chain(new).collect();
    marks.retain(|mark| mark.max_txid < read.newest.max_txid);
    marks.push(read.newest);
    let marks = worth_keeping(&marks);
    let before = marks.split_last().map(|(_, before)| before).unwrap_or_default();
    let places = |txid: TxId| before.partition_point(|mark| mark.max_txid <= txid);
    // How many of the files a page was written after, which the first, second ... file brought, and before that each class.
    let start = known.map_or(TxId::NONE, |known| known.txid);
    let starts = std::iter::once(start).chain(read.files.iter().map(|file| file.max_txid));
    let by_file: Vec<usize> = starts.map(places).collect();
    let by_class: Vec<usize> = old.iter().map(|mark| places(mark.max_txid)).collect();

    let mut encoders: Vec<Encoder> = (0..before.len()).map(|skip| Encoder::new(skip, page_size)).collect();
    let mut runs = known.map(|known| known.runs).unwrap_or_default().iter().peekable();
    let (mut first, mut after) = (0, 0);
    let mut total = 0;
    winners.each(|page, number| {
        while runs.next_if(|run| run.first + run.len <= page).is_some() {}
        let held = runs.peek().filter(|run| run.first <= page).and_then(|run| by_class.get(run.class));
        let count = match number.checked_sub(1) {
            Some(file) => by_file.get(file as usize),
            None => held,
        };
        let count = count.copied().unwrap_or(0);
        if count != after {
            encoders.iter_mut().for_each(|encoder| encoder.add(first, page - first, after));
            (first, after) = (page, count);
        }
        total = page + 1;
    })?;
    encoders.iter_mut().for_each(|encoder| encoder.add(first, total - first, after));
    let fits = encoders.into_iter().find(|encoder| encoder.bytes.len() <= MOST_RUNS);
    let skipped = fits.as_ref().map_or(before.len(), |encoder| encoder.skip);
    let runs = fits.map(|encoder| encoder.bytes).unwrap_or_default();
    Ok(Past { marks: marks.get(skipped..).unwrap_or_default().to_vec(), runs })
}

/// The last file of each level, as files of one level stay the longer the newer they are; not too many.
fn worth_keeping(marks: &[Mark]) -> Vec<Mark> {
    let mut seen = [false; SNAPSHOT_LEVEL as usize + 1];
    let is_last = |mark: &&Mark| {
        let level = seen.get_mut(usize::from(mark.level));
        level.is_some_and(|seen| !std::mem::replace(seen, true))
    };
    let mut kept: Vec<Mark> = marks.iter().rev().filter(is_last).take(MOST_MARKS).copied().collect();
    kept.reverse();
    kept
}

/// Writes [`Past::runs`] as if the first `skip` files were not kept in mind; gives up soon after it has too many bytes.
struct Encoder {
    skip: usize,
    bytes: Vec<u8>,
    end: u32,
}

impl Encoder {
    fn new(skip: usize, page_size: PageSize) -> Self {
        let mut bytes = Vec::new();
        push_varint(&mut bytes, page_size.get().into());
        Self { skip, bytes, end: 0 }
    }

    /// Adds pages that were written after the first `after` files.
    fn add(&mut self, first: u32, len: u32, after: usize) {
        if after <= self.skip || len == 0 || self.bytes.len() > MOST_RUNS {
            return;
        }
        push_varint(&mut self.bytes, u64::from(first - self.end));
        push_varint(&mut self.bytes, u64::from(len) << CLASS_BITS | (after - 1 - self.skip) as u64);
        self.end = first + len;
    }
}

/// Little-endian base 128.
fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use ltx::Pgno;

    use super::super::winners::Run;
    use super::*;

    const SIZE: usize = 512;

    fn page_size() -> PageSize {
        PageSize::new(512).unwrap()
    }

    fn file(level: u8, min: u64, max: u64) -> FileInfo {
        let (min_txid, max_txid) = (TxId::new(min), TxId::new(max));
        FileInfo { level, min_txid, max_txid, size: 1000, created_at: Timestamp::from_millis(0) }
    }

    fn mark(level: u8, min: u64, max: u64) -> Mark {
        Mark::new(&file(level, min, max), max + 100)
    }

    /// Which file has written which page, 0 for none.
    fn winners(numbers: &[u32]) -> Winners {
        let commit = PageCount::new(numbers.len() as u32);
        let winners = Winners::new(commit, page_size(), true, || panic!("small")).unwrap();
        for (pgno, number) in (1..).zip(numbers).filter(|(_, number)| **number > 0) {
            let run = Run { first: Pgno::new(pgno).unwrap(), pages: &[7; SIZE], number: *number };
            winners.write(&run, |_, _| Ok(())).unwrap();
        }
        winners
    }

    fn made(known: Option<&Known<'_>>, files: &[FileInfo], numbers: &[u32]) -> Past {
        let checksums: Vec<u64> = files.iter().map(|file| file.max_txid.get() + 100).collect();
        let newest = Mark::new(files.last().unwrap(), *checksums.last().unwrap());
        past(known, &Read { files, checksums: &checksums, newest }, &winners(numbers), page_size()).unwrap()
    }

    /// Page by page the place of the file after which it was written.
    fn classes(past: &Past, pages: u32) -> Vec<Option<usize>> {
        let runs = past.decode(page_size()).unwrap();
        let held = |page| runs.iter().find(|run| (run.first..run.first + run.len).contains(&page));
        (0..pages).map(|page| held(page).map(|run| run.class)).collect()
    }

    fn ends(past: &Past) -> Vec<u64> {
        past.marks.iter().map(|mark| mark.max_txid.get()).collect()
    }

    const FILES: [(u8, u64, u64); 5] = [(9, 1, 10), (2, 11, 20), (1, 21, 25), (1, 26, 30), (0, 31, 31)];

    fn first() -> Past {
        made(None, &FILES.map(|(level, min, max)| file(level, min, max)), &[1, 2, 2, 3, 4, 5, 1, 5])
    }

    #[test]
    fn of_each_level_the_last_file_is_kept_in_mind() {
        let past = first();
        assert_eq!(past.marks, [mark(9, 1, 10), mark(2, 11, 20), mark(1, 26, 30), mark(0, 31, 31)]);
        let expected = [None, Some(0), Some(0), Some(1), Some(1), Some(2), None, Some(2)];
        assert_eq!(classes(&past, 8), expected);
    }

    #[test]
    fn what_was_read_since_a_file_replaces_what_was_written_after_it() {
        let old = first();
        let runs = old.decode(page_size()).unwrap();
        let known = Known { past: &old, runs: &runs, place: 2, txid: TxId::new(30) };
        for (numbers, expected) in [
            ([0, 0, 0, 0, 0, 1, 0, 1], true),
            ([1, 1, 1, 1, 1, 1, 1, 0], false),
            ([1, 1, 1, 1, 1, 0, 1, 1], false),
        ] {
            assert_eq!(
                known.is_rewritten(&winners(&numbers), PageCount::new(8)).unwrap(),
                expected,
                "{numbers:?}"
            );
        }
        assert!(known.is_rewritten(&winners(&[0; 5]), PageCount::new(5)).unwrap(), "they were cut off");
        let new = made(Some(&known), &[file(3, 21, 40), file(0, 41, 41)], &[0, 0, 2, 0, 1, 2, 0, 1, 2]);
        assert_eq!(ends(&new), [10, 20, 30, 40, 41]);
        let (after_30, after_40) = (Some(2), Some(3));
        let expected = [None, Some(0), after_40, Some(1), after_30, after_40, None, after_30, after_40];
        assert_eq!(classes(&new, 9), expected);
    }

    #[test]
    fn a_copy_of_an_unknown_past_stands_on_what_was_read() {
        let unknown = Past::default();
        let known = Known { past: &unknown, runs: &[], place: 0, txid: TxId::new(20) };
        let new = made(Some(&known), &[file(1, 21, 40), file(0, 41, 41)], &[0, 1, 2]);
        assert_eq!((ends(&new), classes(&new, 3)), (vec![40, 41], vec![None, None, Some(0)]));
    }

    #[test]
    fn rather_than_too_much_the_oldest_files_are_forgotten() {
        let files: Vec<FileInfo> =
            [(9, 1, 10), (1, 11, 20), (0, 21, 21)].map(|(l, a, b)| file(l, a, b)).into();
        // Runs of one page each, and two bytes.
        let numbers = |second: usize| -> Vec<u32> {
            (0..1_200_000)
                .map(|page| match page % 2 {
                    0 => 1,
                    _ if page < second => 3,
                    _ => 2,
                })
                .collect()
        };
        let past = made(None, &files, &numbers(1000));
        assert_eq!(ends(&past), [20, 21]);
        assert_eq!(past.decode(page_size()).unwrap().len(), 500);
        assert_eq!(ends(&made(None, &files, &numbers(1_200_000))), [21]);
        assert!(made(None, &files, &numbers(1_200_000)).runs.is_empty());
    }

    #[test]
    fn runs_that_make_no_sense_are_told() {
        let good = first();
        for runs in [
            vec![],
            vec![0x80],
            vec![0x80, 0x08],
            vec![0x80, 0x04, 0],
            vec![0x80, 0x04, 0, 0],
            vec![0x80, 0x04, 0, 1 << 3 | 3],
            vec![0x80, 0x04, 0xff, 0xff, 0xff, 0xff, 0x0f, 1 << 3],
        ] {
            assert_eq!(Past { runs: runs.clone(), ..good.clone() }.decode(page_size()), None, "{runs:?}");
        }
        assert!(good.decode(PageSize::new(1024).unwrap()).is_none());
        assert_eq!(Past { runs: vec![0x80, 0x04], ..good }.decode(page_size()), Some(vec![]));
        assert_eq!(Past::default().decode(page_size()), Some(vec![]));
    }
}
