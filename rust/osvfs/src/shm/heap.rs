//! A wal-index on the heap, for databases that one process has to itself. All its connections use the same memory.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use vfs::{Code, Error, MappedRegion, Result, ShmLock};

use super::Slots;
use super::slots::{Counts, Held, Nobody};
use crate::fd_pool::FileId;
use crate::mmap::Mapping;
use crate::per_process::{PerProcess, lock};

static NODES: PerProcess<Node> = PerProcess::new();

#[derive(Default)]
struct Node {
    regions: Vec<Mapping>,
    counts: Counts,
}

/// One connection's part in it.
pub(super) struct HeapShm {
    database: FileId,
    node: Arc<Mutex<Node>>,
    held: Held,
}

impl HeapShm {
    pub(super) fn join(database: FileId) -> Result<Self> {
        let Ok(node) = NODES.get(database, || Ok::<_, Infallible>(Node::default()));
        Ok(Self { database, node, held: Held::default() })
    }

    pub(super) fn map(&mut self, index: u32, size: u32, extend: bool) -> Result<MappedRegion> {
        let mut node = lock(&self.node);
        let index = index as usize;
        while node.regions.len() <= index {
            if !extend {
                return Ok(MappedRegion::ABSENT);
            }
            let region =
                Mapping::private(size as usize).map_err(|error| Error::os(Code::IOERR_SHMMAP, &error))?;
            node.regions.push(region);
        }
        Ok(MappedRegion { address: node.regions[index].at(0), code: Code::OK })
    }

    pub(super) fn close(mut self) {
        for held in [Held { shared: 0, ..self.held }, Held { exclusive: 0, ..self.held }] {
            let is_exclusive = held.exclusive != 0;
            for (first, count) in super::runs(held.shared | held.exclusive) {
                // Nobody outside is asked, so nobody can refuse.
                let _ = self.unlock(ShmLock { first, count, is_exclusive });
            }
        }
        NODES.release(self.database, self.node, drop);
    }

    pub(super) fn abandon(self) {
        std::mem::forget(self.node);
    }
}

impl Slots for HeapShm {
    fn try_lock(&mut self, wanted: ShmLock) -> Result<()> {
        lock(&self.node).counts.try_lock(&mut self.held, wanted, &mut Nobody)
    }

    fn unlock(&mut self, unwanted: ShmLock) -> Result<()> {
        lock(&self.node).counts.unlock(&mut self.held, unwanted, &mut Nobody)
    }
}
