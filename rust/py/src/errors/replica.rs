//! Errors of replicas, plans and restores.

use std::error::Error as StdError;
use std::io;

use ltx::TxId;
use pyo3::intern;
use pyo3::prelude::*;
use replica::{Error as E, FileKey, Place};

use super::{
    DiskFullError, DivergedError, FormatError, IntoPython, LTXFileExistsError, LTXFileNotFoundError,
    NoSnapshotError, OutputExistsError, OutputInUseError, PageSizeChangedError, PositionError, ReplicaError,
    ReplicaPermissionError, ReplicaTimeoutError, RestoreCancelledError, RestoreError, TXIDNotAvailableError,
    TruncatedError, With, message, python, relabel, why_in_use,
};
use crate::gil::{self, Raised};
use crate::types;

impl IntoPython for E {
    fn into_python(self, py: Python<'_>) -> PyErr {
        let text = message(&self);
        match self {
            E::NotFound { place, .. } => LTXFileNotFoundError::new_err(py, text).at(py, &place),
            E::Permission { place, .. } => ReplicaPermissionError::new_err(py, text)
                .at(py, &place)
                .hint(py, "run as the owner of the replica, or give this user access to its directories and files"),
            E::Conflict { place } => LTXFileExistsError::new_err(py, text)
                .at(py, &place)
                .hint(py, "only one process may replicate to a destination"),
            E::Timeout { place, .. } => ReplicaTimeoutError::new_err(py, text).at(py, &place),
            E::Io { place, source } => from_io(py, source, text).at(py, &place),
            E::Foreign { source, .. } => foreign(py, source, text),
            E::Format { file, source } => damaged(py, relabel(py, source.into_python(py), text).of(py, file)),
            E::FileTooShort { file, size, .. } => {
                let hint = "restore a state from before this file, or delete the file if it does not belong there";
                TruncatedError::new_err(py, text).with(py, "offset", size).of(py, file).hint(py, hint)
            }
            E::ShortFile { file, actual, .. } => {
                TruncatedError::new_err(py, text).with(py, "offset", actual).of(py, file)
            }
            E::WrongTransactions { file, .. } => FormatError::new_err(py, text).of(py, file),
            E::NotContinued { file, .. } => PositionError::new_err(py, text).of(py, file),
            E::PageSizeMismatch { file, .. } => PageSizeChangedError::new_err(py, text).of(py, file).hint(
                py,
                "upload a snapshot from after the change: `ltxcore replicate --once --force-snapshot` or DB.snapshot()",
            ),
            E::PageSizeChanged { .. } => PageSizeChangedError::new_err(py, text),
            E::Cancelled => RestoreCancelledError::new_err(py, text),
            plan_or_output => from_plan_or_output(py, plan_or_output, text),
        }
    }
}

/// What to do about a damaged file, unless its error says so, or is that of a Python client.
fn damaged(py: Python<'_>, error: PyErr) -> PyErr {
    let has_hint = gil::getattr(error.value(py), intern!(py, "hint")).is_ok_and(|hint| !hint.is_none());
    if has_hint || !error.is_instance_of::<python::FormatError>(py) {
        return error;
    }
    error.hint(py, "restore a state from before this file, or put a sound copy of the file in its place")
}

/// What the files of a replica do not lead to, and what is in the way where a database should go.
fn from_plan_or_output(py: Python<'_>, error: E, text: String) -> PyErr {
    match error {
        E::EmptyReplica { .. } => NoSnapshotError::new_err(py, text)
            .hint(py, "check the path or URL: LTX files are looked for below it, in ltx/0 to ltx/9, or in S3 in 0000 to 0009"),
        E::TooEarly { earliest, .. } => NoSnapshotError::new_err(py, text)
            .with_value(py, "earliest_txid", types::txid(py, earliest.txid))
            .with_value(py, "earliest_time", types::datetime(py, earliest.created_at))
            .hint(py, "ask for a later time, or for that transaction"),
        E::NoSnapshot { .. } => NoSnapshotError::new_err(py, text),
        E::TxidNotAvailable { txid, available } => {
            let below = available.into_iter().rfind(|other| *other < txid);
            let error =
                TXIDNotAvailableError::new_err(py, text).with_value(py, "txid", types::txid(py, txid)).hint(
                    py,
                    "list what can be restored with restore_points(), or the files with `ltxcore ltx --level all`",
                );
            match below {
                Some(below) => error.with_value(py, "available", types::txid(py, below)),
                None => error,
            }
        }
        E::Gap { have, next } => {
            let hint = format!("restore transaction {have}, or delete that file if it does not belong there");
            RestoreError::new_err(py, text).of(py, next).hint(py, &hint)
        }
        E::EndsBefore { .. } => DivergedError::new_err(py, text),
        E::ResumesLater { .. } => DivergedError::new_err(py, text).hint(py, "wait for a snapshot"),
        E::OutputExists { path } => OutputExistsError::new_err(py, text)
            .with(py, "path", path.as_os_str())
            .hint(py, "pass overwrite=True to replace it, or restore to another path"),
        E::OutputNotAFile { path } => OutputExistsError::new_err(py, text)
            .with(py, "path", path.as_os_str())
            .hint(py, "restore to the path of a file"),
        E::OutputInUse { path } => {
            let usual =
                "stop every program that has the database open, or restore to another path".to_owned();
            let (text, hint) = why_in_use(&path).unwrap_or((text, usual));
            OutputInUseError::new_err(py, text).with(py, "path", path.as_os_str()).hint(py, &hint)
        }
        E::Output { op, path, source } => {
            from_output(py, source, text).with(py, "op", op).with(py, "path", path.as_os_str())
        }
        _ => RestoreError::new_err(py, text),
    }
}

/// A storage failure, unless what failed was Python code: that comes out as it was.
fn from_io(py: Python<'_>, source: io::Error, text: String) -> PyErr {
    if source.get_ref().is_some_and(|inner| inner.is::<Raised>()) {
        return source.into_python(py);
    }
    ReplicaError::new_err(py, text).errno(py, source.raw_os_error())
}

/// The restored database could not be written.
pub(super) fn from_output(py: Python<'_>, source: io::Error, text: String) -> PyErr {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded => DiskFullError::new_err(py, text),
        _ => RestoreError::new_err(py, text),
    }
}

/// What a Python client raised, the very object.
fn foreign(py: Python<'_>, source: Box<dyn StdError + Send + Sync>, text: String) -> PyErr {
    match source.downcast::<Raised>() {
        Ok(raised) => raised.into_inner(),
        Err(_) => ReplicaError::new_err(py, text),
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
