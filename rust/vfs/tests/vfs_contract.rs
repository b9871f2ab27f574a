//! Every method of `sqlite3_vfs`, called as C would through the struct that SQLite finds by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use common::disk::locked;
use common::{CFile, CVfs, Mock, Name, call, registered};
use libsqlite3_sys as ffi;
use vfs::{Code, Error};

const MAIN: c_int = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;

fn set_up(name: &CStr) -> (Mock, CVfs) {
    (registered(name, Mock::new()), CVfs::find(name))
}

#[test]
fn the_struct_is_filled() {
    let (_, vfs) = set_up(c"filled");
    let fields = vfs.fields();
    // SAFETY: the name ends in NUL and is never freed.
    let name = unsafe { CStr::from_ptr(fields.zName) };
    assert_eq!((fields.iVersion, fields.mxPathname, name), (2, 512, c"filled"));
    // Room for a file of ours, or of the library's own VFS.
    let of_base = CVfs::find(c"unix").fields().szOsFile;
    assert_eq!(fields.szOsFile as usize, (of_base as usize).max(2 * size_of::<usize>()));
    assert!(fields.xSetSystemCall.is_none() && fields.xNextSystemCall.is_none());
}

#[test]
fn no_methods_after_a_failed_open() {
    let (mock, vfs) = set_up(c"failed-open");
    let name = Name::new(b"missing.db");
    let mut file = CFile::new(vfs);
    let mut flags = -1;
    let wanted = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE;
    let code = call!(vfs.xOpen(name.raw, file.memory(), wanted, &raw mut flags));
    assert_eq!((code, flags), (ffi::SQLITE_CANTOPEN, -1));
    assert!(file.methods().is_null(), "SQLite would close it");
    assert_eq!(mock.live(), 0);
}

#[test]
fn open_answers_flags_where_there_is_room_and_methods_by_what_the_file_has() {
    let (_, vfs) = set_up(c"good-open");
    let name = Name::new(b"app.db");
    let mut flags = -1;
    let mut file = CFile::new(vfs);
    assert_eq!(call!(vfs.xOpen(name.raw, file.memory(), MAIN, &raw mut flags)), ffi::SQLITE_OK);
    file.take_table();
    assert_eq!((flags, file.version()), (MAIN, 2));
    let journal = name.journal();
    let file = vfs.must_open(&journal, ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_CREATE);
    assert_eq!(file.version(), 1, "a journal has no shared memory");
}

#[test]
fn null_pointers_are_misuse() {
    let (mock, vfs) = set_up(c"null-vfs");
    let none: *const c_char = ptr::null();
    let mut out = -1;
    assert_eq!(call!(vfs.xOpen(none, ptr::null_mut(), MAIN, &raw mut out)), ffi::SQLITE_MISUSE);
    assert_eq!(call!(vfs.xDelete(none, 0)), ffi::SQLITE_MISUSE);
    assert_eq!(call!(vfs.xAccess(none, 0, &raw mut out)), ffi::SQLITE_MISUSE);
    assert_eq!(call!(vfs.xAccess(c"a".as_ptr(), 0, ptr::null_mut())), ffi::SQLITE_MISUSE);
    assert_eq!(call!(vfs.xAccess(c"a".as_ptr(), 9, &raw mut out)), ffi::SQLITE_MISUSE);
    let mut buffer: [c_char; 8] = [1; 8];
    assert_eq!(call!(vfs.xFullPathname(none, 8, buffer.as_mut_ptr())), ffi::SQLITE_MISUSE);
    assert_eq!(call!(vfs.xFullPathname(c"a".as_ptr(), 8, ptr::null_mut())), ffi::SQLITE_CANTOPEN);
    assert_eq!(call!(vfs.xRandomness(8, ptr::null_mut())), 0);
    assert_eq!(call!(vfs.xCurrentTime(ptr::null_mut())), ffi::SQLITE_MISUSE);
    assert_eq!(call!(vfs.xCurrentTimeInt64(ptr::null_mut())), ffi::SQLITE_MISUSE);
    assert_eq!((out, buffer), (-1, [1; 8]));
    assert_eq!(mock.live(), 0);
}

/// The struct of a VFS that was copied by a shim which lost its data, or no struct at all.
#[test]
fn a_vfs_without_its_data_is_misuse() {
    struct Lost(ffi::sqlite3_vfs, *mut ffi::sqlite3_vfs);
    impl Lost {
        fn object(&self) -> *mut ffi::sqlite3_vfs {
            self.1
        }
        fn table(&self) -> *const ffi::sqlite3_vfs {
            &raw const self.0
        }
    }
    let (_, vfs) = set_up(c"lost-data");
    let mut copy = *vfs.fields();
    copy.pAppData = ptr::null_mut();
    for lost in [Lost(copy, ptr::null_mut()), Lost(copy, &raw mut copy)] {
        let mut out = -1;
        let mut file = CFile::new(vfs);
        assert_eq!(call!(lost.xOpen(c"a".as_ptr(), file.memory(), MAIN, &raw mut out)), ffi::SQLITE_MISUSE);
        assert!(file.methods().is_null());
        assert_eq!(call!(lost.xDelete(c"a".as_ptr(), 0)), ffi::SQLITE_MISUSE);
        assert_eq!(call!(lost.xAccess(c"a".as_ptr(), 0, &raw mut out)), ffi::SQLITE_MISUSE);
        let mut buffer: [c_char; 8] = [1; 8];
        assert_eq!(call!(lost.xFullPathname(c"a".as_ptr(), 8, buffer.as_mut_ptr())), ffi::SQLITE_MISUSE);
        assert_eq!(call!(lost.xRandomness(8, buffer.as_mut_ptr())), 0);
        assert_eq!(call!(lost.xSleep(1)), 0);
        assert!(call!(lost.xDlOpen(c"libc.so.6".as_ptr())).is_null());
        assert!(call!(lost.xDlSym(ptr::null_mut(), c"a".as_ptr())).is_none());
        call!(lost.xDlError(8, buffer.as_mut_ptr()));
        call!(lost.xDlClose(ptr::null_mut()));
        assert_eq!((out, buffer), (-1, [1; 8]));
    }
}

#[test]
fn delete_and_access_tell_what_is_there() {
    let (mock, vfs) = set_up(c"there");
    mock.0.disk.find_or_create(Path::new("a"));
    let exists = || {
        let mut out = -1;
        assert_eq!(call!(vfs.xAccess(c"a".as_ptr(), ffi::SQLITE_ACCESS_EXISTS, &raw mut out)), 0);
        out
    };
    assert_eq!(exists(), 1);
    assert_eq!(call!(vfs.xDelete(c"a".as_ptr(), 1)), ffi::SQLITE_OK);
    assert_eq!(exists(), 0);
    assert_eq!(call!(vfs.xDelete(c"a".as_ptr(), 1)), ffi::SQLITE_IOERR_DELETE_NOENT);
}

fn full_pathname(vfs: CVfs, path: &CStr, size: c_int) -> (c_int, Vec<u8>) {
    let mut buffer = vec![0xff_u8; 64];
    let code = call!(vfs.xFullPathname(path.as_ptr(), size, buffer.as_mut_ptr().cast()));
    (code, buffer)
}

#[test]
fn a_full_path_fits_or_cannot_be_opened() {
    let (_, vfs) = set_up(c"full-path");
    for size in [c_int::MIN, -1, 0, 1, 6] {
        let (code, buffer) = full_pathname(vfs, c"a/b.c", size);
        assert_eq!(code, ffi::SQLITE_CANTOPEN, "{size}");
        assert!(buffer.iter().all(|byte| *byte == 0xff), "not a byte was written");
    }
    let (code, buffer) = full_pathname(vfs, c"a/b.c", 7);
    assert_eq!((code, &buffer[..8]), (ffi::SQLITE_OK, &b"/a/b.c\0\xff"[..]));
    let (code, buffer) = full_pathname(vfs, c"link-/a", 64);
    assert_eq!((code, &buffer[..3]), (ffi::SQLITE_OK_SYMLINK, &b"/a\0"[..]));
}

#[test]
fn names_need_not_be_utf_8() {
    let (mock, vfs) = set_up(c"bytes");
    let (code, buffer) = full_pathname(vfs, c"\xff\xfe.db", 64);
    assert_eq!((code, &buffer[..7]), (ffi::SQLITE_OK, &b"/\xff\xfe.db\0"[..]));
    let name = Name::new(b"/\xff\xfe.db");
    drop(vfs.must_open(&name, MAIN));
    assert_eq!(mock.0.disk.paths(), [Path::new(OsStr::from_bytes(b"/\xff\xfe.db"))]);
    let db = common::Db::open_bytes(Some(c"bytes"), b"\xff\xfe.db", 0).unwrap();
    db.rows("CREATE TABLE t(a)").unwrap();
    assert_eq!(mock.0.disk.paths().len(), 1);
}

#[test]
fn databases_journals_and_wals_have_parameters_and_temporary_files_have_none() {
    let (mock, vfs) = set_up(c"parameters");
    let name = Name::with_parameters(b"app.db", &[c"key", c"%n\xc3\xa4", c"flag", c"yes"]);
    let journal = (name.journal(), ffi::SQLITE_OPEN_MAIN_JOURNAL);
    let wal = (name.wal(), ffi::SQLITE_OPEN_WAL);
    for (name, kind) in [(&name, ffi::SQLITE_OPEN_MAIN_DB), (&journal.0, journal.1), (&wal.0, wal.1)] {
        drop(vfs.must_open(name, kind | ffi::SQLITE_OPEN_CREATE));
    }
    let expected = |path: &str| (path.into(), Some("%n\u{e4}".into()), Some(true));
    let seen = std::mem::take(&mut *locked(&mock.0.parameters));
    assert_eq!(seen, ["app.db", "app.db-journal", "app.db-wal"].map(expected));

    // What would be found by whoever looked all the same. SQLite gives such names with nothing behind them.
    let around = b"\0\0\0\0temp\0key\0k\0flag\0yes\0\0\0\0";
    let bare: *const c_char = around[4..].as_ptr().cast();
    for kind in [
        ffi::SQLITE_OPEN_TEMP_DB,
        ffi::SQLITE_OPEN_TEMP_JOURNAL,
        ffi::SQLITE_OPEN_TRANSIENT_DB,
        ffi::SQLITE_OPEN_SUBJOURNAL,
        ffi::SQLITE_OPEN_SUPER_JOURNAL,
        0,
    ] {
        let mut file = CFile::new(vfs);
        let flags = kind | ffi::SQLITE_OPEN_CREATE;
        assert_eq!(call!(vfs.xOpen(bare, file.memory(), flags, ptr::null_mut())), ffi::SQLITE_OK);
        file.take_table();
    }
    assert_eq!(locked(&mock.0.parameters).len(), 6);
    assert!(locked(&mock.0.parameters).iter().all(|seen| *seen == ("temp".into(), None, None)));
}

#[test]
fn flags_in_names_are_read_by_the_rule_of_sqlite() {
    let (mock, vfs) = set_up(c"flags");
    for (text, expected) in [
        (c"1", Some(true)),
        (c"0", Some(false)),
        (c"27", Some(true)),
        (c"TRUE", Some(true)),
        (c"on", Some(true)),
        (c"No", Some(false)),
        (c"off", Some(false)),
        (c"false", Some(false)),
        (c"maybe", None),
        (c"\xff", None),
        (c"", None),
    ] {
        let name = Name::with_parameters(b"app.db", &[c"flag", text]);
        drop(vfs.must_open(&name, MAIN));
        let (_, key, flag) = locked(&mock.0.parameters).pop().unwrap();
        assert_eq!((key, flag), (None, expected), "{text:?}");
        // SAFETY: SQLite made the name, and the key ends in NUL.
        let theirs = unsafe { ffi::sqlite3_uri_boolean(name.raw, c"flag".as_ptr(), 7) };
        assert_eq!(flag.map_or(theirs, c_int::from), theirs, "{text:?}");
    }
}

#[test]
fn randomness_and_sleep_answer_what_was_done_and_never_too_much() {
    let (mock, vfs) = set_up(c"random");
    let mut buffer: [c_char; 8] = [1; 8];
    assert_eq!(call!(vfs.xRandomness(4, buffer.as_mut_ptr())), 4);
    assert_eq!(buffer, [7, 7, 7, 7, 1, 1, 1, 1]);
    assert_eq!(call!(vfs.xRandomness(-1, buffer.as_mut_ptr())), 0);
    mock.tweak(|tweaks| tweaks.filled = Some(99));
    assert_eq!(call!(vfs.xRandomness(8, buffer.as_mut_ptr())), 8, "there was room for no more");

    assert_eq!((call!(vfs.xSleep(5)), call!(vfs.xSleep(-5))), (5, 0));
    mock.tweak(|tweaks| tweaks.slept = Some(Duration::from_secs(1 << 40)));
    assert_eq!(call!(vfs.xSleep(5)), 0);
}

#[test]
fn the_time_is_that_of_the_unix_vfs() {
    let (_, vfs) = set_up(c"time");
    let unix = CVfs::find(c"unix");
    let (mut ours, mut theirs, mut days) = (0, 0, 0.0);
    assert_eq!(call!(unix.xCurrentTimeInt64(&raw mut theirs)), ffi::SQLITE_OK);
    assert_eq!(call!(vfs.xCurrentTimeInt64(&raw mut ours)), ffi::SQLITE_OK);
    assert!((0..60_000).contains(&(ours - theirs)), "{ours} {theirs}");
    assert_eq!(call!(vfs.xCurrentTime(&raw mut days)), ffi::SQLITE_OK);
    assert!((days - theirs as f64 / 86_400_000.0).abs() < 0.001, "{days}");
}

#[test]
fn the_last_error_of_the_operating_system_is_remembered_for_each_thread() {
    let (mock, vfs) = set_up(c"last-error");
    mock.set_hook(|_, _| Err(Error { code: Code::IOERR_ACCESS, errno: libc::EACCES }));
    let mut out = -1;
    assert_eq!(call!(vfs.xAccess(c"a".as_ptr(), 0, &raw mut out)), ffi::SQLITE_IOERR_ACCESS);
    assert_eq!(call!(vfs.xGetLastError(0, ptr::null_mut())), libc::EACCES);
    std::thread::spawn(|| {
        let vfs = CVfs::find(c"last-error");
        assert_eq!(call!(vfs.xGetLastError(0, ptr::null_mut())), 0);
    })
    .join()
    .unwrap();
}

/// A code that says "no error" beside an error would let SQLite use a file that nobody opened.
#[test]
fn an_error_is_never_told_as_success() {
    let (mock, vfs) = set_up(c"ok-error");
    for code in [Code::OK, Code::OK_SYMLINK, Code::OK_LOAD_PERMANENTLY] {
        mock.set_hook(move |_, _| Err(code.into()));
        let name = Name::new(b"app.db");
        let mut file = CFile::new(vfs);
        let answered = call!(vfs.xOpen(name.raw, file.memory(), MAIN, ptr::null_mut()));
        assert_eq!(answered, ffi::SQLITE_ERROR, "{code}");
        assert_eq!(call!(vfs.xDelete(c"a".as_ptr(), 0)), ffi::SQLITE_ERROR);
        assert_eq!(full_pathname(vfs, c"a", 64).0, ffi::SQLITE_ERROR);
    }
}

#[test]
fn extensions_are_loaded_by_the_vfs_of_the_library() {
    let (_, vfs) = set_up(c"extensions");
    assert!(call!(vfs.xDlOpen(c"/nowhere/lib.so".as_ptr())).is_null());
    let mut message: [c_char; 200] = [0; 200];
    call!(vfs.xDlError(200, message.as_mut_ptr()));
    // SAFETY: the buffer was zero, and its last byte may not be used but for NUL.
    let message = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned();
    assert!(message.contains("/nowhere/lib.so"), "{message}");
    let library = call!(vfs.xDlOpen(c"libc.so.6".as_ptr()));
    assert!(!library.is_null());
    assert!(call!(vfs.xDlSym(library, c"strlen".as_ptr())).is_some());
    assert!(call!(vfs.xDlSym(library, c"no_such_symbol".as_ptr())).is_none());
    call!(vfs.xDlClose(library));
}
