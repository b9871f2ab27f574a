//! Errors of replicas, plans and restores.

use std::error::Error as StdError;
use std::io;

use ltx::TxId;
use pyo3::prelude::*;
use replica::{Error as E, FileKey, Place};

use super::{
    DiskFullError, FormatError, IntoPython, LTXFileExistsError, LTXFileNotFoundError, NoSnapshotError,
    OutputExistsError, PositionError, ReplicaError, ReplicaPermissionError, ReplicaTimeoutError,
    RestoreCancelledError, RestoreError, TXIDNotAvailableError, TruncatedError, With, message, relabel,
};
use crate::types;

impl IntoPython for E {
    fn into_python(self, py: Python<'_>) -> PyErr {
        let text = message(&self);
        match self {
            E::NotFound { place, .. } => LTXFileNotFoundError::new_err(text).at(py, &place),
            E::Permission { place, .. } => ReplicaPermissionError::new_err(text).at(py, &place),
            E::Conflict { place } => LTXFileExistsError::new_err(text)
                .at(py, &place)
                .hint(py, "only one process may replicate to a destination"),
            E::Timeout { place, .. } => ReplicaTimeoutError::new_err(text).at(py, &place),
            E::Io { place, source } => from_io(py, source, text).at(py, &place),
            E::Foreign { source, .. } => foreign(source, text),
            E::Format { file, source } => relabel(py, source.into_python(py), text).of(py, file),
            E::FileTooShort { file, size, .. } => {
                TruncatedError::new_err(text).with(py, "offset", size).of(py, file)
            }
            E::WrongTransactions { file, .. } | E::PageSizeMismatch { file, .. } => {
                FormatError::new_err(text).of(py, file)
            }
            E::NotContinued { file, .. } => PositionError::new_err(text).of(py, file),
            E::NoSnapshot { .. } => NoSnapshotError::new_err(text),
            E::TxidNotAvailable { txid, available } => {
                let below = available.into_iter().rfind(|other| *other < txid);
                let error =
                    TXIDNotAvailableError::new_err(text).with_value(py, "txid", types::txid(py, txid));
                match below {
                    Some(below) => error.with_value(py, "available", types::txid(py, below)),
                    None => error,
                }
            }
            E::Gap { next_min, next_max, .. } => RestoreError::new_err(text).txids(py, next_min, next_max),
            E::OutputExists { path } => OutputExistsError::new_err(text).with(py, "path", path.as_os_str()),
            E::Output { op, path, source } => {
                from_output(source, text).with(py, "op", op).with(py, "path", path.as_os_str())
            }
            E::Cancelled => RestoreCancelledError::new_err(text),
            _ => RestoreError::new_err(text),
        }
    }
}

/// A storage failure, unless what failed was Python code: that comes out as it was.
fn from_io(py: Python<'_>, source: io::Error, text: String) -> PyErr {
    if source.get_ref().is_some_and(|inner| inner.is::<PyErr>()) {
        return source.into_python(py);
    }
    ReplicaError::new_err(text).errno(py, source.raw_os_error())
}

/// The restored database could not be written.
fn from_output(source: io::Error, text: String) -> PyErr {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded => DiskFullError::new_err(text),
        _ => RestoreError::new_err(text),
    }
}

/// What a Python client raised, the very object.
fn foreign(source: Box<dyn StdError + Send + Sync>, text: String) -> PyErr {
    match source.downcast::<PyErr>() {
        Ok(raised) => *raised,
        Err(_) => ReplicaError::new_err(text),
    }
}

/// Which file of a replica an exception is about.
trait About: Sized {
    fn txids(self, py: Python<'_>, min: TxId, max: TxId) -> Self;
    fn of(self, py: Python<'_>, file: FileKey) -> Self;
    fn at(self, py: Python<'_>, place: &Place) -> Self;
    fn errno(self, py: Python<'_>, code: Option<i32>) -> Self;
}

impl About for PyErr {
    fn txids(self, py: Python<'_>, min: TxId, max: TxId) -> Self {
        self.with_value(py, "min_txid", types::txid(py, min)).with_value(py, "max_txid", types::txid(py, max))
    }

    fn of(self, py: Python<'_>, file: FileKey) -> Self {
        self.with(py, "level", file.level).txids(py, file.min_txid, file.max_txid)
    }

    fn at(self, py: Python<'_>, place: &Place) -> Self {
        let mut error = self.with(py, "client_type", &place.client_type).with(py, "level", place.level);
        if let Some((min, max)) = place.txids {
            error = error.txids(py, min, max);
        }
        match &place.path {
            Some(path) => error.with(py, "path", path.as_os_str()),
            None => error,
        }
    }

    fn errno(self, py: Python<'_>, code: Option<i32>) -> Self {
        match code {
            Some(code) => self.with(py, "errno", code),
            None => self,
        }
    }
}
