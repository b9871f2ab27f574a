//! What SQLite finds through the reader VFS.

use std::ffi::CStr;

use rusqlite::Connection;
use vfs::SqliteApi;

use super::*;

struct Bytes {
    content: Vec<u8>,
    length: usize,
    errors: Mutex<Vec<io::Error>>,
}

impl Bytes {
    fn kinds(&self) -> Vec<io::ErrorKind> {
        self.errors.lock().unwrap().iter().map(io::Error::kind).collect()
    }
}

impl ReadAt for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.content.is_empty() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // A little at a time, as some media do.
        let most = buf.len().min(1000);
        self.content.read_at(&mut buf[..most], offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.length as u64)
    }
}

impl Readable for Bytes {
    fn failed(&self, error: io::Error) {
        self.errors.lock().unwrap().push(error);
    }
}

fn database() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3)")
        .unwrap();
    #[expect(clippy::disallowed_methods, reason = "nobody has it open any more")]
    std::fs::read(&path).unwrap()
}

/// A source, and its name in a VFS of the other name.
fn named(vfs_name: &CStr, content: Vec<u8>) -> (Arc<Bytes>, String) {
    vfs::register(&SqliteApi::linked().unwrap(), vfs_name, ReaderVfs, false).unwrap();
    let bytes = Arc::new(Bytes { length: content.len().max(512), content, errors: Mutex::default() });
    let name = ReaderVfs::new_name();
    ReaderVfs::put(&name, &(Arc::clone(&bytes) as Arc<dyn Readable>));
    (bytes, name)
}

fn sum(db: &Connection) -> i64 {
    db.query_row("SELECT sum(a) FROM t ORDER BY 1", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_database_in_memory_is_read_and_not_written() {
    let (_bytes, name) = named(c"test-reader", database());
    let open = |name: &str| Connection::open(format!("file:{name}?vfs=test-reader"));
    let nowhere = format!("{PREFIX}0");
    assert!(open(&nowhere).and_then(|db| db.execute_batch("SELECT * FROM t")).is_err());
    let db = open(&name).unwrap();
    assert!(ReaderVfs::take(&name) && !ReaderVfs::take(&name));
    // What is open stays, whoever can find it.
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!((sum(&db), check.as_str()), (6, "ok"));
    assert!(db.execute("INSERT INTO t VALUES (4)", []).is_err());
    db.execute_batch("PRAGMA temp_store = file; PRAGMA cache_size = 10; CREATE TEMP TABLE s AS WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT hex(randomblob(50)) AS x FROM n; CREATE INDEX temp.i ON s (x)").unwrap();
}

#[test]
fn a_database_is_gone_when_nobody_keeps_it_and_its_name_stays_its_own() {
    let (bytes, name) = named(c"test-gone", database());
    let open = || Connection::open(format!("file:{name}?vfs=test-gone"));
    let db = open().unwrap();
    let kept = Arc::downgrade(&bytes);
    drop(bytes);
    assert_eq!(sum(&db), 6);
    drop(db);
    assert!(kept.upgrade().is_none() && open().and_then(|db| db.execute_batch("SELECT * FROM t")).is_err());
    assert_ne!(ReaderVfs::new_name(), name);
}

#[test]
fn an_error_of_the_medium_is_handed_over() {
    let (broken, name) = named(c"test-broken", Vec::new());
    let opened = Connection::open(format!("file:{name}?vfs=test-broken"));
    assert!(opened.and_then(|db| db.execute_batch("SELECT * FROM sqlite_schema")).is_err());
    assert_eq!(broken.kinds(), [io::ErrorKind::BrokenPipe]);
}

#[test]
fn what_ends_before_its_size_is_an_error_and_not_zeros() {
    let mut content = database();
    let length = content.len();
    content.truncate(length - 1);
    let (short, name) = named(c"test-short", content);
    let short = Bytes { length, content: short.content.clone(), errors: Mutex::default() };
    let (mut block, end) = (vec![0; 4096], length as u64 - 4096);
    let error = read_within(&short, &mut block, end, length as u64).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains(&format!("byte {}, though it had {length} bytes", length - 1)));
    // Beyond the size nothing is asked for.
    assert_eq!(read_within(&short, &mut block, length as u64, length as u64).unwrap(), 0);
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(copy_database(&short, directory.path()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    // A file that was cut before it was opened is SQLite's to judge.
    let _ = Connection::open(format!("file:{name}?vfs=test-short")).unwrap();
}

#[test]
fn a_copy_is_the_same() {
    let (bytes, _name) = named(c"test-copy", database());
    let directory = tempfile::tempdir().unwrap();
    let copy = copy_database(&*bytes, directory.path()).unwrap();
    let mut content = vec![0; bytes.content.len()];
    copy.read_exact_at(&mut content, 0).unwrap();
    assert_eq!((content, ReadAt::len(&copy).unwrap()), (bytes.content.clone(), bytes.length as u64));
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[test]
fn other_files_are_left_to_the_own_vfs_of_the_library() {
    let (bytes, name) = named(c"test-leaves", database());
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let db = Connection::open(format!("file:{name}?vfs=test-leaves")).unwrap();
    db.execute("VACUUM INTO ?", [path("vacuum.db")]).unwrap();
    assert_eq!(sum(&Connection::open(path("vacuum.db")).unwrap()), 6);
    for (schema, mode) in [("one", "delete"), ("two", "wal")] {
        db.execute(&format!("ATTACH ? AS {schema}"), [path(schema)]).unwrap();
        db.execute_batch(&format!("PRAGMA {schema}.journal_mode = {mode}; BEGIN IMMEDIATE; CREATE TABLE {schema}.t AS SELECT * FROM main.t; COMMIT"))
            .unwrap();
        assert_eq!(sum(&Connection::open(path(schema)).unwrap()), 6);
    }
    // One has a rollback journal: both are committed.
    db.execute_batch("BEGIN; DELETE FROM one.t; DELETE FROM two.t; COMMIT").unwrap();
    assert!(bytes.kinds().is_empty());
    // Two have one, and no file can bind them together.
    db.execute_batch(
        "PRAGMA two.journal_mode = delete; BEGIN; INSERT INTO one.t VALUES (1); INSERT INTO two.t VALUES (1)",
    )
    .unwrap();
    assert!(db.execute_batch("COMMIT").is_err());
    assert_eq!(bytes.kinds(), [io::ErrorKind::Unsupported]);
    // Nothing of it is kept.
    let kept: i64 = db
        .query_row("SELECT (SELECT count(*) FROM one.t) + (SELECT count(*) FROM two.t)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 0);
}
