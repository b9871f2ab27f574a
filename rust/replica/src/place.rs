//! Names of files, places and states of a replica, for results, errors and messages.

use std::fmt;
use std::path::{Path, PathBuf};

use ltx::{Timestamp, TxId};

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

/// A state that can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestorePoint {
    /// The transaction after which the database was in this state.
    pub txid: TxId,
    /// When it was made: the earliest time that a file ending with this transaction gives.
    pub created_at: Timestamp,
}

/// The next transaction; the last possible one has none.
pub(crate) fn after(txid: TxId) -> TxId {
    txid.next().unwrap_or(txid)
}

/// The transaction before.
pub(crate) fn before(txid: TxId) -> TxId {
    TxId::new(txid.get().saturating_sub(1))
}
