//! The methods of `sqlite3_vfs`, as SQLite calls them.
//!
//! Every function here is only ever reached through the `sqlite3_vfs` that [`crate::register`] made, so its first argument is
//! that one; the other arguments are what SQLite's documentation says ("OS Interface Object"). That is what each `unsafe` block
//! relies on, and SQLite keeps it.

use std::ffi::{CStr, OsStr, c_char, c_double, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::slice;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::abi::{RawFile, RawVfs, Symbol};
use crate::code::{Code, Error, Result};
use crate::control::write;
use crate::flags::{AccessKind, OpenFlags};
use crate::guard::{Handle, State, code, last_errno, on_vfs};
use crate::io_methods::Tables;
use crate::name::FileName;
use crate::registry::Registered;
use crate::traits::{File, Log, OpenRequest, Opened, Vfs};
use forks::fork_generation;

/// Has the library's own VFS answer, with these arguments, if the file is left to it.
macro_rules! leave {
    ($vfs:expr, $name:expr, $method:ident($($argument:expr),*)) => {
        // SAFETY: the VFS is ours, and the name is null or ends in NUL.
        if let Some(base) = unsafe { left_to::<V>($vfs, $name) } {
            // SAFETY: the base is registered with the library that calls; the arguments are passed on as they came.
            return unsafe { ((*base).$method)(base, $($argument),*) };
        }
    };
}

/// The library's own VFS, if this file is left to it.
///
/// # Safety
/// The VFS is the `sqlite3_vfs` that [`crate::register`] made for `V`; the name is null or ends in NUL.
unsafe fn left_to<V: Vfs>(vfs: *mut RawVfs, name: *const c_char) -> Option<*mut RawVfs> {
    // SAFETY: by the caller's promise.
    let name = unsafe { path(name) }.ok();
    // SAFETY: by the caller's promise.
    let base = unsafe {
        on_vfs::<V, _>(vfs, "leaves", String::new, |registered| {
            Ok(if registered.vfs.leaves(name) { registered.base } else { ptr::null_mut() })
        })
    };
    base.ok().filter(|base| !base.is_null())
}

pub(crate) unsafe extern "C" fn open<V: Vfs>(
    vfs: *mut RawVfs,
    name: *const c_char,
    file: *mut RawFile,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    if file.is_null() {
        return Code::MISUSE.0;
    }
    // SAFETY: SQLite allocated `szOsFile` bytes there, room for a `Handle` and for a file of the base. No methods mean "not open".
    unsafe { (*file).methods = ptr::null() };
    leave!(vfs, name, open(name, file, flags, out_flags));
    let flags = OpenFlags(flags);
    // SAFETY: the VFS is ours.
    let opened = unsafe {
        on_vfs::<V, _>(vfs, "xOpen", || lossy(name), |registered| open_state(registered, name, flags))
    };
    match opened {
        Ok((state, flags)) => {
            let methods = Tables::<V>::of(state.has_shared_memory);
            let handle = Handle { base: RawFile { methods }, state: Box::into_raw(state.state) };
            // SAFETY: there is room for a `Handle`, aligned as SQLite aligns all its memory, to eight bytes.
            unsafe { file.cast::<Handle<V>>().write(handle) };
            // SAFETY: null, or room for the flags.
            unsafe { write(out_flags, flags.0) };
            Code::OK.0
        }
        Err(error) => error.code.0,
    }
}

struct NewState<V: Vfs> {
    state: Box<State<V>>,
    has_shared_memory: bool,
}

fn open_state<V: Vfs>(
    registered: &'static Registered<V>,
    name: *const c_char,
    flags: OpenFlags,
) -> Result<(NewState<V>, OpenFlags)> {
    let api = &registered.api;
    // SAFETY: SQLite's name is null or ends in NUL, lives as long as the file is open, and has parameters if its kind has.
    let name = (!name.is_null()).then(|| unsafe { FileName::new(name, api, flags.kind().has_parameters()) });
    let Opened { mut file, flags } = registered.vfs.open(OpenRequest { name, flags, log: Log(api) })?;
    let has_shared_memory = file.shared_memory().is_some();
    let path = name.map_or_else(PathBuf::new, |name| name.path().to_owned());
    let state = State {
        file,
        registered,
        path,
        forks: fork_generation(),
        is_latched: false,
        last_errno: 0,
        is_told: false,
    };
    Ok((NewState { state: Box::new(state), has_shared_memory }, flags))
}

pub(crate) unsafe extern "C" fn delete<V: Vfs>(
    vfs: *mut RawVfs,
    name: *const c_char,
    sync_directory: c_int,
) -> c_int {
    leave!(vfs, name, delete(name, sync_directory));
    // SAFETY: the VFS is ours, and the name is null or ends in NUL.
    code(unsafe {
        on_vfs::<V, _>(
            vfs,
            "xDelete",
            || lossy(name),
            |registered| registered.vfs.delete(path(name)?, sync_directory & 1 != 0),
        )
    })
}

pub(crate) unsafe extern "C" fn access<V: Vfs>(
    vfs: *mut RawVfs,
    name: *const c_char,
    kind: c_int,
    out: *mut c_int,
) -> c_int {
    leave!(vfs, name, access(name, kind, out));
    // SAFETY: the VFS is ours, the name is null or ends in NUL, and there is room for the answer.
    code(unsafe {
        on_vfs::<V, _>(
            vfs,
            "xAccess",
            || lossy(name),
            |registered| {
                let allowed = registered.vfs.access(path(name)?, AccessKind::from_raw(kind)?)?;
                write(out, c_int::from(allowed)).then_some(()).ok_or(Code::MISUSE.into())
            },
        )
    })
}

pub(crate) unsafe extern "C" fn full_pathname<V: Vfs>(
    vfs: *mut RawVfs,
    name: *const c_char,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    leave!(vfs, name, full_pathname(name, size, out));
    // SAFETY: the VFS is ours, and the name is null or ends in NUL.
    let found = unsafe {
        on_vfs::<V, _>(
            vfs,
            "xFullPathname",
            || lossy(name),
            |registered| {
                let full = registered.vfs.full_pathname(path(name)?)?;
                let bytes = full.path.as_os_str().as_bytes();
                let room = usize::try_from(size).unwrap_or(0);
                if out.is_null() || bytes.len() >= room || bytes.contains(&0) {
                    return Err(Error::from(Code::CANTOPEN));
                }
                // SAFETY: the buffer has `size` bytes, and the path with its NUL fits.
                let buffer = slice::from_raw_parts_mut(out.cast::<u8>(), bytes.len() + 1);
                buffer[..bytes.len()].copy_from_slice(bytes);
                buffer[bytes.len()] = 0;
                Ok(if full.was_symlink { Code::OK_SYMLINK } else { Code::OK })
            },
        )
    };
    found.map_or_else(|error| error.code.0, |code| code.0)
}

pub(crate) unsafe extern "C" fn randomness<V: Vfs>(vfs: *mut RawVfs, size: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the VFS is ours, and the buffer has `size` bytes.
    let filled = unsafe {
        on_vfs::<V, _>(vfs, "xRandomness", String::new, |registered| {
            let size = usize::try_from(size).unwrap_or(0);
            if out.is_null() {
                return Ok(0);
            }
            ptr::write_bytes(out, 0, size);
            Ok(registered.vfs.randomness(slice::from_raw_parts_mut(out.cast::<u8>(), size)).min(size))
        })
    };
    filled.ok().and_then(|filled| c_int::try_from(filled).ok()).unwrap_or(0)
}

pub(crate) unsafe extern "C" fn sleep<V: Vfs>(vfs: *mut RawVfs, micros: c_int) -> c_int {
    let duration = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    // SAFETY: the VFS is ours.
    let slept = unsafe {
        on_vfs::<V, _>(vfs, "xSleep", String::new, |registered| Ok(registered.vfs.sleep(duration)))
    };
    slept.ok().and_then(|slept| c_int::try_from(slept.as_micros()).ok()).unwrap_or(0)
}

/// The Unix epoch as a Julian day, in milliseconds.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

#[expect(clippy::disallowed_methods, reason = "SQLite asks its VFS what time it is")]
fn julian_ms() -> i64 {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let unix = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    };
    unix.saturating_add(UNIX_EPOCH_JULIAN_MS)
}

pub(crate) unsafe extern "C" fn current_time_int64(_: *mut RawVfs, out: *mut i64) -> c_int {
    // SAFETY: null, or room for the time.
    let wrote = unsafe { write(out, julian_ms()) };
    if wrote { Code::OK.0 } else { Code::MISUSE.0 }
}

pub(crate) unsafe extern "C" fn current_time(_: *mut RawVfs, out: *mut c_double) -> c_int {
    // SAFETY: null, or room for the time.
    let wrote = unsafe { write(out, julian_ms() as c_double / 86_400_000.0) };
    if wrote { Code::OK.0 } else { Code::MISUSE.0 }
}

pub(crate) unsafe extern "C" fn get_last_error(_: *mut RawVfs, _: c_int, _: *mut c_char) -> c_int {
    last_errno()
}

/// What the library's own VFS does, which loads extensions for us.
macro_rules! forward {
    ($vfs:expr, $method:ident($($argument:expr),*), $otherwise:expr) => {{
        // SAFETY: the VFS is ours, and what it points to is never freed; the other one is SQLite's own.
        let base = unsafe { $vfs.as_ref().and_then(|vfs| vfs.app_data.cast::<Registered<V>>().as_ref()) }
            .map_or(ptr::null_mut(), |registered| registered.base);
        // SAFETY: as above; the arguments are passed on as they came.
        match unsafe { base.as_ref() }.and_then(|base| base.$method) {
            // SAFETY: as above.
            Some(method) => unsafe { method(base, $($argument),*) },
            None => $otherwise,
        }
    }};
}

pub(crate) unsafe extern "C" fn dl_open<V: Vfs>(vfs: *mut RawVfs, name: *const c_char) -> *mut c_void {
    forward!(vfs, dl_open(name), ptr::null_mut())
}

pub(crate) unsafe extern "C" fn dl_error<V: Vfs>(vfs: *mut RawVfs, size: c_int, out: *mut c_char) {
    forward!(vfs, dl_error(size, out), ())
}

pub(crate) unsafe extern "C" fn dl_sym<V: Vfs>(
    vfs: *mut RawVfs,
    handle: *mut c_void,
    name: *const c_char,
) -> Symbol {
    forward!(vfs, dl_sym(handle, name), None)
}

pub(crate) unsafe extern "C" fn dl_close<V: Vfs>(vfs: *mut RawVfs, handle: *mut c_void) {
    forward!(vfs, dl_close(handle), ())
}

/// # Safety
/// `name` is null or ends in NUL and outlives the result.
unsafe fn path<'a>(name: *const c_char) -> Result<&'a Path> {
    if name.is_null() {
        return Err(Code::MISUSE.into());
    }
    // SAFETY: by the caller's promise.
    Ok(Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())))
}

/// A name for the log.
fn lossy(name: *const c_char) -> String {
    // SAFETY: SQLite's names are null or end in NUL.
    unsafe { path(name) }.map_or_else(|_| String::new(), |path| path.to_string_lossy().into_owned())
}
