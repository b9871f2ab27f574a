//! What happened so far, in numbers.

use ltx::{PageSize, Pos, Timestamp, TxId};

/// Counts since the database was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// L0 files that continue the one before from the WAL.
    pub incremental_syncs: u64,
    /// L0 files that hold the pages found different by comparing all of them.
    pub diff_syncs: u64,
    /// L0 files that hold every page.
    pub full_syncs: u64,
    /// How often the WAL was begun anew.
    pub restarts: u64,
    /// Checkpoints that we ran.
    pub checkpoints: u64,
    /// Write locks taken to let the WAL begin anew.
    pub seals: u64,
    /// Write locks that could not be had in time, or under which another checkpoint went on for too long.
    pub seals_refused: u64,
    /// Write locks that did not help, since somebody else still read older frames.
    pub seals_pinned: u64,
}

/// Why the next L0 file cannot simply continue the last one.
pub(crate) type Reason = &'static str;

/// A pass over all pages that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Pages that were read.
    pub pages_done: u32,
    /// Pages of the database.
    pub pages: u32,
    /// Why the next L0 file is made by comparing all pages; `None` when that is not what the pass is for.
    pub reason: Option<&'static str>,
}

/// The state of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Newest transaction in an L0 file.
    pub pos: Pos,
    /// Length of the WAL file in bytes.
    pub wal_size: u64,
    /// `None` before the database is open.
    pub page_size: Option<PageSize>,
    /// The pass over all pages that is under way.
    pub scan: Option<Scan>,
    /// When the newest L0 file was made.
    pub last_sync: Option<Timestamp>,
    /// Why the last L0 file that is no increment was needed.
    pub reason: Option<&'static str>,
    /// The first transaction that cannot be restored, or is not known to be, before the replica has a snapshot that reaches it:
    /// the page size changed there, or the file holds every page since nothing was known of those before.
    pub snapshot_wanted: Option<TxId>,
    /// Counts since the database was opened.
    pub counters: Counters,
}
