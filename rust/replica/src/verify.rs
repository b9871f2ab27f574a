//! Reads every file of a replica, to know whether what it says to hold can be restored.
//!
//! Of each file every byte counts: its frames, its page index, its checksum, and that it holds the transactions of its name. Then the
//! chain that a restore of the newest state would read has to be whole, and to be of those that are sound. Nothing is written, and
//! memory does not depend on the sizes of files.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use ltx::{Decoder, TxId};

use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::head::MIN_FILE;
use crate::history::{History, Obstacle, holes, too_short};
use crate::merge::Input;
use crate::place::FileKey;
use crate::range::{RangeReader, RetryPolicy};
use crate::restore::{MOST_WORKERS, Progress};

/// The longest read, in bytes.
const BLOCK: usize = 1 << 20;

/// How often progress is reported, and the cancel flag looked at.
const TICK: Duration = Duration::from_millis(50);

/// How files are verified.
#[derive(Clone, Copy, Default)]
pub struct VerifyOptions<'a> {
    /// How many files are read at once, 1 to 12.
    pub parallelism: usize,
    /// How broken reads of remote files are taken up again.
    pub retry: RetryPolicy,
    /// Called on the calling thread, about twenty times a second, and once at the end.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    /// Set by anybody to stop; that is [`Error::Cancelled`].
    pub cancel: Option<&'a AtomicBool>,
}

/// What was found.
#[derive(Debug)]
pub struct Verified {
    /// How many files were read.
    pub files: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// Files that are damaged, with what is wrong with each.
    pub damaged: Vec<(FileInfo, Error)>,
    /// Files that could not be read, which may be sound.
    pub unread: Vec<(FileInfo, Error)>,
    /// Levels that lack transactions between two of their files: the last one before, and the next file. Other levels may have them.
    pub holes: Vec<(TxId, FileKey)>,
    /// The last transaction that a restore of the newest state comes to, by sound files.
    pub txid: TxId,
    /// What keeps it from coming further, if anything does.
    pub obstacle: Option<Obstacle>,
}

/// Reads every file that a listing shows. Files that are deleted before they are read are left out, as are those that come later.
///
/// # Errors
/// - [`Error::EmptyReplica`]: there is nothing.
/// - [`Error::Cancelled`], and what a listing fails with.
pub fn verify(client: &dyn ReplicaClient, options: &VerifyOptions<'_>) -> Result<Verified> {
    let history = History::read(client, false)?;
    let mut files: Vec<FileInfo> = history.all().copied().collect();
    if files.is_empty() {
        return Err(Error::EmptyReplica { location: client.location(), exists: client.exists() });
    }
    files.sort_unstable_by_key(FileInfo::key);
    let found = Reading::new(client, &files, options.retry).run(options)?;
    let gone = found.gone.iter().map(FileInfo::key).collect();
    conclude(client, &files, found, &gone)
}

/// Puts together what was found. What is gone was merged, or is missing: the files of now tell.
fn conclude(
    client: &dyn ReplicaClient,
    files: &[FileInfo],
    found: Found,
    gone: &HashSet<FileKey>,
) -> Result<Verified> {
    let read: Vec<FileInfo> = files.iter().filter(|file| !gone.contains(&file.key())).copied().collect();
    let history =
        if gone.is_empty() { History::new(read.iter().copied()) } else { History::read(client, false)? };
    let unsound = found.damaged.iter().chain(&found.unread).map(|(file, _)| file.key()).collect();
    let reach = history.reach(&unsound);
    let mut lacking = Vec::new();
    for level in 0..ltx::SNAPSHOT_LEVEL {
        let files = history.level(level);
        for have in holes(files) {
            lacking.extend(files.iter().find(|file| file.min_txid > have).map(|next| (have, next.key())));
        }
    }
    Ok(Verified {
        files: read.len(),
        bytes: read.iter().fold(0, |sum, file| sum.saturating_add(file.size)),
        damaged: found.damaged,
        unread: found.unread,
        holes: lacking,
        txid: reach.txid,
        obstacle: reach.obstacle,
    })
}

/// What became of each file.
#[derive(Default)]
struct Found {
    damaged: Vec<(FileInfo, Error)>,
    unread: Vec<(FileInfo, Error)>,
    gone: Vec<FileInfo>,
}

/// Reads files side by side.
struct Reading<'a> {
    client: &'a dyn ReplicaClient,
    files: &'a [FileInfo],
    retry: RetryPolicy,
    stop: AtomicBool,
    next: AtomicUsize,
    bytes: AtomicU64,
    done: AtomicUsize,
    found: Mutex<Found>,
}

impl<'a> Reading<'a> {
    fn new(client: &'a dyn ReplicaClient, files: &'a [FileInfo], retry: RetryPolicy) -> Self {
        Self {
            client,
            files,
            retry,
            stop: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            found: Mutex::default(),
        }
    }

    fn run(self, options: &VerifyOptions<'_>) -> Result<Found> {
        let workers = options.parallelism.clamp(1, MOST_WORKERS).min(self.files.len());
        let (left, caller) = (AtomicUsize::new(workers), thread::current());
        let work = || {
            let _leaving = Leaving { left: &left, caller: &caller };
            self.work();
        };
        thread::scope(|scope| {
            for _ in 0..workers {
                forks::between_forks(|| scope.spawn(work));
            }
            while left.load(Ordering::Acquire) > 0 {
                self.report(options);
                if options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                    self.stop.store(true, Ordering::Relaxed);
                }
                thread::park_timeout(TICK);
            }
        });
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        self.report(options);
        let mut found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.damaged.sort_unstable_by_key(|(file, _)| file.key());
        found.unread.sort_unstable_by_key(|(file, _)| file.key());
        Ok(found)
    }

    fn report(&self, options: &VerifyOptions<'_>) {
        let Some(progress) = options.progress else { return };
        progress(Progress {
            bytes_done: self.bytes.load(Ordering::Relaxed),
            bytes_total: self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size)),
            files_done: self.done.load(Ordering::Relaxed) as u64,
            files_total: self.files.len() as u64,
        });
    }

    fn work(&self) {
        while let Some(file) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.check(file) {
                let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                match error {
                    error if error.is_not_found() => found.gone.push(*file),
                    error if error.is_about_content() => found.damaged.push((*file, error)),
                    error => found.unread.push((*file, error)),
                }
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn check(&self, file: &FileInfo) -> Result<()> {
        if file.size < MIN_FILE {
            return Err(too_short(file));
        }
        let reader = RangeReader { client: self.client, retry: self.retry, cancel: &self.stop };
        let input = Counted { input: Input::new(reader, *file, BLOCK), bytes: &self.bytes };
        decode(input, file).map_err(|error| Error::in_file(self.client.client_type(), file.key(), error))?
    }
}

/// A worker that ends, in whatever way.
struct Leaving<'a> {
    left: &'a AtomicUsize,
    caller: &'a Thread,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.left.fetch_sub(1, Ordering::Release);
        self.caller.unpark();
    }
}

/// Counts what is read.
struct Counted<'a> {
    input: Input<'a>,
    bytes: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buf)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Goes through one file. The inner error is about its name.
fn decode(input: Counted<'_>, file: &FileInfo) -> std::result::Result<Result<()>, ltx::Error> {
    let mut decoder = Decoder::new(input)?;
    let header = *decoder.header();
    let mut page = vec![0; header.page_size.bytes()];
    while decoder.next_page(&mut page)?.is_some() {}
    decoder.finish()?;
    let (min, max) = (header.min_txid, header.max_txid);
    if (min, max) == (file.min_txid, file.max_txid) {
        return Ok(Ok(()));
    }
    Ok(Err(Error::WrongTransactions { file: file.key(), min, max }))
}
