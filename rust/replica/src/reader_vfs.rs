//! A VFS for databases that are not files: bytes in memory, members of archives, snapshots. They are read and never written.
//!
//! What can be opened stands on a [`Shelf`] under a name, for as long as its owner leaves it there. A connection keeps what it has
//! opened. Nobody writes, so there are no locks, and a database in WAL mode is shown as one with a rollback journal: its WAL, if it
//! had one, is not here.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ltx::{ReadAt, WriteAt};
use vfs::{
    AccessKind, Code, DeviceCharacteristics, Error, File, FileKind, FullPath, LockLevel, OpenRequest, Opened,
    Result, SyncFlags, Vfs,
};

/// Something to read from, and what becomes of its errors, which SQLite cannot carry.
pub trait Readable: ReadAt + Send + Sync {
    /// Called with every error, before SQLite is told that reading failed.
    fn failed(&self, error: io::Error);
}

/// Databases by name.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Databases>>);

type Databases = HashMap<Vec<u8>, Arc<dyn Readable>>;

impl Shelf {
    /// Puts a database there; one of this name that was there before is only kept by those who have it open.
    pub fn put(&self, name: &[u8], database: Arc<dyn Readable>) {
        self.lock().insert(name.to_vec(), database);
    }

    /// Takes a database away; whether there was one.
    #[must_use]
    pub fn take(&self, name: &[u8]) -> bool {
        self.lock().remove(name).is_some()
    }

    fn get(&self, name: &Path) -> Option<Arc<dyn Readable>> {
        self.lock().get(name.as_os_str().as_bytes()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Databases> {
        // The map is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The VFS over a [`Shelf`].
#[derive(Clone, Default)]
pub struct ReaderVfs(pub Shelf);

impl Vfs for ReaderVfs {
    type File = ReaderFile;

    fn open(&self, request: OpenRequest<'_>) -> Result<Opened<ReaderFile>> {
        match request.name {
            Some(name) if request.flags.kind() == FileKind::MainDb => {
                let database = self.0.get(name.path()).ok_or(Error::from(Code::CANTOPEN))?;
                Ok(Opened { file: ReaderFile::Database(database), flags: request.flags.read_only() })
            }
            // What is sorted may not fit into memory.
            None => {
                let file = tempfile::tempfile().map_err(|error| Error::os(Code::CANTOPEN, &error))?;
                Ok(Opened { file: ReaderFile::Temporary(file), flags: request.flags })
            }
            // There is nothing to be undone.
            Some(_) => Err(Code::CANTOPEN.into()),
        }
    }

    fn delete(&self, _path: &Path, _sync_directory: bool) -> Result<()> {
        Err(Code::IOERR_DELETE_NOENT.into())
    }

    fn access(&self, path: &Path, kind: AccessKind) -> Result<bool> {
        Ok(kind != AccessKind::ReadWrite && self.0.get(path).is_some())
    }

    /// Names are what they are: there is no directory to be relative to.
    fn full_pathname(&self, path: &Path) -> Result<FullPath> {
        let path = PathBuf::from(OsStr::from_bytes(path.as_os_str().as_bytes()));
        Ok(FullPath { path, was_symlink: false })
    }

    fn randomness(&self, buf: &mut [u8]) -> usize {
        rustix::rand::getrandom(buf, rustix::rand::GetRandomFlags::empty()).unwrap_or(0)
    }
}

/// An open file.
pub enum ReaderFile {
    /// A database of the shelf.
    Database(Arc<dyn Readable>),
    /// Room for what SQLite sorts.
    Temporary(std::fs::File),
}

/// Where the header says how the file is written and read: 1 for a rollback journal, 2 for a WAL (SQLite, "Database File Format",
/// section 1.3.3).
const VERSIONS: std::ops::Range<u64> = 18..20;

impl ReaderFile {
    fn read_some(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Database(database) => database.read_at(buf, offset),
            Self::Temporary(file) => ReadAt::read_at(file, buf, offset),
        }
    }

    /// The file, if it may be written to.
    fn writable(&self) -> Result<&std::fs::File> {
        match self {
            Self::Database(_) => Err(Code::READONLY.into()),
            Self::Temporary(file) => Ok(file),
        }
    }

    /// Hands an error over to whom it belongs, since SQLite can only be given a code.
    fn failed(&self, code: Code, error: io::Error) -> Error {
        let told = Error::os(code, &error);
        if let Self::Database(database) = self {
            database.failed(error);
        }
        told
    }
}

impl File for ReaderFile {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let mut read = 0;
        while read < buf.len() {
            match self.read_some(&mut buf[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(Code::IOERR_READ, error)),
            }
        }
        if let Self::Database(_) = self {
            show_without_wal(&mut buf[..read], offset);
        }
        Ok(read)
    }

    fn write_at(&mut self, buf: &[u8], offset: u64) -> Result<()> {
        let file = self.writable()?;
        WriteAt::write_all_at(file, buf, offset).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => Code::FULL.into(),
            _ => Error::os(Code::IOERR_WRITE, &error),
        })
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        self.writable()?.set_len(size).map_err(|error| Error::os(Code::IOERR_TRUNCATE, &error))
    }

    fn sync(&mut self, _flags: SyncFlags) -> Result<()> {
        Ok(())
    }

    fn size(&mut self) -> Result<u64> {
        let size = match self {
            Self::Database(database) => database.len(),
            Self::Temporary(file) => ReadAt::len(file),
        };
        size.map_err(|error| self.failed(Code::IOERR_FSTAT, error))
    }

    fn lock(&mut self, level: LockLevel) -> Result<()> {
        if level == LockLevel::Shared { Ok(()) } else { Err(Code::READONLY.into()) }
    }

    fn unlock(&mut self, _level: LockLevel) -> Result<()> {
        Ok(())
    }

    fn check_reserved_lock(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn device_characteristics(&mut self) -> DeviceCharacteristics {
        DeviceCharacteristics::SUBPAGE_READ
            .with(DeviceCharacteristics::IMMUTABLE, matches!(self, Self::Database(_)))
    }

    fn close(self) -> Result<()> {
        Ok(())
    }

    fn abandon(self) {}
}

fn show_without_wal(buf: &mut [u8], offset: u64) {
    for place in VERSIONS {
        let at = place.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
        if let Some(version) = at.and_then(|at| buf.get_mut(at))
            && *version == 2
        {
            *version = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rusqlite::Connection;
    use vfs::SqliteApi;

    use super::*;

    struct Bytes(Vec<u8>, AtomicUsize);

    impl ReadAt for Bytes {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            // A little at a time, as some media do.
            let most = buf.len().min(1000);
            self.0.read_at(&mut buf[..most], offset)
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len().max(512) as u64)
        }
    }

    impl Readable for Bytes {
        fn failed(&self, _error: io::Error) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn database() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch(
                "PRAGMA journal_mode = wal; CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3)",
            )
            .unwrap();
        #[expect(clippy::disallowed_methods, reason = "nobody has it open any more")]
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn a_database_in_memory_is_read_and_not_written() {
        let shelf = Shelf::default();
        vfs::register(&SqliteApi::linked().unwrap(), c"test-reader", ReaderVfs(shelf.clone()), false)
            .unwrap();
        let open = |name: &str| Connection::open(format!("file:{name}?vfs=test-reader"));
        assert!(open("/nowhere").and_then(|db| db.execute_batch("SELECT * FROM t")).is_err());
        shelf.put(b"/one", Arc::new(Bytes(database(), AtomicUsize::new(0))));
        let db = open("/one").unwrap();
        assert!(shelf.take(b"/one") && !shelf.take(b"/one"));
        // What is open stays, whatever the shelf holds.
        let sum: i64 = db.query_row("SELECT sum(a) FROM t ORDER BY 1", [], |row| row.get(0)).unwrap();
        let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!((sum, check.as_str()), (6, "ok"));
        assert!(db.execute("INSERT INTO t VALUES (4)", []).is_err());
        db.execute_batch("PRAGMA temp_store = file; PRAGMA cache_size = 10; CREATE TEMP TABLE s AS WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT hex(randomblob(50)) AS x FROM n; CREATE INDEX temp.i ON s (x)").unwrap();
    }

    #[test]
    fn an_error_of_the_medium_is_handed_over() {
        let shelf = Shelf::default();
        vfs::register(&SqliteApi::linked().unwrap(), c"test-broken", ReaderVfs(shelf.clone()), false)
            .unwrap();
        let broken = Arc::new(Bytes(Vec::new(), AtomicUsize::new(0)));
        shelf.put(b"/broken", Arc::clone(&broken) as Arc<dyn Readable>);
        let opened = Connection::open("file:/broken?vfs=test-broken");
        assert!(opened.and_then(|db| db.execute_batch("SELECT * FROM sqlite_schema")).is_err());
        assert_ne!(broken.1.load(Ordering::Relaxed), 0);
    }
}
