//! An application and its replicator on one database in one directory, and restores from the meta directory.
//!
//! Both use the SQLite that is built in, so they may share this process: its POSIX locks are kept by one library. For the
//! same reason nothing here opens the database file by hand.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::{Database, Options};
use ltx::{Decoder, TxId};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB};
use tempfile::TempDir;

pub struct Bench {
    pub dir: TempDir,
    pub path: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        Self { dir, path }
    }

    /// A connection of the application.
    pub fn app(&self) -> Connection {
        let app = Connection::open(&self.path).unwrap();
        app.busy_timeout(Duration::from_secs(5)).unwrap();
        app.pragma_update(None, "journal_mode", "wal").unwrap();
        app.pragma_update(None, "synchronous", "normal").unwrap();
        app
    }

    pub fn options(&self) -> Options {
        Options::new(&self.path).unwrap()
    }

    /// The replicator, open.
    pub fn replicator(&self, remote: u64) -> Database {
        let database = Database::new(self.options()).unwrap();
        assert!(database.open(TxId::new(remote)).unwrap());
        database
    }

    pub fn meta(&self) -> PathBuf {
        self.dir.path().join(".app.db-litestream")
    }

    pub fn l0(&self, txid: u64) -> PathBuf {
        self.meta().join(format!("ltx/0/{txid:016x}-{txid:016x}.ltx"))
    }

    pub fn header(&self, txid: u64) -> ltx::Header {
        *Decoder::new(File::open(self.l0(txid)).unwrap()).unwrap().header()
    }

    /// How many pages the L0 file of `txid` holds.
    pub fn pages(&self, txid: u64) -> u32 {
        let mut decoder = Decoder::new(File::open(self.l0(txid)).unwrap()).unwrap();
        let mut page = vec![0; decoder.header().page_size.bytes()];
        let mut count = 0;
        while decoder.next_page(&mut page).unwrap().is_some() {
            count += 1;
        }
        decoder.finish().unwrap();
        count
    }

    /// The database at `txid`, from the L0 files `first..=txid`.
    pub fn restore_from(&self, first: u64, txid: u64) -> Vec<u8> {
        let database = Mutex::new(Vec::new());
        for txid in first..=txid {
            let decoder = Decoder::new(File::open(self.l0(txid)).unwrap()).unwrap();
            ltx::apply(decoder, &database).unwrap();
        }
        database.into_inner().unwrap()
    }

    pub fn restore(&self, txid: u64) -> Vec<u8> {
        self.restore_from(1, txid)
    }
}

/// The database as SQLite sees it.
pub fn image(app: &Connection) -> Vec<u8> {
    let mut reader = Connection::open(app.path().unwrap()).unwrap();
    reader.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    reader.serialize(MAIN_DB).unwrap().to_vec()
}

/// Opens a restored database and says what is in table `t`, and that it is sound.
pub fn rows(restored: &[u8]) -> i64 {
    let mut bytes = restored.to_vec();
    // An image in memory has no WAL.
    bytes[18] = 1;
    bytes[19] = 1;
    let mut sqlite = Connection::open_in_memory().unwrap();
    sqlite.deserialize_read_exact(MAIN_DB, bytes.as_slice(), bytes.len(), true).unwrap();
    let sound: String = sqlite.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    sqlite.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

/// Pages of two images that differ; the change counter pair of page 1 included.
pub fn differing_pages(a: &[u8], b: &[u8], page_size: usize) -> BTreeMap<usize, usize> {
    assert_eq!(a.len(), b.len(), "length");
    let pairs = a.chunks(page_size).zip(b.chunks(page_size)).enumerate();
    pairs
        .filter(|(_, (a, b))| a != b)
        .map(|(n, (a, b))| (n + 1, a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0)))
        .collect()
}

pub fn insert(app: &Connection, rows: u32) {
    for _ in 0..rows {
        app.execute("INSERT INTO t(b) VALUES (randomblob(200))", []).unwrap();
    }
}

pub fn create(app: &Connection) {
    app.execute_batch("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, b BLOB)").unwrap();
}

pub fn checkpoint(app: &Connection, mode: &str) -> (i64, i64, i64) {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    app.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

/// Does `work` while the replicator follows in another thread.
pub fn following<T>(replicator: &Database, work: impl FnOnce() -> T) -> T {
    following_with(replicator, |followed| assert!(followed.is_ok(), "{followed:?}"), work)
}

/// The same while files are written over: a read in the middle of that fails, and is tried again.
pub fn following_through<T>(replicator: &Database, work: impl FnOnce() -> T) -> T {
    following_with(replicator, |_| {}, work)
}

fn following_with<T>(
    replicator: &Database,
    check: impl Fn(engine::Result<bool>) + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                check(replicator.follow(Duration::from_millis(20)));
            }
        });
        let result = work();
        done.store(true, Ordering::Release);
        result
    })
}
