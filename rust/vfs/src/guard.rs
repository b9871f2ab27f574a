//! What stands between a C callback and the implementation: null checks, panics, forks, the last error, the log.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::abi::{RawFile, RawVfs};
use crate::code::{Code, Error, Result};
use crate::registry::Registered;
use crate::traits::{REFUSED, Vfs};
use forks::fork_generation;

/// `sqlite3_file` as we lay it out: SQLite's part, then where our part is.
#[repr(C)]
pub(crate) struct Handle<V: Vfs> {
    pub(crate) base: RawFile,
    pub(crate) state: *mut State<V>,
}

/// Our part of an open file.
pub(crate) struct State<V: Vfs> {
    pub(crate) file: V::File,
    pub(crate) registered: &'static Registered<V>,
    /// For the log only.
    pub(crate) path: PathBuf,
    /// Another number now means that this process was forked from the one that opened the file.
    pub(crate) forks: u64,
    /// A panic came out of a callback: what it left behind is not to be trusted.
    pub(crate) is_latched: bool,
    pub(crate) last_errno: i32,
    /// The log has been told why this file is of no use.
    pub(crate) is_told: bool,
}

impl<V: Vfs> State<V> {
    pub(crate) fn is_forked(&self) -> bool {
        self.forks != fork_generation()
    }

    /// Why no method of this file is run any more, if that is so.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if self.is_forked() {
            return Some("this connection was opened before a fork, by the parent process; open another one");
        }
        self.is_latched
            .then_some("this connection is not to be used after an internal error; open another one")
    }

    /// Once for each file: every further call is refused for the same reason.
    fn tell(&mut self, operation: &str, refusal: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            let Registered { api, name, .. } = self.registered;
            let path = self.path.to_string_lossy();
            api.log(REFUSED.code, &format!("{}: {operation}({path}): {refusal}", name.to_string_lossy()));
        }
    }

    fn report(&mut self, operation: &str, error: Error) {
        if error.errno != 0 {
            self.last_errno = error.errno;
        }
        self.registered.report(operation, &self.path.to_string_lossy(), error);
    }
}

impl<V: Vfs> Registered<V> {
    /// Remembers the operating system's error, and logs what is news.
    pub(crate) fn report(&self, operation: &str, what: &str, error: Error) {
        if error.errno != 0 {
            LAST_ERRNO.set(error.errno);
        }
        if !error.code.is_routine() {
            let advice = error.code.advice().map_or_else(String::new, |advice| format!(": {advice}"));
            let name = self.name.to_string_lossy();
            self.api.log(error.code, &format!("{name}: {operation}({what}): {error}{advice}"));
        }
    }
}

thread_local! {
    /// The last error of the operating system on this thread, for `xGetLastError`.
    static LAST_ERRNO: Cell<i32> = const { Cell::new(0) };
}

pub(crate) fn last_errno() -> i32 {
    LAST_ERRNO.get()
}

/// Runs a method of a file.
///
/// # Safety
/// `raw` is null or a file that this VFS opened and did not close yet, and SQLite uses it in no other thread meanwhile.
pub(crate) unsafe fn on_file<V: Vfs, T>(
    raw: *mut RawFile,
    operation: &'static str,
    work: impl FnOnce(&mut State<V>) -> Result<T>,
) -> Result<T> {
    // SAFETY: the file is ours by the caller's promise, so it is a `Handle`.
    let Some(handle) = (unsafe { raw.cast::<Handle<V>>().as_mut() }) else { return Err(Code::MISUSE.into()) };
    // SAFETY: `xOpen` put a box there, which `xClose` takes away; in between SQLite calls under the mutex of the connection
    // that owns the file, so there is no other reference.
    let Some(state) = (unsafe { handle.state.as_mut() }) else { return Err(Code::MISUSE.into()) };
    if let Some(refusal) = state.refusal() {
        state.tell(operation, refusal);
        return Err(REFUSED);
    }
    match catch_unwind(AssertUnwindSafe(|| work(state))) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            let error = error.as_failure();
            state.report(operation, error);
            Err(error)
        }
        Err(panic) => {
            state.is_latched = true;
            state.is_told = true;
            state.registered.report_panic(operation, panic);
            Err(REFUSED)
        }
    }
}

/// Runs a method of the file system.
///
/// # Safety
/// `raw` is null or the `sqlite3_vfs` that [`crate::register`] made for `V`.
pub(crate) unsafe fn on_vfs<V: Vfs, T>(
    raw: *mut RawVfs,
    operation: &'static str,
    what: impl FnOnce() -> String,
    work: impl FnOnce(&'static Registered<V>) -> Result<T>,
) -> Result<T> {
    // SAFETY: the VFS is ours by the caller's promise; it and what it points to are never freed.
    let registered = unsafe { raw.as_ref().and_then(|vfs| vfs.app_data.cast::<Registered<V>>().as_ref()) };
    let Some(registered) = registered else { return Err(Code::MISUSE.into()) };
    match catch_unwind(AssertUnwindSafe(|| work(registered))) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            let error = error.as_failure();
            registered.report(operation, &what(), error);
            Err(error)
        }
        Err(panic) => {
            registered.report_panic(operation, panic);
            Err(REFUSED)
        }
    }
}

impl<V: Vfs> Registered<V> {
    pub(crate) fn report_panic(&self, operation: &str, panic: Box<dyn Any + Send>) {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        self.api.log(REFUSED.code, &format!("{}: panic in {operation}: {text}", self.name.to_string_lossy()));
        // Dropping a payload may itself panic, and nothing else would catch that. What comes out then is let go for good.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
    }
}

/// The code of a result that carries nothing else.
pub(crate) fn code(result: Result<()>) -> std::ffi::c_int {
    result.map_or_else(|error| error.code.0, |()| Code::OK.0)
}
