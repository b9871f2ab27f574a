//! SQLite libraries of this process, the OS VFS in them, and what directories can do.

use std::ffi::CString;
use std::path::PathBuf;

use osvfs::probe::{Capabilities, probe};
use osvfs::{LockMode, Refusal, WriteChecksumsError};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use readvfs::ReaderVfs;
use vfs::{RegisterError, SqliteApi};

use crate::errors::{OrRaise, SQLiteNotFoundError, VFSError, VFSNameInUseError, detached, of_file};
use crate::locate::{self, NotFound};

/// One SQLite library of this process.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct SQLiteHandle(SqliteApi);

#[pymethods]
impl SQLiteHandle {
    /// The library that a module of this process uses, by the file of the module.
    #[staticmethod]
    fn of_module(py: Python<'_>, file: PathBuf) -> PyResult<Self> {
        locate::of_module(&file).map(Self).map_err(|error| {
            SQLiteNotFoundError::new_err(
                py,
                match error {
                    NotFound::NotLoaded => format!("no module was loaded from {}", file.display()),
                    NotFound::Unusable(why) => format!("{}: {why}", file.display()),
                },
            )
        })
    }

    /// The library that has just loaded this file as an extension, in this thread.
    #[staticmethod]
    fn take_loaded() -> Option<Self> {
        locate::take_loaded().map(Self)
    }

    #[getter]
    fn version(&self) -> String {
        self.0.version()
    }

    #[getter]
    fn source_id(&self) -> String {
        self.0.source_id()
    }

    #[getter]
    fn path(&self) -> Option<PathBuf> {
        locate::file_of(&self.0)
    }

    /// Registers the OS VFS under a name.
    fn register_os_vfs(&self, py: Python<'_>, name: &str, lock: &str) -> PyResult<()> {
        let lock = LockMode::parse(lock)
            .ok_or_else(|| PyValueError::new_err(format!("unknown lock mode: {lock:?}")))?;
        osvfs::register(&self.0, &c_name(name)?, lock, false).map_err(|error| refused(py, name, &error))
    }

    /// Registers the VFS over what `ReaderSource` objects hold; doing it again changes nothing.
    fn register_reader_vfs(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let c_name = c_name(name)?;
        match vfs::register(&self.0, &c_name, ReaderVfs, false) {
            Err(RegisterError::NameInUse) if vfs::registered::<ReaderVfs>(&self.0, &c_name).is_some() => {
                Ok(())
            }
            done => done.map_err(|error| refused(py, name, &error)),
        }
    }

    /// Makes the VFS of a name the one that connections get which ask for none.
    fn set_default_vfs(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        vfs::set_default(&self.0, &c_name(name)?).map_err(|error| refused(py, name, &error))
    }

    /// Two handles are equal if they are one library.
    fn __eq__(&self, other: &Self) -> bool {
        self.0.identity() == other.0.identity()
    }

    fn __hash__(&self) -> usize {
        self.0.identity()
    }

    fn __repr__(&self) -> String {
        let path = self.path().map_or_else(|| "?".to_owned(), |path| path.display().to_string());
        format!("SQLiteHandle(version='{}', path='{path}')", self.0.version())
    }
}

fn c_name(name: &str) -> PyResult<CString> {
    CString::new(name).map_err(|_| PyValueError::new_err("a name cannot hold a NUL"))
}

fn refused(py: Python<'_>, name: &str, error: &RegisterError) -> PyErr {
    let text = format!("cannot register {name:?}: {error}");
    match error {
        RegisterError::NameInUse => VFSNameInUseError::new_err(py, text),
        _ => VFSError::new_err(py, text),
    }
}

/// What a directory can do.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
pub(crate) struct Probed {
    lock_modes: Vec<&'static str>,
    shared_memory: bool,
    atomic_batches: bool,
    file_system: Option<&'static str>,
    warning: Option<&'static str>,
}

/// Tries out what a directory can do.
#[pyfunction]
pub(crate) fn probe_directory(py: Python<'_>, directory: PathBuf) -> PyResult<Probed> {
    let Capabilities { lock_modes, has_shared_memory, has_batches, file_system, warning } =
        detached(py, || probe(&directory).map_err(of_file(&directory)))?;
    Ok(Probed {
        lock_modes: lock_modes.into_iter().map(LockMode::name).collect(),
        shared_memory: has_shared_memory,
        atomic_batches: has_batches,
        file_system,
        warning,
    })
}

/// Writes the checksum of each page that has a wrong one, in a database that nobody has open.
#[pyfunction]
pub(crate) fn write_checksums(py: Python<'_>, database: PathBuf) -> PyResult<u64> {
    let write = || {
        osvfs::write_checksums(&database).map_err(|error| match error {
            WriteChecksumsError::Io(error) => of_file(&database)(error).into(),
            error => error,
        })
    };
    detached(py, write)
}

/// Removes the lock directory that `lock=dotfile` left behind.
#[pyfunction]
pub(crate) fn break_lock(py: Python<'_>, database: PathBuf) -> PyResult<()> {
    osvfs::break_lock(&database).map_err(of_file(&osvfs::lock_path(&database))).or_raise(py)
}

/// Why the OS VFS refused to open a database last in this thread.
#[pyfunction]
pub(crate) fn take_refusal() -> Option<(&'static str, String)> {
    osvfs::take_refusal().map(|refusal| match refusal {
        Refusal::Parameter(text) => ("parameter", text),
        Refusal::NoLocks(text) => ("locks", text),
    })
}
