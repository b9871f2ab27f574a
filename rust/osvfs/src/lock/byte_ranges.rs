//! Locks on the bytes that SQLite's `unix` VFS locks, of the open file description or of the process.
//!
//! Either has one set of locks, so the connections that share it agree among themselves first: the kernel is asked for the
//! highest level that any of them holds. A lock of the process takes in all its connections through this library. Another SQLite in
//! this process has a table of its own, and the two can neither see nor exclude each other: that is what locks of the open file are
//! for.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use vfs::{Code, Error, LockLevel, Result};

use super::{
    PENDING, PENDING_AND_RESERVED, Protocol, RESERVED, SHARED, is_reserved_elsewhere, let_go, refused,
    share_again, take,
};
use crate::fcntl::{self, Kind, Owner, Range};
use crate::fd_pool::{Descriptor, FileId};
use crate::levels::Levels;
use crate::per_process::{PerProcess, lock};

/// How long a writer waits for the PENDING byte. Only a reader on its way in can have it, for microseconds. The wait has an end
/// because nothing detects a deadlock between these locks, and a signal could not interrupt it.
const PENDING_WAIT: Duration = Duration::from_millis(10);
const PENDING_STEP: Duration = Duration::from_micros(100);

static PROCESS: PerProcess<Levels> = PerProcess::new();

/// One connection.
pub(crate) enum ByteRanges {
    OfDescription(Arc<Descriptor>),
    /// `None` only while it is dropped.
    OfProcess(FileId, Option<Arc<Mutex<Levels>>>),
}

impl ByteRanges {
    pub(crate) fn of_description(descriptor: &Arc<Descriptor>) -> Self {
        Self::OfDescription(Arc::clone(descriptor))
    }

    pub(super) fn of_process(id: FileId) -> Self {
        Self::OfProcess(id, PROCESS.get(id, || Ok::<_, std::convert::Infallible>(Levels::default())).ok())
    }

    fn owner(&self) -> Owner {
        match self {
            Self::OfDescription(_) => Owner::Description,
            Self::OfProcess(..) => Owner::Process,
        }
    }

    /// Whether another descriptor of this process, one that only reads or one that writes, has SHARED, and no more than RESERVED.
    fn is_read_by_twin(&self) -> bool {
        let Self::OfDescription(descriptor) = self else { return false };
        descriptor.twin().is_some_and(|twin| {
            matches!(lock(twin.levels()).highest, LockLevel::Shared | LockLevel::Reserved)
        })
    }

    /// Gets SHARED for the first one by `enter`.
    fn join(&self, fd: BorrowedFd<'_>, enter: fn(BorrowedFd<'_>, Owner) -> Result<()>) -> Result<()> {
        self.with(|levels, owner| {
            if levels.highest >= LockLevel::Pending {
                return Err(Code::BUSY.into());
            }
            if levels.holders == 0 {
                enter(fd, owner)?;
                levels.highest = LockLevel::Shared;
            }
            levels.holders += 1;
            Ok(())
        })
    }

    /// Does `work` while no other connection that shares the locks moves.
    fn with<T>(&self, work: impl FnOnce(&mut Levels, Owner) -> Result<T>) -> Result<T> {
        let levels = match self {
            Self::OfDescription(descriptor) => descriptor.levels(),
            Self::OfProcess(_, Some(levels)) => levels,
            Self::OfProcess(_, None) => return Err(Code::IOERR_LOCK.into()),
        };
        work(&mut lock(levels), self.owner())
    }
}

/// From nothing to SHARED, past whoever intends to write.
fn enter(fd: BorrowedFd<'_>, owner: Owner) -> Result<()> {
    if owner == Owner::Description {
        // Looked at instead of taken: the SHARED range decides, and a writer that comes in between only has to wait for one more
        // reader.
        let writer = fcntl::conflict(fd, owner, Kind::Read, PENDING)
            .map_err(|error| refused(Code::IOERR_LOCK, &error))?;
        if writer.is_some() {
            return Err(Code::BUSY.into());
        }
        return enter_past_writer(fd, owner);
    }
    take(fd, owner, Kind::Read, PENDING, Code::IOERR_LOCK)?;
    let shared = take(fd, owner, Kind::Read, SHARED, Code::IOERR_LOCK);
    // Whatever became of SHARED, PENDING was only to pass by.
    let_go(fd, owner, PENDING)?;
    shared
}

fn enter_past_writer(fd: BorrowedFd<'_>, owner: Owner) -> Result<()> {
    take(fd, owner, Kind::Read, SHARED, Code::IOERR_LOCK)
}

impl Protocol for ByteRanges {
    fn shared(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        match self.join(fd, enter) {
            // Whoever waits for the readers of this process waits for this one as well, as if there was but one descriptor.
            Err(error) if error.code == Code::BUSY && self.is_read_by_twin() => {
                self.join(fd, enter_past_writer)
            }
            joined => joined,
        }
    }

    fn reserved(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|levels, owner| {
            if levels.highest > LockLevel::Shared {
                return Err(Code::BUSY.into());
            }
            take(fd, owner, Kind::Write, RESERVED, Code::IOERR_LOCK)?;
            levels.highest = LockLevel::Reserved;
            Ok(())
        })
    }

    fn pending(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        let deadline = Instant::now() + PENDING_WAIT;
        loop {
            let taken = self.with(|levels, owner| {
                take(fd, owner, Kind::Write, PENDING, Code::IOERR_LOCK)?;
                levels.highest = LockLevel::Pending;
                Ok(())
            });
            match taken {
                Err(Error { code: Code::BUSY, .. }) if Instant::now() < deadline => {
                    thread::sleep(PENDING_STEP);
                }
                done => return done,
            }
        }
    }

    fn exclusive(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.with(|levels, owner| {
            if levels.holders > 1 {
                return Err(Code::BUSY.into());
            }
            take(fd, owner, Kind::Write, SHARED, Code::IOERR_LOCK)?;
            levels.highest = LockLevel::Exclusive;
            Ok(())
        })
    }

    fn downgrade(&mut self, fd: BorrowedFd<'_>, from: LockLevel) -> Result<()> {
        self.with(|levels, owner| {
            if from == LockLevel::Exclusive {
                share_again(fd, owner)?;
            }
            let_go(fd, owner, PENDING_AND_RESERVED)?;
            levels.highest = LockLevel::Shared;
            Ok(())
        })
    }

    fn release(&mut self, fd: BorrowedFd<'_>, from: LockLevel) -> Result<()> {
        self.with(|levels, owner| {
            if levels.holders <= 1 {
                let_go(fd, owner, Range::ALL)?;
                levels.highest = LockLevel::None;
            } else if from > LockLevel::Shared {
                // The others go on reading. EXCLUSIVE is never held beside them.
                let_go(fd, owner, PENDING_AND_RESERVED)?;
                levels.highest = LockLevel::Shared;
            }
            levels.holders = levels.holders.saturating_sub(1);
            Ok(())
        })
    }

    fn is_reserved(&mut self, fd: BorrowedFd<'_>) -> Result<bool> {
        self.with(|levels, owner| Ok(levels.highest > LockLevel::Shared || is_reserved_elsewhere(fd, owner)?))
    }

    /// A child has none of its parent's locks, and its own tables.
    fn abandon(mut self: Box<Self>) {
        if let Self::OfProcess(_, levels) = &mut *self {
            std::mem::forget(levels.take());
        }
    }
}

impl Drop for ByteRanges {
    fn drop(&mut self) {
        if let Self::OfProcess(id, levels) = self
            && let Some(levels) = levels.take()
        {
            PROCESS.release(*id, levels, drop);
        }
    }
}
