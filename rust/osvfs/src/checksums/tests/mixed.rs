//! Connections of all kinds write to one database, and every page stays sound.

use std::ffi::{c_int, c_void};
use std::path::PathBuf;

use proptest::prelude::*;
use rusqlite::ffi;

use super::*;

/// SQLite's own file layer, which knows nothing of checksums.
fn stock(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

/// Has 8 bytes of each page reserved, by a VACUUM, or none, by a backup: a VACUUM cannot take them away.
#[expect(unsafe_code, reason = "rusqlite has no file controls")]
fn reserve(connection: &mut Connection, mut bytes: c_int) {
    const RESERVE_BYTES: c_int = 38;
    if bytes == 0 {
        let plain = Connection::open_in_memory().unwrap();
        let size: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
        plain
            .execute_batch(&format!("PRAGMA page_size = {size}; CREATE TABLE t (k INTEGER PRIMARY KEY, v)"))
            .unwrap();
        let mut put = connection.prepare("SELECT k, v FROM t").unwrap();
        let mut rows = put.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (key, value): (i64, String) = (row.get(0).unwrap(), row.get(1).unwrap());
            plain.execute("INSERT INTO t VALUES (?1, ?2)", (key, value)).unwrap();
        }
        drop(rows);
        drop(put);
        rusqlite::backup::Backup::new(&plain, connection)
            .and_then(|backup| backup.run_to_completion(9, std::time::Duration::ZERO, None))
            .unwrap();
        return;
    }
    // SAFETY: the handle is that of an open connection, which nobody else uses meanwhile, and the argument is an int, as SQLite's
    // documentation says for this control.
    let code = unsafe {
        let argument: *mut c_int = &raw mut bytes;
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            RESERVE_BYTES,
            argument.cast::<c_void>(),
        )
    };
    assert_eq!(code, ffi::SQLITE_OK);
    connection.execute_batch("VACUUM").unwrap();
}

fn scene(page_size: usize, mode: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let sql = format!(
        "PRAGMA page_size = {page_size}; PRAGMA journal_mode = {mode}; CREATE TABLE t (k INTEGER PRIMARY KEY, v)"
    );
    open(&path, "&cksm=1").execute_batch(&sql).unwrap();
    (dir, path)
}

fn unsound(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let size = page_size(&bytes).unwrap();
    bytes.chunks(size).enumerate().filter(|(_, page)| !is_sound(page)).map(|(at, _)| at + 1).collect()
}

#[test]
fn every_kind_of_connection_moves_the_wal_with_checksums() {
    for size in [512, 1024, 4096, 65536] {
        for (kind, how) in
            [("", "TRUNCATE"), ("&cksm=1", "PASSIVE"), ("", "FULL"), ("", "RESTART"), ("", "on close")]
        {
            let (_dir, path) = scene(size, "wal");
            let writer = open(&path, if how == "FULL" { "" } else { "&cksm=1" });
            writer
                .execute_batch(
                    "PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES (1, hex(randomblob(9000)))",
                )
                .unwrap();
            let other = open(&path, kind);
            if how == "on close" {
                let _: i64 = other.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
                drop(writer);
                drop(other);
            } else {
                other.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(())).unwrap();
            }
            assert_eq!(unsound(&path), [0; 0], "{size} {kind} {how}");
            assert_eq!(check(&open(&path, "&cksm=1")).unwrap(), "ok");
        }
    }
}

/// One that only reads, and closes last.
#[test]
fn what_a_stock_connection_moves_makes_no_claim() {
    for kind in ["", "&cksm=1"] {
        for mode in ["wal", "delete"] {
            let (_dir, path) = scene(4096, mode);
            let sql = "INSERT INTO t VALUES (1, hex(randomblob(9000))), (2, 3); UPDATE t SET v = v || 1";
            open(&path, "").execute_batch(sql).unwrap();
            assert_eq!(unsound(&path), [0; 0]);
            let writer = open(&path, kind);
            writer.execute_batch("UPDATE t SET v = v || 2; DELETE FROM t WHERE k = 2").unwrap();
            let reader = stock(&path);
            let _: i64 = reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
            drop(writer);
            drop(reader);
            let left = unsound(&path).len() as u64;
            assert_eq!(left > 0, mode == "wal");
            assert_eq!(check(&open(&path, "&cksm=1")).unwrap(), "ok", "{kind} {mode}");
            assert_eq!((write_checksums(&path).unwrap(), unsound(&path)), (left, vec![]));
        }
    }
}

#[test]
fn what_a_stock_connection_writes_is_found_and_mended() {
    let (_dir, path) = scene(4096, "wal");
    open(&path, "").execute_batch("INSERT INTO t VALUES (0, 0)").unwrap();
    stock(&path).execute_batch("INSERT INTO t VALUES (1, hex(randomblob(9000)))").unwrap();
    let left = unsound(&path);
    assert!(!left.is_empty());
    let error = check(&open(&path, "&cksm=1")).unwrap_err();
    assert_eq!(error.sqlite_error().unwrap().extended_code, Code::IOERR_DATA.0);
    assert_eq!(write_checksums(&path).unwrap(), left.len() as u64);
    assert_eq!((unsound(&path), check(&open(&path, "&cksm=1")).unwrap()), (vec![], "ok".into()));
}

/// A stale answer would destroy the last bytes of each page that is written.
#[test]
fn a_database_loses_and_gets_its_reserved_bytes_while_others_have_it_open() {
    for mode in ["delete", "wal"] {
        let kinds = [stock as fn(&Path) -> Connection, |path| open(path, ""), |path| open(path, "&cksm=1")];
        for (vacuums, is_stock) in kinds.into_iter().zip([true, false, false]) {
            let (_dir, path) = scene(1024, mode);
            let users = [open(&path, "&cksm=1"), open(&path, "")];
            let mut key = 0;
            for bytes in [0, 8, 0, 8] {
                for user in &users {
                    key += 1;
                    user.execute("INSERT INTO t VALUES (?1, hex(randomblob(30000)))", [key]).unwrap();
                }
                let mut other = vacuums(&path);
                other.execute_batch("PRAGMA cache_size = 4").unwrap();
                reserve(&mut other, bytes);
                drop(other);
                // In rollback mode one over SQLite's own file layer has written the pages itself.
                let mended = if mode == "delete" { write_checksums(&path).unwrap() } else { 0 };
                assert_eq!(
                    mended > 0,
                    (is_stock, mode, bytes) == (true, "delete", 8),
                    "{mended} {is_stock} {mode} {bytes} {key}"
                );
                for user in &users {
                    key += 1;
                    user.execute("INSERT INTO t VALUES (?1, hex(randomblob(30000)))", [key]).unwrap();
                    user.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
                    assert_eq!(check(user).unwrap(), "ok", "{mode} {bytes}");
                }
                assert_eq!(check(&stock(&path)).unwrap(), "ok");
                let content = fs::read(&path).unwrap();
                assert_eq!(content[20], u8::try_from(bytes).unwrap());
                if bytes == 8 {
                    assert_eq!(unsound(&path), [0; 0], "{mode}");
                }
            }
        }
    }
}

#[test]
fn a_transaction_that_spills_and_is_rolled_back_leaves_sound_pages() {
    for kind in ["", "&cksm=1"] {
        let (_dir, path) = scene(512, "delete");
        let db = open(&path, kind);
        db.execute_batch("PRAGMA cache_size = 5; WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) INSERT INTO t SELECT i, hex(randomblob(200)) FROM n").unwrap();
        db.execute_batch("BEGIN; UPDATE t SET v = hex(randomblob(300)); DELETE FROM t WHERE k % 3 = 0; SAVEPOINT a; UPDATE t SET v = 1; ROLLBACK TO a; ROLLBACK").unwrap();
        assert_eq!(unsound(&path), [0; 0], "{kind}");
        assert_eq!(check(&open(&path, "&cksm=1")).unwrap(), "ok");
    }
}

/// A backup into a database with another page size writes several pages at once, or parts of one.
#[test]
fn a_backup_from_another_page_size_has_sound_pages() {
    for (from, to) in [(1024, 4096), (4096, 1024), (512, 65536), (65536, 512)] {
        let (_from, source) = scene(from, "delete");
        open(&source, "").execute_batch("WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) INSERT INTO t SELECT i, hex(randomblob(400)) FROM n").unwrap();
        let (_to, target) = scene(to, "delete");
        let mut destination = open(&target, "&cksm=1");
        let source = open(&source, "&cksm=1");
        let backup = rusqlite::backup::Backup::new(&source, &mut destination).unwrap();
        backup.run_to_completion(7, std::time::Duration::ZERO, None).unwrap();
        drop(backup);
        drop(destination);
        assert_eq!(page_size(&fs::read(&target).unwrap()), Some(from));
        assert_eq!(unsound(&target), [0; 0], "{from} to {to}");
        assert_eq!(check(&open(&target, "&cksm=1")).unwrap(), "ok");
    }
}

/// A reader holds a checkpoint up before the newest first page, which alone says that the others have no checksums, or have them
/// by now. Rows of this length fill a page to its last byte.
#[test]
fn a_checkpoint_that_leaves_the_first_page_in_the_wal_does_as_it_says() {
    for (bytes, kind) in [(0, ""), (0, "&cksm=1"), (8, ""), (8, "&cksm=1")] {
        let (_dir, path) = scene(1024, "wal");
        let mut db = open(&path, kind);
        db.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
        reserve(&mut db, 8 - bytes);
        fill(&db);
        checkpoint(&db, "TRUNCATE");
        reserve(&mut db, bytes);
        stock(&path)
            .execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE t SET v = v || 1 WHERE k = 7")
            .unwrap();
        let reader = open(&path, "&cksm=1");
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        db.execute_batch("CREATE TABLE y (a)").unwrap();
        checkpoint(&db, "PASSIVE");
        assert_eq!(fs::read(&path).unwrap()[20], u8::try_from(8 - bytes).unwrap());
        assert_eq!(check(&reader).unwrap(), "ok", "{bytes} {kind}: with half of them in the file");
        assert_eq!(check(&open(&path, "&cksm=1")).unwrap(), "ok", "{bytes} {kind}");
        drop(reader);
        checkpoint(&db, "TRUNCATE");
        assert_eq!(fs::read(&path).unwrap()[20], u8::try_from(bytes).unwrap());
        assert_eq!(
            (check(&stock(&path)).unwrap(), filled(&stock(&path))),
            ("ok".into(), FILLED.into()),
            "{bytes} {kind}"
        );
        if bytes == 8 {
            assert_eq!(unsound(&path), [0; 0], "{kind}");
        }
    }
}

/// The processes have ended in the meantime, and the wal-index is gone.
#[test]
fn checksums_are_not_mended_while_the_wal_takes_them_away() {
    let (_dir, path) = scene(1024, "wal");
    let mut db = open(&path, "");
    db.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    fill(&db);
    checkpoint(&db, "TRUNCATE");
    let copy = path.with_file_name("copy.db");
    let save = || {
        for suffix in ["", "-wal"] {
            fs::copy(format!("{}{suffix}", path.display()), format!("{}{suffix}", copy.display())).unwrap();
        }
    };
    db.execute_batch("CREATE TABLE x (a)").unwrap();
    save();
    assert_eq!(write_checksums(&copy).unwrap(), 0, "a first page that says the same");
    reserve(&mut db, 0);
    let reader = open(&path, "");
    reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
    db.execute_batch("CREATE TABLE y (a)").unwrap();
    checkpoint(&db, "PASSIVE");
    save();
    let error = write_checksums(&copy).unwrap_err();
    assert!(matches!(error, WriteChecksumsError::HasWal { .. }), "{error}");
    let recovered = stock(&copy);
    assert_eq!((check(&recovered).unwrap(), filled(&recovered)), ("ok".into(), FILLED.into()));
    drop(recovered);
    assert_eq!((fs::read(&copy).unwrap()[20], write_checksums(&copy).unwrap()), (0, 0));
}

const FILLED: &str = "300 600000";

fn fill(db: &Connection) {
    db.execute_batch("DELETE FROM t; WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) INSERT INTO t SELECT i, printf('%0*d', 2000, i) FROM n").unwrap();
}

/// How many rows there are, and how many digits the right ones have in all, without what was appended.
fn filled(db: &Connection) -> String {
    let sql = "SELECT count(*) || ' ' || sum(length(substr(v, 1, 2000)) * (CAST(substr(v, 1, 2000) AS INTEGER) = k)) FROM t";
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn checkpoint(db: &Connection, how: &str) {
    db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(())).unwrap();
}

#[derive(Clone, Debug)]
enum Act {
    Put(u8, u16),
    Delete(u8),
    RollBack(u8),
    Checkpoint(&'static str),
    Vacuum,
    /// So many bytes of each page, 0 or 8.
    Reserve(c_int),
    Reopen,
    /// A reader keeps what it sees, in WAL mode, until the next one does.
    Hold(&'static str),
    Release,
}

fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
    let act = prop_oneof![
        8 => (any::<u8>(), 0u16..5000).prop_map(|(key, size)| Act::Put(key, size)),
        3 => any::<u8>().prop_map(Act::Delete),
        2 => any::<u8>().prop_map(Act::RollBack),
        3 => prop_oneof![Just("PASSIVE"), Just("FULL"), Just("RESTART"), Just("TRUNCATE")].prop_map(Act::Checkpoint),
        1 => Just(Act::Vacuum),
        4 => prop_oneof![2 => Just(0), 1 => Just(8)].prop_map(Act::Reserve),
        2 => Just(Act::Reopen),
        4 => prop_oneof![Just("&cksm=1"), Just("")].prop_map(Act::Hold),
        1 => Just(Act::Release),
    ];
    prop::collection::vec((0usize..3, act), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever mix of our connections writes: after a full checkpoint every page of the file holds what it should, and is sound
    /// if the database has checksums.
    #[test]
    fn mixed_connections_leave_sound_pages(
        size in prop_oneof![Just(512usize), Just(1024), Just(4096), Just(65536)],
        mode in prop_oneof![Just("delete"), Just("truncate"), Just("wal")],
        acts in acts(),
        last in 0usize..3,
    ) {
        let (_dir, path) = scene(size, mode);
        let connect = |at: usize| {
            let db = open(&path, ["&cksm=1", "", "&psow=0"][at]);
            db.execute_batch("PRAGMA cache_size = 3; PRAGMA busy_timeout = 0").unwrap();
            db
        };
        let unsound = |path: &Path| if fs::read(path).unwrap()[20] == 8 { unsound(path) } else { vec![] };
        let mut reader = None;
        let mut connections: Vec<_> = (0..3).map(connect).collect();
        let mut model = std::collections::BTreeMap::new();
        for (at, act) in acts {
            let db = &mut connections[at];
            match act {
                Act::Put(key, len) => {
                    db.execute("REPLACE INTO t VALUES (?1, ?2)", (key, "x".repeat(len.into()))).unwrap();
                    model.insert(i64::from(key), "x".repeat(len.into()));
                }
                Act::Delete(key) => {
                    db.execute("DELETE FROM t WHERE k = ?1", [key]).unwrap();
                    model.remove(&i64::from(key));
                }
                Act::RollBack(key) => {
                    db.execute_batch(&format!("BEGIN; UPDATE t SET v = zeroblob(7000); REPLACE INTO t VALUES ({key}, 1); ROLLBACK")).unwrap();
                }
                Act::Checkpoint(how) => {
                    db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(())).unwrap();
                }
                Act::Vacuum => db.execute_batch("VACUUM").unwrap(),
                Act::Reserve(bytes) => reserve(db, bytes),
                Act::Reopen => *db = connect(at),
                Act::Hold(kind) if mode == "wal" => {
                    let new = open(&path, kind);
                    new.execute_batch("BEGIN; SELECT * FROM t").unwrap();
                    reader = Some(new);
                }
                Act::Hold(_) | Act::Release => {
                    if let Some(reader) = reader.take() {
                        prop_assert_eq!(check(&reader).unwrap(), "ok");
                    }
                }
            }
        }
        drop(reader);
        checkpoint(&connections[last], "TRUNCATE");
        prop_assert_eq!(unsound(&path), Vec::<usize>::new());
        drop(connections);
        prop_assert_eq!(unsound(&path), Vec::<usize>::new());
        let db = open(&path, "&cksm=1");
        prop_assert_eq!(check(&db).unwrap(), "ok");
        let mut statement = db.prepare("SELECT k, v FROM t").unwrap();
        let rows: std::collections::BTreeMap<i64, String> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(|row| row.unwrap()).collect();
        prop_assert_eq!(rows, model);
    }
}
