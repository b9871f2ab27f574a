//! Databases that one process has to itself: its connections agree in memory, and one lock keeps other processes out.

use std::convert::Infallible;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use vfs::{Code, Error, LockLevel, Result};

use super::dotfile::LockDirectory;
use super::{Protocol, SHARED, let_go, take};
use crate::fcntl::{Kind, Owner};
use crate::fd_pool::{Descriptor, FileId, OpenHow};
use crate::per_process::{PerProcess, lock};
use std::os::fd::AsFd;

/// What keeps other processes out.
enum Gate {
    /// A directory beside the database, as long as any connection holds a lock.
    Directory(LockDirectory),
    /// A lock on the bytes that readers share, from the first lock until the last connection is closed. It needs a descriptor of
    /// its own, since connections come and go.
    Range { path: PathBuf, id: FileId, descriptor: Option<Descriptor> },
}

impl Gate {
    /// Keeps other processes out. Of no use while a connection has a lock: then it is shut, or was lost.
    fn shut(&mut self) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.take(),
            Self::Range { descriptor: Some(_), .. } => Ok(()),
            Self::Range { path, id, descriptor } => {
                let opened = Descriptor::open(path, OpenHow::WRITE)
                    .map_err(|error| Error::os(Code::IOERR_LOCK, &error))?;
                // The file that the connections have open has lost its name, and would not be locked by it.
                if opened.id() != *id {
                    return Err(Code::IOERR_LOCK.into());
                }
                take(opened.as_fd(), Owner::Description, Kind::Write, SHARED, Code::IOERR_LOCK)?;
                *descriptor = Some(opened);
                Ok(())
            }
        }
    }

    /// Whether other processes are kept out still.
    fn is_shut(&self) -> io::Result<bool> {
        match self {
            Self::Directory(directory) => directory.is_ours(),
            Self::Range { .. } => Ok(true),
        }
    }

    /// The last lock of this process is gone; whether it kept the others out until now.
    fn open(&mut self) -> Result<bool> {
        match self {
            Self::Directory(directory) => directory.let_go(),
            Self::Range { .. } => Ok(true),
        }
    }

    /// The last connection of this process is gone.
    fn end(mut self) {
        // SQLite unlocks before it closes; a lock that is left over here would shut everybody out.
        let _ = self.open();
        if let Self::Range { descriptor: Some(descriptor), .. } = self {
            let _ = let_go(descriptor.as_fd(), Owner::Description, SHARED);
        }
    }
}

/// The connections of this process to one database.
struct Node {
    gate: Gate,
    /// How many hold SHARED or more.
    holders: usize,
    /// The highest level of any of them above SHARED, which only one can have.
    writer: LockLevel,
    /// Somebody opened the gate while connections had locks: what they have read may be stale by now.
    is_lost: bool,
}

impl Node {
    /// Whether other processes are still kept out. `code` rather than `BUSY`: waiting does not bring a lock back, only ending every
    /// transaction does.
    fn check(&mut self, code: Code) -> Result<()> {
        if !self.is_lost {
            self.is_lost = !self.gate.is_shut().map_err(|error| Error::os(code, &error))?;
        }
        if self.is_lost { Err(code.into()) } else { Ok(()) }
    }
}

static DIRECTORIES: PerProcess<Node> = PerProcess::new();
static RANGES: PerProcess<Node> = PerProcess::new();

/// One connection.
pub(super) struct OneProcess {
    table: &'static PerProcess<Node>,
    id: FileId,
    /// `None` only while it is dropped.
    node: Option<Arc<Mutex<Node>>>,
    /// The lock that this connection let go last was none any more.
    was_lost: bool,
}

impl OneProcess {
    pub(super) fn dotfile(id: FileId, path: &Path) -> Self {
        Self::new(&DIRECTORIES, id, || Gate::Directory(LockDirectory::of(path)))
    }

    pub(super) fn excl(id: FileId, path: &Path) -> Self {
        Self::new(&RANGES, id, || Gate::Range { path: path.to_owned(), id, descriptor: None })
    }

    fn new(table: &'static PerProcess<Node>, id: FileId, gate: impl FnOnce() -> Gate) -> Self {
        let node = || {
            let node = Node { gate: gate(), holders: 0, writer: LockLevel::None, is_lost: false };
            Ok::<_, Infallible>(node)
        };
        Self { table, id, node: table.get(id, node).ok(), was_lost: false }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Node) -> Result<T>) -> Result<T> {
        match &self.node {
            Some(node) => work(&mut lock(node)),
            None => Err(Code::IOERR_LOCK.into()),
        }
    }
}

impl Protocol for OneProcess {
    fn shared(&mut self, _fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|node| {
            if node.writer >= LockLevel::Pending {
                return Err(Code::BUSY.into());
            }
            if node.holders == 0 {
                node.gate.shut()?
            } else {
                node.check(Code::IOERR_LOCK)?
            }
            node.holders += 1;
            Ok(())
        })?;
        self.was_lost = false;
        Ok(())
    }

    fn reserved(&mut self, _fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|node| {
            if node.writer != LockLevel::None {
                return Err(Code::BUSY.into());
            }
            node.check(Code::IOERR_LOCK)?;
            node.writer = LockLevel::Reserved;
            Ok(())
        })
    }

    fn pending(&mut self, _fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|node| {
            node.writer = LockLevel::Pending;
            Ok(())
        })
    }

    fn exclusive(&mut self, _fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|node| {
            if node.holders > 1 {
                return Err(Code::BUSY.into());
            }
            node.check(Code::IOERR_LOCK)?;
            node.writer = LockLevel::Exclusive;
            Ok(())
        })
    }

    /// Behind a commit, which is told if it was not alone.
    fn downgrade(&mut self, _fd: BorrowedFd<'_>, _from: LockLevel) -> Result<()> {
        self.with(|node| {
            node.check(Code::IOERR_RDLOCK)?;
            node.writer = LockLevel::None;
            Ok(())
        })
    }

    fn release(&mut self, _fd: BorrowedFd<'_>, from: LockLevel) -> Result<()> {
        self.was_lost = self.with(|node| {
            // First, since a step that fails leaves everything as it was.
            let is_last = node.holders <= 1;
            let was_shut = !is_last || node.gate.open()?;
            if from > LockLevel::Shared {
                node.writer = LockLevel::None;
            }
            node.holders = node.holders.saturating_sub(1);
            let was_lost = node.is_lost || !was_shut;
            node.is_lost &= !is_last;
            Ok(was_lost)
        })?;
        Ok(())
    }

    fn is_reserved(&mut self, _fd: BorrowedFd<'_>) -> Result<bool> {
        self.with(|node| {
            node.check(Code::IOERR_CHECKRESERVEDLOCK)?;
            Ok(node.writer != LockLevel::None)
        })
    }

    fn is_lost(&self) -> bool {
        self.was_lost || self.with(|node| Ok(node.is_lost)).unwrap_or(true)
    }

    fn abandon(mut self: Box<Self>) {
        // The gate is the parent's.
        std::mem::forget(self.node.take());
    }
}

impl Drop for OneProcess {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.table.release(self.id, node, |node| node.gate.end());
        }
    }
}
