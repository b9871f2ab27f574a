//! What an implementation writes: [`Vfs`], [`File`], and the capability [`SharedMemory`].

use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

use crate::api::SqliteApi;
use crate::code::{Code, Error, Result};
use crate::control::{Control, Reply};
use crate::flags::{AccessKind, DeviceCharacteristics, LockLevel, OpenFlags, ShmLock, SyncFlags};
use crate::name::FileName;

/// The error log of the SQLite library that is calling.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a>(pub(crate) &'a SqliteApi);

impl Log<'_> {
    /// One line, under SQLite's code for warnings.
    pub fn warn(&self, text: &str) {
        self.0.log(Code::WARNING, text);
    }
}

/// What `xOpen` asks for.
#[derive(Clone, Copy)]
pub struct OpenRequest<'a> {
    /// The name; without one it is a temporary file that nobody else will open.
    pub name: Option<FileName<'a>>,
    /// What for, and how.
    pub flags: OpenFlags,
    /// Where warnings go.
    pub log: Log<'a>,
}

/// What `xOpen` answers.
#[derive(Debug)]
pub struct Opened<F> {
    /// The file.
    pub file: F,
    /// How it could be opened: [`OpenFlags::read_only`] of what was asked for, if not for writing.
    pub flags: OpenFlags,
}

/// What `xFullPathname` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullPath {
    /// The absolute path, every link of it resolved, so that two names of one file have one journal.
    pub path: PathBuf,
    /// Whether a link was followed.
    pub was_symlink: bool,
}

/// A file system (SQLite, "OS Interface Object"). SQLite calls it from any thread.
pub trait Vfs: Send + Sync + 'static {
    /// An open file.
    type File: File;

    /// The longest path in bytes.
    const MAX_PATHNAME: usize = 4096;

    /// Whether a file is left to the library's own VFS (`unix`), as if it had been asked. No other method is then called for it. A
    /// temporary file has no name.
    fn leaves(&self, name: Option<&Path>) -> bool {
        let _ = name;
        false
    }

    /// Opens a file.
    ///
    /// # Errors
    /// A code that says why not; SQLite then does not call `close`.
    fn open(&self, request: OpenRequest<'_>) -> Result<Opened<Self::File>>;

    /// Deletes a file, and makes that durable if `sync_directory`.
    ///
    /// # Errors
    /// `IOERR_DELETE_NOENT` if there is none.
    fn delete(&self, path: &Path, sync_directory: bool) -> Result<()>;

    /// Whether a file is there, or may be used.
    ///
    /// # Errors
    /// `IOERR_ACCESS` when that cannot be found out; a missing file is no error.
    fn access(&self, path: &Path, kind: AccessKind) -> Result<bool>;

    /// The one true name of a file, which need not exist.
    ///
    /// # Errors
    /// `CANTOPEN` when it has none.
    fn full_pathname(&self, path: &Path) -> Result<FullPath>;

    /// Fills `buf` with random bytes; how many.
    fn randomness(&self, buf: &mut [u8]) -> usize;

    /// Sleeps; how long it was.
    fn sleep(&self, duration: Duration) -> Duration {
        std::thread::sleep(duration);
        duration
    }
}

/// An open file (SQLite, "OS Interface File Virtual Methods Object"). SQLite calls one file from one thread at a time.
///
/// Offsets and sizes are bytes.
pub trait File: Send + 'static {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file. The rest of `buf` is then filled with zeros, and SQLite
    /// told of a short read, by the caller.
    ///
    /// # Errors
    /// `IOERR_READ` and its kin.
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `buf`.
    ///
    /// # Errors
    /// `FULL` when there is no space left, `IOERR_WRITE`.
    fn write_at(&mut self, buf: &[u8], offset: u64) -> Result<()>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// `IOERR_TRUNCATE`.
    fn truncate(&mut self, size: u64) -> Result<()>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// `IOERR_FSYNC`.
    fn sync(&mut self, flags: SyncFlags) -> Result<()>;

    /// The size.
    ///
    /// # Errors
    /// `IOERR_FSTAT`.
    fn size(&mut self) -> Result<u64>;

    /// Raises the lock to `level`, which is SHARED, RESERVED or EXCLUSIVE; nothing to do if it is held already.
    ///
    /// # Errors
    /// `BUSY` when somebody else is in the way.
    fn lock(&mut self, level: LockLevel) -> Result<()>;

    /// Lowers the lock to `level`, which is SHARED or NONE.
    ///
    /// # Errors
    /// `IOERR_UNLOCK`, `IOERR_RDLOCK`; never `BUSY`.
    fn unlock(&mut self, level: LockLevel) -> Result<()>;

    /// Whether anybody, this connection too, holds RESERVED or more.
    ///
    /// # Errors
    /// `IOERR_CHECKRESERVEDLOCK`.
    fn check_reserved_lock(&mut self) -> Result<bool>;

    /// Answers a file control; [`Reply::NotFound`] to what it does not know.
    ///
    /// # Errors
    /// Whatever the control's work answers.
    fn control(&mut self, control: Control<'_>) -> Result<Reply> {
        let _ = control;
        Ok(Reply::NotFound)
    }

    /// The unit of writing in bytes.
    fn sector_size(&mut self) -> u32 {
        4096
    }

    /// What this file promises.
    fn device_characteristics(&mut self) -> DeviceCharacteristics {
        DeviceCharacteristics::default()
    }

    /// Shared memory, if the file has it. Asked once when the file is opened to choose the methods that SQLite sees.
    fn shared_memory(&mut self) -> Option<&mut dyn SharedMemory> {
        None
    }

    /// Called before a slot of the shared memory is taken for writing: whether the lock on the file is still held. Most locks cannot
    /// be taken away.
    ///
    /// # Errors
    /// `IOERR` and its kin if it is not.
    fn confirm_lock(&mut self) -> Result<()> {
        Ok(())
    }

    /// Lets the file go, locks first.
    ///
    /// # Errors
    /// SQLite ignores them; they are logged.
    fn close(self) -> Result<()>;

    /// Lets go of memory in a process that was forked from the one that opened the file. Locks belong to that one: not one may
    /// be released.
    fn abandon(self);
}

/// A region of shared memory, as `xShmMap` returns it.
#[derive(Clone, Copy, Debug)]
pub struct MappedRegion {
    /// Its address; null if it does not exist and was not to be made. Other processes write there at any time, so it is never
    /// a reference.
    pub address: *mut u8,
    /// `OK`, or `READONLY` or `READONLY_CANTINIT` beside the address.
    pub code: Code,
}

impl MappedRegion {
    /// There is no such region yet.
    pub const ABSENT: Self = Self { address: ptr::null_mut(), code: Code::OK };
}

/// The shared memory of a WAL-mode database (SQLite, "WAL-mode File Format", section 2).
///
/// # Safety
/// SQLite reads and writes through the addresses that [`SharedMemory::map`] returns: each is null, or that of `size` bytes which
/// stay mapped, writable unless the code says otherwise, until `unmap` is called or the file is closed.
pub unsafe trait SharedMemory {
    /// Region `index` of `size` bytes; made if `extend`. Valid until [`SharedMemory::unmap`].
    ///
    /// # Errors
    /// `BUSY`, `IOERR_SHMOPEN` and its kin.
    fn map(&mut self, index: u32, size: u32, extend: bool) -> Result<MappedRegion>;

    /// Takes slots.
    ///
    /// # Errors
    /// `BUSY`, `IOERR_SHMLOCK`.
    fn lock(&mut self, lock: ShmLock) -> Result<()>;

    /// Lets slots go; those that are not held too.
    ///
    /// # Errors
    /// `IOERR_SHMLOCK`.
    fn unlock(&mut self, lock: ShmLock) -> Result<()>;

    /// Everything before it is seen by others before everything after it.
    fn barrier(&mut self);

    /// Lets all regions go, and deletes them if `delete`.
    ///
    /// # Errors
    /// `IOERR`.
    fn unmap(&mut self, delete: bool) -> Result<()>;
}

/// What every method answers in a process that was forked, or after a panic.
pub(crate) const REFUSED: Error = Error { code: Code::IOERR, errno: 0 };
