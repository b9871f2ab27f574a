//! Rebuilds a database from the files of a plan.
//!
//! Files are read side by side, newest first; a file of more than 1 MiB is cut by its page index into ranges of
//! frames that several workers decode. Pages go straight to their place in a new file beside the output, if no newer
//! file has been there before (`winners`). Meanwhile the checksums of the parts are joined to the checksum of each
//! file, which covers every byte but the compression itself, and that must expand to the right number of bytes.
//! Only when all files have proved sound, and no page is missing, the new file is made durable and takes its place
//! (`publish`). Whatever fails before that leaves no output, but perhaps something that the next restore goes on with (`draft`).
//!
//! Memory does not depend on the size of the database or the number of files: all workers together hold [`MOST_INPUT`] bytes
//! that they have read, and at most twelve of them, one batch of pages each, decode at once; the file numbers of a database
//! above 2 Mi pages go to a file. Where reading is waiting for a server, there are many more workers than that.

mod base;
mod buffers;
mod draft;
mod file;
mod index;
mod journal;
mod made;
mod marks;
mod options;
mod output;
mod owned;
mod past;
mod publish;
mod queue;
mod start;
mod winners;
mod worker;
mod workplace;

use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use durable::{Rights, create_dirs};
use ltx::{Checksum, Header, PageCount, Pos};

use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::head::{MIN_FILE, read_header};
use crate::history::Plan;
use crate::range::RangeReader;
pub use base::{Base, Shape};
use buffers::{Buffers, Pool};
use draft::{Draft, Failed, Order};
pub use made::publish_made;
use marks::FileState;
pub use options::{Distrust, LockDatabase, Prepare, Progress, RestoreOptions, Restored, Resume, Verify};
use output::Content;
pub use past::{Mark, Past};
use publish::{Names, RealNames};
use queue::Queue;
use start::{Start, read_end};
use worker::{Batch, Counters, Shared, Worker};

/// More threads that decode would need more memory than a restore may use.
pub const MOST_WORKERS: usize = 12;

/// Workers for each of those that may decode, where the others can wait for a server at no cost. A link of 100 MB/s and 30 ms has
/// room for 3 MB of requests that wait for their answers; files of 50 kB, as small transactions make them, need 60 for that.
const READERS: usize = 8;

/// Bytes that are read and not yet decoded, in all.
const MOST_INPUT: usize = 24 << 20;

/// How often progress is reported, and the cancel flag looked at.
const TICK: Duration = Duration::from_millis(50);

/// How often a checkpoint is due where there are none.
const NEVER: Duration = Duration::from_secs(3600);

/// Restores the files of `plan` to a database at `output`, a path that need not exist yet.
///
/// The database appears under its name whole and durable, or not at all. An existing one is an error unless
/// [`RestoreOptions::overwrite`] is set, and so is a `-wal`, `-journal` or `-shm` file that SQLite would take for a
/// part of the new one. When a process dies while it replaces a database that had such files, the old one may
/// be left under the name `NAME.ltxcore-replaced`; the next restore to that place puts it back first.
///
/// What dead restores to the same place have left is removed, but for what [`RestoreOptions::resume`] goes on with: that is at
/// [`partial_path`].
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
    if options.base.is_some()
        && let Some(files) = plan.since.clone()
    {
        match restore_with(&RealNames, client, &Plan { files, ..plan.clone() }, plan, output, options) {
            // Those that need no copy may be sound all the same.
            Err(error) if error.is_about_content() => {}
            done => return done,
        }
    }
    restore_with(&RealNames, client, plan, plan, output, &RestoreOptions { base: None, ..*options })
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
    let options =
        RestoreOptions { overwrite: false, base: None, keeps_past: false, resume: None, ..*options };
    let place = publish::Place::new(&RealNames, output)?;
    place.prepare(false)?;
    check_sizes(&plan.files)?;
    let newest = Newest::read(client, plan.files.last(), &options)?;
    make_room(place.output())?;
    let (content, files) = (Content::Checksums, plan.files.len());
    let draft = Draft::plain(place.output(), content, newest.header.page_size, None, files)?;
    let built = build(client, plan, &newest, place.output(), content, &draft, &options, &|| Ok(None))?;
    built.report_whole(plan, &options)?;
    place.publish(draft.output().path(), false)?;
    Ok(built.restored(plan, &newest.header, 0))
}

/// Restores the files of `plan`. If there are none, the database has that state already which the last file of `whole` leads to.
fn restore_with(
    names: &dyn Names,
    client: &dyn ReplicaClient,
    plan: &Plan,
    whole: &Plan,
    output: &Path,
    options: &RestoreOptions<'_>,
) -> Result<Restored> {
    let place = publish::Place::new(names, output)?;
    place.prepare(options.overwrite)?;
    let lock = options.lock.filter(|_| options.overwrite);
    // Held only while names change or a copy is taken, but who has the database open is told of before everything has been read.
    drop(place.lock(lock)?);
    check_sizes(&plan.files)?;
    let newest = Newest::read(client, plan.files.last().or(whole.files.last()), options)?;
    make_room(place.output())?;
    let resume = options
        .resume
        .filter(|resume| options.base.is_none() && !client.is_local() && plan.size() >= resume.least);
    let mut may_resume = true;
    loop {
        let order = Order {
            output: place.output(),
            files: &plan.files,
            newest: &newest.header,
            replaced: if options.overwrite { fs::metadata(place.output()).ok() } else { None },
            resume,
            may_resume,
        };
        let draft = Draft::open(&order, newest.crc)?;
        match finish(&place, client, plan, &newest, &draft, options) {
            Ok(built) => {
                let resumed = draft.resumed();
                draft.published(place.output());
                return Ok(built.restored(plan, &newest.header, resumed));
            }
            Err(error) => {
                let is_of_source =
                    error.is_about_content() && options.distrust.is_some_and(|distrust| distrust(&error));
                match (draft.failed(&error, is_of_source), resume) {
                    // What is done is kept. If some of that was wrong, too, nothing is distrusted the next time.
                    _ if is_of_source => {}
                    (Failed::MustBeginAfresh, _) => may_resume = false,
                    (Failed::Keeps(kept), Some(resume)) => {
                        resume.kept.store(kept, Ordering::Relaxed);
                        return Err(error);
                    }
                    _ => {
                        resume.inspect(|resume| resume.kept.store(0, Ordering::Relaxed));
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// Makes the database and gives it its name.
fn finish(
    place: &publish::Place<'_>,
    client: &dyn ReplicaClient,
    plan: &Plan,
    newest: &Newest,
    draft: &Draft,
    options: &RestoreOptions<'_>,
) -> Result<Built> {
    let lock = options.lock.filter(|_| options.overwrite);
    let (output, path) = (place.output(), draft.output().path());
    let built = build(client, plan, newest, output, Content::Pages, draft, options, &|| place.lock(lock))?;
    let verified = options.verify.map_or(Ok(()), |verify| verify(path));
    if verified.as_ref().is_err_and(|error| !matches!(error, Error::Cancelled)) {
        draft.doubt();
    }
    verified?;
    built.report_whole(plan, options)?;
    let locked = place.lock(lock)?;
    draft.give_rights()?;
    options.prepare.map_or(Ok(()), |prepare| prepare(path))?;
    place.publish(path, options.overwrite)?;
    drop(locked);
    Ok(built)
}

/// Makes the directories above the output.
fn make_room(output: &Path) -> Result<()> {
    let Some(parent) = output.parent() else { return Ok(()) };
    create_dirs(parent, Rights::PRIVATE).map_err(|source| Error::output("create", parent, source))
}

/// What the last file says about the database.
struct Newest {
    info: FileInfo,
    header: Header,
    /// CRC of the header.
    crc: u64,
}

impl Newest {
    fn read(
        client: &dyn ReplicaClient,
        info: Option<&FileInfo>,
        options: &RestoreOptions<'_>,
    ) -> Result<Self> {
        let stop = AtomicBool::new(false);
        let reader = RangeReader { client, retry: options.retry, cancel: options.cancel.unwrap_or(&stop) };
        let info = *info.ok_or(Error::NoSnapshot { first: None })?;
        let (header, crc) = read_header(&info, &mut |offset, buf| reader.read_exact(&info, offset, buf))?;
        Ok(Self { info, header, crc })
    }
}

/// What a draft has become: whole and durable, but without a name of its own yet.
struct Built {
    proved: Proved,
    is_update: bool,
    counters: Counters,
}

/// What is known of a database for which everything was read.
#[derive(Default)]
struct Proved {
    post_apply_checksum: Checksum,
    /// Checksum and header of page 1 in the replica.
    page_1: Checksum,
    head: Vec<u8>,
    past: Option<Past>,
}

impl Built {
    /// Reports that everything is there. That comes before names change, so that whoever is told can still call it off.
    fn report_whole(&self, plan: &Plan, options: &RestoreOptions<'_>) -> Result<()> {
        report(&self.counters, plan, options, true);
        let is_cancelled = options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
        if is_cancelled { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// What has been made, for the most recent header.
    fn restored(self, plan: &Plan, newest: &Header, resumed: u64) -> Restored {
        let Proved { post_apply_checksum, page_1, head, past } = self.proved;
        Restored {
            pos: Pos { txid: plan.txid, post_apply_checksum },
            created_at: newest.timestamp,
            page_size: newest.page_size,
            commit: newest.commit,
            files: plan.files.len(),
            bytes: plan.size(),
            resumed,
            page_1,
            head,
            is_update: self.is_update,
            past,
        }
    }
}

/// Reads, verifies and writes everything; `newest` says what the database will be like. `lock` keeps the database unchanged that is there.
#[expect(clippy::too_many_arguments, reason = "all that a restore is about")]
fn build(
    client: &dyn ReplicaClient,
    plan: &Plan,
    newest: &Newest,
    output: &Path,
    content: Content,
    draft: &Draft,
    options: &RestoreOptions<'_>,
    lock: &dyn Fn() -> Result<Option<Box<dyn Any>>>,
) -> Result<Built> {
    let stop = AtomicBool::new(false);
    let (header, file) = (newest.header, draft.output());
    let start = match options.base {
        Some(base) => {
            let _locked = lock()?;
            let start = Start::at(base, &header, output)?;
            start.copy_to(file, &header)?;
            start
        }
        None => Start::NOTHING,
    };
    file.set_size(header.commit)?;
    let is_sparse = content.is_sparse() && start.base.is_none();
    let winners = draft.winners(&header, is_sparse).map_err(|source| file.error(source))?;
    let decoders = decoder_count(client, options.parallelism);
    let workers = worker_count(client, plan, decoders);
    let shared = Shared {
        reader: RangeReader { client, retry: options.retry, cancel: &stop },
        files: &plan.files,
        newest: header,
        queue: Queue::new(plan.files.len(), workers),
        inputs: Buffers::new(MOST_INPUT),
        batches: Pool::new((0..decoders.min(workers)).map(|_| Batch::new()).collect()),
        winners,
        draft,
        output: file,
        counters: Counters::default(),
        links: Mutex::new(BTreeMap::new()),
        checksums: plan.files.iter().map(|_| AtomicU64::new(0)).collect(),
    };
    shared.take_up(draft.resumed());
    let completed = complete(&shared, workers, plan, newest, output, &start, options, &stop);
    // Whatever it came to: the next restore may go on with it. The first error is the one to report.
    let closed = draft.close(&shared.winners).map_err(|source| file.error(source));
    let proved = completed?;
    closed?;
    file.sync()?;
    let is_update = start.base.is_some();
    Ok(Built { proved, is_update, counters: shared.counters })
}

/// Lets the workers do everything and looks at the result.
#[expect(clippy::too_many_arguments, reason = "all that a restore is about")]
fn complete(
    shared: &Shared<'_>,
    workers: usize,
    plan: &Plan,
    newest: &Newest,
    output: &Path,
    start: &Start<'_>,
    options: &RestoreOptions<'_>,
    stop: &AtomicBool,
) -> Result<Proved> {
    run(shared, workers, plan, options, stop)?;
    let (post_apply_checksum, mark) = match plan.files.last() {
        Some(_) => (check_whole(shared, start.pages)?, None),
        None => read_end(&shared.reader, &newest.info).map(|(sum, mark)| (sum, Some(mark)))?,
    };
    if shared.output.content() == Content::Checksums {
        return Ok(Proved { post_apply_checksum, ..Proved::default() });
    }
    let page_1 = start.check(shared, post_apply_checksum, output)?;
    let past = match options.keeps_past {
        true => start.past(shared, mark).map_err(|source| shared.output.error(source))?,
        false => None,
    };
    let head = if page_1.is_none() { Vec::new() } else { shared.output.head()? };
    if options.rollback_journal {
        shared.draft.before_edit(page_1, &shared.winners)?;
        shared.output.use_rollback_journal()?;
    }
    Ok(Proved { post_apply_checksum, page_1, head, past })
}

impl Shared<'_> {
    /// Counts what an earlier restore has read, in bytes, and takes over what it found out.
    fn take_up(&self, resumed: u64) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, mark) in (1..).zip(self.draft.marks()) {
            if let FileState::Whole(whole) = mark {
                links.extend(whole.link.map(|link| (number, link)));
                if let Some(checksum) = self.checksums.get(number as usize - 1) {
                    checksum.store(whole.checksum, Ordering::Relaxed);
                }
                self.counters.files.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.counters.bytes.fetch_add(resumed, Ordering::Relaxed);
    }
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
            let every = options.resume.map_or(NEVER, |resume| resume.every);
            let checkpoint = || shared.draft.checkpoint(&shared.winners);
            if let Err(error) = shared.output.run_writeback(every, checkpoint) {
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

/// All files are sound; now they also have to make one whole database with the pages that were `there`. Returns its checksum, if known.
fn check_whole(shared: &Shared<'_>, there: PageCount) -> Result<Checksum> {
    let missing = shared.winners.first_missing(there).map_err(|source| shared.output.error(source))?;
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

/// How many workers decode at once. Local files are limited by processors, remote ones by waiting.
fn decoder_count(client: &dyn ReplicaClient, wanted: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let most = if client.is_local() { MOST_WORKERS.min(cores) } else { MOST_WORKERS };
    wanted.clamp(1, most)
}

/// How many workers there are, that is, how many reads at once.
fn worker_count(client: &dyn ReplicaClient, plan: &Plan, decoders: usize) -> usize {
    let useful =
        plan.files.iter().fold(0, |sum: u64, file| sum.saturating_add(1 + file.size / file::UNIT as u64));
    // Who asks for one at a time gets that.
    let most = if client.is_direct() && decoders > 1 { decoders * READERS } else { decoders };
    most.min(usize::try_from(useful).unwrap_or(most)).max(1)
}

/// Where a restore to `output`, which may be a symbolic link, has left what it had if it did not finish, for the next one to go on
/// with. Beside it is its journal, of the same name and `.state`. Both may be removed.
///
/// # Errors
/// [`Error::Output`]: the link leads nowhere.
pub fn partial_path(output: &Path) -> Result<PathBuf> {
    Ok(workplace::partial_path(&publish::resolved(output)?))
}

/// The name under which a database may be found that was being replaced when a process died.
pub fn set_aside_path(output: &Path) -> PathBuf {
    publish::set_aside_path(output)
}
