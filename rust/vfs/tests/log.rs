//! The log: what is told, under which code, and that a text with `%` in it is a text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::{CStr, c_int};
use std::ptr;

use common::disk::locked;
use common::panics::be_quiet;
use common::{CFile, CVfs, Db, Mock, Name, api, call, logged, registered};
use libsqlite3_sys as ffi;
use vfs::{Code, Control, Error, Reply};

const MAIN: c_int = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;

fn set_up(vfs: &CStr) -> (Mock, CVfs) {
    logged::listen();
    (registered(vfs, Mock::new()), CVfs::find(vfs))
}

/// The lines of one VFS, as pairs of code and text.
fn lines(part: &str) -> Vec<(c_int, String)> {
    logged::lines(part).into_iter().map(|(code, line)| (code, String::from_utf8(line).unwrap())).collect()
}

#[test]
fn file_names_are_data() {
    let (mock, vfs) = set_up(c"%s%n-names");
    let name = Name::new(b"%n%s%d.db");
    let mut file = CFile::new(vfs);
    call!(vfs.xOpen(name.raw, file.memory(), ffi::SQLITE_OPEN_MAIN_DB, ptr::null_mut()));
    mock.set_hook(|operation, _| match operation {
        "delete" => Err(Error { code: Code::IOERR_DELETE, errno: libc::EACCES }),
        "write" => Err(Code::FULL.into()),
        _ => Ok(()),
    });
    call!(vfs.xDelete(c"%n%s%d".as_ptr(), 0));
    vfs.must_open(&name, MAIN).write(b"x", 0);
    assert_eq!(
        lines("%s%n-names: "),
        [
            (ffi::SQLITE_CANTOPEN, "%s%n-names: xOpen(%n%s%d.db): CANTOPEN".into()),
            (
                ffi::SQLITE_IOERR_DELETE,
                "%s%n-names: xDelete(%n%s%d): IOERR_DELETE: Permission denied (os error 13)".into()
            ),
            (ffi::SQLITE_FULL, "%s%n-names: xWrite(%n%s%d.db): FULL".into()),
        ]
    );
}

#[test]
fn names_that_are_no_utf_8_are_shown_as_well_as_can_be() {
    let (_, vfs) = set_up(c"bytes");
    let name = Name::new(b"a\xff%s.db");
    let mut file = CFile::new(vfs);
    call!(vfs.xOpen(name.raw, file.memory(), ffi::SQLITE_OPEN_MAIN_DB, ptr::null_mut()));
    call!(vfs.xOpen(ptr::null(), ptr::null_mut(), 0, ptr::null_mut()));
    assert_eq!(lines("bytes: "), [(ffi::SQLITE_CANTOPEN, "bytes: xOpen(a\u{fffd}%s.db): CANTOPEN".into())]);
}

#[test]
fn texts_of_panics_are_data() {
    be_quiet();
    let (mock, vfs) = set_up(c"panic-text");
    let name = Name::new(b"app.db");
    let mut file = vfs.must_open(&name, MAIN);
    mock.set_hook(|_, _| panic!("injected %n%s%d\0%n"));
    file.write(b"x", 0);
    call!(vfs.xDelete(c"a".as_ptr(), 0));
    file.close();
    let line =
        |method| (ffi::SQLITE_IOERR, format!("panic-text: panic in {method}: injected %n%s%d\u{fffd}%n"));
    assert_eq!(lines("panic-text: "), ["xWrite", "xDelete", "xClose"].map(line));
}

#[test]
fn warnings_and_lines_of_ones_own_are_data() {
    let (mock, vfs) = set_up(c"warned");
    *locked(&mock.0.log_at_open) = Some("warned of %n%s%d".into());
    drop(vfs.must_open(&Name::new(b"app.db"), MAIN));
    api().log(Code::IOERR_DATA, "warned by %n%s%d\0 and \u{e4}");
    assert_eq!(
        lines("warned "),
        [
            (ffi::SQLITE_WARNING, "warned of %n%s%d".into()),
            (ffi::SQLITE_IOERR_DATA, "warned by %n%s%d\u{fffd} and \u{e4}".into()),
        ]
    );
}

#[test]
fn a_refused_pragma_is_told_to_the_user_word_by_word() {
    let (mock, _) = set_up(c"refusal");
    mock.set_answer(|control| match control {
        Control::Pragma { name, value: Some(value) } => {
            Some(Ok(Reply::Refused(format!("{name}: {value} \u{e4}"))))
        }
        _ => None,
    });
    let db = Db::open(c"refusal", "app.db").unwrap();
    let refused = db.rows("PRAGMA ltx = '%n%s%d'").unwrap_err();
    assert_eq!((refused.code, &*refused.message), (ffi::SQLITE_ERROR, "ltx: %n%s%d \u{e4}".as_bytes()));
}

#[test]
fn a_database_whose_name_looks_like_a_format_works() {
    let (mock, _) = set_up(c"format-db");
    let db = Db::open_bytes(Some(c"format-db"), b"%n%s%d.db", 0).unwrap();
    db.rows("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)").unwrap();
    mock.set_hook(|operation, _| match operation {
        "write" => Err(Error { code: Code::IOERR_WRITE, errno: libc::ENOSPC }),
        _ => Ok(()),
    });
    assert_eq!(db.rows("INSERT INTO t VALUES(2)").unwrap_err().code, ffi::SQLITE_IOERR_WRITE);
    mock.clear_hook();
    assert_eq!(db.one("SELECT * FROM t"), "1");
    let expected = "format-db: xWrite(/%n%s%d.db-wal): IOERR_WRITE: No space left on device (os error 28)";
    assert_eq!(lines("format-db: "), [(ffi::SQLITE_IOERR_WRITE, expected.into())]);
}

#[test]
fn what_happens_every_day_is_no_news() {
    let (mock, vfs) = set_up(c"routine");
    let mut file = vfs.must_open(&Name::new(b"app.db"), MAIN);
    assert_eq!(file.read(&mut [0; 4], 0), ffi::SQLITE_IOERR_SHORT_READ);
    assert_eq!(call!(vfs.xDelete(c"a".as_ptr(), 0)), ffi::SQLITE_IOERR_DELETE_NOENT);
    assert_eq!(file.control(999, &mut 0), ffi::SQLITE_NOTFOUND);
    for code in [Code::BUSY, Code::BUSY_TIMEOUT, Code::READONLY, Code::READONLY_CANTINIT, Code::NOTFOUND] {
        mock.set_hook(move |_, _| Err(code.into()));
        assert_eq!(call!(file.xLock(ffi::SQLITE_LOCK_SHARED)), code.0);
    }
    assert_eq!(lines("routine: "), []);
    mock.set_hook(move |_, _| Err(Code::IOERR_LOCK.into()));
    assert_eq!(call!(file.xLock(ffi::SQLITE_LOCK_SHARED)), ffi::SQLITE_IOERR_LOCK);
    mock.set_hook(move |_, _| Err(Code::IOERR_CLOSE.into()));
    assert_eq!(file.close(), ffi::SQLITE_IOERR_CLOSE);
    assert_eq!(
        lines("routine: "),
        [
            (ffi::SQLITE_IOERR_LOCK, "routine: xLock(app.db): IOERR_LOCK".into()),
            (ffi::SQLITE_IOERR_CLOSE, "routine: xClose(app.db): IOERR_CLOSE".into()),
        ]
    );
}

#[test]
fn a_wrong_checksum_is_explained() {
    let (mock, vfs) = set_up(c"checksums");
    let name = Name::new(b"app.db");
    let mut file = vfs.must_open(&name, MAIN);
    mock.set_hook(|operation, _| match operation {
        "write" => Err(Code::IOERR_DATA.into()),
        _ => Ok(()),
    });
    file.write(b"x", 0);
    let lines = lines("checksums: ");
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].1.contains("another vfs wrote it") && lines[0].1.contains("write_checksums"),
        "{lines:?}"
    );
}
