//! Mending checksums: what connections over other file layers leave behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dbfile::page_checksum::{is_sound, seal};
use dbfile::{JOURNAL_MAGIC, PENDING_BYTE};
use durable::sibling;

use super::Form;
use super::newest_form::is_other_in_wal;
use crate::exclusive::Exclusive;

/// Why checksums were not written. Nothing was changed, unless it is [`WriteChecksumsError::Io`].
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteChecksumsError {
    /// A connection uses the database, in this process or in another one.
    InUse {
        /// The database file, without links.
        path: PathBuf,
    },
    /// A transaction that was cut short has to be undone first, by whoever opens the database next.
    HasJournal {
        /// The database file, without links.
        path: PathBuf,
    },
    /// A transaction in the WAL gives the database checksums or takes them away, or may do so: a checkpoint has to tell first.
    HasWal {
        /// The database file, without links.
        path: PathBuf,
    },
    /// The file cannot be opened, read or written.
    Io(io::Error),
}

impl std::fmt::Display for WriteChecksumsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse { path } => write!(f, "{} is in use: a connection has it open", path.display()),
            Self::HasJournal { path } => {
                write!(f, "{}: a transaction that was cut short has to be undone first", path.display())
            }
            Self::HasWal { path } => {
                write!(f, "{}: the WAL changes whether pages have checksums", path.display())
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WriteChecksumsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for WriteChecksumsError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Gives each page of the database file at `database` that has a wrong checksum the one of its content, and syncs the file. The
/// content is trusted: whether it makes sense is for `PRAGMA integrity_check` to say. Pages that are in the WAL alone get their
/// checksum when they are moved into the file.
///
/// Every lock of the database is held meanwhile, where the system has locks of open files.
///
/// Returns the number of pages that were changed; 0 if the database has no page checksums.
///
/// # Errors
/// [`WriteChecksumsError`].
pub fn write_checksums(database: &Path) -> Result<u64, WriteChecksumsError> {
    let real = fs::canonicalize(database)?;
    let Some(held) = Exclusive::try_lock(&real)? else {
        return Err(WriteChecksumsError::InUse { path: real });
    };
    if has_hot_journal(&real)? {
        return Err(WriteChecksumsError::HasJournal { path: real });
    }
    let file = held.file()?;
    let Some(form) = Form::read(file)?.filter(|form| form.has_checksums) else { return Ok(0) };
    if is_other_in_wal(&real, form)? {
        return Err(WriteChecksumsError::HasWal { path: real });
    }
    Ok(mend(file, form)?)
}

fn mend(file: &File, form: Form) -> io::Result<u64> {
    let (mut page, mut mended) = (vec![0; form.page_size], 0);
    for offset in offsets(file.metadata()?.len(), form.page_size as u64) {
        file.read_exact_at(&mut page, offset)?;
        if !is_sound(&page) {
            seal(&mut page);
            file.write_all_at(&page, offset)?;
            mended += 1;
        }
    }
    if mended > 0 {
        file.sync_all()?;
    }
    Ok(mended)
}

/// Where the pages begin of a file of `len` bytes, without the one that SQLite never uses.
fn offsets(len: u64, page_size: u64) -> impl Iterator<Item = u64> {
    (0..len / page_size).map(move |index| index * page_size).filter(|offset| *offset != PENDING_BYTE)
}

/// Whether a transaction was cut short. What the header says may not be true of each page then.
fn has_hot_journal(database: &Path) -> io::Result<bool> {
    // No lock lives on a journal.
    let mut options = fs::OpenOptions::new();
    match crate::fd_pool::open_above_stderr(options.read(true), &sibling(database, "-journal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        opened => {
            let mut magic = [0; 8];
            match opened?.read_exact_at(&mut magic, 0) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
                read => read.map(|()| magic == JOURNAL_MAGIC),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_lock_bytes_is_left_alone() {
        for size in [512, 4096, 65536] {
            let mut pages =
                offsets(PENDING_BYTE + 3 * size, size).skip_while(|offset| offset + size < PENDING_BYTE);
            let around = [PENDING_BYTE - size, PENDING_BYTE + size, PENDING_BYTE + 2 * size].map(Some);
            assert_eq!([pages.next(), pages.next(), pages.next()], around);
            assert_eq!(pages.next(), None);
        }
    }
}
