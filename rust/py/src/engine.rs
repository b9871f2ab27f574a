//! Database: one live database, as `ltxcore.DB` drives it.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{CheckpointMode, IntegrityCheck, Options, check_integrity};
use ltx::TxId;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::engine_results::{ChainComparison, Checkpoint, LocalFile, Status};
use crate::errors::{OrRaise, detached};
use crate::gil::detach;
use crate::types;

/// One live database. Every method that may wait for anything lets go of the interpreter.
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

    fn sync<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pos = self.call(py, engine::Database::sync)?;
        types::pos(py, pos)
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

    fn cancel(&self) {
        self.engine.cancel();
    }

    fn checkpoint(&self, py: Python<'_>, mode: &str) -> PyResult<Checkpoint> {
        let mode = match mode {
            "PASSIVE" => CheckpointMode::Passive,
            "FULL" => CheckpointMode::Full,
            "RESTART" => CheckpointMode::Restart,
            "TRUNCATE" => CheckpointMode::Truncate,
            other => return Err(PyValueError::new_err(format!("unknown checkpoint mode: {other}"))),
        };
        self.call(py, |engine| engine.checkpoint(mode)).map(Checkpoint::from)
    }

    fn snapshot(&self, py: Python<'_>, path: PathBuf) -> PyResult<u64> {
        let out = detached(py, || create_private(&path))?;
        let header = self.call(py, |engine| engine.snapshot(BufWriter::new(out)))?;
        Ok(header.max_txid.get())
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
    ) -> PyResult<Option<ChainComparison>> {
        let page_size = ltx::PageSize::new(page_size).or_raise(py)?;
        let found = self.call(py, |engine| engine.compare_chain(&path, page_size, TxId::new(txid)))?;
        Ok(found.map(ChainComparison::from))
    }

    fn take_notices(&self) -> Vec<String> {
        self.engine.take_notices()
    }

    fn enforce_l0_retention(&self, py: Python<'_>, uploaded_txid: u64) -> PyResult<usize> {
        self.call(py, |engine| engine.enforce_l0_retention(TxId::new(uploaded_txid)))
    }

    fn local_files(&self, py: Python<'_>) -> PyResult<Vec<LocalFile>> {
        Ok(self.call(py, engine::Database::local_files)?.into_iter().map(LocalFile::from).collect())
    }

    fn check_local(&self, py: Python<'_>, txid: u64) -> PyResult<bool> {
        self.call(py, |engine| engine.check_local(TxId::new(txid)))
    }

    fn local_path(&self, py: Python<'_>, txid: u64) -> PyResult<PathBuf> {
        self.engine.local_path(TxId::new(txid)).or_raise(py)
    }

    #[getter]
    fn pos<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        types::pos(py, self.engine.pos())
    }

    #[getter]
    fn page_size(&self) -> Option<u32> {
        self.engine.page_size().map(ltx::PageSize::get)
    }

    #[getter]
    fn snapshot_wanted(&self) -> Option<u64> {
        self.engine.snapshot_wanted().map(TxId::get)
    }

    fn status(&self, py: Python<'_>) -> PyResult<Status> {
        self.call(py, engine::Database::status).map(Status::from)
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

/// What is longer than centuries is cut, so that no deadline is beyond what clocks can say.
fn seconds(value: f64) -> PyResult<Duration> {
    const LONGEST: f64 = 1e10;
    Duration::try_from_secs_f64(if value > LONGEST { LONGEST } else { value })
        .map_err(|_| PyValueError::new_err(format!("not a number of seconds: {value}")))
}

fn create_private(path: &Path) -> engine::Result<File> {
    private_file(path).map_err(|source| engine::Error::Io { op: "create", path: path.to_owned(), source })
}

/// A new or emptied file for the whole database, whose mode may keep others from reading it.
#[expect(clippy::disallowed_methods, reason = "SQLite never opens an LTX file, or what is made from one")]
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    // The directory may be another user's, whose links lead anywhere.
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}
