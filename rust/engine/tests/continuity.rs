//! The replicator was away, or something changed underneath: continuity is proved, or repaired by a difference.
//!
//! Each test stands for a way in which a replicator that trusts a stale frame, or a file that is no longer there, loses rows or
//! stops for good.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests may, on files of their own"
)]

mod common;

use common::{Bench, checkpoint, create, image, insert, rows};
use engine::{Counters, Database, Error};
use ltx::TxId;
use rusqlite::Connection;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn counters(replicator: &Database) -> Counters {
    replicator.status().unwrap().counters
}

/// A database with two L0 files, so that there is something to continue.
fn started(bench: &Bench, app: &Connection) -> Database {
    create(app);
    insert(app, 400);
    let replicator = bench.replicator(0);
    replicator.sync().unwrap();
    insert(app, 5);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(2));
    replicator
}

#[test]
fn a_wal_that_only_grew_is_continued_without_a_scan() {
    for crash in [false, true] {
        let bench = Bench::new();
        let app = bench.app();
        app.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
        let replicator = started(&bench, &app);
        if crash {
            replicator.abandon()
        } else {
            replicator.close().unwrap()
        }
        insert(&app, 10);
        let replicator = bench.replicator(2);
        let txid = replicator.sync().unwrap().txid.get();
        assert_eq!(bench.restore(txid), image(&app));
        assert_eq!(
            counters(&replicator),
            Counters { incremental_syncs: 1, ..Counters::default() },
            "crash: {crash}"
        );
    }
}

#[test]
fn frames_that_were_checkpointed_and_overwritten_are_found_by_a_difference() {
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        for after in [1, 3, 20, 50] {
            let bench = Bench::new();
            let app = bench.app();
            app.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
            let replicator = started(&bench, &app);
            replicator.abandon();
            insert(&app, 100);
            checkpoint(&app, mode);
            insert(&app, after);
            let replicator = bench.replicator(2);
            let txid = replicator.sync().unwrap().txid.get();
            assert_eq!(bench.restore(txid), image(&app), "{mode}, {after} rows after");
            assert_eq!(rows(&bench.restore(txid)), 505 + i64::from(after));
            assert_eq!(counters(&replicator).diff_syncs, 1, "{mode}: {:?}", counters(&replicator));
            assert!(bench.pages(3) < bench.header(3).commit.get(), "a difference is not the whole database");
        }
    }
}

#[test]
fn an_application_that_left_and_came_back_is_a_difference_too() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    replicator.close().unwrap();
    insert(&app, 30);
    // The last connection moves the WAL into the database and deletes it.
    drop(app);
    assert!(!bench.dir.path().join("app.db-wal").exists());
    let app = bench.app();
    let replicator = bench.replicator(2);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(3));
    assert_eq!(bench.restore(3), image(&app));
    assert_eq!(counters(&replicator).diff_syncs, 1);
    replicator.close().unwrap();
    let replicator = bench.replicator(3);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(3), "nothing changed, nothing is written");
}

#[test]
fn without_page_checksums_the_file_holds_every_page() {
    for damage in ["missing", "torn", "flipped"] {
        let bench = Bench::new();
        let app = bench.app();
        let replicator = started(&bench, &app);
        replicator.close().unwrap();
        insert(&app, 30);
        checkpoint(&app, "TRUNCATE");
        let sums = bench.meta().join("ltxcore/page-checksums");
        let mut bytes = fs::read(&sums).unwrap();
        match damage {
            "missing" => fs::remove_file(&sums).unwrap(),
            "torn" => fs::write(&sums, &bytes[..20]).unwrap(),
            _ => {
                bytes[4096 + 8 * 3] ^= 1;
                fs::write(&sums, &bytes).unwrap();
            }
        }
        let replicator = bench.replicator(2);
        assert_eq!(replicator.sync().unwrap().txid, TxId::new(3));
        assert_eq!(bench.pages(3), bench.header(3).commit.get(), "{damage}");
        assert_eq!(bench.restore_from(3, 3), image(&app), "{damage}");
        assert_eq!(counters(&replicator).full_syncs, 1, "{damage}");
    }
}

#[test]
fn page_checksums_left_behind_by_a_crash_are_brought_up_by_the_files_since() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    for _ in 0..5 {
        app.execute("DELETE FROM t WHERE id % 7 = 0", []).unwrap();
        insert(&app, 20);
        replicator.sync().unwrap();
    }
    let pos = replicator.pos();
    replicator.abandon();
    checkpoint(&app, "TRUNCATE");
    let replicator = bench.replicator(pos.txid.get());
    assert_eq!(replicator.sync().unwrap(), pos, "the same database, the same checksum");
    insert(&app, 1);
    let txid = replicator.sync().unwrap().txid.get();
    assert_eq!(bench.restore(txid), image(&app));
    assert_eq!(counters(&replicator).full_syncs, 0);
}

#[test]
fn the_position_carries_the_checksum_of_the_database() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    for _ in 0..3 {
        app.execute("DELETE FROM t WHERE id % 5 = 0", []).unwrap();
        app.execute_batch("VACUUM").unwrap();
        let pos = replicator.sync().unwrap();
        let restored = bench.restore(pos.txid.get());
        let page_size = ltx::PageSize::new(4096).unwrap();
        assert_eq!(pos.post_apply_checksum, ltx::checksum_database(&restored, page_size).unwrap());
    }
}

#[test]
fn a_replica_that_is_ahead_is_continued_with_every_page() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    replicator.close().unwrap();
    let replicator = bench.replicator(9);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(10));
    assert_eq!(bench.restore_from(10, 10), image(&app));
    assert!(!bench.l0(2).exists(), "files of another history are gone");
}

#[test]
fn a_file_that_is_lost_here_and_in_the_replica_is_no_end_of_the_chain() {
    // With TXID 2 in the replica: 3 goes on from there, and 4 from nowhere, but 2 is not used again.
    for (lost, next) in [(vec![2], 5), (vec![2, 3], 3)] {
        let bench = Bench::new();
        let app = bench.app();
        let replicator = started(&bench, &app);
        for _ in 3..=4 {
            insert(&app, 5);
            replicator.sync().unwrap();
        }
        replicator.close().unwrap();
        let second = fs::read(bench.l0(2)).unwrap();
        lost.iter().for_each(|txid| fs::remove_file(bench.l0(*txid)).unwrap());
        insert(&app, 5);
        let replicator = bench.replicator(2);
        assert_eq!(replicator.sync().unwrap().txid, TxId::new(next), "{lost:?}");
        fs::write(bench.l0(2), second).unwrap();
        let first = if lost.len() == 1 { 1 } else { next };
        assert_eq!(bench.restore_from(first, next), image(&app), "{lost:?}");
    }
}

#[test]
fn a_newest_file_that_is_torn_is_not_built_upon() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    replicator.close().unwrap();
    let bytes = fs::read(bench.l0(2)).unwrap();
    fs::write(bench.l0(2), &bytes[..bytes.len() - 7]).unwrap();
    let replicator = bench.replicator(1);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(2));
    assert_eq!(bench.restore_from(2, 2), image(&app));
}

#[test]
fn rows_that_another_program_missed_are_found_when_it_is_our_turn_again() {
    let bench = Bench::new();
    let app = bench.app();
    app.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    let replicator = started(&bench, &app);
    replicator.close().unwrap();
    insert(&app, 50);
    // Its file goes on where ours ended and says that it read the WAL to the end, but holds one page of it only.
    let end = bench.header(2).wal_offset + bench.header(2).wal_size;
    let size = fs::metadata(bench.dir.path().join("app.db-wal")).unwrap().len();
    let commit = u32::try_from(image(&app).len() / 4096).unwrap();
    let txid = TxId::new(3);
    let header = ltx::Header {
        wal_offset: end,
        wal_size: size - end,
        ..ltx::Header {
            commit: ltx::PageCount::new(commit),
            min_txid: txid,
            max_txid: txid,
            ..bench.header(2)
        }
    };
    let mut encoder = ltx::Encoder::new(Vec::new(), &header).unwrap();
    let last = ltx::Pgno::new(commit).unwrap();
    encoder.write_page(last, &image(&app)[image(&app).len() - 4096..]).unwrap();
    fs::write(bench.l0(3), encoder.finish(ltx::Checksum::NONE).unwrap().0).unwrap();

    let replicator = bench.replicator(3);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(4));
    assert_eq!(bench.restore(4), image(&app));
    assert_eq!(counters(&replicator).diff_syncs, 1);
}

#[test]
fn a_file_that_another_program_puts_in_our_way_is_left_alone_and_gone_beyond() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    let txid = TxId::new(3);
    let header = ltx::Header { min_txid: txid, max_txid: txid, ..bench.header(2) };
    let mut encoder = ltx::Encoder::new(Vec::new(), &header).unwrap();
    encoder.write_page(ltx::Pgno::new(2).unwrap(), &[7; 4096]).unwrap();
    let foreign = encoder.finish(ltx::Checksum::NONE).unwrap().0;
    fs::write(bench.l0(3), &foreign).unwrap();
    insert(&app, 9);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(4));
    assert_eq!(fs::read(bench.l0(3)).unwrap(), foreign);
    assert_eq!(bench.restore(4), image(&app));
}

#[test]
fn a_lost_meta_directory_is_reported_and_made_anew() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    fs::remove_dir_all(bench.meta()).unwrap();
    insert(&app, 40);
    assert!(matches!(replicator.sync(), Err(Error::LocalStateLost { .. })));
    assert!(replicator.open(TxId::new(2)).unwrap());
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(3));
    assert_eq!(bench.restore_from(3, 3), image(&app));
}

fn copy_database(from: &Connection, to: &Path) {
    let mut sql = String::from("VACUUM INTO '");
    sql.push_str(to.to_str().unwrap());
    sql.push('\'');
    from.execute_batch(&sql).unwrap();
}

#[test]
fn a_database_that_was_replaced_is_followed_in_its_place() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    let other = Bench::new();
    let other_app = other.app();
    create(&other_app);
    insert(&other_app, 777);
    copy_database(&other_app, &bench.dir.path().join("new.db"));
    insert(&app, 3);
    drop(app);
    for name in ["app.db-wal", "app.db-shm"] {
        let _ = fs::remove_file(bench.dir.path().join(name));
    }
    fs::rename(bench.dir.path().join("new.db"), &bench.path).unwrap();
    let app = bench.app();
    insert(&app, 2);
    let txid = replicator.sync().unwrap().txid.get();
    assert_eq!(rows(&bench.restore(txid)), 779);
    assert_eq!(bench.restore(txid), image(&app));
}

#[test]
fn a_database_that_was_deleted_is_waited_for() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    while replicator.follow(Duration::from_millis(20)).unwrap() {}
    drop(app);
    for name in ["app.db", "app.db-wal", "app.db-shm"] {
        let _ = fs::remove_file(bench.dir.path().join(name));
    }
    assert!(!replicator.follow(Duration::from_millis(200)).unwrap());
    let told = replicator.take_notices();
    let [gone] = told.as_slice() else { panic!("{told:?}") };
    assert!(
        gone.ends_with("is gone; its pages are compared with the newest L0 file once there is one again")
    );
    let app = bench.app();
    create(&app);
    insert(&app, 3);
    let txid = replicator.sync().unwrap().txid.get();
    assert_eq!(rows(&bench.restore(txid)), 3);
}

#[test]
fn a_database_that_could_not_be_opened_is_opened_by_who_says_what_the_replica_has() {
    let bench = Bench::new();
    fs::write(&bench.path, [7; 8192]).unwrap();
    let replicator = Database::new(bench.options()).unwrap();
    replicator.open(TxId::new(9)).unwrap_err();
    fs::remove_file(&bench.path).unwrap();
    let app = bench.app();
    create(&app);
    assert!(matches!(replicator.sync(), Err(Error::NotOpen { .. })));
    assert!(matches!(replicator.follow(Duration::ZERO), Err(Error::NotOpen { .. })));
    assert!(replicator.open(TxId::new(9)).unwrap());
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(10));
}

#[test]
fn another_page_size_starts_with_every_page_and_asks_for_a_snapshot() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    replicator.close().unwrap();
    app.execute_batch(
        "PRAGMA journal_mode = delete; PRAGMA page_size = 8192; VACUUM; PRAGMA journal_mode = wal",
    )
    .unwrap();
    insert(&app, 40);
    let replicator = bench.replicator(2);
    let txid = replicator.sync().unwrap().txid;
    assert_eq!(txid, TxId::new(3));
    assert_eq!(bench.header(3).page_size.get(), 8192);
    assert_eq!(bench.restore_from(3, 3), image(&app));
    assert_eq!(replicator.status().unwrap().snapshot_wanted, Some(txid));
    let mut snapshot = Vec::new();
    let header = replicator.snapshot(&mut snapshot).unwrap();
    assert_eq!((header.min_txid, header.max_txid), (TxId::new(1), txid));
    // Written here is not stored there, and a crash does not make the replica restorable.
    replicator.abandon();
    let replicator = bench.replicator(txid.get());
    assert_eq!(replicator.status().unwrap().snapshot_wanted, Some(txid));
    replicator.snapshot_stored(TxId::new(2)).unwrap();
    assert_eq!(replicator.status().unwrap().snapshot_wanted, Some(txid), "an older one is of no use");
    replicator.snapshot_stored(txid).unwrap();
    assert_eq!(replicator.status().unwrap().snapshot_wanted, None);
}

#[test]
fn journal_mode_delete_while_away_is_a_difference() {
    let bench = Bench::new();
    let app = bench.app();
    let replicator = started(&bench, &app);
    replicator.close().unwrap();
    app.execute_batch("PRAGMA journal_mode = delete").unwrap();
    insert(&app, 40);
    let replicator = bench.replicator(2);
    assert_eq!(replicator.sync().unwrap().txid, TxId::new(3));
    assert_eq!(bench.restore(3), image(&app));
    assert_eq!(counters(&replicator).diff_syncs, 1);
}
