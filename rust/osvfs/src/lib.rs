//! A SQLite VFS for local files: locks, shared memory, descriptors.
//!
//! It speaks the protocol of SQLite's own `unix` VFS, byte for byte, so both may be used on one database at the same time, in
//! different processes or in one. What it does differently is listed in `docs/vfs.md`; above all, locks belong to an open file
//! description instead of the process, so that nobody's `close` can take them away, and a descriptor that others in this process
//! might depend on is never closed.
//!
//! * [`OsVfs`] opens files; [`register`] makes it known to a SQLite library under the names of [`LockMode::NAMES`].
//! * `lock` has the five lock levels, a state machine without a system call, and one file for each lock protocol.
//! * `shm` has the shared memory of WAL mode: mapped and locked between processes, or on the heap of one.
//! * [`fd_pool`] is the only code in the project that opens or closes a database or `-shm` file.
//! * [`NamedFile`] reads a file that may be one of these.
//! * [`OwnFile`] keeps connections out for moments, to change a database as SQLite would.
//! * [`Exclusive`] holds all locks of a database that is to be replaced.
//! * [`LockFile`] keeps other processes away from what is no database.
//! * [`probe`] finds out what a directory can do.
//!
//! Unsafe code is in `fcntl`, `mmap`, `shm`, `atomic` and `platform::macos`.

#![deny(unsafe_code)]

mod atomic;
mod checksums;
mod choice;
mod directory;
mod exclusive;
mod fcntl;
pub mod fd_pool;
mod file;
mod file_id;
mod guard;
mod levels;
mod lock;
mod lock_file;
mod mmap;
mod mode;
mod named_file;
mod own_file;
mod path;
mod per_process;
mod platform;
pub mod probe;
mod range_locks;
mod shm;
mod temp;
mod vfs;

pub use checksums::{WriteChecksumsError, write_checksums};
pub use choice::{LockMode, SyncMode};
pub use exclusive::{Exclusive, OtherLock};
pub use fcntl::is_unsupported;
pub use fd_pool::{FileId, LockBytes, LockedBy, PooledFile};
pub use guard::Stamp;
pub use lock::{break_lock, lock_path};
pub use lock_file::LockFile;
pub use named_file::NamedFile;
pub use own_file::{Excluded, HeldBytes, OwnFile};
pub use range_locks::{HeldSwitch, RangeLocks, SharedLock};
#[cfg(any(test, feature = "linked"))]
pub use vfs::register_linked;
pub use vfs::{OsVfs, Refusal, register, register_all, take_refusal};
