//! SQLite's C structs, by hand: no header, no libclang is needed to build. The tests below compare them with the real ones,
//! and `tests/api.rs` the places with the real table.
//!
//! Sources: SQLite, "OS Interface Object" (`c3ref/vfs.html`), "OS Interface File Virtual Methods Object"
//! (`c3ref/io_methods.html`).

use std::ffi::{c_char, c_double, c_int, c_void};

/// `sqlite3_file`: what SQLite allocates for an open file. Ours is longer, see `guard`.
#[repr(C)]
pub struct RawFile {
    pub(crate) methods: *const IoMethods,
}

/// `sqlite3_io_methods`, version 2. Version 1 ends after `device_characteristics`; we never show version 3 (`xFetch`).
#[repr(C)]
pub struct IoMethods {
    pub(crate) version: c_int,
    pub(crate) close: unsafe extern "C" fn(*mut RawFile) -> c_int,
    pub(crate) read: unsafe extern "C" fn(*mut RawFile, *mut c_void, c_int, i64) -> c_int,
    pub(crate) write: unsafe extern "C" fn(*mut RawFile, *const c_void, c_int, i64) -> c_int,
    pub(crate) truncate: unsafe extern "C" fn(*mut RawFile, i64) -> c_int,
    pub(crate) sync: unsafe extern "C" fn(*mut RawFile, c_int) -> c_int,
    pub(crate) file_size: unsafe extern "C" fn(*mut RawFile, *mut i64) -> c_int,
    pub(crate) lock: unsafe extern "C" fn(*mut RawFile, c_int) -> c_int,
    pub(crate) unlock: unsafe extern "C" fn(*mut RawFile, c_int) -> c_int,
    pub(crate) check_reserved_lock: unsafe extern "C" fn(*mut RawFile, *mut c_int) -> c_int,
    pub(crate) file_control: unsafe extern "C" fn(*mut RawFile, c_int, *mut c_void) -> c_int,
    pub(crate) sector_size: unsafe extern "C" fn(*mut RawFile) -> c_int,
    pub(crate) device_characteristics: unsafe extern "C" fn(*mut RawFile) -> c_int,
    pub(crate) shm_map:
        Option<unsafe extern "C" fn(*mut RawFile, c_int, c_int, c_int, *mut *mut c_void) -> c_int>,
    pub(crate) shm_lock: Option<unsafe extern "C" fn(*mut RawFile, c_int, c_int, c_int) -> c_int>,
    pub(crate) shm_barrier: Option<unsafe extern "C" fn(*mut RawFile)>,
    pub(crate) shm_unmap: Option<unsafe extern "C" fn(*mut RawFile, c_int) -> c_int>,
    pub(crate) fetch: Option<unsafe extern "C" fn(*mut RawFile, i64, c_int, *mut *mut c_void) -> c_int>,
    pub(crate) unfetch: Option<unsafe extern "C" fn(*mut RawFile, i64, *mut c_void) -> c_int>,
}

/// What `xDlSym` returns.
pub(crate) type Symbol = Option<unsafe extern "C" fn()>;

/// `sqlite3_vfs`, version 2: without the system calls of version 3, which only SQLite's own tests replace.
#[repr(C)]
pub struct RawVfs {
    pub(crate) version: c_int,
    pub(crate) file_size: c_int,
    pub(crate) max_pathname: c_int,
    pub(crate) next: *mut RawVfs,
    pub(crate) name: *const c_char,
    pub(crate) app_data: *mut c_void,
    pub(crate) open:
        unsafe extern "C" fn(*mut RawVfs, *const c_char, *mut RawFile, c_int, *mut c_int) -> c_int,
    pub(crate) delete: unsafe extern "C" fn(*mut RawVfs, *const c_char, c_int) -> c_int,
    pub(crate) access: unsafe extern "C" fn(*mut RawVfs, *const c_char, c_int, *mut c_int) -> c_int,
    pub(crate) full_pathname: unsafe extern "C" fn(*mut RawVfs, *const c_char, c_int, *mut c_char) -> c_int,
    pub(crate) dl_open: Option<unsafe extern "C" fn(*mut RawVfs, *const c_char) -> *mut c_void>,
    pub(crate) dl_error: Option<unsafe extern "C" fn(*mut RawVfs, c_int, *mut c_char)>,
    pub(crate) dl_sym: Option<unsafe extern "C" fn(*mut RawVfs, *mut c_void, *const c_char) -> Symbol>,
    pub(crate) dl_close: Option<unsafe extern "C" fn(*mut RawVfs, *mut c_void)>,
    pub(crate) randomness: unsafe extern "C" fn(*mut RawVfs, c_int, *mut c_char) -> c_int,
    pub(crate) sleep: unsafe extern "C" fn(*mut RawVfs, c_int) -> c_int,
    pub(crate) current_time: unsafe extern "C" fn(*mut RawVfs, *mut c_double) -> c_int,
    pub(crate) get_last_error: unsafe extern "C" fn(*mut RawVfs, c_int, *mut c_char) -> c_int,
    pub(crate) current_time_int64: unsafe extern "C" fn(*mut RawVfs, *mut i64) -> c_int,
    pub(crate) set_system_call: Option<unsafe extern "C" fn()>,
    pub(crate) get_system_call: Option<unsafe extern "C" fn()>,
    pub(crate) next_system_call: Option<unsafe extern "C" fn()>,
}

/// `sqlite3_api_routines`: what SQLite hands to the entry point of an extension. Only ever seen behind a pointer: it is a row
/// of function pointers that grows at the end from version to version.
#[repr(C)]
pub struct Routines {
    _opaque: [u8; 0],
}

/// Places in [`Routines`] (`sqlite3ext.h`).
pub(crate) mod place {
    pub(crate) const LIBVERSION: usize = 66;
    pub(crate) const LIBVERSION_NUMBER: usize = 67;
    pub(crate) const VFS_FIND: usize = 141;
    pub(crate) const VFS_REGISTER: usize = 142;
    pub(crate) const THREADSAFE: usize = 144;
    pub(crate) const LOG: usize = 167;
    pub(crate) const SOURCEID: usize = 169;
    pub(crate) const URI_PARAMETER: usize = 189;
    pub(crate) const MALLOC64: usize = 197;
    pub(crate) const STR_APPEND: usize = 232;
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use libsqlite3_sys as real;

    use super::*;

    /// Our field, then SQLite's, must stand at the same offset.
    macro_rules! same_offsets {
        ($ours:ty, $theirs:ty: $($our:ident = $their:ident),* $(,)?) => {
            $(assert_eq!(offset_of!($ours, $our), offset_of!($theirs, $their), stringify!($their));)*
        };
    }

    #[test]
    fn io_methods_are_those_of_the_header() {
        assert_eq!(size_of::<IoMethods>(), size_of::<real::sqlite3_io_methods>());
        same_offsets!(IoMethods, real::sqlite3_io_methods:
            version = iVersion, close = xClose, read = xRead, write = xWrite, truncate = xTruncate, sync = xSync,
            file_size = xFileSize, lock = xLock, unlock = xUnlock, check_reserved_lock = xCheckReservedLock,
            file_control = xFileControl, sector_size = xSectorSize,
            device_characteristics = xDeviceCharacteristics, shm_map = xShmMap, shm_lock = xShmLock,
            shm_barrier = xShmBarrier, shm_unmap = xShmUnmap, fetch = xFetch, unfetch = xUnfetch);
        assert_eq!(size_of::<RawFile>(), size_of::<real::sqlite3_file>());
    }

    #[test]
    fn the_vfs_is_that_of_the_header() {
        assert_eq!(size_of::<RawVfs>(), size_of::<real::sqlite3_vfs>());
        same_offsets!(RawVfs, real::sqlite3_vfs:
            version = iVersion, file_size = szOsFile, max_pathname = mxPathname, next = pNext, name = zName,
            app_data = pAppData, open = xOpen, delete = xDelete, access = xAccess, full_pathname = xFullPathname,
            dl_open = xDlOpen, dl_error = xDlError, dl_sym = xDlSym, dl_close = xDlClose,
            randomness = xRandomness, sleep = xSleep, current_time = xCurrentTime,
            get_last_error = xGetLastError, current_time_int64 = xCurrentTimeInt64,
            set_system_call = xSetSystemCall, get_system_call = xGetSystemCall,
            next_system_call = xNextSystemCall);
    }
}
