//! No lock at all: for temporary files, which nobody else has open, and for whoever asks for it by name.

use std::os::fd::BorrowedFd;

use vfs::{LockLevel, Result};

use super::Protocol;

pub(super) struct NoLock;

impl Protocol for NoLock {
    fn shared(&mut self, _fd: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }

    fn reserved(&mut self, _fd: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }

    fn pending(&mut self, _fd: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }

    fn exclusive(&mut self, _fd: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }

    fn downgrade(&mut self, _fd: BorrowedFd<'_>, _from: LockLevel) -> Result<()> {
        Ok(())
    }

    fn release(&mut self, _fd: BorrowedFd<'_>, _from: LockLevel) -> Result<()> {
        Ok(())
    }

    fn is_reserved(&mut self, _fd: BorrowedFd<'_>) -> Result<bool> {
        Ok(false)
    }

    fn abandon(self: Box<Self>) {}
}
