//! A writer that never pauses, while the replicator follows, crashes and comes back.
//!
//! Every transaction adds the next row and writes its number into `total`, so a restored database shows by itself whether it
//! is a prefix of what was committed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests may, on files of their own"
)]

mod common;

use common::Bench;
use engine::Database;
use ltx::TxId;
use rusqlite::{Connection, MAIN_DB};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Commits rows until `stop`, telling the number of the last one committed.
fn write(bench: &Bench, autocheckpoint: u32, committed: &AtomicI64, stop: &AtomicBool) {
    let app = bench.app();
    app.execute_batch(&format!("PRAGMA wal_autocheckpoint = {autocheckpoint}; PRAGMA synchronous = off"))
        .unwrap();
    let mut n: i64 = app.query_row("SELECT n FROM total", [], |row| row.get(0)).unwrap();
    while !stop.load(Ordering::Acquire) {
        n += 1;
        app.execute_batch(&format!(
            "BEGIN IMMEDIATE; INSERT INTO t VALUES ({n}, randomblob({})); UPDATE total SET n = {n}; COMMIT",
            n % 700
        ))
        .unwrap();
        committed.store(n, Ordering::Release);
    }
}

/// How many rows a restored database has; it must be whole.
fn prefix(restored: &[u8]) -> i64 {
    let mut bytes = restored.to_vec();
    (bytes[18], bytes[19]) = (1, 1);
    let mut sqlite = Connection::open_in_memory().unwrap();
    sqlite.deserialize_read_exact(MAIN_DB, bytes.as_slice(), bytes.len(), true).unwrap();
    let sound: String = sqlite.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let numbers = "SELECT n, (SELECT count(*) FROM t), (SELECT coalesce(max(id), 0) FROM t) FROM total";
    let (n, count, max): (i64, i64, i64) =
        sqlite.query_row(numbers, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!((count, max), (n, n), "not a prefix");
    n
}

/// Stops the writer also when the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn prepared() -> Bench {
    let bench = Bench::new();
    let app = bench.app();
    app.execute_batch(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, b); CREATE TABLE total(n); INSERT INTO total VALUES (0)",
    )
    .unwrap();
    bench
}

/// Follows for `time`, syncing now and then; what was reported as synced goes to `synced`.
fn follow(replicator: &Database, time: Duration, committed: &AtomicI64, synced: &mut Vec<(u64, i64)>) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        replicator.follow(Duration::from_millis(7)).unwrap();
        let before = committed.load(Ordering::Acquire);
        synced.push((replicator.sync().unwrap().txid.get(), before));
    }
}

fn crash_and_follow(autocheckpoint: u32, crashes: u32) {
    let bench = prepared();
    let (committed, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    let mut synced = Vec::new();
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| write(&bench, autocheckpoint, &committed, &stop));
        let mut remote = TxId::NONE;
        for n in 0..crashes {
            let replicator = Database::new(bench.options()).unwrap();
            replicator.open(remote).unwrap();
            follow(&replicator, Duration::from_millis(60 + u64::from(n * 37 % 90)), &committed, &mut synced);
            remote = replicator.pos().txid;
            if n % 3 == 2 {
                replicator.close().unwrap()
            } else {
                replicator.abandon()
            }
            let notices = replicator.take_notices();
            assert!(!notices.iter().any(|notice| notice.contains("other than SQLite")), "{notices:?}");
            thread::sleep(Duration::from_millis(u64::from(n * 53 % 40)));
        }
    });
    for (txid, at_least) in synced.iter().step_by(synced.len() / 12 + 1).chain(synced.last()) {
        let rows = prefix(&bench.restore(*txid));
        assert!(rows >= *at_least, "TXID {txid} has {rows} rows, {at_least} were reported as synced");
    }
}

#[test]
fn nothing_synced_is_lost_with_the_default_checkpoint() {
    crash_and_follow(1000, 20);
}

#[test]
fn nothing_synced_is_lost_when_only_the_replicator_checkpoints() {
    crash_and_follow(0, 20);
}

#[test]
fn nothing_synced_is_lost_when_the_application_checkpoints_after_every_few_commits() {
    crash_and_follow(5, 20);
}

#[test]
fn a_snapshot_under_load_is_the_database_at_its_transaction() {
    let bench = prepared();
    let (committed, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    let replicator = bench.replicator(0);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| write(&bench, 1000, &committed, &stop));
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                replicator.follow(Duration::from_millis(20)).unwrap();
            }
        });
        for _ in 0..12 {
            let before = committed.load(Ordering::Acquire);
            let mut snapshot = Vec::new();
            let header = replicator.snapshot(&mut snapshot).unwrap();
            let mut image = Vec::new();
            ltx::decode_database(ltx::Decoder::new(snapshot.as_slice()).unwrap(), &mut image).unwrap();
            assert!(prefix(&image) >= before);
            assert_eq!(image, bench.restore(header.max_txid.get()), "snapshot of {}", header.max_txid);
            thread::sleep(Duration::from_millis(30));
        }
    });
}
