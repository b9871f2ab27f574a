//! What a kind of storage has to offer to hold a replica.

use std::io::Read;
use std::path::Path;

use ltx::{SNAPSHOT_LEVEL, Timestamp, TxId};

use crate::error::{Error, Result};
use crate::place::{FileKey, Place, after};
use crate::source::open_source;

/// One LTX file of a replica, as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileInfo {
    /// Level: 0 as written, 1 to 8 compacted, 9 snapshots.
    pub level: u8,
    /// First TXID of the file.
    pub min_txid: TxId,
    /// Last TXID of the file.
    pub max_txid: TxId,
    /// Size in bytes.
    pub size: u64,
    /// When the newest transaction in it was made, as well as the listing knows.
    pub created_at: Timestamp,
}

impl FileInfo {
    /// The file's name within its replica.
    pub fn key(&self) -> FileKey {
        FileKey { level: self.level, min_txid: self.min_txid, max_txid: self.max_txid }
    }

    /// Whether no transaction lies between `reached` and this file.
    pub fn continues(&self, reached: TxId) -> bool {
        self.min_txid <= after(reached)
    }

    /// Whether it has transactions after `reached`.
    pub fn leads_beyond(&self, reached: TxId) -> bool {
        self.max_txid > reached
    }
}

/// A place where LTX files are kept. All calls block, and may come from several threads at once.
///
/// Clients of other languages can let their own errors travel through unchanged: see [`Error::foreign`] and,
/// for readers, [`Error::into_io`].
pub trait ReplicaClient: Send + Sync {
    /// Kind of storage in one word, for messages.
    fn client_type(&self) -> &str;

    /// Whether files are read from this machine's own disks: a read that is short or fails there is not repeated.
    fn is_local(&self) -> bool {
        false
    }

    /// Whether files are read from a server without the client, so that it makes no difference to it how many are read at once.
    fn is_direct(&self) -> bool {
        false
    }

    /// Which replica this is, for messages: a path or a URL.
    fn location(&self) -> String {
        format!("{} replica", self.client_type())
    }

    /// Whether there is a place at all where the files would be; true where only a listing can tell.
    fn exists(&self) -> bool {
        true
    }

    /// Connects and checks what can be checked. Calling it again does nothing.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn init(&self) -> Result<()>;

    /// Lists the files of `level` whose first TXID is at or above `seek`, in ascending order.
    ///
    /// Names that are not LTX file names are skipped; a level that does not exist is empty. With
    /// `use_metadata`, `created_at` is the timestamp of the file's header as far as it can be had,
    /// otherwise whatever the listing shows.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn ltx_files(&self, level: u8, seek: TxId, use_metadata: bool) -> Result<Vec<FileInfo>>;

    /// Lists the files of every level; see [`ReplicaClient::ltx_files`]. Lower levels are listed before higher ones: a file that
    /// is merged meanwhile is missing in both only if it is the other way around.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn all_ltx_files(&self, use_metadata: bool) -> Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        for level in 0..=SNAPSHOT_LEVEL {
            files.extend(self.ltx_files(level, TxId::NONE, use_metadata)?);
        }
        Ok(files)
    }

    /// Opens a file at `offset` (bytes) for at most `size` bytes, or to its end.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file; whatever the storage reports.
    fn open_ltx_file(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Box<dyn Read + Send>>;

    /// Reads a file from `offset` (bytes), at most `size` bytes or to its end.
    ///
    /// # Errors
    /// As [`ReplicaClient::open_ltx_file`].
    fn read_ltx_file(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_ltx_file(info, offset, size)?
            .read_to_end(&mut bytes)
            .map_err(|source| Error::from_io(Place::file(self.client_type(), info.key()), source))?;
        Ok(bytes)
    }

    /// Stores all that `data` yields as one file; its time becomes the timestamp in the header.
    ///
    /// Nothing may be stored when `data` fails. Where the storage can, files below the snapshot level are
    /// created only if absent: the same content again is success.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the name is taken by other content; whatever the storage or `data` reports.
    fn write_ltx_file(
        &self,
        level: u8,
        min_txid: TxId,
        max_txid: TxId,
        data: &mut dyn Read,
    ) -> Result<FileInfo>;

    /// Stores the local file `path`; see [`ReplicaClient::write_ltx_file`].
    ///
    /// # Errors
    /// As [`ReplicaClient::write_ltx_file`], and what opening `path` reports.
    fn write_ltx_path(&self, level: u8, min_txid: TxId, max_txid: TxId, path: &Path) -> Result<FileInfo> {
        let key = FileKey { level, min_txid, max_txid };
        let place = || Place::file(self.client_type(), key).with_path(path);
        let mut file = open_source(path).map_err(|source| Error::from_io(place(), source))?;
        self.write_ltx_file(level, min_txid, max_txid, &mut file)
    }

    /// Deletes files; those that are not there are no error.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn delete_ltx_files(&self, files: &[FileInfo]) -> Result<()>;

    /// Deletes everything under the replica's prefix.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn delete_all(&self) -> Result<()>;
}
