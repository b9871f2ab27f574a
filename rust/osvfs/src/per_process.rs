//! Things that all connections of this process to one file share: the same one for the same key, for as long as anybody has it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use forks::ProcessLocal;

use crate::file_id::FileId;

/// The shared things of one kind. A forked child shares nothing with its parent: locks are not inherited, or must not be used.
pub(crate) struct PerProcess<T: Send + 'static, K: Send + 'static = FileId>(ProcessLocal<Mutex<Table<T, K>>>);

type Table<T, K> = HashMap<K, Weak<Mutex<T>>>;

impl<T: Send + 'static, K: Eq + Hash + Send + 'static> PerProcess<T, K> {
    pub(crate) const fn new() -> Self {
        Self(ProcessLocal::new(Mutex::default))
    }

    /// The thing of `key`; `make` makes it if nobody has one, while nobody else can.
    pub(crate) fn get<E>(
        &'static self,
        key: K,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<Mutex<T>>, E> {
        let mut table = lock(self.0.get());
        if let Some(known) = table.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let made = Arc::new(Mutex::new(make()?));
        table.insert(key, Arc::downgrade(&made));
        Ok(made)
    }

    /// The thing of `key`, if anybody has it.
    pub(crate) fn find(&'static self, key: &K) -> Option<Arc<Mutex<T>>> {
        lock(self.0.get()).get(key).and_then(Weak::upgrade)
    }

    /// Lets go of the thing of `key`, as everybody does who has got it. If this was the last one, `end` ends it before another
    /// can be made.
    pub(crate) fn release(&'static self, key: K, thing: Arc<Mutex<T>>, end: impl FnOnce(T)) {
        let mut table = lock(self.0.get());
        if let Some(last) = Arc::into_inner(thing) {
            table.remove(&key);
            end(last.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// The content of a mutex. A panic while it was held has latched its file already, and left whole numbers behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
