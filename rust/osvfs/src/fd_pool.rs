//! Descriptors of live files: opened here, and closed only when nobody loses a lock by that.
//!
//! POSIX record locks belong to the pair (process, inode): closing *any* descriptor of an inode drops every lock that the process
//! holds on it, whoever took them (POSIX.1-2017, `fcntl`; SQLite, "How To Corrupt An SQLite Database File", section 2.2). A
//! connection of another SQLite library in this process may hold such locks at any moment. So a descriptor that is no longer
//! needed is closed at once if that can be proved to be harmless (`closing`), and parked, unlocked, if not.
//!
//! Connections of one file share a descriptor: the kernel walks every lock that a file has at each call, and what connections of
//! one process do to each other it need not know.
//!
//! A forked child keeps none of these descriptors ([`forks::UnsharedFile`]), so that no lock outlives its owner. One that was opened while
//! another thread forked may be shared with the child all the same. No lock is ever taken through it: it is let go at once.

mod closing;
mod parked;
mod pooled_file;
mod reserve;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use forks::{UnsharedFile, open_unshared};

use crate::atomic;
use crate::fcntl::{self, Kind, Owner, Range};
pub use crate::file_id::FileId;
use crate::levels::Levels;
pub use crate::levels::LockedBy;
use crate::per_process::lock;
pub use parked::MAX_PARKED;
pub use pooled_file::{LockBytes, PooledFile};

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
    /// What connections hold through it.
    levels: Mutex<Levels>,
    /// How many hold the dead man's switch through it.
    switches: Mutex<usize>,
    /// The kernel and the file system know locks of an open file.
    has_ofd_locks: OnceLock<()>,
    has_batches: OnceLock<bool>,
}

impl OpenFile {
    fn new(file: UnsharedFile, is_writable: bool) -> Self {
        let (levels, switches) = (Mutex::default(), Mutex::default());
        let (has_ofd_locks, has_batches) = (OnceLock::new(), OnceLock::new());
        Self { file, is_writable, levels, switches, has_ofd_locks, has_batches }
    }

    /// Lets go of what a connection left behind whose unlocking failed.
    fn unlock(&self) {
        let _ = fcntl::set(self.file.as_fd(), Owner::Description, Kind::Unlock, Range::ALL);
        *lock(&self.levels) = Levels::default();
    }

    fn id(&self) -> FileId {
        let (device, inode) = self.file.identity();
        FileId { device, inode }
    }
}

/// A descriptor of a live file. It is let go when it is dropped; its locks must be gone by then.
#[derive(Debug)]
pub(crate) struct Descriptor {
    file: Arc<OpenFile>,
    is_harmless: bool,
    /// What must be closed after it: fields are dropped in their order.
    _closed_last: Option<Arc<OpenFile>>,
}

impl Descriptor {
    /// A descriptor of the file that `path` names now, for this user alone.
    ///
    /// # Errors
    /// What `stat` or `open` answers.
    pub(crate) fn open(path: &Path, how: OpenHow) -> io::Result<Self> {
        let file = match parked::reuse(path, how) {
            Some(parked) => parked,
            // Opened without the lock on the pool: some files make their opener wait.
            None => Arc::new(open_file(path, how, |file| drop(Self::from(Arc::new(file))))?),
        };
        Ok(Self::from(file))
    }

    /// A descriptor of the file that `path` names now, the same one for all of this process who ask in this way.
    ///
    /// # Errors
    /// As [`Descriptor::open`].
    pub(crate) fn share(path: &Path, how: OpenHow) -> io::Result<Arc<Self>> {
        if let Some(known) = parked::in_use(path, how) {
            return Ok(known);
        }
        let new = Arc::new(Self::open(path, how)?);
        parked::put_in_use(&new);
        Ok(new)
    }

    /// Device and inode of the file.
    pub(crate) fn id(&self) -> FileId {
        self.file.id()
    }

    pub(crate) fn file(&self) -> &File {
        self.file.file.file()
    }

    /// Closes it at once: nobody has a lock on a file like this.
    fn close(mut self) {
        self.is_harmless = true;
    }

    /// Whether locks of an open file work here. No lock is taken.
    ///
    /// # Errors
    /// What `fcntl` answers if they do not.
    pub(crate) fn check_ofd_locks(&self) -> io::Result<()> {
        let known = &self.file.has_ofd_locks;
        if known.get().is_none() {
            fcntl::conflict(self.as_fd(), Owner::Description, Kind::Read, Range::new(0, 1))?;
            let _ = known.set(());
        }
        Ok(())
    }

    /// Whether several writes can be made one.
    pub(crate) fn has_batches(&self) -> bool {
        *self.file.has_batches.get_or_init(|| atomic::is_supported(self.as_fd()))
    }

    /// What connections hold through it.
    pub(crate) fn levels(&self) -> &Mutex<Levels> {
        &self.file.levels
    }

    /// How many hold the dead man's switch through it.
    pub(crate) fn switches(&self) -> &Mutex<usize> {
        &self.file.switches
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.file.is_writable
    }
}

impl From<Arc<OpenFile>> for Descriptor {
    fn from(file: Arc<OpenFile>) -> Self {
        Self { file, is_harmless: false, _closed_last: None }
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.file.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if !self.is_harmless && !self.file.file.is_inherited() {
            self._closed_last = parked::let_go(&self.file);
        }
    }
}

/// Opens a file that no child shares; `aside` gets what one may share, because another thread was forking.
fn open_file(path: &Path, how: OpenHow, mut aside: impl FnMut(OpenFile)) -> io::Result<OpenFile> {
    let made = |file| OpenFile::new(file, how.write);
    let mut now = how;
    let open = || {
        let file = open_above_stderr(&now.options(), path)?;
        // If it has to be opened once more, it is there.
        now = OpenHow { create: false, exclusive: false, ..how };
        Ok(file)
    };
    open_unshared(open, |file| aside(made(file))).map(made)
}

/// Opens a file, live or not, under a descriptor of its own that is none of the standard ones. Where there is none left, parked
/// ones are given up for it, or those kept in reserve.
#[expect(clippy::disallowed_methods, reason = "the pool is the one place that may open a live file")]
pub(crate) fn open_above_stderr(options: &OpenOptions, path: &Path) -> io::Result<File> {
    take_standard_descriptors();
    match options.open(path) {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) && give_up_descriptors() =>
        {
            options.open(path)
        }
        opened => opened,
    }
}

/// Whether there may be one to be had now.
fn give_up_descriptors() -> bool {
    // First: to find out what may be closed takes one.
    let had_reserve = reserve::give_up();
    parked::give_up() || had_reserve
}

/// Gives the numbers of the standard descriptors that are closed to nothing at all: a message that somebody prints must not land in
/// a database. They stay taken, so that this happens once.
fn take_standard_descriptors() {
    use rustix::io::{Errno, fcntl_getfd};

    let is_closed = [fcntl_getfd(io::stdin()), fcntl_getfd(io::stdout()), fcntl_getfd(io::stderr())]
        .contains(&Err(Errno::BADF));
    if !is_closed {
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "no database")]
    let open = || OpenOptions::new().read(true).write(true).open("/dev/null");
    while let Ok(nothing) = open()
        && nothing.as_raw_fd() <= libc::STDERR_FILENO
    {
        std::mem::forget(nothing);
    }
}

impl OpenHow {
    /// Whether `open` would be allowed as well: permissions may have changed since a descriptor was opened.
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
