//! Record locks and leases: the only place that calls `fcntl` for one.
//!
//! Ranges of bytes are locked either by the open file description (OFD locks: Linux 3.15, `fcntl(2)`, "Open file description
//! locks"; macOS has them too), or by the process (POSIX.1-2017, `fcntl`). Both kinds conflict with each other, inside one process
//! as well, which is what lets this VFS live beside SQLite's own.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::platform;

/// Whose the lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// The open file description; it goes when the last descriptor of it is closed, and a forked child shares it.
    Description,
    /// The process; it goes when the process closes any descriptor of the file.
    Process,
}

/// What to do with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Share it with other readers.
    Read,
    /// Have it alone.
    Write,
    /// Let it go.
    Unlock,
}

/// Bytes `start..start + len`; a length of 0 means up to the end, however far that will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Range {
    /// Every byte that the file has or will have.
    pub(crate) const ALL: Self = Self { start: 0, len: 0 };

    pub(crate) const fn new(start: u64, len: u64) -> Self {
        Self { start, len }
    }
}

/// Takes or lets go of a range without waiting.
///
/// # Errors
/// `EAGAIN` or `EACCES` when somebody else is in the way; `EINVAL` when the kernel or file system has no locks of this kind.
pub(crate) fn set(fd: BorrowedFd<'_>, owner: Owner, kind: Kind, range: Range) -> io::Result<()> {
    let command = match owner {
        Owner::Description => platform::OFD_COMMANDS.ok_or_else(unsupported)?.set,
        Owner::Process => libc::F_SETLK,
    };
    call(fd, command, &mut request(kind, range)?)
}

/// What keeps a lock of this kind from being taken, if anything does: a reader or a writer.
///
/// Locks of the same owner are never in the way; those of other descriptions in this process are, when asked for a description.
///
/// # Errors
/// What `fcntl` answers.
pub(crate) fn conflict(
    fd: BorrowedFd<'_>,
    owner: Owner,
    kind: Kind,
    range: Range,
) -> io::Result<Option<Kind>> {
    let command = match owner {
        Owner::Description => platform::OFD_COMMANDS.ok_or_else(unsupported)?.get,
        Owner::Process => libc::F_GETLK,
    };
    let mut lock = request(kind, range)?;
    call(fd, command, &mut lock)?;
    Ok(match i32::from(lock.l_type) {
        libc::F_RDLCK => Some(Kind::Read),
        libc::F_WRLCK => Some(Kind::Write),
        _ => None,
    })
}

/// Whether an error of [`set`] says that somebody else holds some of the range.
pub(crate) fn is_held(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EAGAIN))
}

/// Whether an error means "not now" to a connection: somebody else has it, or whatever SQLite takes for that.
pub(crate) fn is_conflict(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EACCES
                | libc::EAGAIN
                | libc::EBUSY
                | libc::EINTR
                | libc::ENOLCK
                | libc::EDEADLK
                | libc::ETIMEDOUT
        )
    )
}

/// Takes a lease for writing on an open file that is to be closed at once (`fcntl(2)`, "Leases"). Nobody else has the file open then,
/// and whoever opens it waits until the lease ends, which it does with the open file.
///
/// # Errors
/// `EAGAIN` when somebody else has the file open; others when the system, the file system or the owner of the file does not allow it.
pub(crate) fn lease(fd: BorrowedFd<'_>) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        /// `fcntl.h` of every architecture that Rust knows, which the `libc` crate does not have.
        const F_SETSIG: i32 = 10;
        // Whoever opens the file while the lease is there has the kernel send a signal, which would end the process by default.
        // This one is ignored by default.
        set_number(fd, F_SETSIG, libc::SIGURG)?;
        set_number(fd, libc::F_SETLEASE, libc::F_WRLCK)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = fd;
        Err(unsupported())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[expect(unsafe_code, reason = "the system call itself")]
fn set_number(fd: BorrowedFd<'_>, command: i32, number: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the borrow, and the commands used here take a number.
    if unsafe { libc::fcntl(fd.as_raw_fd(), command, number) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether an error of a lock means that there are no locks of this kind.
#[must_use]
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOLCK))
}

fn unsupported() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

fn request(kind: Kind, range: Range) -> io::Result<platform::Flock> {
    let too_far = || io::Error::from_raw_os_error(libc::EOVERFLOW);
    let raw = match kind {
        Kind::Read => libc::F_RDLCK,
        Kind::Write => libc::F_WRLCK,
        Kind::Unlock => libc::F_UNLCK,
    };
    // SAFETY: a C struct of numbers, for which all zeros is a value; the process id must be zero for locks of a description.
    #[expect(unsafe_code, reason = "the struct has padding on some platforms, so it has no literal")]
    let mut lock: platform::Flock = unsafe { std::mem::zeroed() };
    lock.l_type = raw as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = range.start.try_into().map_err(|_| too_far())?;
    lock.l_len = range.len.try_into().map_err(|_| too_far())?;
    Ok(lock)
}

#[expect(unsafe_code, reason = "the system call itself")]
fn call(fd: BorrowedFd<'_>, command: i32, lock: &mut platform::Flock) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open for the length of the borrow, and all commands used here take a pointer to this struct,
        // which they read or fill in.
        if unsafe { libc::fcntl(fd.as_raw_fd(), command, std::ptr::from_mut(lock)) } != -1 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
