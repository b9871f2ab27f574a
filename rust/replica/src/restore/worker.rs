//! Decodes frames, checks them and writes the pages that win.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ltx::{
    Error as LtxError, FileHasher, Header, PAGE_HEADER_SIZE, PageEncoding, PageHeader, Pgno, RollingChecksum,
};

use crate::client::FileInfo;
use crate::error::{Error, Result};
use crate::place::Place;
use crate::range::RangeReader;
use crate::restore::buffers::{Buffers, Pool};
use crate::restore::draft::Draft;
use crate::restore::file::{Link, OpenFile, Part, UNIT, Unit, Units, Verdict};
use crate::restore::index::{Entry, TERMINATOR};
use crate::restore::marks::{FileState, Parts, Whole};
use crate::restore::output::Output;
use crate::restore::queue::{Active, Queue, Task};
use crate::restore::winners::{REGION, Run, Winners};

/// What all workers of one restore share.
pub(crate) struct Shared<'a> {
    pub(crate) reader: RangeReader<'a>,
    pub(crate) files: &'a [FileInfo],
    /// Header of the last file, which says what the database will be like.
    pub(crate) newest: Header,
    pub(crate) queue: Queue,
    /// Memory for what is read.
    pub(crate) inputs: Buffers,
    /// One for each worker that may decode while the others read.
    pub(crate) batches: Pool<Batch>,
    pub(crate) winners: Winners,
    pub(crate) draft: &'a Draft,
    pub(crate) output: &'a Output,
    pub(crate) counters: Counters,
    /// Database checksums before and after each file that has them, by number.
    pub(crate) links: Mutex<BTreeMap<u32, Link>>,
    /// The checksum of each file, known when it has been read.
    pub(crate) checksums: Vec<AtomicU64>,
}

/// How far the restore is.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) bytes: AtomicU64,
    pub(crate) files: AtomicU64,
}

/// One thread. Most of the time most of them wait for the storage: what they need for that is little.
pub(crate) struct Worker<'a> {
    shared: &'a Shared<'a>,
}

/// Consecutive pages of one file and region that wait to be written.
#[derive(Default)]
pub(crate) struct Batch {
    first: Option<Pgno>,
    /// The page that can be added.
    next: Option<Pgno>,
    pages: Vec<u8>,
    filled: usize,
}

/// The checksums over one unit.
#[derive(Default)]
struct Sums {
    hasher: FileHasher,
    rolling: RollingChecksum,
    len: u64,
}

impl Sums {
    fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }
}

impl<'a> Worker<'a> {
    pub(crate) fn new(shared: &'a Shared<'a>) -> Self {
        Self { shared }
    }

    /// Works until nothing is left to do, or somebody fails.
    pub(crate) fn run(&self) {
        let _leaving = self.shared.queue.leaving();
        while let Some(task) = self.shared.queue.take() {
            let done = match task {
                Task::Open(place) => self.open(place),
                Task::Advance(active) => self.advance(active),
            };
            if let Err(error) = done {
                self.shared.queue.fail(error);
            }
        }
    }

    fn open(&self, place: usize) -> Result<()> {
        let Some(info) = self.shared.files.get(place) else { return Ok(()) };
        let number = u32::try_from(place + 1).unwrap_or(u32::MAX);
        let kept = match self.shared.draft.marks().get(place) {
            Some(FileState::Whole(_)) => {
                self.shared.queue.give_back(None);
                return Ok(());
            }
            Some(FileState::Parts(parts)) => Parts::clone(parts),
            _ => Parts::default(),
        };
        if !is_big(info) {
            self.shared.queue.give_back(None);
            return self.small_file(info, number);
        }
        let reader = self.shared.reader;
        let (file, units) =
            OpenFile::open(*info, number, kept, &mut |offset, buf| reader.read_exact(info, offset, buf))?;
        self.check_header(&file)?;
        self.shared.queue.give_back(Some(Active { file: Arc::new(file), units: Box::new(units) }));
        Ok(())
    }

    /// Reads a file at once and decodes it alone.
    fn small_file(&self, info: &FileInfo, number: u32) -> Result<()> {
        self.shared.inputs.with(info.size as usize, |bytes| {
            self.shared.reader.read_exact(info, 0, bytes)?;
            self.shared.batches.with(|batch| self.whole(info, number, bytes, batch))
        })
    }

    fn whole(&self, info: &FileInfo, number: u32, bytes: &[u8], batch: &mut Batch) -> Result<()> {
        let mut read = |offset: u64, buf: &mut [u8]| {
            copy_range(bytes, offset, buf)
                .ok_or_else(|| format_error(info, LtxError::Truncated { offset: info.size }))
        };
        let (file, mut units) = OpenFile::open(*info, number, Parts::default(), &mut read)?;
        self.check_header(&file)?;
        while let Some(unit) = self.next_unit(&file, &mut units, &mut read)? {
            let start = usize::try_from(unit.offset).unwrap_or(usize::MAX);
            let range = start..start.saturating_add(unit.len);
            self.decode(&file, &unit, bytes.get(range).unwrap_or_default(), batch)?;
        }
        Ok(())
    }

    /// Takes one unit of a big file, lets others have the rest, and decodes it.
    fn advance(&self, active: Active) -> Result<()> {
        let Active { file, mut units } = active;
        let (reader, info) = (self.shared.reader, file.info);
        let mut read = |offset: u64, buf: &mut [u8]| reader.read_exact(&info, offset, buf);
        let unit = self.next_unit(&file, &mut units, &mut read)?;
        let Some(unit) = unit else {
            self.shared.queue.give_back(None);
            return Ok(());
        };
        let rest = (!unit.is_last).then(|| Active { file: Arc::clone(&file), units });
        self.shared.queue.give_back(rest);
        self.shared.inputs.with(unit.len, |bytes| {
            reader.read_exact(&info, unit.offset, bytes)?;
            self.shared.batches.with(|batch| self.decode(&file, &unit, bytes, batch))
        })
    }

    /// Takes the next unit that is not done, and tells the file how many there are when it is the last one.
    fn next_unit(
        &self,
        file: &OpenFile,
        units: &mut Units,
        read: &mut crate::head::ReadFn<'_>,
    ) -> Result<Option<Unit>> {
        let page_bytes = self.shared.newest.page_size.bytes();
        while let Some(unit) = units.next(page_bytes, read)? {
            if unit.is_last
                && let Some(verdict) = units.verdict()
                && let Some(verdict) = file.set_verdict(verdict)?
            {
                self.finished(file, &verdict);
            }
            if !file.has(unit.sequence) {
                return Ok(Some(unit));
            }
        }
        Ok(None)
    }

    fn check_header(&self, file: &OpenFile) -> Result<()> {
        let newest = &self.shared.newest;
        let (expected, actual) = (newest.page_size.get(), file.header.page_size.get());
        if expected != actual {
            let other = self.shared.files.last().unwrap_or(&file.info).key();
            return Err(Error::PageSizeMismatch { file: file.info.key(), actual, other, expected });
        }
        // The size of the database was taken from a first look at this file. Only now its checksum is verified.
        if file.number as usize == self.shared.files.len() && file.header != *newest {
            let place = Place::file(self.shared.reader.client.client_type(), file.info.key());
            return Err(Error::from_io(place, io::ErrorKind::InvalidData.into()));
        }
        Ok(())
    }

    /// Decodes, checks and writes the frames of one unit.
    fn decode(&self, file: &OpenFile, unit: &Unit, bytes: &[u8], batch: &mut Batch) -> Result<()> {
        batch.clear();
        let (mut sums, mut used) = (Sums::default(), 0);
        for entry in &unit.entries {
            let end = used + entry.size as usize;
            let frame = bytes.get(used..end).unwrap_or_default();
            self.page(file, entry, frame, &mut sums, batch).map_err(|source| match source {
                // The frame is another page's: say where.
                PageError::Moved => {
                    format_error(&file.info, LtxError::IndexMismatch { offset: unit.offset + used as u64 })
                }
                PageError::Format(source) => format_error(&file.info, source),
                PageError::Write(error) => error,
            })?;
            used = end;
        }
        self.flush(file.number, batch)?;
        if unit.is_last {
            end_mark(&file.info, bytes.get(used..).unwrap_or_default(), &mut sums)?;
        }
        let part = Part { crc: sums.hasher.finish(), len: sums.len, rolling: sums.rolling };
        if let Some(journal) = self.shared.draft.journal().filter(|_| is_big(&file.info)) {
            journal.unit(file.number, unit.sequence, &part, unit.len as u64);
        }
        if let Some(verdict) = file.add(unit.sequence, part)? {
            self.finished(file, &verdict);
        }
        self.shared.counters.bytes.fetch_add(unit.len as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Decodes one frame into the batch.
    fn page(
        &self,
        file: &OpenFile,
        entry: &Entry,
        frame: &[u8],
        sums: &mut Sums,
        batch: &mut Batch,
    ) -> std::result::Result<(), PageError> {
        if !batch.takes(entry.pgno) {
            self.flush(file.number, batch)?;
        }
        let page_size = self.shared.newest.page_size;
        let page = batch.room(page_size.bytes());
        let pgno = ltx::decode_frame(frame, page_size, page)?;
        if pgno != entry.pgno {
            return Err(PageError::Moved);
        }
        sums.update(frame.get(..hashed_prefix(frame)).unwrap_or_default());
        sums.update(page);
        if file.tracks_pages() {
            sums.rolling.add(ltx::page_checksum(pgno, page));
        }
        // Pages that a later transaction cut off were decoded for the checksum only.
        if pgno.get() <= self.shared.newest.commit.get() {
            batch.keep(pgno, page_size.bytes());
            if self.shared.winners.ends_region(pgno) {
                self.flush(file.number, batch)?;
            }
        }
        Ok(())
    }

    fn flush(&self, number: u32, batch: &mut Batch) -> Result<()> {
        if let Some(first) = batch.first {
            let pages = batch.pages.get(..batch.filled).unwrap_or_default();
            let output = self.shared.output;
            let written = self
                .shared
                .winners
                .write(&Run { first, pages, number }, |pages, offset| output.write_pages(pages, offset));
            written.map_err(|source| output.error(source))?;
        }
        batch.clear();
        Ok(())
    }

    /// A file has turned out to be whole and sound.
    fn finished(&self, file: &OpenFile, verdict: &Verdict) {
        let link = Link::of(&file.header, verdict);
        if let Some(link) = link {
            self.shared.links.lock().unwrap_or_else(PoisonError::into_inner).insert(file.number, link);
        }
        if let Some(checksum) = self.shared.checksums.get(file.number as usize - 1) {
            checksum.store(verdict.trailer.file_checksum.get(), Ordering::Relaxed);
        }
        if let Some(journal) = self.shared.draft.journal() {
            // Small files are read at once, and have no units that matter.
            let bytes = if is_big(&file.info) { 0 } else { file.info.size };
            let checksum = verdict.trailer.file_checksum.get();
            let whole = Whole { header: file.header_crc, checksum, link };
            journal.whole(file.number, &whole, bytes);
        }
        self.shared.counters.files.fetch_add(1, Ordering::Relaxed);
    }
}

impl Batch {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { first: None, next: None, pages: vec![0; REGION], filled: 0 }
    }

    fn clear(&mut self) {
        (self.first, self.next, self.filled) = (None, None, 0);
    }

    /// Whether `pgno` directly follows what is there.
    fn takes(&self, pgno: Pgno) -> bool {
        self.first.is_none() || self.next == Some(pgno)
    }

    fn room(&mut self, page_bytes: usize) -> &mut [u8] {
        self.pages.get_mut(self.filled..self.filled + page_bytes).unwrap_or_default()
    }

    fn keep(&mut self, pgno: Pgno, page_bytes: usize) {
        self.first.get_or_insert(pgno);
        self.next = pgno.next();
        self.filled += page_bytes;
    }
}

/// Why a page could not be taken in.
enum PageError {
    Moved,
    Format(LtxError),
    Write(Error),
}

impl From<LtxError> for PageError {
    fn from(error: LtxError) -> Self {
        Self::Format(error)
    }
}

impl From<Error> for PageError {
    fn from(error: Error) -> Self {
        Self::Write(error)
    }
}

/// Whether others may have units of it.
fn is_big(info: &FileInfo) -> bool {
    info.size > UNIT as u64
}

/// How much of a frame's start the file checksum covers: the length field only where there is one.
fn hashed_prefix(frame: &[u8]) -> usize {
    let header = frame.first_chunk().and_then(|start| PageHeader::parse(start).ok().flatten());
    match header.map(|header| header.encoding) {
        Some(PageEncoding::Block) => PAGE_HEADER_SIZE + 4,
        _ => PAGE_HEADER_SIZE,
    }
}

/// Checks the zeros behind the last frame.
fn end_mark(info: &FileInfo, bytes: &[u8], sums: &mut Sums) -> Result<()> {
    if bytes != [0; TERMINATOR] {
        let offset = info.size.saturating_sub(bytes.len() as u64);
        return Err(format_error(info, LtxError::IndexMismatch { offset }));
    }
    sums.update(bytes);
    Ok(())
}

fn copy_range(bytes: &[u8], offset: u64, buf: &mut [u8]) -> Option<()> {
    let start = usize::try_from(offset).ok()?;
    let part = bytes.get(start..start.checked_add(buf.len())?)?;
    buf.copy_from_slice(part);
    Some(())
}

fn format_error(info: &FileInfo, source: LtxError) -> Error {
    Error::Format { file: info.key(), source }
}
