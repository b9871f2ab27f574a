//! One descriptor per live file and process, never closed while the file exists.
//!
//! POSIX advisory locks belong to the pair (process, inode): closing *any* descriptor of an inode drops every lock that the
//! process holds on it, whoever took them (POSIX.1-2017, `fcntl`; SQLite, "How To Corrupt An SQLite Database File", section
//! 2.2). So a file that SQLite may have open is opened here once and kept. The one exception is a file without a name left:
//! nobody can open it again, so its descriptor is let go and its disk space with it.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Which file a path meant: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that `path` names now, by `stat`: no descriptor is opened.
    ///
    /// # Errors
    /// What `stat` answers, `NotFound` above all.
    pub fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from_metadata(&metadata))
    }

    fn from_metadata(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A file of the pool, open for reading.
#[derive(Debug)]
pub struct PooledFile {
    file: File,
    id: FileId,
}

impl PooledFile {
    /// The descriptor of the file that `path` names now: the pooled one, or a new one that stays in the pool.
    ///
    /// # Errors
    /// What `stat` or `open` answers.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        lock_pool().open(path)
    }

    /// Device and inode of this file.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// What `pread` answers.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    /// Length in bytes, by `fstat`.
    ///
    /// # Errors
    /// What `fstat` answers.
    pub fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn has_name(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
    }
}

#[derive(Default)]
struct Pool {
    files: HashMap<FileId, Arc<PooledFile>>,
    /// Descriptors of files that were swapped while they were opened: not usable, and not safe to close either.
    parked: Vec<Arc<PooledFile>>,
}

impl Pool {
    fn open(&mut self, path: &Path) -> io::Result<Arc<PooledFile>> {
        self.drop_unlinked();
        let wanted = FileId::of(path)?;
        if let Some(file) = self.files.get(&wanted) {
            return Ok(Arc::clone(file));
        }
        let opened = Arc::new(open_for_reading(path)?);
        if let Some(known) = self.files.get(&opened.id).map(Arc::clone) {
            self.parked.push(opened);
            return Ok(known);
        }
        self.files.insert(opened.id, Arc::clone(&opened));
        Ok(opened)
    }

    /// An inode without a name can hold no lock that anyone could still want.
    fn drop_unlinked(&mut self) {
        self.files.retain(|_, file| Arc::strong_count(file) > 1 || file.has_name());
        self.parked.retain(|file| file.has_name());
    }
}

#[expect(clippy::disallowed_methods, reason = "the pool is the one place that may open a live file")]
fn open_for_reading(path: &Path) -> io::Result<PooledFile> {
    let file = File::open(path)?;
    let id = FileId::from_metadata(&file.metadata()?);
    Ok(PooledFile { file, id })
}

fn lock_pool() -> MutexGuard<'static, Pool> {
    static POOL: OnceLock<Mutex<Pool>> = OnceLock::new();
    POOL.get_or_init(|| Mutex::new(Pool::default())).lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_descriptor_per_inode_whatever_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, b"page").unwrap();
        fs::hard_link(&a, &b).unwrap();
        let first = PooledFile::open(&a).unwrap();
        let second = PooledFile::open(&b).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.size().unwrap(), 4);
    }

    #[test]
    fn a_dropped_handle_leaves_the_descriptor_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        fs::write(&path, b"page").unwrap();
        let id = PooledFile::open(&path).unwrap().id();
        assert!(lock_pool().files.contains_key(&id));
        let mut buf = [0; 8];
        assert_eq!(PooledFile::open(&path).unwrap().read_at(&mut buf, 2).unwrap(), 2);
        assert_eq!(&buf[..2], b"ge");
    }

    #[test]
    fn a_replaced_file_is_another_file_and_an_unlinked_one_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        fs::write(&path, b"old").unwrap();
        let old = PooledFile::open(&path).unwrap();
        let old_id = old.id();
        fs::remove_file(&path).unwrap();
        fs::write(dir.path().join("other"), b"x").unwrap();
        fs::write(&path, b"newer").unwrap();
        assert_eq!(old.size().unwrap(), 3);
        drop(old);
        let new = PooledFile::open(&path).unwrap();
        assert_eq!(new.size().unwrap(), 5);
        assert!(!lock_pool().files.contains_key(&old_id) || new.id() == old_id);
        assert_eq!(FileId::of(&path).unwrap(), new.id());
    }

    #[test]
    fn a_missing_file_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let error = PooledFile::open(&dir.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
