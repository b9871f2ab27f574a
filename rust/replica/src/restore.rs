//! Rebuilds a database from the files of a plan.
//!
//! Files are read side by side, newest first; a file of more than 1 MiB is cut by its page index into ranges of
//! frames that several workers decode. Pages go straight to their place in a new file beside the output, if no newer
//! file has been there before (`winners`). Meanwhile the checksums of the parts are joined to the checksum of each
//! file, which covers every byte but the compression itself, and that must expand to the right number of bytes.
//! Only when all files have proved sound, and no page is missing, the new file is made durable and takes its place
//! (`publish`). Whatever fails before that leaves no output.
//!
//! Memory does not depend on the size of the database or the number of files: each of at most twelve workers has
//! one range of about 1 MiB and one batch of pages; the file numbers of a database above 2 Mi pages go to a file.

mod file;
mod index;
mod options;
mod output;
mod publish;
mod queue;
mod winners;
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ltx::{Checksum, Header, Pos};

use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::head::{MIN_FILE, read_header};
use crate::history::Plan;
use crate::range::RangeReader;
pub use options::{LockDatabase, Prepare, Progress, RestoreOptions, Restored, Verify};
use output::{Content, Output};
use publish::{Names, RealNames};
use queue::Queue;
use winners::Winners;
use worker::{Counters, Shared, Worker};

/// More workers than this would need more memory than a restore may use.
pub const MOST_WORKERS: usize = 12;

/// How often progress is reported, and the cancel flag looked at.
const TICK: Duration = Duration::from_millis(50);

/// Restores the files of `plan` to a database at `output`, a path that need not exist yet.
///
/// The database appears under its name whole and durable, or not at all. An existing one is an error unless
/// [`RestoreOptions::overwrite`] is set, and so is a `-wal`, `-journal` or `-shm` file that SQLite would take for a
/// part of the new one. When a process dies while it replaces a database that had such files, the old one may
/// be left under the name `NAME.ltxcore-replaced`; the next restore to that place puts it back first.
///
/// # Errors
/// - [`Error::OutputExists`], [`Error::OutputNotAFile`], [`Error::Output`]: the output's place is taken or cannot be written.
/// - [`Error::OutputInUse`]: a connection has the database open that should be replaced.
/// - [`Error::FileTooShort`], [`Error::ShortFile`], [`Error::Format`], [`Error::WrongTransactions`],
///   [`Error::PageSizeMismatch`], [`Error::NotContinued`], [`Error::MissingPage`]: the files are damaged or do not belong
///   together.
/// - [`Error::NoSnapshot`]: the plan is empty.
/// - [`Error::Cancelled`], and what the client reports.
pub fn restore(
    client: &dyn ReplicaClient,
    plan: &Plan,
    output: &Path,
    options: &RestoreOptions<'_>,
) -> Result<Restored> {
    restore_with(&RealNames, client, plan, output, options)
}

/// Goes through the files of `plan` as [`restore`] does, but keeps of every page only its checksum: the file at `output`, which
/// must not exist yet, gets [`ltx::page_checksum`] of page `n` as eight big-endian bytes at offset `(n - 1) * 8`, and zeros for
/// the lock page. A database can so be compared with its replica without a second copy of it.
///
/// The file appears whole and durable, or not at all. Of the options, only `parallelism`, `retry`, `progress` and `cancel`
/// play a part.
///
/// # Errors
/// As [`restore`].
pub fn page_checksums(
    client: &dyn ReplicaClient,
    plan: &Plan,
    output: &Path,
    options: &RestoreOptions<'_>,
) -> Result<Restored> {
    let options = RestoreOptions { overwrite: false, ..*options };
    let place = publish::Place::new(&RealNames, output)?;
    place.prepare(false)?;
    let built = build(client, plan, place.output(), Content::Checksums, &options)?;
    built.report_whole(plan, &options)?;
    place.publish(built.file.path(), false)?;
    Ok(built.restored(plan))
}

fn restore_with(
    names: &dyn Names,
    client: &dyn ReplicaClient,
    plan: &Plan,
    output: &Path,
    options: &RestoreOptions<'_>,
) -> Result<Restored> {
    let place = publish::Place::new(names, output)?;
    place.prepare(options.overwrite)?;
    let lock = options.lock.filter(|_| options.overwrite);
    // Held only while names change, but who has the database open is told of before everything has been read.
    drop(place.lock(lock)?);
    let built = build(client, plan, place.output(), Content::Pages, options)?;
    options.verify.map_or(Ok(()), |verify| verify(built.file.path()))?;
    built.report_whole(plan, options)?;
    let locked = place.lock(lock)?;
    options.prepare.map_or(Ok(()), |prepare| prepare(built.file.path()))?;
    place.publish(built.file.path(), options.overwrite)?;
    drop(locked);
    Ok(built.restored(plan))
}

/// A new file that is whole and durable, but has no name of its own yet.
struct Built {
    file: Output,
    newest: Header,
    post_apply_checksum: Checksum,
    counters: Counters,
}

impl Built {
    /// Reports that everything is there. That comes before names change, so that whoever is told can still call it off.
    fn report_whole(&self, plan: &Plan, options: &RestoreOptions<'_>) -> Result<()> {
        report(&self.counters, plan, options, true);
        let is_cancelled = options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
        if is_cancelled { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// What has been made.
    fn restored(self, plan: &Plan) -> Restored {
        Restored {
            pos: Pos { txid: plan.txid, post_apply_checksum: self.post_apply_checksum },
            created_at: self.newest.timestamp,
            page_size: self.newest.page_size,
            commit: self.newest.commit,
            files: plan.files.len(),
            bytes: plan.size(),
        }
    }
}

/// Reads, verifies and writes everything.
fn build(
    client: &dyn ReplicaClient,
    plan: &Plan,
    output: &Path,
    content: Content,
    options: &RestoreOptions<'_>,
) -> Result<Built> {
    check_sizes(&plan.files)?;
    let stop = AtomicBool::new(false);
    let reader = RangeReader { client, retry: options.retry, cancel: options.cancel.unwrap_or(&stop) };
    let newest = plan.files.last().ok_or(Error::NoSnapshot { first: None })?;
    let (header, _) = read_header(newest, &mut |offset, buf| reader.read_exact(newest, offset, buf))?;
    let replaced = if options.overwrite { fs::metadata(output).ok() } else { None };
    let file = Output::create(output, content, header.page_size, replaced.as_ref())?;
    file.set_size(header.commit)?;
    let spill = || file.create_scratch();
    let winners = Winners::new(header.commit, header.page_size, content.is_sparse(), spill);
    let workers = worker_count(client, plan, options.parallelism);
    let shared = Shared {
        reader: RangeReader { cancel: &stop, ..reader },
        files: &plan.files,
        newest: header,
        queue: Queue::new(plan.files.len(), workers),
        winners: winners.map_err(|source| file.error(source))?,
        output: &file,
        counters: Counters::default(),
        links: Mutex::new(BTreeMap::new()),
    };
    run(&shared, workers, plan, options, &stop)?;
    let post_apply_checksum = check_whole(&shared)?;
    let counters = shared.counters;
    if options.rollback_journal && content == Content::Pages {
        file.use_rollback_journal()?;
    }
    file.sync()?;
    Ok(Built { file, newest: header, post_apply_checksum, counters })
}

/// Runs the workers; meanwhile this thread reports progress and listens for cancellation.
fn run(
    shared: &Shared<'_>,
    workers: usize,
    plan: &Plan,
    options: &RestoreOptions<'_>,
    stop: &AtomicBool,
) -> Result<()> {
    thread::scope(|scope| {
        for _ in 0..workers {
            forks::between_forks(|| scope.spawn(|| Worker::new(shared).run()));
        }
        let write_back = || {
            if let Err(error) = shared.output.run_writeback() {
                shared.queue.fail(error);
            }
        };
        forks::between_forks(|| scope.spawn(write_back));
        while !shared.queue.wait_idle(TICK) {
            report(&shared.counters, plan, options, false);
            if options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                shared.queue.fail(Error::Cancelled);
            }
            if shared.queue.has_failed() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        shared.output.close_writeback();
    });
    match shared.queue.take_error() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn report(counters: &Counters, plan: &Plan, options: &RestoreOptions<'_>, is_done: bool) {
    let Some(progress) = options.progress else { return };
    let (bytes_total, files_total) = (plan.size(), plan.files.len() as u64);
    let bytes = counters.bytes.load(Ordering::Relaxed);
    progress(Progress {
        bytes_done: if is_done { bytes_total } else { bytes.min(bytes_total) },
        bytes_total,
        files_done: counters.files.load(Ordering::Relaxed),
        files_total,
    });
}

/// All files are sound; now they also have to make one whole database. Returns its checksum, if known.
fn check_whole(shared: &Shared<'_>) -> Result<Checksum> {
    let missing = shared.winners.first_missing().map_err(|source| shared.output.error(source))?;
    if let Some(pgno) = missing {
        return Err(Error::MissingPage { pgno, commit: shared.newest.commit });
    }
    let links = shared.links.lock().unwrap_or_else(PoisonError::into_inner);
    for (number, (file, previous)) in (2..).zip(shared.files.iter().skip(1).zip(shared.files)) {
        let adjoins = previous.max_txid.next() == Some(file.min_txid);
        if let (true, Some(old), Some(new)) = (adjoins, links.get(&(number - 1)), links.get(&number))
            && old.after != new.before
        {
            return Err(Error::NotContinued { file: file.key(), expected: old.after, actual: new.before });
        }
    }
    let last = u32::try_from(shared.files.len()).ok().and_then(|number| links.get(&number));
    Ok(last.map_or(Checksum::NONE, |link| link.after))
}

fn check_sizes(files: &[FileInfo]) -> Result<()> {
    let short = files.iter().find(|file| file.size < MIN_FILE);
    short.map_or(Ok(()), |file| {
        Err(Error::FileTooShort { file: file.key(), size: file.size, minimum: MIN_FILE })
    })
}

/// Local files are limited by processors, remote ones by waiting.
fn worker_count(client: &dyn ReplicaClient, plan: &Plan, wanted: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let useful =
        plan.files.iter().fold(0, |sum: u64, file| sum.saturating_add(1 + file.size / file::UNIT as u64));
    let most = if client.is_local() { MOST_WORKERS.min(cores) } else { MOST_WORKERS };
    wanted.clamp(1, most).min(usize::try_from(useful).unwrap_or(MOST_WORKERS)).max(1)
}

/// The name under which a database may be found that was being replaced when a process died.
pub fn set_aside_path(output: &Path) -> PathBuf {
    publish::set_aside_path(output)
}
