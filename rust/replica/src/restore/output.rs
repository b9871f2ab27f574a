//! The database being restored: a new file beside its final place.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::file_client::ensure_dir;
use crate::stage::create_unique;

/// Access rights of a new database before the umask, as SQLite and Litestream have them.
const MODE: u32 = 0o666;

/// How many bytes of long writes may wait for the disk before it is made to start.
const WRITEBACK: u64 = 64 << 20;

/// Only writes of so many bytes count towards [`WRITEBACK`]. Single pages are better left until their neighbours
/// have come: written early, they cost the disk one request and the file system one extent each.
const BULK: usize = 64 << 10;

/// Appends to the last component of a path.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The file that will become the database; removed when dropped before that.
pub(crate) struct Output {
    file: File,
    path: PathBuf,
    written: AtomicU64,
    closing: AtomicBool,
    wake: (Mutex<()>, Condvar),
    /// Another number now means that the parent of this process is still writing it.
    forks: u64,
}

impl Drop for Output {
    fn drop(&mut self) {
        // After the file got its final name there is nothing to remove, and before that nothing depends on it.
        if self.forks == vfs::fork_generation() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Output {
    /// Creates a file beside `output`, and the directories above it.
    pub(crate) fn create(output: &Path) -> Result<Self> {
        if let Some(parent) = output.parent() {
            ensure_dir(parent).map_err(|source| Error::output("create", parent, source))?;
        }
        let (file, path) = create_unique(MODE, |suffix| with_suffix(output, &format!(".tmp-{suffix}")))
            .map_err(|source| Error::output("create", output, source))?;
        let wake = (Mutex::new(()), Condvar::new());
        let forks = vfs::fork_generation();
        Ok(Self { file, path, written: AtomicU64::new(0), closing: AtomicBool::new(false), wake, forks })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the length in bytes; new space reads as zeros.
    pub(crate) fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(|source| self.error(source))
    }

    /// Takes over the access rights of the database that will be replaced.
    pub(crate) fn set_permissions(&self, permissions: Permissions) -> Result<()> {
        self.file.set_permissions(permissions).map_err(|source| self.error(source))
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        if bytes.len() < BULK {
            return Ok(());
        }
        let before = self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if before / WRITEBACK != before.saturating_add(bytes.len() as u64) / WRITEBACK {
            self.wake.1.notify_all();
        }
        Ok(())
    }

    pub(crate) fn error(&self, source: io::Error) -> Error {
        Error::output("write", &self.path, source)
    }

    /// Keeps the disk busy while pages are still being decoded, until [`Output::close_writeback`].
    ///
    /// # Errors
    /// What the disk reports; the operating system reports it only once, so it must not be lost.
    pub(crate) fn run_writeback(&self) -> Result<()> {
        let mut done = 0;
        let mut guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.closing.load(Ordering::Relaxed) {
            let written = self.written.load(Ordering::Relaxed);
            if written / WRITEBACK == done / WRITEBACK {
                guard = self.wake.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(guard);
            self.file.sync_data().map_err(|source| self.error(source))?;
            done = written;
            guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Lets [`Output::run_writeback`] return.
    pub(crate) fn close_writeback(&self) {
        let _guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.closing.store(true, Ordering::Relaxed);
        self.wake.1.notify_all();
    }

    /// Makes everything durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|source| self.error(source))
    }

    /// A file for intermediate results: without a name, so that nothing is left whatever happens.
    pub(crate) fn create_scratch(&self) -> io::Result<File> {
        let (file, path) = create_unique(0o600, |suffix| with_suffix(&self.path, &format!(".map-{suffix}")))?;
        fs::remove_file(path)?;
        Ok(file)
    }
}
