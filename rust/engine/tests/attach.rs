//! A database is kept open from when an application uses it, before it can be followed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests may, on files of their own"
)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Bench, create, insert, rows};
use engine::Database;
use ltx::TxId;
use rusqlite::Connection;

fn wal(bench: &Bench) -> PathBuf {
    bench.dir.path().join("app.db-wal")
}

fn waiting(bench: &Bench) -> Database {
    let database = Database::new(bench.options()).unwrap();
    assert!(!database.open(TxId::NONE).unwrap());
    database
}

#[test]
fn it_begins_with_the_first_use_in_wal_mode() {
    let bench = Bench::new();
    let database = waiting(&bench);
    assert!(!database.attach(), "no file");
    let app = Connection::open(&bench.path).unwrap();
    create(&app);
    assert!(!database.attach(), "rollback mode");
    let before = fs::read_dir(bench.dir.path()).unwrap().count();
    app.pragma_update(None, "journal_mode", "wal").unwrap();
    insert(&app, 3);
    assert!(database.attach() && database.attach());
    assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), before + 2, "-wal and -shm, nothing else");
    drop(app);
    assert!(wal(&bench).exists(), "it is not the last one");
    let app = bench.app();
    insert(&app, 4);
    // It holds up nobody, not even a connection that needs all locks but one.
    let busy: i64 = app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(busy, 0);
    assert!(database.open(TxId::NONE).unwrap() && database.attach());
    insert(&app, 5);
    assert_eq!(rows(&bench.restore(database.sync().unwrap().txid.get())), 12);
    drop(app);
    database.close().unwrap();
    assert!(!wal(&bench).exists());
}

#[test]
fn it_ends_with_the_object_and_with_the_file() {
    for ends in [Database::abandon as fn(&Database), |database| database.close().unwrap()] {
        let bench = Bench::new();
        let database = waiting(&bench);
        let app = bench.app();
        create(&app);
        assert!(database.attach());
        ends(&database);
        drop(app);
        assert!(!wal(&bench).exists(), "the application was the last one");
    }
    let bench = Bench::new();
    let database = waiting(&bench);
    let app = bench.app();
    create(&app);
    assert!(database.attach());
    for name in ["app.db", "app.db-wal", "app.db-shm"] {
        fs::remove_file(bench.dir.path().join(name)).unwrap();
    }
    assert!(!database.attach(), "the file has no name any more");
    drop(app);
    let app = bench.app();
    create(&app);
    assert!(database.attach(), "the next one");
}

/// What it shows to others must not be taken for an application by the one that opens the database.
#[test]
fn its_own_locks_keep_nobody_from_opening() {
    let bench = Bench::new();
    let database = waiting(&bench);
    let app = bench.app();
    create(&app);
    assert!(database.attach());
    drop(app);
    fs::remove_file(bench.dir.path().join("app.db-shm")).unwrap();
    // It finds a user without an index, which is ourselves, and lets go of that.
    let mut opened = database.open(TxId::NONE);
    if opened.is_err() {
        opened = database.open(TxId::NONE);
    }
    assert!(opened.unwrap());
}

#[test]
fn a_file_that_is_waited_for_is_told_of_whatever_its_mode() {
    for mode in ["delete", "wal"] {
        let bench = Bench::new();
        let database = waiting(&bench);
        thread::scope(|scope| {
            let follower = scope.spawn(|| database.follow(Duration::from_secs(60)));
            let app = Connection::open(&bench.path).unwrap();
            app.pragma_update(None, "journal_mode", mode).unwrap();
            create(&app);
            assert!(follower.join().unwrap().unwrap(), "{mode}");
        });
        assert!(database.open(TxId::NONE).unwrap());
    }
}

/// An application that does not wait for locks never meets one of ours: not while it makes the database, nor when it switches the mode,
/// writes, or closes and opens again.
#[test]
fn an_application_without_a_busy_handler_meets_no_lock() {
    for round in 0..60 {
        let bench = Bench::new();
        let database = waiting(&bench);
        let is_over = AtomicBool::new(false);
        let (database, over) = (&database, &is_over);
        thread::scope(|scope| {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // As its owner does. What has been there for a while is opened also where nobody uses it, and then an application that
                    // begins to in that moment meets a lock.
                    let is_there = database.follow(Duration::from_secs(1)).is_ok_and(|is_there| is_there);
                    if is_there && round % 3 != 0 && database.page_size().is_none() && database.attach() {
                        let _ = database.open(TxId::NONE);
                    }
                }
            });
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    database.attach();
                    thread::yield_now();
                }
            });
            let application = || -> rusqlite::Result<()> {
                for _ in 0..4 {
                    let app = Connection::open(&bench.path)?;
                    app.busy_timeout(Duration::ZERO)?;
                    if round % 2 == 0 {
                        app.execute_batch("CREATE TABLE IF NOT EXISTS t (x)")?;
                    }
                    app.query_row("PRAGMA journal_mode = wal", [], |row| row.get::<_, String>(0))?;
                    let second = Connection::open(&bench.path)?;
                    second.busy_timeout(Duration::ZERO)?;
                    app.execute_batch(
                        "CREATE TABLE IF NOT EXISTS t (x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1); COMMIT",
                    )?;
                    second.execute_batch("INSERT INTO t VALUES (2); SELECT * FROM t")?;
                }
                Ok(())
            };
            let done = application();
            over.store(true, Ordering::Relaxed);
            database.interrupt();
            done.unwrap();
        });
    }
}
