//! Databases that are not files, for the reader VFS: bytes, Python file objects, LTX snapshots.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ltx::{ReadAt, SnapshotView};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use replica::{Readable, ReaderVfs, Shelf};

use crate::errors::{IntoPython, OrRaise, detached};
use crate::gil::attach_or_fail;
use crate::pyio;

/// What stands on the one shelf of this process, whichever library reads it.
pub(crate) fn vfs() -> ReaderVfs {
    static SHELF: OnceLock<Shelf> = OnceLock::new();
    ReaderVfs(SHELF.get_or_init(Shelf::default).clone())
}

/// What a database is read from.
#[derive(FromPyObject)]
pub(crate) enum Content {
    Bytes(PyBackedBytes),
    Path(PathBuf),
    /// An object with `size` and `read_at(offset, size)`.
    Positional(Py<PyAny>),
}

/// A database on the shelf.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct ReaderSource {
    name: String,
    shared: Arc<Shared>,
}

struct Shared {
    content: Box<dyn ReadAt + Send + Sync>,
    last_error: Mutex<Option<io::Error>>,
}

#[pymethods]
impl ReaderSource {
    #[new]
    fn new(py: Python<'_>, name: String, content: Content, is_ltx: bool) -> PyResult<Self> {
        let content = content.open().or_raise(py)?;
        let content = if is_ltx {
            detached(py, || SnapshotView::new(content))
                .map(|view| Box::new(view) as Box<dyn ReadAt + Send + Sync>)?
        } else {
            content
        };
        let shared = Arc::new(Shared { content, last_error: Mutex::new(None) });
        vfs().0.put(name.as_bytes(), Arc::clone(&shared) as Arc<dyn Readable>);
        Ok(Self { name, shared })
    }

    /// The last error of reading, once.
    fn take_error(&self, py: Python<'_>) -> Option<PyErr> {
        let error = self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        error.map(|error| error.into_python(py))
    }

    /// Takes the database off the shelf; whether it was there.
    fn close(&self) -> bool {
        vfs().0.take(self.name.as_bytes())
    }

    fn __repr__(&self) -> String {
        format!("ReaderSource(name={:?})", self.name)
    }
}

impl Content {
    fn open(self) -> io::Result<Box<dyn ReadAt + Send + Sync>> {
        Ok(match self {
            Self::Bytes(bytes) => Box::new(Bytes(bytes)),
            Self::Path(path) => Box::new(pyio::open(&path)?),
            Self::Positional(object) => Box::new(Positional(object)),
        })
    }
}

/// Bytes that Python owns and nobody changes; reading them needs no interpreter.
struct Bytes(PyBackedBytes);

impl ReadAt for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0[..].read_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.0[..])
    }
}

/// An object of Python's that reads at an offset.
struct Positional(Py<PyAny>);

impl ReadAt for Positional {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        attach_or_fail(|py| {
            let read = self.0.call_method1(py, intern!(py, "read_at"), (offset, buf.len()))?;
            let bytes: PyBackedBytes = read.extract(py)?;
            let len = bytes.len().min(buf.len());
            buf[..len].copy_from_slice(&bytes[..len]);
            Ok(len)
        })
    }

    fn len(&self) -> io::Result<u64> {
        attach_or_fail(|py| self.0.getattr(py, intern!(py, "size"))?.extract(py))
    }
}

impl ReadAt for Shared {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.content.read_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.content.len()
    }
}

impl Readable for Shared {
    fn failed(&self, error: io::Error) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}
