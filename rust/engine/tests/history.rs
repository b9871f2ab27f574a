//! Whatever the application and the replicator do, every transaction that was reported as synced can be restored, to the byte.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests may, on files of their own"
)]

mod common;

use common::{Bench, checkpoint, create, image};
use engine::{CheckpointMode, Database};
use proptest::prelude::*;
use rusqlite::Connection;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Op {
    Insert(u8),
    Update(u8),
    Delete(u8),
    Blob(u16),
    Schema(u8),
    Vacuum,
    RolledBack(u8),
    Checkpoint(&'static str),
    Reconnect,
    Sync,
    Follow,
    Ours(CheckpointMode),
    Restart { crash: bool },
    Away { crash: bool, ops: Vec<Op> },
}

fn checkpoint_mode() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
}

fn application() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..60u8).prop_map(Op::Insert),
        3 => any::<u8>().prop_map(Op::Update),
        2 => any::<u8>().prop_map(Op::Delete),
        1 => (1..60_000u16).prop_map(Op::Blob),
        1 => any::<u8>().prop_map(Op::Schema),
        1 => Just(Op::Vacuum),
        1 => (1..200u8).prop_map(Op::RolledBack),
        3 => checkpoint_mode().prop_map(Op::Checkpoint),
        1 => Just(Op::Reconnect),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let ours = prop::sample::select(vec![
        CheckpointMode::Passive,
        CheckpointMode::Restart,
        CheckpointMode::Truncate,
    ]);
    prop_oneof![
        10 => application(),
        5 => Just(Op::Sync),
        2 => Just(Op::Follow),
        1 => ours.prop_map(Op::Ours),
        1 => any::<bool>().prop_map(|crash| Op::Restart { crash }),
        2 => (any::<bool>(), prop::collection::vec(application(), 1..6)).prop_map(|(crash, ops)| Op::Away { crash, ops }),
    ]
}

struct World {
    bench: Bench,
    app: Connection,
    replicator: Option<Database>,
    synced: Vec<(u64, Vec<u8>)>,
}

impl World {
    fn new(page_size: u32, auto_vacuum: u8) -> Self {
        let bench = Bench::new();
        let app = Connection::open(&bench.path).unwrap();
        // Both can only be set before the first page is written.
        app.execute_batch(&format!("PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum}"))
            .unwrap();
        create(&app);
        drop(app);
        let app = bench.app();
        app.execute_batch("PRAGMA synchronous = off").unwrap();
        let replicator = Some(bench.replicator(0));
        Self { bench, app, replicator, synced: Vec::new() }
    }

    fn apply(&mut self, op: &Op) {
        let app = &self.app;
        let run = |sql: &str| app.execute_batch(sql).unwrap();
        match op {
            Op::Insert(rows) => common::insert(app, (*rows).into()),
            Op::Update(n) => run(&format!("UPDATE t SET b = randomblob(150) WHERE id % 17 = {}", n % 17)),
            Op::Delete(n) => run(&format!("DELETE FROM t WHERE id % 11 = {}", n % 11)),
            Op::Blob(bytes) => run(&format!("INSERT INTO t(b) VALUES (randomblob({bytes}))")),
            Op::Schema(n) if n % 2 == 0 => {
                run(&format!("CREATE TABLE IF NOT EXISTS u{}(x, y UNIQUE)", n % 5))
            }
            Op::Schema(n) => run(&format!("DROP TABLE IF EXISTS u{}; PRAGMA incremental_vacuum", n % 5)),
            Op::Vacuum => run("VACUUM"),
            Op::RolledBack(rows) => {
                run("PRAGMA cache_size = 10; BEGIN");
                common::insert(app, (*rows).into());
                run("ROLLBACK; PRAGMA cache_size = -2000");
            }
            Op::Checkpoint(mode) => {
                // Nobody follows while this thread waits.
                app.busy_timeout(Duration::ZERO).unwrap();
                checkpoint(app, mode);
                app.busy_timeout(Duration::from_secs(5)).unwrap();
            }
            Op::Reconnect => {
                self.app = self.bench.app();
                self.app.execute_batch("PRAGMA synchronous = off").unwrap();
            }
            Op::Sync => self.sync(),
            Op::Follow => drop(self.replicator().follow(Duration::from_millis(12)).unwrap()),
            Op::Ours(mode) => drop(self.replicator().checkpoint(*mode).unwrap()),
            Op::Restart { crash } => self.away(*crash, &[]),
            Op::Away { crash, ops } => self.away(*crash, ops),
        }
    }

    fn away(&mut self, crash: bool, ops: &[Op]) {
        let Some(replicator) = self.replicator.take() else { return };
        let pos = replicator.pos().txid;
        if crash {
            replicator.abandon()
        } else {
            replicator.close().unwrap()
        }
        drop(replicator);
        ops.iter().for_each(|op| self.apply(op));
        // The replica has at most what was reported; files made after that are here and nowhere else.
        self.replicator = Some(self.bench.replicator(pos.get()));
    }

    fn replicator(&self) -> &Database {
        self.replicator.as_ref().unwrap()
    }

    fn sync(&mut self) {
        let pos = self.replicator().sync().unwrap();
        let now = image(&self.app);
        let page_size = self.bench.header(pos.txid.get()).page_size;
        assert_eq!(
            pos.post_apply_checksum,
            ltx::checksum_database(&now, page_size).unwrap(),
            "checksum at {}",
            pos.txid
        );
        self.synced.push((pos.txid.get(), now));
    }

    fn verify(&mut self) {
        self.sync();
        for (txid, expected) in &self.synced {
            let page_size = self.bench.header(*txid).page_size.bytes();
            let differing = common::differing_pages(&self.bench.restore(*txid), expected, page_size);
            assert!(differing.is_empty(), "pages that differ at {txid}: {differing:?}");
        }
    }
}

/// A quick run unless `PROPTEST_CASES` asks for more. What was found once stands below as a test of its own.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 64 };
    ProptestConfig { cases, max_shrink_iters: 200, failure_persistence: None, ..default }
}

#[test]
fn frames_in_a_drained_wal_may_be_overwritten_right_after_the_database_is_opened() {
    let away = Op::Away { crash: true, ops: vec![Op::Checkpoint("PASSIVE")] };
    let mut world = World::new(512, 0);
    for op in [Op::Insert(11), Op::Sync, Op::Insert(1), away, Op::Insert(1), Op::Sync] {
        world.apply(&op);
    }
    world.verify();
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_synced_transaction_can_be_restored(
        page_size in prop::sample::select(vec![512u32, 1024, 4096, 8192, 65536]),
        auto_vacuum in 0..3u8,
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let mut world = World::new(page_size, auto_vacuum);
        ops.iter().for_each(|op| world.apply(op));
        world.verify();
    }
}
