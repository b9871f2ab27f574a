//! Which descriptors there are: those in use that connections share, and those out of use that could not be closed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use forks::ProcessLocal;

use super::closing::{Closing, Need, is_all_of_this_process, prepare};
use super::{Descriptor, FileId, OpenFile, OpenHow, reserve};
use crate::per_process::lock;

/// How many descriptors may wait to be used again or to be closed.
pub const MAX_PARKED: usize = 64;

static POOL: ProcessLocal<Mutex<Pool>> = ProcessLocal::new(Mutex::default);

/// Device, inode, and whether it may be written to.
type Key = (FileId, bool);

#[derive(Default)]
struct Pool {
    /// Unlocked and out of use, the one that was parked first at the front.
    parked: Vec<Arc<OpenFile>>,
    in_use: HashMap<Key, Weak<Descriptor>>,
}

impl Pool {
    /// All parked descriptors of one file.
    fn take_all(&mut self, id: FileId) -> Vec<Arc<OpenFile>> {
        self.parked.extract_if(.., |file| file.id() == id).collect()
    }
}

fn key(file: &OpenFile) -> Key {
    (file.id(), file.is_writable)
}

/// A parked descriptor of the file that `path` names now.
pub(super) fn reuse(path: &Path, how: OpenHow) -> Option<Arc<OpenFile>> {
    if how.exclusive || lock(POOL.get()).parked.is_empty() {
        return None;
    }
    let wanted = (FileId::of(path).ok()?, how.write);
    let mut pool = lock(POOL.get());
    let fits = |file: &Arc<OpenFile>| key(file) == wanted && !file.file.is_shared();
    let place = pool.parked.iter().position(fits)?;
    let found = pool.parked.remove(place);
    drop(pool);
    if how.is_allowed(path) {
        return Some(found);
    }
    lock(POOL.get()).parked.push(found);
    None
}

/// The descriptor that others of this process share for the file that `path` names now.
pub(super) fn in_use(path: &Path, how: OpenHow) -> Option<Arc<Descriptor>> {
    if how.exclusive || lock(POOL.get()).in_use.is_empty() {
        return None;
    }
    let wanted = (FileId::of(path).ok()?, how.write);
    let known = lock(POOL.get()).in_use.get(&wanted).and_then(Weak::upgrade)?;
    how.is_allowed(path).then_some(known)
}

/// Lets others share it. If another thread was first, this one stays its owner's alone.
pub(super) fn put_in_use(new: &Arc<Descriptor>) {
    let mut pool = lock(POOL.get());
    let place = pool.in_use.entry(key(&new.file)).or_default();
    if place.strong_count() == 0 && !new.file.file.is_shared() {
        *place = Arc::downgrade(new);
    }
}

/// For a descriptor that nobody uses any more, and whose owner drops it now: parks it if it must not be closed. What has
/// to be closed after it otherwise.
pub(super) fn let_go(file: &Arc<OpenFile>) -> Option<Arc<OpenFile>> {
    // First, since others may have to wait for this file from the moment on in which it may be closed: another one that had to
    // stay, or was one too many, may be closed by now.
    let is_full = lock(POOL.get()).parked.len() >= MAX_PARKED;
    close_oldest(if is_full { Need::Urgent } else { Need::Tidy });
    reserve::fill();
    let mut pool = lock(POOL.get());
    if pool.in_use.get(&key(file)).is_some_and(|known| known.strong_count() == 0) {
        pool.in_use.remove(&key(file));
    }
    let mut files = pool.take_all(file.id());
    drop(pool);
    files.push(Arc::clone(file));
    close(files, Need::Tidy)
}

/// Closes descriptors of one file, or parks them. What has to be dropped last.
fn close(mut files: Vec<Arc<OpenFile>>, need: Need) -> Option<Arc<OpenFile>> {
    match prepare(&files, need) {
        Closing::Granted(last) => Some(last),
        Closing::Refused(another) => {
            files.extend(another);
            files.iter().for_each(|file| file.unlock());
            lock(POOL.get()).parked.append(&mut files);
            None
        }
    }
}

/// Tries to close what has been parked for the longest time.
fn close_oldest(need: Need) {
    let mut pool = lock(POOL.get());
    let Some(oldest) = pool.parked.first().map(|file| file.id()) else { return };
    let files = pool.take_all(oldest);
    drop(pool);
    drop(close(files, need));
}

/// Closes every parked descriptor that can be closed; whether there was one.
pub(super) fn give_up() -> bool {
    let before = lock(POOL.get()).parked.len();
    (0..before).for_each(|_| close_oldest(Need::Urgent));
    lock(POOL.get()).parked.len() < before
}

impl Descriptor {
    /// The one that others of this process share to write, if this one only reads, or the other way round.
    pub(crate) fn twin(&self) -> Option<Arc<Self>> {
        let key = (self.id(), !self.file.is_writable);
        lock(POOL.get()).in_use.get(&key).and_then(Weak::upgrade)
    }

    /// Whether this process has no other descriptor of the file open, but for those parked here, which have no locks. Then no
    /// connection of this process uses the file. False if the system does not list descriptors.
    pub(crate) fn is_only_one_of_process(&self) -> bool {
        let is_same = |file: &&Arc<OpenFile>| file.id() == self.id();
        let mut files: Vec<_> = lock(POOL.get()).parked.iter().filter(is_same).cloned().collect();
        files.push(Arc::clone(&self.file));
        is_all_of_this_process(&files)
    }
}

/// For tests.
#[cfg(test)]
pub(super) fn is_parked(id: FileId) -> bool {
    lock(POOL.get()).parked.iter().any(|file| file.id() == id)
}
