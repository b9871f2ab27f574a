//! What of a plan's files has been read and written, and what of that holds for another plan.
//!
//! A page of the partial database is what the file has that is its *holder* by `winners`: or a newer one that was not
//! wholly read, if the process was killed after it wrote and before that was recorded. So when files are no longer in the plan:
//!
//! * If such a file was not wholly read, and the process was killed, it may have written over any page of older files: what these
//!   files have done does not count.
//! * A page that it holds is not written. But older files that have been read may have had the page, and will not be read again.
//!   So only a file that is at least as new as the newest of those may write it; if there is none, the page is missing in the
//!   end, and the restore begins afresh.
//!
//! The same goes for pages behind the end of the old database, which no file has written although it may have had them.

use std::collections::{BTreeMap, HashMap};

use ltx::{FileHasher, RollingChecksum};

use crate::client::FileInfo;
use crate::restore::file::{Link, Part};

/// Of a file number in `winners`: the page is not written, and files with a lower number must not write it.
pub(crate) const MISSING: u32 = 1 << 31;

/// What of one file is done.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum FileState {
    /// Nothing.
    #[default]
    Nothing,
    /// Some of its units.
    Parts(Box<Parts>),
    /// It was read, and is sound.
    Whole(Whole),
}

/// Units of a file that are done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parts {
    /// The units before this one, and what they come to together.
    pub(crate) next: u32,
    pub(crate) joined: Part,
    /// Units after that.
    pub(crate) waiting: BTreeMap<u32, Part>,
    /// What was read for all of them, in bytes.
    pub(crate) bytes: u64,
}

/// A file that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Whole {
    /// CRC of its header.
    pub(crate) header: u64,
    /// Its last eight bytes, the checksum over all others.
    pub(crate) checksum: u64,
    pub(crate) link: Option<Link>,
}

impl Default for Parts {
    fn default() -> Self {
        let joined = Part { crc: FileHasher::new().finish(), len: 0, rolling: RollingChecksum::new() };
        Self { next: 0, joined, waiting: BTreeMap::new(), bytes: 0 }
    }
}

impl Parts {
    /// Adds a unit for which `bytes` were read.
    pub(crate) fn add(&mut self, sequence: u32, part: Part, bytes: u64) {
        if !self.has(sequence) {
            self.waiting.insert(sequence, part);
            self.bytes = self.bytes.saturating_add(bytes);
        }
        while let Some(part) = self.waiting.remove(&self.next) {
            self.joined = self.joined.and(part);
            self.next += 1;
        }
    }

    /// Whether this unit is done.
    pub(crate) fn has(&self, sequence: u32) -> bool {
        sequence < self.next || self.waiting.contains_key(&sequence)
    }
}

impl FileState {
    fn bytes(&self, file: &FileInfo) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Parts(parts) => parts.bytes.min(file.size),
            Self::Whole(_) => file.size,
        }
    }
}

/// Which files a restore had, and what of them was done when it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) files: Vec<FileInfo>,
    /// One for each file.
    pub(crate) marks: Vec<FileState>,
    /// It ended in good order: nothing was written after the last record.
    pub(crate) is_closed: bool,
}

/// What of it holds for another plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping {
    /// One for each file of the new plan.
    pub(crate) marks: Vec<FileState>,
    /// What a file number becomes; the first is that of no file.
    held: Vec<u32>,
    /// What it becomes if the page was missing.
    missing: Vec<u32>,
    /// For pages that the old database did not have.
    pub(crate) beyond: u32,
    /// What need not be read again, in bytes.
    pub(crate) bytes: u64,
}

impl Mapping {
    /// `None` if nothing holds.
    pub(crate) fn new(done: &Done, files: &[FileInfo]) -> Option<Self> {
        let places: HashMap<&FileInfo, u32> = files.iter().zip(1..).collect();
        let new: Vec<Option<u32>> = done.files.iter().map(|file| places.get(file).copied()).collect();
        if !new.iter().flatten().is_sorted_by(|a, b| a < b) {
            return None;
        }
        let is_whole = |mark: &FileState| matches!(mark, FileState::Whole(_));
        let lost_while_read = |(new, mark): (&Option<u32>, &FileState)| new.is_none() && !is_whole(mark);
        let doubtful =
            if done.is_closed { None } else { new.iter().zip(&done.marks).rposition(lost_while_read) };
        let mut mapping = Self { marks: vec![FileState::Nothing; files.len()], ..Self::default() };
        let (mut held, mut missing, mut floor) = (vec![0], vec![0], 0);
        for (place, (new, mark)) in new.iter().zip(&done.marks).enumerate() {
            let is_kept = doubtful.is_none_or(|doubtful| place > doubtful);
            let number = new.filter(|_| is_kept);
            if let Some(number) = number.filter(|_| *mark != FileState::Nothing) {
                let slot = (number as usize).checked_sub(1).and_then(|place| mapping.marks.get_mut(place));
                slot.into_iter().for_each(|slot| slot.clone_from(mark));
                floor = MISSING | number;
                let size = done.files.get(place).map_or(0, |file| mark.bytes(file));
                mapping.bytes = mapping.bytes.saturating_add(size);
            }
            held.push(number.unwrap_or(floor));
            missing.push(floor);
        }
        (mapping.held, mapping.missing, mapping.beyond) = (held, missing, floor);
        (mapping.bytes > 0).then_some(mapping)
    }

    /// The holder of a page in the new plan.
    pub(crate) fn holder(&self, old: u32) -> u32 {
        let (of, number) =
            if old & MISSING == 0 { (&self.held, old) } else { (&self.missing, old & !MISSING) };
        // What is impossible is a page that nobody may write: it will be missing.
        of.get(number as usize).copied().unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use ltx::{Timestamp, TxId};

    use super::*;

    fn file(level: u8, min: u64, max: u64) -> FileInfo {
        let (min_txid, max_txid) = (TxId::new(min), TxId::new(max));
        FileInfo { level, min_txid, max_txid, size: 100, created_at: Timestamp::from_millis(5) }
    }

    fn part(seed: u64) -> Part {
        Part { crc: seed, len: seed, rolling: RollingChecksum::new() }
    }

    fn some() -> FileState {
        let mut parts = Parts::default();
        parts.add(3, part(9), 40);
        FileState::Parts(Box::new(parts))
    }

    const WHOLE: FileState = FileState::Whole(Whole { header: 4, checksum: 5, link: None });

    /// A snapshot that is half done, and three small files after it.
    fn done(marks: [FileState; 4], is_closed: bool) -> Done {
        Done {
            files: vec![file(9, 1, 4), file(0, 5, 5), file(0, 6, 6), file(0, 7, 7)],
            marks: marks.into(),
            is_closed,
        }
    }

    fn holders(mapping: &Mapping) -> Vec<u32> {
        (0..5).map(|old| mapping.holder(old)).collect()
    }

    #[test]
    fn the_same_plan_keeps_everything() {
        let done = done([some(), WHOLE, FileState::Nothing, WHOLE], false);
        let mapping = Mapping::new(&done, &done.files).unwrap();
        assert_eq!((holders(&mapping), mapping.bytes), (vec![0, 1, 2, 3, 4], 240));
        assert_eq!((mapping.marks, mapping.beyond), (done.marks, MISSING | 4));
    }

    #[test]
    fn pages_of_a_file_that_is_gone_may_be_written_by_newer_ones_alone() {
        let done = done([some(), WHOLE, WHOLE, WHOLE], false);
        let merged = [file(9, 1, 4), file(0, 5, 5), file(1, 6, 9)];
        let mapping = Mapping::new(&done, &merged).unwrap();
        assert_eq!(holders(&mapping), [0, 1, 2, MISSING | 2, MISSING | 2]);
        assert_eq!(mapping.marks, [some(), WHOLE, FileState::Nothing]);
        // A page that was missing already: the newest file that may have had it counts, as far as it is still there.
        assert_eq!(mapping.holder(MISSING | 4), MISSING | 2);
        assert_eq!(mapping.holder(MISSING | 1), MISSING | 1);
        assert_eq!(mapping.holder(17), u32::MAX);
    }

    #[test]
    fn a_file_that_is_gone_half_read_makes_older_ones_doubtful_unless_it_ended_in_good_order() {
        let marks = [some(), WHOLE, FileState::Nothing, WHOLE];
        let merged = [file(9, 1, 4), file(0, 5, 5), file(1, 6, 6), file(0, 7, 7)];
        let mapping = Mapping::new(&done(marks.clone(), false), &merged).unwrap();
        assert_eq!((holders(&mapping), mapping.bytes), (vec![0, 0, 0, 0, 4], 100));
        assert_eq!(mapping.marks, [FileState::Nothing, FileState::Nothing, FileState::Nothing, WHOLE]);
        let mapping = Mapping::new(&done(marks, true), &merged).unwrap();
        assert_eq!((holders(&mapping), mapping.bytes), (vec![0, 1, 2, MISSING | 2, 4], 240));
    }

    #[test]
    fn what_has_nothing_in_common_does_not_hold() {
        let old = done([some(), WHOLE, WHOLE, WHOLE], true);
        assert!(Mapping::new(&old, &[file(9, 1, 7)]).is_none());
        assert!(Mapping::new(&old, &[]).is_none());
        let other = FileInfo { size: 101, ..file(9, 1, 4) };
        assert!(Mapping::new(&old, &[other]).is_none());
        let nothing = done([const { FileState::Nothing }; 4], true);
        assert!(Mapping::new(&nothing, &nothing.files).is_none());
        let turned: Vec<FileInfo> = old.files.iter().rev().copied().collect();
        assert!(Mapping::new(&old, &turned).is_none());
    }

    #[test]
    fn units_are_joined_in_order() {
        let mut parts = Parts::default();
        for sequence in [2, 0, 2, 1, 5] {
            parts.add(sequence, part(u64::from(sequence) + 1), 10);
        }
        assert_eq!(
            (parts.next, parts.waiting.keys().copied().collect::<Vec<_>>(), parts.bytes),
            (3, vec![5], 40)
        );
        assert_eq!([0, 2, 3, 5].map(|n| parts.has(n)), [true, true, false, true]);
        assert_eq!(parts.joined.len, 6);
    }
}
