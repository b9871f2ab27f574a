//! The one mapping from Rust errors to Python exceptions: a `match` for each crate.
//!
//! The enums may grow variants, which then come out as the base class of their family until they are listed here.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use osvfs::OtherLock;
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::gil::{self, Raised};
use crate::types;

mod engine;
mod http;
mod legacy;
mod replica;

macro_rules! exceptions {
    ($($name:ident),* $(,)?) => {
        /// The classes.
        mod python {
            $(pyo3::import_exception!(ltxcore.errors, $name);)*
        }
        $(
            /// The class of this name, to be raised.
            pub(crate) struct $name;

            impl $name {
                pub(crate) fn new_err(py: Python<'_>, text: impl Into<String>) -> PyErr {
                    gil::exception::<python::$name>(py, text.into())
                }
            }
        )*
    };
}

exceptions!(
    ChecksumMismatchError,
    DatabaseBusyError,
    DatabaseError,
    DiskFullError,
    DivergedError,
    FormatError,
    InternalError,
    LTXFileExistsError,
    LTXFileNotFoundError,
    NoSnapshotError,
    NotLTXError,
    NotOpenError,
    NotReadyError,
    ObjectNotFoundError,
    OutputExistsError,
    OutputInUseError,
    PageSizeChangedError,
    PositionError,
    PreviousIOError,
    ReplicaError,
    ReplicaPermissionError,
    ReplicaTimeoutError,
    RestoreCancelledError,
    RestoreError,
    SQLiteNotFoundError,
    TruncatedError,
    TXIDNotAvailableError,
    UnsupportedVersionError,
    VFSError,
    VFSNameInUseError,
);

/// An error of one of our crates, on its way to Python.
pub(crate) trait IntoPython {
    /// The exception that stands for it.
    fn into_python(self, py: Python<'_>) -> PyErr;
}

/// The last step of every binding: an error becomes the exception that stands for it.
pub(crate) trait OrRaise<T> {
    /// Turns the error, if there is one.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T, E: IntoPython> OrRaise<T> for Result<T, E> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| error.into_python(py))
    }
}

/// The middle of every binding: lets go of the interpreter while `work` runs, and raises what it fails with.
///
/// A panic is a bug of ours; it comes out as an exception that callers know to handle, not as one that ends threads.
pub(crate) fn detached<T: Send, E: IntoPython + Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> PyResult<T> {
    match gil::detach(py, || catch_unwind(AssertUnwindSafe(work))) {
        Ok(done) => done.or_raise(py),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(InternalError::new_err(py, format!("a bug in ltxcore: {text}")))
        }
    }
}

/// Says which file an error is about, as Python's own `open` does.
pub(crate) fn of_file(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| match error.raw_os_error() {
        Some(_) => io::Error::new(error.kind(), OfFile { path: path.to_owned(), error }),
        None => error,
    }
}

#[derive(Debug)]
struct OfFile {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for OfFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl StdError for OfFile {}

impl IntoPython for io::Error {
    fn into_python(self, py: Python<'_>) -> PyErr {
        let error = match self.downcast::<Raised>() {
            Ok(raised) => return raised.into_inner(),
            Err(error) => error,
        };
        let error = match error.downcast::<::replica::Error>() {
            Ok(error) => return error.into_python(py),
            Err(error) => error,
        };
        let (error, path) = match error.downcast::<OfFile>() {
            Ok(OfFile { path, error }) => (error, Some(path.into_os_string())),
            Err(error) => (error, None),
        };
        match error.raw_os_error() {
            // With the number, Python picks the subclass, FileNotFoundError and its like.
            Some(code) if path.is_none() => PyOSError::new_err((code, strip_code(&error))),
            Some(code) => PyOSError::new_err((code, strip_code(&error), path)),
            None => PyOSError::new_err(message(&error)),
        }
    }
}

impl IntoPython for ltx::Error {
    fn into_python(self, py: Python<'_>) -> PyErr {
        use ltx::Error as E;
        let text = message(&self);
        match self {
            E::Io(source) => source.into_python(py),
            E::Input { source, .. } => relabel(py, source.into_python(py), text),
            E::NotLtx => NotLTXError::new_err(py, text),
            E::HeaderFlags { .. } => UnsupportedVersionError::new_err(py, text),
            E::Truncated { offset } => TruncatedError::new_err(py, text).with(py, "offset", offset),
            E::TrailingBytes { offset } | E::IndexMismatch { offset } => {
                FormatError::new_err(py, text).with(py, "offset", offset)
            }
            E::ChecksumMismatch { expected, actual } | E::DatabaseChecksumMismatch { expected, actual } => {
                ChecksumMismatchError::new_err(py, text)
                    .with_value(py, "expected", types::checksum(py, expected))
                    .with_value(py, "actual", types::checksum(py, actual))
            }
            _ => FormatError::new_err(py, text),
        }
    }
}

impl IntoPython for wal::Error {
    fn into_python(self, py: Python<'_>) -> PyErr {
        let text = message(&self);
        match self {
            wal::Error::Io { source, .. } => source.into_python(py),
            _ => FormatError::new_err(py, text),
        }
    }
}

impl IntoPython for osvfs::WriteChecksumsError {
    fn into_python(self, py: Python<'_>) -> PyErr {
        use osvfs::WriteChecksumsError as E;
        let text = message(&self);
        match self {
            E::InUse { path } => in_use(py, &path),
            E::HasJournal { path } => DatabaseError::new_err(py, text)
                .with(py, "path", path.as_os_str())
                .hint(py, "open the database once and read from it, then call this again"),
            E::HasWal { path } => DatabaseError::new_err(py, text)
                .with(py, "path", path.as_os_str())
                .hint(py, "run PRAGMA wal_checkpoint(TRUNCATE), close the database, then call this again"),
            E::Io(error) => error.into_python(py),
            _ => DatabaseError::new_err(py, text),
        }
    }
}

/// A database that nobody may have open is.
pub(crate) fn in_use(py: Python<'_>, path: &Path) -> PyErr {
    let (text, hint) = why_in_use(path).unwrap_or_else(|| {
        let text = format!("{} is in use: a connection has it open", path.display());
        (text, "close the connections to the database, in this process and in others".to_owned())
    });
    DatabaseBusyError::new_err(py, text).with(py, "path", path.as_os_str()).hint(py, &hint)
}

/// For a database with a lock that may be there though no connection is: what is wrong, and what to do.
fn why_in_use(path: &Path) -> Option<(String, String)> {
    Some(match OtherLock::of(path)? {
        OtherLock::Directory(lock) => (
            format!("{} is locked: {} is there", path.display(), lock.display()),
            format!("if the program that made it has ended, call ltxcore.vfs.break_lock({path:?})"),
        ),
        OtherLock::Flock => (
            format!("{} is locked with flock", path.display()),
            "end the program that has this lock".to_owned(),
        ),
    })
}

/// Gives an exception of ours another message and keeps its class and attributes; a foreign one stays as it is.
fn relabel(py: Python<'_>, error: PyErr, text: String) -> PyErr {
    if error.is_instance_of::<python::FormatError>(py) { error.with(py, "args", (text,)) } else { error }
}

/// Attributes for an exception that is being made. One that cannot be set replaces the exception by its own failure.
trait With: Sized {
    fn with<'py>(self, py: Python<'py>, name: &str, value: impl IntoPyObject<'py>) -> Self;
    fn with_value(self, py: Python<'_>, name: &str, value: PyResult<Bound<'_, PyAny>>) -> Self;
    fn hint(self, py: Python<'_>, text: &str) -> Self;
}

impl With for PyErr {
    fn with<'py>(self, py: Python<'py>, name: &str, value: impl IntoPyObject<'py>) -> Self {
        match self.value(py).setattr(name, value) {
            Ok(()) => self,
            Err(failure) => failure,
        }
    }

    fn with_value(self, py: Python<'_>, name: &str, value: PyResult<Bound<'_, PyAny>>) -> Self {
        match value {
            Ok(value) => self.with(py, name, value),
            Err(failure) => failure,
        }
    }

    fn hint(self, py: Python<'_>, text: &str) -> Self {
        match gil::call_method(self.value(py), intern!(py, "add_note"), (format!("hint: {text}"),)) {
            Ok(_) => self.with(py, "hint", text),
            Err(failure) => failure,
        }
    }
}

/// Whether SQLite has found a database damaged.
pub(crate) fn is_unsound(py: Python<'_>, error: &PyErr) -> bool {
    pyo3::import_exception!(ltxcore.errors, IntegrityCheckError);
    error.is_instance_of::<IntegrityCheckError>(py)
}

/// One sentence: the error, and behind colons what caused it, unless it says so itself already.
pub(crate) fn message(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = source.source();
    }
    text
}

/// Rust ends the texts of system errors with their number; Python puts it in front.
fn strip_code(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
