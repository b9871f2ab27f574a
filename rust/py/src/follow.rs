//! A restored database that keeps up with its replica.

use std::borrow::Cow;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use replica::FileInfo;

use crate::client::{Client, Row, info};
use crate::errors::{OrRaise, detached};
use crate::gil::{self, Raised};

/// New files, merged and verified.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct Step(mirror::Step);

#[pymethods]
impl Step {
    /// The transaction that it leads to.
    #[getter]
    fn txid(&self) -> u64 {
        self.0.txid().get()
    }

    /// Checksum and head of page 1, if it has that.
    #[getter]
    fn page_1(&self, py: Python<'_>) -> PyResult<Option<(u64, Cow<'static, [u8]>)>> {
        let failed = |source| replica::Error::output("read", Path::new("merged files"), source);
        let found = detached(py, || self.0.page_1().map_err(failed))?;
        Ok(found.map(|(checksum, head)| (checksum.get(), head.into())))
    }

    /// Whether it has every page.
    #[getter]
    fn is_whole(&self) -> bool {
        self.0.is_whole()
    }
}

/// A lock on a followed database, until it is closed or forgotten.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct FileLock(Mutex<Option<Box<dyn Send>>>);

impl FileLock {
    fn new(lock: impl Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(lock))))
    }
}

#[pymethods]
impl FileLock {
    /// Lets it go; does nothing the second time.
    fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Writes a file beside a followed database, durably.
#[pyfunction]
pub(crate) fn write_sidecar(py: Python<'_>, path: PathBuf, content: Vec<u8>) -> PyResult<()> {
    detached(py, || mirror::write_sidecar(&path, &content))
}

/// The file of a database that follows a replica.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct Followed(mirror::Followed);

impl Followed {
    /// The same file.
    pub(crate) fn copy(&self) -> mirror::Followed {
        self.0.clone()
    }
}

#[pymethods]
impl Followed {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        mirror::Followed::open(&path).map(Self).or_raise(py)
    }

    /// The descriptor, to be looked at.
    fn fileno(&self) -> i32 {
        self.0.file().as_raw_fd()
    }

    /// Claims the database, for the one who follows with it.
    fn try_claim(&self, py: Python<'_>) -> PyResult<Option<FileLock>> {
        Ok(detached(py, || self.0.try_claim())?.map(FileLock::new))
    }

    /// Keeps others from keeping all others out.
    fn try_share(&self, py: Python<'_>) -> PyResult<Option<FileLock>> {
        Ok(detached(py, || self.0.try_share())?.map(FileLock::new))
    }

    /// Keeps all others out; `patience` is in seconds.
    fn try_exclude(&self, py: Python<'_>, patience: f64) -> PyResult<Option<FileLock>> {
        let patience = Duration::try_from_secs_f64(patience).unwrap_or(Duration::ZERO);
        Ok(detached(py, || self.0.try_exclude(patience))?.map(FileLock::new))
    }

    /// Merges new files, without touching the database.
    fn merge(&self, py: Python<'_>, client: Client, files: Vec<Row>) -> PyResult<Step> {
        let files: Vec<FileInfo> = files.into_iter().map(info).collect();
        detached(py, || self.0.merge(client.as_dyn(), &files)).map(Step)
    }

    /// The first page that differs from what the files restore, those of the step left out.
    #[pyo3(signature = (client, files, step, watch))]
    fn first_difference(
        &self,
        py: Python<'_>,
        client: Client,
        files: Vec<Row>,
        step: Option<&Step>,
        watch: Py<PyAny>,
    ) -> PyResult<Option<u32>> {
        let files: Vec<FileInfo> = files.into_iter().map(info).collect();
        let mut watch = |done: u32, total: u32| {
            let looked = gil::enter(|py| {
                py.check_signals()?;
                gil::call(watch.bind(py), (done, total), None).map(drop)
            });
            match looked {
                Ok(looked) => looked.map_err(|error| replica::Error::foreign(Raised::new(error), false)),
                Err(gil::Refused) => Err(replica::Error::Cancelled),
            }
        };
        let step = step.map(|step| &step.0);
        let found = detached(py, || self.0.first_difference(client.as_dyn(), &files, step, &mut watch))?;
        Ok(found.map(ltx::Pgno::get))
    }

    /// Saves what will change in a journal.
    fn save(&self, py: Python<'_>, step: &Step, twin: PathBuf) -> PyResult<()> {
        detached(py, || self.0.save(&step.0, &twin))
    }

    /// Writes the pages.
    fn write(&self, py: Python<'_>, step: &Step) -> PyResult<()> {
        detached(py, || self.0.write(&step.0))
    }

    /// Deletes the journal.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.0.commit())
    }
}
