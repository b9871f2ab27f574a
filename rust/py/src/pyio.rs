//! Python file objects as Rust readers and writers, and the files that are opened by path.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use ltx::ReadAt;
use osvfs::{NamedFile, PooledFile};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::{OrRaise, detached, of_file};
use crate::gil::{self, Raised};

/// How much is asked for, or handed over, while attached to the interpreter once.
pub(crate) const BLOCK: usize = 256 * 1024;

/// A binary file object that is read from where it stands.
pub(crate) struct PyReader {
    file: Py<PyAny>,
    block: Vec<u8>,
    used: usize,
    is_owned: bool,
    /// What an exception looks like to whoever reads.
    wrap: fn(PyErr) -> io::Error,
}

impl PyReader {
    /// A reader of a file object that stays its caller's.
    pub(crate) fn borrowing(file: Py<PyAny>) -> Self {
        let wrap = |error| io::Error::other(Raised::new(error));
        Self { file, block: Vec::new(), used: 0, is_owned: false, wrap }
    }

    /// A reader that closes the file object in the end.
    pub(crate) fn owning(file: Py<PyAny>, wrap: fn(PyErr) -> io::Error) -> Self {
        Self { file, block: Vec::new(), used: 0, is_owned: true, wrap }
    }

    fn refill(&mut self) -> io::Result<()> {
        let read = |py: Python<'_>| -> PyResult<()> {
            let read = gil::call_method(self.file.bind(py), intern!(py, "read"), (BLOCK,))?;
            let bytes: PyBackedBytes = read.extract()?;
            // Copied here, so that nothing of Python's is left to be freed by a detached thread.
            self.block.clear();
            self.block.extend_from_slice(&bytes);
            self.used = 0;
            Ok(())
        };
        gil::enter(read)?.map_err(self.wrap)
    }
}

impl Drop for PyReader {
    fn drop(&mut self) {
        if self.is_owned {
            // Failing to close says nothing about the bytes that were read.
            let close = |py: Python<'_>| {
                if let Err(error) = gil::call_method(self.file.bind(py), intern!(py, "close"), ()) {
                    error.write_unraisable(py, Some(self.file.bind(py)));
                }
            };
            // Refused at exit, where the operating system closes it.
            let _ = gil::enter(close);
        }
    }
}

impl Read for PyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            self.refill()?;
        }
        let n = self.block.get(self.used..).unwrap_or_default().read(buf)?;
        self.used += n;
        Ok(n)
    }
}

/// A binary file object that is written to.
pub(crate) struct PyWriter(pub(crate) Py<PyAny>);

impl Write for PyWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = gil::enter_io(|py| {
            let written = gil::call_method(self.0.bind(py), intern!(py, "write"), (PyBytes::new(py, buf),))?;
            // Raw files may take less than they were given, and say so; others may say nothing.
            written.extract::<Option<usize>>()
        })?;
        Ok(written.unwrap_or(buf.len()).min(buf.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A seekable binary file object.
pub(crate) struct PySeeker(Py<PyAny>);

impl ReadAt for PySeeker {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        gil::enter_io(|py| {
            let file = self.0.bind(py);
            gil::call_method(file, intern!(py, "seek"), (offset,))?;
            let read = gil::call_method(file, intern!(py, "read"), (buf.len(),))?;
            let bytes: PyBackedBytes = read.extract()?;
            Ok((&*bytes).read(buf)?)
        })
    }

    fn len(&self) -> io::Result<u64> {
        gil::enter_io(|py| gil::call_method(self.0.bind(py), intern!(py, "seek"), (0, 2))?.extract())
    }
}

/// What an LTX file is read from: a path, or a binary file object.
#[derive(FromPyObject)]
pub(crate) enum Source {
    Path(PathBuf),
    File(Py<PyAny>),
}

impl Source {
    /// A reader of it, from its start or from where the file object stands.
    pub(crate) fn reader(self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Path(path) => Box::new(BufReader::with_capacity(BLOCK, open_named(&path)?)),
            Self::File(file) => Box::new(PyReader::borrowing(file)),
        })
    }

    /// Access to any place in it.
    pub(crate) fn read_at(self) -> io::Result<Box<dyn ReadAt + Send + Sync>> {
        Ok(match self {
            Self::Path(path) => Box::new(open(&path)?),
            Self::File(file) => Box::new(PySeeker(file)),
        })
    }
}

/// Opens an LTX file by the path that a caller gave, which may be that of a live database of this process.
pub(crate) fn open(path: &Path) -> io::Result<Named> {
    open_named(path).map(Named)
}

pub(crate) fn open_named(path: &Path) -> io::Result<NamedFile> {
    NamedFile::open(path).map_err(of_file(path))
}

/// What a caller named.
pub(crate) struct Named(NamedFile);

impl ReadAt for Named {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.size()
    }
}

/// The whole content of a file.
#[pyfunction]
pub(crate) fn read_file<'py>(py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyBytes>> {
    let read = || {
        let mut content = Vec::new();
        open_named(&path)?.read_to_end(&mut content).map_err(of_file(&path))?;
        Ok::<_, io::Error>(content)
    };
    Ok(PyBytes::new(py, &detached(py, read)?))
}

/// A binary file object over a file that a caller named, to be read from start to end.
#[pyclass(module = "ltxcore._ltxcore")]
pub(crate) struct FileReader {
    file: Option<NamedFile>,
}

#[pymethods]
impl FileReader {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        detached(py, || open_named(&path)).map(|file| Self { file: Some(file) })
    }

    /// Length in bytes.
    #[getter]
    fn size(&self, py: Python<'_>) -> PyResult<u64> {
        self.file.as_ref().map_or(Ok(0), NamedFile::size).or_raise(py)
    }

    /// Up to `size` bytes from where the last ones ended, or all that are left; none at the end.
    #[pyo3(signature = (size=-1, /), text_signature = "($self, size=-1, /)")]
    fn read<'py>(&mut self, py: Python<'py>, size: i64) -> PyResult<Bound<'py, PyBytes>> {
        let Some(file) = &mut self.file else { return Ok(PyBytes::new(py, &[])) };
        let read = || {
            let mut content = Vec::new();
            file.take(u64::try_from(size).unwrap_or(u64::MAX)).read_to_end(&mut content)?;
            Ok::<_, io::Error>(content)
        };
        Ok(PyBytes::new(py, &detached(py, read)?))
    }

    /// Lets the file go.
    fn close(&mut self) {
        self.file = None;
    }
}

/// A database that is read as a file.
pub(crate) struct Database(PooledFile);

impl Database {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let open = || PooledFile::open(&fs::canonicalize(path)?);
        open().map(Self).map_err(of_file(path))
    }
}

impl ReadAt for Database {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.size()
    }
}
