//! Linux: OFD locks, `fdatasync`, `fallocate`.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{OfdCommands, Strength};
use crate::choice::LockMode;

/// 64-bit offsets on every architecture.
pub(crate) type Flock = libc::flock64;

pub(crate) const OFD_COMMANDS: Option<OfdCommands> =
    Some(OfdCommands { get: libc::F_OFD_GETLK, set: libc::F_OFD_SETLK });

/// What `auto` tries first.
pub(crate) const DEFAULT_LOCK: LockMode = LockMode::Ofd;

/// `flock` from exclusive to shared lets the lock go in between.
pub(crate) const FLOCK_CONVERTS_ATOMICALLY: bool = false;

/// Size changes are covered by `fdatasync`, and there is no stronger sync to ask for.
pub(crate) fn sync(fd: BorrowedFd<'_>, _strength: Strength) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::fdatasync(fd))?)
}

/// Allocates blocks for bytes `from..to`, so that writing there cannot run out of space. False when the file system cannot.
pub(crate) fn preallocate(fd: BorrowedFd<'_>, from: u64, to: u64) -> io::Result<bool> {
    let len = to.saturating_sub(from);
    if len == 0 {
        return Ok(true);
    }
    match rustix::io::retry_on_intr(|| rustix::fs::fallocate(fd, FallocateFlags::empty(), from, len)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
