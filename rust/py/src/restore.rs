//! Restores and compaction, of native and of Python replica clients.

use std::any::Any;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ltx::{Checksum, Timestamp, TxId};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use replica::{ForeignKind, Mark, Past, Progress, RestoreOptions, Resume, Shape, Target};

use crate::cache::{Cache, Source};
use crate::client::{Client, Row, row};
use crate::errors::{detached, is_unsound};
use crate::follow::Followed;
use crate::gil::{self, Raised};

pub(crate) fn target(txid: Option<u64>, timestamp_ms: Option<i64>) -> PyResult<Target> {
    match (txid, timestamp_ms) {
        (None, None) => Ok(Target::Latest),
        (Some(txid), None) => Ok(Target::Txid(TxId::new(txid))),
        (None, Some(millis)) => Ok(Target::Before(Timestamp::from_millis(millis))),
        (Some(_), Some(_)) => Err(PyValueError::new_err("either a TXID or a time can be restored, not both")),
    }
}

/// Merges what is new in the level below into `level`.
#[pyfunction]
pub(crate) fn compact_level(py: Python<'_>, client: Client, level: u8) -> PyResult<Option<Row>> {
    let written = detached(py, || replica::compact_level(client.as_dyn(), level))?;
    Ok(written.as_ref().map(row))
}

/// A database that was rebuilt.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
pub(crate) struct Restored {
    txid: u64,
    checksum: u64,
    page_size: u32,
    page_count: u32,
    files: Vec<Row>,
    bytes_read: u64,
    clamped: bool,
    created_ms: i64,
    exact: bool,
    page_1: u64,
    head: Cow<'static, [u8]>,
    is_update: bool,
    past: Option<Stood>,
    resumed: u64,
}

/// A copy to begin with: its file, its TXID, checksum and head of page 1 in the replica, and change counter, size and time if it is
/// proved.
type Base<'py> = (PyRef<'py, Followed>, u64, Option<(u64, Option<Vec<u8>>)>, Option<(u32, u64, i64)>);

/// A file that was read: level, first and last TXID, size in bytes, checksum.
type MarkRow = (u8, u64, u64, u64, u64);

/// What a database stands on: files, and which pages were written after which of them.
type Stood = (Vec<MarkRow>, Cow<'static, [u8]>);

fn mark((level, min_txid, max_txid, size, checksum): MarkRow) -> Mark {
    Mark { level, min_txid: TxId::new(min_txid), max_txid: TxId::new(max_txid), size, checksum }
}

fn stood(past: Past) -> Stood {
    let row = |mark: &Mark| (mark.level, mark.min_txid.get(), mark.max_txid.get(), mark.size, mark.checksum);
    (past.marks.iter().map(row).collect(), past.runs.into())
}

/// Rebuilds a database.
#[pyfunction]
#[pyo3(signature = (client, output, *, txid=None, timestamp_ms=None, parallelism=8, overwrite=false, rollback_journal=false, base=None, past=None, keeps_past=false, replica=None, cache=None, progress=None, verify=None, prepare=None, kept=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments, one for each option")]
pub(crate) fn restore(
    py: Python<'_>,
    client: Client,
    output: PathBuf,
    txid: Option<u64>,
    timestamp_ms: Option<i64>,
    parallelism: usize,
    overwrite: bool,
    rollback_journal: bool,
    base: Option<Base<'_>>,
    past: Option<(Vec<MarkRow>, Vec<u8>, usize)>,
    keeps_past: bool,
    replica: Option<String>,
    cache: Option<Py<Cache>>,
    progress: Option<Py<PyAny>>,
    verify: Option<Py<PyAny>>,
    prepare: Option<Py<PyAny>>,
    kept: Option<Py<PyAny>>,
) -> PyResult<Restored> {
    let target = target(txid, timestamp_ms)?;
    let bytes_kept = AtomicU64::new(0);
    let watcher = Watcher::new(progress, verify, prepare);
    let base = base.map(|(file, txid, page_1, proved)| (file.copy(), txid, page_1, proved));
    let (marks, runs, place) = past.unwrap_or_default();
    let past = Past { marks: marks.into_iter().map(mark).collect(), runs };
    let source = Source::new(&client, cache.as_ref().map(Py::get));
    let done = detached(py, || {
        let base = base.as_ref().map(|(copy, txid, page_1, proved)| replica::Base {
            file: copy.file(),
            position: TxId::new(*txid),
            past: &past,
            mark: place,
            page_1: page_1.as_ref().map(|(checksum, _)| Checksum::new(*checksum)),
            head: page_1.as_ref().and_then(|(_, head)| head.as_deref()),
            proved: proved.map(|(change_counter, size, mtime_ns)| {
                let mtime_ns = mtime_ns.into();
                Shape { change_counter, size, mtime_ns }
            }),
        });
        let report = |progress: Progress| watcher.report(progress);
        let verify = |path: &Path| watcher.verify(path);
        let prepare = |path: &Path| watcher.prepare(path);
        let distrust = |error: &replica::Error| source.distrust(error);
        let options = RestoreOptions {
            parallelism,
            base,
            keeps_past,
            overwrite,
            lock: Some(&lock_database),
            rollback_journal,
            resume: replica.as_deref().map(|replica| Resume::new(replica, &bytes_kept)),
            distrust: Some(&distrust),
            progress: Some(&report),
            verify: Some(&verify),
            prepare: Some(&prepare),
            cancel: Some(&watcher.cancel),
            ..Default::default()
        };
        let client = source.as_dyn();
        // A restore itself goes on with what was sound; this is for what it reads before it begins.
        replica::with_plan(client, &target, &options, &mut |plan| {
            source.check(&plan.files);
            source.trying(|| replica::restore(client, plan, &output, &options))
        })
    });
    let outcome = watcher.outcome(done);
    if let (Err(_), Some(kept), bytes @ 1..) = (&outcome, kept, bytes_kept.into_inner()) {
        // The failure of the restore is the one to report.
        let _ = gil::call(kept.bind(py), (bytes,), None);
    }
    let (plan, restored) = outcome?;
    let used = if restored.is_update { plan.since.unwrap_or_default() } else { plan.files };
    Ok(Restored {
        txid: restored.pos.txid.get(),
        checksum: restored.pos.post_apply_checksum.get(),
        page_size: restored.page_size.get(),
        page_count: restored.commit.get(),
        files: used.iter().map(row).collect(),
        bytes_read: restored.bytes,
        clamped: plan.clamped,
        created_ms: restored.created_at.millis(),
        exact: plan.exact,
        page_1: restored.page_1.get(),
        head: restored.head.into(),
        is_update: restored.is_update,
        past: restored.past.map(stood),
        resumed: restored.resumed,
    })
}

/// Where a restore that did not finish has left what it had.
#[pyfunction]
pub(crate) fn partial_path(py: Python<'_>, output: PathBuf) -> PyResult<PathBuf> {
    detached(py, || replica::partial_path(&output))
}

/// All locks of a database that is to be replaced.
pub(crate) fn lock_database(path: &Path) -> io::Result<Option<Box<dyn Any>>> {
    Ok(osvfs::Exclusive::try_lock(path)?.map(|locked| Box::new(locked) as Box<dyn Any>))
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
    let target = Target::Txid(TxId::new(txid));
    let watcher = Watcher::default();
    let done = detached(py, || {
        let report = |progress: Progress| watcher.report(progress);
        let options =
            RestoreOptions { progress: Some(&report), cancel: Some(&watcher.cancel), ..Default::default() };
        let client = client.as_dyn();
        replica::with_plan(client, &target, &options, &mut |plan| {
            replica::page_checksums(client, plan, &path, &options)
        })
    });
    let (_, made) = watcher.outcome(done)?;
    Ok((made.page_size.get(), made.commit.get()))
}

/// Looks in on Python while Rust threads restore: Ctrl-C and an exception from the callback call the restore off.
#[derive(Default)]
pub(crate) struct Watcher {
    progress: Option<Py<PyAny>>,
    verify: Option<Py<PyAny>>,
    prepare: Option<Py<PyAny>>,
    pub(crate) cancel: AtomicBool,
    raised: Mutex<Option<PyErr>>,
}

impl Watcher {
    pub(crate) fn new(
        progress: Option<Py<PyAny>>,
        verify: Option<Py<PyAny>>,
        prepare: Option<Py<PyAny>>,
    ) -> Self {
        Self { progress, verify, prepare, ..Self::default() }
    }

    /// What came of it: an exception that was raised meanwhile goes before what it led to.
    pub(crate) fn outcome<T>(self, done: PyResult<T>) -> PyResult<T> {
        match self.raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(raised) => Err(raised),
            None => done,
        }
    }

    pub(crate) fn report(&self, progress: Progress) {
        if self.cancel.load(Ordering::Relaxed) {
            return;
        }
        let Progress { bytes_done, bytes_total, files_done, files_total } = progress;
        let looked = gil::enter(|py| {
            py.check_signals()?;
            let Some(callback) = &self.progress else { return Ok(()) };
            gil::call(callback.bind(py), (bytes_done, bytes_total, files_done, files_total), None).map(drop)
        });
        match looked {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.call_off(error),
            Err(gil::Refused) => self.cancel.store(true, Ordering::Relaxed),
        }
    }

    pub(crate) fn verify(&self, path: &Path) -> replica::Result<()> {
        let Some(verify) = &self.verify else { return Ok(()) };
        match gil::enter(|py| {
            gil::call(verify.bind(py), (path,), None)
                .map(drop)
                .map_err(|error| (is_unsound(py, &error), error))
        }) {
            // What is wrong with the database, and not with looking at it, may be cured by making it once more.
            Ok(Err((true, error))) => {
                Err(replica::Error::Foreign { kind: ForeignKind::Stop, source: Raised::new(error).into() })
            }
            Ok(Err((false, error))) => self.called_off(error),
            Ok(Ok(())) => Ok(()),
            Err(gil::Refused) => Err(replica::Error::Cancelled),
        }
    }

    fn called_off(&self, error: PyErr) -> replica::Result<()> {
        self.call_off(error);
        Err(replica::Error::Cancelled)
    }

    pub(crate) fn prepare(&self, path: &Path) -> replica::Result<()> {
        self.ask(self.prepare.as_ref(), path)
    }

    /// Calls back, if there is anybody to call; an exception calls the restore off.
    fn ask(&self, callback: Option<&Py<PyAny>>, path: &Path) -> replica::Result<()> {
        let Some(callback) = callback else { return Ok(()) };
        match gil::enter(|py| gil::call(callback.bind(py), (path,), None).map(drop)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => self.called_off(error),
            Err(gil::Refused) => Err(replica::Error::Cancelled),
        }
    }

    fn call_off(&self, error: PyErr) {
        self.cancel.store(true, Ordering::Relaxed);
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}
