//! Database: one live database, as `ltxcore.DB` drives it.

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{CheckpointMode, IntegrityCheck, LocalFile, Options, check_integrity};
use ltx::{Timestamp, TxId};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{OrRaise, detached};
use crate::gil::detach;

/// One live database. Every method lets go of the interpreter while it works.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct Database {
    engine: Arc<engine::Database>,
    path: PathBuf,
    process: u32,
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            // In a forked child. Taking it apart would release locks that the parent relies on; so it is leaked.
            std::mem::forget(Arc::clone(&self.engine));
        }
    }
}

impl Database {
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        work: impl Send + FnOnce(&engine::Database) -> engine::Result<T>,
    ) -> PyResult<T> {
        detached(py, || work(&self.engine))
    }
}

#[pymethods]
impl Database {
    #[new]
    #[pyo3(signature = (path, *, meta_path=None, monitor_interval=1.0, checkpoint_interval=60.0,
                        min_checkpoint_page_n=1000, truncate_page_n=121_359, busy_timeout=1.0, l0_retention=300.0,
                        shares_process=true))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, one for each option")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        meta_path: Option<PathBuf>,
        monitor_interval: f64,
        checkpoint_interval: f64,
        min_checkpoint_page_n: u32,
        truncate_page_n: u32,
        busy_timeout: f64,
        l0_retention: f64,
        shares_process: bool,
    ) -> PyResult<Self> {
        let options = Options {
            meta_path,
            monitor_interval: seconds(monitor_interval)?,
            checkpoint_interval: seconds(checkpoint_interval)?,
            min_checkpoint_page_n,
            truncate_page_n,
            busy_timeout: seconds(busy_timeout)?,
            l0_retention: seconds(l0_retention)?,
            shares_process,
            ..Options::new(&path).or_raise(py)?
        };
        let path = options.path.clone();
        let engine = Arc::new(engine::Database::new(options).or_raise(py)?);
        Ok(Self { engine, path, process: std::process::id() })
    }

    #[pyo3(signature = (remote_txid=0))]
    fn open(&self, py: Python<'_>, remote_txid: u64) -> PyResult<bool> {
        self.call(py, |engine| engine.open(TxId::new(remote_txid)))
    }

    fn attach(&self, py: Python<'_>) -> bool {
        detach(py, || self.engine.attach())
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, engine::Database::close)
    }

    fn abandon(&self, py: Python<'_>) {
        detach(py, || self.engine.abandon());
    }

    fn sync(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let pos = self.call(py, engine::Database::sync)?;
        Ok((pos.txid.get(), pos.post_apply_checksum.get()))
    }

    fn follow(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = seconds(timeout)?;
        self.call(py, |engine| engine.follow(timeout))
    }

    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, engine::Database::verify)
    }

    fn interrupt(&self) {
        self.engine.interrupt();
    }

    fn checkpoint(&self, py: Python<'_>, mode: &str) -> PyResult<(bool, u32, u32)> {
        let mode = match mode {
            "PASSIVE" => CheckpointMode::Passive,
            "FULL" => CheckpointMode::Full,
            "RESTART" => CheckpointMode::Restart,
            "TRUNCATE" => CheckpointMode::Truncate,
            other => return Err(PyValueError::new_err(format!("unknown checkpoint mode: {other}"))),
        };
        let done = self.call(py, |engine| engine.checkpoint(mode))?;
        Ok((done.busy, done.wal_frames, done.checkpointed))
    }

    fn snapshot(&self, py: Python<'_>, path: PathBuf) -> PyResult<(u64, u32, u32, i64)> {
        let out = detached(py, || create_private(&path))?;
        let header = self.call(py, |engine| engine.snapshot(BufWriter::new(out)))?;
        Ok((header.max_txid.get(), header.page_size.get(), header.commit.get(), header.timestamp.millis()))
    }

    fn snapshot_stored(&self, py: Python<'_>, max_txid: u64) -> PyResult<()> {
        self.call(py, |engine| engine.snapshot_stored(TxId::new(max_txid)))
    }

    #[getter]
    fn chain_wanted(&self, py: Python<'_>) -> Option<u64> {
        detach(py, || self.engine.chain_wanted()).map(TxId::get)
    }

    fn adopt(&self, py: Python<'_>, path: PathBuf, page_size: u32, txid: u64) -> PyResult<()> {
        let page_size = ltx::PageSize::new(page_size).or_raise(py)?;
        self.call(py, |engine| engine.adopt(&path, page_size, TxId::new(txid)))
    }

    fn compare_chain(
        &self,
        py: Python<'_>,
        path: PathBuf,
        page_size: u32,
        txid: u64,
    ) -> PyResult<Option<(u64, u64)>> {
        let page_size = ltx::PageSize::new(page_size).or_raise(py)?;
        self.call(py, |engine| engine.compare_chain(&path, page_size, TxId::new(txid)))
    }

    fn take_notices(&self) -> Vec<String> {
        self.engine.take_notices()
    }

    fn enforce_l0_retention(&self, py: Python<'_>, uploaded_txid: u64) -> PyResult<usize> {
        self.call(py, |engine| engine.enforce_l0_retention(TxId::new(uploaded_txid)))
    }

    fn local_files(&self, py: Python<'_>) -> PyResult<Vec<(u64, u64, u64, i64)>> {
        let row =
            |file: LocalFile| (file.min_txid.get(), file.max_txid.get(), file.size, file.created_at.millis());
        Ok(self.call(py, engine::Database::local_files)?.into_iter().map(row).collect())
    }

    fn check_local(&self, py: Python<'_>, txid: u64) -> PyResult<bool> {
        self.call(py, |engine| engine.check_local(TxId::new(txid)))
    }

    fn local_path(&self, py: Python<'_>, txid: u64) -> PyResult<PathBuf> {
        self.call(py, |engine| engine.local_path(TxId::new(txid)))
    }

    #[getter]
    fn pos(&self, py: Python<'_>) -> (u64, u64) {
        let pos = detach(py, || self.engine.pos());
        (pos.txid.get(), pos.post_apply_checksum.get())
    }

    #[getter]
    fn page_size(&self, py: Python<'_>) -> Option<u32> {
        detach(py, || self.engine.page_size()).map(ltx::PageSize::get)
    }

    #[getter]
    fn snapshot_wanted(&self, py: Python<'_>) -> Option<u64> {
        detach(py, || self.engine.snapshot_wanted()).map(TxId::get)
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = self.call(py, engine::Database::status)?;
        let dict = PyDict::new(py);
        dict.set_item("txid", status.pos.txid.get())?;
        dict.set_item("wal_size", status.wal_size)?;
        dict.set_item("last_sync_ms", status.last_sync.map(Timestamp::millis))?;
        dict.set_item("reason", status.reason)?;
        dict.set_item("incremental_syncs", status.counters.increments)?;
        dict.set_item("diff_syncs", status.counters.differences)?;
        dict.set_item("full_syncs", status.counters.full)?;
        dict.set_item("restarts", status.counters.restarts)?;
        dict.set_item("checkpoints", status.counters.checkpoints)?;
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        format!("<Database {}>", self.path.display())
    }
}

/// Lets SQLite check a database file that is not in use.
#[pyfunction]
pub(crate) fn integrity_check(py: Python<'_>, path: PathBuf, mode: &str) -> PyResult<Option<String>> {
    let check = match mode {
        "quick" => IntegrityCheck::Quick,
        "full" => IntegrityCheck::Full,
        other => return Err(PyValueError::new_err(format!("unknown integrity check: {other}"))),
    };
    detached(py, || check_existing(&path, check))
}

/// SQLite would make an empty database of a path that is not there, and find it sound.
fn check_existing(path: &Path, check: IntegrityCheck) -> engine::Result<Option<String>> {
    match path.metadata() {
        Ok(_) => check_integrity(path, check),
        Err(source) => Err(engine::Error::Io { op: "check", path: path.to_owned(), source }),
    }
}

fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err(format!("not a number of seconds: {value}")))
}

/// A snapshot is the whole database, whose mode may keep others from reading it.
#[expect(clippy::disallowed_methods, reason = "SQLite never opens an LTX file")]
fn create_private(path: &Path) -> engine::Result<File> {
    let created = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    created.map_err(|source| engine::Error::Io { op: "create", path: path.to_owned(), source })
}
