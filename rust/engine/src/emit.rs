//! What was read becomes one L0 file.

use std::path::PathBuf;
use std::time::Instant;

use ltx::{Checksum, Encoder, Header, PageCount, Pgno, ReadAt, Timestamp, TxId};
use wal::WalHeader;

use crate::error::{Context, Result};
use crate::live::Live;
use crate::meta_dir::Staged;

/// Pages and their checksums, in page order.
type Changed = Vec<(Pgno, Checksum)>;

impl Live {
    /// Writes everything that was read into the next L0 file; `None` when there is nothing.
    pub(crate) fn emit(&mut self) -> Result<Option<TxId>> {
        if self.position.lost.is_some() {
            return self.repair();
        }
        if self.pending.is_empty() {
            return Ok(None);
        }
        self.verify_chain()?;
        let header = self.next_header(self.position.commit_read)?;
        let changed = self.write_increment(&header)?;
        if let Some(sums) = &mut self.sums {
            sums.update(&changed, header.commit)?;
        }
        self.counters.increments += 1;
        self.published(&header);
        Ok(Some(header.max_txid))
    }

    /// The header of the next L0 file: its transaction, and the stretch of the WAL it came from, so that Litestream can go on
    /// from it (Litestream, LTX header, WAL fields).
    pub(crate) fn next_header(&self, commit: PageCount) -> Result<Header> {
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

    /// Time never goes back along the chain, whatever the clock does.
    fn next_timestamp(&self) -> Timestamp {
        let now = (self.options.clock)();
        self.last_timestamp.map_or(now, |last| now.max(last))
    }

    /// The L0 file of `header` is durable under its name: from here on it is the position.
    pub(crate) fn published(&mut self, header: &Header) {
        self.position.txid = header.max_txid;
        self.position.commit = header.commit;
        self.position.wal_start = self.position.cursor.map_or(WalHeader::SIZE as u64, |cursor| cursor.offset);
        self.pending.clear();
        self.last_timestamp = Some(header.timestamp);
        self.last_emit = Some(Instant::now());
    }

    fn write_increment(&self, header: &Header) -> Result<Changed> {
        let path = self.meta.l0_path(header.max_txid);
        let mut encoder =
            Encoder::new(self.meta.stage_l0(header.max_txid)?, header).context("write", &path)?;
        let mut changed = Vec::new();
        let mut page = vec![0; self.page_size.bytes()];
        for pgno in self.pages_to_write(header.commit) {
            if !self.pending.read(pgno, &mut page).context("read kept pages of", self.path())? {
                self.read_database_page(pgno, &mut page)?;
            }
            encoder.write_page(pgno, &page).context("write", &path)?;
            changed.push((pgno, ltx::page_checksum(pgno, &page)));
        }
        publish(encoder, path)?;
        Ok(changed)
    }

    /// The pages that were committed, and every page the database grew by: SQLite need not write a page it only allocated.
    fn pages_to_write(&self, commit: PageCount) -> Vec<Pgno> {
        let mut pgnos = self.pending.pgnos(commit);
        let grown = self.position.commit.get() + 1..=commit.get();
        if !grown.is_empty() {
            let lock_page = self.page_size.lock_pgno();
            pgnos.retain(|pgno| pgno.get() < *grown.start());
            pgnos.extend(grown.filter_map(Pgno::new).filter(|pgno| *pgno != lock_page));
        }
        pgnos
    }

    /// A page that no frame since the last L0 file holds. Our transaction began before the newest commit read, so no
    /// checkpoint can have moved a later version into the file.
    fn read_database_page(&self, pgno: Pgno, page: &mut [u8]) -> Result<()> {
        page.fill(0);
        let (mut done, start) = (0, pgno.offset(self.page_size));
        while done < page.len() {
            match self
                .files
                .db
                .read_at(&mut page[done..], start + done as u64)
                .context("read", self.path())?
            {
                0 => break,
                read => done += read,
            }
        }
        Ok(())
    }
}

/// Finishes an L0 file without database checksum, as stock readers need it, and makes it durable.
pub(crate) fn publish(encoder: Encoder<Staged>, path: PathBuf) -> Result<()> {
    let (staged, _) = encoder.finish(Checksum::NONE).context("write", &path)?;
    staged.publish().map(drop)
}
