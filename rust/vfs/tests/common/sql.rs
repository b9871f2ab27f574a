//! A connection, as small as it can be.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use libsqlite3_sys as ffi;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The extended code.
    pub code: c_int,
    pub message: Vec<u8>,
}

impl Failure {
    pub fn primary(&self) -> c_int {
        self.code & 0xff
    }
}

pub struct Db(pub *mut ffi::sqlite3);

// SAFETY: the library is compiled for threads, and a connection that is opened with FULLMUTEX may be used from any of them.
unsafe impl Send for Db {}

impl Db {
    /// Opens `path` (a `file:` URI too) with a VFS of a name.
    pub fn open(vfs: &CStr, path: &str) -> Result<Self, Failure> {
        Self::open_bytes(Some(vfs), path.as_bytes(), 0)
    }

    pub fn open_bytes(vfs: Option<&CStr>, path: &[u8], more_flags: c_int) -> Result<Self, Failure> {
        let path = CString::new(path).expect("no NUL");
        let flags = ffi::SQLITE_OPEN_READWRITE
            | ffi::SQLITE_OPEN_CREATE
            | ffi::SQLITE_OPEN_URI
            | ffi::SQLITE_OPEN_FULLMUTEX
            | more_flags;
        let mut db = ptr::null_mut();
        // SAFETY: texts end in NUL and outlive the call; there is room for the handle.
        let code = unsafe {
            ffi::sqlite3_open_v2(path.as_ptr(), &raw mut db, flags, vfs.map_or(ptr::null(), CStr::as_ptr))
        };
        let db = Self(db);
        if code == ffi::SQLITE_OK { Ok(db) } else { Err(db.failure()) }
    }

    fn failure(&self) -> Failure {
        // SAFETY: the connection is open, or at least its handle is; the message lives until its next use.
        unsafe {
            let message = CStr::from_ptr(ffi::sqlite3_errmsg(self.0)).to_bytes().to_owned();
            Failure { code: ffi::sqlite3_extended_errcode(self.0), message }
        }
    }

    /// Runs every statement of `sql`; rows as text, columns with `|` between them.
    pub fn rows(&self, sql: &str) -> Result<Vec<String>, Failure> {
        let sql = CString::new(sql).expect("no NUL");
        let (mut rest, mut rows) = (sql.as_ptr(), Vec::new());
        // SAFETY: `rest` always points into `sql`, which ends in NUL.
        while unsafe { *rest } != 0 {
            let mut statement = ptr::null_mut();
            // SAFETY: the connection is open; there is room for the statement and for where the next one begins.
            let code =
                unsafe { ffi::sqlite3_prepare_v2(self.0, rest, -1, &raw mut statement, &raw mut rest) };
            if code != ffi::SQLITE_OK {
                return Err(self.failure());
            }
            self.run(statement, &mut rows)?;
        }
        Ok(rows)
    }

    fn run(&self, statement: *mut ffi::sqlite3_stmt, rows: &mut Vec<String>) -> Result<(), Failure> {
        // SAFETY: the statement was just prepared, is null for white space, which SQLite allows here, and is finalized once.
        unsafe {
            let code = loop {
                match ffi::sqlite3_step(statement) {
                    ffi::SQLITE_ROW => rows.push(row(statement)),
                    code => break code,
                }
            };
            let failure = self.failure();
            ffi::sqlite3_finalize(statement);
            // A statement that is nothing but white space is null, and stepping that is misuse.
            if code == ffi::SQLITE_DONE || statement.is_null() { Ok(()) } else { Err(failure) }
        }
    }

    /// The only row of a statement.
    pub fn one(&self, sql: &str) -> String {
        let rows = self.rows(sql).expect("it works");
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows.into_iter().next().unwrap_or_default()
    }

    pub fn control<T>(&self, operation: c_int, argument: &mut T) -> c_int {
        // SAFETY: the connection is open, and the argument is one that the operation takes.
        unsafe {
            ffi::sqlite3_file_control(self.0, c"main".as_ptr(), operation, ptr::from_mut(argument).cast())
        }
    }

    /// Closes it; what SQLite says to that.
    pub fn close(self) -> c_int {
        // SAFETY: the handle is closed once: it is forgotten next.
        let code = unsafe { ffi::sqlite3_close(self.0) };
        std::mem::forget(self);
        code
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        // SAFETY: the handle is SQLite's, or null after a failure for want of memory.
        unsafe { ffi::sqlite3_close(self.0) };
    }
}

/// # Safety
/// The statement has just returned a row.
unsafe fn row(statement: *mut ffi::sqlite3_stmt) -> String {
    // SAFETY: by the caller's promise; each text lives until the next call on its column.
    let columns = unsafe {
        (0..ffi::sqlite3_column_count(statement)).map(|column| {
            let text = ffi::sqlite3_column_text(statement, column).cast::<c_char>();
            if text.is_null() { "NULL".into() } else { CStr::from_ptr(text).to_string_lossy() }
        })
    };
    columns.collect::<Vec<_>>().join("|")
}
