//! Finding the functions of a SQLite library that is in this process already: of the very one that a Python module uses.
//!
//! Two doors lead to it. A module that was linked with SQLite, or has it inside, is asked for the symbols by its own handle; the
//! process-wide search would find some library, but not always that one. A module that hides its symbols loads this shared object
//! as a SQLite extension, and SQLite hands its functions over.

use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use vfs::{LookupError, Routines, SqliteApi};

thread_local! {
    /// The library that last loaded this shared object as an extension, in this thread.
    static LOADED: Cell<Option<SqliteApi>> = const { Cell::new(None) };
}

/// Why a library was not found.
#[derive(Debug)]
pub(crate) enum NotFound {
    /// No module was loaded from this file.
    NotLoaded,
    /// What is there cannot be used.
    Unusable(LookupError),
}

/// The SQLite library that a module of this process uses, by the file that the module was loaded from.
pub(crate) fn of_module(file: &Path) -> Result<SqliteApi, NotFound> {
    let name = CString::new(file.as_os_str().as_bytes()).map_err(|_| NotFound::NotLoaded)?;
    // SAFETY: the name ends in NUL. Nothing is loaded: the flag asks for what is there already.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    let handle = NonNull::new(handle).ok_or(NotFound::NotLoaded)?;
    // The handle is kept for ever, and the module with it, since a VFS is registered for ever.
    let lookup = |symbol: &CStr| {
        // SAFETY: the handle is open, the name ends in NUL.
        NonNull::new(unsafe { libc::dlsym(handle.as_ptr(), symbol.as_ptr()) })
    };
    // SAFETY: a handle is searched with what it depends on, in order, so all symbols come from the library that the module itself
    // is bound to; it stays loaded, as said above.
    unsafe { SqliteApi::from_symbols(&lookup) }.map_err(NotFound::Unusable)
}

/// The library that has just loaded this shared object as an extension, in this thread.
pub(crate) fn take_loaded() -> Option<SqliteApi> {
    LOADED.take()
}

/// The file that a library was loaded from.
pub(crate) fn file_of(api: &SqliteApi) -> Option<PathBuf> {
    // SAFETY: a C struct of pointers, for which all zeros is a value.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: any address may be asked for; the struct is there to be filled in.
    if unsafe { libc::dladdr(api.address(), &raw mut info) } == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's own name of the file, which ends in NUL and lives as long as the file is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

/// The entry point by which a module's SQLite is found (`by_extension` in `vfs/_sqlite.py`): it registers nothing. No Python is touched.
///
/// # Safety
/// As [`sqlite3_ltxcore_init`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ltxcore_locate(
    _db: *mut c_void,
    _message: *mut *mut c_char,
    routines: *const Routines,
) -> c_int {
    // SAFETY: by the caller's promise the table is SQLite's, and the library that called stays loaded.
    unsafe {
        vfs::load_extension(routines, |api| {
            LOADED.set(Some(*api));
            Ok(())
        })
    }
}

/// What SQLite calls when this shared object is loaded as an extension, under the name that SQLite makes of the file's. It makes
/// the names of the OS VFS available and changes nothing for connections that do not ask for one. No Python is touched.
///
/// # Safety
/// To be called as SQLite calls it: with its own table of functions. Connection and message may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_ltxcore_init(
    _db: *mut c_void,
    _message: *mut *mut c_char,
    routines: *const Routines,
) -> c_int {
    // SAFETY: by the caller's promise the table is SQLite's, and the library that called stays loaded.
    unsafe { vfs::load_extension(routines, osvfs::register_all) }
}
