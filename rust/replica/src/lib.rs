//! Replicas: where LTX files are kept, which of them rebuild a database, and how they do.
//!
//! * [`ReplicaClient`] is what a kind of storage has to offer; [`FileClient`] is the one for directories.
//! * [`plan()`] picks the files for a [`Target`]; [`restore_points`] lists all targets there are; [`with_plan`] plans anew when
//!   the files of a plan are gone before they have been read.
//! * [`restore()`] rebuilds the database: in parallel, in bounded memory, verified, and whole or not at all;
//!   [`page_checksums`] does so for the checksums of its pages alone.
//! * [`compact_level`] merges the files of one level into the next, where they are.
//!
//! Levels are 0 (one file for all commits of one sync), 1 to 8 (merged) and 9 (snapshots). All calls block. The crate knows
//! nothing of SQLite but the names of the files beside a database and a few fields of its header.

#![forbid(unsafe_code)]

mod attempts;
mod client;
mod compact;
mod error;
mod file_client;
mod head;
mod history;
mod merge;
mod pipe;
mod place;
mod range;
mod restore;
mod soundness;
mod source;
mod utc;

pub use attempts::with_plan;
pub use client::{FileInfo, ReplicaClient};
pub use compact::{compact_level, compact_level_with};
pub use error::{Error, ForeignKind, Result};
pub use file_client::FileClient;
pub use history::{History, Obstacle, Plan, Reach, Target, following, plan, restore_points};
pub use merge::merge_into;
pub use place::{FileKey, Place, RestorePoint};
pub use range::RetryPolicy;
pub use restore::{
    LockDatabase, Prepare, Progress, RestoreOptions, Restored, Verify, page_checksums, restore,
    set_aside_path,
};
