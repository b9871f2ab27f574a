//! Continuity that cannot be proved is repaired by looking at every page.
//!
//! The next L0 file holds the pages whose checksum is not the one in the side file. Without a side file that is known to be
//! whole it holds every page.

use ltx::{Encoder, Header, PageCount, TxId};
use wal::{Cursor, PageMap, WalHeader, WalIndex, WalReader, resume_unverified, wal_size};

use crate::emit::publish;
use crate::error::{Context, Error, Result};
use crate::live::{Live, Position};
use crate::meta_dir::Staged;
use crate::page_sums::NewSums;
use crate::scan::{Batch, View, Wanted};

/// How often the wal-index and the WAL are compared before they are said to contradict each other.
const PIN_TRIES: u32 = 100;

/// The database at its newest commit, where that is in the WAL, and how many frames were in the database file.
type Pinned = (View, Option<Cursor>, u32);

/// An L0 file that is begun with its first page, so that a scan which finds nothing leaves nothing.
struct Difference<'a> {
    live: &'a Live,
    header: Header,
    encoder: Option<Encoder<Staged>>,
}

impl Live {
    /// Makes the next L0 file by comparing all pages; `None` when not one differs.
    pub(crate) fn repair(&mut self) -> Result<Option<TxId>> {
        let Some(reason) = self.position.lost else { return Ok(None) };
        self.verify_chain()?;
        let (view, cursor, backfilled) = self.pin()?;
        self.position.cursor = cursor;
        self.position.backfilled = backfilled;
        self.position.wal_start = WalHeader::SIZE as u64;
        let header = self.next_header(view.commit)?;
        if self.sums.is_none() && !self.position.txid.is_none() {
            // Nothing proves what the chain holds before this file, so nothing but a snapshot makes it restorable for sure.
            self.want_snapshot(header.max_txid)?;
        }
        let (made, sums) = self.write_difference(&view, header)?;
        self.reason = Some(reason);
        self.position.commit_read = view.commit;
        self.position.lost = None;
        if !made {
            self.position.begin_file();
            return Ok(None);
        }
        match self.sums {
            Some(_) => self.counters.diff_syncs += 1,
            None => self.counters.full_syncs += 1,
        }
        self.published(&header);
        self.position.begin_file();
        // The file is durable: should this fail, repeating the L0 files brings the old side file to the same place.
        self.sums = Some(sums.install(header.max_txid)?);
        self.chain_wanted = None;
        self.note_place()?;
        Ok(Some(header.max_txid))
    }

    /// Makes a side file for the position as it is, with nothing to upload.
    pub(crate) fn rebuild_sums(&mut self) -> Result<()> {
        self.leap()?;
        self.emit()?;
        let view = self.view_at_position()?;
        let mut sums = NewSums::create(&self.meta, self.page_size)?;
        self.scan(&view, Wanted::None, |batch| push_all(&mut sums, batch))?;
        self.sums = Some(sums.install(self.position.txid)?);
        Ok(())
    }

    /// The database at the newest L0 file, when nothing that was read is waiting. A read transaction must be held that began
    /// no later than that: then no checkpoint moves a later frame into the database file.
    pub(crate) fn view_at_position(&self) -> Result<View> {
        let Position { cursor, backfilled, commit, .. } = self.position;
        let view = |overlay| View { files: self.files.clone(), overlay, page_size: self.page_size, commit };
        // Where all is in the database file the WAL may be begun anew at any time, and need not be looked at.
        let Some(end) = cursor.filter(|end| u64::from(backfilled) < end.frames()) else {
            return Ok(view(None));
        };
        match self.overlay(end.header, backfilled, end)? {
            None => Err(self.contradiction()),
            overlay => Ok(view(overlay)),
        }
    }

    /// Begins a new read transaction and fixes the newest commit as seen from it.
    fn pin(&mut self) -> Result<Pinned> {
        self.pending.clear();
        self.leap()?;
        let pinned = self.look_at_newest()?;
        self.form = pinned.0.form()?;
        Ok(pinned)
    }

    /// The database at its newest commit, to be looked at only while a transaction is held that began no later.
    pub(crate) fn newest_view(&mut self) -> Result<View> {
        self.look_at_newest().map(|(view, ..)| view)
    }

    fn look_at_newest(&mut self) -> Result<Pinned> {
        for attempt in 0..PIN_TRIES {
            if let Some(index) = self.files.wal_index()?
                && let Some(pinned) = self.try_pin(&index)?
            {
                self.pace.saw(&index);
                return Ok(pinned);
            }
            wait_for_writer(attempt);
        }
        Err(self.contradiction())
    }

    fn contradiction(&self) -> Error {
        let what = "the wal does not hold what the wal-index names";
        Error::Changed { path: self.path().to_owned(), what }
    }

    fn try_pin(&self, index: &WalIndex) -> Result<Option<Pinned>> {
        let commit = match index.page_count {
            0 => self.files.db_pages(self.page_size)?,
            pages => PageCount::new(pages),
        };
        let view = |overlay| View { files: self.files.clone(), overlay, page_size: self.page_size, commit };
        if index.mx_frame == 0 {
            return Ok(Some((view(None), None, 0)));
        }
        let Some(header) = self.files.wal_header()?.filter(|header| header.salt == index.salt) else {
            return Ok(self.end_of(index).map(|end| (view(None), Some(end), index.backfilled)));
        };
        if header.page_size != self.page_size {
            let what = "the page size of the wal is another one";
            return Err(Error::Changed { path: self.path().to_owned(), what });
        }
        let offset = wal_size(index.mx_frame.into(), self.page_size);
        let end = Cursor { header, offset, checksum: index.frame_checksum };
        let overlay = self.overlay(header, index.backfilled, end)?;
        Ok(overlay.map(|overlay| (view(Some(overlay)), Some(end), index.backfilled)))
    }

    /// Where the WAL ends, if it was removed while the wal-index is in use and every frame is in the database file, as after a
    /// rest: what is committed next goes on from what the index says.
    pub(crate) fn end_without_wal(&self) -> Result<Option<Cursor>> {
        let Some(index) = self.files.wal_index()? else { return Ok(None) };
        let is_here = self.files.wal_header()?.is_some_and(|header| header.salt == index.salt);
        Ok(if is_here { None } else { self.end_of(&index) })
    }

    fn end_of(&self, index: &WalIndex) -> Option<Cursor> {
        if index.mx_frame == 0 || index.backfilled < index.mx_frame {
            return None;
        }
        let header = WalHeader::new(index.byte_order, self.page_size, 0, index.salt);
        let offset = wal_size(index.mx_frame.into(), self.page_size);
        Some(Cursor { header, offset, checksum: index.frame_checksum })
    }

    /// The frames up to `end` that are not in the database file yet; `None` when they do not lead there.
    fn overlay(&self, header: WalHeader, backfilled: u32, end: Cursor) -> Result<Option<PageMap>> {
        let wal = &self.files.wal;
        let moved = wal_size(backfilled.into(), self.page_size).min(end.offset);
        let start = resume_unverified(wal, header, moved).context("read", self.path())?;
        let Some(start) = start else { return Ok(None) };
        let mut reader = WalReader::resume(wal.clone(), start);
        reader.limit(end.offset);
        let map = PageMap::build(&mut reader, None).context("read", self.path())?;
        Ok((map.end.offset == end.offset && map.end.checksum == end.checksum).then_some(map))
    }

    fn write_difference(&self, view: &View, header: Header) -> Result<(bool, NewSums)> {
        let mut sums = NewSums::create(&self.meta, self.page_size)?;
        let mut file = Difference { live: self, header, encoder: None };
        let wanted = self.sums.as_ref().map_or(Wanted::Every, Wanted::Differing);
        self.scan(view, wanted, |batch| {
            push_all(&mut sums, batch)?;
            file.push(batch)
        })?;
        let made = file.encoder.is_some();
        file.finish()?;
        Ok((made, sums))
    }
}

impl Difference<'_> {
    fn push(&mut self, batch: &Batch) -> Result<()> {
        let path = self.live.meta.level0.path(self.header.max_txid);
        for (pgno, page, block) in batch.pages() {
            let encoder = match &mut self.encoder {
                Some(encoder) => encoder,
                none => {
                    let staged = self.live.meta.stage_l0(self.header.max_txid)?;
                    none.insert(Encoder::new(staged, &self.header).context("write", &path)?)
                }
            };
            encoder.write_compressed(pgno, page, block).context("write", &path)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let path = self.live.meta.level0.path(self.header.max_txid);
        self.encoder.map_or(Ok(()), |encoder| publish(&self.live.meta, encoder, &path))
    }
}

fn push_all(sums: &mut NewSums, batch: &Batch) -> Result<()> {
    batch.sums.iter().try_for_each(|sum| sums.push(*sum))
}

/// A commit or a checkpoint is under way: it may need as long as its writer is kept from the processor.
fn wait_for_writer(attempt: u32) {
    std::thread::sleep(std::time::Duration::from_micros(u64::from(attempt) * 20));
}
