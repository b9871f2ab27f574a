//! FreeBSD, OpenBSD, NetBSD, DragonFly, illumos: no OFD locks, but `flock` that excludes record locks.

use std::io;
use std::os::fd::BorrowedFd;

use super::{OfdCommands, Strength};
use crate::choice::LockMode;

pub(crate) type Flock = libc::flock;

pub(crate) const OFD_COMMANDS: Option<OfdCommands> = None;

/// What `auto` tries first.
pub(crate) const DEFAULT_LOCK: LockMode = LockMode::Flock;

/// `flock` from exclusive to shared keeps the lock.
pub(crate) const FLOCK_CONVERTS_ATOMICALLY: bool = true;

/// `fsync`, the one sync there is.
pub(crate) fn sync(fd: BorrowedFd<'_>, _strength: Strength) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(fd))?)
}

/// There is no call that reserves blocks inside a file on all of them.
pub(crate) fn preallocate(_fd: BorrowedFd<'_>, from: u64, to: u64) -> io::Result<bool> {
    Ok(from >= to)
}
