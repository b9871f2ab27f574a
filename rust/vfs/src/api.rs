//! The few functions that a VFS needs of the SQLite library that it is registered with.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::{fmt, mem};

use crate::abi::{RawVfs, Routines, place};
use crate::code::Code;

type VfsFind = unsafe extern "C" fn(*const c_char) -> *mut RawVfs;
type VfsRegister = unsafe extern "C" fn(*mut RawVfs, c_int) -> c_int;
type UriParameter = unsafe extern "C" fn(*const c_char, *const c_char) -> *const c_char;
type Log = unsafe extern "C" fn(c_int, *const c_char, ...);
type Malloc64 = unsafe extern "C" fn(u64) -> *mut c_void;
type Text = unsafe extern "C" fn() -> *const c_char;
type Number = unsafe extern "C" fn() -> c_int;
type StrAppend = unsafe extern "C" fn(*mut c_void, *const c_char, c_int);

/// One SQLite library of this process, as far as a VFS needs it.
///
/// A process may hold several libraries. Each has its own list of VFSes and its own allocator, so nothing here is global:
/// every registered VFS keeps the table of its library.
#[derive(Clone, Copy)]
pub struct SqliteApi {
    vfs_find: VfsFind,
    vfs_register: VfsRegister,
    uri_parameter: UriParameter,
    log: Log,
    malloc64: Malloc64,
    libversion: Text,
    libversion_number: Number,
    sourceid: Text,
    threadsafe: Number,
    /// Since 3.24.
    str_append: Option<StrAppend>,
}

/// Why a library cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupError {
    /// It has no function of this name.
    Missing {
        /// The function.
        symbol: &'static str,
    },
    /// It is older than every version that this was tested with.
    TooOld {
        /// `SQLITE_VERSION_NUMBER` of the library.
        version: c_int,
    },
    /// It was compiled for one thread.
    NotThreadsafe,
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { symbol } => write!(f, "it does not export {symbol}"),
            Self::TooOld { version } => {
                write!(f, "it is version number {version}, older than {}", SqliteApi::OLDEST)
            }
            Self::NotThreadsafe => f.write_str("it was compiled without threads"),
        }
    }
}

impl std::error::Error for LookupError {}

/// The function at an address.
///
/// The caller promises that it has this type.
macro_rules! function {
    ($type:ty, $address:expr) => {
        // SAFETY: function pointers and data pointers are of one size on every Unix (POSIX, `dlsym`), and the address is not
        // null; that the function there has this type is the promise of the constructor's caller.
        unsafe { mem::transmute::<*mut c_void, $type>($address.as_ptr()) }
    };
}

impl SqliteApi {
    /// `SQLITE_VERSION_NUMBER` of the oldest library that may be used: 3.35.0.
    pub const OLDEST: c_int = 3_035_000;

    /// The functions of one library, found by name: `dlsym` on the handle of that very library, say.
    ///
    /// # Errors
    /// [`LookupError`] says what the library lacks.
    ///
    /// # Safety
    /// `lookup` returns functions of one and the same SQLite library, each under its true name, and that library stays loaded.
    pub unsafe fn from_symbols(
        lookup: &dyn Fn(&CStr) -> Option<NonNull<c_void>>,
    ) -> Result<Self, LookupError> {
        let find = |symbol: &'static str| {
            let name = CString::new(symbol).map_err(|_| LookupError::Missing { symbol })?;
            lookup(&name).ok_or(LookupError::Missing { symbol })
        };
        Self {
            vfs_find: function!(VfsFind, find("sqlite3_vfs_find")?),
            vfs_register: function!(VfsRegister, find("sqlite3_vfs_register")?),
            uri_parameter: function!(UriParameter, find("sqlite3_uri_parameter")?),
            log: function!(Log, find("sqlite3_log")?),
            malloc64: function!(Malloc64, find("sqlite3_malloc64")?),
            libversion: function!(Text, find("sqlite3_libversion")?),
            libversion_number: function!(Number, find("sqlite3_libversion_number")?),
            sourceid: function!(Text, find("sqlite3_sourceid")?),
            threadsafe: function!(Number, find("sqlite3_threadsafe")?),
            str_append: find("sqlite3_str_append").ok().map(|address| function!(StrAppend, address)),
        }
        .checked()
    }

    /// The functions of the library that calls an extension's entry point.
    ///
    /// # Errors
    /// [`LookupError`] says what the library lacks.
    ///
    /// # Safety
    /// `routines` is null or what SQLite handed to an extension's entry point, and the library stays loaded.
    pub unsafe fn from_routines(routines: *const Routines) -> Result<Self, LookupError> {
        let rows = routines.cast::<*mut c_void>();
        let find = |symbol: &'static str, place: usize| {
            if rows.is_null() {
                return Err(LookupError::Missing { symbol });
            }
            // SAFETY: the table is not null and, by its caller's promise, SQLite's. The version is read first, from a place
            // that every version has; the others are in every version since `OLDEST`.
            NonNull::new(unsafe { *rows.add(place) }).ok_or(LookupError::Missing { symbol })
        };
        let version = function!(Number, find("sqlite3_libversion_number", place::LIBVERSION_NUMBER)?);
        // SAFETY: takes nothing, and only returns a number.
        let number = unsafe { version() };
        if number < Self::OLDEST {
            return Err(LookupError::TooOld { version: number });
        }
        Self {
            vfs_find: function!(VfsFind, find("sqlite3_vfs_find", place::VFS_FIND)?),
            vfs_register: function!(VfsRegister, find("sqlite3_vfs_register", place::VFS_REGISTER)?),
            uri_parameter: function!(UriParameter, find("sqlite3_uri_parameter", place::URI_PARAMETER)?),
            log: function!(Log, find("sqlite3_log", place::LOG)?),
            malloc64: function!(Malloc64, find("sqlite3_malloc64", place::MALLOC64)?),
            libversion: function!(Text, find("sqlite3_libversion", place::LIBVERSION)?),
            libversion_number: version,
            sourceid: function!(Text, find("sqlite3_sourceid", place::SOURCEID)?),
            threadsafe: function!(Number, find("sqlite3_threadsafe", place::THREADSAFE)?),
            str_append: Some(function!(StrAppend, find("sqlite3_str_append", place::STR_APPEND)?)),
        }
        .checked()
    }

    /// The functions of the library that this binary is linked with.
    ///
    /// # Errors
    /// [`LookupError`] says what the library lacks.
    #[cfg(feature = "linked")]
    pub fn linked() -> Result<Self, LookupError> {
        linked::api().checked()
    }

    fn checked(self) -> Result<Self, LookupError> {
        let version = self.version_number();
        if version < Self::OLDEST {
            return Err(LookupError::TooOld { version });
        }
        // SAFETY: takes nothing, and only returns a number.
        if unsafe { (self.threadsafe)() } == 0 {
            return Err(LookupError::NotThreadsafe);
        }
        Ok(self)
    }

    /// A number that no two libraries of this process share.
    #[must_use]
    pub fn identity(&self) -> usize {
        self.vfs_register as usize
    }

    /// The version, such as `3.46.1`.
    #[must_use]
    pub fn version(&self) -> String {
        // SAFETY: takes nothing and returns a static text, or null.
        unsafe { text((self.libversion)()) }
    }

    /// The version as a number, such as 3046001.
    #[must_use]
    pub fn version_number(&self) -> c_int {
        // SAFETY: takes nothing, and only returns a number.
        unsafe { (self.libversion_number)() }
    }

    /// The check-in that the library was built from; `SELECT sqlite_source_id()` gives the same.
    #[must_use]
    pub fn source_id(&self) -> String {
        // SAFETY: takes nothing and returns a static text, or null.
        unsafe { text((self.sourceid)()) }
    }

    /// An address inside the library, for `dladdr`.
    #[must_use]
    pub fn address(&self) -> *const c_void {
        self.sourceid as *const c_void
    }

    /// Writes one line to SQLite's error log. The text is data: `%` in it means nothing.
    pub fn log(&self, code: Code, text: &str) {
        let text = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
        // SAFETY: the format is ours and takes one text; both end in NUL and outlive the call.
        unsafe { (self.log)(code.0, c"%s".as_ptr(), text.as_ptr()) }
    }

    /// The VFS of this name, or the default one; null if there is none.
    pub(crate) fn vfs_find(&self, name: Option<&CStr>) -> *mut RawVfs {
        // SAFETY: the name is null or ends in NUL, and outlives the call.
        unsafe { (self.vfs_find)(name.map_or(std::ptr::null(), CStr::as_ptr)) }
    }

    /// Puts a VFS on SQLite's list.
    ///
    /// # Safety
    /// `vfs` is whole and is never freed or moved.
    pub(crate) unsafe fn vfs_register(&self, vfs: *mut RawVfs, is_default: bool) -> Code {
        // SAFETY: by the caller's promise SQLite may keep the pointer.
        Code(unsafe { (self.vfs_register)(vfs, c_int::from(is_default)) })
    }

    /// The value of a URI parameter, or null.
    ///
    /// # Safety
    /// `name` is a file name that SQLite gave to `xOpen` for a database, journal or WAL.
    pub(crate) unsafe fn uri_parameter(&self, name: *const c_char, key: &CStr) -> *const c_char {
        // SAFETY: the name is SQLite's own, by the caller's promise; the key ends in NUL.
        unsafe { (self.uri_parameter)(name, key.as_ptr()) }
    }

    /// A copy of a text, in memory that this SQLite may free; null when there is none left.
    pub(crate) fn copy_text(&self, text: &str) -> *mut c_char {
        let bytes: Vec<u8> = text.bytes().filter(|byte| *byte != 0).chain([0]).collect();
        // SAFETY: takes a size, and returns that much memory, or null.
        let copy = unsafe { (self.malloc64)(bytes.len() as u64) }.cast::<u8>();
        if !copy.is_null() {
            // SAFETY: the memory was just allocated, with exactly this length.
            unsafe { copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
        copy.cast()
    }

    /// Appends to a `sqlite3_str`; whether this SQLite can.
    ///
    /// # Safety
    /// `builder` is null or a `sqlite3_str` of this library.
    pub(crate) unsafe fn str_append(&self, builder: *mut c_void, text: &str) -> bool {
        let (Some(append), Ok(length), false) =
            (self.str_append, c_int::try_from(text.len()), builder.is_null())
        else {
            return false;
        };
        // SAFETY: the builder is this library's, by the caller's promise; the text has this length.
        unsafe { append(builder, text.as_ptr().cast(), length) };
        true
    }
}

impl fmt::Debug for SqliteApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteApi({} at {:p})", self.version(), self.address())
    }
}

/// # Safety
/// `text` is null or ends in NUL, and is never freed.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and by the caller's promise it ends in NUL.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// SQLite as this binary is linked with it; whoever turns the feature on links one.
#[cfg(feature = "linked")]
mod linked {
    use super::{RawVfs, SqliteApi, c_char, c_int, c_void};

    unsafe extern "C" {
        fn sqlite3_vfs_find(name: *const c_char) -> *mut RawVfs;
        fn sqlite3_vfs_register(vfs: *mut RawVfs, is_default: c_int) -> c_int;
        fn sqlite3_uri_parameter(name: *const c_char, key: *const c_char) -> *const c_char;
        fn sqlite3_log(code: c_int, format: *const c_char, ...);
        fn sqlite3_malloc64(size: u64) -> *mut c_void;
        fn sqlite3_libversion() -> *const c_char;
        fn sqlite3_libversion_number() -> c_int;
        fn sqlite3_sourceid() -> *const c_char;
        fn sqlite3_threadsafe() -> c_int;
        fn sqlite3_str_append(builder: *mut c_void, text: *const c_char, length: c_int);
    }

    pub(super) fn api() -> SqliteApi {
        SqliteApi {
            vfs_find: sqlite3_vfs_find,
            vfs_register: sqlite3_vfs_register,
            uri_parameter: sqlite3_uri_parameter,
            log: sqlite3_log,
            malloc64: sqlite3_malloc64,
            libversion: sqlite3_libversion,
            libversion_number: sqlite3_libversion_number,
            sourceid: sqlite3_sourceid,
            threadsafe: sqlite3_threadsafe,
            str_append: Some(sqlite3_str_append),
        }
    }
}
