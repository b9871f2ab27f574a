//! The methods of a VFS, called as SQLite calls them.

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;
use std::ptr;

use rusqlite::ffi;

/// A registered VFS.
#[derive(Clone, Copy)]
pub struct RawVfs(*mut ffi::sqlite3_vfs);

/// Calls a method of the VFS.
macro_rules! vfs {
    ($vfs:expr, $method:ident, $($argument:expr),*) => {
        // SAFETY: SQLite never frees what is registered, and every method is there; the arguments are what its documentation says,
        // with pointers into values that outlive the call.
        unsafe { (*$vfs.0).$method.expect("a method")($vfs.0, $($argument),*) }
    };
}

/// Calls a method of an open file.
macro_rules! file {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let (raw, methods) = ($file.raw(), $file.methods);
        // SAFETY: the file is open until it is dropped, so its table is; the arguments are what the documentation says, with
        // pointers into values that outlive the call. The plan calls nothing that SQLite would not call now.
        unsafe { ((*methods).$method.expect("a method"))(raw, $($argument),*) }
    }};
}

impl RawVfs {
    pub fn find(name: &CStr) -> Self {
        // SAFETY: the name ends in NUL and outlives the call.
        let found = unsafe { ffi::sqlite3_vfs_find(name.as_ptr()) };
        assert!(!found.is_null(), "{name:?} is not registered");
        Self(found)
    }

    /// A file, or why not; and the flags that it was opened with.
    pub fn open(self, name: Option<&CStr>, flags: c_int) -> Result<(RawFile, c_int), c_int> {
        // SAFETY: as in `vfs!`.
        let size = unsafe { (*self.0).szOsFile };
        let words = usize::try_from(size).expect("a size").div_ceil(8);
        let mut file = RawFile { memory: vec![0; words], methods: ptr::null() };
        let (name, mut opened) = (name.map_or(ptr::null(), CStr::as_ptr), 0);
        let code = vfs!(self, xOpen, name, file.raw(), flags, &raw mut opened);
        // SAFETY: the memory is as long as the VFS wanted it, and begins with a `sqlite3_file`.
        file.methods = unsafe { (*file.raw()).pMethods };
        if code == ffi::SQLITE_OK { Ok((file, opened)) } else { Err(code) }
    }

    pub fn delete(self, path: &CStr, sync: bool) -> c_int {
        vfs!(self, xDelete, path.as_ptr(), sync.into())
    }

    pub fn access(self, path: &CStr, what: c_int) -> (c_int, c_int) {
        let mut found = -1;
        (vfs!(self, xAccess, path.as_ptr(), what, &raw mut found), found)
    }

    pub fn full_pathname(self, path: &CStr) -> (c_int, Vec<u8>) {
        let mut found = vec![0_u8; 4096];
        let code = vfs!(self, xFullPathname, path.as_ptr(), 4096, found.as_mut_ptr().cast());
        found.truncate(found.iter().position(|byte| *byte == 0).unwrap_or(0));
        (code, found)
    }
}

/// An open file. Dropping it does not close it: a plan does, and a forked child must not.
pub struct RawFile {
    /// As long as the VFS wants it, aligned to 8.
    memory: Vec<u64>,
    methods: *const ffi::sqlite3_io_methods,
}

impl RawFile {
    fn raw(&mut self) -> *mut ffi::sqlite3_file {
        self.memory.as_mut_ptr().cast()
    }

    pub fn close(mut self) -> c_int {
        file!(self, xClose)
    }

    pub fn read(&mut self, out: &mut [u8], offset: i64) -> c_int {
        file!(self, xRead, out.as_mut_ptr().cast(), c_int::try_from(out.len()).expect("small"), offset)
    }

    pub fn write(&mut self, bytes: &[u8], offset: i64) -> c_int {
        file!(self, xWrite, bytes.as_ptr().cast(), c_int::try_from(bytes.len()).expect("small"), offset)
    }

    pub fn truncate(&mut self, size: i64) -> c_int {
        file!(self, xTruncate, size)
    }

    pub fn size(&mut self) -> (c_int, i64) {
        let mut size = -1;
        (file!(self, xFileSize, &raw mut size), size)
    }

    pub fn sync(&mut self, flags: c_int) -> c_int {
        file!(self, xSync, flags)
    }

    pub fn lock(&mut self, level: c_int) -> c_int {
        file!(self, xLock, level)
    }

    pub fn unlock(&mut self, level: c_int) -> c_int {
        file!(self, xUnlock, level)
    }

    pub fn check_reserved(&mut self) -> (c_int, c_int) {
        let mut found = -1;
        (file!(self, xCheckReservedLock, &raw mut found), found)
    }

    pub fn control<T>(&mut self, operation: c_int, argument: &mut T) -> c_int {
        file!(self, xFileControl, operation, ptr::from_mut(argument).cast())
    }

    pub fn characteristics(&mut self) -> (c_int, c_int) {
        (file!(self, xSectorSize), file!(self, xDeviceCharacteristics))
    }

    pub fn shm_map(&mut self, region: usize, is_extended: bool) -> (c_int, *mut c_void) {
        let (mut found, region) = (ptr::null_mut(), c_int::try_from(region).expect("small"));
        (file!(self, xShmMap, region, REGION_BYTES, is_extended.into(), &raw mut found), found)
    }

    pub fn shm_lock(&mut self, first: c_int, count: c_int, flags: c_int) -> c_int {
        file!(self, xShmLock, first, count, flags)
    }

    pub fn shm_unmap(&mut self, is_deleted: bool) -> c_int {
        file!(self, xShmUnmap, is_deleted.into())
    }
}

const REGION_BYTES: c_int = 32768;

/// A database's name as SQLite hands it to a VFS, with those of its journal and its WAL.
pub struct Names {
    pub shm: CString,
    made: *const std::ffi::c_char,
}

impl Names {
    pub fn new(db: &Path) -> Self {
        let text = |suffix: &str| CString::new(format!("{}{suffix}", db.display())).expect("no NUL");
        let (name, journal, wal) = (text(""), text("-journal"), text("-wal"));
        // SAFETY: the names end in NUL and outlive the call, and there are no parameters.
        let made = unsafe {
            ffi::sqlite3_create_filename(name.as_ptr(), journal.as_ptr(), wal.as_ptr(), 0, ptr::null_mut())
        };
        assert!(!made.is_null());
        Self { shm: text("-shm"), made }
    }

    pub fn db(&self) -> &CStr {
        // SAFETY: SQLite made it, it ends in NUL, and it is never freed.
        unsafe { CStr::from_ptr(self.made) }
    }

    pub fn journal(&self) -> &CStr {
        // SAFETY: the same, and the name is one that SQLite made.
        unsafe { CStr::from_ptr(ffi::sqlite3_filename_journal(self.made)) }
    }

    pub fn wal(&self) -> &CStr {
        // SAFETY: the same.
        unsafe { CStr::from_ptr(ffi::sqlite3_filename_wal(self.made)) }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: SQLite made it, and whoever borrowed it is gone.
        unsafe { ffi::sqlite3_free_filename(self.made) };
    }
}
