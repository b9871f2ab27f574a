//! What can be wrong with a v0.3 replica.

use std::io;

use ltx::Timestamp;

use crate::names::{Generation, format_segment};

const WAL_HEADER: u64 = 32;

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong with a v0.3 replica.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no generation, or not the one that was asked for.
    #[error("no generation{}", .generation.map(|id| format!(" {id}")).unwrap_or_default())]
    NoGeneration {
        /// The one that was asked for.
        generation: Option<Generation>,
    },
    /// There is no snapshot to begin with.
    #[error("no snapshots{}", .first.map(|first| format!(" up to there: the oldest one is of {}", replica::utc(first))).unwrap_or_default())]
    NoSnapshot {
        /// When the oldest one was made, if there is one.
        first: Option<Timestamp>,
    },
    /// A WAL is not there, or lacks a segment.
    #[error(
        "a WAL segment is missing: expected {generation}/{index:08x}:{offset}, found {found_index:08x}:{found_offset}"
    )]
    MissingSegment {
        /// Of this generation.
        generation: Generation,
        /// The WAL that should go on, or begin.
        index: u32,
        /// Where.
        offset: u64,
        /// The WAL that the next segment is of.
        found_index: u32,
        /// Where that segment begins.
        found_offset: u64,
    },
    /// The history ends before the WAL that is wanted.
    #[error("{generation} has no WAL {index:08x}: the last one is {last:08x}")]
    NoWal {
        /// Of this generation.
        generation: Generation,
        /// The WAL that is wanted.
        index: u32,
        /// The last one that there is.
        last: u32,
    },
    /// An object is not what it should be.
    #[error("damaged file: {key}: {what}")]
    Damaged {
        /// Its name in the replica.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// An object could not be read.
    #[error("cannot read {key}")]
    Storage {
        /// Its name in the replica.
        key: String,
        /// What the storage said.
        source: io::Error,
    },
    /// The restored database could not be written.
    #[error("cannot write the database")]
    Output(#[source] io::Error),
    /// The restored database could not be put in place.
    #[error(transparent)]
    Place(#[from] replica::Error),
    /// The caller has called it off.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(crate) fn damaged(key: &str, what: impl ToString) -> Self {
        Self::Damaged { key: key.to_owned(), what: what.to_string() }
    }

    /// An error of reading an object: of the storage, or of its content.
    pub(crate) fn of_read(key: &str, source: io::Error) -> Self {
        match source.downcast::<Self>() {
            Ok(own) => own,
            Err(source) if source.kind() == io::ErrorKind::InvalidData => Self::damaged(key, source),
            Err(source) => Self::Storage { key: key.to_owned(), source },
        }
    }

    /// Whether something is wrong with what is stored, so that reading it again will not help.
    pub(crate) fn is_of_content(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::MissingSegment { .. } => true,
            Self::Storage { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// The same without objects that are gone since they were listed: these may have been deleted because they are old.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::MissingSegment { .. })
    }

    /// The name of the object that is damaged or missing.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Damaged { key, .. } | Self::Storage { key, .. } => Some(key.clone()),
            Self::MissingSegment { generation, index, offset, .. } => {
                // Behind the header of a WAL is its first segment, too.
                let offset = if *offset <= WAL_HEADER { 0 } else { *offset };
                Some(generation.wal_folder() + &format_segment(*index, offset))
            }
            _ => None,
        }
    }

    /// What is wrong with it, without its name.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Damaged { what, .. } => what.clone(),
            Self::Storage { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }
}
