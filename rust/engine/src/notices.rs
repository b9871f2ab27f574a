//! What the owner of a database should be told, once each: the engine has no log of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// More than this is not kept for somebody who never asks.
const MAX_KEPT: usize = 64;

/// Messages that wait to be taken, shared by a database and what it has open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    /// Adds a message, one lower-case sentence; one that waits already is not repeated.
    pub(crate) fn say(&self, text: String) {
        let mut kept = self.kept();
        if kept.len() < MAX_KEPT && !kept.contains(&text) {
            kept.push(text);
        }
    }

    /// The messages since the last call, oldest first.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.kept())
    }

    fn kept(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
