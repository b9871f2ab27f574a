//! A live file for whoever is not a connection to it.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::{Descriptor, FileId, LockedBy, OpenHow};
use crate::fcntl::{self, Kind, Owner, Range};
use crate::per_process::lock;

/// A file of the pool, open for reading, for whoever is not a connection.
#[derive(Debug)]
pub struct PooledFile(pub(super) Arc<Descriptor>);

impl PooledFile {
    /// Opens the file that `path` names now.
    ///
    /// # Errors
    /// What `stat` or `open` answers.
    pub fn open(path: &Path) -> io::Result<Self> {
        // For writing if that is allowed: where there are no leases, only such a descriptor can be closed safely.
        // And that of the connections: of several none could be closed without a lock that keeps others out for a moment.
        match Descriptor::share(path, OpenHow::WRITE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Descriptor::share(path, OpenHow::READ),
            opened => opened,
        }
        .map(Self)
    }

    /// Opens the file that `path` names now for reading alone.
    ///
    /// # Errors
    /// What `stat` or `open` answers.
    pub fn open_read_only(path: &Path) -> io::Result<Self> {
        Descriptor::open(path, OpenHow::READ).map(Arc::new).map(Self)
    }

    /// Opens the file that `path` names now for writing, and makes one if there is none and `create` says so.
    ///
    /// # Errors
    /// What `stat` or `open` answers.
    pub fn open_for_writing(path: &Path, create: bool) -> io::Result<Self> {
        Descriptor::open(path, OpenHow { create, ..OpenHow::WRITE }).map(Arc::new).map(Self)
    }

    /// What connections of this process share with whoever looks.
    pub(crate) fn descriptor(&self) -> &Arc<Descriptor> {
        &self.0
    }

    /// The file, to be read or written; its owner must not lock it.
    #[must_use]
    pub fn file(&self) -> &File {
        self.0.file()
    }

    /// Closes the file whoever else has it open: for one that no SQLite locks.
    pub fn close(self) {
        if let Some(descriptor) = Arc::into_inner(self.0) {
            descriptor.close();
        }
    }

    /// Device and inode of this file.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.0.id()
    }

    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// What `pread` answers.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.file().read_at(buf, offset)
    }

    /// Length in bytes, by `fstat`.
    ///
    /// # Errors
    /// What `fstat` answers.
    pub fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    /// What `fstat` says of the file, whatever its name is by now.
    ///
    /// # Errors
    /// What `fstat` answers.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.file().metadata()
    }

    /// Whether anybody has a lock on these bytes: connections of this process as well as of others.
    ///
    /// # Errors
    /// What `fcntl` answers.
    pub fn lock_on(&self, bytes: LockBytes) -> io::Result<Option<LockedBy>> {
        // Connections of this process may share the descriptor: their locks are no conflict to the kernel.
        if bytes == LockBytes::Shared
            && let Some(by) = lock(self.0.levels()).locked_by()
        {
            return Ok(Some(by));
        }
        let found = fcntl::conflict(self.0.as_fd(), Owner::Description, Kind::Write, bytes.range())?;
        Ok(found.map(|kind| if kind == Kind::Read { LockedBy::Readers } else { LockedBy::Writer }))
    }
}

/// Lock bytes that tell who uses a database (SQLite, `os.h` and `wal.c`, where they are defined).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockBytes {
    /// SHARED of a database file: locked by every connection that is in a transaction, or in WAL mode.
    Shared,
    /// The dead man's switch of a `-shm` file: locked by every connection that uses it.
    DeadMansSwitch,
    /// The writer's slot of a `-shm` file.
    Write,
    /// The checkpointer's slot of a `-shm` file.
    Checkpoint,
}

impl LockBytes {
    pub(crate) const fn range(self) -> Range {
        match self {
            Self::Shared => Range::new(0x4000_0002, 510),
            Self::DeadMansSwitch => Range::new(128, 1),
            Self::Write => Range::new(120, 1),
            Self::Checkpoint => Range::new(121, 1),
        }
    }
}
