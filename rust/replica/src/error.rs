//! The one error type of the crate: what failed, on which client, level and TXID range.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use ltx::{Checksum, PageCount, Pgno, Timestamp, TxId};

use crate::place::{FileKey, Place, RestorePoint};
use crate::utc::utc;

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

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
        /// What the error means for the request.
        kind: ForeignKind,
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
    /// A file ends before the size that the listing shows, however often it is read.
    #[error("{file} ends after {actual} bytes, expected {expected}")]
    ShortFile {
        /// The file.
        file: FileKey,
        /// Its size in bytes by the listing.
        expected: u64,
        /// Where it ends.
        actual: u64,
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
    /// Two files that should be used together have different page sizes.
    #[error("{file} has pages of {actual} bytes, but {other} has pages of {expected} bytes")]
    PageSizeMismatch {
        /// The file.
        file: FileKey,
        /// Page size of this file in bytes.
        actual: u32,
        /// The file that it should go with.
        other: FileKey,
        /// Page size of that one in bytes.
        expected: u32,
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
    /// A copy of the database is not what the replica has at its transaction, or nothing proves that it is.
    #[error("nothing proves that {path} is the replica's at transaction {txid}")]
    Unproved {
        /// The copy.
        path: PathBuf,
        /// Where it should be.
        txid: TxId,
    },
    /// A database stands at a later transaction than the replica.
    #[error("the database is at TXID {txid}, but the replica ends at {newest}")]
    EndsBefore {
        /// Where the database is.
        txid: TxId,
        /// Where the replica ends.
        newest: TxId,
    },
    /// The replica has later transactions than a database, but not the next one.
    #[error("the database is at TXID {txid}, and the replica goes on only at {next}")]
    ResumesLater {
        /// Where the database is.
        txid: TxId,
        /// Where the replica goes on.
        next: TxId,
    },
    /// All files are sound, but together they do not hold every page.
    #[error("no file has page {pgno} of {commit}")]
    MissingPage {
        /// The first page that is missing.
        pgno: Pgno,
        /// Size of the database in pages.
        commit: PageCount,
    },
    /// There is not one LTX file.
    #[error("{}", empty(location, *exists))]
    EmptyReplica {
        /// What was looked at, as [`ReplicaClient::location`](crate::ReplicaClient::location) gives it.
        location: String,
        /// Whether the place itself exists, as far as that is known.
        exists: bool,
    },
    /// Nothing that can be restored is from before the time asked for.
    #[error(
        "nothing from before {} can be restored, the earliest state is transaction {} of {}",
        utc(*time), earliest.txid, utc(earliest.created_at)
    )]
    TooEarly {
        /// The time asked for.
        time: Timestamp,
        /// The earliest state that can be restored.
        earliest: RestorePoint,
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
    #[error("transactions after {have} are missing, the next file is {next}")]
    Gap {
        /// The last transaction before the gap.
        have: TxId,
        /// The file after the gap.
        next: FileKey,
    },
    /// Something is where the restored database should go.
    #[error("{path} already exists")]
    OutputExists {
        /// What exists: the database, or a file that SQLite would take for a part of it.
        path: PathBuf,
    },
    /// Something that is no file is where the restored database should go.
    #[error("{path} is not a file")]
    OutputNotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// A connection has the database open that should be replaced.
    #[error("a program has {path} open")]
    OutputInUse {
        /// The database.
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

/// What an error of another library means for the request that failed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignKind {
    /// The same request may succeed when it is made again.
    Transient,
    /// What was asked for is not there.
    NotFound,
    /// It may not succeed; what it was made for may still be tried in another way.
    Final,
    /// Somebody asks for an end: nothing may be tried.
    Stop,
}

fn empty(location: &str, exists: bool) -> String {
    if exists {
        format!("the replica is empty: {location}")
    } else {
        format!("there is no replica: {location} does not exist")
    }
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
        let kind = if transient { ForeignKind::Transient } else { ForeignKind::Final };
        Self::Foreign { kind, source: source.into() }
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
            Err(other) => {
                let source = other.into_inner().unwrap_or_else(|| kind.to_string().into());
                Self::foreign(source, !is_final(kind))
            }
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
            Self::Foreign { kind, .. } => *kind == ForeignKind::Transient,
            _ => false,
        }
    }

    /// Whether files, or what they lead to, are not sound. Everything else may be different the next time.
    pub fn is_about_content(&self) -> bool {
        matches!(
            self,
            Self::Format { .. }
                | Self::FileTooShort { .. }
                | Self::ShortFile { .. }
                | Self::WrongTransactions { .. }
                | Self::PageSizeMismatch { .. }
                | Self::NotContinued { .. }
                | Self::MissingPage { .. }
                | Self::Unproved { .. }
        )
    }

    /// Whether a file is not there that a listing has shown.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Foreign { kind: ForeignKind::NotFound, .. })
    }

    /// The file that was read, if it was a single one that failed.
    pub(crate) fn file(&self) -> Option<FileKey> {
        match self {
            Self::FileTooShort { file, .. }
            | Self::ShortFile { file, .. }
            | Self::Format { file, .. }
            | Self::WrongTransactions { file, .. } => Some(*file),
            Self::Permission { place, .. } | Self::Timeout { place, .. } | Self::Io { place, .. } => {
                let (level, (min_txid, max_txid)) = place.level.zip(place.txids)?;
                Some(FileKey { level, min_txid, max_txid })
            }
            _ => None,
        }
    }

    /// Whether the reason may be that files have been merged, deleted or replaced since they were listed.
    pub(crate) fn may_be_stale(&self) -> bool {
        match self {
            Self::Foreign { kind, .. } => *kind != ForeignKind::Stop,
            Self::NotFound { .. }
            | Self::Permission { .. }
            | Self::Timeout { .. }
            | Self::Io { .. }
            | Self::FileTooShort { .. }
            | Self::ShortFile { .. }
            | Self::Format { .. }
            | Self::WrongTransactions { .. }
            | Self::PageSizeMismatch { .. }
            | Self::NotContinued { .. }
            | Self::MissingPage { .. } => true,
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
    pub fn output(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Output { op, path: path.to_owned(), source }
    }
}

/// Kinds that no repetition cures.
fn is_final(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied, Unsupported};
    matches!(kind, NotFound | PermissionDenied | InvalidInput | Unsupported)
}
