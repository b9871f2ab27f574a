//! The snapshots that are being written: while there is one, the WAL is pinned.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many snapshots are being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots(Arc<AtomicUsize>);

impl Snapshots {
    /// Whether one is.
    pub(crate) fn is_any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    pub(crate) fn begin(&self) -> Running {
        self.0.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(&self.0))
    }
}

/// One that is being written, until it is dropped.
pub(crate) struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
