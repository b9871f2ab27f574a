//! Verification of replicas.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use replica::{FileInfo, Obstacle, VerifyOptions};

use crate::client::{Client, Name, Row, name, row};
use crate::errors::{IntoPython, detached};
use crate::restore::Watcher;

/// A file, and what is wrong with it.
type Problem = (Row, Py<PyBaseException>);

/// What reading every file has shown.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
pub(crate) struct Verified {
    files: usize,
    bytes: u64,
    damaged: Vec<Problem>,
    unread: Vec<Problem>,
    holes: Vec<(u64, Name)>,
    txid: u64,
    obstacle_file: Option<Name>,
    obstacle: Option<Py<PyBaseException>>,
}

/// Reads every file of a replica.
#[pyfunction]
#[pyo3(signature = (client, *, parallelism=8, progress=None))]
pub(crate) fn verify(
    py: Python<'_>,
    client: Client,
    parallelism: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Verified> {
    let watcher = Watcher::new(progress, None, None);
    let done = detached(py, || {
        let report = |progress| watcher.report(progress);
        let options = VerifyOptions {
            parallelism,
            progress: Some(&report),
            cancel: Some(&watcher.cancel),
            ..VerifyOptions::default()
        };
        replica::verify(client.as_dyn(), &options)
    });
    let found = watcher.outcome(done)?;
    let problem =
        |(file, error): (FileInfo, replica::Error)| (row(&file), error.into_python(py).into_value(py));
    let (obstacle_file, obstacle) = match found.obstacle {
        None => (None, None),
        Some(Obstacle::Damaged(file)) => (Some(name(file)), None),
        Some(Obstacle::Missing(error)) => (None, Some(error.into_python(py).into_value(py))),
    };
    Ok(Verified {
        files: found.files,
        bytes: found.bytes,
        damaged: found.damaged.into_iter().map(problem).collect(),
        unread: found.unread.into_iter().map(problem).collect(),
        holes: found.holes.into_iter().map(|(have, next)| (have.get(), name(next))).collect(),
        txid: found.txid.get(),
        obstacle_file,
        obstacle,
    })
}
