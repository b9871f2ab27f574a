//! The journal of a database that is being made: what of it is done, so that the next restore can go on.
//!
//! One file, in records of 64 bytes: a head; then, for every page, the number of the file that holds it, four bytes each; then
//! the files of the plan, what of them was done at the beginning, and what was done since. Each record ends with a checksum
//! over itself and its place, so that an end that was written in part is ignored.
//!
//! A unit is recorded when its pages and their holders are durable, not before: [`Journal::checkpoint`]. Holders are written
//! over, and may be newer than the records. They never are older: see `marks` for what that leaves to be thought of.

mod records;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use durable::{allocate, create_new, open_left, sync_parent};
use ltx::Checksum;

use crate::client::FileInfo;
use crate::restore::file::{Part, UNIT};
use crate::restore::marks::{Done, FileState, Mapping, Whole};
use records::{
    BLOCK, CLOSED, EDITED, HOLDER, Record, Records, UNIT_DONE, append, apply, file_record, mark_records,
    parse_file, part_record, recorded_bytes, whole_record,
};
pub(crate) use records::{Head, RECORD};

/// More records than that are not kept in memory if they cannot be written: then the restore goes on without.
const MOST_PENDING: usize = 1 << 18;

/// What an earlier restore has left.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) head: Head,
    pub(crate) done: Done,
    /// The checksum that page 1 has in the replica, if it was edited here afterwards.
    pub(crate) page_1: Option<Checksum>,
    file: File,
}

impl Saved {
    /// Reads a journal; `None` if there is none, or it is not whole, or of another version.
    ///
    /// # Errors
    /// What the system answers.
    pub(crate) fn load(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = open_left(path)? else { return Ok(None) };
        let head = Records::from(&file, 0).next()?;
        let Some((head, count)) = head.as_ref().and_then(Head::parse) else { return Ok(None) };
        let mut records = Records::from(&file, head.records());
        let (mut files, mut page_1, mut is_closed) = (Vec::new(), None, false);
        for _ in 0..count {
            let Some(info) = records.next()?.as_ref().and_then(parse_file) else { return Ok(None) };
            files.push(info);
        }
        let mut marks = vec![FileState::Nothing; files.len()];
        while let Some(record) = records.next()? {
            match record {
                [EDITED, sum, ..] => page_1 = Some(Checksum::new(sum)),
                [CLOSED, ..] => is_closed = true,
                _ => apply(&record, &mut marks),
            }
        }
        Ok(Some(Self { head, done: Done { files, marks, is_closed }, page_1, file }))
    }

    /// Reads the holders of pages from `start`, from 0.
    pub(super) fn holders(&self, start: u64, out: &mut [u32]) -> io::Result<()> {
        let mut bytes = vec![0; out.len() * HOLDER as usize];
        self.file.read_exact_at(&mut bytes, RECORD + start * HOLDER)?;
        let words = bytes.as_chunks().0.iter().map(|bytes| u32::from_be_bytes(*bytes));
        out.iter_mut().zip(words).for_each(|(out, word)| *out = word);
        Ok(())
    }
}

/// What a restore writes down as it goes.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    pending: Mutex<Vec<Record>>,
    tail: Mutex<Tail>,
    /// Bytes of the replica that would not be read again.
    kept: AtomicU64,
}

#[derive(Debug)]
struct Tail {
    /// Where the next record goes, in bytes.
    end: u64,
    /// Nothing is written any more.
    is_broken: bool,
}

/// What a journal begins with.
pub(crate) struct Beginning<'a> {
    pub(crate) head: Head,
    pub(crate) files: &'a [FileInfo],
    pub(crate) marks: &'a [FileState],
    /// Bytes that are done.
    pub(crate) bytes: u64,
    /// What an earlier restore had, and what of it holds.
    pub(crate) before: Option<(&'a Saved, &'a Mapping)>,
}

impl Journal {
    /// Makes a journal at `new`, durable, and lets it take the place of the one at `path`. Until then that one counts.
    ///
    /// # Errors
    /// What the system answers; then it is not known which of the two counts, but both are right.
    pub(crate) fn begin(path: &Path, new: &Path, beginning: &Beginning<'_>) -> io::Result<Self> {
        let _ = fs::remove_file(new);
        let file = create_new(new, 0o600)?;
        let begun = write_beginning(&file, beginning)
            .and_then(|end| file.sync_data().map(|()| end))
            .and_then(|end| fs::rename(new, path).map(|()| end))
            // The old journal knows nothing of what is written from now on: it must not come back.
            .and_then(|end| sync_parent(path).map(|()| end));
        match begun {
            Ok(end) => Ok(Self {
                file,
                path: path.to_owned(),
                pending: Mutex::default(),
                tail: Mutex::new(Tail { end, is_broken: false }),
                kept: AtomicU64::new(beginning.bytes),
            }),
            Err(error) => {
                let _ = fs::remove_file(new);
                Err(error)
            }
        }
    }

    /// The file, in which the holders are from [`RECORD`] on.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes of the replica that would not be read again.
    pub(crate) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// A unit has been written, for which `bytes` were read.
    pub(crate) fn unit(&self, number: u32, sequence: u32, part: &Part, bytes: u64) {
        self.push(part_record(UNIT_DONE, number, sequence, part, bytes));
    }

    /// A file is sound; `bytes` of it are in no unit.
    pub(crate) fn whole(&self, number: u32, whole: &Whole, bytes: u64) {
        self.push(whole_record(number, whole, bytes));
    }

    fn push(&self, record: Record) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() < MOST_PENDING {
            pending.push(record);
        } else {
            // What is recorded must not have gaps that nobody knows of.
            self.tail.lock().unwrap_or_else(PoisonError::into_inner).is_broken = true;
        }
    }

    /// Records what is done, after `sync` has made the pages durable and `save` has written their holders. Should the journal
    /// itself fail, what it has is kept, and the rest is tried the next time.
    ///
    /// # Errors
    /// That of `sync`: then nothing is recorded any more, since nobody knows what is on the disk.
    pub(crate) fn checkpoint(
        &self,
        sync: impl FnOnce() -> io::Result<()>,
        save: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        self.record(None, sync, save).map(|_| ())
    }

    /// The same for the last time: whoever goes on can rely on it that nothing is written afterwards.
    ///
    /// # Errors
    /// As [`Journal::checkpoint`].
    pub(crate) fn close(
        &self,
        sync: impl FnOnce() -> io::Result<()>,
        save: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        self.record(Some([CLOSED, 0, 0, 0, 0, 0, 0]), sync, save).map(|_| ())
    }

    /// Records that page 1, which has this checksum, is about to be edited. Whether it could be recorded.
    ///
    /// # Errors
    /// As [`Journal::checkpoint`].
    pub(crate) fn edit(
        &self,
        page_1: Checksum,
        sync: impl FnOnce() -> io::Result<()>,
        save: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<bool> {
        let is_recorded = self.record(Some([EDITED, page_1.get(), 0, 0, 0, 0, 0]), sync, save)?;
        Ok(is_recorded && self.file.sync_data().is_ok())
    }

    fn record(
        &self,
        last: Option<Record>,
        sync: impl FnOnce() -> io::Result<()>,
        save: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut records = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let is_broken = self.tail.lock().unwrap_or_else(PoisonError::into_inner).is_broken;
        if is_broken || (records.is_empty() && last.is_none()) {
            return Ok(false);
        }
        if let Err(error) = sync() {
            self.give_up();
            return Err(error);
        }
        records.extend(last);
        let saved =
            save(&self.file).and_then(|()| self.file.sync_data()).and_then(|()| self.append(&records));
        if saved.is_err() {
            // In the old order, as far as that matters, and without the last one.
            records.truncate(records.len() - usize::from(last.is_some()));
            self.pending.lock().unwrap_or_else(PoisonError::into_inner).extend(records);
            return Ok(false);
        }
        let bytes = records.iter().map(recorded_bytes).fold(0, u64::saturating_add);
        self.kept.fetch_add(bytes, Ordering::Relaxed);
        Ok(true)
    }

    fn append(&self, records: &[Record]) -> io::Result<()> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let end = append(&self.file, tail.end, records.iter().copied());
        match end {
            Ok(end) => tail.end = end,
            // Without half a record, behind which nothing would be found.
            Err(_) => self.file.set_len(tail.end).unwrap_or_else(|_| tail.is_broken = true),
        }
        end.map(|_| ())
    }

    /// Stays as it is from now on.
    fn give_up(&self) {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).is_broken = true;
    }

    /// Removes it: the database is not gone on with.
    pub(crate) fn remove(&self) {
        self.give_up();
        self.kept.store(0, Ordering::Relaxed);
        let _ = fs::remove_file(&self.path);
    }
}

fn write_beginning(file: &File, beginning: &Beginning<'_>) -> io::Result<u64> {
    let Beginning { head, files, marks, before, .. } = beginning;
    append(file, 0, std::iter::once(head.record(files.len())))?;
    make_room(file, head, files)?;
    if let Some((saved, mapping)) = before {
        let commit = u64::from(head.commit.get());
        let old = u64::from(saved.head.commit.get());
        let mut holders = vec![0; BLOCK / HOLDER as usize];
        for start in (0..commit).step_by(holders.len()) {
            let count = usize::try_from(commit - start).unwrap_or(usize::MAX).min(holders.len());
            let there = usize::try_from(old.saturating_sub(start)).unwrap_or(usize::MAX).min(count);
            let (known, new) = holders.split_at_mut(there);
            saved.holders(start, known)?;
            known.iter_mut().for_each(|held| *held = mapping.holder(*held));
            new.fill(mapping.beyond);
            let bytes: Vec<u8> = holders.iter().take(count).flat_map(|held| held.to_be_bytes()).collect();
            file.write_all_at(&bytes, RECORD + start * HOLDER)?;
        }
    }
    let marked = (1..).zip(marks.iter().zip(*files));
    let marked = marked.flat_map(|(number, (mark, file))| mark_records(number, mark, file.size));
    append(file, head.records(), files.iter().map(file_record).chain(marked))
}

/// Sets the size of a new journal, and takes the space for all of it: a disk that is full later does not keep from writing down
/// what was done till then.
fn make_room(file: &File, head: &Head, files: &[FileInfo]) -> io::Result<()> {
    file.set_len(head.records())?;
    // Of each file that it is there, its units, and that it is whole; that page 1 was edited, and that nothing comes any more.
    let records = files.iter().map(|file| file.size / UNIT as u64 + 3).fold(2, u64::saturating_add);
    if allocate(file, head.records().saturating_add(records.saturating_mul(RECORD)))? {
        return Ok(());
    }
    let zeros = vec![0; BLOCK];
    for start in (RECORD..head.records()).step_by(BLOCK) {
        let len = usize::try_from(head.records() - start).unwrap_or(BLOCK).min(BLOCK);
        file.write_all_at(zeros.get(..len).unwrap_or_default(), start)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
