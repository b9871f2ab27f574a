//! Errors of live databases.

use std::path::Path;

use engine::Error as E;
use pyo3::prelude::*;

use super::{
    DatabaseBusyError, DatabaseError, DiskFullError, IntoPython, NotOpenError, NotReadyError,
    PreviousIOError, With, message, python, relabel,
};

const WAITED_FOR: &str = "an application holds a lock, in a long transaction or with PRAGMA locking_mode = EXCLUSIVE; \
                          replication goes on when the lock is released";

impl IntoPython for E {
    fn into_python(self, py: Python<'_>) -> PyErr {
        // What SQLite says stands in the text already, and would only be said again by the chain.
        let text = if let E::Sqlite { .. } = self { self.to_string() } else { message(&self) };
        let (full, busy) = (self.is_disk_full(), self.is_busy());
        match self {
            E::NotOpen { path } | E::Cancelled { path } => NotOpenError::new_err(py, text).on(py, &path),
            E::NotReady { path } => NotReadyError::new_err(py, text)
                .on(py, &path)
                .hint(py, "check the path; replication begins when an application creates the database"),
            E::NotWal { path, .. } => DatabaseError::new_err(py, text)
                .on(py, &path)
                .hint(py, "close other connections, or have the owner run PRAGMA journal_mode = WAL"),
            E::InUse { path } => DatabaseError::new_err(py, text)
                .on(py, &path)
                .hint(py, "stop the other replicator first; one process replicates a database at a time"),
            E::Busy { path } => DatabaseBusyError::new_err(py, text).on(py, &path).hint(py, WAITED_FOR),
            E::Sqlite { op, path, .. } if busy => {
                DatabaseBusyError::new_err(py, text).with(py, "op", op).on(py, &path).hint(py, WAITED_FOR)
            }
            E::ExclusiveLock { path } => {
                DatabaseBusyError::new_err(py, text).on(py, &path).hint(py, WAITED_FOR)
            }
            E::IndexRemoved { path } => DatabaseError::new_err(py, text)
                .on(py, &path)
                .hint(py, "restart the application; never delete -wal or -shm while a database is open"),
            E::LeftInUse { path } => DatabaseError::new_err(py, text)
                .on(py, &path)
                .hint(py, "restart the application, so that it opens the file that has the name now"),
            E::NotPermitted { path, .. } => DatabaseError::new_err(py, text)
                .on(py, &path)
                .hint(py, "run the replicator as the owner of the database"),
            E::ProcessLocks { path } => DatabaseError::new_err(py, text)
                .on(py, &path)
                .hint(py, "replicate it from a process of its own, with `ltxcore replicate`"),
            E::NoLocks { path } => DatabaseError::new_err(py, text).on(py, &path).hint(
                py,
                "keep the database on a file system with locks; `ltxcore doctor` tells what one can do",
            ),
            E::LocalStateLost { path } => PreviousIOError::new_err(py, text).on(py, &path),
            E::Changed { path, .. } => DatabaseError::new_err(py, text).on(py, &path),
            E::Io { op, path, source } => {
                let error =
                    if full { DiskFullError::new_err(py, text) } else { DatabaseError::new_err(py, text) };
                caused(py, error, source.into_python(py)).with(py, "op", op).on(py, &path)
            }
            E::Sqlite { op, path, .. } => {
                let error =
                    if full { DiskFullError::new_err(py, text) } else { DatabaseError::new_err(py, text) };
                error.with(py, "op", op).on(py, &path)
            }
            E::Wal { path, source } => in_file(py, source.into_python(py), text).on(py, &path),
            E::Ltx { path, source } if full => {
                caused(py, DiskFullError::new_err(py, text), source.into_python(py)).on(py, &path)
            }
            E::Ltx { path, source } => in_file(py, source.into_python(py), text).on(py, &path),
            _ => DatabaseError::new_err(py, text),
        }
    }
}

/// Damage keeps its class; anything else that happened to a file of the database is trouble with the database.
fn in_file(py: Python<'_>, error: PyErr, text: String) -> PyErr {
    if error.is_instance_of::<python::FormatError>(py) {
        return relabel(py, error, text);
    }
    caused(py, DatabaseError::new_err(py, text), error)
}

fn caused(py: Python<'_>, error: PyErr, cause: PyErr) -> PyErr {
    error.set_cause(py, Some(cause));
    error
}

/// Which file an exception is about.
trait On {
    fn on(self, py: Python<'_>, path: &Path) -> Self;
}

impl On for PyErr {
    fn on(self, py: Python<'_>, path: &Path) -> Self {
        self.with(py, "path", path.as_os_str())
    }
}
