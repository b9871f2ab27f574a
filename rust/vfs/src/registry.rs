//! Making a VFS known to a SQLite library.

use std::any::Any;
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::size_of;
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{fmt, ptr};

use crate::abi::{RawVfs, Routines};
use crate::api::SqliteApi;
use crate::callbacks;
use crate::code::Code;
use crate::guard::Handle;
use crate::traits::Vfs;
use forks::{ProcessLocal, fork_generation};

/// What a registered VFS points to. Never freed: SQLite may hold the pointer as long as the process lives.
pub(crate) struct Registered<V: Vfs> {
    pub(crate) api: SqliteApi,
    pub(crate) name: CString,
    pub(crate) vfs: V,
    /// The library's own VFS: it loads extensions for us, and takes what [`Vfs::leaves`] leaves to it.
    pub(crate) base: *mut RawVfs,
}

// SAFETY: `V` is both, the table of functions is plain data, and `base` is only handed back to SQLite, whose VFS methods may be
// called from any thread.
unsafe impl<V: Vfs> Sync for Registered<V> {}
// SAFETY: as above.
unsafe impl<V: Vfs> Send for Registered<V> {}

/// Why a VFS could not be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// A VFS of this name is there already.
    NameInUse,
    /// There is no VFS of this name.
    NotFound,
    /// SQLite said no.
    Refused(Code),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameInUse => f.write_str("a vfs of this name is registered already"),
            Self::NotFound => f.write_str("no vfs of this name is registered"),
            Self::Refused(code) => write!(f, "sqlite refused to register the vfs: {code}"),
        }
    }
}

impl std::error::Error for RegisterError {}

/// Held from the look whether a name is free until the name is taken.
static REGISTERING: ProcessLocal<Mutex<()>> = ProcessLocal::new(|| Mutex::new(()));

/// Every VFS that was registered, the last one first. It is added to under that mutex, and read without: a forked child has it too,
/// and must not find it locked.
static REGISTERED: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

/// A VFS of ours, by what SQLite knows it by. Never freed.
struct Entry {
    raw: usize,
    vfs: &'static (dyn Any + Send + Sync),
    next: Option<&'static Entry>,
}

fn entries() -> Option<&'static Entry> {
    // SAFETY: null, or a leaked box that nobody changes.
    unsafe { REGISTERED.load(Ordering::Acquire).as_ref() }
}

/// Registers `vfs` under `name` with one SQLite library, for as long as the process lives. Connections that do not ask for it
/// by name are not touched, unless `is_default`.
///
/// # Errors
/// [`RegisterError`].
pub fn register<V: Vfs>(api: &SqliteApi, name: &CStr, vfs: V, is_default: bool) -> Result<(), RegisterError> {
    let _nobody_takes_it_meanwhile = REGISTERING.get().lock().unwrap_or_else(PoisonError::into_inner);
    if !api.vfs_find(Some(name)).is_null() {
        return Err(RegisterError::NameInUse);
    }
    // The hook must be in place before the first file is opened.
    let _ = fork_generation();
    // By its name: the default may be one of ours by now.
    let unix = api.vfs_find(Some(c"unix"));
    let base = if unix.is_null() { api.vfs_find(None) } else { unix };
    let registered: &'static Registered<V> =
        Box::leak(Box::new(Registered { api: *api, name: name.to_owned(), vfs, base }));
    let raw = Box::leak(Box::new(describe(registered)));
    let entry = Entry { raw: ptr::from_mut(raw) as usize, vfs: &registered.vfs, next: entries() };
    REGISTERED.store(Box::into_raw(Box::new(entry)), Ordering::Release);
    // SAFETY: both are leaked: neither moves nor ends.
    match unsafe { api.vfs_register(raw, is_default) } {
        Code::OK => Ok(()),
        code => Err(RegisterError::Refused(code)),
    }
}

/// What is registered under `name`, if it is a `V` that was registered here.
#[must_use]
pub fn registered<V: Vfs>(api: &SqliteApi, name: &CStr) -> Option<&'static V> {
    let raw = api.vfs_find(Some(name)) as usize;
    let entry = std::iter::successors(entries(), |entry| entry.next).find(|entry| entry.raw == raw);
    entry?.vfs.downcast_ref()
}

/// Makes the VFS of this name the one that connections get which ask for none.
///
/// # Errors
/// [`RegisterError::NotFound`].
pub fn set_default(api: &SqliteApi, name: &CStr) -> Result<(), RegisterError> {
    let raw = api.vfs_find(Some(name));
    if raw.is_null() {
        return Err(RegisterError::NotFound);
    }
    // SAFETY: the library itself returned it from its list of registered VFSes.
    match unsafe { api.vfs_register(raw, true) } {
        Code::OK => Ok(()),
        code => Err(RegisterError::Refused(code)),
    }
}

/// What the entry point of a SQLite extension does: `work` with the library that loads it, and an answer that keeps it loaded,
/// since its VFSes are never taken back.
///
/// # Safety
/// As [`SqliteApi::from_routines`].
pub unsafe fn load_extension(
    routines: *const Routines,
    work: impl FnOnce(&SqliteApi) -> Result<(), RegisterError> + UnwindSafe,
) -> c_int {
    let loaded = catch_unwind(|| {
        // SAFETY: by the caller's promise.
        let api = unsafe { SqliteApi::from_routines(routines) }.ok()?;
        work(&api).ok()
    });
    if matches!(loaded, Ok(Some(()))) { Code::OK_LOAD_PERMANENTLY.0 } else { Code::ERROR.0 }
}

fn describe<V: Vfs>(registered: &'static Registered<V>) -> RawVfs {
    let length = |bytes: usize| c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: null, or a VFS that the library has registered.
    let of_base = unsafe { registered.base.as_ref() }.map_or(0, |base| base.file_size);
    RawVfs {
        version: 2,
        file_size: length(size_of::<Handle<V>>()).max(of_base),
        max_pathname: length(V::MAX_PATHNAME),
        next: ptr::null_mut(),
        name: registered.name.as_ptr(),
        app_data: ptr::from_ref(registered).cast::<c_void>().cast_mut(),
        open: callbacks::open::<V>,
        delete: callbacks::delete::<V>,
        access: callbacks::access::<V>,
        full_pathname: callbacks::full_pathname::<V>,
        dl_open: Some(callbacks::dl_open::<V>),
        dl_error: Some(callbacks::dl_error::<V>),
        dl_sym: Some(callbacks::dl_sym::<V>),
        dl_close: Some(callbacks::dl_close::<V>),
        randomness: callbacks::randomness::<V>,
        sleep: callbacks::sleep::<V>,
        current_time: callbacks::current_time,
        get_last_error: callbacks::get_last_error,
        current_time_int64: callbacks::current_time_int64,
        set_system_call: None,
        get_system_call: None,
        next_system_call: None,
    }
}
