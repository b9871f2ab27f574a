//! Things that all connections of this process to one file share: the same one for the same key, for as long as anybody has it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vfs::ProcessLocal;

use crate::fd_pool::FileId;

/// The shared things of one kind. A forked child shares nothing with its parent: locks are not inherited, or must not be used.
pub(crate) struct PerProcess<T: Send + 'static>(ProcessLocal<Mutex<Table<T>>>);

type Table<T> = HashMap<FileId, Weak<Mutex<T>>>;

impl<T: Send + 'static> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(ProcessLocal::new(Mutex::default))
    }

    /// The thing of `id`; `make` makes it if nobody has one, while nobody else can.
    pub(crate) fn get<E>(
        &'static self,
        id: FileId,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<Mutex<T>>, E> {
        let mut table = lock(self.0.get());
        if let Some(known) = table.get(&id).and_then(Weak::upgrade) {
            return Ok(known);
        }
        table.retain(|_, thing| thing.strong_count() > 0);
        let made = Arc::new(Mutex::new(make()?));
        table.insert(id, Arc::downgrade(&made));
        Ok(made)
    }

    /// Lets go of a thing. If this was the last to have it, `end` ends it before another can be made.
    pub(crate) fn release(&'static self, thing: Arc<Mutex<T>>, end: impl FnOnce(T)) {
        let _nobody_gets_it_meanwhile = lock(self.0.get());
        if let Some(last) = Arc::into_inner(thing) {
            end(last.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// The content of a mutex. A panic while it was held has latched its file already, and left whole numbers behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
