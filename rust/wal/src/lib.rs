//! SQLite's write-ahead log, read without SQLite.
//!
//! A WAL file is a 32-byte header followed by frames; a frame is a 24-byte header and one page. Two salts mark the
//! generation of the file: a restart writes a new header and leaves the old frames in place, where their salts no
//! longer fit. A running checksum links every frame to all frames before it, so the log ends at the first frame
//! that does not continue the chain, and what counts of it ends at the last commit frame before that point
//! (SQLite file format, section "The Write-Ahead Log").
//!
//! * [`WalReader`] walks the frames, from the start or from a [`Cursor`], without copying pages.
//! * [`PageMap`] says which frame holds the newest committed copy of each page.
//! * [`WalIndex`] reads the shared memory file, which says how far the log is committed and backfilled.
//! * [`write_snapshot`] and [`write_incremental`] turn a page map and the database into an LTX file.
//!
//! Nothing here opens a file, takes a lock or asks for the time: bytes come through [`ltx::ReadAt`]. The caller
//! keeps the frames in place while they are read, with a read transaction of SQLite's.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod checksum;
#[cfg(test)]
#[path = "../tests/common/wal_file.rs"]
mod common;
mod db_header;
mod error;
mod frame;
mod header;
mod page_map;
mod page_source;
mod reader;
mod resume;
mod to_ltx;
mod wal_index;
mod window;

pub use checksum::{ByteOrder, WalChecksum};
pub use db_header::{AutoVacuum, DbHeader};
pub use error::{Error, Result};
pub use frame::{FrameHeader, frame_checksum, frame_offset, wal_size};
pub use header::{Salt, WalHeader};
pub use page_map::{PageMap, PageMapBuilder};
pub use page_source::PageSource;
pub use reader::{Cursor, Frame, WalReader};
pub use resume::{HeaderState, frame_salts, probe_header, resume_unverified, verify_chain};
pub use to_ltx::{write_incremental, write_snapshot};
pub use wal_index::WalIndex;
