//! The files that SQLite itself writes, against what SQLite says is in them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "common/live.rs"]
mod live;

use live::{Live, Numbers, connect};
use wal::{
    AutoVacuum, Cursor, DbHeader, HeaderState, PageMap, PageSource, WalReader, probe_header,
    resume_unverified, verify_chain,
};

const PAGE_SIZES: [u32; 5] = [512, 1024, 4096, 32768, 65536];

/// The wal-index and the log must tell the same story.
fn check_index(live: &Live, page_size: u32) {
    let index = live.index();
    assert_eq!(index.page_size.map(ltx::PageSize::get), Some(page_size));
    let header = live.header().unwrap();
    if index.mx_frame == 0 {
        return; // restarted, and not yet written to
    }
    let map = live.map().unwrap();
    assert_eq!(index.salt, header.salt);
    assert_eq!(index.byte_order, header.byte_order);
    assert_eq!(u64::from(index.mx_frame), map.end.frames());
    assert_eq!(index.frame_checksum, map.end.checksum);
    assert_eq!(index.page_count, map.commit.get());
    assert!(index.backfilled <= index.mx_frame && index.backfilled <= index.backfill_attempted);
    let seeded = resume_unverified(&live.wal, header, map.end.offset).unwrap();
    assert_eq!(seeded, Some(map.end));
    assert_eq!(verify_chain(&live.wal, &header, map.end.offset).unwrap(), Some(map.end));
}

#[test]
fn a_page_map_over_the_file_is_the_database() {
    for page_size in PAGE_SIZES {
        let mut live = Live::new(page_size, "");
        let mut numbers = Numbers(u64::from(page_size));
        for step in 0..60 {
            live.write(&mut numbers);
            check_index(&live, page_size);
            match numbers.below(12) {
                0 => live.checkpoint("PASSIVE"),
                1 => live.checkpoint("RESTART"),
                2 => live.checkpoint("TRUNCATE"),
                3 => live.conn.execute_batch("VACUUM").unwrap(),
                _ => {}
            }
            let truth = live.truth();
            let pages = truth.len() / page_size as usize;
            let map = live.map();
            assert!(live.overlay(map.as_ref(), pages as u32) == truth, "step {step}, pages of {page_size}");
        }
    }
}

/// Follows a log from commit to commit as a replicator does, into a copy of the database.
struct Follower {
    copy: Vec<u8>,
    cursor: Cursor,
    restarts: usize,
}

impl Follower {
    fn new(live: &Live) -> Follower {
        let map = live.map().unwrap();
        Follower { copy: live.overlay(Some(&map), map.commit.get()), cursor: map.end, restarts: 0 }
    }

    fn step(&mut self, live: &Live) {
        match probe_header(&live.wal, &self.cursor.header).unwrap() {
            HeaderState::Absent => return,
            HeaderState::Same => {}
            HeaderState::Restarted(header) => {
                self.restarts += 1;
                self.cursor = Cursor::start(header);
            }
        }
        let mut reader = WalReader::resume(&live.wal, self.cursor);
        let map = PageMap::build(&mut reader, None).unwrap();
        self.cursor = map.end;
        if map.commit.get() != 0 {
            self.apply(live, &map);
        }
    }

    fn apply(&mut self, live: &Live, map: &PageMap) {
        let page_bytes = map.page_size().bytes();
        let known = self.copy.len() / page_bytes;
        self.copy.resize(map.commit.get() as usize * page_bytes, 0);
        let mut source = PageSource::new(&live.db, &live.wal, Some(map), map.page_size()).unwrap();
        for pgno in map.commit.pgnos(map.page_size()) {
            if map.get(pgno).is_some() || pgno.get() as usize > known {
                let at = pgno.offset(map.page_size()) as usize;
                self.copy[at..][..page_bytes].copy_from_slice(source.page(pgno).unwrap());
            }
        }
    }
}

#[test]
fn following_keeps_a_copy_equal() {
    for page_size in PAGE_SIZES {
        let mut live = Live::new(page_size, "PRAGMA auto_vacuum = FULL;");
        let mut numbers = Numbers(7 * u64::from(page_size));
        let mut follower = Follower::new(&live);
        for step in 0..80 {
            live.write(&mut numbers);
            follower.step(&live);
            assert!(follower.copy == live.truth(), "step {step}, pages of {page_size}");
            match numbers.below(10) {
                0 => live.checkpoint("PASSIVE"),
                1 => live.checkpoint("RESTART"),
                2 => live.checkpoint("TRUNCATE"),
                _ => {}
            }
        }
        assert!(follower.restarts > 3, "pages of {page_size}");
    }
}

#[test]
fn a_rolled_back_transaction_leaves_nothing() {
    let mut live = Live::new(512, "PRAGMA cache_size = 5;");
    let mut numbers = Numbers(3);
    (0..5).for_each(|_| live.write(&mut numbers));
    let before = live.truth();
    let mut follower = Follower::new(&live);
    // Larger than the cache, so its frames reach the log before it ends.
    live.conn
        .execute_batch(
            "PRAGMA cache_size = 5; PRAGMA cache_spill = 5; BEGIN;
             WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
             INSERT INTO t (body) SELECT randomblob(400) FROM n",
        )
        .unwrap();
    let mut reader = WalReader::resume(&live.wal, follower.cursor);
    assert!(reader.next_frame().unwrap().is_some(), "nothing spilled");
    follower.step(&live);
    assert!(follower.copy == before);
    live.conn.execute_batch("ROLLBACK").unwrap();
    live.write(&mut numbers);
    follower.step(&live);
    assert!(follower.copy == live.truth());
}

const INSERT: &str = "INSERT INTO t (body) VALUES (randomblob(20))";

#[test]
fn a_restart_by_the_same_connection_counts() {
    let live = Live::new(4096, "");
    for mode in ["PASSIVE", "RESTART", "TRUNCATE", "FULL"] {
        let before = live.header().unwrap();
        live.checkpoint(mode);
        live.conn.execute_batch(INSERT).unwrap();
        let after = live.header().unwrap();
        assert!(after.follows(&before), "{mode}: {before:?} {after:?}");
        assert_eq!(after.checkpoint_seq, before.checkpoint_seq + 1, "{mode}");
    }
}

/// Connections count restarts for themselves, which is why `follows` looks at the salt alone.
#[test]
fn a_restart_by_another_connection_counts_the_salt_only() {
    let live = Live::new(4096, "");
    for _ in 0..3 {
        live.checkpoint("PASSIVE");
        live.conn.execute_batch(INSERT).unwrap();
    }
    let other = connect(&live.path);
    let before = live.header().unwrap();
    live.checkpoint("PASSIVE");
    other.execute_batch(INSERT).unwrap();
    let after = live.header().unwrap();
    assert!(after.follows(&before));
    assert_eq!((before.checkpoint_seq, after.checkpoint_seq), (3, 1));
}

/// One connection cuts the log to nothing, another that never restarted one writes: both salts are new.
#[test]
fn a_truncated_log_may_begin_with_fresh_salts() {
    let begin = |mode| {
        let live = Live::new(4096, "");
        let other = connect(&live.path);
        let before = live.header().unwrap();
        live.checkpoint(mode);
        other.execute_batch(INSERT).unwrap();
        let after = live.header().unwrap();
        assert_eq!(live.index().salt, after.salt, "{mode}");
        (before, after)
    };
    let (before, after) = begin("TRUNCATE");
    assert!(!after.follows(&before));
    assert_eq!(after.checkpoint_seq, 0);
    let (before, after) = begin("RESTART");
    assert!(after.follows(&before));
}

#[test]
fn database_headers() {
    for (pragma, expected) in [
        ("", AutoVacuum::None),
        ("PRAGMA auto_vacuum = FULL;", AutoVacuum::Full),
        ("PRAGMA auto_vacuum = INCREMENTAL;", AutoVacuum::Incremental),
    ] {
        for page_size in PAGE_SIZES {
            let mut live = Live::new(page_size, pragma);
            live.checkpoint("TRUNCATE");
            let header = DbHeader::read(&live.db).unwrap().unwrap();
            assert_eq!(header.page_size.get(), page_size);
            assert_eq!(header.auto_vacuum, expected);
            assert!(header.is_wal());
            let pages = live.truth().len() as u32 / page_size;
            assert_eq!(header.page_count.map(ltx::PageCount::get), Some(pages));
        }
    }
}

#[test]
fn an_index_without_a_log_has_no_page_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    connect(&path).execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (body)").unwrap();
    let live = Live::reopen(dir, path);
    let index = live.index();
    assert_eq!((index.mx_frame, index.page_size), (0, None));
    assert_eq!(live.header(), None);
    assert!(live.map().is_none());
}
