//! The methods of `sqlite3_io_methods`, as SQLite calls them, and the tables of them.
//!
//! Every function here is only ever reached through a file that `callbacks::open` opened, so its first argument is a `Handle`;
//! the other arguments are what SQLite's documentation says ("OS Interface File Virtual Methods Object"). That is what each
//! `unsafe` block relies on, and SQLite keeps it, as it keeps a file to one thread at a time.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::slice;

use crate::abi::{IoMethods, RawFile};
use crate::code::{Code, Error, Result};
use crate::control::{self, Control, LAST_ERRNO, Reply, write};
use crate::flags::{LockLevel, ShmLock, SyncFlags};
use crate::guard::{Handle, State, code, on_file};
use crate::traits::{File, SharedMemory, Vfs};

/// The method tables of a VFS: one for files with shared memory, one for files without. A file that has none must not show
/// `xShmMap`, or SQLite would believe that WAL works there.
pub(crate) struct Tables<V: Vfs>(PhantomData<V>);

impl<V: Vfs> Tables<V> {
    const PLAIN: IoMethods = IoMethods {
        version: 1,
        close: close::<V>,
        read: read::<V>,
        write: write_at::<V>,
        truncate: truncate::<V>,
        sync: sync::<V>,
        file_size: file_size::<V>,
        lock: lock::<V>,
        unlock: unlock::<V>,
        check_reserved_lock: check_reserved_lock::<V>,
        file_control: file_control::<V>,
        sector_size: sector_size::<V>,
        device_characteristics: device_characteristics::<V>,
        shm_map: None,
        shm_lock: None,
        shm_barrier: None,
        shm_unmap: None,
        fetch: None,
        unfetch: None,
    };
    const SHARED: IoMethods = IoMethods {
        version: 2,
        shm_map: Some(shm_map::<V>),
        shm_lock: Some(shm_lock::<V>),
        shm_barrier: Some(shm_barrier::<V>),
        shm_unmap: Some(shm_unmap::<V>),
        ..Self::PLAIN
    };

    pub(crate) fn of(has_shared_memory: bool) -> &'static IoMethods {
        if has_shared_memory { &const { Self::SHARED } } else { &const { Self::PLAIN } }
    }
}

unsafe extern "C" fn close<V: Vfs>(raw: *mut RawFile) -> c_int {
    // SAFETY: the file is ours, or null.
    let Some(handle) = (unsafe { raw.cast::<Handle<V>>().as_mut() }) else { return Code::MISUSE.0 };
    let state = std::mem::replace(&mut handle.state, ptr::null_mut());
    handle.base.methods = ptr::null();
    if state.is_null() {
        return Code::OK.0;
    }
    // SAFETY: `open` put a box there, and it was just taken out for the only time.
    let state = unsafe { Box::from_raw(state) };
    let (registered, is_forked) = (state.registered, state.is_forked());
    let State { file, path, .. } = *state;
    let closed = catch_unwind(AssertUnwindSafe(|| {
        if is_forked {
            file.abandon();
            return Ok(());
        }
        file.close()
    }));
    match closed {
        Ok(Ok(())) => Code::OK.0,
        Ok(Err(error)) => {
            registered.report("xClose", &path.to_string_lossy(), error);
            error.code.0
        }
        Err(panic) => {
            registered.report_panic("xClose", panic);
            Code::IOERR_CLOSE.0
        }
    }
}

unsafe extern "C" fn read<V: Vfs>(raw: *mut RawFile, out: *mut c_void, size: c_int, offset: i64) -> c_int {
    // SAFETY: the file is ours, and the buffer has `size` bytes, which nobody else uses during the call. They may never have
    // been written; they are plain bytes, and only written to here.
    code(unsafe {
        on_file::<V, _>(raw, "xRead", |state| {
            let (size, offset) = (bytes(size)?, place(offset)?);
            if out.is_null() {
                return Err(Code::MISUSE.into());
            }
            let buf = slice::from_raw_parts_mut(out.cast::<u8>(), size);
            let read = state.file.read_at(buf, offset)?.min(size);
            if read == size {
                return Ok(());
            }
            buf[read..].fill(0);
            Err(Code::IOERR_SHORT_READ.into())
        })
    })
}

unsafe extern "C" fn write_at<V: Vfs>(
    raw: *mut RawFile,
    data: *const c_void,
    size: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: the file is ours, and the buffer has `size` bytes, which nobody changes during the call.
    code(unsafe {
        on_file::<V, _>(raw, "xWrite", |state| {
            let (size, offset) = (bytes(size)?, place(offset)?);
            if data.is_null() {
                return Err(Code::MISUSE.into());
            }
            state.file.write_at(slice::from_raw_parts(data.cast::<u8>(), size), offset)
        })
    })
}

unsafe extern "C" fn truncate<V: Vfs>(raw: *mut RawFile, size: i64) -> c_int {
    // SAFETY: the file is ours.
    code(unsafe { on_file::<V, _>(raw, "xTruncate", |state| state.file.truncate(place(size)?)) })
}

unsafe extern "C" fn sync<V: Vfs>(raw: *mut RawFile, flags: c_int) -> c_int {
    // SAFETY: the file is ours.
    code(unsafe { on_file::<V, _>(raw, "xSync", |state| state.file.sync(SyncFlags(flags))) })
}

unsafe extern "C" fn file_size<V: Vfs>(raw: *mut RawFile, out: *mut i64) -> c_int {
    // SAFETY: the file is ours, and there is room for the answer.
    code(unsafe {
        on_file::<V, _>(raw, "xFileSize", |state| {
            let size = i64::try_from(state.file.size()?).map_err(|_| Code::IOERR_FSTAT)?;
            write(out, size).then_some(()).ok_or(Code::MISUSE.into())
        })
    })
}

unsafe extern "C" fn lock<V: Vfs>(raw: *mut RawFile, level: c_int) -> c_int {
    // SAFETY: the file is ours.
    code(unsafe {
        on_file::<V, _>(raw, "xLock", |state| match LockLevel::from_raw(level)? {
            LockLevel::None | LockLevel::Pending => Err(Code::MISUSE.into()),
            level => state.file.lock(level),
        })
    })
}

unsafe extern "C" fn unlock<V: Vfs>(raw: *mut RawFile, level: c_int) -> c_int {
    // SAFETY: the file is ours.
    code(unsafe {
        on_file::<V, _>(raw, "xUnlock", |state| match LockLevel::from_raw(level)? {
            level @ (LockLevel::None | LockLevel::Shared) => state.file.unlock(level),
            _ => Err(Code::MISUSE.into()),
        })
    })
}

unsafe extern "C" fn check_reserved_lock<V: Vfs>(raw: *mut RawFile, out: *mut c_int) -> c_int {
    // SAFETY: the file is ours, and there is room for the answer.
    code(unsafe {
        on_file::<V, _>(raw, "xCheckReservedLock", |state| {
            let reserved = state.file.check_reserved_lock()?;
            write(out, c_int::from(reserved)).then_some(()).ok_or(Code::MISUSE.into())
        })
    })
}

unsafe extern "C" fn file_control<V: Vfs>(raw: *mut RawFile, operation: c_int, arg: *mut c_void) -> c_int {
    // SAFETY: the file is ours, and the argument is what SQLite documents for the operation.
    let answered = unsafe {
        on_file::<V, _>(raw, "xFileControl", |state| {
            let reply = match operation {
                LAST_ERRNO => Reply::Number(state.last_errno.into()),
                _ => match control::parse(operation, arg)? {
                    Some(control) => answer(state, control)?,
                    None => Reply::NotFound,
                },
            };
            Ok(control::write_reply(&state.registered.api, operation, arg, reply))
        })
    };
    answered.unwrap_or_else(|error| {
        // SAFETY: as above; only what `on_file` refuses itself has a text, and then nothing was written to the argument.
        unsafe { explain::<V>(raw, operation, arg) };
        error.code.0
    })
}

/// Why a file answers nothing any more, as the error message of a PRAGMA: the only one that a VFS can choose.
///
/// # Safety
/// As for [`on_file`], and `arg` is what SQLite documents for the operation.
unsafe fn explain<V: Vfs>(raw: *mut RawFile, operation: c_int, arg: *mut c_void) {
    // SAFETY: the file is ours, or null, by the caller's promise, and SQLite uses it in no other thread meanwhile.
    let state = unsafe { raw.cast::<Handle<V>>().as_ref().and_then(|handle| handle.state.as_ref()) };
    if let Some(state) = state
        && let Some(refusal) = state.refusal()
    {
        // SAFETY: the argument is that of the operation, by the caller's promise.
        unsafe { control::write_message(&state.registered.api, operation, arg, refusal) };
    }
}

/// The file's answer; the name of the VFS goes before what the file says of itself.
fn answer<V: Vfs>(state: &mut State<V>, control: Control<'_>) -> Result<Reply> {
    let reply = state.file.control(control)?;
    if control != Control::VfsName {
        return Ok(reply);
    }
    let name = state.registered.name.to_string_lossy();
    Ok(Reply::Text(match reply {
        Reply::Text(more) => format!("{name}/{more}"),
        _ => name.into_owned(),
    }))
}

unsafe extern "C" fn sector_size<V: Vfs>(raw: *mut RawFile) -> c_int {
    // SAFETY: the file is ours.
    let size = unsafe { on_file::<V, _>(raw, "xSectorSize", |state| Ok(state.file.sector_size())) };
    size.ok().and_then(|size| c_int::try_from(size).ok()).unwrap_or(4096)
}

unsafe extern "C" fn device_characteristics<V: Vfs>(raw: *mut RawFile) -> c_int {
    // SAFETY: the file is ours.
    let promised = unsafe {
        on_file::<V, _>(raw, "xDeviceCharacteristics", |state| Ok(state.file.device_characteristics()))
    };
    // A file that cannot answer promises nothing.
    promised.map_or(0, |promised| promised.0)
}

unsafe extern "C" fn shm_map<V: Vfs>(
    raw: *mut RawFile,
    index: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: null, or room for the address.
    unsafe { write(out, ptr::null_mut()) };
    // SAFETY: the file is ours.
    let mapped = unsafe {
        on_file::<V, _>(raw, "xShmMap", |state| {
            let (Ok(index), Ok(size)) = (u32::try_from(index), u32::try_from(size)) else {
                return Err(Code::MISUSE.into());
            };
            if out.is_null() {
                return Err(Code::MISUSE.into());
            }
            let region = shared(state)?.map(index, size, extend != 0)?;
            // SQLite uses what it asked to be made without another look.
            if extend != 0 && region.address.is_null() && region.code == Code::OK {
                return Err(Code::IOERR_SHMMAP.into());
            }
            Ok(region)
        })
    };
    match mapped {
        Ok(region) => {
            // SAFETY: as above.
            unsafe { write(out, region.address.cast()) };
            region.code.0
        }
        Err(error) => error.code.0,
    }
}

unsafe extern "C" fn shm_lock<V: Vfs>(raw: *mut RawFile, offset: c_int, n: c_int, flags: c_int) -> c_int {
    // SAFETY: the file is ours.
    code(unsafe {
        on_file::<V, _>(raw, "xShmLock", |state| {
            let (lock, takes) = ShmLock::from_raw(offset, n, flags)?;
            if !takes {
                return shared(state)?.unlock(lock);
            }
            if lock.is_exclusive {
                state.file.confirm_lock()?;
            }
            shared(state)?.lock(lock)
        })
    })
}

unsafe extern "C" fn shm_barrier<V: Vfs>(raw: *mut RawFile) {
    // SAFETY: the file is ours. SQLite cannot be told of a failure here; a latched file says so at its next call.
    let _ = unsafe {
        on_file::<V, _>(raw, "xShmBarrier", |state| {
            shared(state)?.barrier();
            Ok(())
        })
    };
}

unsafe extern "C" fn shm_unmap<V: Vfs>(raw: *mut RawFile, delete: c_int) -> c_int {
    // SAFETY: the file is ours.
    code(unsafe { on_file::<V, _>(raw, "xShmUnmap", |state| shared(state)?.unmap(delete != 0)) })
}

fn shared<V: Vfs>(state: &mut State<V>) -> Result<&mut dyn SharedMemory> {
    state.file.shared_memory().ok_or(Error::from(Code::IOERR_SHMLOCK))
}

fn bytes(size: c_int) -> Result<usize> {
    usize::try_from(size).map_err(|_| Code::MISUSE.into())
}

fn place(offset: i64) -> Result<u64> {
    u64::try_from(offset).map_err(|_| Code::MISUSE.into())
}
