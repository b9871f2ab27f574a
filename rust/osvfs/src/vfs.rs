//! The file system: how files are opened, deleted, looked at and named.

use std::cell::Cell;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
#[cfg(any(test, feature = "linked"))]
use std::sync::atomic::{AtomicBool, Ordering};

use durable::sibling;
use vfs::{
    AccessKind, Code, Error, FileKind, FullPath, OpenFlags, OpenRequest, Opened, RegisterError, Result,
    SqliteApi, Vfs,
};

use crate::checksums::PageChecksums;
use crate::choice::{Choice, LockMode, SyncMode};
use crate::directory::sync_directory_of;
use crate::fcntl::{self, Kind, Owner, Range};
use crate::fd_pool::{Descriptor, FileId, OpenHow, open_above_stderr};
use crate::file::{Handle, OsFile};
use crate::lock::Lock;
use crate::mode::Permissions;
use crate::path::full_pathname;
use crate::platform;
use crate::shm::{Plan, Shm};
use crate::temp::{TempDirectories, open_temp};

/// Local files.
#[derive(Clone, Debug)]
pub struct OsVfs {
    lock: Option<LockMode>,
    temp: TempDirectories,
}

impl OsVfs {
    /// Files under one lock mode, or under the best that the file system has. A URI may say otherwise (`lock=`).
    ///
    /// This reads the environment (`SQLITE_TMPDIR`, `TMPDIR`); nothing does later.
    #[must_use]
    pub fn new(lock: Option<LockMode>) -> Self {
        Self { lock, temp: TempDirectories::from_environment() }
    }
}

/// Why a database was refused, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A parameter of its URI means nothing, or not together with another one.
    Parameter(String),
    /// The file system has no locks of the kind that was asked for.
    NoLocks(String),
}

thread_local! {
    static REFUSAL: Cell<Option<Refusal>> = const { Cell::new(None) };
}

/// Why a database was refused last in this thread; `None` if that was asked before, or none was. SQLite says no more than "unable to
/// open database file".
#[must_use]
pub fn take_refusal() -> Option<Refusal> {
    REFUSAL.take()
}

/// Registers local files under `name` with a SQLite library. Doing it again, with the same lock mode, changes nothing.
///
/// # Errors
/// [`RegisterError::NameInUse`] if the name means something else.
pub fn register(
    api: &SqliteApi,
    name: &CStr,
    lock: Option<LockMode>,
    is_default: bool,
) -> std::result::Result<(), RegisterError> {
    let is_known = || vfs::registered::<OsVfs>(api, name).is_some_and(|known| known.lock == lock);
    if !is_known() {
        match vfs::register(api, name, OsVfs::new(lock), is_default) {
            // By another thread, a moment ago.
            Err(RegisterError::NameInUse) if is_known() => {}
            done => return done,
        }
    }
    if is_default { vfs::set_default(api, name) } else { Ok(()) }
}

/// Registers every name of [`LockMode::NAMES`] that is not taken yet, none of them as the default.
///
/// # Errors
/// [`RegisterError::Refused`].
pub fn register_all(api: &SqliteApi) -> std::result::Result<(), RegisterError> {
    for (name, lock) in LockMode::NAMES {
        match register(api, name, lock, false) {
            Ok(()) | Err(RegisterError::NameInUse) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Registers local files with the SQLite that this binary is linked with, once; the name to open databases with.
///
/// # Errors
/// What is wrong with that SQLite.
#[cfg(any(test, feature = "linked"))]
pub fn register_linked() -> io::Result<&'static CStr> {
    const NAME: &CStr = c"ltx-os";
    // Not a `Once`, which a forked child might find held by a thread that it does not have.
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if !IS_DONE.load(Ordering::Acquire) {
        let api = SqliteApi::linked().map_err(io::Error::other)?;
        register(&api, NAME, None, false).map_err(io::Error::other)?;
        forks::hold_linked_over_forks();
        IS_DONE.store(true, Ordering::Release);
    }
    Ok(NAME)
}

impl Vfs for OsVfs {
    type File = OsFile;

    fn open(&self, request: OpenRequest<'_>) -> Result<Opened<OsFile>> {
        match request.name {
            None => {
                let handle = Handle::Private(open_temp(&self.temp)?);
                let file = OsFile::new(handle, Path::new(""), request.flags.kind(), self.temp.clone());
                Ok(Opened { file, flags: request.flags })
            }
            Some(name) if request.flags.kind() == FileKind::MainDb => {
                let choice = Choice::of(&name, self.lock)
                    .map_err(|text| refuse(&request, Refusal::Parameter(text)))?;
                open_database(&request, name.path(), &choice, &self.temp)
            }
            Some(name) => open_other(&request, name.path(), &self.temp),
        }
    }

    fn delete(&self, path: &Path, sync_directory: bool) -> Result<()> {
        fs::remove_file(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::from(Code::IOERR_DELETE_NOENT),
            _ => Error::os(Code::IOERR_DELETE, &error),
        })?;
        if !sync_directory {
            return Ok(());
        }
        match sync_directory_of(path) {
            // A directory that may not be opened can still be written to.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                Err(Error::os(Code::IOERR_DIR_FSYNC, &error))
            }
            _ => Ok(()),
        }
    }

    fn access(&self, path: &Path, kind: AccessKind) -> Result<bool> {
        use rustix::fs::{Access, access};

        Ok(match kind {
            // A journal without content is as good as none.
            AccessKind::Exists => fs::metadata(path).is_ok_and(|found| !found.is_file() || found.len() > 0),
            AccessKind::ReadWrite => access(path, Access::READ_OK | Access::WRITE_OK).is_ok(),
            AccessKind::Read => access(path, Access::READ_OK).is_ok(),
        })
    }

    fn full_pathname(&self, path: &Path) -> Result<FullPath> {
        full_pathname(path)
    }

    fn randomness(&self, buf: &mut [u8]) -> usize {
        getrandom::fill(buf).map_or(0, |()| buf.len())
    }
}

fn refuse(request: &OpenRequest<'_>, refusal: Refusal) -> Error {
    let (Refusal::Parameter(text) | Refusal::NoLocks(text)) = &refusal;
    request.log.warn(text);
    REFUSAL.set(Some(refusal));
    Code::CANTOPEN.into()
}

/// Opens as asked for, or, where that is not allowed, for reading; a new file gets its permissions.
fn open_or_read_only<T>(
    request: &OpenRequest<'_>,
    path: &Path,
    open: impl Fn(OpenHow) -> io::Result<T>,
    file: impl Fn(&T) -> &fs::File,
) -> Result<(T, OpenFlags)> {
    let flags = request.flags;
    let permissions = Permissions::of(request, path)?;
    let how = OpenHow {
        write: flags.has(OpenFlags::READWRITE),
        create: flags.has(OpenFlags::CREATE),
        exclusive: flags.has(OpenFlags::EXCLUSIVE),
        mode: permissions.new_mode(),
    };
    let error = match open(how) {
        Ok(opened) => {
            permissions.give_to(file(&opened));
            return Ok((opened, flags));
        }
        Err(error) => error,
    };
    let is_journal = matches!(flags.kind(), FileKind::MainJournal | FileKind::Wal | FileKind::SuperJournal);
    if is_journal && error.kind() == io::ErrorKind::PermissionDenied && fs::metadata(path).is_err() {
        return Err(Error::os(Code::READONLY_DIRECTORY, &error));
    }
    // Not `CANTOPEN_ISDIR`: SQLite's own VFS answers the plain code. A directory can be opened for reading.
    if error.kind() == io::ErrorKind::IsADirectory {
        return Err(Error::os(Code::CANTOPEN, &error));
    }
    let read_only = OpenHow { write: false, create: false, exclusive: false, ..how };
    match open(read_only) {
        Ok(opened) if how.write => Ok((opened, flags.read_only())),
        _ => Err(Error::os(Code::CANTOPEN, &error)),
    }
}

fn open_database(
    request: &OpenRequest<'_>,
    path: &Path,
    choice: &Choice,
    temp: &TempDirectories,
) -> Result<Opened<OsFile>> {
    let (descriptor, flags) =
        open_or_read_only(request, path, |how| open_descriptor(path, how, choice.lock), |file| file.file())?;
    let metadata = descriptor.file().metadata().map_err(|error| Error::os(Code::IOERR_FSTAT, &error))?;
    // Opened for reading alone. SQLite's own VFS finds that out when the header is read, which is in `sqlite3_open` as well.
    if metadata.is_dir() {
        return Err(Error::os(Code::IOERR_READ, &io::Error::from_raw_os_error(libc::EISDIR)));
    }
    warn_of_names(request, path, &metadata, descriptor.id());
    let lock_mode =
        choose_lock(choice.lock, &descriptor).map_err(|error| match fcntl::is_unsupported(&error) {
            true => refuse(request, Refusal::NoLocks(without_locks(path, choice.lock, &error))),
            false => Error::os(Code::CANTOPEN, &error),
        })?;
    let shm = Shm::new(Plan {
        mode: choice.shm_under(lock_mode).map_err(|text| refuse(request, Refusal::Parameter(text)))?,
        owner: slots_owner(lock_mode),
        path: sibling(path, "-shm"),
        database: descriptor.id(),
        permissions: Permissions::from_metadata(&metadata),
        read_only: choice.readonly_shm,
    });
    let lock = Lock::new(lock_mode, &descriptor, path, flags.has(OpenFlags::READONLY));
    let has_batches = descriptor.has_batches();
    let file = OsFile::new(Handle::Pooled(descriptor), path, FileKind::MainDb, temp.clone());
    let file = OsFile {
        lock,
        lock_mode,
        shm,
        has_batches,
        checksums: Some(PageChecksums::new(choice.checksums)),
        sync_mode: choice.sync,
        powersafe_overwrite: choice.powersafe_overwrite,
        ..file
    };
    Ok(Opened { file, flags })
}

/// One for all connections of this process, unless each of them has to exclude the others by a lock of its own.
fn open_descriptor(path: &Path, how: OpenHow, lock: Option<LockMode>) -> io::Result<Arc<Descriptor>> {
    if lock.unwrap_or(platform::DEFAULT_LOCK) == LockMode::Ofd {
        return Descriptor::share(path, how);
    }
    Descriptor::open(path, how).map(Arc::new)
}

/// Journals, WALs, and databases that only one connection knows: no lock lives on any of them.
fn open_other(request: &OpenRequest<'_>, path: &Path, temp: &TempDirectories) -> Result<Opened<OsFile>> {
    let kind = request.flags.kind();
    let (file, flags) =
        open_or_read_only(request, path, |how| open_above_stderr(&how.options(), path), |file| file)?;
    if request.flags.has(OpenFlags::DELETE_ON_CLOSE) {
        fs::remove_file(path).map_err(|error| Error::os(Code::IOERR_DELETE, &error))?;
    }
    let is_journal = matches!(kind, FileKind::MainJournal | FileKind::Wal | FileKind::SuperJournal);
    // A value that means nothing was refused when the database was opened.
    let sync_mode = request.name.and_then(|name| SyncMode::of(&name).ok()).unwrap_or_default();
    let file = OsFile {
        sync_directory: is_journal && request.flags.has(OpenFlags::CREATE),
        sync_mode,
        ..OsFile::new(Handle::Private(file), path, kind, temp.clone())
    };
    Ok(Opened { file, flags })
}

/// The lock mode of a database that was just opened; why it cannot have any otherwise.
fn choose_lock(wish: Option<LockMode>, descriptor: &Descriptor) -> io::Result<LockMode> {
    let known = |mode| is_known(mode, descriptor).map(|()| mode);
    match wish {
        Some(mode) => known(mode),
        // Old kernels and some file systems do not know locks of an open file.
        None => match known(platform::DEFAULT_LOCK) {
            Err(error) if fcntl::is_unsupported(&error) => known(LockMode::Posix),
            known => known,
        },
    }
}

/// Whether kernel and file system know the calls of a lock mode. No lock is taken.
fn is_known(mode: LockMode, descriptor: &Descriptor) -> io::Result<()> {
    match mode {
        LockMode::Ofd | LockMode::Excl => descriptor.check_ofd_locks(),
        LockMode::Posix => {
            fcntl::conflict(descriptor.as_fd(), Owner::Process, Kind::Read, Range::new(0, 1)).map(|_| ())
        }
        LockMode::Flock | LockMode::Dotfile | LockMode::None => Ok(()),
    }
}

fn without_locks(path: &Path, wish: Option<LockMode>, error: &io::Error) -> String {
    let path = path.display();
    match wish {
        None => format!(
            "the file system of {path} has no locks on ranges of bytes ({error}); open it with lock=flock or lock=dotfile, \
             in every process"
        ),
        Some(mode) => format!("lock={} does not work on the file system of {path}: {error}", mode.name()),
    }
}

/// Whose the lock slots of the shared memory are.
fn slots_owner(lock_mode: LockMode) -> Owner {
    match lock_mode {
        LockMode::Posix => Owner::Process,
        _ if platform::OFD_COMMANDS.is_none() => Owner::Process,
        _ => Owner::Description,
    }
}

/// Journals are found by the name of the database; one that has two names, or another one by now, can be damaged by that.
fn warn_of_names(request: &OpenRequest<'_>, path: &Path, metadata: &fs::Metadata, id: FileId) {
    let trouble = match metadata.nlink() {
        0 => "was deleted while it was opened",
        1 if FileId::of(path).ok() != Some(id) => "was renamed while it was opened",
        1 => return,
        _ => "has several names (hard links)",
    };
    request.log.warn(&format!("{} {trouble}", path.display()));
}
