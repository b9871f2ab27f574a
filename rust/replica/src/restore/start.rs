//! What a restore begins with, pages of a copy or nothing, and whether the result is then the database of the replica.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use ltx::{Checksum, Header, PageCount, Trailer};

use crate::client::FileInfo;
use crate::error::{Error, Result};
use crate::range::RangeReader;
use crate::restore::base::Base;
use crate::restore::output::Output;
use crate::restore::past::{self, Known, Mark, PageRun, Past};
use crate::restore::worker::Shared;

/// What a new database begins with: pages of a copy, or nothing.
pub(super) struct Start<'a> {
    pub(super) base: Option<Base<'a>>,
    pub(super) pages: PageCount,
    /// The caller has proved that the copy is sound, and it has not changed since.
    is_proved: bool,
    /// Which of its pages were written after which file.
    runs: Vec<PageRun>,
}

impl<'a> Start<'a> {
    pub(super) const NOTHING: Self =
        Self { base: None, pages: PageCount::new(0), is_proved: false, runs: Vec::new() };

    /// The pages of `base`, for a database as `header` says, to be called `output`.
    pub(super) fn at(base: Base<'a>, header: &Header, output: &Path) -> Result<Self> {
        let failed = |source| Error::output("read", output, source);
        let is_proved = base.is_proved().map_err(failed)?;
        let pages = base.pages(header.page_size).map_err(failed)?;
        match pages.zip(base.past.decode(header.page_size)) {
            // Without a checksum nothing could be proved afterwards.
            Some((pages, runs)) if is_proved || !header.flags.no_checksum => {
                Ok(Self { base: Some(base), pages, is_proved, runs })
            }
            _ => Err(Error::Unproved { path: output.to_owned(), txid: base.position }),
        }
    }

    /// What is known of the copy's past.
    fn known(&self) -> Option<Known<'_>> {
        let known =
            |base: Base<'a>| Known { past: base.past, runs: &self.runs, place: base.mark, txid: base.txid() };
        self.base.map(known)
    }

    /// What the result stands on; `mark` is the file that ends there, if it was not read.
    pub(super) fn past(&self, shared: &Shared<'_>, mark: Option<Mark>) -> io::Result<Option<Past>> {
        let checksums: Vec<u64> = shared.checksums.iter().map(|sum| sum.load(Ordering::Relaxed)).collect();
        let last = shared.files.last().zip(checksums.last());
        let Some(newest) = mark.or(last.map(|(file, checksum)| Mark::new(file, *checksum))) else {
            return Ok(None);
        };
        let read = past::Read { files: shared.files, checksums: &checksums, newest };
        past::past(self.known().as_ref(), &read, &shared.winners, shared.newest.page_size).map(Some)
    }

    pub(super) fn copy_to(&self, file: &Output, header: &Header) -> Result<()> {
        let Some(base) = self.base else { return Ok(()) };
        let pages = PageCount::new(self.pages.get().min(header.commit.get()));
        file.copy_from(base.file, pages.bytes(header.page_size))
    }

    /// Whether the result is the database that the newest file is about; the checksum of page 1 as the replica has it.
    pub(super) fn check(&self, shared: &Shared<'_>, expected: Checksum, output: &Path) -> Result<Checksum> {
        let (file, commit) = (shared.output, shared.newest.commit);
        let actual = file.page_1_checksum()?;
        let Some(base) = self.base else { return Ok(actual) };
        let unproved = || Error::Unproved { path: output.to_owned(), txid: base.position };
        if !self.is_continued(shared)? {
            return Err(unproved());
        }
        let is_new = shared.winners.has_page_1().map_err(|source| file.error(source))?;
        let page_1 = if is_new || commit.get() == 0 { Some(actual) } else { base.page_1 };
        if let Some(page_1) = page_1.filter(|page_1| *page_1 != actual) {
            // An earlier restore has changed the journal mode, and nothing else; or else a follower has changed more.
            base.head.map_or_else(|| file.use_wal(), |head| file.set_head(head))?;
            if file.page_1_checksum()? != page_1 {
                return Err(unproved());
            }
        }
        let is_summed = !expected.is_none() && page_1.is_some();
        if (is_summed && file.checksum(commit)? == expected) || (!is_summed && self.is_proved) {
            return Ok(page_1.unwrap_or(Checksum::NONE));
        }
        Err(unproved())
    }

    /// Whether nothing is left that the copy had from files after the one that proves it, and this one is still there. It was
    /// before anything was read, so nothing that was read is from before the replica became another one, if it did.
    fn is_continued(&self, shared: &Shared<'_>) -> Result<bool> {
        let Some(known) = self.known() else { return Ok(true) };
        let is_rewritten = known.is_rewritten(&shared.winners, shared.newest.commit);
        if !is_rewritten.map_err(|source| shared.output.error(source))? {
            return Ok(false);
        }
        let Some(mark) = self.base.and_then(|base| base.mark()) else { return Ok(true) };
        match read_end(&shared.reader, &mark.file()) {
            Ok((_, found)) => Ok(found == mark),
            Err(error) if error.is_not_found() || matches!(error, Error::ShortFile { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The checksum of the database that a file leads to, which is none if it has none, and what tells it from others.
pub(super) fn read_end(reader: &RangeReader<'_>, info: &FileInfo) -> Result<(Checksum, Mark)> {
    let mut trailer = [0; Trailer::SIZE];
    reader.read_exact(info, info.size.saturating_sub(Trailer::SIZE as u64), &mut trailer)?;
    let Trailer { post_apply_checksum, file_checksum } = Trailer::parse(&trailer);
    Ok((post_apply_checksum, Mark::new(info, file_checksum.get())))
}
