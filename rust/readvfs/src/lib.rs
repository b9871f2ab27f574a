//! A VFS for databases that are not files: bytes in memory, members of archives, snapshots. They are read and never written.
//!
//! What can be opened is there under a name, for as long as its owner keeps it. A connection keeps what it has opened.
//! Nobody writes, so there are no locks, and a database in WAL mode is shown as one with a rollback journal: its WAL, if it
//! had one, is not here. Every other file that such a connection uses is left to the library's own VFS: what it attaches, what
//! `VACUUM INTO` writes, temporary files.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File as TemporaryFile;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dbfile::header::{ROLLBACK_VERSIONS, VERSIONS, WAL_VERSION};
use forks::ProcessLocal;
use ltx::{ReadAt, WriteAt};
use vfs::{
    AccessKind, Code, DeviceCharacteristics, Error, File, FileKind, FullPath, LockLevel, OpenRequest, Opened,
    Result, SyncFlags, Vfs,
};

/// Something to read from, and what becomes of its errors, which SQLite cannot carry. Its length never changes.
pub trait Readable: ReadAt + Send + Sync {
    /// Called with every error, before SQLite is told that reading failed.
    fn failed(&self, error: io::Error);
}

type Databases = HashMap<Vec<u8>, Weak<dyn Readable>>;

/// Databases by name. A forked child begins with none: a thread of its parent may have been changing those of the parent.
static DATABASES: ProcessLocal<Mutex<Databases>> = ProcessLocal::new(Mutex::default);

fn databases() -> MutexGuard<'static, Databases> {
    // The map is whole at any time.
    DATABASES.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// No file has such a name: what is before it is not a directory.
const PREFIX: &str = "/dev/null/ltx-reader/";

/// The VFS over these databases.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReaderVfs;

impl ReaderVfs {
    /// A name for a database. None is given twice in a process, nor in a child to what its parent has named.
    #[must_use]
    pub fn new_name() -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        format!("{PREFIX}{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets connections of this process find a database by a name of [`Self::new_name`], for as long as others keep it.
    /// A forked child has to do so, too.
    pub fn put(name: &str, database: &Arc<dyn Readable>) {
        databases().insert(name.as_bytes().to_vec(), Arc::downgrade(database));
    }

    /// Lets them no longer find it; whether they could.
    pub fn take(name: &str) -> bool {
        databases().remove(name.as_bytes()).is_some()
    }

    fn get(name: &[u8]) -> Option<Arc<dyn Readable>> {
        databases().get(name)?.upgrade()
    }
}

/// Copies a database into a file without a name, made in `directory`.
///
/// # Errors
/// `UnexpectedEof` if the database ends before its length; what reading it or writing the file reports.
pub fn copy_database(database: &dyn Readable, directory: &Path) -> io::Result<TemporaryFile> {
    let (size, copy) = (database.len()?, tempfile::tempfile_in(directory)?);
    let mut block = vec![0; 256 * 1024];
    let mut offset = 0;
    while offset < size {
        let n = read_within(database, &mut block, offset, size)?;
        copy.write_all_at(&block[..n], offset)?;
        offset += n as u64;
    }
    Ok(copy)
}

impl Vfs for ReaderVfs {
    type File = ReaderFile;

    fn leaves(&self, name: Option<&Path>) -> bool {
        !name.is_some_and(|name| name.as_os_str().as_bytes().starts_with(PREFIX.as_bytes()))
    }

    fn open(&self, request: OpenRequest<'_>) -> Result<Opened<ReaderFile>> {
        let name = request.name.ok_or(Code::CANTOPEN)?.path().as_os_str().as_bytes();
        match request.flags.kind() {
            FileKind::MainDb => {
                let database = Self::get(name).ok_or(Code::CANTOPEN)?;
                let size = database.len().map_err(|error| failed(&*database, Code::CANTOPEN, error))?;
                Ok(Opened { file: ReaderFile { database, size }, flags: request.flags.read_only() })
            }
            FileKind::SuperJournal => Err(Self::refuse_super_journal(name)),
            // There is nothing to be undone.
            _ => Err(Code::CANTOPEN.into()),
        }
    }

    fn delete(&self, _path: &Path, _sync_directory: bool) -> Result<()> {
        Err(Code::IOERR_DELETE_NOENT.into())
    }

    fn access(&self, path: &Path, kind: AccessKind) -> Result<bool> {
        Ok(kind != AccessKind::ReadWrite && Self::get(path.as_os_str().as_bytes()).is_some())
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

impl ReaderVfs {
    /// Several files are committed as one by a file beside the main database, by which each of them is undone or kept after a crash
    /// (SQLite, "Atomic Commit In SQLite", section 5). There is no place beside this one, and anywhere else that file could be
    /// lost while they are not.
    fn refuse_super_journal(name: &[u8]) -> Error {
        let main = name.windows(3).position(|part| part == b"-mj").and_then(|at| Self::get(&name[..at]));
        if let Some(main) = main {
            main.failed(io::Error::new(
                io::ErrorKind::Unsupported,
                "cannot commit to several databases with a rollback journal at once while the main database is a ReaderVFS; \
                 open one of them instead and attach the reader to it, or use WAL",
            ));
        }
        Code::CANTOPEN.into()
    }
}

/// A database that is open.
pub struct ReaderFile {
    database: Arc<dyn Readable>,
    /// In bytes, when it was opened.
    size: u64,
}

/// Hands an error over to whom it belongs, since SQLite can only be given a code.
fn failed(database: &dyn Readable, code: Code, error: io::Error) -> Error {
    let told = Error::os(code, &error);
    database.failed(error);
    told
}

/// Reads up to `buf.len()` bytes, and fewer only where `size` bytes end.
fn read_within(database: &dyn Readable, buf: &mut [u8], offset: u64, size: u64) -> io::Result<usize> {
    let there = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
    let mut read = 0;
    while read < there {
        let at = offset + read as u64;
        match database.read_at(&mut buf[read..there], at) {
            Ok(0) => {
                let text =
                    format!("the database ends at byte {at}, though it had {size} bytes when it was opened");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

impl File for ReaderFile {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> Result<usize> {
        // Not IOERR_SHORT_READ for what is missing: SQLite takes that for zeros.
        let read = read_within(&*self.database, buf, offset, self.size)
            .map_err(|error| failed(&*self.database, Code::IOERR_READ, error))?;
        show_without_wal(&mut buf[..read], offset);
        Ok(read)
    }

    fn write_at(&mut self, _buf: &[u8], _offset: u64) -> Result<()> {
        Err(Code::READONLY.into())
    }

    fn truncate(&mut self, _size: u64) -> Result<()> {
        Err(Code::READONLY.into())
    }

    fn sync(&mut self, _flags: SyncFlags) -> Result<()> {
        Ok(())
    }

    fn size(&mut self) -> Result<u64> {
        Ok(self.size)
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
        DeviceCharacteristics::SUBPAGE_READ.with(DeviceCharacteristics::IMMUTABLE, true)
    }

    fn close(self) -> Result<()> {
        Ok(())
    }

    fn abandon(self) {}
}

fn show_without_wal(buf: &mut [u8], offset: u64) {
    for (place, without_wal) in VERSIONS.zip(ROLLBACK_VERSIONS) {
        let at = (place as u64).checked_sub(offset).and_then(|at| usize::try_from(at).ok());
        if let Some(version) = at.and_then(|at| buf.get_mut(at))
            && *version == WAL_VERSION
        {
            *version = without_wal;
        }
    }
}

#[cfg(test)]
mod tests;
