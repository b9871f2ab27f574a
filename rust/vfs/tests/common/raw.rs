//! SQLite's structs as C sees them: found by name, called through their function pointers.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use libsqlite3_sys as ffi;

/// Calls one method as C would: `call!(file.xRead(out, 4, 0))`.
macro_rules! call {
    ($object:ident.$method:ident($($argument:expr),* $(,)?)) => {{
        let (object, table) = ($object.object(), $object.table());
        // SAFETY: the table is that of the object, which lives. The arguments are what a C caller may pass, or what the method
        // under test must refuse without using it.
        unsafe { ((*table).$method.expect("the method is there"))(object, $($argument),*) }
    }};
}
pub(crate) use call;

/// A registered `sqlite3_vfs`.
#[derive(Clone, Copy)]
pub struct CVfs(*mut ffi::sqlite3_vfs);

impl CVfs {
    pub fn find(name: &CStr) -> Self {
        // SAFETY: the name ends in NUL and outlives the call.
        let found = unsafe { ffi::sqlite3_vfs_find(name.as_ptr()) };
        assert!(!found.is_null(), "{name:?} is not registered");
        Self(found)
    }

    pub fn object(&self) -> *mut ffi::sqlite3_vfs {
        self.0
    }

    pub fn table(&self) -> *const ffi::sqlite3_vfs {
        self.0
    }

    pub fn fields(&self) -> &ffi::sqlite3_vfs {
        // SAFETY: what is registered is never freed, and only SQLite changes its list, under its own mutex and not meanwhile.
        unsafe { &*self.0 }
    }

    /// Opens a file that must be there or may be made.
    pub fn must_open(self, name: &Name, flags: c_int) -> CFile {
        let mut file = CFile::new(self);
        let vfs = self;
        let code = call!(vfs.xOpen(name.raw, file.memory(), flags, ptr::null_mut()));
        assert_eq!(code, ffi::SQLITE_OK);
        file.take_table();
        file
    }
}

/// Room for a `sqlite3_file`, and the method table that `xOpen` wrote there. Closed when dropped, unless it was before.
pub struct CFile {
    memory: Vec<u64>,
    table: *const ffi::sqlite3_io_methods,
}

impl CFile {
    /// `szOsFile` bytes, aligned to eight as SQLite does, full of what happened to be there.
    pub fn new(vfs: CVfs) -> Self {
        let size = usize::try_from(vfs.fields().szOsFile).expect("a size");
        Self { memory: vec![0xa5a5_a5a5_a5a5_a5a5; size.div_ceil(8)], table: ptr::null() }
    }

    pub fn memory(&mut self) -> *mut ffi::sqlite3_file {
        self.memory.as_mut_ptr().cast()
    }

    /// What `xOpen` wrote.
    pub fn methods(&self) -> *const ffi::sqlite3_io_methods {
        // SAFETY: the memory is longer than a `sqlite3_file`, aligned for one, and any bits are a raw pointer.
        unsafe { (*self.memory.as_ptr().cast::<ffi::sqlite3_file>()).pMethods }
    }

    /// Remembers the table, as a C caller may: it outlives the file.
    pub fn take_table(&mut self) {
        self.table = self.methods();
    }

    pub fn object(&mut self) -> *mut ffi::sqlite3_file {
        self.memory()
    }

    pub fn table(&self) -> *const ffi::sqlite3_io_methods {
        self.table
    }

    pub fn version(&self) -> c_int {
        // SAFETY: the table is a constant of the crate under test.
        unsafe { (*self.table).iVersion }
    }

    pub fn control<T>(&mut self, operation: c_int, argument: &mut T) -> c_int {
        let file = self;
        call!(file.xFileControl(operation, ptr::from_mut(argument).cast()))
    }

    pub fn write(&mut self, data: &[u8], offset: i64) -> c_int {
        let file = self;
        call!(file.xWrite(data.as_ptr().cast(), c_int::try_from(data.len()).expect("small"), offset))
    }

    pub fn read(&mut self, out: &mut [u8], offset: i64) -> c_int {
        let file = self;
        call!(file.xRead(out.as_mut_ptr().cast(), c_int::try_from(out.len()).expect("small"), offset))
    }

    pub fn close(&mut self) -> c_int {
        let file = self;
        call!(file.xClose())
    }
}

impl Drop for CFile {
    fn drop(&mut self) {
        if !self.table.is_null() {
            self.close();
        }
    }
}

/// A database name as SQLite makes them, with the names of its journal and its WAL and its URI parameters.
pub struct Name {
    pub raw: *const c_char,
    /// Who made it must free it; journal and WAL names are parts of it.
    is_whole: bool,
}

impl Name {
    pub fn new(path: &[u8]) -> Self {
        Self::with_parameters(path, &[])
    }

    pub fn with_parameters(path: &[u8], parameters: &[&CStr]) -> Self {
        let text = |suffix: &[u8]| CString::new([path, suffix].concat()).expect("no NUL");
        let (journal, wal, path) = (text(b"-journal"), text(b"-wal"), text(b""));
        let mut list: Vec<_> = parameters.iter().map(|text| text.as_ptr()).collect();
        let pairs = c_int::try_from(list.len() / 2).expect("few");
        // SAFETY: every text ends in NUL and outlives the call, and the list has two for each pair.
        let raw = unsafe {
            ffi::sqlite3_create_filename(
                path.as_ptr(),
                journal.as_ptr(),
                wal.as_ptr(),
                pairs,
                list.as_mut_ptr(),
            )
        };
        assert!(!raw.is_null());
        Self { raw, is_whole: true }
    }

    pub fn journal(&self) -> Self {
        // SAFETY: SQLite made the name.
        Self { raw: unsafe { ffi::sqlite3_filename_journal(self.raw) }, is_whole: false }
    }

    pub fn wal(&self) -> Self {
        // SAFETY: SQLite made the name.
        Self { raw: unsafe { ffi::sqlite3_filename_wal(self.raw) }, is_whole: false }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.is_whole {
            // SAFETY: SQLite made it, and the files that were opened under it are closed by their owner, who borrowed it.
            unsafe { ffi::sqlite3_free_filename(self.raw) };
        }
    }
}
