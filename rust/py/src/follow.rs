//! A restored database that keeps up with its replica.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use pyo3::prelude::*;
use replica::FileInfo;

use crate::client::{Client, Row, info};
use crate::errors::{OrRaise, detached};

/// New files, merged and verified.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct Step(replica::Step);

#[pymethods]
impl Step {
    /// The transaction that it leads to.
    #[getter]
    fn txid(&self) -> u64 {
        self.0.txid().get()
    }
}

/// The file of a database that follows a replica.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct Followed(replica::Followed);

#[pymethods]
impl Followed {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        replica::Followed::open(&path).map(Self).or_raise(py)
    }

    /// The descriptor, for locks.
    fn fileno(&self) -> i32 {
        self.0.file().as_raw_fd()
    }

    /// Merges new files, without touching the database.
    fn merge(&self, py: Python<'_>, client: Client, files: Vec<Row>) -> PyResult<Step> {
        let files: Vec<FileInfo> = files.into_iter().map(info).collect();
        detached(py, || self.0.merge(client.as_dyn(), &files)).map(Step)
    }

    /// Saves what will change in a journal.
    fn save(&self, py: Python<'_>, step: &Step, marker: PathBuf) -> PyResult<()> {
        detached(py, || self.0.save(&step.0, &marker))
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
