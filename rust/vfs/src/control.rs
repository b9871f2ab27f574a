//! File controls: what `xFileControl` is asked, as Rust values, and how answers find their way back.

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::api::SqliteApi;
use crate::code::{Code, Error, Result};

/// A file control (SQLite, "Standard File Control Opcodes"). Those that SQLite answers itself never arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// Which lock is held? Answer: [`Reply::Number`].
    LockState,
    /// The file is about to grow to this many bytes.
    SizeHint(i64),
    /// The file shall grow in steps of this many bytes.
    ChunkSize(i32),
    /// Shall the WAL stay after the last connection? `None` asks. Answer: [`Reply::Number`].
    PersistWal(Option<bool>),
    /// Does a write leave the bytes around it alone when power fails? `None` asks. Answer: [`Reply::Number`].
    PowersafeOverwrite(Option<bool>),
    /// What stands behind the VFS's own name. Answer: [`Reply::Text`].
    VfsName,
    /// A PRAGMA, name in the letters of the user. Answer: [`Reply::Text`] or [`Reply::Refused`] if it is ours.
    Pragma {
        /// Its name.
        name: &'a str,
        /// What stands after `=`.
        value: Option<&'a str>,
    },
    /// A name for a temporary file. Answer: [`Reply::Text`].
    TempFileName,
    /// How many bytes to map; negative asks. Answer: [`Reply::Number`].
    MmapSize(i64),
    /// Does the path mean another file by now? Answer: [`Reply::Number`].
    HasMoved,
    /// A sync that `synchronous=OFF` left out.
    SyncOmitted,
    /// The whole file is about to be written anew.
    Overwrite,
    /// A transaction is about to be synced.
    Sync,
    /// A transaction is durable.
    CommitPhaseTwo,
    /// A checkpoint begins.
    CheckpointStart,
    /// A checkpoint ended.
    CheckpointDone,
    /// Writes up to the commit shall be atomic.
    BeginAtomicWrite,
    /// Makes them so.
    CommitAtomicWrite,
    /// Forgets them.
    RollbackAtomicWrite,
    /// How long to wait for a lock, in milliseconds. Answer: the last value, as [`Reply::Number`].
    LockTimeout(i32),
    /// Wait for the lock that the first connection holds while it begins the shared memory?
    BlockOnConnect(bool),
    /// Does another connection have a read transaction? Answer: [`Reply::Number`].
    ExternalReader,
    /// Does it have checksums that SQLite's checksum VFS would verify?
    ChecksumFile,
    /// Let the file go, and answer as if it were empty.
    NullIo,
    /// A JSON object about the file. Answer: [`Reply::Text`].
    FileStat,
}

/// An answer to a [`Control`]; one of a shape that the control does not name is `MISUSE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It means nothing to this file. SQLite takes any other answer for "done".
    NotFound,
    /// Done.
    Done,
    /// Done, and this is the answer.
    Number(i64),
    /// Done, and this is the answer.
    Text(String),
    /// An error message for the user.
    Refused(String),
}

/// Numbers of the controls, as in `sqlite3.h`.
mod op {
    use std::ffi::c_int;

    pub(super) const LOCKSTATE: c_int = 1;
    pub(super) const SIZE_HINT: c_int = 5;
    pub(super) const CHUNK_SIZE: c_int = 6;
    pub(super) const SYNC_OMITTED: c_int = 8;
    pub(super) const PERSIST_WAL: c_int = 10;
    pub(super) const OVERWRITE: c_int = 11;
    pub(super) const VFSNAME: c_int = 12;
    pub(super) const POWERSAFE_OVERWRITE: c_int = 13;
    pub(super) const PRAGMA: c_int = 14;
    pub(super) const TEMPFILENAME: c_int = 16;
    pub(super) const MMAP_SIZE: c_int = 18;
    pub(super) const HAS_MOVED: c_int = 20;
    pub(super) const SYNC: c_int = 21;
    pub(super) const COMMIT_PHASETWO: c_int = 22;
    pub(super) const BEGIN_ATOMIC_WRITE: c_int = 31;
    pub(super) const COMMIT_ATOMIC_WRITE: c_int = 32;
    pub(super) const ROLLBACK_ATOMIC_WRITE: c_int = 33;
    pub(super) const LOCK_TIMEOUT: c_int = 34;
    pub(super) const CKPT_DONE: c_int = 37;
    pub(super) const CKPT_START: c_int = 39;
    pub(super) const EXTERNAL_READER: c_int = 40;
    pub(super) const CKSM_FILE: c_int = 41;
    pub(super) const NULL_IO: c_int = 43;
    pub(super) const BLOCK_ON_CONNECT: c_int = 44;
    pub(super) const FILESTAT: c_int = 45;
}

/// `SQLITE_FCNTL_LAST_ERRNO`, which the guard answers.
pub(crate) const LAST_ERRNO: c_int = 4;

/// Reads the argument of a control; `None` for one that nobody here answers.
///
/// # Safety
/// `arg` is what SQLite's documentation says for `operation`, or null.
pub(crate) unsafe fn parse<'a>(operation: c_int, arg: *mut c_void) -> Result<Option<Control<'a>>> {
    // SAFETY: for the controls that read an `int`, the argument points to one, by the caller's promise.
    let number = || unsafe { arg.cast::<c_int>().as_ref() }.copied().ok_or(Error::from(Code::MISUSE));
    // SAFETY: the same for those that read a `sqlite3_int64`.
    let long = || unsafe { arg.cast::<i64>().as_ref() }.copied().ok_or(Error::from(Code::MISUSE));
    let choice = |value: c_int| (value >= 0).then_some(value != 0);
    Ok(Some(match operation {
        op::LOCKSTATE => Control::LockState,
        op::SIZE_HINT => Control::SizeHint(long()?),
        op::CHUNK_SIZE => Control::ChunkSize(number()?),
        op::SYNC_OMITTED => Control::SyncOmitted,
        op::PERSIST_WAL => Control::PersistWal(choice(number()?)),
        op::OVERWRITE => Control::Overwrite,
        op::VFSNAME => Control::VfsName,
        op::POWERSAFE_OVERWRITE => Control::PowersafeOverwrite(choice(number()?)),
        // SAFETY: the argument is an array of strings, by the caller's promise.
        op::PRAGMA => return unsafe { parse_pragma(arg.cast()) },
        op::TEMPFILENAME => Control::TempFileName,
        op::MMAP_SIZE => Control::MmapSize(long()?),
        op::HAS_MOVED => Control::HasMoved,
        op::SYNC => Control::Sync,
        op::COMMIT_PHASETWO => Control::CommitPhaseTwo,
        op::BEGIN_ATOMIC_WRITE => Control::BeginAtomicWrite,
        op::COMMIT_ATOMIC_WRITE => Control::CommitAtomicWrite,
        op::ROLLBACK_ATOMIC_WRITE => Control::RollbackAtomicWrite,
        op::LOCK_TIMEOUT => Control::LockTimeout(number()?),
        op::CKPT_DONE => Control::CheckpointDone,
        op::CKPT_START => Control::CheckpointStart,
        op::EXTERNAL_READER => Control::ExternalReader,
        op::CKSM_FILE => Control::ChecksumFile,
        op::NULL_IO => Control::NullIo,
        op::BLOCK_ON_CONNECT => Control::BlockOnConnect(number()? != 0),
        op::FILESTAT => Control::FileStat,
        _ => return Ok(None),
    }))
}

/// # Safety
/// `arg` is null, or an array of at least three pointers: for a message, the name, the value or null.
unsafe fn parse_pragma<'a>(arg: *mut *mut c_char) -> Result<Option<Control<'a>>> {
    if arg.is_null() {
        return Err(Code::MISUSE.into());
    }
    let text = |place: usize| {
        // SAFETY: the array has three elements, by the caller's promise.
        let raw = unsafe { *arg.add(place) };
        // SAFETY: what is not null ends in NUL and lives as long as the call.
        (!raw.is_null()).then(|| unsafe { CStr::from_ptr(raw) }).map(CStr::to_str)
    };
    // A PRAGMA in bytes that are no UTF-8 cannot be one of ours.
    let Some(Ok(name)) = text(1) else { return Ok(None) };
    match text(2).transpose() {
        Ok(value) => Ok(Some(Control::Pragma { name, value })),
        Err(_) => Ok(None),
    }
}

/// What the argument of a control has room for.
enum Room {
    Nothing,
    Int,
    Long,
    Text,
    /// A text, which may be an error message.
    Pragma,
    /// A `sqlite3_str`.
    Builder,
}

const fn room(operation: c_int) -> Room {
    match operation {
        op::LOCKSTATE
        | LAST_ERRNO
        | op::PERSIST_WAL
        | op::POWERSAFE_OVERWRITE
        | op::HAS_MOVED
        | op::LOCK_TIMEOUT
        | op::EXTERNAL_READER => Room::Int,
        op::MMAP_SIZE => Room::Long,
        op::VFSNAME | op::TEMPFILENAME => Room::Text,
        op::PRAGMA => Room::Pragma,
        op::FILESTAT => Room::Builder,
        _ => Room::Nothing,
    }
}

/// Writes an answer to where the control's argument says. An answer that does not fit there is misuse: the argument may point
/// to anything, for `Sync` to the name of a file.
///
/// # Safety
/// As [`parse`].
pub(crate) unsafe fn write_reply(api: &SqliteApi, operation: c_int, arg: *mut c_void, reply: Reply) -> c_int {
    let wrote = match (reply, room(operation)) {
        (Reply::NotFound, _) => return Code::NOTFOUND.0,
        // A PRAGMA that is done answers a row whose column has the answer for a name, which hosts do not expect to be null.
        // SAFETY: the argument has room for a pointer, by the caller's promise.
        (Reply::Done, Room::Pragma) => unsafe { write_text(api, arg, "") },
        (Reply::Done, _) => true,
        // SAFETY: by the caller's promise, an `int` is there.
        (Reply::Number(number), Room::Int) => unsafe {
            write(arg.cast::<c_int>(), c_int::try_from(number).unwrap_or(c_int::MAX))
        },
        // SAFETY: by the caller's promise, a `sqlite3_int64` is there.
        (Reply::Number(number), Room::Long) => unsafe { write(arg.cast::<i64>(), number) },
        // SAFETY: the argument is a `sqlite3_str`, by the caller's promise.
        (Reply::Text(text), Room::Builder) => unsafe { api.str_append(arg, &text) },
        // SAFETY: the argument has room for a pointer, by the caller's promise.
        (Reply::Text(text), Room::Text | Room::Pragma) => unsafe { write_text(api, arg, &text) },
        // SAFETY: as above.
        (Reply::Refused(text), Room::Pragma) => unsafe {
            if write_text(api, arg, &text) {
                return Code::ERROR.0;
            }
            false
        },
        _ => false,
    };
    if wrote { Code::OK.0 } else { Code::MISUSE.0 }
}

/// Writes the error message of a control that failed, if that has one.
///
/// # Safety
/// As [`parse`].
pub(crate) unsafe fn write_message(api: &SqliteApi, operation: c_int, arg: *mut c_void, message: &str) {
    if operation == op::PRAGMA {
        // SAFETY: the argument of a PRAGMA has room for a pointer, by the caller's promise.
        unsafe { write_text(api, arg, message) };
    }
}

/// # Safety
/// `arg` is null or has room for a pointer.
unsafe fn write_text(api: &SqliteApi, arg: *mut c_void, text: &str) -> bool {
    // First, so that no copy is made that nobody will free.
    if arg.is_null() {
        return false;
    }
    // SAFETY: by the caller's promise.
    unsafe { write(arg.cast::<*mut c_char>(), api.copy_text(text)) }
}

/// # Safety
/// `place` is null or has room for a `T`.
pub(crate) unsafe fn write<T>(place: *mut T, value: T) -> bool {
    if place.is_null() {
        return false;
    }
    // SAFETY: not null, and by the caller's promise there is room.
    unsafe { place.write(value) };
    true
}
