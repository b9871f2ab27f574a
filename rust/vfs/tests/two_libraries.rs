//! Two SQLite libraries in one process: the one that is linked, and the system's, if it has one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::disk::locked;
use common::{Db, Mock, api, symbols, words};
use libsqlite3_sys as ffi;
use vfs::{Control, RegisterError, Reply, Routines, SqliteApi, register};

type Entry = unsafe extern "C" fn(*mut ffi::sqlite3, *mut *mut c_char, *const Routines) -> c_int;
type Row = unsafe extern "C" fn(*mut c_void, c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;

type Open = unsafe extern "C" fn(*const c_char, *mut *mut ffi::sqlite3, c_int, *const c_char) -> c_int;
type Exec =
    unsafe extern "C" fn(*mut ffi::sqlite3, *const c_char, Row, *mut c_void, *mut *mut c_char) -> c_int;
type FileControl = unsafe extern "C" fn(*mut ffi::sqlite3, *const c_char, c_int, *mut c_void) -> c_int;
type Free = unsafe extern "C" fn(*mut c_void);
type Close = unsafe extern "C" fn(*mut ffi::sqlite3) -> c_int;
type AutoExtension = unsafe extern "C" fn(Entry) -> c_int;

/// The functions of the second library that a small application needs.
#[derive(Clone, Copy)]
struct Other {
    api: SqliteApi,
    open: Open,
    exec: Exec,
    control: FileControl,
    free: Free,
    close: Close,
    auto_extension: AutoExtension,
}

/// The address of a function in a library.
fn find(library: NonNull<c_void>, symbol: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the library is open and stays so; the name ends in NUL.
    NonNull::new(unsafe { libc::dlsym(library.as_ptr(), symbol.as_ptr()) })
}

/// A function of the library, as a type.
macro_rules! function {
    ($library:expr, $type:ty, $name:literal) => {{
        let address = find($library, $name).expect("every SQLite has it");
        // SAFETY: the function of this name has this type in SQLite's header.
        unsafe { std::mem::transmute::<NonNull<c_void>, $type>(address) }
    }};
}

fn load() -> Option<Other> {
    // SAFETY: the library is SQLite, which runs nothing when it is loaded. Nothing of it replaces what is linked: RTLD_LOCAL.
    let library = unsafe { libc::dlopen(c"libsqlite3.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    let library = NonNull::new(library)?;
    // SAFETY: each function is returned under its own name, from one library, which is never closed.
    let api = unsafe { SqliteApi::from_symbols(&|name| find(library, name)) };
    Some(Other {
        api: api.expect("it is not that old"),
        open: function!(library, Open, c"sqlite3_open_v2"),
        exec: function!(library, Exec, c"sqlite3_exec"),
        control: function!(library, FileControl, c"sqlite3_file_control"),
        free: function!(library, Free, c"sqlite3_free"),
        close: function!(library, Close, c"sqlite3_close"),
        auto_extension: function!(library, AutoExtension, c"sqlite3_auto_extension"),
    })
}

/// The second library; `None` and the reason if this system has none.
fn other() -> Option<Other> {
    static OTHER: OnceLock<Option<Other>> = OnceLock::new();
    let other = *OTHER.get_or_init(load);
    if other.is_none() {
        println!("skipped: this system has no libsqlite3.so.0");
    }
    other
}

/// A connection of the second library.
struct OtherDb(Other, *mut ffi::sqlite3);

impl OtherDb {
    fn open(other: Other, path: &CStr, vfs: &CStr) -> Self {
        let mut db = ptr::null_mut();
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_URI;
        // SAFETY: texts end in NUL, and there is room for the handle.
        let code = unsafe { (other.open)(path.as_ptr(), &raw mut db, flags, vfs.as_ptr()) };
        assert_eq!(code, ffi::SQLITE_OK);
        Self(other, db)
    }

    /// The first column of every row.
    fn rows(&self, sql: &str) -> Vec<String> {
        let sql = CString::new(sql).unwrap();
        let mut rows: Vec<String> = Vec::new();
        let context = ptr::from_mut(&mut rows).cast();
        // SAFETY: the connection is open, the text ends in NUL, and the rows outlive the call.
        let code = unsafe { (self.0.exec)(self.1, sql.as_ptr(), note_row, context, ptr::null_mut()) };
        assert_eq!(code, ffi::SQLITE_OK, "{sql:?}");
        rows
    }

    fn vfs_name(&self) -> String {
        let mut text: *mut c_char = ptr::null_mut();
        let out = (&raw mut text).cast();
        // SAFETY: the connection is open, and there is room for a pointer; the text then is this library's to free.
        unsafe {
            assert_eq!((self.0.control)(self.1, c"main".as_ptr(), ffi::SQLITE_FCNTL_VFSNAME, out), 0);
            let copy = CStr::from_ptr(text).to_str().unwrap().to_owned();
            (self.0.free)(text.cast());
            copy
        }
    }
}

impl Drop for OtherDb {
    fn drop(&mut self) {
        // SAFETY: the connection is open, and this is the end of it.
        assert_eq!(unsafe { (self.0.close)(self.1) }, ffi::SQLITE_OK);
    }
}

unsafe extern "C" fn note_row(
    rows: *mut c_void,
    _: c_int,
    texts: *mut *mut c_char,
    _: *mut *mut c_char,
) -> c_int {
    // SAFETY: the context is that of `OtherDb::rows`, and a row has at least one column, which is no NULL here.
    unsafe {
        let text = CStr::from_ptr(*texts).to_string_lossy().into_owned();
        (*rows.cast::<Vec<String>>()).push(text);
    }
    0
}

/// The same name in each, over a file system of its own.
fn in_both(other: &Other, name: &CStr) -> (Mock, Mock) {
    let (ours, theirs) = (Mock::new(), Mock::new());
    register(&api(), name, ours.clone(), false).unwrap();
    register(&other.api, name, theirs.clone(), false).unwrap();
    for api in [api(), other.api] {
        assert_eq!(register(&api, name, ours.clone(), false), Err(RegisterError::NameInUse));
    }
    (ours, theirs)
}

#[test]
fn each_library_has_its_own_table() {
    let Some(other) = other() else { return };
    assert_ne!(api().identity(), other.api.identity());
    assert_ne!(api().address(), other.api.address());
    for (ours, theirs) in words(&api()).into_iter().zip(words(&other.api)) {
        assert_ne!(ours, theirs);
    }
    assert!(other.api.version_number() >= SqliteApi::OLDEST);
    assert!(symbols().iter().all(|(_, address)| !words(&other.api).contains(&(*address as usize))));
}

static ROUTINES: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn entry(_: *mut ffi::sqlite3, _: *mut *mut c_char, routines: *const Routines) -> c_int {
    ROUTINES.store(routines.expose_provenance(), Ordering::SeqCst);
    ffi::SQLITE_OK
}

/// The places are those of an older header too: the table only grows at its end.
#[test]
fn both_doors_of_the_second_library_lead_to_the_same_functions() {
    let Some(other) = other() else { return };
    // SAFETY: the callback is what SQLite calls an entry point.
    assert_eq!(unsafe { (other.auto_extension)(entry) }, ffi::SQLITE_OK);
    drop(OtherDb::open(other, c":memory:", c"unix"));
    let routines = ptr::with_exposed_provenance(ROUTINES.load(Ordering::SeqCst));
    // SAFETY: SQLite gave it to an entry point, and the library is never closed.
    let by_place = unsafe { SqliteApi::from_routines(routines) }.unwrap();
    assert_eq!(words(&by_place), words(&other.api));
}

#[test]
fn one_name_in_both_and_each_has_its_own_files() {
    let Some(other) = other() else { return };
    let (ours, theirs) = in_both(&other, c"both");
    let db = Db::open(c"both", "ours.db").unwrap();
    let other_db = OtherDb::open(other, c"theirs.db", c"both");
    let work = "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)";
    db.rows(work).unwrap();
    other_db.rows(work);
    assert_eq!(other_db.rows("SELECT sqlite_version()"), [other.api.version()]);
    assert_eq!(db.one("SELECT sqlite_version()"), api().version());
    for (mock, mine, yours) in [(&ours, "/ours.db", "/theirs.db"), (&theirs, "/theirs.db", "/ours.db")] {
        assert!(mock.0.disk.find(Path::new(mine)).is_some());
        assert!(mock.0.disk.find(Path::new(yours)).is_none());
    }
    drop((db, other_db));
    assert_eq!((ours.live(), theirs.live()), (0, 0));
}

#[test]
fn texts_and_parameters_go_by_the_table_of_the_library_that_asked() {
    let Some(other) = other() else { return };
    let (ours, theirs) = in_both(&other, c"texts");
    for mock in [&ours, &theirs] {
        mock.set_answer(|control| match control {
            Control::VfsName => Some(Ok(Reply::Text("more".into()))),
            Control::Pragma { name: "told", .. } => Some(Ok(Reply::Text("%n%s".into()))),
            _ => None,
        });
    }
    let other_db = OtherDb::open(other, c"a.db", c"texts");
    assert_eq!(other_db.vfs_name(), "texts/more");
    assert_eq!(other_db.rows("PRAGMA told"), ["%n%s"]);
    other_db.rows("ATTACH 'file:b.db?key=k&flag=on' AS b");
    assert!(locked(&theirs.0.parameters).contains(&("/b.db".into(), Some("k".into()), Some(true))));
    assert_eq!(Db::open(c"texts", "a.db").unwrap().one("PRAGMA told"), "%n%s");
}

#[test]
fn both_work_at_the_same_time() {
    let Some(other) = other() else { return };
    let (ours, theirs) = in_both(&other, c"busy");
    let insert = |i: i32| format!("INSERT INTO t VALUES({i})");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let db = Db::open(c"busy", "app.db").unwrap();
            db.rows("PRAGMA journal_mode=WAL; CREATE TABLE t(a)").unwrap();
            (0..50).for_each(|i| drop(db.rows(&insert(i)).unwrap()));
            assert_eq!(db.one("SELECT count(*) FROM t"), "50");
        });
        scope.spawn(|| {
            let db = OtherDb::open(other, c"app.db", c"busy");
            db.rows("PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
            (0..50).for_each(|i| drop(db.rows(&insert(i))));
            assert_eq!(db.rows("SELECT count(*) FROM t"), ["50"]);
        });
    });
    assert_eq!((ours.live(), theirs.live()), (0, 0));
}
