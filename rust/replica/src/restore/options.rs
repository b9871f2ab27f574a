//! How a restore is done, and what it says about itself.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use ltx::{Checksum, PageCount, PageSize, Pos, Timestamp};

use crate::error::{Error, Result};
use crate::range::RetryPolicy;
use crate::restore::base::Base;
use crate::restore::past::Past;

/// Looks at a restored database.
pub type Verify<'a> = dyn Fn(&Path) -> Result<()> + Sync + 'a;

/// The last step before a database, restored to this path, gets its name.
pub type Prepare<'a> = dyn Fn(&Path) -> Result<()> + Sync + 'a;

/// Is told that files, or what they lead to, are not sound. Whether what was read may have been at fault rather than the replica, and
/// will be read from elsewhere from now on. It must not be so for ever.
pub type Distrust<'a> = dyn Fn(&Error) -> bool + Sync + 'a;

/// Takes every lock that a connection may have on a database, without waiting; they are let go when the value is dropped.
/// `None` means that a connection has one.
pub type LockDatabase<'a> = dyn Fn(&Path) -> io::Result<Option<Box<dyn Any>>> + Sync + 'a;

/// How a restore is done.
#[derive(Clone, Copy)]
pub struct RestoreOptions<'a> {
    /// How many files or parts of files are decoded at once, 1 to 12; for local files the number of processors is the limit.
    /// As many are read at once. If it is more than one, eight times as many are, where
    /// [`ReplicaClient::is_direct`](crate::ReplicaClient::is_direct).
    pub parallelism: usize,
    /// A copy of the database to begin with. [`with_plan`](crate::with_plan) then plans for the files since its transaction, too.
    /// Should these not lead on from it, everything is read.
    pub base: Option<Base<'a>>,
    /// Finds out what the result stands on ([`Restored::past`]), so that it can be such a copy.
    pub keeps_past: bool,
    /// Replaces an existing database once the new one is whole and durable.
    pub overwrite: bool,
    /// Keeps connections out of a database while it is replaced; without it, nobody may have that open.
    pub lock: Option<&'a LockDatabase<'a>>,
    /// Puts a database that is in WAL mode into rollback mode, so that it can be read where its readers may not write.
    pub rollback_journal: bool,
    /// Leaves what was read when a restore fails or is killed, and goes on with what an earlier one has left; `None` for neither.
    pub resume: Option<Resume<'a>>,
    /// For clients that do not read everything from the replica itself: then the restore goes on with what was sound.
    pub distrust: Option<&'a Distrust<'a>>,
    /// How broken reads of remote files are taken up again.
    pub retry: RetryPolicy,
    /// Called on the calling thread, about twenty times a second, and once when everything is there, before anything is replaced.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    /// A last look at the new database under its temporary name, when it is whole and before it replaces anything. An
    /// error calls the restore off. If it had gone on with what another one left, and the error is not
    /// [`Error::Cancelled`](crate::Error::Cancelled), everything is read again, and looked at again.
    pub verify: Option<&'a Verify<'a>>,
    /// Called after that, when nothing is left to be done but to give the database its name. An error calls the restore off.
    pub prepare: Option<&'a Prepare<'a>>,
    /// Set by anybody to stop; the restore then fails with [`Error::Cancelled`](crate::Error::Cancelled), and leaves nothing but
    /// what [`RestoreOptions::resume`] is for.
    pub cancel: Option<&'a AtomicBool>,
}

impl Default for RestoreOptions<'_> {
    fn default() -> Self {
        Self {
            parallelism: 8,
            base: None,
            keeps_past: false,
            overwrite: false,
            lock: None,
            rollback_journal: false,
            resume: None,
            distrust: None,
            retry: RetryPolicy::default(),
            progress: None,
            verify: None,
            prepare: None,
            cancel: None,
        }
    }
}

/// How a restore is resumed. It is a matter of [`RestoreOptions::resume`], but plays no part with a
/// [`base`](RestoreOptions::base), for clients that are local, and if there is little to read.
#[derive(Clone, Copy, Debug)]
pub struct Resume<'a> {
    /// Stands for the replica: what was left of another one is not used.
    pub replica: &'a str,
    /// The least number of bytes to read for which it pays.
    pub least: u64,
    /// About how often it is made durable what was read.
    pub every: Duration,
    /// Gets the number of bytes that are left for the next restore.
    pub kept: &'a AtomicU64,
}

impl<'a> Resume<'a> {
    /// From 64 MiB on, every two seconds.
    pub fn new(replica: &'a str, kept: &'a AtomicU64) -> Self {
        Self { replica, least: 64 << 20, every: Duration::from_secs(2), kept }
    }
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of LTX files that were decoded and written.
    pub bytes_done: u64,
    /// Bytes of all LTX files of the plan.
    pub bytes_total: u64,
    /// Files found whole and sound.
    pub files_done: u64,
    /// Files of the plan.
    pub files_total: u64,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The restored state; its checksum is none if the files carry none.
    pub pos: Pos,
    /// When its last transaction was made.
    pub created_at: Timestamp,
    /// Page size of the database.
    pub page_size: PageSize,
    /// Size of the database.
    pub commit: PageCount,
    /// How many files were read.
    pub files: usize,
    /// How many bytes they had.
    pub bytes: u64,
    /// How many of these bytes an earlier restore had read already: see [`RestoreOptions::resume`].
    pub resumed: u64,
    /// The checksum of page 1 as the replica has it, whatever the journal mode has become; none if that is not known.
    pub page_1: Checksum,
    /// The database header in that page; empty if it is not known.
    pub head: Vec<u8>,
    /// It began with [`RestoreOptions::base`]: only [`Plan::since`](crate::Plan::since) was read.
    pub is_update: bool,
    /// What it stands on, with [`RestoreOptions::keeps_past`].
    pub past: Option<Past>,
}
