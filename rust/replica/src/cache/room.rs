//! How much is in the directory of a cache, and what goes when it is too much.
//!
//! The file `usage` has how many bytes there are, in decimal digits, as far as is known. Each process adds what it has written, a
//! little at a time, under a lock of the file `lock`, which nobody waits for. A process that dies does so with a little that was not
//! added. So each process counts what is really there when it adds for the first time.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use crate::cache::names::{is_ours, is_replica};

/// What a file takes at least, in bytes: small ones are most of what there may be.
const LEAST: u64 = 4096;

/// After the eviction, sixteenths of the limit are left.
const LEFT: u64 = 14;

/// The room of one cache.
pub(crate) struct Room {
    path: PathBuf,
    limit: u64,
    /// Bytes that were written and not yet added.
    written: AtomicU64,
    has_counted: AtomicBool,
}

/// A file of the cache.
struct Entry {
    used: SystemTime,
    size: u64,
    path: PathBuf,
}

impl Room {
    pub(crate) fn new(path: &Path, limit: u64) -> Self {
        Self { path: path.to_owned(), limit, written: AtomicU64::new(0), has_counted: AtomicBool::new(false) }
    }

    /// Whether a file of so many bytes may be written. Makes room if there is too much by then.
    pub(crate) fn reserve(&self, bytes: u64) -> io::Result<bool> {
        let bytes = taken(bytes);
        let written = self.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Others may be adding or evicting for a while. Who would write too much until then writes nothing.
        let may = written < self.step() || self.settle(Some(bytes))? || written <= 4 * self.step() + bytes;
        if !may {
            // Another thread may have added it meanwhile, which is no harm.
            let less = |written: u64| Some(written.saturating_sub(bytes));
            let _ = self.written.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        Ok(may)
    }

    /// How much may be written before it is added.
    fn step(&self) -> u64 {
        self.limit / 64
    }

    /// Adds what was written to what others have; false if somebody else does so at this moment. `next` bytes are about to be written,
    /// or nothing is.
    fn settle(&self, next: Option<u64>) -> io::Result<bool> {
        let lock = open_lock(&self.path.join("lock"))?;
        if lock.try_lock().is_err() {
            return Ok(false);
        }
        let written = self.written.swap(0, Ordering::Relaxed);
        let known = read_number(&self.path.join("usage"));
        let may_believe = next.is_none() || self.has_counted.load(Ordering::Relaxed);
        let mut usage = match known.filter(|_| may_believe) {
            Some(known) => known.saturating_add(written),
            None => self.count()?.saturating_add(next.unwrap_or(0)),
        };
        if usage > self.limit - self.step() {
            usage = self.evict()?.saturating_add(next.unwrap_or(0));
        }
        // Not in place: what a power failure leaves is a number, or none.
        let staged = self.path.join("usage.new");
        // One of a process that was killed. Whatever it is, it is not followed.
        drop(fs::remove_file(&staged));
        durable::create_new(&staged, 0o600)?.write_all(usage.to_string().as_bytes())?;
        fs::rename(staged, self.path.join("usage"))?;
        Ok(true)
    }

    /// What is really there.
    fn count(&self) -> io::Result<u64> {
        self.has_counted.store(true, Ordering::Relaxed);
        Ok(self.entries()?.iter().map(|entry| entry.size).sum())
    }

    /// Removes what was not used for the longest time; how much is left.
    fn evict(&self) -> io::Result<u64> {
        let mut entries = self.entries()?;
        entries.sort_by_key(|entry| entry.used);
        let mut usage: u64 = entries.iter().map(|entry| entry.size).sum();
        let mut failed = None;
        for entry in entries {
            if usage <= self.limit / 16 * LEFT {
                break;
            }
            match fs::remove_file(&entry.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => failed = Some(error),
                _ => usage -= entry.size,
            }
        }
        // What cannot be removed is no trouble while there is room without it.
        failed.filter(|_| usage > self.limit).map_or(Ok(usage), Err)
    }

    /// The blocks of all replicas, and nothing else that may be there.
    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for folder in fs::read_dir(&self.path)? {
            let folder = folder?;
            if !folder.file_name().to_str().is_some_and(is_replica) {
                continue;
            }
            // A link is none, and what cannot be read is not written to either.
            if !folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                // One that goes at this moment is none any more.
                let found = file.metadata().ok().filter(Metadata::is_file);
                if let Some(found) = found.filter(|_| file.file_name().to_str().is_some_and(is_ours)) {
                    entries.push(Entry { used: used(&found), size: taken(found.len()), path: file.path() });
                }
            }
        }
        Ok(entries)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.written.load(Ordering::Relaxed) > 0 {
            // What cannot be added is counted by the next one.
            drop(self.settle(None));
        }
    }
}

fn taken(bytes: u64) -> u64 {
    bytes.next_multiple_of(LEAST)
}

fn used(found: &Metadata) -> SystemTime {
    found.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A number from a file; none if there is none, or anything else.
fn read_number(path: &Path) -> Option<u64> {
    let mut text = String::new();
    durable::open_plain(path).ok()??.take(64).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn open_lock(path: &Path) -> io::Result<File> {
    match durable::create_new(path, 0o600) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => durable::open_left(path)?.ok_or(error),
        created => created,
    }
}
