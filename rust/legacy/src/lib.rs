//! The layout of Litestream 0.3: generations, snapshots and WAL segments in LZ4 frames.

#![forbid(unsafe_code)]

mod apply;
mod conversion;
mod convert;
mod error;
mod frame;
mod history;
mod names;
mod pos;
mod restore;
mod schedule;
mod source;
mod verify;
mod wal_files;
mod work;
mod write;

pub use apply::{Applier, Changes};
pub use conversion::{Batch, Continued, Conversion, Made, STATE_LEVEL};
pub use convert::{Database, Stamp};
pub use error::{Error, Result};
pub use frame::{FrameReader, FrameWriter};
pub use history::{Files, History, Plan, Segment, Snapshot, Target};
pub use names::{
    GENERATIONS, Generation, MAX_INDEX, NameError, format_segment, format_snapshot, parse_segment,
    parse_snapshot,
};
pub use pos::Pos;
pub use restore::{Options, Restored, restore};
pub use schedule::{Schedule, Step};
pub use source::Source;
pub use verify::{Damage, verify};
pub use write::{Appended, WalState, WriteError, wal_salt, write_snapshot};
