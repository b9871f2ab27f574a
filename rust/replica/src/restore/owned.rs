//! A name that one restore at a time has, in this process or in another.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use durable::{create_new, open_left};
use forks::{UnsharedFile, open_unshared};

/// How often the file is looked for again that its last owner was just removing.
const TRIES: usize = 100;

/// An empty file that is locked as a whole. It goes away with its owner, or says by its lock that its owner is dead.
#[derive(Debug)]
pub(crate) struct Owned {
    file: UnsharedFile,
    path: PathBuf,
}

impl Owned {
    /// Takes the name; `None` if it has a live owner, or something else is there.
    ///
    /// # Errors
    /// What the system answers: there are file systems that have no locks.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        for _ in 0..TRIES {
            let Some(file) = open_or_create(path)? else { return Ok(None) };
            match file.file().try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Its owner may have removed it before the lock was free.
            if fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == file.identity()) {
                return Ok(Some(Self { file, path: path.to_owned() }));
            }
        }
        Ok(None)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.file.is_inherited() {
            // In this order: whoever locks it next sees that it is gone.
            let _ = fs::remove_file(&self.path);
            let _ = self.file.file().unlock();
        }
    }
}

fn open_or_create(path: &Path) -> io::Result<Option<UnsharedFile>> {
    let open = || -> io::Result<File> {
        match open_left(path)? {
            Some(file) => Ok(file),
            None => create_new(path, 0o600),
        }
    };
    // No SQLite locks this file, so it may be closed at any time.
    match open_unshared(open, drop) {
        Ok(file) => Ok(Some(file)),
        // It came in between, or is not for us.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn one_has_it_until_it_is_dropped_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Owned::take(&path).unwrap().unwrap();
        assert!(Owned::take(&path).unwrap().is_none());
        drop(first);
        assert!(!path.exists());
        drop(Owned::take(&path).unwrap().unwrap());
        // What a dead process left, and what is not a file of ours.
        drop(create_new(&path, 0o600).unwrap());
        assert!(Owned::take(&path).unwrap().is_some());
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(Owned::take(&path).unwrap().is_none());
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn never_two_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, proof) = (dir.path().join("lock"), dir.path().join("proof"));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Some(owned) = Owned::take(&lock).unwrap() {
                            create_new(&proof, 0o600).unwrap();
                            fs::remove_file(&proof).unwrap();
                            drop(owned);
                        }
                    }
                });
            }
        });
    }
}
