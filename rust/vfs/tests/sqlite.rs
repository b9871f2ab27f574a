//! A real SQLite over a file system in memory: both journal modes, two connections, with and without shared memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex};

use common::disk::locked;
use common::{Db, Mock, registered};
use libsqlite3_sys as ffi;
use vfs::{Code, Control, DeviceCharacteristics};

const FILL: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
    INSERT INTO t SELECT i, hex(zeroblob(500)) FROM n";

fn count(db: &Db) -> String {
    db.one("SELECT count(*) FROM t")
}

fn is_sound(db: &Db) -> bool {
    db.one("PRAGMA integrity_check") == "ok"
}

#[test]
fn rollback_mode_commits_rolls_back_and_leaves_nothing_open() {
    let mock = registered(c"rollback", Mock::new());
    let db = Db::open(c"rollback", "app.db").unwrap();
    db.rows(FILL).unwrap();
    db.rows("BEGIN; DELETE FROM t; ROLLBACK").unwrap();
    assert_eq!(count(&db), "200");
    db.rows("PRAGMA journal_mode=TRUNCATE; UPDATE t SET b = a; PRAGMA journal_mode=PERSIST; DELETE FROM t WHERE a > 9")
        .unwrap();
    assert!(is_sound(&db));
    assert_eq!(db.close(), ffi::SQLITE_OK);
    assert_eq!(mock.live(), 0);

    let db = Db::open(c"rollback", "app.db").unwrap();
    assert_eq!(count(&db), "9");
    assert_eq!(
        mock.0.disk.find(Path::new("/app.db")).unwrap().data.lock().unwrap()[..15],
        *b"SQLite format 3"
    );
}

#[test]
fn a_writer_keeps_a_second_writer_out_and_a_hot_journal_is_rolled_back() {
    let mock = registered(c"two-writers", Mock::new());
    let first = Db::open(c"two-writers", "app.db").unwrap();
    let second = Db::open(c"two-writers", "app.db").unwrap();
    first.rows(FILL).unwrap();
    first.rows("BEGIN IMMEDIATE; DELETE FROM t").unwrap();
    assert_eq!(second.rows("BEGIN IMMEDIATE").unwrap_err().primary(), ffi::SQLITE_BUSY);
    assert_eq!(count(&second), "200", "readers see the last commit");
    first.rows("COMMIT").unwrap();
    assert_eq!(count(&second), "0");

    // Syncs succeed up to the one that would commit: what was written must be undone from the journal.
    second.rows("INSERT INTO t VALUES(1, 2)").unwrap();
    mock.set_hook(|operation, path| match operation {
        "delete" if path.ends_with("app.db-journal") => Err(Code::IOERR_DELETE.into()),
        _ => Ok(()),
    });
    assert_eq!(second.rows("DELETE FROM t").unwrap_err().code, ffi::SQLITE_IOERR_DELETE);
    mock.clear_hook();
    assert_eq!(count(&first), "1");
    assert!(is_sound(&first));
}

#[test]
fn wal_mode_has_readers_beside_a_writer_and_checkpoints() {
    let mock = registered(c"wal", Mock::new());
    let writer = Db::open(c"wal", "app.db").unwrap();
    assert_eq!(writer.one("PRAGMA journal_mode=WAL"), "wal");
    writer.rows(FILL).unwrap();
    let reader = Db::open(c"wal", "app.db").unwrap();
    reader.rows("BEGIN").unwrap();
    assert_eq!(count(&reader), "200");
    writer.rows("DELETE FROM t WHERE a > 100").unwrap();
    assert_eq!(count(&reader), "200", "its snapshot");
    assert!(writer.one("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("1|"), "the reader is in the way");
    reader.rows("COMMIT").unwrap();
    assert_eq!(count(&reader), "100");
    assert_eq!(writer.one("PRAGMA wal_checkpoint(TRUNCATE)"), "0|0|0");
    assert!(is_sound(&reader));
    assert_eq!((writer.close(), reader.close()), (0, 0));

    assert_eq!(mock.live(), 0);
    assert_eq!(mock.0.disk.paths(), [Path::new("/app.db")], "the last one takes the wal away");
    let inode = mock.0.disk.find(Path::new("/app.db")).unwrap();
    assert!(locked(&inode.shm).is_unused() && locked(&inode.locks).is_empty());
}

#[test]
fn threads_write_in_wal_mode_and_nothing_is_lost() {
    registered(c"threads", Mock::new());
    let db = Db::open(c"threads", "app.db").unwrap();
    db.rows("PRAGMA journal_mode=WAL; CREATE TABLE t(a)").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let db = Db::open(c"threads", "app.db").unwrap();
                db.rows("PRAGMA busy_timeout=20000; PRAGMA wal_autocheckpoint=5").unwrap();
                for i in 0..30 {
                    db.rows(&format!("INSERT INTO t VALUES({i})")).unwrap();
                }
            });
        }
    });
    assert_eq!(count(&db), "90");
    assert!(is_sound(&db));
}

#[test]
fn without_shared_memory_wal_needs_the_exclusive_locking_mode() {
    registered(c"no-shm", Mock::without_shared_memory());
    let db = Db::open(c"no-shm", "app.db").unwrap();
    assert_eq!(db.one("PRAGMA journal_mode=WAL"), "delete");
    assert_eq!(db.one("PRAGMA locking_mode=EXCLUSIVE"), "exclusive");
    assert_eq!(db.one("PRAGMA journal_mode=WAL"), "wal");
    db.rows(FILL).unwrap();
    assert_eq!(count(&db), "200");
    drop(db);

    // What is in WAL mode by now cannot even be read in the normal locking mode.
    let db = Db::open(c"no-shm", "app.db").unwrap();
    assert_eq!(db.rows("SELECT count(*) FROM t").unwrap_err().primary(), ffi::SQLITE_CANTOPEN);
    db.rows("PRAGMA locking_mode=EXCLUSIVE").unwrap();
    assert_eq!(count(&db), "200");
    assert!(is_sound(&db));
}

#[test]
fn temporary_files_have_no_name_and_are_gone_in_the_end() {
    let mock = registered(c"temp", Mock::new());
    let db = Db::open(c"temp", "app.db").unwrap();
    db.rows("PRAGMA temp_store=FILE; PRAGMA cache_size=5; PRAGMA temp.cache_size=5").unwrap();
    let nameless = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&nameless);
    mock.set_hook(move |operation, path| {
        *locked(&seen) += usize::from(operation == "open" && path == Path::new(""));
        Ok(())
    });
    db.rows(&FILL.replace("TABLE t", "TEMP TABLE t")).unwrap();
    assert_eq!(db.one("SELECT count(*) FROM (SELECT b, a FROM t ORDER BY b, a DESC)"), "200");
    assert!(*locked(&nameless) > 0);
    assert_eq!(db.close(), ffi::SQLITE_OK);
    assert_eq!((mock.live(), mock.0.disk.paths().len()), (0, 1));
    assert!(
        locked(&mock.0.disk.find(Path::new("/app.db")).unwrap().data).is_empty(),
        "only its name was made"
    );
}

#[test]
fn what_a_file_promises_reaches_sqlite() {
    let mock = registered(c"promises", Mock::new());
    drop({
        let db = Db::open(c"promises", "app.db").unwrap();
        db.rows(FILL).unwrap();
        db
    });
    // A file that never changes needs no lock.
    mock.tweak(|tweaks| tweaks.device_characteristics = DeviceCharacteristics::IMMUTABLE);
    let locks = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&locks);
    mock.set_hook(move |operation, _| {
        *locked(&seen) += usize::from(operation == "lock");
        Ok(())
    });
    let db = Db::open(c"promises", "app.db").unwrap();
    assert_eq!(count(&db), "200");
    assert_eq!(*locked(&locks), 0);
}

#[test]
fn sqlite_announces_syncs_commits_and_checkpoints() {
    let mock = registered(c"announced", Mock::new());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    mock.set_answer(move |control| {
        if !matches!(control, Control::Pragma { .. }) {
            locked(&hear).push(format!("{control:?}"));
        }
        None
    });
    let db = Db::open(c"announced", "app.db").unwrap();
    db.rows(FILL).unwrap();
    db.rows("PRAGMA journal_mode=WAL; DELETE FROM t; PRAGMA wal_checkpoint; VACUUM").unwrap();
    drop(db);
    let heard = locked(&heard);
    for expected in
        ["Sync", "CommitPhaseTwo", "CheckpointStart", "CheckpointDone", "PersistWal(None)", "Overwrite"]
    {
        assert!(heard.iter().any(|control| control == expected), "{expected}: {heard:?}");
    }
    assert!(heard.iter().any(|control| control.starts_with("SizeHint(")));
}

#[test]
fn a_wal_may_be_kept_after_the_last_connection() {
    let mock = registered(c"kept-wal", Mock::new());
    let db = Db::open(c"kept-wal", "app.db").unwrap();
    db.rows("PRAGMA journal_mode=WAL; CREATE TABLE t(a)").unwrap();
    let mut wanted = 1;
    assert_eq!(db.control(ffi::SQLITE_FCNTL_PERSIST_WAL, &mut wanted), ffi::SQLITE_OK);
    drop(db);
    assert!(mock.0.disk.find(Path::new("/app.db-wal")).is_some());
}

#[test]
fn a_link_is_followed_unless_the_caller_forbids_it() {
    registered(c"links", Mock::new());
    Db::open(c"links", "app.db").unwrap().rows(FILL).unwrap();
    assert_eq!(count(&Db::open(c"links", "link-/app.db").unwrap()), "200");
    let refused = Db::open_bytes(Some(c"links"), b"link-/app.db", ffi::SQLITE_OPEN_NOFOLLOW);
    assert_eq!(refused.err().unwrap().code, ffi::SQLITE_CANTOPEN_SYMLINK);
    assert!(Db::open_bytes(Some(c"links"), b"app.db", ffi::SQLITE_OPEN_NOFOLLOW).is_ok());
}

#[test]
fn sqlite_sees_the_file_through_its_own_pointer() {
    registered(c"pointer", Mock::new());
    let db = Db::open(c"pointer", "app.db").unwrap();
    db.rows(FILL).unwrap();
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    assert_eq!(db.control(ffi::SQLITE_FCNTL_FILE_POINTER, &mut file), ffi::SQLITE_OK);
    // SAFETY: the pointer is that of the open database, whose connection nobody else uses.
    let methods = unsafe { &*(*file).pMethods };
    assert_eq!(methods.iVersion, 2);
    assert!(methods.xShmMap.is_some() && methods.xFetch.is_none());
}
