//! What a client says about where its files are.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_ranges::Source;

use crate::client::FileInfo;
use crate::error::Result;
use crate::object_store::Span;
use crate::place::FileKey;

/// Where one file can be read.
#[derive(Clone, Debug)]
pub enum Spot {
    /// By its client alone.
    Client,
    /// In a file of this machine.
    Path(PathBuf),
    /// Behind a URL, for so long.
    Url(Arc<Source>, Duration),
}

impl Spot {
    /// Whether both are the same answer of the client.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Client, Self::Client) => true,
            (Self::Path(one), Self::Path(other)) => one == other,
            (Self::Url(one, _), Self::Url(other, _)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// A client that knows where its files are.
pub trait Locate: Send + Sync + 'static {
    /// As [`ReplicaClient::client_type`](crate::ReplicaClient::client_type).
    fn client_type(&self) -> &str;

    /// Where a file is, whether it is there or not.
    ///
    /// # Errors
    /// Whatever keeps the client from knowing.
    fn locate(&self, file: FileKey) -> Result<Spot>;

    /// Opens a file by means of the client's own.
    ///
    /// # Errors
    /// As [`ReplicaClient::open_ltx_file`](crate::ReplicaClient::open_ltx_file).
    fn open(&self, info: &FileInfo, span: Span) -> Result<Box<dyn Read + Send>>;

    /// Called when a file is left to the client, though it has said where it is.
    fn gave_up(&self, file: FileKey, reason: &http_ranges::Error);
}
