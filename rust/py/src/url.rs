//! Objects behind URLs, for clients in Python: the same requests as those of restores.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use http_ranges::{Body, Error};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::detached;
use crate::located::{Signed, source};

/// What a server sends, from start to end.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct URLReader {
    /// Gone once it was closed.
    body: Mutex<Option<Body>>,
    total: Option<u64>,
}

#[pymethods]
impl URLReader {
    /// How many bytes the whole object has, if the server has said.
    #[getter]
    fn total(&self) -> Option<u64> {
        self.total
    }

    /// Up to `size` bytes, as many as have come; none at the end.
    fn read<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let read = || {
            let mut block = vec![0; size];
            // The mutex is taken without the interpreter, which who holds it may need.
            let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
            let n = body.as_mut().map_or(Ok(0), |body| body.read(&mut block)).map_err(|error| {
                Error::from_io(error).unwrap_or(Error::Setting { what: "connection", source: None })
            })?;
            block.truncate(n);
            Ok::<_, Error>(block)
        };
        Ok(PyBytes::new(py, &detached(py, read)?))
    }

    /// Lets the connection go.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let close = || {
            drop(self.body.lock().unwrap_or_else(PoisonError::into_inner).take());
            Ok::<_, Error>(())
        };
        detached(py, close)
    }
}

/// Asks for bytes of an object; `None` if the server sends whole objects only, and another part is wanted.
#[pyfunction]
#[pyo3(signature = (place, offset=0, size=None))]
pub(crate) fn open_url(
    py: Python<'_>,
    place: Signed,
    offset: u64,
    size: Option<u64>,
) -> PyResult<Option<URLReader>> {
    let open = || match source(place)?.read(offset, size) {
        Err(Error::RangesIgnored { .. }) => Ok(None),
        opened => opened.map(Some),
    };
    let body = detached(py, open)?;
    Ok(body.map(|body| URLReader { total: body.total(), body: Mutex::new(Some(body)) }))
}
