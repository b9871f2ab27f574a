//! Replicas: where LTX files are kept, which of them rebuild a database, and how they do.
//!
//! * [`ObjectStore`] is what a kind of storage has to offer: bytes under keys. [`Directory`] is one.
//! * [`LtxLayout`] turns names of LTX files into keys, as Litestream does: it is a [`ReplicaClient`], as all below know it.
//!   [`FileClient`] is the one over a directory.
//! * [`Direct`] reads files where they are, a file of this machine or a URL, without the client that knows where that is.
//! * [`Cached`] keeps what it has read of a remote replica in a directory ([`Blocks`]), bounded, shared by processes.
//! * [`plan()`] picks the files for a [`Target`]; [`restore_points`] lists all targets there are; [`with_plan`] plans anew when
//!   the files of a plan are gone before they have been read.
//! * [`restore()`] rebuilds the database: in parallel, in bounded memory, verified, and whole or not at all;
//!   [`page_checksums`] does so for the checksums of its pages alone, and [`publish_made`] gives a database its place that the caller
//!   makes.
//! * [`verify()`] reads everything, and says whether the newest state can be restored.
//! * [`compact_level`] merges the files of one level into the next, where they are.
//!
//! Levels are 0 (one file for all commits of one sync), 1 to 8 (merged) and 9 (snapshots). All calls block. The crate knows
//! nothing of SQLite but the names of the files beside a database and a few fields of its header.

#![forbid(unsafe_code)]

mod attempts;
mod cache;
mod client;
mod compact;
mod directory;
mod error;
mod head;
mod history;
mod located;
mod ltx_layout;
mod merge;
mod object_store;
mod pipe;
mod place;
mod range;
mod restore;
mod source;
mod utc;
mod verify;

pub use attempts::with_plan;
pub use cache::{Blocks, Cached};
pub use client::{FileInfo, ReplicaClient};
pub use compact::{compact_level, compact_level_with};
pub use directory::Directory;
pub use error::{Error, ForeignKind, Result};
pub use history::{
    Calendar, History, Obstacle, Plan, Reach, Retention, Target, following, plan, restore_points,
};
pub use located::{Direct, Locate, Spot};
pub use ltx_layout::{FileClient, LtxLayout};
pub use merge::merge_into;
pub use object_store::{Capabilities, IfTaken, Location, Object, ObjectStore, Span};
pub use place::{FileKey, Place, RestorePoint};
pub use range::RetryPolicy;
pub use restore::{
    Base, Distrust, LockDatabase, MOST_WORKERS, Mark, Past, Prepare, Progress, RestoreOptions, Restored,
    Resume, Shape, Verify, page_checksums, partial_path, publish_made, restore, set_aside_path,
};
pub use utc::utc;
pub use verify::{Verified, VerifyOptions, verify};
