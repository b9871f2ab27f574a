//! Blocks of files in a directory.
//!
//! A block is a file `<replica>/<level>-<first TXID>-<last TXID>-<size>-<time>.<number>`, all in hexadecimal digits: its bytes, and
//! behind them a checksum of its name and its bytes. It appears by a rename and is not synced: after a power failure it may be torn,
//! which the checksum tells. Its modification time is that of its last use, more or less.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ltx::{FileHasher, Trailer};

use crate::cache::names::{STAGED, block_name as name};
use crate::cache::place;
use crate::cache::room::Room;
use crate::client::FileInfo;

/// Bytes of a file that are one block; the last one of a file has fewer. A unit of a restore is four of them, and what two units
/// share is little.
pub(crate) const BLOCK: u64 = 256 << 10;

/// The checksum behind the bytes.
const SUM: usize = 8;

/// A block that was used so long ago is marked as used.
const FRESH: Duration = Duration::from_secs(60);

/// The blocks of one replica in a directory, which those of other replicas share.
pub struct Blocks {
    folder: PathBuf,
    replica: String,
    room: Room,
    /// Whether the directory is a cache.
    is_usable: bool,
    /// Not after the first failure.
    may_write: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl Blocks {
    /// Uses the directory `path`, which is created if it is missing, for up to `limit` bytes in all. One that holds anything and is not
    /// marked as a cache is not used, nor is one that others may write to.
    ///
    /// `replica` tells replicas apart: 32 hexadecimal digits. It is the name of a directory in `path`.
    pub fn new(path: &Path, limit: u64, replica: &str) -> Self {
        let taken = place::take(path, replica);
        let blocks = Self {
            folder: path.join(replica),
            replica: replica.to_owned(),
            room: Room::new(path, limit),
            is_usable: taken.is_ok(),
            may_write: AtomicBool::new(true),
            trouble: Mutex::default(),
        };
        blocks.note(taken);
        blocks
    }

    /// Why the cache cannot be used or written, if it cannot; once.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A block, if it is there and sound.
    pub(crate) fn get(&self, info: &FileInfo, number: u64) -> Option<Vec<u8>> {
        if !self.is_usable {
            return None;
        }
        let name = name(info, number);
        let path = self.folder.join(&name);
        let mut file = durable::open_plain(&path).ok()??;
        let mut bytes = Vec::with_capacity(length(info, number) + SUM + 1);
        // One byte more than there should be, so that a file that is too long is noticed.
        let read = (&mut file).take((length(info, number) + SUM + 1) as u64).read_to_end(&mut bytes);
        if read.is_err() || !self.is_sound(&name, &bytes, length(info, number)) {
            drop(fs::remove_file(&path));
            return None;
        }
        bytes.truncate(length(info, number));
        mark_used(&file);
        Some(bytes)
    }

    /// Whether a block is there, sound or not.
    pub(crate) fn has(&self, info: &FileInfo, number: u64) -> bool {
        let found = || fs::symlink_metadata(self.folder.join(name(info, number)));
        self.is_usable && found().is_ok_and(|found| found.is_file())
    }

    /// The last bytes of a file, as many as a trailer has or as its last block has, and where they begin; `None` if that block is not there.
    pub(crate) fn end(&self, info: &FileInfo) -> Option<(u64, Vec<u8>)> {
        let number = info.size.checked_sub(1)? / BLOCK;
        let mut block = self.get(info, number)?;
        let end = block.split_off(block.len().saturating_sub(Trailer::SIZE));
        Some((info.size - end.len() as u64, end))
    }

    /// Removes every block of the replica.
    pub(crate) fn remove_all(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            drop(fs::remove_file(entry.path()));
        }
    }

    /// Stores a block, if that is possible.
    pub(crate) fn put(&self, info: &FileInfo, number: u64, bytes: &[u8]) {
        if self.may_write.load(Ordering::Relaxed) {
            let may_write = self.room.reserve((bytes.len() + SUM) as u64);
            if self.note(may_write) == Some(true) {
                self.note(self.store(&name(info, number), bytes));
            }
        }
    }

    /// Removes a block.
    pub(crate) fn remove(&self, info: &FileInfo, number: u64) {
        if self.is_usable {
            drop(fs::remove_file(self.folder.join(name(info, number))));
        }
    }

    fn store(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let staged = self.folder.join(format!("{STAGED}{}-{number}", process::id()));
        // One of a process that had this number before us.
        drop(fs::remove_file(&staged));
        let written = durable::create_new(&staged, 0o600).and_then(|mut file| {
            file.write_all(bytes)?;
            file.write_all(&self.sum(name, bytes))
        });
        let path = self.folder.join(name);
        let done = written.and_then(|()| fs::rename(&staged, &path));
        if done.is_err() {
            drop(fs::remove_file(&staged));
        }
        // A directory in the way is in the way of this one alone.
        done.or_else(|error| if path.is_dir() { Ok(()) } else { Err(error) })
    }

    fn is_sound(&self, name: &str, bytes: &[u8], length: usize) -> bool {
        bytes.len() == length + SUM
            && bytes.split_at_checked(length).is_some_and(|(data, sum)| sum == self.sum(name, data))
    }

    fn sum(&self, name: &str, bytes: &[u8]) -> [u8; SUM] {
        let mut hasher = FileHasher::new();
        hasher.update(self.replica.as_bytes());
        hasher.update(name.as_bytes());
        hasher.update(bytes);
        hasher.finish().to_le_bytes()
    }

    /// Notes why something failed, and lets nothing be written any more.
    fn note<T>(&self, done: io::Result<T>) -> Option<T> {
        done.map_err(|error| {
            if self.may_write.swap(false, Ordering::Relaxed) {
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
        })
        .ok()
    }
}

/// How many bytes a block has.
pub(crate) fn length(info: &FileInfo, number: u64) -> usize {
    let rest = info.size.saturating_sub(number.saturating_mul(BLOCK));
    usize::try_from(rest.min(BLOCK)).unwrap_or_default()
}

/// Says that a block was used, unless that was said a moment ago.
#[expect(
    clippy::disallowed_methods,
    reason = "the clock of the file system, so to speak; nothing but the order of eviction depends on it"
)]
fn mark_used(file: &fs::File) {
    let now = SystemTime::now();
    let modified = file.metadata().and_then(|found| found.modified());
    if modified.is_ok_and(|time| now.duration_since(time).is_ok_and(|age| age > FRESH)) {
        // Of a directory that can only be read the order stays as it is.
        drop(file.set_modified(now));
    }
}
