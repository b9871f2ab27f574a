//! Compaction on the replica: the files of one level merged into the next.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use ltx::{CompactOptions, TxId};

use crate::client::{FileInfo, ReplicaClient, SNAPSHOT_LEVEL};
use crate::error::{Error, Result};
use crate::pipe::{PipeReader, pipe};
use crate::range::{RangeReader, RetryPolicy};

/// Files merged at a time; with more than that, several files are written, one continuing the other.
const MOST_INPUTS: usize = 256;

/// Memory for what was read ahead of all inputs together, in bytes.
const READ_AHEAD: usize = 16 << 20;

/// The longest read, in bytes.
const LONGEST_READ: usize = 1 << 20;

/// Inputs whose beginning is fetched at once.
const PREFETCHERS: usize = 8;

/// Merges the files of level `dst_level - 1` that `dst_level` does not have yet, and stores the result there.
///
/// Every input is verified before the output exists. Nothing is buffered but a bounded part of each input. With more
/// than 256 inputs several files are written; the last one is returned. `None` means that there was nothing to do.
///
/// A file of the lower level that begins before the end of the higher one but reaches beyond it is merged as well,
/// so the levels may overlap by it; that harms no restore.
///
/// # Errors
/// - [`Error::Level`] unless `dst_level` is 1 to 8.
/// - [`Error::Gap`]: the lower level does not continue the higher one, and no snapshot covers what is missing. Files before
///   a gap in the lower level are merged first; the gap is reported when it is reached.
/// - [`Error::Conflict`]: another writer has stored other content under the same name; nothing was overwritten.
/// - [`Error::Format`] for a damaged input, [`Error::WrongTransactions`], and what the client reports.
pub fn compact_level(client: &dyn ReplicaClient, dst_level: u8) -> Result<Option<FileInfo>> {
    compact_level_with(client, dst_level, RetryPolicy::default())
}

/// [`compact_level`] with other pauses between repeated reads.
///
/// # Errors
/// As [`compact_level`].
pub fn compact_level_with(
    client: &dyn ReplicaClient,
    dst_level: u8,
    retry: RetryPolicy,
) -> Result<Option<FileInfo>> {
    if !(1..SNAPSHOT_LEVEL).contains(&dst_level) {
        return Err(Error::Level { level: dst_level });
    }
    let existing = client.ltx_files(dst_level, TxId::NONE, false)?;
    let mut reached = existing.iter().map(|file| file.max_txid).max().unwrap_or(TxId::NONE);
    let mut rest = sources(client, dst_level - 1, reached)?;
    let mut written = None;
    loop {
        let inputs = match next_inputs(&mut rest, reached) {
            // The chain goes through a snapshot there; the levels need not.
            Err(Error::Gap { next_min, .. }) if snapshot_reaches(client, next_min)? => {
                reached = TxId::new(next_min.get().saturating_sub(1));
                continue;
            }
            inputs => inputs?,
        };
        let Some(inputs) = inputs else { return Ok(written) };
        let info = merge(client, dst_level, &inputs, retry)?;
        reached = info.max_txid;
        written = Some(info);
    }
}

/// Whether a snapshot ends at or beyond the transaction before `next`.
fn snapshot_reaches(client: &dyn ReplicaClient, next: TxId) -> Result<bool> {
    let snapshots = client.ltx_files(SNAPSHOT_LEVEL, TxId::NONE, false)?;
    Ok(snapshots.iter().any(|file| file.max_txid.next().is_some_and(|after| after >= next)))
}

/// The files of `level` that lead beyond `reached`, in order.
fn sources(client: &dyn ReplicaClient, level: u8, reached: TxId) -> Result<Vec<FileInfo>> {
    let Some(next) = reached.next() else { return Ok(Vec::new()) };
    let listed = client.ltx_files(level, next, false)?;
    let continues = listed.first().is_none_or(|file| reached.is_none() || file.min_txid == next);
    // Only a file that begins before `next` can close the gap, and only the whole listing shows it.
    let mut files = if continues { listed } else { client.ltx_files(level, TxId::NONE, false)? };
    files.retain(|file| file.max_txid > reached);
    files.sort_unstable_by_key(FileInfo::key);
    Ok(files)
}

/// Takes the files that continue each other from `rest`.
fn next_inputs(rest: &mut Vec<FileInfo>, mut reached: TxId) -> Result<Option<Vec<FileInfo>>> {
    let mut inputs: Vec<FileInfo> = Vec::new();
    let mut taken = 0;
    for file in rest.iter() {
        if inputs.len() == MOST_INPUTS || (!inputs.is_empty() && !continues(reached, file)) {
            break;
        }
        // Into an empty level goes whatever there is; it need not begin with the first transaction.
        if !reached.is_none() && !continues(reached, file) {
            let (next_min, next_max) = (file.min_txid, file.max_txid);
            return Err(Error::Gap { have: reached, next_min, next_max });
        }
        taken += 1;
        if file.max_txid > reached {
            reached = file.max_txid;
            inputs.push(*file);
        }
    }
    rest.drain(..taken);
    Ok((!inputs.is_empty()).then_some(inputs))
}

/// Whether no transaction lies between `reached` and `file`.
fn continues(reached: TxId, file: &FileInfo) -> bool {
    reached.next().is_none_or(|next| file.min_txid <= next)
}

/// Merges `inputs` into one file of `level`.
fn merge(client: &dyn ReplicaClient, level: u8, inputs: &[FileInfo], retry: RetryPolicy) -> Result<FileInfo> {
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
        return Err(Error::NoSnapshot { first: None });
    };
    merge_into(client, inputs, retry, &mut |output| {
        client.write_ltx_file(level, first.min_txid, last.max_txid, output)
    })
}

/// Merges `inputs`: one thread merges, this one lets `store` read what comes out, to its end.
pub(crate) fn merge_into<T>(
    client: &dyn ReplicaClient,
    inputs: &[FileInfo],
    retry: RetryPolicy,
    store: &mut dyn FnMut(&mut dyn Read) -> Result<T>,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    let reader = RangeReader { client, retry, cancel: &stop };
    let block = (READ_AHEAD / inputs.len().max(1)).clamp(READ_AHEAD / MOST_INPUTS, LONGEST_READ);
    let inputs: Vec<Input<'_>> = inputs.iter().map(|info| Input::new(reader, *info, block)).collect();
    let inputs = prefetch(inputs)?;
    let (writer, mut output) = pipe();
    let failed = Mutex::new(None);
    let stored = thread::scope(|scope| {
        scope.spawn(|| {
            // Dropped unfinished after an error, the pipe makes the reading end fail instead of end.
            let mut writer = writer;
            let files: Vec<FileInfo> = inputs.iter().map(|input| input.info).collect();
            let options = CompactOptions::default();
            let done = ltx::compact(inputs, &mut writer, options, &mut |_| ())
                .map_err(|error| name_input(client, &files, error))
                .and_then(|_| writer.finish().map_err(|_| Error::Cancelled));
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = done.err();
        });
        let stored = store(&mut output);
        abandon(output, &stop);
        stored
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (failed, stored) {
        // Storing has failed first if the other end says that nobody listens.
        (Some(Error::Cancelled) | None, stored) => stored,
        (Some(error), _) => Err(error),
    }
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
struct Input<'a> {
    reader: RangeReader<'a>,
    info: FileInfo,
    offset: u64,
    block: Vec<u8>,
    used: usize,
    longest: usize,
}

impl<'a> Input<'a> {
    fn new(reader: RangeReader<'a>, info: FileInfo, longest: usize) -> Self {
        Self { reader, info, offset: 0, block: Vec::new(), used: 0, longest }
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
fn prefetch(inputs: Vec<Input<'_>>) -> Result<Vec<Input<'_>>> {
    let slots: Vec<Mutex<Input<'_>>> = inputs.into_iter().map(Mutex::new).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    thread::scope(|scope| {
        for _ in 0..PREFETCHERS.min(slots.len()) {
            scope.spawn(|| {
                while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let filled = slot.lock().unwrap_or_else(PoisonError::into_inner).fill();
                    if let Err(error) = filled {
                        next.store(slots.len(), Ordering::Relaxed);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            });
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
