//! The five lock levels, without a system call: those are in the protocols, one file each.
//!
//! Sources: SQLite, "File Locking And Concurrency In SQLite Version 3"; the byte ranges are those of its `unix` VFS.

mod byte_ranges;
mod dotfile;
mod flock;
mod none;
mod one_process;
#[cfg(test)]
mod table;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use dbfile::{PENDING_BYTE, SHARED_FIRST, SHARED_SIZE};
use vfs::{Code, Error, LockLevel, Result};

use crate::choice::LockMode;
use crate::fcntl::{self, Kind, Owner, Range};
use crate::fd_pool::Descriptor;

pub(crate) use byte_ranges::ByteRanges;
pub(crate) use dotfile::find_held as find_held_dotfile;
pub use dotfile::{break_lock, lock_path};
pub(crate) use flock::is_held as is_flock_held;

/// The byte that a writer locks to keep new readers away.
pub(crate) const PENDING: Range = Range::new(PENDING_BYTE, 1);
/// The byte of the one connection that intends to write.
pub(crate) const RESERVED: Range = Range::new(PENDING_BYTE + 1, 1);
/// PENDING and RESERVED.
pub(crate) const PENDING_AND_RESERVED: Range = Range::new(PENDING_BYTE, 2);
/// What readers share and a writer has alone.
pub(crate) const SHARED: Range = Range::new(SHARED_FIRST, SHARED_SIZE);

/// How one kind of lock moves from level to level. The state machine calls only what the level allows; a step that fails leaves
/// the level as it was.
pub(crate) trait Protocol: Send {
    /// NONE to SHARED.
    fn shared(&mut self, fd: BorrowedFd<'_>) -> Result<()>;

    /// SHARED to RESERVED.
    fn reserved(&mut self, fd: BorrowedFd<'_>) -> Result<()>;

    /// RESERVED to PENDING: no new reader comes in.
    fn pending(&mut self, fd: BorrowedFd<'_>) -> Result<()>;

    /// PENDING to EXCLUSIVE, or SHARED to EXCLUSIVE when a hot journal must be rolled back: no reader is left.
    fn exclusive(&mut self, fd: BorrowedFd<'_>) -> Result<()>;

    /// `from` to SHARED.
    fn downgrade(&mut self, fd: BorrowedFd<'_>, from: LockLevel) -> Result<()>;

    /// `from` to NONE.
    fn release(&mut self, fd: BorrowedFd<'_>, from: LockLevel) -> Result<()>;

    /// Whether another connection has RESERVED or more.
    fn is_reserved(&mut self, fd: BorrowedFd<'_>) -> Result<bool>;

    /// Whether a failed step lost the lock, so that nothing may be read until it is let go.
    fn is_lost(&self) -> bool {
        false
    }

    /// Lets go of what is shared with other connections of a parent process, without touching a lock.
    fn abandon(self: Box<Self>);
}

/// The lock of one connection.
pub(crate) struct Lock {
    level: LockLevel,
    is_read_only: bool,
    protocol: Box<dyn Protocol>,
}

impl Lock {
    /// A lock under `mode` on the file that is open at `path`, not held yet.
    pub(crate) fn new(mode: LockMode, descriptor: &Arc<Descriptor>, path: &Path, is_read_only: bool) -> Self {
        let id = descriptor.id();
        let protocol: Box<dyn Protocol> = match mode {
            LockMode::Ofd => Box::new(ByteRanges::of_description(descriptor)),
            LockMode::Posix => Box::new(ByteRanges::of_process(id)),
            LockMode::Flock => Box::new(flock::Flock::default()),
            LockMode::Dotfile => Box::new(one_process::OneProcess::dotfile(id, path)),
            LockMode::Excl => Box::new(one_process::OneProcess::excl(id, path)),
            LockMode::None => Box::new(none::NoLock),
        };
        Self { level: LockLevel::None, is_read_only, protocol }
    }

    /// For a file that nobody else has.
    pub(crate) fn none() -> Self {
        Self { level: LockLevel::None, is_read_only: false, protocol: Box::new(none::NoLock) }
    }

    pub(crate) fn level(&self) -> LockLevel {
        self.level
    }

    /// Raises the lock to `level`: SHARED, RESERVED or EXCLUSIVE. On the way to EXCLUSIVE it may stop at PENDING, from where
    /// the next attempt goes on.
    ///
    /// # Errors
    /// `BUSY`; `IOERR_LOCK` for a level that cannot be reached from here.
    pub(crate) fn raise(&mut self, fd: BorrowedFd<'_>, level: LockLevel) -> Result<()> {
        if self.level >= level {
            return Ok(());
        }
        let is_write = level > LockLevel::Shared;
        if is_write && (self.is_read_only || self.level == LockLevel::None) {
            return Err(Code::IOERR_LOCK.into());
        }
        match level {
            LockLevel::Shared => self.protocol.shared(fd)?,
            LockLevel::Reserved => self.protocol.reserved(fd)?,
            LockLevel::Exclusive => {
                if self.level == LockLevel::Reserved {
                    self.protocol.pending(fd)?;
                    self.level = LockLevel::Pending;
                }
                self.protocol.exclusive(fd)?;
            }
            LockLevel::None | LockLevel::Pending => return Err(Code::MISUSE.into()),
        }
        self.level = level;
        Ok(())
    }

    /// Lowers the lock to `level`: SHARED or NONE.
    ///
    /// # Errors
    /// `IOERR_UNLOCK`, `IOERR_RDLOCK`.
    pub(crate) fn lower(&mut self, fd: BorrowedFd<'_>, level: LockLevel) -> Result<()> {
        if self.level <= level {
            return Ok(());
        }
        match level {
            LockLevel::None => self.protocol.release(fd, self.level)?,
            _ => self.protocol.downgrade(fd, self.level)?,
        }
        self.level = level;
        Ok(())
    }

    /// Whether this connection or another has RESERVED or more.
    ///
    /// # Errors
    /// `IOERR_CHECKRESERVEDLOCK`.
    pub(crate) fn is_reserved(&mut self, fd: BorrowedFd<'_>) -> Result<bool> {
        if self.level >= LockLevel::Reserved {
            return Ok(true);
        }
        self.protocol.is_reserved(fd)
    }

    /// Whether nothing may be read until the lock is let go.
    pub(crate) fn is_lost(&self) -> bool {
        self.protocol.is_lost()
    }

    pub(crate) fn abandon(self) {
        self.protocol.abandon();
    }
}

/// What SQLite is told when a lock could not be had: `BUSY` if somebody has it, `otherwise` if something is wrong.
pub(crate) fn refused(otherwise: Code, error: &io::Error) -> Error {
    if fcntl::is_conflict(error) {
        return Error::os(Code::BUSY, error);
    }
    if error.raw_os_error() == Some(libc::EPERM) {
        return Error::os(Code::PERM, error);
    }
    Error::os(otherwise, error)
}

/// Takes a range, or says why not.
pub(crate) fn take(
    fd: BorrowedFd<'_>,
    owner: Owner,
    kind: Kind,
    range: Range,
    otherwise: Code,
) -> Result<()> {
    fcntl::set(fd, owner, kind, range).map_err(|error| refused(otherwise, &error))
}

/// Lets a range go; nobody can be in the way of that.
pub(crate) fn let_go(fd: BorrowedFd<'_>, owner: Owner, range: Range) -> Result<()> {
    fcntl::set(fd, owner, Kind::Unlock, range).map_err(|error| Error::os(Code::IOERR_UNLOCK, &error))
}

/// From a write lock on SHARED back to a read lock. This cannot be refused, and SQLite does not expect it to be busy.
pub(crate) fn share_again(fd: BorrowedFd<'_>, owner: Owner) -> Result<()> {
    fcntl::set(fd, owner, Kind::Read, SHARED).map_err(|error| Error::os(Code::IOERR_RDLOCK, &error))
}

/// Whether somebody has a lock on the RESERVED byte.
pub(crate) fn is_reserved_elsewhere(fd: BorrowedFd<'_>, owner: Owner) -> Result<bool> {
    fcntl::conflict(fd, owner, Kind::Write, RESERVED)
        .map(|found| found.is_some())
        .map_err(|error| Error::os(Code::IOERR_CHECKRESERVEDLOCK, &error))
}
