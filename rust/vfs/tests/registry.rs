//! Names, and the default. Its own binary, and one test for the default, since that is one of the process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::CStr;
use std::path::Path;

use common::{CVfs, Db, Mock, api, call, registered};
use libsqlite3_sys as ffi;
use vfs::{RegisterError, register, set_default};

#[test]
fn a_name_is_given_once() {
    let first = registered(c"taken", Mock::new());
    let before = CVfs::find(c"taken").object();
    let second = Mock::new();
    for is_default in [false, true] {
        let refused = register(&api(), c"taken", second.clone(), is_default);
        assert_eq!(refused, Err(RegisterError::NameInUse));
    }
    assert_eq!(
        register(&api(), c"unix", second.clone(), false),
        Err(RegisterError::NameInUse),
        "nor is SQLite's"
    );
    assert_eq!(CVfs::find(c"taken").object(), before);
    Db::open(c"taken", "app.db").unwrap().rows("CREATE TABLE t(a)").unwrap();
    assert_eq!((first.0.disk.paths().len(), second.0.disk.paths().len()), (1, 0));
}

#[test]
fn of_many_that_want_a_name_at_once_one_gets_it() {
    let registered: Vec<_> = std::thread::scope(|scope| {
        let ask = || register(&api(), c"wanted", Mock::new(), false);
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(registered.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(registered.iter().filter(|result| **result == Err(RegisterError::NameInUse)).count(), 7);
}

#[test]
fn names_may_be_of_any_bytes() {
    registered(c"\xff%n", Mock::new());
    Db::open_bytes(Some(c"\xff%n"), b"app.db", 0).unwrap().rows("CREATE TABLE t(a)").unwrap();
}

fn default_name() -> String {
    // SAFETY: null asks for the default, of which there always is one, with a name that is never freed.
    let name = unsafe { CStr::from_ptr((*ffi::sqlite3_vfs_find(std::ptr::null())).zName) };
    name.to_str().unwrap().to_owned()
}

#[test]
fn the_default_is_what_connections_get_that_ask_for_nothing() {
    assert_eq!(default_name(), "unix");
    let mock = registered(c"by-default", Mock::new());
    assert_eq!(default_name(), "unix", "registering changes nothing for others");

    set_default(&api(), c"by-default").unwrap();
    assert_eq!(default_name(), "by-default");
    let db = Db::open_bytes(None, b"app.db", 0).unwrap();
    db.rows("CREATE TABLE t(a)").unwrap();
    assert!(mock.0.disk.find(Path::new("/app.db")).is_some());

    // A second one while the first is the default: extensions are still loaded by SQLite's own.
    let second = Mock::new();
    register(&api(), c"born-default", second.clone(), true).unwrap();
    assert_eq!(default_name(), "born-default");
    let vfs = CVfs::find(c"born-default");
    let library = call!(vfs.xDlOpen(c"libc.so.6".as_ptr()));
    assert!(!library.is_null());
    call!(vfs.xDlClose(library));
    drop(Db::open_bytes(None, b"other.db", 0).unwrap());
    assert_eq!(second.0.disk.paths(), [Path::new("/other.db")]);

    set_default(&api(), c"unix").unwrap();
    assert_eq!(default_name(), "unix");
    assert_eq!(db.one("SELECT count(*) FROM t"), "0", "open connections stay where they are");
    drop(db);
    let by_name = Db::open(c"by-default", "app.db").unwrap();
    assert_eq!(by_name.one("SELECT count(*) FROM t"), "0", "and the name is still known");
    assert_eq!(set_default(&api(), c"nobody"), Err(RegisterError::NotFound));
    assert_eq!(default_name(), "unix");
}

#[test]
fn errors_are_sentences() {
    assert_eq!(RegisterError::NameInUse.to_string(), "a vfs of this name is registered already");
    assert_eq!(RegisterError::NotFound.to_string(), "no vfs of this name is registered");
    let refused = RegisterError::Refused(vfs::Code::NOMEM);
    assert_eq!(refused.to_string(), "sqlite refused to register the vfs: NOMEM");
}
