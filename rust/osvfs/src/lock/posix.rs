//! Locks of the process: the algorithm of SQLite's `unix` VFS, for kernels and file systems without OFD locks.
//!
//! The process has one set of locks for each inode, so its connections agree among themselves first. Another SQLite library in
//! this process has a table of its own, and the two can neither see nor exclude each other: that is what OFD locks are for.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};

use vfs::{Code, LockLevel, Result};

use super::{
    PENDING, PENDING_AND_RESERVED, Protocol, RESERVED, SHARED, is_reserved_elsewhere, let_go, share_again,
    take,
};
use crate::fcntl::{Kind, Owner, Range};
use crate::fd_pool::FileId;
use crate::per_process::{PerProcess, lock};

const OWNER: Owner = Owner::Process;

static NODES: PerProcess<Node> = PerProcess::new();

/// What this process holds on one inode.
struct Node {
    /// The highest level of any of its connections.
    level: LockLevel,
    /// How many of them hold SHARED or more.
    holders: usize,
}

pub(super) struct Posix {
    node: Option<Arc<Mutex<Node>>>,
}

impl Posix {
    pub(super) fn new(id: FileId) -> Self {
        let made =
            NODES.get(id, || Ok::<_, std::convert::Infallible>(Node { level: LockLevel::None, holders: 0 }));
        Self { node: made.ok() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Node) -> Result<T>) -> Result<T> {
        match &self.node {
            Some(node) => work(&mut lock(node)),
            None => Err(Code::IOERR_LOCK.into()),
        }
    }
}

impl Protocol for Posix {
    fn shared(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|node| {
            if node.level >= LockLevel::Pending {
                return Err(Code::BUSY.into());
            }
            if node.holders == 0 {
                take(fd, OWNER, Kind::Read, PENDING, Code::IOERR_LOCK)?;
                let shared = take(fd, OWNER, Kind::Read, SHARED, Code::IOERR_LOCK);
                // Whatever became of SHARED, PENDING was only to pass by.
                let_go(fd, OWNER, PENDING)?;
                shared?;
                node.level = LockLevel::Shared;
            }
            node.holders += 1;
            Ok(())
        })
    }

    fn reserved(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|node| {
            if node.level > LockLevel::Shared {
                return Err(Code::BUSY.into());
            }
            take(fd, OWNER, Kind::Write, RESERVED, Code::IOERR_LOCK)?;
            node.level = LockLevel::Reserved;
            Ok(())
        })
    }

    fn pending(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|node| {
            take(fd, OWNER, Kind::Write, PENDING, Code::IOERR_LOCK)?;
            node.level = LockLevel::Pending;
            Ok(())
        })
    }

    fn exclusive(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|node| {
            if node.holders > 1 {
                return Err(Code::BUSY.into());
            }
            take(fd, OWNER, Kind::Write, SHARED, Code::IOERR_LOCK)?;
            node.level = LockLevel::Exclusive;
            Ok(())
        })
    }

    fn downgrade(&mut self, fd: BorrowedFd<'_>, from: LockLevel) -> Result<()> {
        self.with(|node| {
            if from == LockLevel::Exclusive {
                share_again(fd, OWNER)?;
            }
            let_go(fd, OWNER, PENDING_AND_RESERVED)?;
            node.level = LockLevel::Shared;
            Ok(())
        })
    }

    fn release(&mut self, fd: BorrowedFd<'_>, from: LockLevel) -> Result<()> {
        self.with(|node| {
            if node.holders <= 1 {
                let_go(fd, OWNER, Range::ALL)?;
                node.level = LockLevel::None;
            } else if from > LockLevel::Shared {
                // The others of this process go on reading. EXCLUSIVE is never held beside them.
                let_go(fd, OWNER, PENDING_AND_RESERVED)?;
                node.level = LockLevel::Shared;
            }
            node.holders = node.holders.saturating_sub(1);
            Ok(())
        })
    }

    fn is_reserved(&mut self, fd: BorrowedFd<'_>) -> Result<bool> {
        self.with(|node| Ok(node.level > LockLevel::Shared || is_reserved_elsewhere(fd, OWNER)?))
    }

    /// A child has none of its parent's locks, and its own table.
    fn abandon(self: Box<Self>) {}
}
