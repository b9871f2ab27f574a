//! `flock` of the whole file: SHARED is shared, everything above is exclusive.
//!
//! So a writer that has RESERVED keeps readers out already. On Linux, `flock` and record locks do not see each other at all: such
//! a database must not be used through another VFS at the same time. Where they are one and the same (the BSDs, macOS), they
//! exclude each other, though with fewer levels.

use std::os::fd::BorrowedFd;

use dbfile::header;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use vfs::{Code, LockLevel, Result};

use super::{Protocol, refused};
use crate::platform::FLOCK_CONVERTS_ATOMICALLY;

#[derive(Default)]
pub(super) struct Flock {
    /// The lock is exclusive, maybe while the level is SHARED.
    is_exclusive: bool,
    /// A failed upgrade lost the shared lock, and somebody wrote, or has the lock: what was read before is stale.
    is_lost: bool,
}

fn call(fd: BorrowedFd<'_>, operation: FlockOperation, otherwise: Code) -> Result<()> {
    rustix::io::retry_on_intr(|| flock(fd, operation)).map_err(|error| refused(otherwise, &error.into()))
}

/// Whether somebody has the lock of an open file.
pub(crate) fn is_held(fd: BorrowedFd<'_>) -> bool {
    match rustix::io::retry_on_intr(|| flock(fd, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => {
            let _ = flock(fd, FlockOperation::Unlock);
            false
        }
        // Any other error means that there are no such locks.
        Err(error) => matches!(error, Errno::WOULDBLOCK | Errno::ACCESS),
    }
}

impl Protocol for Flock {
    fn shared(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        call(fd, FlockOperation::NonBlockingLockShared, Code::IOERR_LOCK)
    }

    /// On Linux an upgrade that fails has already let the shared lock go (`flock(2)`, "Converting a lock"): whoever was waiting
    /// for that may have written, and SQLite would go on with what it had read before.
    fn reserved(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        if self.is_lost {
            return Err(Code::IOERR_LOCK.into());
        }
        if self.is_exclusive {
            return Ok(());
        }
        let before = change_counter(fd);
        let upgrade = call(fd, FlockOperation::NonBlockingLockExclusive, Code::IOERR_LOCK);
        self.is_exclusive = upgrade.is_ok();
        if upgrade.is_err() && !FLOCK_CONVERTS_ATOMICALLY {
            let again = call(fd, FlockOperation::NonBlockingLockShared, Code::IOERR_RDLOCK);
            self.is_lost = again.is_err() || before.is_none() || before != change_counter(fd);
        }
        upgrade
    }

    fn pending(&mut self, _fd: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }

    fn exclusive(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.reserved(fd)
    }

    fn downgrade(&mut self, fd: BorrowedFd<'_>, _from: LockLevel) -> Result<()> {
        if !FLOCK_CONVERTS_ATOMICALLY {
            // It stays exclusive until it is let go: on the way down another writer could slip in.
            return Ok(());
        }
        call(fd, FlockOperation::NonBlockingLockShared, Code::IOERR_RDLOCK)?;
        self.is_exclusive = false;
        Ok(())
    }

    fn release(&mut self, fd: BorrowedFd<'_>, _from: LockLevel) -> Result<()> {
        call(fd, FlockOperation::Unlock, Code::IOERR_UNLOCK)?;
        *self = Self::default();
        Ok(())
    }

    /// Nobody else can have more than SHARED while this one has it.
    fn is_reserved(&mut self, _fd: BorrowedFd<'_>) -> Result<bool> {
        Ok(false)
    }

    fn is_lost(&self) -> bool {
        self.is_lost
    }

    fn abandon(self: Box<Self>) {}
}

/// What SQLite itself looks at to see whether a database changed (SQLite, "Database File Format", section 1.3): the change counter
/// and the three numbers after it.
fn change_counter(fd: BorrowedFd<'_>) -> Option<([u8; 16], usize)> {
    let mut counter = [0; 16];
    let read = rustix::io::retry_on_intr(|| {
        rustix::io::pread(fd, &mut counter, header::CHANGE_COUNTER.start as u64)
    })
    .ok()?;
    Some((counter, read))
}
