//! Compaction on the replica: the files of one level merged into the next.

use std::sync::atomic::AtomicBool;

use ltx::{PageSize, SNAPSHOT_LEVEL, TxId};

use crate::attempts::is_stale;
use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::history::{MOST_PLANS, Sources, can_be_planned, split, too_short};
use crate::merge::{MOST_INPUTS, Merge, mismatch};
use crate::place::{FileKey, after, before};
use crate::range::{RangeReader, RetryPolicy};

/// Merges the files of level `dst_level - 1` that `dst_level` does not have yet, and stores the result there.
///
/// Every input is verified before the output exists. Nothing is buffered but a bounded part of each input. With more
/// than 256 inputs several files are written; the last one is returned. `None` means that there was nothing to do.
///
/// A file of the lower level that begins before the end of the higher one but reaches beyond it is merged as well,
/// so the levels may overlap by it; that harms no restore. Files of different page sizes are never merged: what ends before
/// the change becomes one file, what follows another.
///
/// # Errors
/// - [`Error::Level`] unless `dst_level` is 1 to 8.
/// - [`Error::Gap`]: the lower level does not continue the higher one, and no snapshot covers what is missing. Files before
///   a gap in the lower level are merged first; the gap is reported when it is reached.
/// - [`Error::FileTooShort`]: the same, where a file is there that cannot be one.
/// - [`Error::PageSizeMismatch`]: the same, where the page size changes and no snapshot leads past the change.
/// - [`Error::Conflict`]: another writer has stored other content under the same name; nothing was overwritten.
/// - [`Error::Format`] for a damaged input, [`Error::ShortFile`], and what the client reports. Inputs that were deleted since
///   they were listed are no error as long as a new listing does without them.
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
    let mut compaction = Compaction { client, level: dst_level, retry, inputs: Vec::new(), written: None };
    for _ in 1..MOST_PLANS {
        match compaction.run() {
            Err(error) if compaction.is_stale(&error) => {}
            done => return done.map(|()| compaction.written),
        }
    }
    compaction.run().map(|()| compaction.written)
}

/// The file after which merging goes on.
#[derive(Clone, Copy)]
struct Seam {
    reached: TxId,
    /// The file that ends there, unless a snapshot has to lead there.
    file: Option<FileInfo>,
}

struct Compaction<'a> {
    client: &'a dyn ReplicaClient,
    level: u8,
    retry: RetryPolicy,
    /// What is being merged.
    inputs: Vec<FileInfo>,
    written: Option<FileInfo>,
}

impl Compaction<'_> {
    fn run(&mut self) -> Result<()> {
        let (existing, _) = split(self.client.ltx_files(self.level, TxId::NONE, false)?);
        let mut seam = Seam { reached: TxId::NONE, file: None };
        for file in &existing {
            // A file that lies apart was put there by somebody, or made after a gap that a snapshot covers. Only if the lower
            // level leads on before it, that is where to go on.
            if !file.continues(seam.reached) && seam.file.is_some() {
                let sources = self.sources(seam.reached)?.before(file.min_txid);
                match self.fill(seam, sources) {
                    Ok(()) | Err(Error::Gap { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if file.leads_beyond(seam.reached) {
                seam = Seam { reached: file.max_txid, file: Some(*file) };
            }
        }
        let sources = self.sources(seam.reached)?;
        self.fill(seam, sources)
    }

    /// Merges all of `sources`, from `seam` on.
    fn fill(&mut self, mut seam: Seam, mut sources: Sources) -> Result<()> {
        loop {
            let inputs = match sources.next(seam.reached, MOST_INPUTS) {
                Err(Error::Gap { have, next }) => {
                    seam = self.beyond_gap(have, next, &sources)?;
                    continue;
                }
                inputs => inputs?,
            };
            if inputs.is_empty() {
                return self.end(seam, &sources);
            }
            self.inputs.clone_from(&inputs);
            let stop = AtomicBool::new(false);
            let mut merge = Merge::open(self.client, &inputs, self.retry, &stop)?;
            self.check_seam(seam, &inputs, merge.page_size()?)?;
            let count = merge.change()?.map_or(inputs.len(), |change| change.before);
            merge.truncate(count);
            let (merged, later) = inputs.split_at(count);
            sources.put_back(later);
            let info = self.store(merged, merge)?;
            seam = Seam { reached: info.max_txid, file: merged.last().copied() };
            self.written = Some(info);
        }
    }

    /// Where to go on before `next`, if a snapshot leads there: then the levels need not.
    fn beyond_gap(&self, have: TxId, next: FileKey, sources: &Sources) -> Result<Seam> {
        let reached = before(next.min_txid);
        match self.snapshot(reached)? {
            Some(snapshot) => {
                let file = (snapshot.max_txid == reached).then_some(snapshot);
                Ok(Seam { reached, file })
            }
            None => {
                let unusable = sources.unusable_after(have).filter(|file| file.continues(have));
                Err(unusable.map_or(Error::Gap { have, next }, too_short))
            }
        }
    }

    /// Nothing is left to be merged, unless a file cannot be used.
    fn end(&self, seam: Seam, sources: &Sources) -> Result<()> {
        match sources.unusable_after(seam.reached) {
            Some(file) if self.snapshot(file.max_txid)?.is_none() => Err(too_short(file)),
            _ => Ok(()),
        }
    }

    /// Beyond a change of page size merging goes on only if a snapshot leads there.
    fn check_seam(&self, seam: Seam, inputs: &[FileInfo], page_size: Option<PageSize>) -> Result<()> {
        let (Some(last), Some(first), Some(page_size)) = (seam.file, inputs.first(), page_size) else {
            return Ok(());
        };
        let expected = match self.page_size(&last) {
            // A damaged file above is not read here, so this is not the place to complain about it.
            Err(Error::Format { .. } | Error::WrongTransactions { .. }) => return Ok(()),
            read => read?,
        };
        if expected == page_size {
            return Ok(());
        }
        match self.snapshot(seam.reached)? {
            Some(snapshot) if snapshot.max_txid > seam.reached => Ok(()),
            Some(snapshot) if self.page_size(&snapshot)? == page_size => Ok(()),
            _ => Err(mismatch(first, page_size, &last, expected)),
        }
    }

    /// The snapshot that leads furthest, if it leads to `txid` or beyond.
    fn snapshot(&self, txid: TxId) -> Result<Option<FileInfo>> {
        let (snapshots, _) = split(self.client.ltx_files(SNAPSHOT_LEVEL, TxId::NONE, false)?);
        Ok(snapshots.into_iter().rfind(|file| can_be_planned(file) && file.max_txid >= txid))
    }

    /// Whether another attempt may succeed: files have been merged or deleted since they were listed.
    fn is_stale(&self, error: &Error) -> bool {
        let Error::Gap { have, .. } = *error else {
            return is_stale(self.client, &self.inputs, false, error);
        };
        // What is missing below may have been merged by somebody else.
        let existing = self.client.ltx_files(self.level, TxId::NONE, false).unwrap_or_default();
        existing.iter().any(|file| file.leads_beyond(have) && file.continues(have))
    }

    fn page_size(&self, file: &FileInfo) -> Result<PageSize> {
        let never = AtomicBool::new(false);
        let reader = RangeReader { client: self.client, retry: self.retry, cancel: &never };
        reader.header(file).map(|header| header.page_size)
    }

    /// The files of the lower level that lead beyond `reached`.
    fn sources(&self, reached: TxId) -> Result<Sources> {
        let (level, next) = (self.level - 1, after(reached));
        if reached == next {
            return Ok(Sources::new(Vec::new()));
        }
        let listed = self.client.ltx_files(level, next, false)?;
        let adjoins = listed.first().is_none_or(|file| reached.is_none() || file.min_txid == next);
        // Only a file that begins before `next` can close the gap, and only the whole listing shows it.
        let mut listed = if adjoins { listed } else { self.client.ltx_files(level, TxId::NONE, false)? };
        listed.retain(|file| file.leads_beyond(reached));
        Ok(Sources::new(listed))
    }

    fn store(&self, inputs: &[FileInfo], merge: Merge<'_>) -> Result<FileInfo> {
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            return Err(Error::NoSnapshot { first: None });
        };
        merge.run(&mut |output| self.client.write_ltx_file(self.level, first.min_txid, last.max_txid, output))
    }
}
