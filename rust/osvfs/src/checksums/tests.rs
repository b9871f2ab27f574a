//! Against SQLite itself, over a file system with checksums and over one without.

#![expect(clippy::disallowed_methods, reason = "databases that nobody has open")]

use rusqlite::{Connection, OpenFlags};

use super::*;

fn open(path: &Path, parameters: &str) -> Connection {
    crate::register_linked().unwrap();
    let uri = format!("file:{}?vfs=ltx-os{parameters}", path.display());
    Connection::open_with_flags(uri, OpenFlags::default()).unwrap()
}

fn check(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))
}

fn all_sound(path: &Path) -> bool {
    fs::read(path).unwrap().chunks(NEW_PAGE).all(is_sound)
}

#[test]
fn a_new_database_has_them_in_every_journal_mode() {
    for mode in ["delete", "persist", "wal"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let db = open(&path, "&cksm=1");
        let got: String = db.query_row(&format!("PRAGMA journal_mode={mode}"), [], |row| row.get(0)).unwrap();
        assert_eq!(got, mode);
        db.execute_batch("CREATE TABLE t (a, b); WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<900) INSERT INTO t SELECT i, hex(randomblob(40)) FROM n; CREATE INDEX i ON t (b); DELETE FROM t WHERE a % 3 = 0; VACUUM;").unwrap();
        let verifies: String = db.query_row("PRAGMA checksum_verification", [], |row| row.get(0)).unwrap();
        assert_eq!((verifies.as_str(), check(&db).unwrap().as_str()), ("1", "ok"));
        drop(db);
        assert!(all_sound(&path), "{mode}");
        let plain = open(&path, "");
        assert_eq!(check(&plain).unwrap(), "ok", "others read it as any database");
    }
}

#[test]
fn a_flipped_bit_is_found_unless_nobody_wants_to_know() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    open(&path, "&cksm=1")
        .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(20000))")
        .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[3 * NEW_PAGE + 100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let db = open(&path, "&cksm=1");
    let read = |db: &Connection| db.query_row("SELECT length(hex(a)) FROM t", [], |row| row.get::<_, i64>(0));
    let error = read(&db).unwrap_err();
    assert_eq!(error.sqlite_error().unwrap().extended_code, Code::IOERR_DATA.0);
    let off: String = db.query_row("PRAGMA checksum_verification = off", [], |row| row.get(0)).unwrap();
    assert_eq!((off.as_str(), read(&db).unwrap()), ("0", 40000));
    assert_eq!(write_checksums(&path).unwrap(), (bytes.len() / NEW_PAGE) as u64);
    assert_eq!(read(&open(&path, "&cksm=1")).unwrap(), 40000);
}

#[test]
fn a_database_without_them_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    open(&path, "").execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
    let db = open(&path, "&cksm=1");
    db.execute_batch("PRAGMA page_size = 8192; VACUUM; INSERT INTO t VALUES (2)").unwrap();
    let verifies: String = db.query_row("PRAGMA checksum_verification", [], |row| row.get(0)).unwrap();
    assert_eq!((verifies.as_str(), check(&db).unwrap().as_str()), ("0", "ok"));
    assert_eq!((fs::read(&path).unwrap()[20], write_checksums(&path).unwrap()), (0, 0));
}

#[test]
fn frames_of_the_wal_survive_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("app.db"), dir.path().join("copy.db"));
    let db = open(&path, "&cksm=1");
    db.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
    for suffix in ["", "-wal"] {
        fs::copy(format!("{}{suffix}", path.display()), format!("{}{suffix}", copy.display())).unwrap();
    }
    let recovered = open(&copy, "&cksm=1");
    assert_eq!(recovered.query_row("SELECT a FROM t", [], |row| row.get(0)), Ok(1));
}

#[test]
fn the_empty_page_is_what_sqlite_takes_for_an_empty_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    fs::write(&path, new_database()).unwrap();
    let db = open(&path, "");
    assert_eq!(check(&db).unwrap(), "ok");
    db.execute_batch("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a)").unwrap();
    assert_eq!(check(&db).unwrap(), "ok");
}
