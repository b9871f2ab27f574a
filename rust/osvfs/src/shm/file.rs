//! The `-shm` file: its size, its lock bytes, and the dead man's switch.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use vfs::{Code, Error, Result};

use super::Plan;
use crate::fcntl::{self, Kind, Owner, Range};
use crate::fd_pool::{Descriptor, OpenHow};
use crate::mmap::Mapping;

/// Where the eight slots begin: WRITE, CHECKPOINT, RECOVER, and five for readers.
const SLOTS: u64 = 120;
const READERS: Range = Range::new(123, 5);
/// Locked for reading by everybody who uses the file. Who finds it unlocked is the first, and what the file holds is not to be
/// trusted: whoever wrote it may have died in the middle.
const DEAD_MANS_SWITCH: Range = Range::new(128, 1);
/// Every lock byte of the file.
const ALL_LOCKS: Range = Range::new(SLOTS, 9);
/// What is left of a file that is begun anew: SQLite's `unix` VFS leaves as much, so that it can be seen that it was.
const BEGUN_ANEW_BYTES: u64 = 3;
/// An open `-shm` file.
pub(super) struct ShmFile {
    descriptor: Descriptor,
    owner: Owner,
    pub(super) is_read_only: bool,
    /// Whether the dead man's switch is ours, so that the content may be trusted.
    has_joined: bool,
}

impl ShmFile {
    pub(super) fn open(plan: &Plan) -> Result<Self> {
        let how = OpenHow { create: true, mode: plan.permissions.new_mode(), ..OpenHow::WRITE };
        let cantopen = |error: &io::Error| Error::os(Code::CANTOPEN, error);
        let writable = if plan.read_only { None } else { Descriptor::open(&plan.path, how).ok() };
        let is_read_only = writable.is_none();
        let descriptor = match writable {
            Some(descriptor) => descriptor,
            None => Descriptor::open(&plan.path, OpenHow::READ).map_err(|error| cantopen(&error))?,
        };
        if !is_read_only {
            plan.permissions.give_to(descriptor.file());
        }
        Ok(Self { descriptor, owner: plan.owner, is_read_only, has_joined: false })
    }

    /// Takes the dead man's switch, unless it is taken already; the first one begins the file anew.
    ///
    /// # Errors
    /// `BUSY` while another connection does that, `READONLY_CANTINIT` if we should and may not.
    pub(super) fn join(&mut self) -> Result<()> {
        if self.has_joined {
            return Ok(());
        }
        match fcntl::conflict(self.descriptor.as_fd(), self.owner, Kind::Write, DEAD_MANS_SWITCH)
            .map_err(|error| crate::lock::refused(Code::IOERR_SHMLOCK, &error))?
        {
            Some(Kind::Read) => self.set_switch(Kind::Read)?,
            // To go on with a read lock of our own would be to trust what is just being thrown away.
            Some(_) => return Err(Code::BUSY.into()),
            None if self.is_read_only => return Err(Code::READONLY_CANTINIT.into()),
            None => self.begin_anew()?,
        }
        self.has_joined = true;
        Ok(())
    }

    fn begin_anew(&self) -> Result<()> {
        self.set_switch(Kind::Write)?;
        let begun = retry(|| self.descriptor.file().set_len(BEGUN_ANEW_BYTES))
            .map_err(|error| Error::os(Code::IOERR_SHMOPEN, &error))
            .and_then(|()| self.set_switch(Kind::Read));
        if begun.is_err() {
            // Everybody else would be told that the database is busy, for as long as this connection is open.
            let _ = self.set_switch(Kind::Unlock);
        }
        begun
    }

    fn set_switch(&self, kind: Kind) -> Result<()> {
        fcntl::set(self.descriptor.as_fd(), self.owner, kind, DEAD_MANS_SWITCH)
            .map_err(|error| crate::lock::refused(Code::IOERR_SHMLOCK, &error))
    }

    /// Whether the file has `bytes` bytes, with blocks behind them; makes it so if `extend`. A hole would kill whoever writes
    /// there through a mapping when the disk is full.
    pub(super) fn has_bytes(&self, bytes: u64, extend: bool) -> Result<bool> {
        let shmsize = |error: &io::Error| Error::os(Code::IOERR_SHMSIZE, error);
        let size = self.descriptor.file().metadata().map_err(|error| shmsize(&error))?.len();
        if size >= bytes {
            return Ok(true);
        }
        if !extend {
            return Ok(false);
        }
        // Written, not allocated: most of these files are gone before their blocks have to be on a disk.
        let zeros = vec![0; usize::try_from(bytes - size).unwrap_or(0)];
        self.descriptor.file().write_all_at(&zeros, size).map_err(|error| shmsize(&error))?;
        Ok(true)
    }

    pub(super) fn map(&self, offset: u64, len: usize) -> Result<Mapping> {
        Mapping::new(self.descriptor.as_fd(), offset, len, !self.is_read_only)
            .map_err(|error| Error::os(Code::IOERR_SHMMAP, &error))
    }

    pub(super) fn lock_slots(&self, first: u8, count: u8, kind: Kind) -> Result<()> {
        let range = Range::new(SLOTS + u64::from(first), count.into());
        fcntl::set(self.descriptor.as_fd(), self.owner, kind, range)
            .map_err(|error| crate::lock::refused(Code::IOERR_SHMLOCK, &error))
    }

    pub(super) fn has_external_reader(&self) -> Result<bool> {
        fcntl::conflict(self.descriptor.as_fd(), self.owner, Kind::Write, READERS)
            .map(|found| found.is_some())
            .map_err(|error| Error::os(Code::IOERR_SHMLOCK, &error))
    }

    /// Lets every lock go.
    pub(super) fn unlock_all(&self) -> Result<()> {
        fcntl::set(self.descriptor.as_fd(), self.owner, Kind::Unlock, ALL_LOCKS)
            .map_err(|error| Error::os(Code::IOERR_SHMLOCK, &error))
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
