//! Against SQLite itself, over a file system with checksums and over one without.

#![expect(clippy::disallowed_methods, reason = "databases that nobody has open")]

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::*;

mod mixed;

/// Page size of a database for which none was set.
const NEW_PAGE: usize = 4096;

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
    db.execute_batch("BEGIN; SELECT * FROM t").unwrap();
    let page: String = db.query_row("PRAGMA ltx_unsound_page", [], |row| row.get(0)).unwrap();
    assert_eq!(page, "4");
    assert!(
        matches!(write_checksums(&path).unwrap_err(), WriteChecksumsError::InUse { .. }),
        "an open transaction"
    );
    drop(db);
    assert_eq!([write_checksums(&path).unwrap(), write_checksums(&path).unwrap()], [1, 0]);
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
    fs::write(&path, NewDatabase::default().page()).unwrap();
    let db = open(&path, "");
    assert_eq!(check(&db).unwrap(), "ok");
    db.execute_batch("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a)").unwrap();
    assert_eq!(check(&db).unwrap(), "ok");
}

#[test]
fn a_new_database_takes_a_page_size_and_auto_vacuum() {
    for size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        for (auto_vacuum, mode) in [(0, "delete"), (1, "wal"), (2, "delete"), (2, "wal")] {
            for reads_first in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("app.db");
                let db = open(&path, "&cksm=1");
                if reads_first {
                    db.execute_batch("SELECT * FROM sqlite_schema; PRAGMA user_version").unwrap();
                }
                let settings = format!(
                    "PRAGMA page_size = {size}; PRAGMA auto_vacuum = {auto_vacuum}; PRAGMA journal_mode = {mode}"
                );
                let number = |name: &str| {
                    db.query_row(&format!("SELECT * FROM pragma_{name}"), [], |row| row.get::<_, i64>(0))
                        .unwrap()
                };
                // As a host would: it asks for the name of each column.
                for sql in settings.split("; ") {
                    let mut statement = db.prepare(sql).unwrap();
                    assert!(statement.column_names().count() <= 1);
                    let mut rows = statement.query([]).unwrap();
                    while rows.next().unwrap().is_some() {}
                }
                db.execute_batch("CREATE TABLE t (a); WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) INSERT INTO t SELECT hex(randomblob(300)) FROM n; DELETE FROM t WHERE rowid % 2 = 0").unwrap();
                assert_eq!(
                    (number("page_size"), number("auto_vacuum")),
                    (size, auto_vacuum),
                    "{mode} {reads_first}"
                );
                assert_eq!(check(&db).unwrap(), "ok");
                drop(db);
                let bytes = fs::read(&path).unwrap();
                assert!(
                    bytes.chunks(usize::try_from(size).unwrap()).all(is_sound),
                    "{size} {auto_vacuum} {mode}"
                );
                assert_eq!(check(&open(&path, "&cksm=1")).unwrap(), "ok");
            }
        }
    }
}

#[test]
fn settings_are_answered_before_the_database_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir.path().join("app.db"), "&cksm=1");
    db.execute_batch("PRAGMA page_size = 1024; PRAGMA auto_vacuum = full").unwrap();
    for (name, wanted) in [("page_size", "1024"), ("auto_vacuum", "1")] {
        let answer: rusqlite::types::Value =
            db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap();
        assert!(
            matches!(answer, rusqlite::types::Value::Text(ref text) if text == wanted)
                || matches!(answer, rusqlite::types::Value::Integer(number) if number.to_string() == wanted),
            "{answer:?}"
        );
    }
}

#[test]
fn a_vacuum_changes_the_page_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let db = open(&path, "&cksm=1");
    db.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (hex(randomblob(9000)))").unwrap();
    for size in [512usize, 65536, 1024, 4096] {
        let other = open(&path, if size == 1024 { "" } else { "&cksm=1" });
        other.execute_batch(&format!("PRAGMA page_size = {size}; VACUUM")).unwrap();
        assert_eq!(
            check(&db).unwrap(),
            "ok",
            "one that has the database open reads it with the new page size"
        );
        assert!(fs::read(&path).unwrap().chunks(size).all(is_sound), "{size}");
        assert_eq!(Form::read(&StdFile::open(&path).unwrap()).unwrap().unwrap().page_size, size);
    }
}

#[test]
fn a_file_that_is_not_empty_is_not_shown_as_a_new_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    open(&path, "").execute_batch("PRAGMA page_size = 512; CREATE TABLE t (a)").unwrap();
    let mut checksums = PageChecksums::new(true);
    let mut buf = [7; 512];
    assert_eq!(
        checksums
            .after_read(&StdFile::open(&path).unwrap(), &mut buf, 0, 1024, Wal::new(None, &path))
            .unwrap(),
        0
    );
    assert_eq!(buf, [7; 512]);
}

#[test]
fn checksums_are_not_mended_in_the_middle_of_a_transaction_that_was_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    open(&path, "&cksm=1").execute_batch("CREATE TABLE t (a)").unwrap();
    let journal = dir.path().join("app.db-journal");
    fs::write(&journal, [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7, 0, 0, 0, 1]).unwrap();
    assert!(matches!(write_checksums(&path).unwrap_err(), WriteChecksumsError::HasJournal { .. }));
    fs::write(&journal, [0; 512]).unwrap();
    assert_eq!(write_checksums(&path).unwrap(), 0, "what journal_mode=persist leaves behind");
    let error = write_checksums(&dir.path().join("none")).unwrap_err();
    assert!(matches!(error, WriteChecksumsError::Io(error) if error.kind() == io::ErrorKind::NotFound));
}
