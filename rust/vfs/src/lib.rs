//! The C edge of SQLite's virtual file systems, made safe.
//!
//! SQLite reaches files through two tables of C functions, one for the file system (`sqlite3_vfs`) and one for each open
//! file (`sqlite3_io_methods`). This crate owns both sides of that edge: whoever implements [`Vfs`] and [`File`] writes safe
//! Rust, and SQLite sees C functions that check their arguments, catch panics, and answer errors in a process that was forked
//! from the one that opened the file. It holds no policy: no lock, no path rule, no system call but the clock.
//!
//! * [`SqliteApi`] is the few functions that are needed *of one SQLite library*. A process may hold several libraries (the
//!   interpreter's, another package's, our own); each registered VFS carries the table of its own.
//! * [`register`] makes a VFS known to such a library. What was registered is never freed, since SQLite may hold it for ever.
//! * A file shows SQLite only the methods that it has: without [`SharedMemory`] there is no `xShmMap`, which is how SQLite
//!   learns that WAL needs the exclusive locking mode there (SQLite, "Write-Ahead Logging", section 9).
//!
//! Unsafe code is in `abi`, `api`, `callbacks`, `control`, `guard`, `io_methods`, `name` and `registry`.

mod abi;
mod api;
mod callbacks;
mod code;
mod control;
mod flags;
mod guard;
mod io_methods;
mod name;
mod registry;
mod traits;

pub use abi::Routines;
pub use api::{LookupError, SqliteApi};
pub use code::{Code, Error, Result};
pub use control::{Control, Reply};
pub use flags::{AccessKind, DeviceCharacteristics, FileKind, LockLevel, OpenFlags, ShmLock, SyncFlags};
pub use name::FileName;
pub use registry::{RegisterError, load_extension, register, registered, set_default};
pub use traits::{File, FullPath, Log, MappedRegion, OpenRequest, Opened, SharedMemory, Vfs};
