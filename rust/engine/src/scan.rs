//! One pass over every page of a database as it was at one commit.
//!
//! Reading, checksumming and compressing are spread over the cores; what comes out is in page order again. Memory is a few
//! batches, whatever the size of the database.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use ltx::{Checksum, PageCount, PageSize, Pgno};
use wal::{PageMap, PageSource};

use crate::error::{Context, Error, Result};
use crate::files::LiveFiles;
use crate::page_form::PageForm;
use crate::page_sums::PageSums;
use crate::progress::Progress;

/// Bytes of pages in one batch.
const BATCH_BYTES: usize = 256 << 10;
/// Batches that may wait for the consumer, for each worker.
const QUEUE: usize = 2;
/// What other threads get while a worker and one of them want the same core: about ten times as much.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;
/// More workers than this only fight for memory bandwidth.
const MAX_WORKERS: usize = 4;

/// The database at one commit: pages in `overlay` come from the WAL, the others from the database file.
///
/// Right for as long as a read transaction that began no later than that commit is held: until then no checkpoint moves a
/// later frame into the database file, and no frame of the overlay is overwritten.
pub(crate) struct View {
    pub(crate) files: LiveFiles,
    pub(crate) overlay: Option<PageMap>,
    pub(crate) page_size: PageSize,
    pub(crate) commit: PageCount,
}

impl View {
    /// The form of the pages of this view.
    pub(crate) fn form(&self) -> Result<PageForm> {
        let path = self.files.path();
        if self.commit.get() == 0 {
            return Ok(PageForm::default());
        }
        let mut source =
            PageSource::new(&self.files.db, &self.files.wal, self.overlay.as_ref(), self.page_size)
                .context("read", path)?;
        Ok(PageForm::of(source.page(Pgno::FIRST).context("read", path)?))
    }
}

/// Which pages are wanted compressed.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// All of them.
    Every,
    /// Those whose checksum is not the one in the side file.
    Differing(&'a PageSums),
    /// None: only the checksums matter.
    None,
}

/// Consecutive pages, as far as they are wanted.
#[derive(Default)]
pub(crate) struct Batch {
    pages: Vec<BatchPage>,
    plain: Vec<u8>,
    blocks: Vec<u8>,
    /// Checksums of all pages of the batch, wanted or not; `Checksum::NONE` for the lock page.
    pub(crate) sums: Vec<Checksum>,
}

struct BatchPage {
    pgno: Pgno,
    plain_end: usize,
    block_end: usize,
}

impl Batch {
    /// The wanted pages: number, plain bytes, compressed bytes.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (Pgno, &[u8], &[u8])> {
        let (mut plain_start, mut block_start) = (0, 0);
        self.pages.iter().map(move |page| {
            let plain = self.plain.get(plain_start..page.plain_end).unwrap_or_default();
            let block = self.blocks.get(block_start..page.block_end).unwrap_or_default();
            (plain_start, block_start) = (page.plain_end, page.block_end);
            (page.pgno, plain, block)
        })
    }

    fn push(&mut self, pgno: Pgno, page: &[u8]) -> ltx::Result<()> {
        self.plain.extend_from_slice(page);
        ltx::compress_page(page, &mut self.blocks)?;
        self.pages.push(BatchPage { pgno, plain_end: self.plain.len(), block_end: self.blocks.len() });
        Ok(())
    }
}

/// Hands every batch to `sink`, in page order. An error of `sink` or of a worker ends the pass, as [`Progress::cancel`] does.
pub(crate) fn scan(
    view: &View,
    wanted: Wanted<'_>,
    progress: &Progress,
    mut sink: impl FnMut(&Batch) -> Result<()>,
) -> Result<()> {
    let form = view.form()?;
    let batch_pages = u32::try_from(BATCH_BYTES / view.page_size.bytes()).unwrap_or(1).max(1);
    let batches = view.commit.get().div_ceil(batch_pages);
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS) as u32;
    let pass = progress.begin(view.commit);
    thread::scope(|scope| {
        let queues: Vec<Receiver<Result<Batch>>> = (0..workers.min(batches))
            .map(|worker| {
                let (sender, receiver) = sync_channel(QUEUE);
                let mine = (worker..batches).step_by(workers as usize);
                forks::between_forks(|| {
                    scope.spawn(move || {
                        give_way();
                        work(view, form, wanted, mine, batch_pages, &sender);
                    })
                });
                receiver
            })
            .collect();
        // Returning drops the queues, at which every worker stops.
        for batch in 0..batches {
            let queue = &queues[(batch % workers) as usize];
            let made = queue.recv().map_err(|_| Error::Changed {
                path: view.files.path().to_owned(),
                what: "a page could not be read",
            })?;
            let made = made?;
            sink(&made)?;
            pass.advance(u32::try_from(made.sums.len()).unwrap_or(u32::MAX), view.files.path())?;
        }
        Ok(())
    })
}

/// Has the other threads run first: a pass takes every core for as long as it lasts, and the application should not notice.
fn give_way() {
    // Elsewhere that would be the whole process.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

fn work(
    view: &View,
    form: PageForm,
    wanted: Wanted<'_>,
    batches: impl Iterator<Item = u32>,
    batch_pages: u32,
    out: &SyncSender<Result<Batch>>,
) {
    let path = view.files.path();
    let mut source =
        match PageSource::new(&view.files.db, &view.files.wal, view.overlay.as_ref(), view.page_size) {
            Ok(source) => source,
            Err(error) => return drop(out.send(Err(error).context("read", path))),
        };
    for batch in batches {
        let first = batch * batch_pages + 1;
        let last = (first + (batch_pages - 1)).min(view.commit.get());
        let made = make(view, form, wanted, first..=last, &mut source);
        let failed = made.is_err();
        if out.send(made).is_err() || failed {
            return;
        }
    }
}

fn make<D: ltx::ReadAt, W: ltx::ReadAt>(
    view: &View,
    form: PageForm,
    wanted: Wanted<'_>,
    pgnos: std::ops::RangeInclusive<u32>,
    source: &mut PageSource<'_, D, W>,
) -> Result<Batch> {
    let path = view.files.path();
    let count = pgnos.clone().count();
    let mut known = vec![0; count];
    if let (Wanted::Differing(sums), Some(first)) = (wanted, Pgno::new(*pgnos.start())) {
        sums.read_run(first, &mut known)?;
    }
    let mut batch = Batch { sums: Vec::with_capacity(count), ..Batch::default() };
    let mut completed = vec![0; view.page_size.bytes()];
    for (pgno, known) in pgnos.filter_map(Pgno::new).zip(known) {
        if pgno == view.page_size.lock_pgno() {
            batch.sums.push(Checksum::NONE);
            continue;
        }
        let mut page = source.page(pgno).context("read", path)?;
        let is_in_wal = view.overlay.as_ref().is_some_and(|frames| frames.get(pgno).is_some());
        if is_in_wal || form.is_unsound(page) {
            completed.copy_from_slice(page);
            form.complete(&mut completed);
            // In the file, a page that is the one of the chain but for its checksum is no other one. One that is not stays as it
            // is: a new checksum would hide damage.
            if is_in_wal || ltx::page_checksum(pgno, &completed).get() == known {
                page = &completed;
            }
        }
        let sum = ltx::page_checksum(pgno, page);
        batch.sums.push(sum);
        if matches!(wanted, Wanted::Every) || (matches!(wanted, Wanted::Differing(_)) && sum.get() != known) {
            batch.push(pgno, page).context("compress a page of", path)?;
        }
    }
    Ok(batch)
}
