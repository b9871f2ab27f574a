//! Databases that are not files, for the reader VFS: bytes, Python file objects, LTX snapshots.

use std::ffi::{c_int, c_void};
use std::io;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use forks::fork_generation;
use ltx::{ReadAt, SnapshotView};
use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use readvfs::{Readable, ReaderVfs};

use crate::errors::{IntoPython, OrRaise, detached};
use crate::gil::{self, Owned};
use crate::pyio;

/// What a database is read from.
#[derive(FromPyObject)]
pub(crate) enum Content {
    Bytes(PyBackedBytes),
    Path(PathBuf),
    /// An object with `size` and `read_at(offset, size)`.
    Positional(Py<PyAny>),
}

type Reading = Box<dyn ReadAt + Send + Sync>;

/// A database that connections find, until this object is closed or gone.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct ReaderSource {
    name: String,
    shared: Arc<Shared>,
    needs_interpreter: bool,
    is_closed: AtomicBool,
    /// The process in which connections find it, by its [`fork_generation`].
    put_in: AtomicU64,
}

struct Shared {
    content: Reading,
    last_error: LastError,
}

#[pymethods]
impl ReaderSource {
    #[new]
    fn new(py: Python<'_>, content: Content, is_ltx: bool) -> PyResult<Self> {
        let needs_interpreter = matches!(content, Content::Positional(_));
        let content = content.open(py)?;
        let content = if is_ltx {
            detached(py, || SnapshotView::new(content)).map(|view| Box::new(view) as Reading)?
        } else {
            content
        };
        Ok(Self::with(content, needs_interpreter))
    }

    /// The name by which a connection finds it: in a forked child, after asking for it there.
    #[getter]
    fn name(&self) -> &str {
        if self.put_in.load(Ordering::Acquire) != fork_generation() {
            self.put();
        }
        &self.name
    }

    /// Whether reading it takes the interpreter.
    #[getter]
    fn needs_interpreter(&self) -> bool {
        self.needs_interpreter
    }

    /// Another source, of a copy in a file without a name.
    fn copy(&self, py: Python<'_>, directory: PathBuf) -> PyResult<Self> {
        let copy = detached(py, || readvfs::copy_database(&*self.shared, &directory))?;
        Ok(Self::with(Box::new(copy), false))
    }

    /// The last error of reading, once.
    fn take_error(&self, py: Python<'_>) -> Option<PyErr> {
        self.shared.last_error.replace(None).map(|error| error.into_python(py))
    }

    /// Lets connections no longer find it; whether they could.
    fn close(&self) -> bool {
        self.is_closed.store(true, Ordering::SeqCst);
        ReaderVfs::take(&self.name)
    }

    fn __repr__(&self) -> String {
        format!("ReaderSource(name={:?})", self.name)
    }
}

impl ReaderSource {
    fn with(content: Reading, needs_interpreter: bool) -> Self {
        let source = Self {
            name: ReaderVfs::new_name(),
            shared: Arc::new(Shared { content, last_error: LastError::default() }),
            needs_interpreter,
            is_closed: AtomicBool::new(false),
            put_in: AtomicU64::new(0),
        };
        source.put();
        source
    }

    fn put(&self) {
        ReaderVfs::put(&self.name, &(Arc::clone(&self.shared) as Arc<dyn Readable>));
        self.put_in.store(fork_generation(), Ordering::Release);
        // Looked at afterwards, as another thread may close it meanwhile.
        if self.is_closed.load(Ordering::SeqCst) {
            ReaderVfs::take(&self.name);
        }
    }
}

impl Drop for ReaderSource {
    fn drop(&mut self) {
        ReaderVfs::take(&self.name);
    }
}

impl Content {
    fn open(self, py: Python<'_>) -> PyResult<Reading> {
        Ok(match self {
            Self::Bytes(bytes) => Box::new(Bytes(Owned::new(bytes))),
            Self::Path(path) => Box::new(pyio::open(&path).or_raise(py)?),
            Self::Positional(object) => {
                let size = gil::getattr(object.bind(py), intern!(py, "size"))?.extract()?;
                Box::new(Positional { object: Owned::new(object), size })
            }
        })
    }
}

/// Bytes that Python owns and nobody changes; reading them needs no interpreter.
struct Bytes(Owned<PyBackedBytes>);

impl ReadAt for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0[..].read_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.0[..])
    }
}

/// An object of Python's that reads at an offset.
struct Positional {
    object: Owned<Py<PyAny>>,
    /// In bytes, when it was handed over.
    size: u64,
}

impl Positional {
    fn read(&self, py: Python<'_>, buf: &mut [u8], offset: u64) -> PyResult<usize> {
        let read = gil::call_method(self.object.bind(py), intern!(py, "read_at"), (offset, buf.len()))?;
        let bytes: PyBackedBytes = read.extract()?;
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }
}

impl ReadAt for Positional {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        gil::enter_io(|py| {
            let read = self.read(py, buf, offset);
            if let Err(error) = &read
                && !error.is_instance_of::<PyException>(py)
            {
                raise_when_back(py, error)?;
            }
            read
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

/// Has the main thread raise what is no failure, such as Ctrl-C, as soon as it is back in Python code: `sqlite3` makes an error of its
/// own of whatever a callback raises. Other threads have no such means.
fn raise_when_back(py: Python<'_>, error: &PyErr) -> PyResult<()> {
    let threading = py.import("threading")?;
    let here = gil::call_method(&threading, intern!(py, "current_thread"), ())?;
    if !here.is(gil::call_method(&threading, intern!(py, "main_thread"), ())?) {
        return Ok(());
    }
    let raised = error.clone_ref(py).into_value(py).into_ptr();
    // SAFETY: attached; `raise` takes over the reference that it is called with.
    if unsafe { ffi::Py_AddPendingCall(Some(raise), raised.cast()) } != 0 {
        // SAFETY: attached; the queue is full and did not take it.
        unsafe { ffi::Py_DECREF(raised) };
    }
    Ok(())
}

/// Called by Python in its main thread, between two of its instructions.
extern "C" fn raise(raised: *mut c_void) -> c_int {
    let raised: *mut ffi::PyObject = raised.cast();
    // SAFETY: Python calls this attached, and once, with the reference to an exception that `raise_when_back` handed over.
    unsafe {
        ffi::PyErr_SetObject(ffi::Py_TYPE(raised).cast(), raised);
        ffi::Py_DECREF(raised);
    }
    -1
}

/// The last error, if nobody has taken it. No mutex: a thread of the parent could hold it in a forked child for ever.
#[derive(Default)]
struct LastError(AtomicPtr<io::Error>);

impl LastError {
    /// The error of before.
    fn replace(&self, error: Option<io::Error>) -> Option<io::Error> {
        let new = error.map_or(ptr::null_mut(), |error| Box::into_raw(Box::new(error)));
        let old = self.0.swap(new, Ordering::AcqRel);
        // SAFETY: not null, so it is a box that an earlier call has put there. Whoever swaps it out owns it, and nobody else has it.
        (!old.is_null()).then(|| *unsafe { Box::from_raw(old) })
    }
}

impl Drop for LastError {
    fn drop(&mut self) {
        drop(self.replace(None));
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
        drop(self.last_error.replace(Some(error)));
    }
}
