//! Into Python from code that runs without the interpreter, and out of it: a callback of SQLite, or a replica client of Python's
//! that Rust calls.
//!
//! PyO3 counts how often a thread is attached. It cannot know that a module in C, `sqlite3` for one, has released the interpreter
//! since. So everything goes through [`enter`], which asks Python itself; what Python owns and SQLite may free is an [`Owned`].
//!
//! At exit, Python before 3.14 ends a thread that asks for the interpreter (`pthread_exit`), and a Rust frame below that is an abort.
//! PyO3 parks a thread that asks from Rust. A thread that asks from Python code, which Rust called, is what [`begin_shutdown`] waits
//! for and what [`call`] parks. So every class and function in Python is called by [`call`], never by PyO3's own means; and so are
//! properties, generators and `__repr__`, by [`getattr`], [`iterate`], [`repr`] and [`described`].
//!
//! Locks are taken in one order: SQLite's mutexes, then the interpreter, then Python's own. No lock of ours is held meanwhile.

use std::cell::Cell;
use std::error::Error;
use std::mem::{self, ManuallyDrop};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, io, iter, ptr, thread};

use forks::ProcessLocal;
use pyo3::exceptions::{PyImportError, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyTypeInfo, intern};

static SHUTTING_DOWN: AtomicBool = AtomicBool::new(false);

/// Threads of this process that are in [`enter`], or on their way into it.
static CALLS: ProcessLocal<AtomicUsize> = ProcessLocal::new(|| AtomicUsize::new(0));

thread_local! {
    /// How often this thread is in [`enter`].
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Whether this thread runs the exit handlers: it may use the interpreter to the end.
    static ENDS_THE_INTERPRETER: Cell<bool> = const { Cell::new(false) };
}

/// Refuses calls into Python from now on, but for those of this thread, and waits until those under way have ended, for up to
/// `timeout` seconds. Called by the last exit handler.
#[pyfunction]
pub(crate) fn begin_shutdown(py: Python<'_>, timeout: f64) {
    ENDS_THE_INTERPRETER.set(true);
    SHUTTING_DOWN.store(true, Ordering::SeqCst);
    let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::ZERO);
    let begun = Instant::now();
    // Looked at while attached, so that none of them is in the middle of Python code, detached for a moment.
    while CALLS.get().load(Ordering::SeqCst) > usize::from(DEPTH.get() > 0) && begun.elapsed() < timeout {
        detach(py, || thread::sleep(Duration::from_millis(1)));
    }
}

/// Refuses every interpreter but the first one of the process: what SQLite and our own threads call is attached to that one.
pub(crate) fn check_interpreter(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: attached, so there is a current interpreter, and it stays.
    match unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) } {
        0 => Ok(()),
        _ => Err(PyImportError::new_err(
            "ltxcore can be imported by the main interpreter only, not by a subinterpreter \
             (mod_wsgi: WSGIApplicationGroup %{GLOBAL})",
        )),
    }
}

/// The interpreter is going away, and takes no more calls of this thread.
#[derive(Debug)]
pub(crate) struct Refused;

impl From<Refused> for io::Error {
    fn from(_: Refused) -> Self {
        Self::other("the interpreter is shutting down")
    }
}

/// A call into Python, counted.
struct Call(&'static AtomicUsize);

impl Call {
    fn begin() -> Result<Self, Refused> {
        let calls = CALLS.get();
        if DEPTH.replace(DEPTH.get() + 1) == 0 {
            calls.fetch_add(1, Ordering::SeqCst);
        }
        let call = Self(calls);
        // Looked at after counting: whoever sees it false here is waited for.
        if SHUTTING_DOWN.load(Ordering::SeqCst) && !Self::is_allowed_at_exit() {
            return Err(Refused);
        }
        Ok(call)
    }

    fn is_allowed_at_exit() -> bool {
        // SAFETY: may be called at any time; null when Python knows nothing of this thread, or no more.
        ENDS_THE_INTERPRETER.get() && !unsafe { ffi::PyGILState_GetThisThreadState() }.is_null()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            // In a child that was forked meanwhile, this is still the number of the parent, which nobody there looks at.
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// What `PyGILState_Ensure` returned.
struct Attached(ffi::PyGILState_STATE);

impl Attached {
    /// For a thread that [`Call::begin`] did not refuse.
    fn new(_call: &Call) -> Self {
        // SAFETY: the interpreter is there, by that. If it goes away meanwhile, this does not return.
        Self(unsafe { ffi::PyGILState_Ensure() })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: the other half of the pair, in the same thread: this is never sent to another one, nor leaked.
        unsafe { ffi::PyGILState_Release(self.0) };
    }
}

/// Attaches to the interpreter for `work`, whether this thread is attached already or not.
///
/// # Errors
/// [`Refused`], at exit.
pub(crate) fn enter<T>(work: impl FnOnce(Python<'_>) -> T) -> Result<T, Refused> {
    let call = Call::begin()?;
    let _attached = Attached::new(&call);
    // SAFETY: attached by the line before. Without PyO3's look whether there is an interpreter: that says no while one ends.
    Ok(unsafe { Python::attach_unchecked(work) })
}

/// As [`enter`], for `work` that raises.
///
/// # Errors
/// [`Raised`], [`Refused`].
pub(crate) fn enter_io<T>(work: impl FnOnce(Python<'_>) -> PyResult<T>) -> io::Result<T> {
    enter(work)?.map_err(|error| io::Error::other(Raised::new(error)))
}

/// Lets go of the interpreter while `work` runs.
#[expect(clippy::disallowed_methods, reason = "this is where")]
pub(crate) fn detach<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    py.detach(work)
}

type PyObjectCall = unsafe extern "C-unwind" fn(
    *mut ffi::PyObject,
    *mut ffi::PyObject,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

/// `PyObject_Call`, which unwinds when Python ends the thread. `pyo3::ffi` declares that it does not.
static PY_OBJECT_CALL: PyObjectCall =
    // SAFETY: the same function, of the same type but for that.
    unsafe { mem::transmute(ffi::PyObject_Call as unsafe extern "C" fn(_, _, _) -> _) };

/// Never lets a thread go that unwinds through it.
struct ParkWhenUnwound;

impl Drop for ParkWhenUnwound {
    fn drop(&mut self) {
        loop {
            thread::park();
        }
    }
}

/// Calls an object of Python's, in `enter`. A thread that Python ends meanwhile stays in here for ever, as with Python 3.14.
pub(crate) fn call<'py>(
    callable: &Bound<'py, PyAny>,
    args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
    options: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let args = args.into_pyobject(callable.py()).map_err(Into::into)?;
    let options = options.map_or(ptr::null_mut(), |options| options.as_ptr());
    // Volatile, or the compiler sees which function it is, and believes that declaration.
    // SAFETY: a static of this type.
    let py_object_call = unsafe { ptr::read_volatile(&raw const PY_OBJECT_CALL) };
    let park = ParkWhenUnwound;
    // SAFETY: attached, as there are objects bound to it; a callable, a tuple, and a dict or null, all borrowed for the call.
    let returned = unsafe { py_object_call(callable.as_ptr(), args.as_ptr(), options) };
    mem::forget(park);
    // SAFETY: attached; a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), returned) }
}

/// Calls a method, as [`call`].
pub(crate) fn call_method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
) -> PyResult<Bound<'py, PyAny>> {
    call(&getattr(object, name)?, args, None)
}

/// A function of Python's own that runs what an object has in Python, so that this is a [`call`] too.
struct Builtin(PyOnceLock<Py<PyAny>>, &'static str);

impl Builtin {
    const fn new(name: &'static str) -> Self {
        Self(PyOnceLock::new(), name)
    }

    fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        self.0.import(py, "builtins", self.1)
    }
}

static GETATTR: Builtin = Builtin::new("getattr");
static ITER: Builtin = Builtin::new("iter");
static REPR: Builtin = Builtin::new("repr");
static STR: Builtin = Builtin::new("str");

/// An attribute, which may be a property.
pub(crate) fn getattr<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    call(GETATTR.get(object.py())?, (object, name), None)
}

/// What an iterable yields, which may be a generator.
pub(crate) fn iterate<'py>(
    iterable: &Bound<'py, PyAny>,
) -> PyResult<impl Iterator<Item = PyResult<Bound<'py, PyAny>>>> {
    let py = iterable.py();
    let iterator = call(ITER.get(py)?, (iterable,), None)?;
    let next = getattr(&iterator, intern!(py, "__next__"))?;
    Ok(iter::from_fn(move || match call(&next, (), None) {
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => None,
        item => Some(item),
    }))
}

/// `repr()` of an object.
pub(crate) fn repr(object: &Bound<'_, PyAny>) -> PyResult<String> {
    call(REPR.get(object.py())?, (object,), None)?.extract()
}

/// An exception in words: its class and its text.
fn described(py: Python<'_>, error: &PyErr) -> PyResult<String> {
    let value = error.value(py);
    let name: String = value.get_type().qualname()?.extract()?;
    let text = STR.get(py).and_then(|str| call(str, (value,), None)?.extract::<String>());
    let text = text.unwrap_or_else(|_| "<exception str() failed>".to_owned());
    Ok(if text.is_empty() { name } else { format!("{name}: {text}") })
}

/// A new exception of a class in Python, made at once: PyO3 would make it where no [`call`] is between.
pub(crate) fn exception<T: PyTypeInfo>(py: Python<'_>, text: String) -> PyErr {
    match call(T::type_object(py).as_any(), (text,), None) {
        Ok(error) => PyErr::from_value(error),
        Err(failure) => failure,
    }
}

/// A value that owns objects of Python's and may be dropped in any thread, attached or not.
pub(crate) struct Owned<T>(ManuallyDrop<T>);

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: taken once, since neither this nor what it was made of is dropped.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // Where that is refused, the value is left to the end of the process.
        // SAFETY: dropped once, and not used afterwards.
        let _ = enter(|_| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

/// An exception on its way through Rust code, as an error.
pub(crate) struct Raised(Owned<PyErr>);

impl Raised {
    pub(crate) fn new(error: PyErr) -> Self {
        Self(Owned::new(error))
    }

    pub(crate) fn into_inner(self) -> PyErr {
        self.0.into_inner()
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = enter(|py| described(py, &self.0));
        f.write_str(text.iter().flatten().next().map_or("an exception of Python's", String::as_str))
    }
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raised({self})")
    }
}

impl Error for Raised {}
