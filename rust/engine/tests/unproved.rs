//! A WAL that was left behind, and a database file or WAL that something other than SQLite writes: frames are moved only into the
//! file that they are proved to belong to, and nothing of the operator's is overwritten.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests may, on files of their own"
)]

mod common;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::{Bench, checkpoint, create, following, following_through, image, insert, rows};
use engine::{CheckpointMode, Database, Error, Options};
use ltx::TxId;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// A database that was killed with 20 rows in the WAL, and a backup without them, of which nothing else is known.
struct Killed {
    bench: Bench,
    backup: Vec<u8>,
}

impl Killed {
    fn new() -> Self {
        let bench = Bench::new();
        let app = bench.app();
        app.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        create(&app);
        insert(&app, 300);
        app.execute("UPDATE t SET b = zeroblob(200) WHERE id = 1", []).unwrap();
        checkpoint(&app, "TRUNCATE");
        let replicator = bench.replicator(0);
        replicator.sync().unwrap();
        insert(&app, 20);
        replicator.sync().unwrap();
        replicator.abandon();
        drop(app);
        // Not the file that the frames belong to, but one that they would fit.
        let mut backup = fs::read(&bench.path).unwrap();
        let last = backup.len() - 1;
        backup[last] ^= 1;
        Self { bench, backup }
    }

    fn sidecar(&self, suffix: &str) -> PathBuf {
        self.bench.dir.path().join(format!("app.db{suffix}"))
    }

    fn copy_backup_over(&self) {
        fs::write(&self.bench.path, &self.backup).unwrap();
    }

    fn opened(&self) -> Database {
        let newest = fs::read_dir(self.bench.meta().join("ltx/0")).unwrap().count();
        self.bench.replicator(newest as u64)
    }
}

#[test]
fn frames_that_were_left_behind_are_not_moved_into_a_backup() {
    let killed = Killed::new();
    killed.copy_backup_over();
    let replicator = killed.opened();
    following(&replicator, || std::thread::sleep(Duration::from_millis(1300)));
    let done = replicator.checkpoint(CheckpointMode::Truncate).unwrap();
    assert!(done.busy && done.checkpointed == 0);
    replicator.sync().unwrap();
    replicator.close().unwrap();
    assert!(fs::read(&killed.bench.path).unwrap() == killed.backup, "the backup was written to");
    assert!(fs::metadata(killed.sidecar("-wal")).unwrap().len() > 0);
}

#[test]
fn nor_when_the_local_state_is_lost_as_well() {
    let killed = Killed::new();
    killed.copy_backup_over();
    fs::remove_dir_all(killed.bench.meta()).unwrap();
    let replicator = killed.bench.replicator(0);
    following(&replicator, || std::thread::sleep(Duration::from_millis(300)));
    replicator.close().unwrap();
    assert!(fs::read(&killed.bench.path).unwrap() == killed.backup);
}

#[test]
fn they_are_moved_once_somebody_has_used_them() {
    let killed = Killed::new();
    // The same bytes, written again: nobody can tell.
    fs::write(&killed.bench.path, fs::read(&killed.bench.path).unwrap()).unwrap();
    let replicator = killed.opened();
    replicator.sync().unwrap();
    assert!(replicator.checkpoint(CheckpointMode::Passive).unwrap().busy);
    let app = killed.bench.app();
    insert(&app, 1);
    replicator.sync().unwrap();
    assert!(!replicator.checkpoint(CheckpointMode::Truncate).unwrap().busy);
    let txid = replicator.pos().txid.get();
    assert_eq!(killed.bench.restore(txid), image(&app));
    assert_eq!(rows(&killed.bench.restore(txid)), 321);
}

#[test]
fn a_database_in_use_has_decided_already() {
    let killed = Killed::new();
    fs::write(&killed.bench.path, fs::read(&killed.bench.path).unwrap()).unwrap();
    let app = killed.bench.app();
    assert_eq!(app.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 320);
    let replicator = killed.opened();
    assert!(!replicator.checkpoint(CheckpointMode::Truncate).unwrap().busy);
}

/// 300 rows in the database file, seven more in the WAL, and a replicator that has seen them.
fn followed() -> (Bench, Connection, Database) {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    insert(&app, 300);
    checkpoint(&app, "TRUNCATE");
    let replicator = bench.replicator(0);
    insert(&app, 7);
    replicator.sync().unwrap();
    (bench, app, replicator)
}

#[test]
fn a_wal_that_an_operator_has_written_is_left_to_the_application() {
    // An earlier database and its WAL are copied over both, in either order, at rest and not.
    for (names, rests) in [(["", "-wal"], false), (["-wal", ""], false), (["", "-wal"], true)] {
        let (bench, app, replicator) = followed();
        let path = |suffix: &str| bench.dir.path().join(format!("app.db{suffix}"));
        let pair = ["", "-wal"].map(|suffix| fs::read(path(suffix)).unwrap());
        insert(&app, 30);
        replicator.sync().unwrap();
        if rests {
            following(&replicator, || std::thread::sleep(Duration::from_millis(1300)));
        }
        drop(app);
        following_through(&replicator, || {
            for suffix in names {
                fs::write(path(suffix), &pair[usize::from(suffix == "-wal")]).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
            std::thread::sleep(Duration::from_millis(300));
        });
        let txid = replicator.sync().unwrap().txid.get();
        let app = bench.app();
        assert_eq!(
            app.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(),
            307,
            "{names:?}, rests: {rests}"
        );
        assert_eq!(bench.restore(txid), image(&app), "{names:?}, rests: {rests}");
    }
}

#[test]
fn a_database_that_is_all_in_its_wal_can_be_put_back() {
    // The WAL first: until the database has come as well, its frames are beside another one, and must not be moved there. It is of
    // the generation before the present one, or the beginning of the same.
    for rests in [true, false] {
        let bench = Bench::new();
        let app = bench.app();
        app.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
        create(&app);
        insert(&app, 300);
        let path = |suffix: &str| bench.dir.path().join(format!("app.db{suffix}"));
        let saved = |suffix: &str| bench.dir.path().join(format!("saved{suffix}"));
        for suffix in ["", "-wal"] {
            // By another process: a file that is closed in this one drops the locks of the application.
            assert!(Command::new("cp").args([path(suffix), saved(suffix)]).status().unwrap().success());
        }
        let replicator = Database::new(Options { min_checkpoint_page_n: 5, ..bench.options() }).unwrap();
        replicator.open(TxId::NONE).unwrap();
        replicator.sync().unwrap();
        if rests {
            following(&replicator, || std::thread::sleep(Duration::from_millis(1300)));
        }
        insert(&app, 30);
        following_through(&replicator, || {
            drop(app);
            fs::write(path("-wal"), fs::read(saved("-wal")).unwrap()).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            fs::write(path(""), fs::read(saved("")).unwrap()).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        });
        let txid = replicator.sync().unwrap().txid.get();
        let app = bench.app();
        let count: i64 = app.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 300, "rests: {rests}");
        assert_eq!(bench.restore(txid), image(&app), "rests: {rests}");
    }
}

#[test]
fn a_wal_that_was_emptied_does_not_fail_the_application() {
    let (bench, app, replicator) = followed();
    drop(app);
    fs::write(bench.dir.path().join("app.db-wal"), b"").unwrap();
    let txid = replicator.sync().unwrap().txid.get();
    assert_eq!(rows(&bench.restore(txid)), 300, "what is there now");
    let app = bench.app();
    insert(&app, 1);
    let txid = replicator.sync().unwrap().txid.get();
    assert_eq!(bench.restore(txid), image(&app));
    let told = replicator.take_notices();
    assert!(told.iter().any(|text| text.contains("the wal was written")), "{told:?}");
}

/// Takes a snapshot, and does something to the database in the middle of it.
struct Interrupted<F> {
    act: F,
    left: usize,
}

impl<F: FnMut()> Write for Interrupted<F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.left > 0 && self.left <= buf.len() {
            (self.act)();
        }
        self.left = self.left.saturating_sub(buf.len());
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A database that is followed and that nobody uses, and an earlier state of it.
fn followed_and_earlier() -> (Bench, Database, Vec<u8>) {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    insert(&app, 3000);
    let backup = bench.dir.path().join("backup.db");
    app.execute(&format!("VACUUM INTO '{}'", backup.display()), []).unwrap();
    app.execute("UPDATE t SET b = randomblob(200)", []).unwrap();
    checkpoint(&app, "TRUNCATE");
    let replicator = bench.replicator(0);
    replicator.sync().unwrap();
    let earlier = fs::read(&backup).unwrap();
    (bench, replicator, earlier)
}

#[test]
fn a_snapshot_of_a_database_that_was_opened_anew_meanwhile_fails() {
    let (bench, replicator, mut earlier) = followed_and_earlier();
    // In WAL mode.
    earlier[18..20].copy_from_slice(&[2, 2]);
    let act = || {
        // As its owner does when the meta directory is removed.
        replicator.abandon();
        fs::write(&bench.path, &earlier).unwrap();
        assert!(replicator.open(TxId::NONE).unwrap());
    };
    let failed = replicator.snapshot(Interrupted { act, left: 100_000 }).unwrap_err();
    assert!(matches!(failed, Error::Changed { .. }), "{failed}");
}

#[test]
fn a_snapshot_holds_one_database_or_fails() {
    let (bench, replicator, other) = followed_and_earlier();
    let act = || fs::write(&bench.path, &other).unwrap();
    let failed = replicator.snapshot(Interrupted { act, left: 100_000 }).unwrap_err();
    assert!(matches!(failed, Error::Changed { .. }), "{failed}");
    let mut snapshot = Vec::new();
    let header = replicator.snapshot(&mut snapshot).unwrap();
    assert_eq!(header.max_txid, replicator.pos().txid);
    let connection = Connection::open(&bench.path).unwrap();
    assert_eq!(bench.restore(header.max_txid.get()), image(&connection));
}
