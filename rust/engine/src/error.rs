//! What can go wrong with a live database.

use std::io;
use std::path::{Path, PathBuf};

use ltx::TxId;

/// The result of every fallible function here.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database is closed, or was never opened.
    #[error("database {} is not open", path.display())]
    NotOpen {
        /// The database file.
        path: PathBuf,
    },
    /// There is no page size yet: the database file does not exist, or holds nothing.
    #[error("database {} does not exist yet", path.display())]
    NotReady {
        /// The database file.
        path: PathBuf,
    },
    /// SQLite would not switch the database to WAL mode.
    #[error("database {} stays in journal mode {mode}, WAL mode is needed", path.display())]
    NotWal {
        /// The database file.
        path: PathBuf,
        /// The mode that SQLite answered.
        mode: String,
    },
    /// Another process replicates this database already.
    #[error("meta directory {} is in use by another replicator", path.display())]
    InUse {
        /// The meta directory.
        path: PathBuf,
    },
    /// A file that SQLite must not see under our hands was changed by something else; the next step starts afresh.
    #[error("database {} changed underneath: {what}", path.display())]
    Changed {
        /// The database file.
        path: PathBuf,
        /// What was seen.
        what: &'static str,
    },
    /// Files of the meta directory are gone; the position must be taken from the replica again.
    #[error("local state of {} is gone", path.display())]
    LocalStateLost {
        /// The meta directory.
        path: PathBuf,
    },
    /// The application held a lock for longer than the busy timeout.
    #[error("database {} is locked", path.display())]
    Busy {
        /// The database file.
        path: PathBuf,
    },
    /// An application uses a WAL or wal-index that was deleted. To open another beside it would tear the database.
    #[error("the -wal or -shm file of {} was deleted while an application uses it", path.display())]
    IndexRemoved {
        /// The database file.
        path: PathBuf,
    },
    /// The database was replaced, and an application still uses what was there before: the file, its content or its sidecars.
    #[error("{} or its -shm file was replaced while an application still uses the old one", path.display())]
    LeftInUse {
        /// The database file.
        path: PathBuf,
    },
    /// An application has the database for itself.
    #[error("database {} is locked exclusively by an application", path.display())]
    ExclusiveLock {
        /// The database file.
        path: PathBuf,
    },
    /// We may not write to the database, and so would leave sidecars that its owner cannot write.
    #[error("database {} (mode {mode:04o}, user {owner}) cannot be written by user {user}", path.display())]
    NotPermitted {
        /// The database file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Our locks would be those of the process, as are the application's: letting go of ours would take away theirs.
    #[error("open-file locks do not work on {}, so it cannot be replicated by the process that uses it", path.display())]
    ProcessLocks {
        /// The database file.
        path: PathBuf,
    },
    /// SQLite cannot keep two connections apart there.
    #[error("the file system of {} has no file locks", path.display())]
    NoLocks {
        /// The database file.
        path: PathBuf,
    },
    /// A pass over all pages was ended by [`Database::cancel`](crate::Database::cancel).
    #[error("the pass over all pages of {} was ended before it was complete", path.display())]
    Cancelled {
        /// The database file.
        path: PathBuf,
    },
    /// There is no transaction identifier left.
    #[error("transaction {txid} has no successor")]
    TxIdExhausted {
        /// The last one.
        txid: TxId,
    },
    /// An operating system call failed.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot {op} database {}: {source}", path.display())]
    Sqlite {
        /// What was tried.
        op: &'static str,
        /// The database file.
        path: PathBuf,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// The WAL cannot be read.
    #[error("cannot read the wal of {}: {source}", path.display())]
    Wal {
        /// The database file.
        path: PathBuf,
        /// Why not.
        source: wal::Error,
    },
    /// An LTX file cannot be read or written.
    #[error("cannot process ltx file {}: {source}", path.display())]
    Ltx {
        /// The LTX file.
        path: PathBuf,
        /// Why not.
        source: ltx::Error,
    },
}

impl Error {
    /// Whether trying again later can help without anyone doing anything.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::ExclusiveLock { .. } => true,
            Self::Sqlite { source, .. } => is_busy(source),
            _ => false,
        }
    }

    /// Whether the files are not those that were opened, or make no sense.
    pub(crate) fn asks_for_opening_anew(&self) -> bool {
        matches!(self, Self::Changed { .. }) || self.is_corrupt()
    }

    /// Whether what was read makes no sense, as where one file was copied over another, or is being copied.
    pub(crate) fn is_corrupt(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Sqlite { source, .. } => {
                matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
                    || source.sqlite_extended_error_code() == Some(rusqlite::ffi::SQLITE_IOERR_SHORT_READ)
            }
            Self::Wal { source, .. } => !matches!(source, wal::Error::Io { .. }),
            Self::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        }
    }

    /// A file did not get its name.
    pub(crate) fn not_committed(error: durable::NotCommitted) -> Self {
        Self::Io { op: error.op, path: error.path, source: error.source }
    }

    /// Whether the disk is full, or a quota reached.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_disk_full(source),
            Self::Ltx { source: ltx::Error::Io(source), .. } => is_disk_full(source),
            Self::Sqlite { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// SQLite's "somebody else has the lock" in all its forms.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

/// Says what was tried, and on which file.
pub(crate) trait Context<T> {
    fn context(self, op: &'static str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, op: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { op, path: path.to_owned(), source })
    }
}

impl<T> Context<T> for rusqlite::Result<T> {
    fn context(self, op: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Sqlite { op, path: path.to_owned(), source })
    }
}

impl<T> Context<T> for ltx::Result<T> {
    fn context(self, _op: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Ltx { path: path.to_owned(), source })
    }
}

impl<T> Context<T> for wal::Result<T> {
    fn context(self, _op: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Wal { path: path.to_owned(), source })
    }
}
