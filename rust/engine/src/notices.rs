//! What the owner of a database should be told, once each: the engine has no log of its own.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::has_content;

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

    /// That the database at `path` is let go because of `what`, and what will be done with it.
    pub(crate) fn say_changed(&self, path: &Path, what: &str) {
        let when = if has_content(path).unwrap_or(true) { "" } else { " once there is one again" };
        let path = path.display();
        self.say(format!("{path}: {what}; its pages are compared with the newest L0 file{when}"));
    }

    /// The messages since the last call, oldest first.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.kept())
    }

    fn kept(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
