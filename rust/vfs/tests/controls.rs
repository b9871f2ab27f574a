//! File controls: what each is asked and how the answer gets back, called as C would.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Mutex};

use common::disk::locked;
use common::{CFile, CVfs, Db, Mock, Name, call, registered};
use libsqlite3_sys as ffi;
use vfs::{Code, Control, Error, Reply};

const MAIN: c_int = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;

fn open(vfs: &CStr) -> (Mock, CFile) {
    let mock = registered(vfs, Mock::new());
    let name = Name::new(b"app.db");
    let file = CVfs::find(vfs).must_open(&name, MAIN);
    (mock, file)
}

/// A mock that tells what it was asked, and answers all of it with one reply.
fn replying(vfs: &CStr, reply: Reply) -> (Arc<Mutex<Vec<String>>>, CFile) {
    let (mock, file) = open(vfs);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&asked);
    mock.set_answer(move |control| {
        locked(&hear).push(format!("{control:?}"));
        Some(Ok(reply.clone()))
    });
    (asked, file)
}

/// A text that SQLite's allocator made, given back to it.
fn taken(text: *mut c_char) -> String {
    assert!(!text.is_null());
    // SAFETY: the text is not null, ends in NUL, and comes from this library's allocator, which is what is checked here.
    unsafe {
        let copy = CStr::from_ptr(text).to_str().unwrap().to_owned();
        ffi::sqlite3_free(text.cast());
        copy
    }
}

#[test]
fn what_nobody_knows_is_not_found() {
    let (asked, mut file) = replying(c"unknown", Reply::Done);
    let mut argument = [0xee_u8; 64];
    let unknown =
        [-1, 0, 2, 3, 7, 9, 15, 17, 19, 23, 24, 25, 26, 27, 28, 29, 30, 35, 36, 38, 42, 46, 1_000_000];
    for operation in unknown.into_iter().chain([c_int::MIN, c_int::MAX]) {
        assert_eq!(file.control(operation, &mut argument), ffi::SQLITE_NOTFOUND, "{operation}");
    }
    assert_eq!((locked(&asked).len(), argument), (0, [0xee; 64]));
}

#[test]
fn numbers_go_in_and_out() {
    let (asked, mut file) = replying(c"numbers", Reply::Number(77));
    let mut ask = |operation, argument: i32| {
        let mut both = [argument, -9];
        assert_eq!(file.control(operation, &mut both), ffi::SQLITE_OK, "{operation}");
        assert_eq!(both[1], -9, "{operation} wrote further than an int");
        (locked(&asked).pop().unwrap(), both[0])
    };
    assert_eq!(ask(ffi::SQLITE_FCNTL_LOCKSTATE, 5), ("LockState".into(), 77));
    assert_eq!(ask(ffi::SQLITE_FCNTL_HAS_MOVED, 5), ("HasMoved".into(), 77));
    assert_eq!(ask(ffi::SQLITE_FCNTL_EXTERNAL_READER, 5), ("ExternalReader".into(), 77));
    assert_eq!(ask(ffi::SQLITE_FCNTL_LOCK_TIMEOUT, 5), ("LockTimeout(5)".into(), 77));
    for (argument, text) in [(-1, "None"), (0, "Some(false)"), (1, "Some(true)"), (9, "Some(true)")] {
        let (persist, number) = ask(ffi::SQLITE_FCNTL_PERSIST_WAL, argument);
        assert_eq!((persist, number), (format!("PersistWal({text})"), 77));
        let (powersafe, number) = ask(ffi::SQLITE_FCNTL_POWERSAFE_OVERWRITE, argument);
        assert_eq!((powersafe, number), (format!("PowersafeOverwrite({text})"), 77));
    }
    let mut long = [1_i64 << 40, -9];
    assert_eq!(file.control(ffi::SQLITE_FCNTL_MMAP_SIZE, &mut long), ffi::SQLITE_OK);
    assert_eq!((locked(&asked).pop().unwrap(), long), ("MmapSize(1099511627776)".into(), [77, -9]));
}

#[test]
fn numbers_that_do_not_fit_are_the_greatest_that_does() {
    let (_, mut file) = replying(c"too-much", Reply::Number(1 << 40));
    let mut number = 0;
    assert_eq!(file.control(ffi::SQLITE_FCNTL_LOCKSTATE, &mut number), ffi::SQLITE_OK);
    assert_eq!(number, c_int::MAX);
}

#[test]
fn the_three_states_are_kept_for_each_file() {
    let (_mock, mut file) = open(c"tri-state");
    for (operation, at_first) in
        [(ffi::SQLITE_FCNTL_PERSIST_WAL, 0), (ffi::SQLITE_FCNTL_POWERSAFE_OVERWRITE, 1)]
    {
        let mut ask = |mut number: c_int| {
            assert_eq!(file.control(operation, &mut number), ffi::SQLITE_OK);
            number
        };
        assert_eq!([ask(-1), ask(1), ask(-1), ask(0), ask(-1)], [at_first, 1, 1, 0, 0]);
    }
}

#[test]
fn announcements_need_no_argument_and_change_none() {
    let (asked, mut file) = replying(c"announcements", Reply::Done);
    for (operation, expected) in [
        (ffi::SQLITE_FCNTL_SYNC_OMITTED, "SyncOmitted"),
        (ffi::SQLITE_FCNTL_OVERWRITE, "Overwrite"),
        (ffi::SQLITE_FCNTL_SYNC, "Sync"),
        (ffi::SQLITE_FCNTL_COMMIT_PHASETWO, "CommitPhaseTwo"),
        (ffi::SQLITE_FCNTL_CKPT_START, "CheckpointStart"),
        (ffi::SQLITE_FCNTL_CKPT_DONE, "CheckpointDone"),
        (ffi::SQLITE_FCNTL_BEGIN_ATOMIC_WRITE, "BeginAtomicWrite"),
        (ffi::SQLITE_FCNTL_COMMIT_ATOMIC_WRITE, "CommitAtomicWrite"),
        (ffi::SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE, "RollbackAtomicWrite"),
        (ffi::SQLITE_FCNTL_CKSM_FILE, "ChecksumFile"),
        (ffi::SQLITE_FCNTL_NULL_IO, "NullIo"),
    ] {
        assert_eq!(call!(file.xFileControl(operation, ptr::null_mut())), ffi::SQLITE_OK);
        assert_eq!(locked(&asked).pop().unwrap(), expected);
    }
    let (mut hint, mut chunk, mut block) = (1_i64 << 33, 65536, 1);
    assert_eq!(file.control(ffi::SQLITE_FCNTL_SIZE_HINT, &mut hint), ffi::SQLITE_OK);
    assert_eq!(file.control(ffi::SQLITE_FCNTL_CHUNK_SIZE, &mut chunk), ffi::SQLITE_OK);
    assert_eq!(file.control(ffi::SQLITE_FCNTL_BLOCK_ON_CONNECT, &mut block), ffi::SQLITE_OK);
    assert_eq!(*locked(&asked), ["SizeHint(8589934592)", "ChunkSize(65536)", "BlockOnConnect(true)"]);
    assert_eq!((hint, chunk, block), (1 << 33, 65536, 1));
}

#[test]
fn a_missing_argument_is_misuse() {
    for (vfs, reply) in [
        (c"null-number", Reply::Number(1)),
        (c"null-text", Reply::Text("lost".into())),
        (c"null-refusal", Reply::Refused("lost".into())),
    ] {
        let (_, mut file) = replying(vfs, reply);
        for operation in [1, 4, 5, 6, 10, 12, 13, 14, 16, 18, 20, 34, 40, 44, 45] {
            assert_eq!(
                call!(file.xFileControl(operation, ptr::null_mut())),
                ffi::SQLITE_MISUSE,
                "{vfs:?} {operation}"
            );
        }
    }
}

/// An answer of a shape that the control has no room for would be written over something else: `Number` to `Sync`, whose argument
/// is a file name, or a text over the four bytes of an `int`.
#[test]
fn an_answer_of_the_wrong_shape_is_misuse_and_writes_nothing() {
    const NUMBERS: [c_int; 8] = [1, 4, 10, 13, 18, 20, 34, 40];
    const TEXTS: [c_int; 4] = [12, 14, 16, 45];
    let others = [5, 6, 8, 11, 21, 22, 31, 32, 33, 37, 39, 41, 43, 44];
    for (vfs, reply, fits) in [
        (c"odd-number", Reply::Number(-1), &NUMBERS[..]),
        (c"odd-text", Reply::Text("odd".into()), &TEXTS[..]),
        (c"odd-refusal", Reply::Refused("odd".into()), &[14][..]),
    ] {
        let (_, mut file) = replying(vfs, reply);
        for operation in NUMBERS.into_iter().chain(TEXTS).chain(others) {
            // These two are answered by the crate itself.
            if fits.contains(&operation) || operation == 4 || operation == 12 {
                continue;
            }
            let mut argument: [*mut c_void; 4] =
                [ptr::null_mut(), c"odd".as_ptr().cast_mut().cast(), ptr::null_mut(), ptr::null_mut()];
            let before = argument;
            assert_eq!(file.control(operation, &mut argument), ffi::SQLITE_MISUSE, "{vfs:?} {operation}");
            assert_eq!(argument, before, "{vfs:?} {operation}");
        }
    }
}

#[test]
fn the_name_of_the_vfs_goes_before_what_the_file_says() {
    for (vfs, reply, expected) in [
        (c"named", Reply::Text("more".into()), "named/more"),
        (c"named-alone", Reply::NotFound, "named-alone"),
        (c"named-%s", Reply::Text("%n\0%d".into()), "named-%s/%n%d"),
    ] {
        let (_, mut file) = replying(vfs, reply);
        let mut text: *mut c_char = ptr::null_mut();
        assert_eq!(file.control(ffi::SQLITE_FCNTL_VFSNAME, &mut text), ffi::SQLITE_OK);
        assert_eq!(taken(text), expected);
    }
}

#[test]
fn texts_belong_to_the_allocator_of_sqlite() {
    let (asked, mut file) = replying(c"texts", Reply::Text("/tmp/a\u{e4}".into()));
    let mut text: *mut c_char = ptr::null_mut();
    assert_eq!(file.control(ffi::SQLITE_FCNTL_TEMPFILENAME, &mut text), ffi::SQLITE_OK);
    assert_eq!(taken(text), "/tmp/a\u{e4}");

    // SAFETY: takes null for "no connection", and the builder is finished once, below.
    let builder = unsafe { ffi::sqlite3_str_new(ptr::null_mut()) };
    assert_eq!(call!(file.xFileControl(ffi::SQLITE_FCNTL_FILESTAT, builder.cast())), ffi::SQLITE_OK);
    // SAFETY: the builder was just made.
    assert_eq!(taken(unsafe { ffi::sqlite3_str_finish(builder) }), "/tmp/a\u{e4}");
    assert_eq!(*locked(&asked), ["TempFileName", "FileStat"]);
}

/// Slot 0 after a PRAGMA, and the code.
fn pragma(file: &mut CFile, name: *const c_char, value: *const c_char) -> (c_int, *mut c_char) {
    let mut slots = [ptr::null_mut(), name.cast_mut(), value.cast_mut(), ptr::null_mut()];
    (file.control(ffi::SQLITE_FCNTL_PRAGMA, &mut slots), slots[0])
}

#[test]
fn a_pragma_has_a_name_a_value_and_an_answer_in_slot_0() {
    let (asked, mut file) = replying(c"pragma", Reply::Text("answer".into()));
    let (code, text) = pragma(&mut file, c"Some_Name".as_ptr(), c"v".as_ptr());
    assert_eq!((code, taken(text)), (ffi::SQLITE_OK, "answer".into()));
    let (code, text) = pragma(&mut file, c"x".as_ptr(), ptr::null());
    assert_eq!((code, taken(text)), (ffi::SQLITE_OK, "answer".into()));
    assert_eq!(
        *locked(&asked),
        [r#"Pragma { name: "Some_Name", value: Some("v") }"#, r#"Pragma { name: "x", value: None }"#]
    );
    // What is no UTF-8 is none of ours, and SQLite goes on with it.
    for (name, value) in [(c"\xff", c"v"), (c"x", c"\xff")] {
        assert_eq!(pragma(&mut file, name.as_ptr(), value.as_ptr()), (ffi::SQLITE_NOTFOUND, ptr::null_mut()));
    }
    assert_eq!(pragma(&mut file, ptr::null(), ptr::null()), (ffi::SQLITE_NOTFOUND, ptr::null_mut()));
    assert_eq!(locked(&asked).len(), 2);
}

#[test]
fn pragmas_reach_the_file_through_sqlite() {
    let (mock, _file) = open(c"pragma-sql");
    mock.set_answer(|control| match control {
        Control::Pragma { name: "ltx_told", value } => Some(Ok(Reply::Text(format!("{value:?}")))),
        Control::Pragma { name: "ltx_silent", .. } => Some(Ok(Reply::Done)),
        Control::Pragma { name: "ltx_refused", .. } => Some(Ok(Reply::Refused("not %s now".into()))),
        Control::Pragma { name: "ltx_broken", .. } => Some(Err(Code::IOERR_DATA.into())),
        _ => None,
    });
    let db = Db::open(c"pragma-sql", "app.db").unwrap();
    assert_eq!(db.one("PRAGMA ltx_told"), "None");
    assert_eq!(db.one("PRAGMA ltx_told = 'x'"), "Some(\"x\")");
    assert_eq!(db.one("PRAGMA ltx_silent"), "", "a column without a name is more than hosts can take");
    assert!(db.rows("PRAGMA nobody_knows_this").unwrap().is_empty());
    let refused = db.rows("PRAGMA ltx_refused").unwrap_err();
    assert_eq!((refused.code, &*refused.message), (ffi::SQLITE_ERROR, &b"not %s now"[..]));
    assert_eq!(db.rows("PRAGMA ltx_broken").unwrap_err().primary(), ffi::SQLITE_IOERR);
    assert_eq!(db.one("PRAGMA page_size"), "4096", "the others are SQLite's");
}

#[test]
fn the_last_errno_of_a_file_is_its_own() {
    let (mock, mut file) = open(c"errno");
    let mut errno = -1;
    assert_eq!(file.control(ffi::SQLITE_FCNTL_LAST_ERRNO, &mut errno), ffi::SQLITE_OK);
    assert_eq!(errno, 0);
    mock.set_hook(|operation, _| match operation {
        "sync" => Err(Error { code: Code::IOERR_FSYNC, errno: libc::EIO }),
        _ => Ok(()),
    });
    assert_eq!(call!(file.xSync(ffi::SQLITE_SYNC_NORMAL)), ffi::SQLITE_IOERR_FSYNC);
    let name = Name::new(b"app.db");
    let mut second = CVfs::find(c"errno").must_open(&name, MAIN);
    for (file, expected) in [(&mut file, libc::EIO), (&mut second, 0)] {
        assert_eq!(file.control(ffi::SQLITE_FCNTL_LAST_ERRNO, &mut errno), ffi::SQLITE_OK);
        assert_eq!(errno, expected);
    }
    // What succeeds does not forget it.
    assert_eq!(file.write(b"x", 0), ffi::SQLITE_OK);
    assert_eq!(file.control(ffi::SQLITE_FCNTL_LAST_ERRNO, &mut errno), ffi::SQLITE_OK);
    assert_eq!(errno, libc::EIO);
}
