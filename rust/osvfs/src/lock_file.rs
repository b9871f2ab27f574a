//! A file that stands for something else, which only one process may have.

use std::fs::File;
use std::io;

use forks::{UnsharedFile, open_unshared};
use rustix::fs::{FlockOperation, flock};

/// A file of no content that is locked as a whole (`flock`). The lock ends when this is dropped or when the process ends,
/// whatever children it has forked.
#[derive(Debug)]
pub struct LockFile(UnsharedFile);

impl LockFile {
    /// Locks the file that `open` opens, which is called again if another thread forks meanwhile.
    ///
    /// # Errors
    /// `WouldBlock` if somebody else has it, in this process or in another one; what `open` and `flock` answer.
    pub fn lock(open: impl FnMut() -> io::Result<File>) -> io::Result<Self> {
        // No SQLite locks this file, so it may be closed at any time.
        let file = open_unshared(open, drop)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self(file))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // A child that was forked a moment ago may not have given its copy up yet; this unlocks it for both.
        if !self.0.is_inherited() {
            let _ = flock(&self.0, FlockOperation::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let lock = || LockFile::lock(|| File::create(dir.path().join("lock")));
        let first = lock().unwrap();
        assert_eq!(lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        lock().unwrap();
    }
}
