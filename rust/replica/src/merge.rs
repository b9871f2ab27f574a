//! Several LTX files merged into one, which is read while it is made.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use ltx::{CompactOptions, Header, PageSize};

use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::pipe::{PipeReader, pipe};
use crate::range::{RangeReader, RetryPolicy};

/// Files merged at a time.
pub(crate) const MOST_INPUTS: usize = 256;

/// Memory for what was read ahead of all inputs together, in bytes.
const READ_AHEAD: usize = 16 << 20;

/// The longest read, in bytes.
const LONGEST_READ: usize = 1 << 20;

/// Inputs whose beginning is fetched at once, from this machine or by the client, and from a server without it.
const PREFETCHERS: usize = 8;
const DIRECT_PREFETCHERS: usize = 64;

/// Merges `inputs`, each of which continues the one before: one thread merges, this one lets `store` read the LTX file that comes
/// out, to its end, and returns what `store` returns. Every byte of the inputs is verified by then.
///
/// # Errors
/// [`Error::PageSizeMismatch`] if they do not all have one page size; as [`Merge::open`] and [`Merge::run`].
pub fn merge_into<T>(
    client: &dyn ReplicaClient,
    inputs: &[FileInfo],
    retry: RetryPolicy,
    store: &mut dyn FnMut(&mut dyn Read) -> Result<T>,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    let merge = Merge::open(client, inputs, retry, &stop)?;
    match merge.change()? {
        Some(change) => Err(change.error),
        None => merge.run(store),
    }
}

/// Files that are about to be merged: the beginning of each has been read.
pub(crate) struct Merge<'a> {
    client: &'a dyn ReplicaClient,
    inputs: Vec<Input<'a>>,
    stop: &'a AtomicBool,
}

/// Where the page size of inputs changes.
pub(crate) struct Change {
    /// How many inputs come before the change.
    pub(crate) before: usize,
    /// [`Error::PageSizeMismatch`] about the files on both sides.
    pub(crate) error: Error,
}

impl<'a> Merge<'a> {
    /// Reads the beginning of each of `inputs`.
    ///
    /// # Errors
    /// [`Error::ShortFile`], and what the client reports.
    pub(crate) fn open(
        client: &'a dyn ReplicaClient,
        inputs: &[FileInfo],
        retry: RetryPolicy,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let reader = RangeReader { client, retry, cancel: stop };
        let block = (READ_AHEAD / inputs.len().max(1)).clamp(READ_AHEAD / MOST_INPUTS, LONGEST_READ);
        let inputs = inputs.iter().map(|info| Input::new(reader, *info, block)).collect();
        let at_once = if client.is_direct() { DIRECT_PREFETCHERS } else { PREFETCHERS };
        Ok(Self { client, inputs: prefetch(inputs, at_once)?, stop })
    }

    /// The page size of the first input.
    ///
    /// # Errors
    /// [`Error::Format`] if that is no LTX file.
    pub(crate) fn page_size(&self) -> Result<Option<PageSize>> {
        self.inputs.first().map(Input::page_size).transpose()
    }

    /// The first input that has another page size than the one before it.
    ///
    /// # Errors
    /// [`Error::Format`] for an input that is no LTX file.
    pub(crate) fn change(&self) -> Result<Option<Change>> {
        for (before, pair) in (1..).zip(self.inputs.windows(2)) {
            let [other, file] = pair else { continue };
            let (expected, actual) = (other.page_size()?, file.page_size()?);
            if expected != actual {
                let error = mismatch(&file.info, actual, &other.info, expected);
                return Ok(Some(Change { before, error }));
            }
        }
        Ok(None)
    }

    /// Leaves all inputs from number `count` on, from 0, out of it.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.inputs.truncate(count);
    }

    /// Merges; `store` gets what comes out, and has to read it to its end.
    ///
    /// # Errors
    /// [`Error::Format`] for a damaged input, and what the client or `store` reports.
    pub(crate) fn run<T>(self, store: &mut dyn FnMut(&mut dyn Read) -> Result<T>) -> Result<T> {
        let Self { client, inputs, stop } = self;
        let (writer, mut output) = pipe();
        let failed = Mutex::new(None);
        let stored = thread::scope(|scope| {
            let merge = || {
                // Dropped unfinished after an error, the pipe makes the reading end fail instead of end.
                let mut writer = writer;
                let files: Vec<FileInfo> = inputs.iter().map(|input| input.info).collect();
                let options = CompactOptions::default();
                let done = ltx::compact(inputs, &mut writer, options, &mut |_| ())
                    .map_err(|error| name_input(client, &files, error))
                    .and_then(|_| writer.finish().map_err(|_| Error::Cancelled));
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = done.err();
            };
            forks::between_forks(|| scope.spawn(merge));
            let stored = store(&mut output);
            abandon(output, stop);
            stored
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (failed, stored) {
            // Storing has failed first if the other end says that nobody listens.
            (Some(Error::Cancelled) | None, stored) => stored,
            (Some(error), _) => Err(error),
        }
    }
}

/// Two files that do not go together.
pub(crate) fn mismatch(file: &FileInfo, actual: PageSize, other: &FileInfo, expected: PageSize) -> Error {
    let (actual, expected) = (actual.get(), expected.get());
    Error::PageSizeMismatch { file: file.key(), actual, other: other.key(), expected }
}

/// Lets a producer go that nobody reads from any more.
fn abandon(output: PipeReader, stop: &AtomicBool) {
    drop(output);
    stop.store(true, Ordering::Relaxed);
}

/// Says which file the merge complained about.
fn name_input(client: &dyn ReplicaClient, files: &[FileInfo], error: ltx::Error) -> Error {
    match error {
        ltx::Error::Input { input, source } => match files.get(input) {
            Some(info) => Error::in_file(client.client_type(), info.key(), *source),
            None => Error::Cancelled,
        },
        ltx::Error::Io(source) if source.kind() == io::ErrorKind::BrokenPipe => Error::Cancelled,
        source => {
            let key = files.first().map(FileInfo::key);
            key.map_or(Error::Cancelled, |key| Error::in_file(client.client_type(), key, source))
        }
    }
}

/// One file, read block by block; between two blocks no connection is held.
pub(crate) struct Input<'a> {
    reader: RangeReader<'a>,
    info: FileInfo,
    offset: u64,
    block: Vec<u8>,
    used: usize,
    longest: usize,
}

impl<'a> Input<'a> {
    pub(crate) fn new(reader: RangeReader<'a>, info: FileInfo, longest: usize) -> Self {
        Self { reader, info, offset: 0, block: Vec::new(), used: 0, longest }
    }

    /// The page size that the header in the first block gives.
    fn page_size(&self) -> Result<PageSize> {
        let header = Header::parse(&self.block);
        header
            .map(|header| header.page_size)
            .map_err(|source| Error::Format { file: self.info.key(), source })
    }

    /// Replaces the block by the next one, which is empty at the end of the file.
    fn fill(&mut self) -> Result<()> {
        let rest = usize::try_from(self.info.size - self.offset).unwrap_or(usize::MAX);
        self.used = 0;
        self.block.resize(rest.min(self.longest), 0);
        self.reader.read_exact(&self.info, self.offset, &mut self.block)?;
        self.offset += self.block.len() as u64;
        Ok(())
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            self.fill().map_err(Error::into_io)?;
        }
        let rest = self.block.get(self.used..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.used += n;
        Ok(n)
    }
}

/// Fetches the first block of every input, several at once: most files are not longer than that.
fn prefetch(inputs: Vec<Input<'_>>, at_once: usize) -> Result<Vec<Input<'_>>> {
    let slots: Vec<Mutex<Input<'_>>> = inputs.into_iter().map(Mutex::new).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    thread::scope(|scope| {
        let fetch = || {
            while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
                let filled = slot.lock().unwrap_or_else(PoisonError::into_inner).fill();
                if let Err(error) = filled {
                    next.store(slots.len(), Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        for _ in 0..at_once.min(slots.len()) {
            forks::between_forks(|| scope.spawn(fetch));
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(slots
            .into_iter()
            .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()),
    }
}
