//! Files in memory, their locks, and shared memory on the heap: everything that two connections of one process need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vfs::{Code, LockLevel, MappedRegion, Result, ShmLock};

/// An open file among others of the same inode.
pub type Id = u64;

/// A panic was injected somewhere; what the lock protects is whole all the same.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
pub struct Disk {
    inodes: Mutex<BTreeMap<PathBuf, Arc<Inode>>>,
    next_id: AtomicU64,
}

#[derive(Default)]
pub struct Inode {
    pub data: Mutex<Vec<u8>>,
    pub locks: Mutex<Locks>,
    pub shm: Mutex<Shm>,
}

impl Disk {
    pub fn next_id(&self) -> Id {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub fn find(&self, path: &Path) -> Option<Arc<Inode>> {
        locked(&self.inodes).get(path).cloned()
    }

    pub fn find_or_create(&self, path: &Path) -> Arc<Inode> {
        locked(&self.inodes).entry(path.to_owned()).or_default().clone()
    }

    pub fn remove(&self, path: &Path) -> bool {
        locked(&self.inodes).remove(path).is_some()
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        locked(&self.inodes).keys().cloned().collect()
    }
}

/// Database locks: who holds what (SQLite, "File Locking And Concurrency", section 3).
#[derive(Default)]
pub struct Locks(BTreeMap<Id, LockLevel>);

impl Locks {
    pub fn level(&self, id: Id) -> LockLevel {
        self.0.get(&id).copied().unwrap_or(LockLevel::None)
    }

    fn highest_other(&self, id: Id) -> LockLevel {
        self.0
            .iter()
            .filter(|(holder, _)| **holder != id)
            .map(|(_, level)| *level)
            .max()
            .unwrap_or(LockLevel::None)
    }

    pub fn lock(&mut self, id: Id, level: LockLevel) -> Result<()> {
        if self.level(id) >= level {
            return Ok(());
        }
        let other = self.highest_other(id);
        let in_the_way = match level {
            LockLevel::Shared => LockLevel::Pending,
            _ => LockLevel::Reserved,
        };
        if other >= in_the_way {
            return Err(Code::BUSY.into());
        }
        if level == LockLevel::Exclusive && other == LockLevel::Shared {
            self.0.insert(id, LockLevel::Pending);
            return Err(Code::BUSY.into());
        }
        self.0.insert(id, level);
        Ok(())
    }

    pub fn unlock(&mut self, id: Id, level: LockLevel) {
        match level {
            LockLevel::None => self.0.remove(&id),
            level => self.0.insert(id, level),
        };
    }

    pub fn is_reserved(&self) -> bool {
        self.0.values().any(|level| *level >= LockLevel::Reserved)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Shared memory. Atomic words, since SQLite writes there through what are shared references here.
#[derive(Default)]
pub struct Shm {
    regions: Vec<Box<[AtomicU64]>>,
    users: BTreeSet<Id>,
    /// For each slot who holds it, and whether exclusively.
    slots: [BTreeMap<Id, bool>; ShmLock::SLOTS as usize],
}

impl Shm {
    pub fn map(&mut self, id: Id, index: u32, size: u32, extend: bool) -> MappedRegion {
        let index = index as usize;
        self.users.insert(id);
        if index >= self.regions.len() && !extend {
            return MappedRegion::ABSENT;
        }
        while self.regions.len() <= index {
            self.regions.push((0..size / 8).map(|_| AtomicU64::new(0)).collect());
        }
        MappedRegion { address: self.regions[index].as_ptr().cast_mut().cast(), code: Code::OK }
    }

    fn slots_of(&mut self, lock: ShmLock) -> &mut [BTreeMap<Id, bool>] {
        let first = usize::from(lock.first);
        &mut self.slots[first..first + usize::from(lock.count)]
    }

    pub fn lock(&mut self, id: Id, lock: ShmLock) -> Result<()> {
        let slots = self.slots_of(lock);
        let is_free = |slot: &BTreeMap<Id, bool>| {
            slot.iter().all(|(holder, is_exclusive)| *holder == id || !(lock.is_exclusive || *is_exclusive))
        };
        if !slots.iter().all(is_free) {
            return Err(Code::BUSY.into());
        }
        for slot in slots {
            slot.insert(id, lock.is_exclusive);
        }
        Ok(())
    }

    pub fn unlock(&mut self, id: Id, lock: ShmLock) {
        for slot in self.slots_of(lock) {
            slot.remove(&id);
        }
    }

    /// Lets go of everything of one file; with the last one the memory goes too.
    pub fn leave(&mut self, id: Id) {
        for slot in &mut self.slots {
            slot.remove(&id);
        }
        self.users.remove(&id);
        if self.users.is_empty() {
            self.regions.clear();
        }
    }

    pub fn is_unused(&self) -> bool {
        self.users.is_empty() && self.slots.iter().all(BTreeMap::is_empty)
    }
}
