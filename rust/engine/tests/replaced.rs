//! Files that are replaced, removed or copied under the replicator: nothing is written into a file that is not proved to be the
//! one that was followed, and whatever is there afterwards is what the next L0 file makes of the chain.
//!
//! The application is stopped before its files are touched, as an operator would do it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests may, on files of their own"
)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Bench, checkpoint, create, following, image, insert, rows};
use engine::{Database, Error};
use ltx::TxId;
use rusqlite::Connection;

/// A database with a backup of an earlier state, and a replicator that has seen both.
struct Scene {
    bench: Bench,
    app: Option<Connection>,
    replicator: Database,
}

const ROWS_IN_BACKUP: i64 = 300;

impl Scene {
    fn new() -> Self {
        let bench = Bench::new();
        let app = bench.app();
        create(&app);
        insert(&app, 300);
        app.execute(&format!("VACUUM INTO '{}'", bench.dir.path().join("backup.db").display()), []).unwrap();
        insert(&app, 200);
        let replicator = bench.replicator(0);
        replicator.sync().unwrap();
        Self { bench, app: Some(app), replicator }
    }

    fn app(&self) -> &Connection {
        self.app.as_ref().unwrap()
    }

    fn stop_app(&mut self) {
        drop(self.app.take());
    }

    fn sidecar(&self, suffix: &str) -> PathBuf {
        self.bench.dir.path().join(format!("app.db{suffix}"))
    }

    /// The file keeps its inode. In a process of its own: to close it in this one would take the locks of the application.
    fn copy_backup_over(&self) -> Vec<u8> {
        let backup = self.bench.dir.path().join("backup.db");
        assert!(Command::new("cp").arg(&backup).arg(&self.bench.path).status().unwrap().success());
        fs::read(backup).unwrap()
    }

    /// What the chain is now, and the database as SQLite sees it.
    fn assert_restores(&self) {
        let txid = self.replicator.sync().unwrap().txid.get();
        let restored = self.bench.restore(txid);
        let app = self.bench.app();
        assert_eq!(restored, image(&app));
    }

    /// Until the WAL is moved and the replicator has gone to rest.
    fn rest(&self) {
        following(&self.replicator, || std::thread::sleep(Duration::from_millis(1300)));
    }
}

#[test]
fn no_frame_of_a_removed_wal_goes_into_a_backup_that_was_copied_over() {
    for rests in [false, true] {
        let mut scene = Scene::new();
        if rests {
            scene.rest();
        }
        insert(scene.app(), 20);
        scene.stop_app();
        let backup = scene.copy_backup_over();
        fs::remove_file(scene.sidecar("-wal")).unwrap();
        fs::remove_file(scene.sidecar("-shm")).unwrap();
        scene.replicator.sync().unwrap();
        let bytes = fs::read(&scene.bench.path).unwrap();
        assert_eq!(bytes.len(), backup.len());
        let differing = bytes.iter().zip(&backup).filter(|(a, b)| a != b).count();
        assert!(differing < 40, "only what switching to WAL mode changes: {differing} bytes");
        scene.assert_restores();
        assert_eq!(rows(&scene.bench.restore(scene.replicator.pos().txid.get())), ROWS_IN_BACKUP);
    }
}

#[test]
fn a_copy_over_an_idle_database_is_noticed() {
    for while_away in [false, true] {
        let mut scene = Scene::new();
        checkpoint(scene.app(), "TRUNCATE");
        scene.rest();
        scene.stop_app();
        if while_away {
            scene.replicator.close().unwrap();
        }
        // Equal in size, and the newest page is the only one that differs.
        let mut bytes = fs::read(&scene.bench.path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&scene.bench.path, &bytes).unwrap();
        if while_away {
            let txid = scene.bench.dir.path().join(".app.db-litestream/ltx/0").read_dir().unwrap().count();
            scene.replicator.open(TxId::new(txid as u64)).unwrap();
        }
        let txid = scene.replicator.sync().unwrap().txid.get();
        assert_eq!(scene.bench.restore(txid)[last], bytes[last], "while away: {while_away}");
        let told = scene.replicator.take_notices();
        assert!(while_away || told.iter().any(|text| text.contains("other than SQLite")), "{told:?}");
    }
}

#[test]
fn a_copy_right_behind_a_checkpoint_of_the_application_is_noticed() {
    let mut scene = Scene::new();
    insert(scene.app(), 50);
    scene.replicator.sync().unwrap();
    checkpoint(scene.app(), "TRUNCATE");
    scene.copy_backup_over();
    scene.stop_app();
    scene.assert_restores();
    assert_eq!(rows(&scene.bench.restore(scene.replicator.pos().txid.get())), ROWS_IN_BACKUP);
}

#[test]
fn another_file_under_the_name_leaves_the_old_wal_behind() {
    let mut scene = Scene::new();
    insert(scene.app(), 50);
    scene.rest();
    scene.stop_app();
    fs::rename(scene.bench.dir.path().join("backup.db"), &scene.bench.path).unwrap();
    // The WAL has frames, all of which are in the old file: nobody may see them in the new one.
    scene.assert_restores();
    assert_eq!(rows(&scene.bench.restore(scene.replicator.pos().txid.get())), ROWS_IN_BACKUP);
}

#[test]
fn a_wal_index_without_a_name_is_used_on_and_no_second_one_is_made() {
    let scene = Scene::new();
    fs::remove_file(scene.sidecar("-shm")).unwrap();
    insert(scene.app(), 30);
    let txid = scene.replicator.sync().unwrap().txid.get();
    assert!(!scene.sidecar("-shm").exists());
    assert_eq!(rows(&scene.bench.restore(txid)), 530);
    let mut snapshot = Vec::new();
    scene.replicator.snapshot(&mut snapshot).unwrap();
    assert!(!scene.sidecar("-shm").exists(), "a snapshot needs no further connection");
    // Whoever comes anew cannot share it.
    scene.replicator.abandon();
    let began = Instant::now();
    let refused = scene.replicator.open(TxId::new(txid)).unwrap_err();
    assert!(matches!(refused, Error::IndexRemoved { .. }), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(2));
    drop(scene.app);
    scene.replicator.open(TxId::new(txid)).unwrap();
    let txid = scene.replicator.sync().unwrap().txid.get();
    assert_eq!(rows(&scene.bench.restore(txid)), 530);
}

#[test]
fn no_second_wal_is_made_beside_one_without_a_name() {
    let scene = Scene::new();
    let txid = scene.replicator.sync().unwrap().txid;
    scene.replicator.abandon();
    fs::remove_file(scene.sidecar("-wal")).unwrap();
    insert(scene.app(), 30);
    let refused = scene.replicator.open(txid).unwrap_err();
    assert!(matches!(refused, Error::IndexRemoved { .. }), "{refused}");
    assert!(!scene.sidecar("-wal").exists());
    drop(scene.app);
    scene.replicator.open(txid).unwrap();
    assert_eq!(rows(&scene.bench.restore(scene.replicator.sync().unwrap().txid.get())), 530);
}

#[test]
fn nobody_joins_an_application_whose_file_was_copied_over_by_one_in_rollback_mode() {
    let mut scene = Scene::new();
    let txid = scene.replicator.sync().unwrap().txid;
    scene.replicator.abandon();
    checkpoint(scene.app(), "TRUNCATE");
    scene.copy_backup_over();
    let refused = scene.replicator.open(txid).unwrap_err();
    assert!(matches!(refused, Error::LeftInUse { .. }), "{refused}");
    scene.stop_app();
    scene.replicator.open(txid).unwrap();
    scene.assert_restores();
    assert_eq!(rows(&scene.bench.restore(scene.replicator.pos().txid.get())), ROWS_IN_BACKUP);
}

#[test]
fn what_a_removed_wal_held_is_moved_as_a_whole_or_not_at_all() {
    let mut scene = Scene::new();
    scene.rest();
    insert(scene.app(), 30);
    scene.replicator.sync().unwrap();
    scene.stop_app();
    fs::remove_file(scene.sidecar("-shm")).unwrap();
    // Commits that only the wal-index of this connection knows.
    let app = scene.bench.app();
    insert(&app, 20);
    drop(app);
    fs::remove_file(scene.sidecar("-wal")).unwrap();
    fs::remove_file(scene.sidecar("-shm")).unwrap();
    let _ = scene.replicator.sync();
    let found = rows(&fs::read(&scene.bench.path).unwrap());
    assert!(found == 500 || found == 550, "{found}");
    scene.assert_restores();
}

#[test]
fn commits_that_only_another_wal_index_without_a_name_knows_are_not_passed_over() {
    let mut scene = Scene::new();
    scene.stop_app();
    fs::remove_file(scene.sidecar("-shm")).unwrap();
    let app = scene.bench.app();
    insert(&app, 20);
    fs::remove_file(scene.sidecar("-shm")).unwrap();
    let refused = scene.replicator.sync().unwrap_err();
    assert!(matches!(refused, Error::IndexRemoved { .. }), "{refused}");
    drop(app);
    scene.assert_restores();
}

#[test]
fn a_sidecar_without_a_name_is_told_of_once() {
    for suffix in ["-wal", "-shm"] {
        let scene = Scene::new();
        fs::remove_file(scene.sidecar(suffix)).unwrap();
        for look in 0..3 {
            insert(scene.app(), 1);
            scene.replicator.sync().unwrap();
            let told = scene.replicator.take_notices();
            assert_eq!(
                told.iter().filter(|text| text.contains(suffix)).count(),
                usize::from(look == 0),
                "{told:?}"
            );
        }
    }
}

#[test]
fn whoever_closes_last_saves_what_is_in_a_wal_that_was_removed_with_its_index() {
    for is_in_use in [true, false] {
        let mut scene = Scene::new();
        insert(scene.app(), 30);
        if !is_in_use {
            scene.stop_app();
        }
        for suffix in ["-wal", "-shm"] {
            fs::remove_file(scene.sidecar(suffix)).unwrap();
        }
        if is_in_use {
            // Without us there the application does, as it would have done all along.
            let refused = scene.replicator.sync().unwrap_err();
            assert!(matches!(refused, Error::IndexRemoved { .. } | Error::LeftInUse { .. }), "{refused}");
            insert(scene.app(), 10);
            scene.stop_app();
        }
        scene.assert_restores();
        let expected = if is_in_use { 540 } else { 530 };
        assert_eq!(rows(&fs::read(&scene.bench.path).unwrap()), expected);
    }
}

#[test]
fn a_database_that_cannot_be_looked_at_is_not_taken_for_gone() {
    let scene = Scene::new();
    let before = scene.replicator.sync().unwrap();
    let aside = scene.bench.dir.path().join("aside.db");
    fs::rename(&scene.bench.path, &aside).unwrap();
    // A link to itself cannot be followed, as a directory cannot that may not be searched.
    std::os::unix::fs::symlink(&scene.bench.path, &scene.bench.path).unwrap();
    let error = scene.replicator.sync().unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    fs::rename(&aside, &scene.bench.path).unwrap();
    assert_eq!(scene.replicator.sync().unwrap().txid, before.txid);
}

#[test]
fn a_last_connection_leaves_nothing_beside_the_database() {
    let mut scene = Scene::new();
    scene.stop_app();
    scene.replicator.close().unwrap();
    assert!(!scene.sidecar("-wal").exists() && !scene.sidecar("-shm").exists());
    let scene = Scene::new();
    scene.rest();
    scene.replicator.close().unwrap();
    assert!(scene.sidecar("-wal").exists(), "the application is still there");
}

#[test]
fn page_checksums_of_another_time_than_the_files_are_not_used() {
    let scene = Scene::new();
    let sums = scene.bench.meta().join("ltxcore/page-checksums");
    for _ in 0..3 {
        insert(scene.app(), 5);
        scene.replicator.sync().unwrap();
    }
    // The newest file is lost before anybody has it, and the WAL goes on without its frames.
    let lost = scene.replicator.pos().txid;
    scene.replicator.abandon();
    assert!(sums.exists());
    fs::remove_file(scene.bench.l0(lost.get())).unwrap();
    checkpoint(scene.app(), "TRUNCATE");
    insert(scene.app(), 1);
    let remote = TxId::new(lost.get() - 1);
    scene.replicator.open(remote).unwrap();
    assert_eq!(scene.replicator.chain_wanted(), Some(remote));
    let txid = scene.replicator.sync().unwrap().txid.get();
    assert_eq!(scene.bench.restore(txid), image(scene.app()));
    assert_eq!(scene.replicator.status().unwrap().snapshot_wanted, Some(TxId::new(txid)));
}

#[test]
fn pages_of_the_chain_that_are_handed_in_spare_an_upload_of_all() {
    let scene = Scene::new();
    insert(scene.app(), 5);
    let pos = scene.replicator.sync().unwrap();
    let restored = scene.bench.restore(pos.txid.get());
    scene.replicator.close().unwrap();
    fs::remove_dir_all(scene.bench.meta()).unwrap();
    insert(scene.app(), 3);
    scene.replicator.open(pos.txid).unwrap();
    assert_eq!(scene.replicator.chain_wanted(), Some(pos.txid));
    let page_size = ltx::PageSize::new(4096).unwrap();
    let sums: Vec<u8> = (1..)
        .zip(restored.chunks(4096))
        .flat_map(|(n, page)| ltx::page_checksum(ltx::Pgno::new(n).unwrap(), page).get().to_be_bytes())
        .collect();
    let path = scene.bench.dir.path().join("sums");
    fs::write(&path, sums).unwrap();
    scene.replicator.adopt(&path, page_size, pos.txid).unwrap();
    assert_eq!(scene.replicator.chain_wanted(), None);
    let txid = scene.replicator.sync().unwrap().txid.get();
    assert!(scene.bench.pages(txid) < 5, "{} pages", scene.bench.pages(txid));
    assert_eq!(scene.replicator.status().unwrap().snapshot_wanted, None);
}

/// Milliseconds; tests of this file that need a clock of their own share it.
static NOW: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);

#[test]
fn a_clock_that_was_ahead_for_a_moment_is_not_followed_back() {
    let set = |millis: i64| NOW.store(millis, std::sync::atomic::Ordering::Relaxed);
    let bench = Bench::new();
    let app = bench.app();
    create(&app);
    set(1_000_000);
    let clock = || ltx::Timestamp::from_millis(NOW.load(std::sync::atomic::Ordering::Relaxed));
    let replicator = Database::new(engine::Options { clock, ..bench.options() }).unwrap();
    replicator.open(TxId::NONE).unwrap();
    let mut stamps = Vec::new();
    // A small step back is not shown; a day ahead is, and ends with the clock.
    for now in [1_000_000, 999_000, 90_000_000, 1_002_000, 1_003_000] {
        set(now);
        insert(&app, 1);
        let txid = replicator.sync().unwrap().txid.get();
        stamps.push(bench.header(txid).timestamp.millis());
    }
    assert_eq!(stamps, [1_000_000, 1_000_000, 90_000_000, 1_002_000, 1_003_000]);
    let told = replicator.take_notices();
    assert_eq!(
        told.iter().filter(|text| text.contains("the clock went back by 88998 s")).count(),
        1,
        "{told:?}"
    );
}
