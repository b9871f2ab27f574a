//! Locks of the open file description, on the bytes that SQLite's `unix` VFS locks for the process.

use std::os::fd::BorrowedFd;
use std::thread;
use std::time::{Duration, Instant};

use vfs::{Code, Error, LockLevel, Result};

use super::{
    PENDING, PENDING_AND_RESERVED, Protocol, RESERVED, SHARED, is_reserved_elsewhere, let_go, refused,
    share_again, take,
};
use crate::fcntl::{self, Kind, Owner, Range};

const OWNER: Owner = Owner::Description;

/// How long a writer waits for the PENDING byte. Only a reader on its way in can have it, for microseconds. The wait has an end
/// because nothing detects a deadlock between these locks, and a signal could not interrupt it.
const PENDING_WAIT: Duration = Duration::from_millis(10);
const PENDING_STEP: Duration = Duration::from_micros(100);

/// All state is in the kernel: each connection has a description of its own, so those of one process exclude each other too.
pub(super) struct Ofd;

impl Protocol for Ofd {
    /// Looks at PENDING instead of taking it: the SHARED range decides, and a writer that comes in between only has to wait for
    /// one more reader.
    fn shared(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        let writer = fcntl::conflict(fd, OWNER, Kind::Read, PENDING)
            .map_err(|error| refused(Code::IOERR_LOCK, &error))?;
        if writer.is_some() {
            return Err(Code::BUSY.into());
        }
        take(fd, OWNER, Kind::Read, SHARED, Code::IOERR_LOCK)
    }

    fn reserved(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        take(fd, OWNER, Kind::Write, RESERVED, Code::IOERR_LOCK)
    }

    fn pending(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        let deadline = Instant::now() + PENDING_WAIT;
        loop {
            match take(fd, OWNER, Kind::Write, PENDING, Code::IOERR_LOCK) {
                Err(Error { code: Code::BUSY, .. }) if Instant::now() < deadline => {
                    thread::sleep(PENDING_STEP);
                }
                done => return done,
            }
        }
    }

    fn exclusive(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        take(fd, OWNER, Kind::Write, SHARED, Code::IOERR_LOCK)
    }

    fn downgrade(&mut self, fd: BorrowedFd<'_>, from: LockLevel) -> Result<()> {
        if from == LockLevel::Exclusive {
            share_again(fd, OWNER)?;
        }
        let_go(fd, OWNER, PENDING_AND_RESERVED)
    }

    fn release(&mut self, fd: BorrowedFd<'_>, _from: LockLevel) -> Result<()> {
        let_go(fd, OWNER, Range::ALL)
    }

    fn is_reserved(&mut self, fd: BorrowedFd<'_>) -> Result<bool> {
        is_reserved_elsewhere(fd, OWNER)
    }

    fn abandon(self: Box<Self>) {}
}
