//! A panic at the n-th call of every method while a real SQLite works: no crash, nothing stays open, nothing is torn.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::panics::{INJECTED, be_quiet};
use common::sql::Failure;
use common::{Db, Mock, logged, registered};
use libsqlite3_sys as ffi;

/// What is in the database before, and after everything went well.
const BEFORE: [&str; 2] = ["1|10", "2|20"];
const AFTER: [&str; 3] = ["1|10", "2|21", "3|30"];

fn fill(vfs: &std::ffi::CStr, path: &str, mode: &str) {
    let db = Db::open(vfs, path).unwrap();
    db.rows(&format!("PRAGMA journal_mode={mode}; CREATE TABLE t(a INTEGER PRIMARY KEY, b)")).unwrap();
    db.rows("INSERT INTO t VALUES(1, 10), (2, 20)").unwrap();
}

/// Two connections, a transaction that spills, a reader beside it, a checkpoint, a vacuum, and both closed.
fn work(vfs: &std::ffi::CStr, path: &str) -> Result<(), Failure> {
    let writer = Db::open(vfs, path)?;
    let reader = Db::open(vfs, path)?;
    writer.rows("PRAGMA cache_size=2; BEGIN IMMEDIATE; INSERT INTO t VALUES(3, 30)")?;
    // The journal is there, and not hot: the reader finds out by the lock.
    reader.rows("SELECT * FROM t")?;
    writer.rows("CREATE TABLE big(x); INSERT INTO big VALUES(zeroblob(60000)); DROP TABLE big")?;
    writer.rows("UPDATE t SET b = b + 1 WHERE a = 2")?;
    // In rollback mode the spilled transaction may be in the way; that is no failure.
    let read = reader.rows("SELECT * FROM t");
    writer.rows("COMMIT")?;
    reader.rows("SELECT * FROM t; PRAGMA wal_checkpoint(TRUNCATE)")?;
    writer.rows("VACUUM; SELECT * FROM t")?;
    match read {
        Err(failure) if failure.primary() != ffi::SQLITE_BUSY => Err(failure),
        _ => Ok(()),
    }
}

struct Run {
    has_fired: bool,
    outcome: Result<(), Failure>,
}

fn run(mock: &Mock, vfs: &std::ffi::CStr, path: &str, operation: &'static str, nth: usize) -> Run {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    mock.set_hook(move |called, _| {
        if called == operation && count.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            panic!("{INJECTED} at call {nth}");
        }
        Ok(())
    });
    let outcome = work(vfs, path);
    mock.clear_hook();
    Run { has_fired: calls.load(Ordering::SeqCst) >= nth, outcome }
}

/// Runs with the panic ever later, until it no longer happens; how often it did.
fn sweep(mock: &Mock, vfs: &std::ffi::CStr, mode: &str, operation: &'static str) -> usize {
    let (mut nth, mut fired) = (1, 0);
    loop {
        let path = format!("{mode}-{operation}-{nth}.db");
        fill(vfs, &path, mode);
        let Run { has_fired, outcome } = run(mock, vfs, &path, operation, nth);
        assert_eq!(mock.live(), 0, "{path}: closed all the same");
        let db = Db::open(vfs, &path).unwrap();
        assert_eq!(db.one("PRAGMA integrity_check"), "ok", "{path}");
        let rows = db.rows("SELECT * FROM t").unwrap();
        assert!(rows == BEFORE || rows == AFTER, "{path}: {rows:?}");
        let logged = logged::lines(&format!("{INJECTED} at call {nth}")).len();
        if !has_fired {
            assert_eq!((outcome, &rows[..]), (Ok(()), &AFTER.map(String::from)[..]), "{path}");
            return fired;
        }
        assert!(logged > 0, "{path}");
        if let Err(failure) = outcome {
            let expected = [ffi::SQLITE_IOERR, ffi::SQLITE_CANTOPEN, ffi::SQLITE_BUSY];
            assert!(expected.contains(&failure.primary()), "{path}: {failure:?}");
        }
        fired += 1;
        nth += 1 + nth / 3;
    }
}

/// What SQLite calls in either mode, in this workload.
const ALWAYS: [&str; 15] = [
    "open",
    "delete",
    "access",
    "full_pathname",
    "read",
    "write",
    "truncate",
    "sync",
    "size",
    "lock",
    "unlock",
    "control",
    "sector_size",
    "device_characteristics",
    "close",
];
const WAL_ONLY: [&str; 6] = ["shared_memory", "map", "shm_lock", "shm_unlock", "barrier", "unmap"];

fn set_up(vfs: &std::ffi::CStr) -> Mock {
    logged::listen();
    be_quiet();
    registered(vfs, Mock::new())
}

#[test]
fn rollback_mode() {
    let mock = set_up(c"panics-rollback");
    for operation in ALWAYS.into_iter().chain(["check_reserved_lock"]) {
        assert!(sweep(&mock, c"panics-rollback", "delete", operation) > 0, "{operation} is never called");
    }
}

#[test]
fn wal_mode() {
    let mock = set_up(c"panics-wal");
    for operation in ALWAYS.into_iter().chain(WAL_ONLY) {
        assert!(sweep(&mock, c"panics-wal", "wal", operation) > 0, "{operation} is never called");
    }
}

#[test]
fn a_pragma_that_panics_is_an_error_and_the_connection_is_done() {
    let mock = set_up(c"panics-pragma");
    let db = Db::open(c"panics-pragma", "app.db").unwrap();
    db.rows("CREATE TABLE t(a)").unwrap();
    mock.set_answer(|control| match control {
        vfs::Control::Pragma { name: "boom", .. } => panic!("{INJECTED} %n%s%d"),
        _ => None,
    });
    assert_eq!(db.rows("PRAGMA boom").unwrap_err().primary(), ffi::SQLITE_IOERR);
    assert_eq!(db.rows("INSERT INTO t VALUES(1)").unwrap_err().primary(), ffi::SQLITE_IOERR);
    assert_eq!(db.close(), ffi::SQLITE_OK);
    assert_eq!(mock.live(), 0);
    assert_eq!(logged::texts("panics-pragma: "), ["panics-pragma: panic in xFileControl: injected %n%s%d"]);
    assert_eq!(Db::open(c"panics-pragma", "app.db").unwrap().one("SELECT count(*) FROM t"), "0");
}
