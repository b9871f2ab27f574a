//! Attaching to the interpreter from a callback of SQLite.
//!
//! Locks are taken in one order: SQLite's mutexes, then the interpreter, then Python's own. No lock of ours is held across an attach.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

static SHUTTING_DOWN: AtomicBool = AtomicBool::new(false);

/// Says that the interpreter is on its way out. A thread that attached afterwards would be ended in the middle of Rust code.
#[pyfunction]
pub(crate) fn begin_shutdown() {
    SHUTTING_DOWN.store(true, Ordering::Release);
}

/// Attaches for `work`, unless the interpreter is going away.
pub(crate) fn attach_or_fail<T>(work: impl FnOnce(Python<'_>) -> PyResult<T>) -> io::Result<T> {
    if SHUTTING_DOWN.load(Ordering::Acquire) {
        return Err(io::Error::other("the interpreter is shutting down"));
    }
    Python::attach(work).map_err(io::Error::other)
}
