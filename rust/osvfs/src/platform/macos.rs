//! macOS: OFD locks, and a disk cache that only `F_FULLFSYNC` empties.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{OfdCommands, Strength};
use crate::choice::LockMode;

pub(crate) type Flock = libc::flock;

// Not in every SDK; xnu, `bsd/sys/fcntl.h`.
const F_OFD_SETLK: i32 = 90;
const F_OFD_GETLK: i32 = 92;
const F_BARRIERFSYNC: i32 = 85;

pub(crate) const OFD_COMMANDS: Option<OfdCommands> = Some(OfdCommands { get: F_OFD_GETLK, set: F_OFD_SETLK });

/// What `auto` tries first.
pub(crate) const DEFAULT_LOCK: LockMode = LockMode::Ofd;

/// `flock` from exclusive to shared keeps the lock.
pub(crate) const FLOCK_CONVERTS_ATOMICALLY: bool = true;

/// `fsync` does not empty the disk's cache here. A file system that knows neither command gets an `fsync`.
#[expect(unsafe_code, reason = "commands that no library wraps")]
pub(crate) fn sync(fd: BorrowedFd<'_>, strength: Strength) -> io::Result<()> {
    let command = match strength {
        Strength::Normal => None,
        Strength::Barrier => Some(F_BARRIERFSYNC),
        Strength::Full => Some(libc::F_FULLFSYNC),
    };
    if let Some(command) = command
        // SAFETY: the descriptor is open for the length of the borrow; the commands take no argument.
        && unsafe { libc::fcntl(fd.as_raw_fd(), command, 0) } != -1
    {
        return Ok(());
    }
    Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(fd))?)
}

/// There is no call that reserves blocks inside a file.
pub(crate) fn preallocate(_fd: BorrowedFd<'_>, from: u64, to: u64) -> io::Result<bool> {
    Ok(from >= to)
}
