//! Replica clients across the border: a Python one for Rust, and the native directory client for Python.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ltx::{Timestamp, TxId};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use replica::{Direct, Error, FileInfo, FileKey, Place, ReplicaClient, Result, Span};

use crate::errors::detached;
use crate::gil;
use crate::located::Located;
use crate::pyio::{BLOCK, PyReader};
use crate::python_client::{PyObjectClient, ask};
use crate::types;

/// A file as it crosses: level, first and last TXID, size in bytes, creation in milliseconds.
pub(crate) type Row = (u8, u64, u64, u64, i64);

/// What names a file: level, first and last TXID.
pub(crate) type Name = (u8, u64, u64);

/// The tuple of one file.
pub(crate) fn row(info: &FileInfo) -> Row {
    (info.level, info.min_txid.get(), info.max_txid.get(), info.size, info.created_at.millis())
}

/// The file of a tuple.
pub(crate) fn info((level, min_txid, max_txid, size, created_ms): Row) -> FileInfo {
    let created_at = Timestamp::from_millis(created_ms);
    FileInfo { size, created_at, ..key((level, min_txid, max_txid)) }
}

/// What names this file.
pub(crate) fn name(file: FileKey) -> Name {
    (file.level, file.min_txid.get(), file.max_txid.get())
}

/// A file of which nothing but the name is known.
pub(crate) fn key((level, min_txid, max_txid): Name) -> FileInfo {
    let (min_txid, max_txid) = (TxId::new(min_txid), TxId::new(max_txid));
    FileInfo { level, min_txid, max_txid, size: 0, created_at: Timestamp::default() }
}

/// A replica client given by Python.
#[derive(FromPyObject)]
pub(crate) enum Client {
    Native(Py<FileClient>),
    Python(PyClient),
}

impl Client {
    pub(crate) fn as_dyn(&self) -> &dyn ReplicaClient {
        match self {
            Self::Native(client) => &client.get().0,
            Self::Python(client) => client,
        }
    }
}

/// A `ltxcore.ReplicaClient`. Its files are read where it says that they are, or by its methods.
#[derive(Clone)]
pub(crate) struct PyClient(Arc<Direct<Located>>);

impl<'a, 'py> FromPyObject<'a, 'py> for PyClient {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let client_type = gil::getattr(&object, intern!(object.py(), "type"))?.extract()?;
        Ok(Self(Located::new(PyObjectClient::new(object.to_owned().unbind(), client_type))))
    }
}

fn file_info(file: &Bound<'_, PyAny>) -> PyResult<FileInfo> {
    let py = file.py();
    Ok(FileInfo {
        level: gil::getattr(file, intern!(py, "level"))?.extract()?,
        min_txid: TxId::new(gil::getattr(file, intern!(py, "min_txid"))?.extract()?),
        max_txid: TxId::new(gil::getattr(file, intern!(py, "max_txid"))?.extract()?),
        size: gil::getattr(file, intern!(py, "size"))?.extract()?,
        created_at: types::timestamp(&gil::getattr(file, intern!(py, "created_at"))?)?,
    })
}

impl PyClient {
    fn client(&self) -> &PyObjectClient {
        &self.0.client().client
    }

    /// Opens a file where it is, if its client knows that.
    fn open_located(
        &self,
        info: &FileInfo,
        offset: u64,
        size: Option<u64>,
    ) -> Result<Option<Box<dyn Read + Send>>> {
        if self.0.client().may_know() { self.0.open(info, Span { offset, size }) } else { Ok(None) }
    }
}

impl ReplicaClient for PyClient {
    fn client_type(&self) -> &str {
        self.client().client_type()
    }

    fn location(&self) -> String {
        let named = ask(|py| gil::repr(self.client().bind(py)));
        named.unwrap_or_else(|_| format!("{} replica", self.client_type()))
    }

    fn init(&self) -> Result<()> {
        ask(|py| gil::call_method(self.client().bind(py), intern!(py, "init"), ()).map(drop))
    }

    fn ltx_files(&self, level: u8, seek: TxId, use_metadata: bool) -> Result<Vec<FileInfo>> {
        ask(|py| {
            let options = PyDict::new(py);
            options.set_item(intern!(py, "seek"), types::txid(py, seek)?)?;
            options.set_item(intern!(py, "use_metadata"), use_metadata)?;
            let list = gil::getattr(self.client().bind(py), intern!(py, "ltx_files"))?;
            let files = gil::call(&list, (level,), Some(&options))?;
            gil::iterate(&files)?.map(|file| file_info(&file?)).collect()
        })
    }

    fn is_direct(&self) -> bool {
        // A client that has not been asked yet says so with the first file.
        self.0.client().may_know()
    }

    fn all_ltx_files(&self, use_metadata: bool) -> Result<Vec<FileInfo>> {
        ask(|py| {
            let options = PyDict::new(py);
            options.set_item(intern!(py, "use_metadata"), use_metadata)?;
            let list = gil::getattr(self.client().bind(py), intern!(py, "all_ltx_files"))?;
            let files = gil::call(&list, (), Some(&options))?;
            gil::iterate(&files)?.map(|file| file_info(&file?)).collect()
        })
    }

    fn open_ltx_file(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Box<dyn Read + Send>> {
        match self.open_located(info, offset, size)? {
            Some(reader) => Ok(reader),
            None => self.client().open(info, offset, size),
        }
    }

    fn read_ltx_file(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Vec<u8>> {
        let Some(mut reader) = self.open_located(info, offset, size)? else {
            return self.client().read(info, offset, size);
        };
        let mut bytes = Vec::new();
        let place = || Place::file(self.client_type(), info.key());
        reader.read_to_end(&mut bytes).map_err(|error| Error::from_io(place(), error))?;
        Ok(bytes)
    }

    fn write_ltx_file(&self, level: u8, min: TxId, max: TxId, data: &mut dyn Read) -> Result<FileInfo> {
        let spool = spool(data)?;
        let written = ask(|py| {
            let arguments = (level, types::txid(py, min)?, types::txid(py, max)?, spool.bind(py));
            file_info(&gil::call_method(self.client().bind(py), intern!(py, "write_ltx_file"), arguments)?)
        });
        close(&spool);
        written
    }

    fn delete_ltx_files(&self, _files: &[FileInfo]) -> Result<()> {
        Err(unsupported("delete_ltx_files"))
    }

    fn delete_all(&self) -> Result<()> {
        Err(unsupported("delete_all"))
    }
}

/// Nothing below deletes yet; Python code that wants to calls the client itself.
fn unsupported(what: &str) -> Error {
    Error::foreign(io::Error::new(io::ErrorKind::Unsupported, what.to_owned()), false)
}

/// All of `data` in a temporary Python file that stands at its start. Nothing is attached while `data` is waited for:
/// what it comes from may need the interpreter itself.
fn spool(data: &mut dyn Read) -> Result<Py<PyAny>> {
    let file: Py<PyAny> = ask(|py| {
        let tempfile = py.import("tempfile")?;
        Ok(gil::call_method(&tempfile, intern!(py, "TemporaryFile"), ())?.unbind())
    })?;
    match fill(&file, data) {
        Ok(()) => Ok(file),
        Err(error) => {
            close(&file);
            Err(error)
        }
    }
}

/// Closes a temporary file. It holds nothing that anybody needs any more, so failing to is nothing to report.
fn close(file: &Py<PyAny>) {
    let _ = ask(|py| gil::call_method(file.bind(py), intern!(py, "close"), ()).map(drop));
}

fn fill(file: &Py<PyAny>, data: &mut dyn Read) -> Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        let n = data
            .read(&mut block)
            .map_err(|error| Error::from_io(replica::Place::client("temporary file"), error))?;
        let Some(bytes) = block.get(..n).filter(|bytes| !bytes.is_empty()) else { break };
        ask(|py| {
            gil::call_method(file.bind(py), intern!(py, "write"), (PyBytes::new(py, bytes),)).map(drop)
        })?;
    }
    ask(|py| gil::call_method(file.bind(py), intern!(py, "seek"), (0,)).map(drop))
}

/// LTX files in a directory.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct FileClient(replica::FileClient);

#[pymethods]
impl FileClient {
    #[new]
    fn new(root: PathBuf) -> Self {
        Self(replica::FileClient::new(root))
    }

    #[getter]
    fn path(&self) -> &Path {
        self.0.root()
    }

    fn init(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.0.init())
    }

    fn ltx_files(&self, py: Python<'_>, level: u8, seek: u64, use_metadata: bool) -> PyResult<Vec<Row>> {
        let files = detached(py, || self.0.ltx_files(level, TxId::new(seek), use_metadata))?;
        Ok(files.iter().map(row).collect())
    }

    #[pyo3(signature = (level, min_txid, max_txid, offset=0, size=None))]
    fn read_ltx_file<'py>(
        &self,
        py: Python<'py>,
        level: u8,
        min_txid: u64,
        max_txid: u64,
        offset: u64,
        size: Option<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let info = key((level, min_txid, max_txid));
        let bytes = detached(py, || self.0.read_ltx_file(&info, offset, size))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn write_ltx_path(
        &self,
        py: Python<'_>,
        level: u8,
        min_txid: u64,
        max_txid: u64,
        path: PathBuf,
    ) -> PyResult<Row> {
        let (min, max) = (TxId::new(min_txid), TxId::new(max_txid));
        Ok(row(&detached(py, || self.0.write_ltx_path(level, min, max, &path))?))
    }

    fn write_ltx_file(
        &self,
        py: Python<'_>,
        level: u8,
        min_txid: u64,
        max_txid: u64,
        data: Py<PyAny>,
    ) -> PyResult<Row> {
        let (min, max) = (TxId::new(min_txid), TxId::new(max_txid));
        let mut data = PyReader::borrowing(data);
        Ok(row(&detached(py, || self.0.write_ltx_file(level, min, max, &mut data))?))
    }

    fn damaged_ltx_files(&self, py: Python<'_>, files: Vec<Name>) -> PyResult<Vec<Name>> {
        let files: Vec<FileKey> = files.into_iter().map(|name| key(name).key()).collect();
        let damaged = detached(py, || self.0.damaged_ltx_files(&files))?;
        Ok(damaged.into_iter().map(name).collect())
    }

    fn delete_ltx_files(&self, py: Python<'_>, files: Vec<Name>) -> PyResult<()> {
        let files: Vec<FileInfo> = files.into_iter().map(key).collect();
        detached(py, || self.0.delete_ltx_files(&files))
    }

    fn delete_all(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || self.0.delete_all())
    }

    fn __repr__(&self) -> String {
        format!("<FileClient {}>", self.0.root().display())
    }
}
