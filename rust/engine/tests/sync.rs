//! One replicator beside one application: what ends up in the L0 files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests may, on files of their own"
)]

mod common;

use common::{Bench, checkpoint, create, following, image, insert, rows};
use engine::{CheckpointMode, Database, Error};
use ltx::TxId;
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn the_first_file_holds_every_page_and_later_ones_what_changed() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    insert(&app, 300);
    let replicator = bench.replicator(0);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(1));
    let first = image(&app);
    assert_eq!(bench.restore(1), first);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(1), "nothing new, no file");

    insert(&app, 1);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(2));
    assert!(bench.pages(2) < 5, "one row is not the whole database");
    assert_eq!(bench.restore(2), image(&app));
    assert_eq!(bench.restore(1), first);
}

#[test]
fn every_checkpoint_mode_of_the_application_works_and_loses_nothing() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    let replicator = bench.replicator(0);
    following(&replicator, || {
        for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE", "PASSIVE", "TRUNCATE", "TRUNCATE", "FULL"] {
            insert(&app, 20);
            let start = Instant::now();
            let (busy, ..) = checkpoint(&app, mode);
            assert_eq!(busy, 0, "{mode}");
            assert!(start.elapsed() < Duration::from_secs(2), "{mode} took {:?}", start.elapsed());
            insert(&app, 3);
            let txid = replicator.sync().unwrap().txid.get();
            assert_eq!(bench.restore(txid), image(&app), "{mode}");
        }
    });
    let counters = replicator.status().unwrap().counters;
    assert_eq!(
        (counters.full_syncs, counters.diff_syncs),
        (1, 0),
        "continuity was never in doubt: {counters:?}"
    );
    assert!(counters.restarts >= 4, "the wal began anew: {counters:?}");
}

#[test]
fn pages_that_the_database_only_grew_by_are_in_the_file() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    let replicator = bench.replicator(0);
    replicator.sync().unwrap();
    // The pages of the second half are allocated and freed in one transaction: SQLite need not write them at all.
    app.execute_batch(
        "BEGIN; INSERT INTO t(b) VALUES (zeroblob(40000)); CREATE TABLE u(b); INSERT INTO u VALUES (zeroblob(400000));
         DROP TABLE u; COMMIT",
    )
    .unwrap();
    let txid = replicator.sync().unwrap().txid.get();
    assert_eq!(bench.restore(txid).len(), image(&app).len());
    assert_eq!(rows(&bench.restore(txid)), 1);
    insert(&app, 500);
    let txid = replicator.sync().unwrap().txid.get();
    assert_eq!(rows(&bench.restore(txid)), 501);
}

#[test]
fn vacuum_shrinks_the_restored_database_too() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    insert(&app, 2000);
    let replicator = bench.replicator(0);
    replicator.sync().unwrap();
    for _ in 0..3 {
        app.execute("DELETE FROM t WHERE id % 3 = 0", []).unwrap();
        app.execute_batch("VACUUM").unwrap();
        let txid = replicator.sync().unwrap().txid.get();
        assert_eq!(bench.restore(txid), image(&app));
    }
}

#[test]
fn a_rolled_back_transaction_leaves_no_trace() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    app.execute_batch("PRAGMA cache_size = 5").unwrap();
    let replicator = bench.replicator(0);
    replicator.sync().unwrap();
    app.execute_batch("BEGIN").unwrap();
    insert(&app, 3000);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(1), "spilled frames are not committed ones");
    app.execute_batch("ROLLBACK").unwrap();
    insert(&app, 1);
    let txid = replicator.sync().unwrap().txid.get();
    assert_eq!(rows(&bench.restore(txid)), 1);
    assert_eq!(bench.restore(txid), image(&app));
}

#[test]
fn a_large_transaction_goes_through_a_spill_file() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    let replicator = bench.replicator(0);
    replicator.sync().unwrap();
    app.execute_batch("INSERT INTO t(b) SELECT randomblob(3000) FROM generate_series(1, 10000)")
        .unwrap_or_else(|_| {
            app.execute_batch(
                "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c WHERE x < 10000)
             INSERT INTO t(b) SELECT randomblob(3000) FROM c",
            )
            .unwrap();
        });
    let txid = replicator.sync().unwrap().txid.get();
    assert_eq!(txid, 2);
    assert_eq!(bench.restore(txid), image(&app));
}

#[test]
fn the_file_says_where_in_the_wal_it_came_from() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    let replicator = bench.replicator(0);
    replicator.sync().unwrap();
    insert(&app, 2);
    replicator.sync().unwrap();
    let (first, second) = (bench.header(1), bench.header(2));
    assert_eq!(second.wal_offset, first.wal_offset + first.wal_size);
    assert_eq!(
        second.wal_offset + second.wal_size,
        fs::metadata(bench.dir.path().join("app.db-wal")).unwrap().len()
    );
    assert_eq!((second.wal_salt1, second.wal_salt2), (first.wal_salt1, first.wal_salt2));
    assert!(second.timestamp >= first.timestamp);
}

#[test]
fn a_missing_database_is_waited_for() {
    let bench = Bench::new();
    let replicator = Database::new(bench.options()).unwrap();
    assert!(!replicator.open(TxId::NONE).unwrap());
    assert!(matches!(replicator.sync(), Err(Error::NotReady { .. })));
    assert!(!replicator.follow(Duration::from_millis(80)).unwrap());
    let app = bench.app();
    create(&app);
    assert!(
        matches!(replicator.sync(), Err(Error::NotReady { .. })),
        "what the replica has may be another by now"
    );
    assert!(replicator.follow(Duration::from_secs(10)).unwrap());
    assert!(replicator.open(TxId::NONE).unwrap());
    replicator.sync().unwrap();
    assert_eq!(bench.restore(replicator.pos().txid.get()), image(&app));
}

#[test]
fn a_second_replicator_is_kept_away_until_the_first_is_gone() {
    let bench = Bench::new();
    create(&bench.app());
    let first = bench.replicator(0);
    let second = Database::new(bench.options()).unwrap();
    assert!(matches!(second.open(TxId::NONE), Err(Error::InUse { .. })));
    first.close().unwrap();
    assert!(second.open(TxId::NONE).unwrap());
}

#[test]
fn a_closed_database_says_so_and_close_can_be_called_again() {
    let bench = Bench::new();
    create(&bench.app());
    let replicator = bench.replicator(0);
    replicator.close().unwrap();
    replicator.close().unwrap();
    assert!(matches!(replicator.sync(), Err(Error::NotOpen { .. })));
    assert!(matches!(replicator.follow(Duration::ZERO), Err(Error::NotOpen { .. })));
}

#[test]
fn closing_syncs_what_was_committed_last() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    let replicator = bench.replicator(0);
    replicator.sync().unwrap();
    insert(&app, 7);
    replicator.close().unwrap();
    assert_eq!(bench.restore(2), image(&app));
}

#[test]
fn an_isolated_commit_is_not_kept_waiting_and_a_stream_of_them_shares_files() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    let replicator = bench.replicator(0);
    assert!(replicator.follow(Duration::from_secs(5)).unwrap());
    following(&replicator, || {
        let end = Instant::now() + Duration::from_millis(2300);
        while Instant::now() < end {
            insert(&app, 1);
        }
    });
    replicator.sync().unwrap();
    let files = replicator.local_files().unwrap().len();
    assert!((3..=6).contains(&files), "{files} files in two and a half seconds");
    assert_eq!(bench.restore(replicator.pos().txid.get()), image(&app));
}

#[test]
fn a_long_write_transaction_is_not_asked_for_its_lock_all_the_time() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    app.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    let reader = bench.app();
    reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    insert(&app, 1500);
    app.execute_batch("BEGIN IMMEDIATE").unwrap();
    let replicator = bench.replicator(0);
    following(&replicator, || std::thread::sleep(Duration::from_millis(700)));
    let counters = replicator.status().unwrap().counters;
    assert!(counters.seals_refused < 20, "{counters:?}");
    assert!((1..20).contains(&counters.checkpoints), "what can be moved needs no lock: {counters:?}");
    app.execute_batch("COMMIT").unwrap();
    reader.execute_batch("COMMIT").unwrap();
    following(&replicator, || std::thread::sleep(Duration::from_millis(1500)));
    insert(&app, 1);
    assert_eq!(bench.restore(replicator.sync().unwrap().txid.get()), image(&app));
    assert!(replicator.status().unwrap().counters.restarts > 0, "then the wal begins anew");
}

#[test]
fn our_checkpoint_modes_do_what_they_say() {
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    insert(&app, 50);
    let replicator = bench.replicator(0);
    replicator.sync().unwrap();
    let done = replicator.checkpoint(CheckpointMode::Passive).unwrap();
    assert_eq!((done.busy, done.wal_frames), (false, done.checkpointed));
    insert(&app, 50);
    let done = replicator.checkpoint(CheckpointMode::Truncate).unwrap();
    assert!(!done.busy);
    assert_eq!(fs::metadata(bench.dir.path().join("app.db-wal")).unwrap().len(), 0);
    insert(&app, 5);
    let txid = replicator.sync().unwrap().txid.get();
    assert_eq!(bench.restore(txid), image(&app));
    assert_eq!(replicator.status().unwrap().counters.diff_syncs, 0);
}
