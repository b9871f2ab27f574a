//! A lock that is a directory: for file systems that have no other.
//!
//! `NAME.lock` is there while somebody has the lock, as with SQLite's `unix-dotfile`, which it excludes. One empty file in it has
//! the owner in its name. Every change of owner is one call that happens or does not, so that a process may be killed at any moment:
//!
//! * The directory is prepared under another name, with its owner, and renamed into place, where nothing may be yet.
//! * The lock of a process that has ended is taken over by renaming the owner file. Only one process can do that to one name.
//! * To release it, the directory is renamed away and then removed.
//!
//! What a kill leaves under the other name has its maker in the name as well; whoever takes a lock in that directory next removes it,
//! if the maker has ended. Whether a process of another host or container has ended cannot be known; then only [`break_lock`] helps.
//!
//! The owner looks after its lock again before it writes: somebody may have removed it.

mod owner;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use durable::{rename_no_replace, sibling};
use rustix::fs::{CWD, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use vfs::{Code, Error, Result};

use crate::path::full_pathname;
use owner::Owner;

/// The file in the directory: this, and the word for the owner.
const OWNER_FILE: &str = "owner-";

/// The directory while it is prepared or removed: this, and the word for the owner. It does not have the name of the database in it,
/// which may be as long as names can be.
const ASIDE: &str = ".ltxcore-lock-";

/// The lock of one database.
pub(super) struct LockDirectory {
    path: PathBuf,
    owner: Owner,
    /// Tells this lock from every other one, of this process too.
    word: String,
    is_held: bool,
    is_swept: bool,
}

impl LockDirectory {
    pub(super) fn of(database: &Path) -> Self {
        let owner = Owner::this_process();
        let word = owner.to_word();
        Self { path: lock_path(database), owner, word, is_held: false, is_swept: false }
    }

    /// Takes the lock.
    pub(super) fn take(&mut self) -> Result<()> {
        // It may still be there because it could not be released.
        let refused = |error: io::Error| Error::os(Code::IOERR_LOCK, &error);
        if self.is_held && self.is_ours().map_err(refused)? {
            return Ok(());
        }
        self.is_held = match self.make() {
            Err(error) if is_in_use(&error) => self.take_over(),
            made => made.map(|()| true).map_err(refused)?,
        };
        if !self.is_held {
            return Err(Code::BUSY.into());
        }
        if !std::mem::replace(&mut self.is_swept, true) {
            self.sweep();
        }
        Ok(())
    }

    /// Whether the lock that was taken is still there. Whoever judges it by its age is shown that it is in use.
    pub(super) fn is_ours(&self) -> io::Result<bool> {
        let is_ours = is_there(&self.path.join(self.owner_file()))?;
        if is_ours {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            let _ = rustix::fs::utimensat(CWD, &self.path, &times, rustix::fs::AtFlags::empty());
        }
        Ok(is_ours)
    }

    /// Releases the lock; whether it was still there.
    pub(super) fn let_go(&mut self) -> Result<bool> {
        if !self.is_held {
            return Ok(true);
        }
        let was_ours = self.remove().map_err(|error| Error::os(Code::IOERR_UNLOCK, &error))?;
        self.is_held = false;
        Ok(was_ours)
    }

    fn owner_file(&self) -> String {
        format!("{OWNER_FILE}{}", self.word)
    }

    fn aside(&self) -> PathBuf {
        aside(&self.path, &self.word)
    }

    fn make(&self) -> io::Result<()> {
        if is_there(&self.path)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let prepared = self.aside();
        match fs::create_dir(&prepared) {
            // Our own: it could not be removed the last time.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let made = fs::write(prepared.join(self.owner_file()), b"")
            .and_then(|()| rename_no_replace(&prepared, &self.path));
        let Err(error) = made else { return Ok(()) };
        let _ = fs::remove_dir_all(&prepared);
        if is_in_use(&error) { Err(error) } else { self.make_in_place() }
    }

    /// Where no rename leaves a directory alone that is there: an empty one may be the lock of `unix-dotfile`. A process that is killed
    /// between the two steps leaves a lock without an owner.
    fn make_in_place(&self) -> io::Result<()> {
        fs::create_dir(&self.path)?;
        let owned = fs::write(self.path.join(self.owner_file()), b"");
        if owned.is_err() {
            let _ = fs::remove_dir(&self.path);
        }
        owned
    }

    /// Makes a lock ours whose owner has ended; false if that is not certain, or another process was faster.
    fn take_over(&mut self) -> bool {
        let Some(found) = sole_entry(&self.path) else { return false };
        let ours = self.owner_file();
        if found == *ours {
            // Over a network a rename may have been done that was answered with an error.
            return true;
        }
        let Some(owner) = owner_named(&found) else { return false };
        let is_taken =
            owner.has_ended(&self.owner) && fs::rename(self.path.join(&found), self.path.join(ours)).is_ok();
        // Who was killed with a lock may have been killed on the way to others.
        self.is_swept &= !is_taken;
        is_taken
    }

    /// Whether it was ours to remove.
    fn remove(&self) -> io::Result<bool> {
        let aside = self.aside();
        if !self.is_ours()? {
            return Ok(false);
        }
        let moved = fs::rename(&self.path, &aside);
        let is_ours = is_there(&aside.join(self.owner_file()))?;
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return self.remove_in_place(),
            // Between looking and moving somebody put another lock there, which goes back, unless a third one came.
            Ok(()) if !is_ours => {
                let _ = rename_no_replace(&aside, &self.path)
                    .or_else(|_| fs::create_dir(&self.path).and_then(|()| fs::rename(&aside, &self.path)));
            }
            _ => {}
        }
        // What is left over is removed by the next process, at the latest.
        let _ = fs::remove_dir_all(&aside);
        Ok(is_ours)
    }

    /// Where a directory cannot be renamed.
    fn remove_in_place(&self) -> io::Result<bool> {
        match fs::remove_file(self.path.join(self.owner_file())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.and_then(|()| fs::remove_dir(&self.path)).map(|()| true),
        }
    }

    /// Removes what processes left beside the database that were killed while they took or released a lock.
    fn sweep(&self) {
        let Some(Ok(entries)) = self.path.parent().map(fs::read_dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| Owner::parse(name.strip_prefix(ASIDE)?));
            if owner.is_some_and(|owner| owner.has_ended(&self.owner)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Removes the lock directory of a database, whoever made it. Only for a lock whose owner is known to be gone: everything that is
/// still using the database may damage it. A living owner of this VFS notices before it writes for the next time.
///
/// # Errors
/// `NotFound` if there is no lock, `NotADirectory` if it is one of another kind; what `rename` and `rmdir` answer.
pub fn break_lock(database: &Path) -> io::Result<()> {
    let database = full_pathname(database).map_err(|error| match error.errno {
        0 => io::Error::other(error),
        errno => io::Error::from_raw_os_error(errno),
    })?;
    let directory = lock_path(&database.path);
    if !fs::symlink_metadata(&directory)?.is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    let aside = aside(&directory, &Owner::this_process().to_word());
    fs::rename(&directory, &aside)?;
    fs::remove_dir_all(aside)
}

/// The lock of a database, if somebody has it who may be alive.
pub(crate) fn find_held(database: &Path) -> io::Result<Option<PathBuf>> {
    let lock = lock_path(database);
    let is_directory = match fs::symlink_metadata(&lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        // A file of this name is somebody else's idea of a lock.
        found => found?.is_dir(),
    };
    let has_ended = |owner: Owner| owner.has_ended(&Owner::this_process());
    let is_free = || sole_entry(&lock).and_then(|found| owner_named(&found)).is_some_and(has_ended);
    Ok((is_directory && !is_free()).then_some(lock))
}

fn owner_named(owner_file: &OsStr) -> Option<Owner> {
    Owner::parse(owner_file.to_str()?.strip_prefix(OWNER_FILE)?)
}

/// Where the lock of a database is.
pub fn lock_path(database: &Path) -> PathBuf {
    sibling(database, ".lock")
}

fn aside(lock: &Path, word: &str) -> PathBuf {
    lock.with_file_name(format!("{ASIDE}{word}"))
}

/// The name of the one thing in a directory.
fn sole_entry(directory: &Path) -> Option<OsString> {
    let mut entries = fs::read_dir(directory).ok()?;
    let first = entries.next()?.ok()?.file_name();
    entries.next().is_none().then_some(first)
}

fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether a directory could not be put somewhere because something is there.
fn is_in_use(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

#[cfg(test)]
mod tests;
