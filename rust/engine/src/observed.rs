//! What was seen of the files when they were looked at last: what later looks are compared with.

use std::time::Instant;

use osvfs::Stamp;
use wal::{Salt, WalIndex};

/// What checkpoints leave in the wal-index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoints {
    pub(crate) salt: Salt,
    pub(crate) backfilled: u32,
    pub(crate) attempted: u32,
}

impl Checkpoints {
    pub(crate) fn of(index: &WalIndex) -> Self {
        Self { salt: index.salt, backfilled: index.backfilled, attempted: index.backfill_attempted }
    }
}

/// The database file as it was when it was looked at last, and the checkpoints that were known of before that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    pub(crate) stamp: Stamp,
    pub(crate) checkpoints: Option<Checkpoints>,
    /// The turn that was ours then, if it keeps every checkpoint from writing.
    pub(crate) quiet_turn: Option<u64>,
    /// The WAL has no name any more: what is in it alone is in no database that anybody else could open.
    pub(crate) wal_is_gone: bool,
    /// Nor has the wal-index.
    pub(crate) shm_is_gone: bool,
    pub(crate) wal: Wal,
}

/// The WAL when it was looked at last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wal {
    pub(crate) stamp: Stamp,
    /// Generation and newest frame, as the wal-index had them.
    pub(crate) end: Option<(Salt, u32)>,
    /// It was written since that was its end, and no frame was appended: it is somebody's copy, perhaps of the same content.
    pub(crate) is_copy: bool,
}

impl Observed {
    /// Before the first look.
    pub(crate) fn nothing() -> Self {
        Self {
            stamp: Stamp::default(),
            checkpoints: None,
            quiet_turn: None,
            wal_is_gone: false,
            shm_is_gone: false,
            wal: Wal::default(),
        }
    }
}

/// A change of the database file that a checkpoint of the application explains, but need not explain alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Doubt {
    pub(crate) is_open: bool,
    /// The end of the WAL when it was opened: who commits later uses the file, and has not replaced it.
    pub(crate) end: Option<(Salt, u32)>,
    /// When the pages of a database that is not small may be compared again.
    pub(crate) not_before: Option<Instant>,
    /// Frames read since the pages were compared last.
    pub(crate) frames: u64,
}

impl Doubt {
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }
}

/// Whether both are known, and as much of the same WAL is in the database file.
pub(crate) fn has_moved_as_far(found: Option<Checkpoints>, expected: Option<Checkpoints>) -> bool {
    found.zip(expected).is_some_and(|(found, expected)| {
        (found.salt, found.backfilled) == (expected.salt, expected.backfilled)
    })
}
