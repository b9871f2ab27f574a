//! The records of a journal: 64 bytes each, of which the last eight are a checksum over the others and their place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ltx::{Checksum, FileHasher, PageCount, PageSize, RollingChecksum, Timestamp, TxId};

use crate::client::FileInfo;
use crate::restore::file::{Link, Part, UNIT, UNIT_PAGES};
use crate::restore::marks::{FileState, Parts, Whole};

/// The first word: `ltxcpart`. The second is the version of all that follows, and of how files are cut into units.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"ltxcpart");
pub(super) const VERSION: u64 = 1;

/// Length in bytes of a record, and where the holders begin.
pub(crate) const RECORD: u64 = 64;
pub(super) const WORDS: usize = 7;

/// Length in bytes of a holder.
pub(super) const HOLDER: u64 = 4;

/// Bytes that are read or written at a time.
pub(super) const BLOCK: usize = 64 << 10;

pub(super) const FILE: u64 = 1;
pub(super) const UNIT_DONE: u64 = 2;
pub(super) const UNITS_BEFORE: u64 = 3;
pub(super) const WHOLE: u64 = 4;
pub(super) const EDITED: u64 = 5;
pub(super) const CLOSED: u64 = 6;

pub(super) type Record = [u64; WORDS];

/// What a partial database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) page_size: PageSize,
    pub(crate) commit: PageCount,
    /// Stands for the replica.
    pub(crate) replica: u64,
    /// Of the database file.
    pub(crate) inode: u64,
}

impl Head {
    pub(super) fn record(&self, files: usize) -> Record {
        let shape = u64::from(self.page_size.get()) << 32 | u64::from(self.commit.get());
        [MAGIC, VERSION, shape, files as u64, self.replica, self.inode, units()]
    }

    /// `None` if that is no head, or not one of this version.
    pub(super) fn parse(record: &Record) -> Option<(Self, u64)> {
        let [MAGIC, VERSION, shape, files, replica, inode, cut] = *record else { return None };
        let (page_size, commit) = (PageSize::new((shape >> 32) as u32).ok()?, PageCount::new(shape as u32));
        (cut == units()).then_some((Self { page_size, commit, replica, inode }, files))
    }

    /// Where the records begin that come after the holders.
    pub(super) fn records(&self) -> u64 {
        let holders = u64::from(self.commit.get()) * HOLDER;
        RECORD + holders.next_multiple_of(RECORD)
    }
}

/// How files are cut into units.
pub(super) fn units() -> u64 {
    (UNIT as u64) << 32 | UNIT_PAGES as u64
}

pub(super) fn file_record(info: &FileInfo) -> Record {
    let created = info.created_at.millis().cast_unsigned();
    [FILE, info.level.into(), info.min_txid.get(), info.max_txid.get(), info.size, created, 0]
}

pub(super) fn part_record(kind: u64, number: u32, sequence: u32, part: &Part, bytes: u64) -> Record {
    let place = u64::from(number) << 32 | u64::from(sequence);
    [kind, place, part.crc, part.len, part.rolling.get().get(), bytes, 0]
}

pub(super) fn whole_record(number: u32, whole: &Whole, bytes: u64) -> Record {
    let link = whole.link.unwrap_or(Link { before: Checksum::NONE, after: Checksum::NONE });
    let place = u64::from(number) << 32 | u64::from(whole.link.is_some());
    [WHOLE, place, whole.header, link.before.get(), link.after.get(), bytes, whole.checksum]
}

pub(super) fn parse_file(record: &Record) -> Option<FileInfo> {
    let [FILE, level, min, max, size, created, _] = *record else { return None };
    let created_at = Timestamp::from_millis(created.cast_signed());
    let (min_txid, max_txid) = (TxId::new(min), TxId::new(max));
    Some(FileInfo { level: u8::try_from(level).ok()?, min_txid, max_txid, size, created_at })
}

/// Takes in what is done, with the number of its file.
pub(super) fn apply(record: &Record, marks: &mut [FileState]) {
    let [kind, place, a, b, c, d, checksum] = *record;
    let (number, low) = ((place >> 32) as usize, place as u32);
    let Some(mark) = number.checked_sub(1).and_then(|at| marks.get_mut(at)) else { return };
    let part = Part { crc: a, len: b, rolling: RollingChecksum::from_checksum(Checksum::new(c)) };
    match (kind, &mut *mark) {
        (WHOLE, _) => {
            let link = Link { before: Checksum::new(b), after: Checksum::new(c) };
            *mark = FileState::Whole(Whole { header: a, checksum, link: (low != 0).then_some(link) });
        }
        (UNITS_BEFORE, FileState::Nothing) => {
            let parts = Parts { next: low, joined: part, bytes: d, ..Parts::default() };
            *mark = FileState::Parts(Box::new(parts));
        }
        (UNIT_DONE, FileState::Parts(parts)) => parts.add(low, part, d),
        (UNIT_DONE, FileState::Nothing) => {
            let mut parts = Parts::default();
            parts.add(low, part, d);
            *mark = FileState::Parts(Box::new(parts));
        }
        _ => {}
    }
}

/// The records that lead to a mark.
pub(super) fn mark_records(number: u32, mark: &FileState, size: u64) -> Vec<Record> {
    match mark {
        FileState::Nothing => Vec::new(),
        FileState::Whole(whole) => vec![whole_record(number, whole, size)],
        FileState::Parts(parts) => {
            let first = part_record(UNITS_BEFORE, number, parts.next, &parts.joined, parts.bytes);
            // Their bytes are among those of the first.
            let rest = parts.waiting.iter().map(|(n, part)| part_record(UNIT_DONE, number, *n, part, 0));
            std::iter::once(first).chain(rest).collect()
        }
    }
}

/// What `record` adds to what is done, in bytes.
pub(super) fn recorded_bytes(record: &Record) -> u64 {
    match record {
        [UNIT_DONE | WHOLE, _, _, _, _, bytes, _] => *bytes,
        _ => 0,
    }
}

/// Writes records from `at` (bytes); returns where they end.
pub(super) fn append(file: &File, mut at: u64, records: impl Iterator<Item = Record>) -> io::Result<u64> {
    let mut block = Vec::with_capacity(BLOCK);
    for record in records {
        block.extend(encode(&record, at + block.len() as u64));
        if block.len() >= BLOCK {
            file.write_all_at(&block, at)?;
            at += block.len() as u64;
            block.clear();
        }
    }
    file.write_all_at(&block, at)?;
    Ok(at + block.len() as u64)
}

/// A record as it is at `at` (bytes).
pub(super) fn encode(record: &Record, at: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = record.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend(seal(&bytes, at).to_be_bytes());
    bytes
}

pub(super) fn seal(bytes: &[u8], at: u64) -> u64 {
    let mut hasher = FileHasher::new();
    hasher.update(&at.to_be_bytes());
    hasher.update(bytes);
    hasher.finish()
}

/// Reads records until one is not whole.
pub(super) struct Records<'a> {
    file: &'a File,
    /// Of the next record, in bytes.
    at: u64,
    block: Vec<u8>,
    used: usize,
}

impl<'a> Records<'a> {
    /// From `at` (bytes) on.
    pub(super) fn from(file: &'a File, at: u64) -> Self {
        Self { file, at, block: Vec::new(), used: 0 }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        if self.block.len() - self.used < RECORD as usize {
            self.block.resize(BLOCK, 0);
            let read = read_up_to(self.file, &mut self.block, self.at)?;
            self.block.truncate(read);
            self.used = 0;
        }
        let Some(bytes) =
            self.block.get(self.used..).and_then(|rest| rest.first_chunk::<{ RECORD as usize }>())
        else {
            return Ok(None);
        };
        let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word));
        let mut record = Record::default();
        record.iter_mut().zip(&mut words).for_each(|(word, read)| *word = read);
        let is_whole = words.next() == Some(seal(bytes.get(..WORDS * 8).unwrap_or_default(), self.at));
        self.used += RECORD as usize;
        self.at += RECORD;
        Ok(is_whole.then_some(record))
    }
}

pub(super) fn read_up_to(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
