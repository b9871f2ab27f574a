//! Opening a database: where did replication stop, and can it simply go on?

use std::sync::Arc;

use ltx::{Header, PageCount, PageSize, TxId};
use wal::{Cursor, PageMap, Salt, WalHeader, WalReader};

use crate::error::{Context, Result};
use crate::files::LiveFiles;
use crate::live::{Live, Position};
use crate::meta_dir::MetaDir;
use crate::notices::Notices;
use crate::options::Options;
use crate::page_sums::PageSums;
use crate::pending::Pending;
use crate::seal::Pace;
use crate::snapshot::Snapshots;
use crate::status::Counters;
use crate::turns::Turns;

impl Live {
    /// Opens the database and decides where its chain goes on. `remote` is the newest transaction that the replica has.
    pub(crate) fn open(options: &Arc<Options>, remote: TxId, notices: &Notices) -> Result<Self> {
        let root = options.meta_path.clone().unwrap_or_else(|| MetaDir::default_path(&options.path));
        let meta = MetaDir::open(&options.path, root)?;
        let turns = Turns::open(&options.path, options.busy_timeout)?;
        let page_size = PageSize::new(turns.holder().page_size()?).context("read", &options.path)?;
        let paths = [options.path.clone(), options.sibling("-wal"), options.sibling("-shm")];
        let mut live = Self {
            options: Arc::clone(options),
            files: LiveFiles::open(paths)?,
            turns,
            reader: None,
            page_size,
            position: Position::unknown(remote),
            pending: Pending::new(page_size, meta.own_dir()),
            spare: None,
            sums: None,
            pace: Pace::new(options),
            counters: Counters::default(),
            reason: None,
            snapshot_wanted: meta.wanted_snapshot()?,
            notices: notices.clone(),
            last_timestamp: None,
            last_emit: None,
            snapshots: Snapshots::default(),
            meta: Arc::new(meta),
        };
        live.find_position(remote)?;
        Ok(live)
    }

    fn find_position(&mut self, remote: TxId) -> Result<()> {
        let local = self.meta.newest()?;
        let header = if local < remote || local.is_none() { None } else { self.newest_header(local) };
        let Some(header) = header else {
            // The replica is ahead, or what is here cannot be read: its files say nothing about this database.
            if !remote.is_none() {
                self.notices.say(format!(
                    "the replica is ahead of {}: it ends at TXID {remote}, the local files at {local}; going on after {remote}",
                    self.path().display()
                ));
            }
            self.meta.remove_all_l0()?;
            self.position = Position::unknown(remote);
            return Ok(());
        };
        self.last_timestamp = Some(header.timestamp);
        self.position.txid = local;
        self.position.commit = header.commit;
        if header.page_size != self.page_size {
            self.want_snapshot(self.position.next_txid()?)?;
            self.position.lost = Some("the page size changed");
            return Ok(());
        }
        self.sums = PageSums::open(&self.meta, self.page_size, local)?;
        if self.sums.as_ref().is_some_and(|sums| sums.own() < local) {
            // What another program did is not taken on trust: it may have missed frames.
            self.position.lost = Some("another program made the newest L0 file");
            return Ok(());
        }
        match self.prove(&header)? {
            Some(cursor) => self.go_on_at(cursor, header.commit),
            None => {
                self.position.lost = Some("the wal does not continue the newest L0 file");
                Ok(())
            }
        }
    }

    /// Reads on from `cursor`. Our transaction holds only what was committed after it began: if everything was in the database
    /// file by then, a writer may be beginning the WAL anew over frames that we have not read.
    fn go_on_at(&mut self, cursor: Cursor, commit: PageCount) -> Result<()> {
        self.position.cursor = Some(cursor);
        self.position.wal_start = cursor.offset;
        self.position.commit_read = commit;
        self.position.lost = None;
        self.catch_up()?;
        let same_generation = self.position.cursor.is_some_and(|now| now.header.salt == cursor.header.salt);
        if !same_generation || self.files.wal_index()?.is_none_or(|index| index.salt != cursor.header.salt) {
            self.lose("the wal was begun anew while it was opened");
        }
        Ok(())
    }

    /// The header of the newest L0 file, if the file is whole.
    fn newest_header(&self, txid: TxId) -> Option<Header> {
        let mut decoder = ltx::Decoder::new(self.meta.open_l0(txid).ok()??).ok()?;
        let (header, mut page) = (*decoder.header(), vec![0; decoder.header().page_size.bytes()]);
        while decoder.next_page(&mut page).ok()?.is_some() {}
        decoder.finish().ok()?;
        (header.min_txid == txid && header.max_txid == txid).then_some(header)
    }

    /// The place in the WAL where the newest L0 file ends, if the WAL is provably the one it was made from.
    ///
    /// The salts must be the same, the chain of checksums whole up to that place, and every page of that stretch must be the
    /// one that the L0 files left behind. A frame that happens to lie at the right offset proves nothing.
    fn prove(&self, header: &Header) -> Result<Option<Cursor>> {
        let salt = Salt { salt1: header.wal_salt1, salt2: header.wal_salt2 };
        let end = header.wal_offset.saturating_add(header.wal_size);
        let index = self.files.wal_index()?.filter(|index| index.salt == salt && index.mx_frame > 0);
        let wal = self.files.wal_header()?.filter(|wal| wal.salt == salt && wal.page_size == self.page_size);
        let (Some(index), Some(wal)) = (index, wal) else { return Ok(None) };
        if header.wal_size == 0 || end > wal::wal_size(index.mx_frame.into(), self.page_size) {
            return Ok(None);
        }
        let mut reader = WalReader::resume(self.files.wal.clone(), Cursor::start(wal));
        reader.limit(end);
        let map = PageMap::build(&mut reader, None).context("read", self.path())?;
        if map.end.offset != end || map.commit != header.commit {
            return Ok(None);
        }
        let same = match &self.sums {
            Some(sums) => self.pages_match_sums(&map, sums)?,
            None => self.pages_match_file(header, wal)?,
        };
        Ok(same.then_some(map.end))
    }

    fn pages_match_sums(&self, map: &PageMap, sums: &PageSums) -> Result<bool> {
        let mut page = vec![0; self.page_size.bytes()];
        for (pgno, offset) in map.iter() {
            ltx::ReadAt::read_exact_at(&self.files.wal, &mut page, offset).context("read", self.path())?;
            if sums.get(pgno)? != ltx::page_checksum(pgno, &page) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Without page checksums only the newest L0 file can be asked: it must hold its stretch of the WAL, page for page.
    fn pages_match_file(&self, header: &Header, wal: WalHeader) -> Result<bool> {
        let start =
            wal::resume_unverified(&self.files.wal, wal, header.wal_offset).context("read", self.path())?;
        let Some(start) = start else { return Ok(false) };
        let mut reader = WalReader::resume(self.files.wal.clone(), start);
        reader.limit(header.wal_offset.saturating_add(header.wal_size));
        let map = PageMap::build(&mut reader, None).context("read", self.path())?;
        let path = self.meta.l0_path(header.max_txid);
        let Some(file) = self.meta.open_l0(header.max_txid)? else { return Ok(false) };
        let mut decoder = ltx::Decoder::new(file).context("read", &path)?;
        let (mut page, mut frame, mut found) =
            (vec![0; self.page_size.bytes()], vec![0; self.page_size.bytes()], 0);
        while let Some(pgno) = decoder.next_page(&mut page).context("read", &path)? {
            let Some(offset) = map.get(pgno) else { continue };
            ltx::ReadAt::read_exact_at(&self.files.wal, &mut frame, offset).context("read", self.path())?;
            if frame != page {
                return Ok(false);
            }
            found += 1;
        }
        Ok(found == map.len())
    }
}

impl Position {
    /// After the newest transaction of the replica, with nothing known of the pages.
    fn unknown(remote: TxId) -> Self {
        let none = PageCount::new(0);
        let lost =
            Some(if remote.is_none() { "the first L0 file" } else { "the replica is ahead of what is here" });
        let wal_start = WalHeader::SIZE as u64;
        Self { txid: remote, commit: none, commit_read: none, cursor: None, backfilled: 0, wal_start, lost }
    }
}
