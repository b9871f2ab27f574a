//! The operating system's side of live SQLite files.
//!
//! For now this is the descriptor pool alone: the only code in the project that opens a live database or `-shm` file, and
//! code that never closes one. The VFS itself (locks, shared memory, files) will stand beside it.

#![forbid(unsafe_code)]

pub mod fd_pool;

pub use fd_pool::{FileId, PooledFile};
