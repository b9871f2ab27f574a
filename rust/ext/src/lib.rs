//! The file systems of ltxcore as a SQLite extension, for the `sqlite3` shell and every other program without Python.
//!
//! `.load ./libltxcore` makes the names of `osvfs::LockMode::NAMES` available and changes nothing else: a connection uses one
//! of them only if it asks for it (`file:app.db?vfs=ltx-os`). The Python module has the same entry point; it cannot be loaded
//! here itself, because SQLite binds every symbol of an extension at once, Python's too.

use std::ffi::{c_char, c_int, c_void};

use vfs::Routines;

/// The entry point, under the name that SQLite tries first.
///
/// # Safety
/// To be called as SQLite calls it: with its own table of functions. Connection and message may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_extension_init(
    _db: *mut c_void,
    _message: *mut *mut c_char,
    routines: *const Routines,
) -> c_int {
    // SAFETY: by the caller's promise the table is SQLite's; the library that called stays loaded.
    unsafe { vfs::load_extension(routines, osvfs::register_all) }
}

/// The entry point, under the name that SQLite makes of this file's.
///
/// # Safety
/// As [`sqlite3_extension_init`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_ltxcore_init(
    db: *mut c_void,
    message: *mut *mut c_char,
    routines: *const Routines,
) -> c_int {
    // SAFETY: by the caller's promise.
    unsafe { sqlite3_extension_init(db, message, routines) }
}
