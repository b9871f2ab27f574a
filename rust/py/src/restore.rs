//! Restores, what can be restored, and compaction, of native and of Python replica clients.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ltx::{Timestamp, TxId};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use replica::{Plan, Progress, RestoreOptions, RestorePoint, Restored, Target};

use crate::client::{Client, Row, row};
use crate::errors::detached;

fn target(txid: Option<u64>, timestamp_ms: Option<i64>) -> PyResult<Target> {
    match (txid, timestamp_ms) {
        (None, None) => Ok(Target::Latest),
        (Some(txid), None) => Ok(Target::Txid(TxId::new(txid))),
        (None, Some(millis)) => Ok(Target::Before(Timestamp::from_millis(millis))),
        (Some(_), Some(_)) => Err(PyValueError::new_err("either a TXID or a time can be restored, not both")),
    }
}

/// Which files a restore would use.
#[pyfunction]
#[pyo3(signature = (client, txid=None, timestamp_ms=None))]
pub(crate) fn restore_plan(
    py: Python<'_>,
    client: Client,
    txid: Option<u64>,
    timestamp_ms: Option<i64>,
) -> PyResult<(Vec<Row>, bool)> {
    let target = target(txid, timestamp_ms)?;
    let plan = detached(py, || replica::plan(client.as_dyn(), &target))?;
    Ok((plan.files.iter().map(row).collect(), plan.clamped))
}

/// Every state that can be restored.
#[pyfunction]
pub(crate) fn restore_points(py: Python<'_>, client: Client) -> PyResult<Vec<(u64, i64)>> {
    let points = detached(py, || replica::restore_points(client.as_dyn()))?;
    let pair = |point: RestorePoint| (point.txid.get(), point.created_at.millis());
    Ok(points.into_iter().map(pair).collect())
}

/// Merges what is new in the level below into `level`.
#[pyfunction]
pub(crate) fn compact_level(py: Python<'_>, client: Client, level: u8) -> PyResult<Option<Row>> {
    let written = detached(py, || replica::compact_level(client.as_dyn(), level))?;
    Ok(written.as_ref().map(row))
}

type Outcome = (u64, u64, u32, u32, Vec<Row>, u64, bool);

/// Rebuilds a database.
#[pyfunction]
#[pyo3(signature = (client, output, *, txid=None, timestamp_ms=None, parallelism=8, overwrite=false, progress=None, verify=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments, one for each option")]
pub(crate) fn restore(
    py: Python<'_>,
    client: Client,
    output: PathBuf,
    txid: Option<u64>,
    timestamp_ms: Option<i64>,
    parallelism: usize,
    overwrite: bool,
    progress: Option<Py<PyAny>>,
    verify: Option<Py<PyAny>>,
) -> PyResult<Outcome> {
    let target = target(txid, timestamp_ms)?;
    let watcher = Watcher::new(progress, verify);
    let done = detached(py, || -> replica::Result<(Plan, Restored)> {
        let plan = replica::plan(client.as_dyn(), &target)?;
        let report = |progress: Progress| watcher.report(progress);
        let verify = |path: &Path| watcher.verify(path);
        let options = RestoreOptions {
            parallelism,
            overwrite,
            progress: Some(&report),
            verify: Some(&verify),
            cancel: Some(&watcher.cancel),
            ..Default::default()
        };
        let restored = replica::restore(client.as_dyn(), &plan, &output, &options)?;
        Ok((plan, restored))
    });
    let (plan, restored) = watcher.outcome(done)?;
    Ok((
        restored.pos.txid.get(),
        restored.pos.post_apply_checksum.get(),
        restored.page_size.get(),
        restored.commit.get(),
        plan.files.iter().map(row).collect(),
        restored.bytes,
        plan.clamped,
    ))
}

/// Writes the checksums of all pages of the database that a chain of files leads to.
#[pyfunction]
#[pyo3(signature = (client, path, *, txid))]
pub(crate) fn chain_checksums(
    py: Python<'_>,
    client: Client,
    path: PathBuf,
    txid: u64,
) -> PyResult<(u32, u32)> {
    let watcher = Watcher::new(None, None);
    let done = detached(py, || {
        let plan = replica::plan(client.as_dyn(), &Target::Txid(TxId::new(txid)))?;
        let report = |progress: Progress| watcher.report(progress);
        let options =
            RestoreOptions { progress: Some(&report), cancel: Some(&watcher.cancel), ..Default::default() };
        replica::page_checksums(client.as_dyn(), &plan, &path, &options)
    });
    let made = watcher.outcome(done)?;
    Ok((made.page_size.get(), made.commit.get()))
}

/// Looks in on Python while Rust threads restore: Ctrl-C and an exception from the callback call the restore off.
struct Watcher {
    progress: Option<Py<PyAny>>,
    verify: Option<Py<PyAny>>,
    cancel: AtomicBool,
    raised: Mutex<Option<PyErr>>,
}

impl Watcher {
    fn new(progress: Option<Py<PyAny>>, verify: Option<Py<PyAny>>) -> Self {
        Self { progress, verify, cancel: AtomicBool::new(false), raised: Mutex::new(None) }
    }

    /// What came of it: an exception that was raised meanwhile goes before what it led to.
    fn outcome<T>(self, done: PyResult<T>) -> PyResult<T> {
        match self.raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(raised) => Err(raised),
            None => done,
        }
    }

    fn report(&self, progress: Progress) {
        if self.cancel.load(Ordering::Relaxed) {
            return;
        }
        let Progress { bytes_done, bytes_total, files_done, files_total } = progress;
        let looked = Python::attach(|py| {
            py.check_signals()?;
            match &self.progress {
                Some(callback) => {
                    callback.call1(py, (bytes_done, bytes_total, files_done, files_total)).map(drop)
                }
                None => Ok(()),
            }
        });
        if let Err(error) = looked {
            self.call_off(error);
        }
    }

    fn verify(&self, path: &Path) -> replica::Result<()> {
        let Some(verify) = &self.verify else { return Ok(()) };
        Python::attach(|py| verify.call1(py, (path,)).map(drop)).map_err(|error| {
            self.call_off(error);
            replica::Error::Cancelled
        })
    }

    fn call_off(&self, error: PyErr) {
        self.cancel.store(true, Ordering::Relaxed);
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}
