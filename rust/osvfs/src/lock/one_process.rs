//! Databases that one process has to itself: its connections agree in memory, and one lock keeps other processes out.

use std::convert::Infallible;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use vfs::{Code, LockLevel, Result};

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
    Range { path: PathBuf, descriptor: Option<Descriptor> },
}

impl Gate {
    fn shut(&mut self) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.take(),
            Self::Range { descriptor: Some(_), .. } => Ok(()),
            Self::Range { path, descriptor } => {
                let opened = Descriptor::open(path, OpenHow::WRITE)
                    .map_err(|error| vfs::Error::os(Code::IOERR_LOCK, &error))?;
                take(opened.as_fd(), Owner::Description, Kind::Write, SHARED, Code::IOERR_LOCK)?;
                *descriptor = Some(opened);
                Ok(())
            }
        }
    }

    /// The last lock of this process is gone.
    fn open(&mut self) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.let_go(),
            Self::Range { .. } => Ok(()),
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
}

static DIRECTORIES: PerProcess<Node> = PerProcess::new();
static RANGES: PerProcess<Node> = PerProcess::new();

/// One connection.
pub(super) struct OneProcess {
    table: &'static PerProcess<Node>,
    id: FileId,
    /// `None` only while it is dropped.
    node: Option<Arc<Mutex<Node>>>,
}

impl OneProcess {
    pub(super) fn dotfile(id: FileId, path: &Path) -> Self {
        Self::new(&DIRECTORIES, id, || Gate::Directory(LockDirectory::of(path)))
    }

    pub(super) fn excl(id: FileId, path: &Path) -> Self {
        Self::new(&RANGES, id, || Gate::Range { path: path.to_owned(), descriptor: None })
    }

    fn new(table: &'static PerProcess<Node>, id: FileId, gate: impl FnOnce() -> Gate) -> Self {
        let node = || Ok::<_, Infallible>(Node { gate: gate(), holders: 0, writer: LockLevel::None });
        Self { table, id, node: table.get(id, node).ok() }
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
            node.gate.shut()?;
            node.holders += 1;
            Ok(())
        })
    }

    fn reserved(&mut self, _fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|node| {
            if node.writer != LockLevel::None {
                return Err(Code::BUSY.into());
            }
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
            node.writer = LockLevel::Exclusive;
            Ok(())
        })
    }

    fn downgrade(&mut self, _fd: BorrowedFd<'_>, _from: LockLevel) -> Result<()> {
        self.with(|node| {
            node.writer = LockLevel::None;
            Ok(())
        })
    }

    fn release(&mut self, _fd: BorrowedFd<'_>, from: LockLevel) -> Result<()> {
        self.with(|node| {
            if from > LockLevel::Shared {
                node.writer = LockLevel::None;
            }
            node.holders = node.holders.saturating_sub(1);
            if node.holders == 0 { node.gate.open() } else { Ok(()) }
        })
    }

    fn is_reserved(&mut self, _fd: BorrowedFd<'_>) -> Result<bool> {
        self.with(|node| Ok(node.writer != LockLevel::None))
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
