//! Encoder and Decoder: pages of one LTX file, one after the other.

use std::io::{BufWriter, Read, Write};
use std::sync::{Mutex, PoisonError};

use ltx::{Checksum, Pgno};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::{FormatError, OrRaise, detached};
use crate::header::{Header, Trailer};
use crate::pyio::{BLOCK, PyWriter, Source};

/// What a call takes out while it works, and puts back if it went well.
///
/// Nothing is locked meanwhile, so that a file object which calls back finds an answer and not a deadlock.
struct Slot<T>(Mutex<Option<T>>);

impl<T> Slot<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(Some(value)))
    }

    fn replace(&self, value: Option<T>) -> Option<T> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), value)
    }

    fn take(&self) -> PyResult<T> {
        self.replace(None)
            .ok_or_else(|| PyValueError::new_err("finished, failed, or in use by another thread"))
    }
}

struct Reading {
    decoder: ltx::Decoder<ltx::Buffered<Box<dyn Read + Send>>>,
    page: Vec<u8>,
}

/// Reads the pages of one LTX file.
#[pyclass(frozen, module = "ltxcore.ltx")]
pub(crate) struct Decoder {
    header: ltx::Header,
    state: Slot<Reading>,
}

#[pymethods]
impl Decoder {
    #[new]
    fn new(py: Python<'_>, file: Source) -> PyResult<Self> {
        let reader = file.reader().or_raise(py)?;
        let decoder = detached(py, || ltx::Decoder::new(reader))?;
        let header = *decoder.header();
        let page = vec![0; header.page_size.bytes()];
        Ok(Self { header, state: Slot::new(Reading { decoder, page }) })
    }

    #[getter]
    fn header(&self) -> Header {
        Header(self.header)
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<(u32, Bound<'py, PyBytes>)>> {
        let mut reading = self.state.take()?;
        let pgno = detached(py, || reading.decoder.next_page(&mut reading.page))?;
        let item = pgno.map(|pgno| (pgno.get(), PyBytes::new(py, &reading.page)));
        self.state.replace(Some(reading));
        Ok(item)
    }

    fn finish(&self, py: Python<'_>) -> PyResult<Trailer> {
        let reading = self.state.take()?;
        detached(py, || reading.decoder.finish()).map(Trailer)
    }

    fn close(&self) {
        self.state.replace(None);
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, _exc_info: &Bound<'_, PyAny>) {
        self.close();
    }

    fn __repr__(&self) -> String {
        format!("Decoder({})", self.header().__repr__())
    }
}

/// Writes the pages of one LTX file.
#[pyclass(frozen, module = "ltxcore.ltx")]
pub(crate) struct Encoder {
    header: ltx::Header,
    state: Slot<ltx::Encoder<BufWriter<PyWriter>>>,
}

#[pymethods]
impl Encoder {
    #[new]
    fn new(py: Python<'_>, file: Py<PyAny>, header: &Header) -> PyResult<Self> {
        let out = BufWriter::with_capacity(BLOCK, PyWriter(file));
        let encoder = detached(py, || ltx::Encoder::new(out, &header.0))?;
        Ok(Self { header: header.0, state: Slot::new(encoder) })
    }

    #[getter]
    fn header(&self) -> Header {
        Header(self.header)
    }

    fn write(&self, py: Python<'_>, pgno: u32, page: Page) -> PyResult<()> {
        let number = Pgno::new(pgno).ok_or_else(|| FormatError::new_err(py, "page numbers begin with 1"))?;
        let page = page.bytes(py)?;
        let mut encoder = self.state.take()?;
        detached(py, || encoder.write_page(number, (*page).as_ref()))?;
        self.state.replace(Some(encoder));
        Ok(())
    }

    #[pyo3(signature = (post_apply_checksum=0))]
    fn finish(&self, py: Python<'_>, post_apply_checksum: u64) -> PyResult<Trailer> {
        let encoder = self.state.take()?;
        let finish = || -> ltx::Result<ltx::Trailer> {
            let (mut out, trailer) = encoder.finish(Checksum::new(post_apply_checksum))?;
            out.flush()?;
            Ok(trailer)
        };
        detached(py, finish).map(Trailer)
    }

    fn __repr__(&self) -> String {
        format!("Encoder({})", self.header().__repr__())
    }
}

/// A page as Python hands it over: bytes are used where they are, other buffers are copied.
#[derive(FromPyObject)]
enum Page {
    Bytes(PyBackedBytes),
    Buffer(PyBuffer<u8>),
}

impl Page {
    fn bytes(self, py: Python<'_>) -> PyResult<Box<dyn AsRef<[u8]> + Send + Sync>> {
        Ok(match self {
            Self::Bytes(bytes) => Box::new(bytes),
            Self::Buffer(buffer) => Box::new(buffer.to_vec(py)?),
        })
    }
}
