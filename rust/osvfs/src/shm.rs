//! The shared memory of WAL mode, and its eight lock slots.
//!
//! Source: SQLite, "WAL-mode File Format", section 2; the lock bytes and the dead man's switch are those of its `unix` VFS.

mod file;
mod heap;
mod mapped;
mod slots;
mod wal_index;

use std::path::PathBuf;
use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use vfs::{Code, Error, MappedRegion, Result, SharedMemory, ShmLock};

use crate::choice::ShmMode;
use crate::fcntl::Owner;
use crate::fd_pool::FileId;
use crate::mode::Permissions;
use heap::HeapShm;
use mapped::MappedShm;
pub(crate) use wal_index::Frame;

/// What the shared memory of one connection is made of, once it is needed.
pub(crate) struct Shm {
    plan: Plan,
    open: Option<Open>,
    /// How long [`SharedMemory::lock`] waits for somebody else; zero unless SQLite asks for it.
    pub(crate) timeout: Duration,
    /// Whether to wait while another connection begins the shared memory.
    pub(crate) waits_to_join: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) mode: ShmMode,
    pub(crate) owner: Owner,
    pub(crate) path: PathBuf,
    pub(crate) database: FileId,
    pub(crate) permissions: Permissions,
    pub(crate) read_only: bool,
}

enum Open {
    Mapped(MappedShm),
    Heap(HeapShm),
}

/// Slots that one connection of a process can hold, whatever keeps them.
trait Slots {
    /// Takes slots if nobody is in the way.
    fn try_lock(&mut self, lock: ShmLock) -> Result<()>;

    /// Lets slots go.
    fn unlock(&mut self, lock: ShmLock) -> Result<()>;
}

/// How long to wait for whoever begins the shared memory.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

impl Shm {
    /// The shared memory of a database, if there can be any under this lock mode.
    pub(crate) fn new(plan: Plan) -> Option<Self> {
        let none = plan.mode == ShmMode::None;
        (!none).then(|| Self { plan, open: None, timeout: Duration::ZERO, waits_to_join: false })
    }

    /// Where it is, for whoever asks.
    pub(crate) fn mode_name(&self) -> &'static str {
        if self.plan.mode == ShmMode::Heap { "heap" } else { "mmap" }
    }

    fn open(&mut self) -> Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None if self.plan.mode == ShmMode::Heap => Open::Heap(HeapShm::join(self.plan.database)?),
            None => Open::Mapped(MappedShm::open(&self.plan)?),
        };
        Ok(self.open.insert(open))
    }

    fn slots(&mut self) -> Result<&mut dyn Slots> {
        match &mut self.open {
            Some(Open::Mapped(mapped)) => Ok(mapped),
            Some(Open::Heap(heap)) => Ok(heap),
            None => Err(Code::IOERR_SHMLOCK.into()),
        }
    }

    /// Whether a connection that does not share this memory by way of this library has a read transaction.
    pub(crate) fn has_external_reader(&self) -> Result<bool> {
        match &self.open {
            Some(Open::Mapped(mapped)) => mapped.has_external_reader(),
            _ => Ok(false),
        }
    }

    /// Lets go of memory in a forked child, and of no lock.
    pub(crate) fn abandon(self) {
        match self.open {
            Some(Open::Mapped(mapped)) => mapped.abandon(),
            Some(Open::Heap(heap)) => heap.abandon(),
            None => {}
        }
    }
}

// SAFETY: addresses are those of mappings of at least `size` bytes, which are kept until `unmap`, or until the file is dropped.
#[expect(unsafe_code, reason = "a promise about what is mapped")]
unsafe impl SharedMemory for Shm {
    fn map(&mut self, index: u32, size: u32, extend: bool) -> Result<MappedRegion> {
        let patience = if self.waits_to_join { JOIN_TIMEOUT } else { Duration::ZERO };
        wait_for(patience, || match self.open()? {
            Open::Mapped(mapped) => mapped.map(index, size, extend),
            Open::Heap(heap) => heap.map(index, size, extend),
        })
    }

    fn lock(&mut self, lock: ShmLock) -> Result<()> {
        let timeout = self.timeout;
        let slots = self.slots()?;
        match wait_for(timeout, || slots.try_lock(lock)) {
            // SQLite then does not ask its busy handler as well. A timeout of one unit may mean "yes" rather than a millisecond.
            Err(Error { code: Code::BUSY, errno }) if timeout > Duration::from_millis(1) => {
                Err(Error { code: Code::BUSY_TIMEOUT, errno })
            }
            done => done,
        }
    }

    fn unlock(&mut self, lock: ShmLock) -> Result<()> {
        self.slots()?.unlock(lock)
    }

    fn barrier(&mut self) {
        fence(Ordering::SeqCst);
    }

    fn unmap(&mut self, delete: bool) -> Result<()> {
        match self.open.take() {
            Some(Open::Mapped(mapped)) => mapped.close(delete),
            Some(Open::Heap(heap)) => {
                heap.close();
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// Tries again while somebody is in the way, until the time is over. Steps grow from 0.1 to 5 ms: who holds a slot for long is
/// not hurried, and who holds it for a moment is not missed.
fn wait_for<T>(timeout: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
    let mut step = Duration::from_micros(100);
    loop {
        let left = match (attempt(), deadline) {
            (Err(Error { code: Code::BUSY, .. }), Some(deadline)) if Instant::now() < deadline => {
                deadline.saturating_duration_since(Instant::now())
            }
            (done, _) => return done,
        };
        thread::sleep(step.min(left));
        step = (step * 2).min(Duration::from_millis(5));
    }
}

/// The slots of a mask, as runs of neighbours.
fn runs(mut mask: u8) -> impl Iterator<Item = (u8, u8)> {
    std::iter::from_fn(move || {
        mask.checked_sub(1)?;
        let first = mask.trailing_zeros();
        let count = (mask >> first).trailing_ones();
        mask &= u8::MAX.checked_shl(first + count).unwrap_or(0);
        Some((first as u8, count as u8))
    })
}

#[cfg(test)]
mod tests;
