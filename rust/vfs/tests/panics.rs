//! A panic out of every method: SQLite gets a code, the log a line, the file is refused from then on, and still closes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::panics::{be_quiet, explode};
use common::{CFile, CVfs, Mock, Name, call, logged, registered};
use libsqlite3_sys as ffi;

const MAIN: c_int = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;
const IOERR: c_int = ffi::SQLITE_IOERR;
const TAKE: c_int = ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_SHARED;
const RELEASE: c_int = ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_SHARED;

/// One method: the name that the hook knows it by, SQLite's name, how to call it, what it answers to a panic.
struct Method(&'static str, &'static str, fn(&mut CFile) -> c_int, c_int);

fn read(file: &mut CFile) -> c_int {
    file.read(&mut [0; 4], 0)
}

fn size(file: &mut CFile) -> c_int {
    let mut out = -1;
    let code = call!(file.xFileSize(&raw mut out));
    assert!(code == ffi::SQLITE_OK || out == -1);
    code
}

fn check_reserved_lock(file: &mut CFile) -> c_int {
    let mut out = -1;
    call!(file.xCheckReservedLock(&raw mut out))
}

fn map(file: &mut CFile) -> c_int {
    let mut region = ptr::dangling_mut::<c_void>();
    let code = call!(file.xShmMap(0, 32768, 1, &raw mut region));
    assert!(code == ffi::SQLITE_OK || region.is_null());
    code
}

fn barrier(file: &mut CFile) -> c_int {
    call!(file.xShmBarrier());
    ffi::SQLITE_OK
}

const METHODS: [Method; 17] = [
    Method("read", "xRead", read, IOERR),
    Method("write", "xWrite", |file| file.write(b"x", 0), IOERR),
    Method("truncate", "xTruncate", |file| call!(file.xTruncate(0)), IOERR),
    Method("sync", "xSync", |file| call!(file.xSync(ffi::SQLITE_SYNC_NORMAL)), IOERR),
    Method("size", "xFileSize", size, IOERR),
    Method("lock", "xLock", |file| call!(file.xLock(ffi::SQLITE_LOCK_SHARED)), IOERR),
    Method("unlock", "xUnlock", |file| call!(file.xUnlock(ffi::SQLITE_LOCK_NONE)), IOERR),
    Method("check_reserved_lock", "xCheckReservedLock", check_reserved_lock, IOERR),
    Method("control", "xFileControl", |file| file.control(ffi::SQLITE_FCNTL_PERSIST_WAL, &mut -1), IOERR),
    Method("sector_size", "xSectorSize", |file| call!(file.xSectorSize()), 4096),
    Method(
        "device_characteristics",
        "xDeviceCharacteristics",
        |file| call!(file.xDeviceCharacteristics()),
        0,
    ),
    Method("map", "xShmMap", map, IOERR),
    Method("shm_lock", "xShmLock", |file| call!(file.xShmLock(0, 1, TAKE)), IOERR),
    Method("shm_unlock", "xShmLock", |file| call!(file.xShmLock(0, 1, RELEASE)), IOERR),
    Method("shared_memory", "xShmLock", |file| call!(file.xShmLock(0, 1, TAKE)), IOERR),
    Method("barrier", "xShmBarrier", barrier, 0),
    Method("unmap", "xShmUnmap", |file| call!(file.xShmUnmap(0)), IOERR),
];

fn set_up(vfs: &CStr) -> (Mock, CVfs) {
    logged::listen();
    be_quiet();
    (registered(vfs, Mock::new()), CVfs::find(vfs))
}

/// From now on `operation` panics, in one of four ways.
fn arm(mock: &Mock, operation: &'static str, kind: usize) {
    mock.set_hook(move |called, _| {
        if called == operation {
            explode(kind);
        }
        Ok(())
    });
}

/// The text that a panic of this kind has in the log.
fn text(kind: usize) -> &'static str {
    ["injected text", "injected string", "no message", "no message"][kind]
}

#[test]
fn a_panic_in_a_method_latches_the_file() {
    let (mock, vfs) = set_up(c"latch");
    let name = Name::new(b"app.db");
    for (index, Method(operation, method, run, answer)) in METHODS.iter().enumerate() {
        let kind = index % 4;
        let before = logged::lines("latch: ").len();
        let mut file = vfs.must_open(&name, MAIN);
        arm(&mock, operation, kind);
        assert_eq!(run(&mut file), *answer, "{operation}");
        mock.clear_hook();
        let lines = logged::lines("latch: ").split_off(before);
        let line = format!("latch: panic in {method}: {}", text(kind));
        assert_eq!(lines, [(IOERR, line.into_bytes())], "{operation}");

        mock.set_hook(|called, _| panic!("{called} reached a file that is not to be trusted"));
        for Method(other, _, run, refused) in &METHODS {
            assert_eq!(run(&mut file), *refused, "{other} after a panic in {operation}");
        }
        mock.clear_hook();
        let mut errno = -1;
        assert_eq!(file.control(ffi::SQLITE_FCNTL_LAST_ERRNO, &mut errno), IOERR);
        let mut slots: [*mut c_char; 3] =
            [ptr::null_mut(), c"page_size".as_ptr().cast_mut(), ptr::null_mut()];
        assert_eq!(file.control(ffi::SQLITE_FCNTL_PRAGMA, &mut slots), ffi::SQLITE_IOERR);
        // SAFETY: SQLite's own memory, with a text that ends in NUL.
        let said = unsafe { CStr::from_ptr(slots[0]) }.to_bytes();
        assert_eq!(said, b"this connection is not to be used after an internal error; open another one");
        // SAFETY: as above; nobody else has it.
        unsafe { ffi::sqlite3_free(slots[0].cast()) };
        assert_eq!(logged::lines("latch: ").len(), before + 1, "it is told once");

        let closed = mock.0.closed.load(Ordering::SeqCst);
        assert_eq!((file.close(), mock.live()), (ffi::SQLITE_OK, 0));
        assert_eq!(mock.0.closed.load(Ordering::SeqCst), closed + 1, "by `close`, as any file");
    }
}

#[test]
fn a_file_that_was_not_touched_goes_on() {
    let (mock, vfs) = set_up(c"neighbour");
    let name = Name::new(b"app.db");
    let mut first = vfs.must_open(&name, MAIN);
    let mut second = vfs.must_open(&name, MAIN);
    arm(&mock, "write", 0);
    assert_eq!(first.write(b"x", 0), IOERR);
    mock.clear_hook();
    assert_eq!(first.write(b"x", 0), IOERR);
    assert_eq!(second.write(b"x", 0), ffi::SQLITE_OK);
}

#[test]
fn a_panic_in_close_frees_the_file() {
    let (mock, vfs) = set_up(c"close");
    let name = Name::new(b"app.db");
    for kind in 0..4 {
        let mut file = vfs.must_open(&name, MAIN);
        arm(&mock, "close", kind);
        assert_eq!(file.close(), ffi::SQLITE_IOERR_CLOSE);
        assert_eq!((mock.live(), file.methods()), (0, ptr::null()));
        assert_eq!(file.close(), ffi::SQLITE_OK);
    }
    let expected: Vec<_> = (0..4).map(|kind| format!("close: panic in xClose: {}", text(kind))).collect();
    assert_eq!(logged::texts("close: panic"), expected);
}

#[test]
fn a_panic_in_open_opens_nothing() {
    let (mock, vfs) = set_up(c"open");
    let name = Name::new(b"app.db");
    for operation in ["open", "shared_memory"] {
        for kind in 0..4 {
            arm(&mock, operation, kind);
            let mut file = CFile::new(vfs);
            assert_eq!(call!(vfs.xOpen(name.raw, file.memory(), MAIN, ptr::null_mut())), IOERR);
            assert!(file.methods().is_null());
            assert_eq!(mock.live(), 0, "{operation}");
        }
    }
    assert_eq!(logged::lines("open: panic in xOpen: ").len(), 8);
    mock.clear_hook();
    assert_eq!(vfs.must_open(&name, MAIN).write(b"x", 0), ffi::SQLITE_OK);
}

#[test]
fn a_panic_in_the_file_system_is_a_code_and_forgotten() {
    let (mock, vfs) = set_up(c"system");
    let access = move || {
        let mut out = -1;
        (call!(vfs.xAccess(c"a".as_ptr(), ffi::SQLITE_ACCESS_EXISTS, &raw mut out)), out)
    };
    let full_pathname = move || {
        let mut buffer: [c_char; 8] = [1; 8];
        call!(vfs.xFullPathname(c"a".as_ptr(), 8, buffer.as_mut_ptr()))
    };
    let randomness = move || {
        let mut buffer: [c_char; 8] = [1; 8];
        call!(vfs.xRandomness(8, buffer.as_mut_ptr()))
    };
    for kind in 0..4 {
        arm(&mock, "delete", kind);
        assert_eq!(call!(vfs.xDelete(c"a".as_ptr(), 0)), IOERR);
        arm(&mock, "access", kind);
        assert_eq!(access(), (IOERR, -1));
        arm(&mock, "full_pathname", kind);
        assert_eq!(full_pathname(), IOERR);
        arm(&mock, "randomness", kind);
        assert_eq!(randomness(), 0);
        arm(&mock, "sleep", kind);
        assert_eq!(call!(vfs.xSleep(1)), 0);
    }
    for method in ["xDelete", "xAccess", "xFullPathname", "xRandomness", "xSleep"] {
        let expected: Vec<_> =
            (0..4).map(|kind| format!("system: panic in {method}: {}", text(kind))).collect();
        assert_eq!(logged::texts(&format!("system: panic in {method}")), expected);
    }
    mock.clear_hook();
    assert_eq!((access(), full_pathname(), randomness()), ((ffi::SQLITE_OK, 0), ffi::SQLITE_OK, 8));
}

/// Each panic leaked what it carried, a message at least: a file system that panics at every call would fill the memory.
#[test]
fn what_a_panic_carried_is_freed() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (mock, vfs) = set_up(c"freed");
    let dropped = Arc::new(AtomicUsize::new(0));
    let payload = Arc::clone(&dropped);
    mock.set_hook(move |called, _| match called {
        "delete" | "close" => std::panic::resume_unwind(Box::new(Counted(Arc::clone(&payload)))),
        _ => Ok(()),
    });
    let mut file = vfs.must_open(&Name::new(b"app.db"), MAIN);
    assert_eq!(call!(vfs.xDelete(c"a".as_ptr(), 0)), IOERR);
    assert_eq!(file.close(), ffi::SQLITE_IOERR_CLOSE);
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
}
