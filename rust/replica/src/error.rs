//! The one error type of the crate: what failed, on which client, level and TXID range.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ltx::{Checksum, PageCount, Pgno, TxId};

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Names one LTX file of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// Level, 0 to 9.
    pub level: u8,
    /// First TXID of the file.
    pub min_txid: TxId,
    /// Last TXID of the file.
    pub max_txid: TxId,
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {}, transactions {}-{}", self.level, self.min_txid, self.max_txid)
    }
}

/// Where in a replica an operation failed; what is unknown is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Kind of storage, as [`ReplicaClient::client_type`](crate::ReplicaClient::client_type) gives it.
    pub client_type: String,
    /// Level the operation was about.
    pub level: Option<u8>,
    /// TXID range of the file the operation was about.
    pub txids: Option<(TxId, TxId)>,
    /// Path of that file or directory, for clients that have paths.
    pub path: Option<PathBuf>,
}

impl Place {
    /// A place with nothing but the kind of storage.
    pub fn client(client_type: &str) -> Self {
        Self { client_type: client_type.to_owned(), ..Self::default() }
    }

    /// The place of one file.
    pub fn file(client_type: &str, key: FileKey) -> Self {
        let txids = Some((key.min_txid, key.max_txid));
        Self { level: Some(key.level), txids, ..Self::client(client_type) }
    }

    /// The same place with a path.
    #[must_use]
    pub fn with_path(self, path: &Path) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} replica", self.client_type)?;
        if let Some(level) = self.level {
            write!(f, ", level {level}")?;
        }
        if let Some((min, max)) = self.txids {
            write!(f, ", transactions {min}-{max}")?;
        }
        match &self.path {
            Some(path) => write!(f, " ({})", path.display()),
            None => Ok(()),
        }
    }
}

/// Everything that can go wrong with a replica, a plan or a restore.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The replica has no such file.
    #[error("no such file: {place}")]
    NotFound {
        /// What was looked for.
        place: Box<Place>,
        /// What the storage said.
        source: io::Error,
    },
    /// The storage refused the operation.
    #[error("permission denied: {place}")]
    Permission {
        /// What was refused.
        place: Box<Place>,
        /// What the storage said.
        source: io::Error,
    },
    /// Somebody else has already stored other content under this name.
    #[error("another writer stored a different file: {place}")]
    Conflict {
        /// The name both wanted.
        place: Box<Place>,
    },
    /// The storage did not answer in time.
    #[error("timed out: {place}")]
    Timeout {
        /// What was waited for.
        place: Box<Place>,
        /// What the storage said.
        source: io::Error,
    },
    /// Any other failure of the storage.
    #[error("storage failed: {place}")]
    Io {
        /// What failed.
        place: Box<Place>,
        /// What the storage said.
        source: io::Error,
    },
    /// An error of a client written elsewhere, carried through unchanged.
    #[error("the replica client failed")]
    Foreign {
        /// Whether the same request may succeed when it is made again.
        transient: bool,
        /// The error itself.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A file cannot even hold a header, an empty index and a trailer.
    #[error("{file} has {size} bytes, an LTX file has at least {minimum}")]
    FileTooShort {
        /// The file.
        file: FileKey,
        /// Its size in bytes.
        size: u64,
        /// The smallest possible size in bytes.
        minimum: u64,
    },
    /// A file is not a whole and sound LTX file.
    #[error("damaged file: {file}")]
    Format {
        /// The file.
        file: FileKey,
        /// What is wrong with it.
        source: ltx::Error,
    },
    /// A file holds other transactions than its name says.
    #[error("{file} holds transactions {min}-{max}")]
    WrongTransactions {
        /// The file by its name.
        file: FileKey,
        /// First TXID in the header.
        min: TxId,
        /// Last TXID in the header.
        max: TxId,
    },
    /// A file has another page size than the newest file of the plan.
    #[error("{file} has pages of {actual} bytes, expected {expected}")]
    PageSizeMismatch {
        /// The file.
        file: FileKey,
        /// Page size of the newest file in bytes.
        expected: u32,
        /// Page size of this file in bytes.
        actual: u32,
    },
    /// A file does not continue the database that the file before it leaves.
    #[error("{file} continues a database with checksum {actual}, but the one before it has {expected}")]
    NotContinued {
        /// The file.
        file: FileKey,
        /// Post-apply checksum of the file before.
        expected: Checksum,
        /// Pre-apply checksum of this file.
        actual: Checksum,
    },
    /// All files are sound, but together they do not hold every page.
    #[error("no file has page {pgno} of {commit}")]
    MissingPage {
        /// The first page that is missing.
        pgno: Pgno,
        /// Size of the database in pages.
        commit: PageCount,
    },
    /// There is nothing that a restore could start from.
    #[error("no snapshot and no file that starts with the first transaction{}", first_known(*first))]
    NoSnapshot {
        /// The lowest TXID range there is, for targets without a time.
        first: Option<(TxId, TxId)>,
    },
    /// The replica cannot restore exactly this transaction.
    #[error("transaction {txid} is not available{}", neighbours(*txid, available))]
    TxidNotAvailable {
        /// The transaction asked for.
        txid: TxId,
        /// Every transaction that can be restored, ascending.
        available: Vec<TxId>,
    },
    /// Transactions are missing in the middle.
    #[error("transactions after {have} are missing, the next file holds {next_min}-{next_max}")]
    Gap {
        /// The last transaction before the gap.
        have: TxId,
        /// First TXID of the file after the gap.
        next_min: TxId,
        /// Last TXID of the file after the gap.
        next_max: TxId,
    },
    /// Something is where the restored database should go.
    #[error("{path} already exists")]
    OutputExists {
        /// What exists: the database, or a file that SQLite would take for a part of it.
        path: PathBuf,
    },
    /// The restored database could not be written or put in place.
    #[error("cannot {op} {path}")]
    Output {
        /// What was tried.
        op: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A database that follows a replica cannot take over another page size while others read it.
    #[error("the page size has changed from {expected} to {actual} bytes")]
    PageSizeChanged {
        /// Page size of the database in bytes.
        expected: u32,
        /// Page size of the new files in bytes.
        actual: u32,
    },
    /// Only levels 1 to 8 are compacted into.
    #[error("level {level} is not compacted into")]
    Level {
        /// The level asked for.
        level: u8,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

fn first_known(first: Option<(TxId, TxId)>) -> String {
    first.map(|(min, max)| format!(", the earliest file holds {min}-{max}")).unwrap_or_default()
}

/// Names the restorable transactions on both sides of `txid`.
fn neighbours(txid: TxId, available: &[TxId]) -> String {
    let at = available.partition_point(|other| *other < txid);
    let before = at.checked_sub(1).and_then(|i| available.get(i));
    match (before, available.get(at)) {
        (None, None) => String::new(),
        (Some(one), None) | (None, Some(one)) => format!(", the nearest is {one}"),
        (Some(low), Some(high)) => format!(", the nearest are {low} and {high}"),
    }
}

impl Error {
    /// Carries an error of another library or language through this crate unchanged.
    ///
    /// `transient` says whether the same request may succeed when it is made again.
    pub fn foreign(source: impl Into<Box<dyn StdError + Send + Sync>>, transient: bool) -> Self {
        Self::Foreign { transient, source: source.into() }
    }

    /// Turns an I/O error into the variant for its kind.
    ///
    /// An error that [`Error::into_io`] packed comes out as it was, any other custom payload as
    /// [`Error::Foreign`].
    pub fn from_io(place: Place, source: io::Error) -> Self {
        let kind = source.kind();
        if source.get_ref().is_some() {
            return Self::unpack(source);
        }
        let place = Box::new(place);
        match kind {
            io::ErrorKind::NotFound => Self::NotFound { place, source },
            io::ErrorKind::PermissionDenied => Self::Permission { place, source },
            io::ErrorKind::TimedOut => Self::Timeout { place, source },
            _ => Self::Io { place, source },
        }
    }

    /// Takes the payload out of an I/O error.
    fn unpack(error: io::Error) -> Self {
        let kind = error.kind();
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(other) => Self::Foreign {
                transient: !is_final(kind),
                source: other.into_inner().unwrap_or_else(|| kind.to_string().into()),
            },
        }
    }

    /// Packs this error so that it can come out of a [`std::io::Read`]; see [`Error::from_io`].
    pub fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// Whether the same request may succeed when it is made again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Io { source, .. } => !is_final(source.kind()),
            Self::Foreign { transient, .. } => *transient,
            _ => false,
        }
    }

    /// Adds which file a decoder complained about; errors of a reader below it come out as they were.
    pub(crate) fn in_file(client_type: &str, file: FileKey, source: ltx::Error) -> Self {
        match source {
            ltx::Error::Io(source) => Self::from_io(Place::file(client_type, file), source),
            source => Self::Format { file, source },
        }
    }

    /// An operation on the restored database failed.
    pub(crate) fn output(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Output { op, path: path.to_owned(), source }
    }
}

/// Kinds that no repetition cures.
fn is_final(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied, Unsupported};
    matches!(kind, NotFound | PermissionDenied | InvalidInput | Unsupported)
}
