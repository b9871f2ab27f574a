//! What a kind of storage has to offer to hold objects: bytes under keys. It knows nothing of LTX.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use ltx::Timestamp;

/// What a storage can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// A listing is of one moment: it never lacks an object that is older than one that it has.
    pub lists_one_moment: bool,
    /// Objects are on this machine's own disks: a read that is short or fails there is not repeated.
    pub is_local: bool,
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name; parts are separated by `/`.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// The time that it was written with, if nothing has changed that since; or else when it was written.
    pub modified: Timestamp,
}

/// Part of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// How many bytes at most; `None`: to the end.
    pub size: Option<u64>,
}

/// What happens to an object that has the key already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfTaken {
    /// The new one takes its place.
    Replace,
    /// It stays: the same bytes again are success, and others are refused.
    Keep,
}

/// Where the bytes of an object can be read without its store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A file of this machine.
    Path(PathBuf),
}

/// A place where objects are kept. All calls block, and may come from several threads at once.
///
/// Errors are those of `std::io`, with `NotFound` for an object that is not there; those of data that is to be stored go through
/// unchanged.
pub trait ObjectStore: Send + Sync {
    /// Kind of storage in one word, for messages.
    fn kind(&self) -> &str;

    /// Which store this is, for messages: a path or a URL.
    fn location(&self) -> String;

    /// Whether there is a place at all where objects would be; true where only a listing can tell.
    fn exists(&self) -> bool {
        true
    }

    /// What the storage can do.
    fn capabilities(&self) -> Capabilities;

    /// Connects, and makes durable what a listing shows under `prefixes`. Calling it again does no harm.
    ///
    /// # Errors
    /// The prefix that it failed on, if it was one, and what the storage reports.
    fn init(&self, prefixes: &[String]) -> Result<(), (Option<String>, io::Error)>;

    /// Lists the objects whose keys are `folder`, which ends in `/`, and one more part that is not below `start`, ascending. A
    /// folder that does not exist is empty.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn list(&self, folder: &str, start: &str) -> io::Result<Vec<Object>>;

    /// Opens an object.
    ///
    /// # Errors
    /// `NotFound`, and whatever the storage reports.
    fn open(&self, key: &str, span: Span) -> io::Result<Box<dyn Read + Send>>;

    /// Reads a part of an object.
    ///
    /// # Errors
    /// As [`ObjectStore::open`].
    fn read(&self, key: &str, span: Span) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(key, span)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads parts of objects; each has a result of its own.
    fn read_many(&self, parts: &[(&str, Span)]) -> Vec<io::Result<Vec<u8>>> {
        parts.iter().map(|(key, span)| self.read(key, *span)).collect()
    }

    /// Stores all that `data` yields, whole or not at all, and durably; the size in bytes.
    ///
    /// # Errors
    /// `AlreadyExists` if other bytes have the key and are to be kept; whatever the storage or `data` reports.
    fn write(&self, key: &str, data: &mut dyn Read, taken: IfTaken, time: Timestamp) -> io::Result<u64>;

    /// Stores the rest of a local file; see [`ObjectStore::write`].
    ///
    /// # Errors
    /// As [`ObjectStore::write`].
    fn write_file(&self, key: &str, file: &mut File, taken: IfTaken, time: Timestamp) -> io::Result<u64> {
        self.write(key, file, taken, time)
    }

    /// Deletes objects; those that are not there are no error. What failed, by key.
    fn delete(&self, keys: &[String]) -> Vec<(String, io::Error)>;

    /// Deletes everything.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn clear(&self) -> io::Result<()>;

    /// Where the bytes of an object can be read without us, whether it is there or not.
    fn locate(&self, key: &str) -> Option<Location> {
        let _ = key;
        None
    }
}
