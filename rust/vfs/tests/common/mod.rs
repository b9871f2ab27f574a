//! What the tests share: a file system in memory with hooks, SQLite's structs called as C calls them, a small connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(dead_code, unused_imports, unused_macros, reason = "every test binary uses its own part of this")]

pub mod disk;
#[path = "../../../forks/tests/common/mod.rs"]
pub mod forked;
pub mod logged;
pub mod mock;
pub mod panics;
pub mod raw;
pub mod sql;

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use libsqlite3_sys as ffi;
use vfs::SqliteApi;

pub use mock::Mock;
pub(crate) use raw::call;
pub use raw::{CFile, CVfs, Name};
pub use sql::Db;

/// The functions that [`SqliteApi`] wants, and where they are in the library that this binary is linked with.
pub fn symbols() -> [(&'static CStr, *const ()); 10] {
    [
        (c"sqlite3_vfs_find", ffi::sqlite3_vfs_find as *const ()),
        (c"sqlite3_vfs_register", ffi::sqlite3_vfs_register as *const ()),
        (c"sqlite3_uri_parameter", ffi::sqlite3_uri_parameter as *const ()),
        (c"sqlite3_log", ffi::sqlite3_log as *const ()),
        (c"sqlite3_malloc64", ffi::sqlite3_malloc64 as *const ()),
        (c"sqlite3_libversion", ffi::sqlite3_libversion as *const ()),
        (c"sqlite3_libversion_number", ffi::sqlite3_libversion_number as *const ()),
        (c"sqlite3_sourceid", ffi::sqlite3_sourceid as *const ()),
        (c"sqlite3_threadsafe", ffi::sqlite3_threadsafe as *const ()),
        (c"sqlite3_str_append", ffi::sqlite3_str_append as *const ()),
    ]
}

/// What `dlsym` would answer.
pub fn linked(symbol: &CStr) -> Option<NonNull<c_void>> {
    let (_, address) = symbols().into_iter().find(|(name, _)| *name == symbol)?;
    NonNull::new(address.cast_mut().cast())
}

/// The SQLite that this binary is linked with.
pub fn api() -> SqliteApi {
    // SAFETY: each function is returned under its own name, and what is linked is never unloaded.
    unsafe { SqliteApi::from_symbols(&linked) }.expect("the bundled library has all of it")
}

/// A new file system in memory, registered under `name`.
pub fn registered(name: &CStr, mock: Mock) -> Mock {
    vfs::register(&api(), name, mock.clone(), false).expect("each test has its own name");
    mock
}

/// What a function table consists of, without its names: a table is nothing but function pointers.
pub fn words(api: &SqliteApi) -> [usize; 10] {
    const { assert!(size_of::<SqliteApi>() == size_of::<[usize; 10]>()) };
    // SAFETY: the table is ten function pointers, the last of them perhaps null, and any ten words are ten numbers.
    unsafe { std::mem::transmute_copy(api) }
}
