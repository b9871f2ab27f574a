//! A file that a parent opened, in a child: every method refuses, nothing is unlocked, and the parent goes on.
//!
//! The child of a process with threads may call little more than the methods under test, so it asserts nothing itself: it ends
//! with the number of the first thing that was wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::{CStr, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::disk::locked;
use common::forked::{alone, first_wrong, in_child};
use common::panics::{be_quiet, explode};
use common::{CFile, CVfs, Db, Mock, Name, call, registered};
use libsqlite3_sys as ffi;
use vfs::LockLevel;

const MAIN: c_int = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;
const IOERR: c_int = ffi::SQLITE_IOERR;

fn refuses_everything(file: &mut CFile) -> c_int {
    let (mut number, mut size, mut buffer) = (-1, -1, [1_u8; 4]);
    let mut region = ptr::dangling_mut::<c_void>();
    call!(file.xShmBarrier());
    first_wrong(&[
        file.read(&mut buffer, 0) == IOERR,
        file.write(b"x", 0) == IOERR,
        call!(file.xTruncate(0)) == IOERR,
        call!(file.xSync(ffi::SQLITE_SYNC_NORMAL)) == IOERR,
        call!(file.xFileSize(&raw mut size)) == IOERR,
        call!(file.xLock(ffi::SQLITE_LOCK_RESERVED)) == IOERR,
        call!(file.xUnlock(ffi::SQLITE_LOCK_NONE)) == IOERR,
        call!(file.xCheckReservedLock(&raw mut number)) == IOERR,
        file.control(ffi::SQLITE_FCNTL_LOCKSTATE, &mut number) == IOERR,
        file.control(ffi::SQLITE_FCNTL_LAST_ERRNO, &mut number) == IOERR,
        call!(file.xShmMap(0, 32768, 1, &raw mut region)) == IOERR && region.is_null(),
        call!(file.xShmLock(0, 1, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_SHARED)) == IOERR,
        call!(file.xShmUnmap(1)) == IOERR,
        call!(file.xSectorSize()) == 4096,
        call!(file.xDeviceCharacteristics()) == 0,
        (number, size, buffer) == (-1, -1, [1; 4]),
    ])
}

fn abandons(file: &mut CFile, mock: &Mock) -> c_int {
    let code = file.close();
    first_wrong(&[
        code == ffi::SQLITE_OK,
        mock.0.abandoned.load(Ordering::SeqCst) == 1,
        mock.0.closed.load(Ordering::SeqCst) == 0,
        mock.live() == 0,
        file.methods().is_null(),
        file.close() == ffi::SQLITE_OK,
    ])
}

fn open(vfs: &CStr, name: &Name) -> (Mock, CFile) {
    be_quiet();
    let mock = registered(vfs, Mock::new());
    let file = CVfs::find(vfs).must_open(name, MAIN);
    (mock, file)
}

#[test]
fn a_child_can_do_nothing_with_the_file_of_its_parent() {
    let _alone = alone();
    let name = Name::new(b"app.db");
    let (mock, mut file) = open(c"fork", &name);
    assert_eq!(call!(file.xLock(ffi::SQLITE_LOCK_SHARED)), ffi::SQLITE_OK);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    mock.set_hook(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let child = in_child(|| match refuses_everything(&mut file) {
        0 if calls.load(Ordering::SeqCst) > 0 => 90,
        wrong => wrong,
    });
    assert_eq!(child, 0);

    // The parent's file is not the child's business, and works.
    assert_eq!(file.write(b"x", 0), ffi::SQLITE_OK);
    assert_eq!(call!(file.xLock(ffi::SQLITE_LOCK_EXCLUSIVE)), ffi::SQLITE_OK);
    assert_eq!(call!(file.xUnlock(ffi::SQLITE_LOCK_NONE)), ffi::SQLITE_OK);
}

#[test]
fn a_child_abandons_and_does_not_close() {
    let _alone = alone();
    let name = Name::new(b"app.db");
    let (mock, mut file) = open(c"abandon", &name);
    assert_eq!(call!(file.xLock(ffi::SQLITE_LOCK_SHARED)), ffi::SQLITE_OK);
    let inode = mock.0.disk.find(Path::new("app.db")).unwrap();
    let child = in_child(|| {
        let wrong = abandons(&mut file, &mock);
        if wrong == 0 && locked(&inode.locks).is_empty() { 90 } else { wrong }
    });
    assert_eq!(child, 0);
    assert_eq!(mock.0.abandoned.load(Ordering::SeqCst), 0, "that was another process");
    assert_eq!(file.write(b"x", 0), ffi::SQLITE_OK);
    assert_eq!(file.close(), ffi::SQLITE_OK);
    assert_eq!(mock.0.closed.load(Ordering::SeqCst), 1);
    assert!(locked(&inode.locks).level(0) == LockLevel::None);
}

#[test]
fn a_panic_in_abandon_is_an_error_too() {
    let _alone = alone();
    let name = Name::new(b"app.db");
    let (mock, mut file) = open(c"abandon-panic", &name);
    mock.set_hook(|called, _| if called == "abandon" { explode(3) } else { Ok(()) });
    let child = in_child(|| {
        let code = file.close();
        first_wrong(&[code == ffi::SQLITE_IOERR_CLOSE, mock.live() == 0, file.methods().is_null()])
    });
    assert_eq!(child, 0);
}

/// A latched file is abandoned like any other.
#[test]
fn what_panicked_before_the_fork_is_abandoned_after_it() {
    let _alone = alone();
    let name = Name::new(b"app.db");
    let (mock, mut file) = open(c"latched-fork", &name);
    mock.set_hook(|_, _| explode(0));
    assert_eq!(file.write(b"x", 0), IOERR);
    mock.clear_hook();
    assert_eq!(in_child(|| abandons(&mut file, &mock)), 0);
}

#[test]
fn a_file_that_the_child_opens_is_its_own() {
    let _alone = alone();
    let name = Name::new(b"app.db");
    let (mock, file) = open(c"own-file", &name);
    let child = in_child(|| {
        let mut own = CVfs::find(c"own-file").must_open(&name, MAIN);
        let written = own.write(b"x", 0);
        first_wrong(&[
            written == ffi::SQLITE_OK,
            own.close() == ffi::SQLITE_OK,
            mock.0.closed.load(Ordering::SeqCst) == 1,
            mock.0.abandoned.load(Ordering::SeqCst) == 0,
        ])
    });
    assert_eq!(child, 0);
    drop(file);
}

/// A PRAGMA is the only statement whose error message a VFS can choose.
#[test]
fn a_child_is_told_what_is_wrong() {
    let _alone = alone();
    let mock = registered(c"told", Mock::new());
    let db = Db::open(c"told", "app.db").unwrap();
    db.rows("CREATE TABLE t(a)").unwrap();
    let child = in_child(|| {
        let said =
            |sql| db.rows(sql).map_or_else(|failure| (failure.primary(), failure.message), |_| (0, vec![]));
        let [select, pragma] = ["SELECT * FROM t", "PRAGMA page_size"].map(said);
        first_wrong(&[
            select == (IOERR, b"disk I/O error".to_vec()),
            pragma.0 == IOERR,
            pragma.1 == b"this connection was opened before a fork, by the parent process; open another one",
        ])
    });
    assert_eq!(child, 0);
    assert_eq!(db.one("PRAGMA page_size"), "4096");
    drop(mock);
}

/// SQLite forbids this; who does it all the same gets errors, and does no harm to the parent.
#[test]
fn a_connection_carried_across_a_fork_fails_and_the_parents_works() {
    let _alone = alone();
    for (vfs, mode) in [(c"carried-delete", "delete"), (c"carried-wal", "wal")] {
        let mock = registered(vfs, Mock::new());
        let db = Db::open(vfs, "app.db").unwrap();
        db.rows(&format!("PRAGMA journal_mode={mode}; CREATE TABLE t(a); INSERT INTO t VALUES(1)")).unwrap();
        db.rows("BEGIN IMMEDIATE; INSERT INTO t VALUES(2)").unwrap();
        let closed_before = mock.0.closed.load(Ordering::SeqCst);
        let child = in_child(|| {
            // Were the journal gone, the parent could not roll back. No method of a file protects it.
            mock.set_hook(|called, _| if called == "delete" { explode(0) } else { Ok(()) });
            let failed = db.rows("COMMIT").is_err_and(|failure| failure.primary() == IOERR);
            let read = db.rows("SELECT * FROM t").is_err_and(|failure| failure.primary() == IOERR);
            // SAFETY: the handle is open, and this process ends next.
            let closed = unsafe { ffi::sqlite3_close(db.0) } == ffi::SQLITE_OK;
            let is_abandoned = mock.0.abandoned.load(Ordering::SeqCst) > 0;
            let nothing_closed = mock.0.closed.load(Ordering::SeqCst) == closed_before;
            first_wrong(&[failed, read, closed, is_abandoned, nothing_closed])
        });
        assert_eq!(child, 0, "{mode}");
        db.rows("COMMIT").unwrap();
        assert_eq!(db.one("SELECT count(*) FROM t"), "2", "{mode}");
        assert_eq!(db.one("PRAGMA integrity_check"), "ok", "{mode}");
    }
}
