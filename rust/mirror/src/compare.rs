//! Whether a followed database is what its replica holds, page by page: the proof where nothing shorter proves it.

use std::io::Read;
use std::ops::Range;

use dbfile::header::{CHANGE_COUNTER, SQLITE_VERSION, VERSION_VALID_FOR, VERSIONS};
use dbfile::page_checksum;
use ltx::{Decoder, Header, Pgno, ReadAt};
use replica::{FileInfo, ReplicaClient, Result, RetryPolicy, merge_into};

use crate::{Followed, Step};

/// Bytes of page 1 that are not the replica's: the file format versions, the change counter, and what SQLite writes together with
/// the counter.
const OWN: [Range<usize>; 4] = [VERSIONS, CHANGE_COUNTER, VERSION_VALID_FOR, SQLITE_VERSION];

/// Pages between two calls of the watcher.
const WATCH_EVERY: u32 = 256;

/// Is told after every so many pages how many of how many have been compared; its error ends the comparison.
pub type Watch<'a> = &'a mut dyn FnMut(u32, u32) -> Result<()>;

impl Followed {
    /// The first page in which the database differs from what `files` restore, a whole chain from the first transaction on.
    /// Pages that `step` has are left out: then the answer is about the database after the step. Page 1 stands for another
    /// size of the database or of its pages.
    ///
    /// No lock is taken. The caller makes sure that nobody writes meanwhile, or looks afterwards whether somebody has.
    ///
    /// # Errors
    /// As [`Followed::merge`]; those of `watch`.
    pub fn first_difference(
        &self,
        client: &dyn ReplicaClient,
        files: &[FileInfo],
        step: Option<&Step>,
        watch: Watch<'_>,
    ) -> Result<Option<Pgno>> {
        merge_into(client, files, RetryPolicy::default(), &mut |input| self.compare(input, step, watch))
    }

    fn compare(&self, input: &mut dyn Read, step: Option<&Step>, watch: Watch<'_>) -> Result<Option<Pgno>> {
        let mut decoder = Decoder::new(input).map_err(|error| self.format(error))?;
        let Header { page_size, commit, .. } = *decoder.header();
        let shape = self.shape(page_size)?;
        if shape.page_size != page_size || (step.is_none() && shape.pages != commit) {
            return Ok(Some(Pgno::FIRST));
        }
        let (mut theirs, mut ours) = (vec![0; page_size.bytes()], vec![0; page_size.bytes()]);
        while let Some(pgno) = decoder.next_page(&mut theirs).map_err(|error| self.format(error))? {
            if pgno.get() % WATCH_EVERY == 0 {
                watch(pgno.get(), commit.get())?;
            }
            if step.is_some_and(|step| step.pages.get(pgno).is_some()) {
                continue;
            }
            if pgno.get() > shape.pages.get() {
                return Ok(Some(pgno));
            }
            let read = self.file().read_exact_at(&mut ours, pgno.offset(page_size));
            read.map_err(|source| self.error("read", source))?;
            if pgno == Pgno::FIRST {
                blank(&mut theirs);
                blank(&mut ours);
            }
            if ours != theirs {
                return Ok(Some(pgno));
            }
        }
        decoder.finish().map_err(|error| self.format(error))?;
        Ok(None)
    }
}

/// Makes pages 1 alike in what is not compared. A checksum of the page, which covers that, is computed anew.
fn blank(page: &mut [u8]) {
    page_checksum::edit_page_1(page, |page| {
        for own in OWN {
            page.iter_mut().take(own.end).skip(own.start).for_each(|byte| *byte = 0);
        }
    });
}
