//! Histories in the layout of Litestream 0.3 as LTX files.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use legacy::{Batch, Continued, Conversion, Damage, Options, Schedule, Stamp};
use ltx::{Timestamp, TxId};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use replica::Progress;

use crate::errors::{IntoPython, OrRaise, ReplicaError, detached};
use crate::legacy::{LegacyHistory, PyObjects};
use crate::restore::Watcher;

/// Level, first and last transaction, offset in the spool and size in bytes.
type MadeRow = (u8, u64, u64, u64, u64);
/// Name, what is wrong, number of states, and the times of the first and the last in milliseconds.
type DamageRow = (String, String, u64, Option<(i64, i64)>);

/// A history that becomes LTX files, batch by batch.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct LegacyConversion {
    conversion: Mutex<Conversion>,
    objects: PyObjects,
    /// Size of the objects that add states, in bytes.
    size: u64,
    states: u64,
}

impl LegacyConversion {
    fn lock(&self) -> MutexGuard<'_, Conversion> {
        self.conversion.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(
        &self,
        py: Python<'_>,
        parallelism: usize,
        progress: Option<Py<PyAny>>,
        make: impl Send + for<'a> FnOnce(&mut Conversion, &'a PyObjects, Options<'a>) -> Batch,
    ) -> PyResult<(Vec<MadeRow>, Option<PyErr>)> {
        let watcher = Watcher::new(progress, None, None);
        let done = detached(py, || {
            let mut conversion = self.lock();
            let files_done = conversion.done() as u64;
            let mut report = |bytes_done| {
                let (bytes_total, files_total) = (self.size, self.states);
                watcher.report(Progress { bytes_done, bytes_total, files_done, files_total });
                !watcher.cancel.load(Ordering::Relaxed)
            };
            let options = Options { parallelism, progress: &mut report };
            Ok::<_, legacy::Error>(make(&mut conversion, &self.objects, options))
        });
        let batch = watcher.outcome(done)?;
        let made_row = |made: &legacy::Made| {
            (made.level, made.txids.0.get(), made.txids.1.get(), made.offset, made.size)
        };
        let error = batch.error.map(|error| error.into_python(py));
        Ok((batch.files.iter().map(made_row).collect(), error))
    }
}

#[pymethods]
impl LegacyConversion {
    #[new]
    fn new(
        py: Python<'_>,
        history: &LegacyHistory,
        store: Py<PyAny>,
        prefix: String,
        directory: PathBuf,
        skip_damaged: bool,
    ) -> PyResult<Self> {
        let schedule = Schedule::new(history.0.clone());
        let size = schedule.steps().iter().map(|step| schedule.object(step).1).sum();
        let states = schedule.steps().len() as u64;
        let conversion = Conversion::new(schedule, &directory, skip_damaged).or_raise(py)?;
        let objects = PyObjects::new(store, prefix);
        Ok(Self { conversion: Mutex::new(conversion), objects, size, states })
    }

    /// How many states there are.
    #[getter]
    fn states(&self) -> u64 {
        self.states
    }

    /// How many of them are done.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<usize> {
        detached(py, || Ok::<_, legacy::Error>(self.lock().done()))
    }

    /// The newest transaction, and its time in milliseconds.
    #[getter]
    fn reached(&self, py: Python<'_>) -> PyResult<Option<(u64, i64)>> {
        let reached = detached(py, || Ok::<_, legacy::Error>(self.lock().reached()))?;
        Ok(reached.map(|(txid, time)| (txid.get(), time.millis())))
    }

    /// What was left out up to now.
    #[getter]
    fn left_out(&self, py: Python<'_>) -> PyResult<Vec<DamageRow>> {
        let left_out = detached(py, || Ok::<_, legacy::Error>(self.lock().left_out().to_vec()))?;
        Ok(left_out.into_iter().map(row).collect())
    }

    /// Whether earlier calls have left out states.
    #[getter]
    fn lacked(&self, py: Python<'_>) -> PyResult<bool> {
        detached(py, || Ok::<_, legacy::Error>(self.lock().lacked()))
    }

    /// Whether the history has the generation that an LTX file is of.
    fn has_origin(&self, py: Python<'_>, origin: u64) -> PyResult<bool> {
        detached(py, || Ok::<_, legacy::Error>(self.lock().has_origin(origin)))
    }

    /// Goes on after the state of an LTX file; whether it was found, `None` if it is not of this history.
    fn resume(
        &self,
        py: Python<'_>,
        min_txid: u64,
        max_txid: u64,
        created_ms: i64,
        mark: u64,
        origin: u64,
    ) -> PyResult<Option<bool>> {
        let txids = (TxId::new(min_txid), TxId::new(max_txid));
        let stamp = Stamp { mark, origin, ..Stamp::new(txids, Timestamp::from_millis(created_ms)) };
        let continued = detached(py, || Ok::<_, legacy::Error>(self.lock().resume(&stamp)))?;
        Ok((continued != Continued::Foreign).then_some(continued == Continued::Found))
    }

    /// Makes the files of the next states; and what kept it from going on.
    #[pyo3(signature = (parallelism, progress=None))]
    fn run(
        &self,
        py: Python<'_>,
        parallelism: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(Vec<MadeRow>, Option<PyErr>)> {
        self.make(py, parallelism, progress, |conversion, objects, options| conversion.run(objects, options))
    }

    /// Bytes of the spool, where the files of the last batch are.
    fn read<'py>(&self, py: Python<'py>, offset: u64, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let read = detached(py, || {
            let mut bytes = vec![0; size];
            Ok::<_, legacy::Error>(self.lock().read(offset, &mut bytes).map(|()| bytes))
        })?;
        let bytes = read
            .map_err(|error| ReplicaError::new_err(py, format!("cannot read a temporary file: {error}")))?;
        Ok(PyBytes::new(py, &bytes))
    }
}

fn row(Damage { key, what, states, times }: Damage) -> DamageRow {
    (key, what, states, times.map(|(first, last)| (first.millis(), last.millis())))
}

/// Reads everything that a replica holds. How many states there are, and what is wrong.
#[pyfunction]
#[pyo3(signature = (history, store, prefix, *, parallelism=8, progress=None))]
pub(crate) fn legacy_verify(
    py: Python<'_>,
    history: &LegacyHistory,
    store: Py<PyAny>,
    prefix: String,
    parallelism: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<(u64, Vec<DamageRow>)> {
    let (watcher, objects) = (Watcher::new(progress, None, None), PyObjects::new(store, prefix));
    let done = detached(py, || {
        let schedule = Schedule::new(history.0.clone());
        let (files_total, bytes_total) = schedule.totals();
        let mut report = |bytes_done| {
            let files_done = if bytes_done >= bytes_total { files_total } else { 0 };
            watcher.report(Progress { bytes_done, bytes_total, files_done, files_total });
            !watcher.cancel.load(Ordering::Relaxed)
        };
        let options = Options { parallelism, progress: &mut report };
        legacy::verify(&schedule, &objects, options).map(|found| (schedule.steps().len() as u64, found))
    });
    let (states, found) = watcher.outcome(done)?;
    Ok((states, found.into_iter().map(row).collect()))
}
