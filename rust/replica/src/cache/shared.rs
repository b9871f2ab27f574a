//! What the readers of one cached client share.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::blocks::Blocks;
use crate::cache::flights::Flights;
use crate::client::FileInfo;
use crate::place::FileKey;

/// The client, and what of its files is in the cache or on its way there.
pub(super) struct Shared<C> {
    pub(super) client: C,
    pub(super) blocks: Arc<Blocks>,
    pub(super) flights: Flights,
    trust: Mutex<Trust>,
}

/// Which files came from the cache, and which of those are not to.
#[derive(Default)]
struct Trust {
    served: HashSet<FileInfo>,
    distrusted: HashSet<FileInfo>,
}

impl<C> Shared<C> {
    pub(super) fn new(client: C, blocks: Arc<Blocks>) -> Self {
        Self { client, blocks, flights: Flights::default(), trust: Mutex::default() }
    }

    /// Takes files that came from the cache for wrong from now on: those of this name, or all of them. Whether there are any.
    pub(super) fn distrust(&self, file: Option<FileKey>) -> bool {
        let mut trust = self.trust();
        let (suspects, others): (HashSet<_>, HashSet<_>) =
            trust.served.drain().partition(|served| file.is_none_or(|file| served.key() == file));
        trust.served = others;
        trust.distrusted.extend(&suspects);
        !suspects.is_empty()
    }

    fn trust(&self) -> MutexGuard<'_, Trust> {
        // Whole at any time.
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of a file, if it is in the cache.
    pub(super) fn cached(&self, info: &FileInfo, number: u64) -> Option<Vec<u8>> {
        if self.trust().distrusted.contains(info) {
            self.blocks.remove(info, number);
            return None;
        }
        let found = self.blocks.get(info, number)?;
        self.trust().served.insert(*info);
        Some(found)
    }

    pub(super) fn is_missing(&self, info: &FileInfo, number: u64) -> bool {
        self.trust().distrusted.contains(info) || !self.blocks.has(info, number)
    }
}
