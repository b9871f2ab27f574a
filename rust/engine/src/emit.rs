//! What was read becomes one L0 file.
//!
//! Taking the pages and taking note of the finished file need the database; writing and syncing the file, which is what takes
//! time, does not. So following goes on while a file is made.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ltx::{Checksum, Encoder, Header, Pgno, ReadAt, Timestamp, TxId};
use osvfs::Stamp;
use wal::{Cursor, PageMap, WalHeader, WalReader};

use crate::error::{Context, Result};
use crate::live::Live;
use crate::meta_dir::{MetaDir, Staged};
use crate::page_form::PageForm;
use crate::page_sums::Place;
use crate::pending::Pending;

/// How far, in milliseconds, the clock may step back without a trace: more than time servers correct at once.
const STEP_BACK_MS: i64 = 5000;

/// An L0 file to be written, with all that goes into it.
pub(crate) struct Job {
    header: Header,
    pgnos: Vec<Pgno>,
    pages: Pending,
    form: PageForm,
    meta: Arc<MetaDir>,
}

/// An L0 file that is durable under its name.
pub(crate) struct Written {
    header: Header,
    changed: Vec<(Pgno, Checksum)>,
    /// Empty again; its memory is used for the next file.
    spare: Pending,
}

impl Live {
    /// Writes everything that was read into the next L0 file, now; `None` when there is nothing.
    pub(crate) fn emit(&mut self) -> Result<Option<TxId>> {
        if self.position.lost.is_some() {
            return self.repair();
        }
        let Some(job) = self.take_job()? else { return Ok(None) };
        let written = job.write();
        self.finish_job(written).map(Some)
    }

    /// Writes what was read into the next L0 file, without a look at the database file; nothing if that would be needed.
    pub(crate) fn emit_read(&mut self) -> Result<()> {
        if self.position.lost.is_some() || self.unwritten_pages().next().is_some() {
            return Ok(());
        }
        let Some(job) = self.take_job()? else { return Ok(()) };
        let written = job.write();
        self.finish_job(written).map(drop)
    }

    /// Everything that was read, as a file to be written elsewhere. No other file may be made before [`Live::finish_job`].
    pub(crate) fn take_job(&mut self) -> Result<Option<Job>> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        self.verify_chain()?;
        self.see_form()?;
        let header = self.next_header(self.position.commit_read)?;
        self.keep_grown_pages()?;
        let pgnos = self.pending.pgnos(header.commit);
        let fresh = self.spare.take().unwrap_or_else(|| Pending::new(self.page_size, self.meta.own_dir()));
        let pages = std::mem::replace(&mut self.pending, fresh);
        self.position.begin_file();
        Ok(Some(Job { header, pgnos, pages, form: self.form, meta: Arc::clone(&self.meta) }))
    }

    /// Takes note of a file that was written, or could not be: then its pages are found again by comparing all of them.
    pub(crate) fn finish_job(&mut self, written: Result<Written>) -> Result<TxId> {
        let Written { header, changed, spare } = match written {
            Ok(written) => written,
            Err(error) => {
                self.lose("an L0 file could not be written");
                return Err(error);
            }
        };
        self.spare = Some(spare);
        self.counters.incremental_syncs += 1;
        self.published(&header);
        let place = self.place();
        if let Some(sums) = &mut self.sums
            && let Err(error) = sums.update(header.max_txid, &changed, header.commit, place)
        {
            // Half of it may be there; what is on disk can still be brought up by the L0 files, but not used as it is.
            self.sums = None;
            return Err(error);
        }
        Ok(header.max_txid)
    }

    /// The header of the next L0 file: its transaction, and the stretch of the WAL it came from, so that Litestream can go on
    /// from it (Litestream, LTX header, WAL fields).
    pub(crate) fn next_header(&self, commit: ltx::PageCount) -> Result<Header> {
        let txid = self.position.next_txid()?;
        let mut header = Header::new(self.page_size, commit, txid, txid);
        header.timestamp = self.next_timestamp();
        header.wal_offset = WalHeader::SIZE as u64;
        if let Some(cursor) = self.position.cursor {
            header.wal_offset = self.position.wal_start;
            header.wal_size = cursor.offset.saturating_sub(self.position.wal_start);
            header.wal_salt1 = cursor.header.salt.salt1;
            header.wal_salt2 = cursor.header.salt.salt2;
        }
        Ok(header)
    }

    /// The L0 file of `header` is durable under its name: from here on it is the position.
    pub(crate) fn published(&mut self, header: &Header) {
        self.position.txid = header.max_txid;
        self.position.has_file = true;
        self.position.commit = header.commit;
        self.last_timestamp = Some(header.timestamp);
        self.last_emit = Some(Instant::now());
    }

    /// The database file as it was when it was looked at last.
    pub(crate) fn place(&self) -> Place {
        let is_whole = self.pending.is_empty() && self.position.lost.is_none() && self.pace.wal_is_drained();
        // While there is a doubt, what is there now is no proof of anything later on; nor is it where the WAL may be another one's.
        let is_proved = !self.doubt.is_open() && self.frames_are_trusted();
        let stamp = if is_proved { self.observed.stamp } else { Stamp::default() };
        Place { stamp, is_whole }
    }

    /// Small steps back of the clock are not shown, so that times only grow along the chain. After a large one the last times
    /// were wrong, and to go on from them would hide everything until then from a restore to a time: such times are bounded by
    /// those that follow.
    fn next_timestamp(&self) -> Timestamp {
        let now = (self.options.clock)();
        let Some(last) = self.last_timestamp else { return now };
        let back = last.millis().saturating_sub(now.millis());
        if back <= STEP_BACK_MS {
            return now.max(last);
        }
        self.notices.say(format!(
            "the clock went back by {} s: transactions of {} up to TXID {} have later times than those after them",
            back / 1000,
            self.path().display(),
            self.position.txid
        ));
        now
    }

    /// Every page the database grew by must be in the file, and SQLite need not write a page that it only allocated. What such
    /// a page holds is what an older frame or the database file has. Our transaction began before the newest commit read, so
    /// no checkpoint can have moved a later version there.
    fn keep_grown_pages(&mut self) -> Result<()> {
        let unwritten: Vec<_> = self.unwritten_pages().collect();
        if unwritten.is_empty() {
            return Ok(());
        }
        let older = self.frames_of_generation()?;
        let mut page = vec![0; self.page_size.bytes()];
        for pgno in unwritten {
            self.read_older_page(pgno, older.as_ref(), &mut page).context("read", &self.options.path)?;
            self.pending.put(pgno, &page).context("keep pages of", &self.options.path)?;
        }
        Ok(())
    }

    /// Pages that the database grew by and that were not written.
    fn unwritten_pages(&self) -> impl Iterator<Item = Pgno> {
        let lock_page = self.page_size.lock_pgno();
        let grown = self.position.commit.get() + 1..=self.position.commit_read.get();
        grown.filter_map(Pgno::new).filter(move |pgno| *pgno != lock_page && !self.pending.has(*pgno))
    }

    /// All frames of the present generation that were read; `None` when it was begun anew, and they are in the database file.
    fn frames_of_generation(&self) -> Result<Option<PageMap>> {
        let Some(end) = self.position.cursor else { return Ok(None) };
        let mut reader = WalReader::resume(self.files.wal.clone(), Cursor::start(end.header));
        reader.limit(end.offset);
        let map = PageMap::build(&mut reader, None).context("read", self.path())?;
        Ok((map.end == end).then_some(map))
    }

    fn read_older_page(&self, pgno: Pgno, older: Option<&PageMap>, page: &mut [u8]) -> io::Result<()> {
        if let Some(map) = older
            && let Some(offset) = map.get(pgno)
        {
            self.files.wal.read_exact_at(page, offset)?;
            let mut header = [0; WalHeader::SIZE];
            self.files.wal.read_exact_at(&mut header, 0)?;
            if header == map.end.header.encode() {
                return Ok(());
            }
        }
        page.fill(0);
        let (mut done, start) = (0, pgno.offset(self.page_size));
        while done < page.len() {
            match self.files.db.read_at(&mut page[done..], start + done as u64)? {
                0 => break,
                read => done += read,
            }
        }
        Ok(())
    }

    /// Looks whether pages have checksums by now. Where that was switched on, all of them were written anew.
    pub(crate) fn see_form(&mut self) -> Result<()> {
        let mut page_1 = vec![0; self.page_size.bytes()];
        if self.pending.read(Pgno::FIRST, &mut page_1).context("read kept pages of", &self.options.path)? {
            self.form = PageForm::of(&page_1);
        }
        Ok(())
    }
}

impl Job {
    /// Writes the file and makes it durable.
    pub(crate) fn write(mut self) -> Result<Written> {
        let path = self.meta.level0.path(self.header.max_txid);
        let changed = self.write_pages(&path)?;
        self.pages.clear();
        Ok(Written { header: self.header, changed, spare: self.pages })
    }

    fn write_pages(&self, path: &Path) -> Result<Vec<(Pgno, Checksum)>> {
        let staged = self.meta.stage_l0(self.header.max_txid)?;
        let mut encoder = Encoder::new(staged, &self.header).context("write", path)?;
        let mut page = vec![0; self.header.page_size.bytes()];
        let mut changed = Vec::with_capacity(self.pgnos.len());
        for &pgno in &self.pgnos {
            self.pages.read(pgno, &mut page).context("read kept pages for", path)?;
            self.form.complete(&mut page);
            encoder.write_page(pgno, &page).context("write", path)?;
            changed.push((pgno, ltx::page_checksum(pgno, &page)));
        }
        publish(&self.meta, encoder, path)?;
        Ok(changed)
    }
}

/// Finishes an L0 file without database checksum, as stock readers need it, and makes it durable.
pub(crate) fn publish(meta: &MetaDir, encoder: Encoder<Staged>, path: &Path) -> Result<()> {
    let (staged, _) = encoder.finish(Checksum::NONE).context("write", path)?;
    meta.publish(staged)
}
