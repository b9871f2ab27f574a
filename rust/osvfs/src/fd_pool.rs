//! Descriptors of live files: opened here, and not closed while somebody might depend on them.
//!
//! POSIX record locks belong to the pair (process, inode): closing *any* descriptor of an inode drops every lock that the process
//! holds on it, whoever took them (POSIX.1-2017, `fcntl`; SQLite, "How To Corrupt An SQLite Database File", section 2.2). A
//! connection of another SQLite library in this process may hold such locks at any moment. So a descriptor that is no longer
//! needed is parked, unlocked, until the same file is opened again.
//!
//! A process that opens ever new databases must not run out of descriptors. Beyond [`MAX_PARKED`] the oldest are closed, in the
//! one way that cannot take a lock away: under a write lock of another open file description on every byte of the file. While it
//! is held nobody has a lock there, in this process either, and nobody can get one; and it goes with the last descriptor, only
//! after the kernel has dropped the locks of the process. A file without a name left is closed at once: nobody can open it again.
//!
//! A forked child keeps none of these descriptors ([`vfs::UnsharedFile`]), so that no lock outlives its owner. One that was opened while
//! another thread forked may be shared with the child all the same. No lock is ever taken through it: it is parked at once.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use vfs::{ProcessLocal, UnsharedFile, open_unshared};

use crate::fcntl::{self, Kind, Owner, Range};
use crate::per_process::lock;

/// How many descriptors wait to be used again before the oldest are closed.
pub const MAX_PARKED: usize = 64;

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

    /// The file that `metadata` is about.
    #[must_use]
    pub fn from_metadata(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl std::fmt::Display for FileId {
    /// Device and inode, as `PRAGMA ltx_file` answers them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// How a live file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenHow {
    pub(crate) write: bool,
    pub(crate) create: bool,
    /// It must not be there yet.
    pub(crate) exclusive: bool,
    /// Permissions of a new file.
    pub(crate) mode: u32,
}

impl OpenHow {
    pub(crate) const READ: Self = Self { write: false, create: false, exclusive: false, mode: 0o644 };
    pub(crate) const WRITE: Self = Self { write: true, ..Self::READ };
}

/// An open file of the pool.
#[derive(Debug)]
struct OpenFile {
    file: UnsharedFile,
    is_writable: bool,
}

impl OpenFile {
    fn id(&self) -> FileId {
        let (device, inode) = self.file.identity();
        FileId { device, inode }
    }

    /// A lock under which closing this descriptor takes no lock away.
    fn closing_guard(&self) -> Guard {
        let is_free = || {
            fcntl::conflict(self.file.as_fd(), Owner::Description, Kind::Write, Range::ALL).ok() == Some(None)
        };
        if !self.is_writable || vfs::is_forking() || !is_free() {
            return Guard::Refused(None);
        }
        let again = format!("/proc/self/fd/{}", self.file.as_fd().as_raw_fd());
        let open = || open_above_stderr(OpenOptions::new().read(true).write(true), Path::new(&again));
        let Ok(file) = UnsharedFile::open(open) else { return Guard::Refused(None) };
        if !file.is_shared() && fcntl::set(file.as_fd(), Owner::Description, Kind::Write, Range::ALL).is_ok()
        {
            return Guard::Held(file);
        }
        // Somebody came in between. Now there are two that cannot be closed.
        Guard::Refused(Some(Self { file, is_writable: true }))
    }
}

/// Whether a descriptor may be closed.
enum Guard {
    /// While this file is open, which is to be closed last.
    Held(UnsharedFile),
    /// Not now; and neither may the descriptor that was opened to find out.
    Refused(Option<OpenFile>),
}

/// A descriptor of a live file that nobody else uses. It goes back to the pool when it is dropped; its locks must be gone by then.
#[derive(Debug)]
pub(crate) struct Descriptor(Arc<OpenFile>);

impl Descriptor {
    /// A descriptor of the file that `path` names now: one from the pool, or a new one.
    ///
    /// # Errors
    /// What `stat` or `open` answers.
    pub(crate) fn open(path: &Path, how: OpenHow) -> io::Result<Self> {
        if let Some(parked) = reuse(path, how) {
            return Ok(Self(parked));
        }
        // Opened without the lock on the pool: some files make their opener wait.
        let aside = |file| lock(POOL.get()).park(Arc::new(file));
        open_file(path, how, aside).map(|file| Self(Arc::new(file)))
    }

    /// Device and inode of the file.
    pub(crate) fn id(&self) -> FileId {
        self.0.id()
    }

    pub(crate) fn file(&self) -> &File {
        self.0.file.file()
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if !self.0.file.is_inherited() {
            lock(POOL.get()).park(Arc::clone(&self.0));
        }
    }
}

/// A file of the pool, open for reading, for whoever is not a connection.
#[derive(Debug)]
pub struct PooledFile(Descriptor);

impl PooledFile {
    /// Opens the file that `path` names now.
    ///
    /// # Errors
    /// What `stat` or `open` answers.
    pub fn open(path: &Path) -> io::Result<Self> {
        // For writing if that is allowed, since only such a descriptor can ever be closed again.
        match Descriptor::open(path, OpenHow::WRITE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Descriptor::open(path, OpenHow::READ),
            opened => opened,
        }
        .map(Self)
    }

    /// Device and inode of this file.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.0.id()
    }

    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// What `pread` answers.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.file().read_at(buf, offset)
    }

    /// Length in bytes, by `fstat`.
    ///
    /// # Errors
    /// What `fstat` answers.
    pub fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    /// What `fstat` says of the file, whatever its name is by now.
    ///
    /// # Errors
    /// What `fstat` answers.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.file().metadata()
    }

    /// Whether anybody has a lock on these bytes: connections of this process as well as of others.
    ///
    /// # Errors
    /// What `fcntl` answers.
    pub fn lock_on(&self, bytes: LockBytes) -> io::Result<Option<LockedBy>> {
        let found = fcntl::conflict(self.0.as_fd(), Owner::Description, Kind::Write, bytes.range())?;
        Ok(found.map(|kind| if kind == Kind::Read { LockedBy::Readers } else { LockedBy::Writer }))
    }
}

/// Lock bytes that tell who uses a database (SQLite, `os.h` and `wal.c`, where they are defined).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockBytes {
    /// SHARED of a database file: locked by every connection that is in a transaction, or in WAL mode.
    Shared,
    /// The dead man's switch of a `-shm` file: locked by every connection that uses it.
    DeadMansSwitch,
    /// The writer's slot of a `-shm` file.
    Write,
    /// The checkpointer's slot of a `-shm` file.
    Checkpoint,
}

impl LockBytes {
    const fn range(self) -> Range {
        match self {
            Self::Shared => Range::new(0x4000_0002, 510),
            Self::DeadMansSwitch => Range::new(128, 1),
            Self::Write => Range::new(120, 1),
            Self::Checkpoint => Range::new(121, 1),
        }
    }
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockedBy {
    /// One or more that share it.
    Readers,
    /// One that has it alone.
    Writer,
}

static POOL: ProcessLocal<Mutex<Pool>> = ProcessLocal::new(Mutex::default);

#[derive(Default)]
struct Pool {
    /// Unlocked and out of use, the one that was parked first at the front.
    parked: Vec<Arc<OpenFile>>,
}

/// A parked descriptor of the file that `path` names now.
fn reuse(path: &Path, how: OpenHow) -> Option<Arc<OpenFile>> {
    if how.exclusive {
        return None;
    }
    let wanted = FileId::of(path).ok()?;
    let found = lock(POOL.get()).take(wanted, how.write)?;
    if how.is_allowed(path) {
        return Some(found);
    }
    lock(POOL.get()).parked.push(found);
    None
}

impl Pool {
    fn take(&mut self, wanted: FileId, is_writable: bool) -> Option<Arc<OpenFile>> {
        let fits = |file: &Arc<OpenFile>| {
            file.id() == wanted && file.is_writable == is_writable && !file.file.is_shared()
        };
        self.parked.iter().position(fits).map(|found| self.parked.remove(found))
    }

    fn park(&mut self, file: Arc<OpenFile>) {
        self.parked.push(file);
        self.parked.retain(|file| file.file.file().metadata().map_or(true, |metadata| metadata.nlink() > 0));
        let (mut surplus, mut place) = (self.parked.len().saturating_sub(MAX_PARKED), 0);
        while surplus > 0 && place < self.parked.len() {
            match self.parked[place].closing_guard() {
                Guard::Held(guard) => {
                    drop(self.parked.remove(place));
                    drop(guard);
                    surplus -= 1;
                }
                Guard::Refused(another) => {
                    self.parked.extend(another.map(Arc::new));
                    place += 1;
                }
            }
        }
    }
}

/// The lowest descriptor that a database may have: a message that somebody prints must not land in it.
const LOWEST: i32 = 3;

/// Opens a file that no child shares; `aside` gets what one may share, because another thread was forking.
fn open_file(path: &Path, how: OpenHow, mut aside: impl FnMut(OpenFile)) -> io::Result<OpenFile> {
    let made = |file| OpenFile { file, is_writable: how.write };
    let mut now = how;
    let open = || {
        let file = open_above_stderr(&now.options(), path)?;
        // If it has to be opened once more, it is there.
        now = OpenHow { create: false, exclusive: false, ..how };
        Ok(file)
    };
    open_unshared(open, |file| aside(made(file))).map(made)
}

/// Opens a file, live or not, under a descriptor of its own that is none of the standard ones.
#[expect(clippy::disallowed_methods, reason = "the pool is the one place that may open a live file")]
pub(crate) fn open_above_stderr(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.open(path)?;
    if file.as_raw_fd() >= LOWEST {
        return Ok(file);
    }
    // The low number is given to nothing at all, and stays taken, so that this happens once.
    let high = rustix::io::fcntl_dupfd_cloexec(&file, LOWEST)?;
    let mut low = std::os::fd::OwnedFd::from(file);
    rustix::io::dup2(OpenOptions::new().read(true).write(true).open("/dev/null")?, &mut low)?;
    std::mem::forget(low);
    Ok(high.into())
}

impl OpenHow {
    /// Whether `open` would be allowed as well: permissions may have changed since a parked descriptor was opened.
    fn is_allowed(self, path: &Path) -> bool {
        use rustix::fs::{Access, AtFlags, CWD, accessat};

        let wanted = if self.write { Access::READ_OK | Access::WRITE_OK } else { Access::READ_OK };
        accessat(CWD, path, wanted, AtFlags::EACCESS).is_ok()
    }

    pub(crate) fn options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        // The path has no link in it any more; one that appears meanwhile is not followed.
        options.read(true).write(self.write).mode(self.mode).custom_flags(libc::O_NOFOLLOW);
        options.create(self.create && self.write && !self.exclusive);
        options.create_new(self.create && self.write && self.exclusive);
        options
    }
}

#[cfg(test)]
mod tests;
