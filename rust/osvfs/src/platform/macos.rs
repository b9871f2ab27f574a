//! macOS: OFD locks, and a disk cache that only `F_FULLFSYNC` empties.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::OfdCommands;
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

/// A full sync empties the disk's cache; for a rollback journal a barrier is enough. Without either it is `fsync`.
#[expect(unsafe_code, reason = "commands that no library wraps")]
pub(crate) fn sync(fd: BorrowedFd<'_>, full: bool, is_journal: bool) -> io::Result<()> {
    if full {
        let command = if is_journal { F_BARRIERFSYNC } else { libc::F_FULLFSYNC };
        // SAFETY: the descriptor is open for the length of the borrow; the commands take no argument.
        if unsafe { libc::fcntl(fd.as_raw_fd(), command, 0) } != -1 {
            return Ok(());
        }
    }
    Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(fd))?)
}

/// There is no call that reserves blocks inside a file.
pub(crate) fn preallocate(_fd: BorrowedFd<'_>, from: u64, to: u64) -> io::Result<bool> {
    Ok(from >= to)
}
