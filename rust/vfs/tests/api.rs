//! The table of functions of one SQLite library, found by name and found by place: the check of the places.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Db, api, linked, symbols, words};
use libsqlite3_sys as ffi;
use vfs::{LookupError, Routines, SqliteApi};

static ROUTINES: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn entry(
    _: *mut ffi::sqlite3,
    _: *mut *mut c_char,
    routines: *const ffi::sqlite3_api_routines,
) -> c_int {
    ROUTINES.store(routines.expose_provenance(), Ordering::SeqCst);
    ffi::SQLITE_OK
}

/// What an extension's entry point gets from the library.
fn routines() -> *const Routines {
    // SAFETY: the callback is of the type that SQLite calls an entry point as.
    assert_eq!(unsafe { ffi::sqlite3_auto_extension(Some(entry)) }, ffi::SQLITE_OK);
    drop(Db::open(c"unix", ":memory:").unwrap());
    // SAFETY: as above.
    assert_eq!(unsafe { ffi::sqlite3_cancel_auto_extension(Some(entry)) }, 1);
    let routines = ROUTINES.load(Ordering::SeqCst);
    assert_ne!(routines, 0);
    ptr::with_exposed_provenance(routines)
}

#[test]
fn both_doors_lead_to_the_same_functions() {
    // SAFETY: SQLite gave the table to an entry point, and what is linked is never unloaded.
    let by_place = unsafe { SqliteApi::from_routines(routines()) }.unwrap();
    let (by_name, by_place) = (words(&api()), words(&by_place));
    for (symbol, address) in symbols() {
        let index = by_name.iter().position(|word| *word == address as usize);
        assert_eq!(by_place[index.unwrap()], address as usize, "{symbol:?}");
    }
}

#[test]
fn the_functions_tell_what_library_it_is() {
    let api = api();
    assert_eq!(api.version(), ffi::SQLITE_VERSION.to_str().unwrap());
    assert_eq!(api.version_number(), ffi::SQLITE_VERSION_NUMBER);
    let db = Db::open(c"unix", ":memory:").unwrap();
    assert_eq!(api.source_id(), db.one("SELECT sqlite_source_id()"));
    assert_eq!(api.address(), ffi::sqlite3_sourceid as *const c_void);
    assert_eq!(api.identity(), api.identity());
    assert!(format!("{api:?}").starts_with(&format!("SqliteApi({} at 0x", api.version())));
}

#[test]
fn a_missing_function_is_named_unless_it_can_be_done_without() {
    for (symbol, _) in symbols() {
        let all_but_one = |name: &CStr| if name == symbol { None } else { linked(name) };
        // SAFETY: what is returned has its own name.
        let found = unsafe { SqliteApi::from_symbols(&all_but_one) };
        match found {
            Err(LookupError::Missing { symbol: named }) => assert_eq!(named, symbol.to_str().unwrap()),
            other => assert!(other.is_ok() && symbol == c"sqlite3_str_append", "{symbol:?}: {other:?}"),
        }
    }
    // SAFETY: null is allowed.
    let none = unsafe { SqliteApi::from_routines(ptr::null()) }.unwrap_err();
    assert_eq!(none.to_string(), "it does not export sqlite3_libversion_number");
}

extern "C" fn too_old() -> c_int {
    SqliteApi::OLDEST - 1
}

extern "C" fn zero() -> c_int {
    0
}

fn with_instead(symbol: &CStr, function: extern "C" fn() -> c_int) -> LookupError {
    let lookup = |name: &CStr| {
        if name == symbol { NonNull::new((function as *mut ()).cast()) } else { linked(name) }
    };
    // SAFETY: the function that takes another's place has the same type.
    unsafe { SqliteApi::from_symbols(&lookup) }.unwrap_err()
}

#[test]
fn an_old_library_and_one_without_threads_are_refused() {
    let version = SqliteApi::OLDEST - 1;
    assert_eq!(with_instead(c"sqlite3_libversion_number", too_old), LookupError::TooOld { version });
    let unsafe_library = with_instead(c"sqlite3_threadsafe", zero);
    assert_eq!(unsafe_library, LookupError::NotThreadsafe);
    assert_eq!(unsafe_library.to_string(), "it was compiled without threads");
}

/// A table of an old library ends before the places of later functions: nothing behind the version may be read.
#[test]
fn the_version_is_read_before_places_that_old_tables_do_not_have() {
    const LIBVERSION_NUMBER: usize = 67;
    let mut table: Vec<*const ()> = vec![ptr::null(); LIBVERSION_NUMBER + 1];
    table[LIBVERSION_NUMBER] = too_old as *const ();
    // SAFETY: the function at the place of the version has the type of the version's.
    let refused = unsafe { SqliteApi::from_routines(table.as_ptr().cast()) }.unwrap_err();
    assert_eq!(refused, LookupError::TooOld { version: SqliteApi::OLDEST - 1 });
    assert_eq!(refused.to_string(), "it is version number 3034999, older than 3035000");
}
