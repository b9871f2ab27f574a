//! Errors of replicas in the layout of Litestream 0.3.

use std::io;

use legacy::Error as E;
use pyo3::prelude::*;

use super::replica::from_output;
use super::{
    FormatError, IntoPython, NoSnapshotError, ObjectNotFoundError, ReplicaError, ReplicaPermissionError,
    RestoreCancelledError, RestoreError, With, message,
};
use crate::types;

impl IntoPython for E {
    fn into_python(self, py: Python<'_>) -> PyErr {
        let text = message(&self);
        match self {
            E::NoGeneration { .. } => NoSnapshotError::new_err(py, text)
                .hint(py, "list what there is with `ltxcore generations` or ltxcore.legacy.generations()"),
            E::NoSnapshot { first: Some(first) } => NoSnapshotError::new_err(py, text)
                .with_value(py, "earliest_time", types::datetime(py, first))
                .hint(py, "ask for a later time or index"),
            E::NoSnapshot { first: None } => NoSnapshotError::new_err(py, text),
            E::MissingSegment { .. } => RestoreError::new_err(py, text)
                .hint(py, "restore a state from before the gap, by time or index"),
            E::NoWal { .. } => RestoreError::new_err(py, text)
                .hint(py, "list them with `ltxcore wal` or ltxcore.legacy.wal_segments()"),
            E::Damaged { key, .. } => FormatError::new_err(py, text).with(py, "path", key).hint(
                py,
                "restore a state from before this file, by time or index, or put a sound copy of the file in its place",
            ),
            E::Storage { key, source } => of_storage(py, source, text).with(py, "path", key),
            E::Output(source) => from_output(py, source, text),
            E::Place(error) => error.into_python(py),
            E::Cancelled => RestoreCancelledError::new_err(py, text),
            _ => RestoreError::new_err(py, text),
        }
    }
}

/// What a storage reports: the exception of a store in Python, as it was raised, or one of ours.
fn of_storage(py: Python<'_>, source: io::Error, text: String) -> PyErr {
    let source = match http_ranges::Error::from_io(source) {
        Ok(error) => return error.into_python(py),
        Err(source) => source,
    };
    let kind = source.kind();
    match source.downcast::<::replica::Error>() {
        Ok(error) => error.into_python(py),
        Err(_) if kind == io::ErrorKind::NotFound => ObjectNotFoundError::new_err(py, text),
        Err(_) if kind == io::ErrorKind::PermissionDenied => ReplicaPermissionError::new_err(py, text).hint(
            py,
            "run as the owner of the replica, or give this user access to its directories and files",
        ),
        Err(_) => ReplicaError::new_err(py, text),
    }
}
