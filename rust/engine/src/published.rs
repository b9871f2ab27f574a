//! What is known of a database, for whoever asks while it is worked on.
//!
//! It stands under a lock of its own, under which nothing is read, written or waited for. Whoever has worked on the database
//! publishes what is true then, and a pass over all pages publishes what is true before it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ltx::ReadAt;

use crate::error::{Context, Result};
use crate::files::WalFile;
use crate::level0::Level0;
use crate::options::Options;
use crate::progress::Progress;
use crate::status::{Reason, Scan, Status};

/// Shared by a database, what it has open, and whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Published {
    facts: Mutex<Facts>,
    pub(crate) progress: Progress,
}

/// What is true of an open database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) status: Status,
    /// Why all pages are being compared, if they are.
    pub(crate) lost: Option<Reason>,
    pub(crate) wal: Option<WalFile>,
    pub(crate) level0: Option<Level0>,
}

impl Published {
    /// From here on this is true; of a database that is not open nothing is.
    pub(crate) fn set(&self, facts: Option<Facts>) {
        let before = std::mem::replace(&mut *self.facts(), facts.unwrap_or_default());
        // Not under the lock: it may close a file.
        drop(before);
    }

    /// The newest of what was published; the length of the WAL and the place of a scan are those of now.
    ///
    /// # Errors
    /// When the WAL cannot be looked at.
    pub(crate) fn status(&self, options: &Options) -> Result<Status> {
        let Facts { mut status, lost, wal, .. } = self.facts().clone();
        status.wal_size = wal.map_or(Ok(0), |wal| wal.len()).context("read", &options.path)?;
        status.scan =
            self.progress.place().map(|(pages_done, pages)| Scan { pages_done, pages, reason: lost });
        Ok(status)
    }

    /// One of the facts that were published last.
    pub(crate) fn get<T>(&self, which: impl FnOnce(&Status) -> T) -> T {
        which(&self.facts().status)
    }

    /// The local files; `None` while no database is open.
    pub(crate) fn level0(&self) -> Option<Level0> {
        self.facts().level0.clone()
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
