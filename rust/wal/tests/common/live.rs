//! A database that SQLite writes, and its three files as this crate reads them.
#![allow(unreachable_pub, reason = "included by the test binaries")]

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;
use wal::{PageMap, PageSource, WalHeader, WalIndex, WalReader, wal_size};

/// A fixed sequence of numbers without a pattern.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The connection is dropped before the files: closing a descriptor of a database drops SQLite's locks on it.
pub struct Live {
    pub conn: Connection,
    pub db: File,
    pub wal: File,
    pub shm: File,
    pub path: PathBuf,
    _dir: TempDir,
}

impl Live {
    pub fn new(page_size: u32, pragmas: &str) -> Live {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let conn = connect(&path);
        conn.execute_batch(&format!("PRAGMA page_size = {page_size}; {pragmas}")).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;").unwrap();
        conn.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
        Live::files(conn, path, dir)
    }

    /// A database that is already there.
    pub fn reopen(dir: TempDir, path: PathBuf) -> Live {
        let conn = connect(&path);
        conn.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        Live::files(conn, path, dir)
    }

    fn files(conn: Connection, path: PathBuf, dir: TempDir) -> Live {
        let sibling = |suffix: &str| open(&path.with_file_name(format!("app.db{suffix}")));
        let (db, wal, shm) = (sibling(""), sibling("-wal"), sibling("-shm"));
        Live { conn, db, wal, shm, path, _dir: dir }
    }

    /// A few rows come, change or go in one transaction.
    pub fn write(&self, numbers: &mut Numbers) {
        let sql = match numbers.below(8) {
            0 => "DELETE FROM t WHERE id % 3 = ?1 % 3 AND id > ?2 / 100",
            1 | 2 => "UPDATE t SET body = randomblob(?2 / 3) WHERE id % 7 = ?1 % 7",
            _ => {
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 % 40)
                 INSERT INTO t (body) SELECT randomblob(?2) FROM n"
            }
        };
        let (some, bytes) = (numbers.below(1000) as i64, numbers.below(3000) as i64);
        self.conn.execute(sql, [some, bytes]).unwrap();
    }

    pub fn checkpoint(&self, mode: &str) {
        self.conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())).unwrap();
    }

    /// The database as SQLite sees it, WAL included.
    pub fn truth(&mut self) -> Vec<u8> {
        self.conn.serialize("main").unwrap().to_vec()
    }

    pub fn index(&self) -> WalIndex {
        let mut bytes = [0; WalIndex::SIZE];
        ltx::ReadAt::read_exact_at(&self.shm, &mut bytes, 0).unwrap();
        WalIndex::parse(&bytes).expect("nobody is writing")
    }

    pub fn header(&self) -> Option<WalHeader> {
        WalHeader::read(&self.wal).unwrap()
    }

    /// The map of what the wal-index calls committed.
    pub fn map(&self) -> Option<PageMap> {
        let index = self.index();
        let mut reader = WalReader::open(&self.wal).unwrap()?;
        if let Some(page_size) = index.page_size {
            reader.limit(wal_size(index.mx_frame.into(), page_size));
        }
        Some(PageMap::build(&mut reader, None).unwrap())
    }

    /// The database as this crate sees it: `pages` pages, from the WAL or the file.
    pub fn overlay(&self, map: Option<&PageMap>, pages: u32) -> Vec<u8> {
        let page_size = wal::DbHeader::read(&self.db).unwrap().unwrap().page_size;
        let mut source = PageSource::new(&self.db, &self.wal, map, page_size).unwrap();
        let mut bytes = Vec::new();
        for pgno in ltx::PageCount::new(pages).pgnos(page_size) {
            bytes.extend_from_slice(source.page(pgno).unwrap());
        }
        bytes
    }
}

pub fn connect(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    conn
}

#[allow(clippy::disallowed_methods, reason = "kept open for as long as the connection")]
fn open(path: &Path) -> File {
    OpenOptions::new().read(true).open(path).unwrap()
}
