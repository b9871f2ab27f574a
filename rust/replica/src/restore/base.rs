//! A copy of the database that a restore begins with, so that only files with later transactions have to be read.
//!
//! Pages that none of these files has stay as they are in the copy. So the copy must be what it is taken for, and the replica
//! must still be the history that it stands on, at least up to one of the files that it stands on ([`Past`]). Where the newest file has
//! a checksum of the whole database, that proves both: the result is summed before it gets its name. Where it has none, the caller
//! must have proved both, and the copy must still have the [`Shape`] that it had then, and the replica the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use dbfile::header;
use ltx::{Checksum, PageCount, PageSize, TxId};

use super::past::{Mark, Past};

/// What a database file is like from outside. Whoever writes to it changes at least one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The change counter in its header; 0 if it has no header.
    pub change_counter: u32,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written to, in nanoseconds since 1970.
    pub mtime_ns: i128,
}

impl Shape {
    /// The file as it is now.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mut head = [0; header::CHANGE_COUNTER.end];
        let counter = match file.read_exact_at(&mut head, 0) {
            Ok(()) => header::word(&head, header::CHANGE_COUNTER).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        let mtime_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Ok(Self { change_counter: counter, size: metadata.len(), mtime_ns })
    }
}

/// A copy of the database at an earlier transaction.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// The copy. It is read only, and whoever lends it knows how to close it without taking locks from others.
    pub file: &'a File,
    /// Where it is.
    pub position: TxId,
    /// What it stands on, if that is known. Its last file then ends at `position`.
    pub past: &'a Past,
    /// The place in [`Past::marks`] of the file that the replica still has. The files that follow it are read.
    pub mark: usize,
    /// The checksum of page 1 as the replica has it there: that of the copy may differ in its journal mode. `None` if that is not
    /// known, in which case the files have to bring page 1 for the sum to prove anything.
    pub page_1: Option<Checksum>,
    /// The database header in that page, if it may differ from that of the copy in more than its journal mode.
    pub head: Option<&'a [u8]>,
    /// What the copy was like when the caller proved that it is the replica's at this transaction; `None` if that is not proved.
    pub proved: Option<Shape>,
}

impl Base<'_> {
    /// The file that proves what the copy is, if there is one.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.past.marks.get(self.mark).copied()
    }

    /// Where the files begin that have to be read.
    pub(crate) fn txid(&self) -> TxId {
        self.mark().map_or(self.position, |mark| mark.max_txid)
    }

    /// Whether the copy is still what was proved. The caller keeps writers out meanwhile.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn is_proved(&self) -> io::Result<bool> {
        self.proved.map_or(Ok(false), |shape| Ok(shape == Shape::of(self.file)?))
    }

    /// How many pages it has, if they are of this size.
    pub(crate) fn pages(&self, page_size: PageSize) -> io::Result<Option<PageCount>> {
        let mut head = [0; header::SIZE];
        let len = self.file.metadata()?.len();
        if len >= head.len() as u64 {
            self.file.read_exact_at(&mut head, 0)?;
        }
        let size = u64::from(page_size.get());
        let is_other =
            head.starts_with(header::MAGIC) && header::stored_page_size(&head) != Some(page_size.get());
        let pages = u32::try_from(len / size).ok().filter(|_| len % size == 0 && !is_other);
        Ok(pages.map(PageCount::new))
    }
}
