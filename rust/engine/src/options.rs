//! What can be set about one database.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ltx::Timestamp;

/// Settings of a [`Database`](crate::Database). The defaults are Litestream's (its `db.go`, constants) where it has them.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database file.
    pub path: PathBuf,
    /// The meta directory; beside the database as `.<name>-litestream` when absent.
    pub meta_path: Option<PathBuf>,
    /// Under steady writing there is at most one L0 file in this time.
    pub monitor_interval: Duration,
    /// After this time without a checkpoint, frames that nobody has moved into the database are moved by us. Zero: never.
    pub checkpoint_interval: Duration,
    /// WAL length, in frames, at which a PASSIVE checkpoint is due.
    pub min_checkpoint_page_n: u32,
    /// WAL file size, in frames, at which a drained WAL is cut to nothing.
    pub truncate_page_n: u32,
    /// How long a lock of the application is waited for.
    pub busy_timeout: Duration,
    /// How long a local L0 file is kept after it was uploaded.
    pub l0_retention: Duration,
    /// Whether this process may have other connections to the database, whose locks must not be taken away.
    pub shares_process: bool,
    /// Where the time of day comes from.
    pub clock: fn() -> Timestamp,
}

impl Options {
    /// The defaults for the database at `path`, which is made absolute.
    ///
    /// # Errors
    /// When the current directory is gone and `path` is relative.
    pub fn new(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            path: std::path::absolute(path)?,
            meta_path: None,
            monitor_interval: Duration::from_secs(1),
            checkpoint_interval: Duration::from_secs(60),
            min_checkpoint_page_n: 1000,
            truncate_page_n: 121_359,
            busy_timeout: Duration::from_secs(1),
            l0_retention: Duration::from_secs(300),
            shares_process: true,
            clock: wall_clock,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the one default clock; tests pass their own")]
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
