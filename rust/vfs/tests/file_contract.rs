//! Every method of `sqlite3_io_methods` but the file controls, called as C would through the table of an open file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::{CStr, c_int, c_void};
use std::path::Path;
use std::ptr;

use common::disk::locked;
use common::{CFile, CVfs, Mock, Name, call, registered};
use libsqlite3_sys as ffi;
use vfs::Code;

const MAIN: c_int = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;
const MISUSE: c_int = ffi::SQLITE_MISUSE;
const REGION: c_int = 32768;

struct Open {
    mock: Mock,
    file: CFile,
    _name: Name,
}

fn open(vfs: &CStr) -> Open {
    let mock = registered(vfs, Mock::new());
    let name = Name::new(b"app.db");
    Open { mock, file: CVfs::find(vfs).must_open(&name, MAIN), _name: name }
}

#[test]
fn a_short_read_is_filled_with_zeros_and_told() {
    let Open { mock, mut file, _name } = open(c"short-read");
    assert_eq!(file.write(b"abcdef", 2), ffi::SQLITE_OK);
    let mut read = |offset| {
        let mut buffer = [0xee; 5];
        (file.read(&mut buffer, offset), buffer)
    };
    assert_eq!(read(0), (ffi::SQLITE_OK, *b"\0\0abc"));
    assert_eq!(read(5), (ffi::SQLITE_IOERR_SHORT_READ, *b"def\0\0"));
    assert_eq!(read(8), (ffi::SQLITE_IOERR_SHORT_READ, [0; 5]));
    assert_eq!(read(i64::MAX), (ffi::SQLITE_IOERR_SHORT_READ, [0; 5]));
    mock.tweak(|tweaks| tweaks.filled = Some(99));
    assert_eq!(read(3), (ffi::SQLITE_OK, *b"bcdef"), "more than was asked for is all of it");
}

#[test]
fn impossible_places_and_sizes_are_misuse_and_reach_nobody() {
    let Open { mock, mut file, _name } = open(c"impossible");
    let mut buffer = [0xee_u8; 4];
    mock.set_hook(|operation, _| panic!("{operation} was called"));
    let data: *mut c_void = buffer.as_mut_ptr().cast();
    for (size, offset) in [(-1, 0), (c_int::MIN, 0), (4, -1), (4, i64::MIN)] {
        assert_eq!(call!(file.xRead(data, size, offset)), MISUSE, "{size} {offset}");
        assert_eq!(call!(file.xWrite(data.cast_const(), size, offset)), MISUSE, "{size} {offset}");
    }
    assert_eq!(call!(file.xTruncate(-1)), MISUSE);
    for level in [-1, ffi::SQLITE_LOCK_NONE, ffi::SQLITE_LOCK_PENDING, 5, c_int::MAX, c_int::MIN] {
        assert_eq!(call!(file.xLock(level)), MISUSE, "{level}");
    }
    let levels = [-1, ffi::SQLITE_LOCK_RESERVED, ffi::SQLITE_LOCK_PENDING, ffi::SQLITE_LOCK_EXCLUSIVE, 5];
    for level in levels {
        assert_eq!(call!(file.xUnlock(level)), MISUSE, "{level}");
    }
    assert_eq!(buffer, [0xee; 4]);
    mock.clear_hook();
}

#[test]
fn null_pointers_are_misuse() {
    let Open { mut file, .. } = open(c"null-file");
    assert_eq!(call!(file.xRead(ptr::null_mut(), 4, 0)), MISUSE);
    assert_eq!(call!(file.xWrite(ptr::null(), 4, 0)), MISUSE);
    assert_eq!(call!(file.xFileSize(ptr::null_mut())), MISUSE);
    assert_eq!(call!(file.xCheckReservedLock(ptr::null_mut())), MISUSE);
}

/// No file at all, and a file that was closed: for every method of the table.
#[test]
fn no_file_and_a_closed_file_are_misuse() {
    struct Nobody(*const ffi::sqlite3_io_methods, *mut ffi::sqlite3_file);
    impl Nobody {
        fn object(&self) -> *mut ffi::sqlite3_file {
            self.1
        }
        fn table(&self) -> *const ffi::sqlite3_io_methods {
            self.0
        }
    }
    let Open { mock, mut file, _name } = open(c"nobody");
    assert_eq!(file.close(), ffi::SQLITE_OK);
    assert!(file.methods().is_null());
    assert_eq!(mock.live(), 0);
    for nobody in [Nobody(file.table(), ptr::null_mut()), Nobody(file.table(), file.memory())] {
        let (mut number, mut size, mut region) = (-1, -1, ptr::null_mut());
        let mut buffer = [1_u8; 4];
        let codes = [
            call!(nobody.xRead(buffer.as_mut_ptr().cast(), 4, 0)),
            call!(nobody.xWrite(buffer.as_ptr().cast(), 4, 0)),
            call!(nobody.xTruncate(0)),
            call!(nobody.xSync(ffi::SQLITE_SYNC_NORMAL)),
            call!(nobody.xFileSize(&raw mut size)),
            call!(nobody.xLock(ffi::SQLITE_LOCK_SHARED)),
            call!(nobody.xUnlock(ffi::SQLITE_LOCK_NONE)),
            call!(nobody.xCheckReservedLock(&raw mut number)),
            call!(nobody.xFileControl(ffi::SQLITE_FCNTL_LOCKSTATE, (&raw mut number).cast())),
            call!(nobody.xShmMap(0, REGION, 1, &raw mut region)),
            call!(nobody.xShmLock(0, 1, ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_SHARED)),
            call!(nobody.xShmUnmap(0)),
        ];
        assert_eq!(codes, [MISUSE; 12]);
        assert_eq!((number, size, buffer), (-1, -1, [1; 4]));
        assert_eq!((call!(nobody.xSectorSize()), call!(nobody.xDeviceCharacteristics())), (4096, 0));
        call!(nobody.xShmBarrier());
        let is_null = nobody.object().is_null();
        assert_eq!(
            call!(nobody.xClose()),
            if is_null { MISUSE } else { ffi::SQLITE_OK },
            "twice is harmless"
        );
    }
    assert_eq!(mock.0.closed.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn size_and_truncate_agree() {
    let Open { mock, mut file, _name } = open(c"size");
    let mut size = -1;
    assert_eq!(call!(file.xTruncate(5)), ffi::SQLITE_OK);
    assert_eq!(call!(file.xSync(ffi::SQLITE_SYNC_FULL | ffi::SQLITE_SYNC_DATAONLY)), ffi::SQLITE_OK);
    assert_eq!((call!(file.xFileSize(&raw mut size)), size), (ffi::SQLITE_OK, 5));
    mock.tweak(|tweaks| tweaks.size = Some(u64::MAX));
    assert_eq!((call!(file.xFileSize(&raw mut size)), size), (ffi::SQLITE_IOERR_FSTAT, 5));
}

#[test]
fn sector_sizes_that_c_has_no_number_for_are_the_usual_one() {
    let Open { mock, mut file, _name } = open(c"sector");
    for (told, seen) in [(512, 512), (0x8000_0000, 4096), (u32::MAX, 4096)] {
        mock.tweak(|tweaks| tweaks.sector_size = Some(told));
        assert_eq!(call!(file.xSectorSize()), seen);
    }
}

#[test]
fn lock_levels_go_up_and_down() {
    let Open { mock, mut file, _name } = open(c"levels");
    let second_name = Name::new(b"app.db");
    let mut second = CVfs::find(c"levels").must_open(&second_name, MAIN);
    let mut reserved = -1;
    assert_eq!(call!(file.xLock(ffi::SQLITE_LOCK_SHARED)), ffi::SQLITE_OK);
    assert_eq!(call!(second.xLock(ffi::SQLITE_LOCK_SHARED)), ffi::SQLITE_OK);
    assert_eq!((call!(second.xCheckReservedLock(&raw mut reserved)), reserved), (ffi::SQLITE_OK, 0));
    assert_eq!(call!(file.xLock(ffi::SQLITE_LOCK_RESERVED)), ffi::SQLITE_OK);
    assert_eq!((call!(second.xCheckReservedLock(&raw mut reserved)), reserved), (ffi::SQLITE_OK, 1));
    assert_eq!(call!(second.xLock(ffi::SQLITE_LOCK_RESERVED)), ffi::SQLITE_BUSY);
    assert_eq!(call!(file.xLock(ffi::SQLITE_LOCK_EXCLUSIVE)), ffi::SQLITE_BUSY);
    assert_eq!(call!(second.xUnlock(ffi::SQLITE_LOCK_NONE)), ffi::SQLITE_OK);
    assert_eq!(call!(file.xLock(ffi::SQLITE_LOCK_EXCLUSIVE)), ffi::SQLITE_OK);
    assert_eq!(call!(file.xUnlock(ffi::SQLITE_LOCK_SHARED)), ffi::SQLITE_OK);
    assert_eq!(call!(second.xLock(ffi::SQLITE_LOCK_SHARED)), ffi::SQLITE_OK);
    drop((file, second));
    assert!(locked(&mock.0.disk.find(Path::new("app.db")).unwrap().locks).is_empty());
}

#[test]
fn illegal_requests_for_shared_memory_are_misuse_and_reach_nobody() {
    let Open { mock, mut file, _name } = open(c"illegal-shm");
    mock.set_hook(|operation, _| panic!("{operation} was called"));
    for (offset, n, flags) in [
        (-1, 1, 6),
        (8, 1, 6),
        (256, 1, 6),
        (0, 0, 6),
        (0, -1, 6),
        (0, 257, 10),
        (7, 2, 10),
        (0, 9, 10),
        (c_int::MAX, c_int::MAX, 10),
        (c_int::MIN, c_int::MIN, 10),
        (0, 2, 6),
        (0, 2, 5),
        (0, 1, 0),
        (0, 1, 2),
        (0, 1, 4),
        (0, 1, 3),
        (0, 1, 12),
        (0, 1, 7),
        (0, 1, 15),
    ] {
        assert_eq!(call!(file.xShmLock(offset, n, flags)), MISUSE, "{offset} {n} {flags}");
    }
    let mut region = ptr::dangling_mut::<c_void>();
    for (index, size) in [(-1, REGION), (0, -1), (c_int::MIN, c_int::MIN)] {
        assert_eq!(call!(file.xShmMap(index, size, 1, &raw mut region)), MISUSE, "{index} {size}");
        assert!(region.is_null(), "nothing that could be taken for an address");
    }
    mock.clear_hook();
}

#[test]
fn shared_memory_is_shared_locked_and_let_go() {
    let Open { mock, mut file, _name } = open(c"shm");
    let second_name = Name::new(b"app.db");
    let mut second = CVfs::find(c"shm").must_open(&second_name, MAIN);
    let (mut first_region, mut second_region) = (ptr::dangling_mut::<c_void>(), ptr::null_mut::<c_void>());
    assert_eq!(call!(file.xShmMap(1, REGION, 0, &raw mut first_region)), ffi::SQLITE_OK);
    assert!(first_region.is_null(), "not there, and not to be made");
    assert_eq!(call!(file.xShmMap(1, REGION, 1, &raw mut first_region)), ffi::SQLITE_OK);
    assert_eq!(call!(second.xShmMap(1, REGION, 0, &raw mut second_region)), ffi::SQLITE_OK);
    assert!(!first_region.is_null() && first_region == second_region);
    call!(file.xShmBarrier());

    let (shared, exclusive) = (ffi::SQLITE_SHM_SHARED, ffi::SQLITE_SHM_EXCLUSIVE);
    let (take, release) = (ffi::SQLITE_SHM_LOCK, ffi::SQLITE_SHM_UNLOCK);
    assert_eq!(call!(file.xShmLock(3, 1, take | shared)), ffi::SQLITE_OK);
    assert_eq!(call!(second.xShmLock(3, 1, take | shared)), ffi::SQLITE_OK);
    assert_eq!(call!(second.xShmLock(0, 8, take | exclusive)), ffi::SQLITE_BUSY);
    assert_eq!(call!(file.xShmLock(3, 1, release | shared)), ffi::SQLITE_OK);
    assert_eq!(call!(second.xShmLock(0, 8, take | exclusive)), ffi::SQLITE_OK);
    assert_eq!(call!(file.xShmLock(7, 1, take | shared)), ffi::SQLITE_BUSY);
    assert_eq!(call!(second.xShmLock(0, 8, release | exclusive)), ffi::SQLITE_OK);
    assert_eq!(call!(file.xShmUnmap(0)), ffi::SQLITE_OK);
    assert_eq!(call!(second.xShmUnmap(1)), ffi::SQLITE_OK);
    assert!(locked(&mock.0.disk.find(Path::new("app.db")).unwrap().shm).is_unused());
}

#[test]
fn a_region_may_come_with_a_code_that_says_more() {
    let Open { mock, mut file, _name } = open(c"read-only-shm");
    let mut region = ptr::null_mut::<c_void>();
    mock.tweak(|tweaks| tweaks.map_code = Some(Code::READONLY));
    assert_eq!(call!(file.xShmMap(0, REGION, 1, &raw mut region)), ffi::SQLITE_READONLY);
    assert!(!region.is_null());
    mock.tweak(|tweaks| (tweaks.map_code, tweaks.is_map_absent) = (Some(Code::READONLY_CANTINIT), true));
    assert_eq!(call!(file.xShmMap(0, REGION, 1, &raw mut region)), ffi::SQLITE_READONLY_CANTINIT);
    assert!(region.is_null());
}

/// SQLite would use what it asked to be made without a look at it.
#[test]
fn a_region_that_was_to_be_made_is_there_or_it_is_an_error() {
    let Open { mock, mut file, _name } = open(c"unmade-shm");
    let mut region = ptr::dangling_mut::<c_void>();
    mock.tweak(|tweaks| tweaks.is_map_absent = true);
    assert_eq!(call!(file.xShmMap(0, REGION, 1, &raw mut region)), ffi::SQLITE_IOERR_SHMMAP);
    assert!(region.is_null());
}

#[test]
fn a_region_that_nobody_waits_for_is_misuse() {
    let Open { mock, mut file, _name } = open(c"null-shm");
    mock.set_hook(|operation, _| panic!("{operation} was called"));
    assert_eq!(call!(file.xShmMap(0, REGION, 1, ptr::null_mut())), MISUSE);
    mock.clear_hook();
}

#[test]
fn an_error_is_never_told_as_success() {
    let Open { mock, mut file, _name } = open(c"ok-file-error");
    mock.set_hook(|_, _| Err(Code::OK.into()));
    assert_eq!(file.read(&mut [0; 4], 0), ffi::SQLITE_ERROR);
    assert_eq!(file.write(&[0; 4], 0), ffi::SQLITE_ERROR);
    let mut region = ptr::null_mut::<c_void>();
    assert_eq!(call!(file.xShmMap(0, REGION, 1, &raw mut region)), ffi::SQLITE_ERROR);
}
