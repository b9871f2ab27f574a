//! The methods of a replica client in Python, and what its exceptions mean.

use std::io::{self, Read};

use pyo3::exceptions::{
    PyAssertionError, PyAttributeError, PyException, PyFileNotFoundError, PyLookupError, PyNameError,
    PyNotImplementedError, PyPermissionError, PyTypeError, PyValueError,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBool, PyDict};
use replica::{Error, FileInfo, ForeignKind, Result};

use crate::gil::{self, Owned, Raised};
use crate::pyio::PyReader;
use crate::types;

/// The methods of a `ltxcore.ReplicaClient`. What they raise goes through unchanged.
pub(crate) struct PyObjectClient {
    object: Owned<Py<PyAny>>,
    client_type: String,
}

/// Asks a client.
pub(crate) fn ask<T>(work: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T> {
    match gil::enter(work) {
        Ok(answer) => answer.map_err(foreign),
        Err(refused) => Err(Error::foreign(io::Error::from(refused), false)),
    }
}

/// What a client raised, as an error that a restore hands on.
pub(crate) fn foreign(error: PyErr) -> Error {
    let kind = gil::enter(|py| foreign_kind(py, &error)).unwrap_or(ForeignKind::Stop);
    Error::Foreign { kind, source: Raised::new(error).into() }
}

/// An error that says itself whether another try makes sense is believed. Libraries for storage raise what they like when a
/// connection breaks, so of other errors only what is surely something else is not worth another try: refusals, mistakes in
/// code, and what is no failure at all, such as Ctrl-C.
fn foreign_kind(py: Python<'_>, error: &PyErr) -> ForeignKind {
    let is_refusal = error.is_instance_of::<PyPermissionError>(py)
        || error.is_instance_of::<PyValueError>(py)
        || error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyLookupError>(py)
        || error.is_instance_of::<PyAttributeError>(py)
        || error.is_instance_of::<PyNameError>(py)
        || error.is_instance_of::<PyNotImplementedError>(py)
        || error.is_instance_of::<PyAssertionError>(py);
    let said = says_transient(py, error);
    if !error.is_instance_of::<PyException>(py) {
        ForeignKind::Stop
    } else if said != Some(true) && error.is_instance_of::<PyFileNotFoundError>(py) {
        ForeignKind::NotFound
    } else if said.unwrap_or(!is_refusal) {
        ForeignKind::Transient
    } else {
        ForeignKind::Final
    }
}

/// The attribute `transient` of an exception, if it has one that is a `bool`.
fn says_transient(py: Python<'_>, error: &PyErr) -> Option<bool> {
    let said = gil::getattr(error.value(py), intern!(py, "transient")).ok()?;
    Some(said.cast::<PyBool>().ok()?.is_true())
}

fn range<'py>(py: Python<'py>, offset: u64, size: Option<u64>) -> PyResult<Bound<'py, PyDict>> {
    let range = PyDict::new(py);
    range.set_item(intern!(py, "offset"), offset)?;
    range.set_item(intern!(py, "size"), size)?;
    Ok(range)
}

type Key<'py> = (u8, Bound<'py, PyAny>, Bound<'py, PyAny>);

fn py_key<'py>(py: Python<'py>, info: &FileInfo) -> PyResult<Key<'py>> {
    Ok((info.level, types::txid(py, info.min_txid)?, types::txid(py, info.max_txid)?))
}

impl PyObjectClient {
    pub(crate) fn new(object: Py<PyAny>, client_type: String) -> Self {
        Self { object: Owned::new(object), client_type }
    }

    pub(crate) fn client_type(&self) -> &str {
        &self.client_type
    }

    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.object.bind(py)
    }

    pub(crate) fn open(
        &self,
        info: &FileInfo,
        offset: u64,
        size: Option<u64>,
    ) -> Result<Box<dyn Read + Send>> {
        let file = ask(|py| {
            let range = range(py, offset, size)?;
            let open = gil::getattr(self.bind(py), intern!(py, "open_ltx_file"))?;
            Ok(gil::call(&open, py_key(py, info)?, Some(&range))?.unbind())
        })?;
        Ok(Box::new(PyReader::owning(file, |error| foreign(error).into_io())))
    }

    pub(crate) fn read(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Vec<u8>> {
        ask(|py| {
            let range = range(py, offset, size)?;
            let read = gil::getattr(self.bind(py), intern!(py, "read_ltx_file"))?;
            let bytes = gil::call(&read, py_key(py, info)?, Some(&range))?;
            Ok(bytes.extract::<PyBackedBytes>()?.to_vec())
        })
    }
}
