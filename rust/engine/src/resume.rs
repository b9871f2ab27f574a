//! Opening a database: where did replication stop, and can it simply go on?

use std::fs;
use std::sync::Arc;

use ltx::{Header, PageCount, PageSize, TxId};
use wal::{Cursor, PageMap, Salt, WalHeader, WalReader};

use crate::door;
use crate::error::{Context, Error, Result};
use crate::files::{LiveFiles, Name};
use crate::letting_go::Frames;
use crate::level0::LocalFile;
use crate::live::{Live, Position};
use crate::meta_dir::MetaDir;
use crate::notices::Notices;
use crate::observed::{Doubt, Observed};
use crate::options::Options;
use crate::pace::Pace;
use crate::page_form::PageForm;
use crate::page_sums::PageSums;
use crate::pending::Pending;
use crate::published::Published;
use crate::running::Snapshots;
use crate::status::Counters;
use crate::turns::Turns;

impl Live {
    /// Opens the database and decides where its chain goes on. `remote` is the newest transaction that the replica has,
    /// `frames` what is known of the WAL from when it was let go.
    pub(crate) fn open(
        options: &Arc<Options>,
        remote: TxId,
        frames: Frames,
        notices: &Notices,
        published: &Arc<Published>,
    ) -> Result<Self> {
        // SQLite follows links too, and its sidecars are where they lead to.
        let real = fs::canonicalize(&options.path).context("open", &options.path)?;
        let root = options.meta_path.clone().unwrap_or_else(|| MetaDir::default_path(&options.path));
        let meta = MetaDir::open(&options.path, root)?;
        let is_used = door::check(options, &real, notices)?;
        let turns = Turns::open(&real, options.busy_timeout)?;
        let page_size = PageSize::new(turns.holder().page_size()?).context("read", &options.path)?;
        let files = LiveFiles::open(&options.path, &real)?;
        let mut live = Self {
            options: Arc::clone(options),
            observed: Observed::nothing(),
            doubt: Doubt::default(),
            files,
            distrusted: None,
            chain_wanted: None,
            turns,
            reader: None,
            page_size,
            form: PageForm::default(),
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
            published: Arc::clone(published),
            meta: Arc::new(meta),
        };
        live.verify_opened()?;
        live.form = live.newest_view()?.form()?;
        let is_proved = live.find_position(remote)?;
        // Whether frames that were left behind belong to the file beside them only two can know: whoever uses them, and we, if
        // they were read from this WAL and nothing has been written to it or to the file since.
        live.distrusted = match frames {
            Frames::Unproved(salt) if is_used => Some(salt),
            Frames::Sound if is_proved => None,
            _ if is_used => None,
            _ => live.unproved_frames(),
        };
        Ok(live)
    }

    /// Each of the files was opened by its name: now it is proved that they belong together.
    fn verify_opened(&mut self) -> Result<()> {
        let names = self.files.names()?;
        let is_one_database = self.turns.file_ids()?.iter().all(|id| *id == self.files.db_id());
        if !is_one_database || [names.db, names.wal, names.shm] != [Name::Same; 3] {
            let what = "the database file was replaced while it was opened";
            return Err(Error::Changed { path: self.path().to_owned(), what });
        }
        self.observed = self.observe()?;
        Ok(())
    }

    /// Whether the WAL and the database file are proved to be those that the newest L0 file was made from.
    fn find_position(&mut self, remote: TxId) -> Result<bool> {
        let Some(header) = self.newest_sound_file(remote)? else {
            self.position = Position::unknown(remote);
            self.chain_wanted = Some(remote).filter(|remote| !remote.is_none());
            return Ok(false);
        };
        let local = header.max_txid;
        self.last_timestamp = Some(header.timestamp);
        self.position.txid = local;
        self.position.has_file = true;
        self.position.commit = header.commit;
        if header.page_size != self.page_size {
            self.want_snapshot(self.position.next_txid()?)?;
            self.position.lost = Some("the page size changed");
            return Ok(false);
        }
        self.sums = PageSums::open(&self.meta, self.page_size, local)?;
        let Some(sums) = &self.sums else {
            self.position.lost = Some("nothing is known of the pages at the newest L0 file");
            self.chain_wanted = Some(remote.min(local)).filter(|txid| !txid.is_none());
            return Ok(false);
        };
        if sums.own() < local {
            // What another program did is not taken on trust: it may have missed frames.
            self.position.lost = Some("another program made the newest L0 file");
            return Ok(false);
        }
        let place = sums.place();
        if place.stamp != self.observed.stamp {
            self.position.lost = Some("the database file was written since it was followed last");
            return Ok(false);
        }
        match self.prove(&header)? {
            Some(cursor) => self.go_on_at(Some(cursor), header.commit).map(|()| true),
            // The database file is what the L0 files hold, and nothing was moved into it since: what came after is in the WAL, and
            // what is in the WAL came after, or does no harm when it is read once more.
            None if place.is_whole => {
                let cursor = self.end_without_wal()?;
                self.go_on_at(cursor, header.commit).map(|()| false)
            }
            None => {
                self.position.lost = Some("the wal does not continue the newest L0 file");
                Ok(false)
            }
        }
    }

    /// The header of the newest L0 file that the chain can go on from. What is here beyond a file that is damaged or missing
    /// leads on from nothing, and goes; so does all that is here when the replica is ahead.
    fn newest_sound_file(&mut self, remote: TxId) -> Result<Option<Header>> {
        let files = self.meta.level0.list()?;
        let local = files.last().map_or(TxId::NONE, |file| file.max_txid);
        if local < remote {
            self.notices.say(format!(
                "the replica is ahead of {}: it ends at TXID {remote}, the local files at {local}; going on after {remote}",
                self.path().display()
            ));
            self.meta.remove_all_l0()?;
            return Ok(None);
        }
        // What the replica has already matters only as the place to go on from.
        let uploaded = files.iter().rposition(|file| file.max_txid <= remote);
        let sound = |file: &LocalFile| self.meta.level0.sound_header(file.max_txid);
        let mut newest = uploaded.map_or(Ok(None), |at| sound(&files[at]))?;
        let rest = &files[uploaded.map_or(0, |at| at + 1)..];
        // What is missing here may be in the replica.
        let mut end = newest.as_ref().map(|last| last.max_txid.max(remote));
        for (at, file) in rest.iter().enumerate() {
            let joins = end.map_or(at == 0 && uploaded.is_none(), |end| end.next() == Some(file.min_txid));
            match sound(file)?.filter(|_| joins) {
                Some(header) => {
                    end = Some(header.max_txid);
                    newest = Some(header);
                }
                None => {
                    let first = file.min_txid;
                    self.notices.say(format!(
                        "local files of {} from TXID {first} on are damaged or missing; comparing every page",
                        self.path().display()
                    ));
                    rest[at..].iter().try_for_each(|file| self.meta.remove_l0(file))?;
                    break;
                }
            }
        }
        // Below the end of the replica a TXID must not be used again.
        let newest = newest.filter(|last| last.max_txid >= remote);
        if newest.is_none() {
            self.meta.remove_all_l0()?;
        }
        Ok(newest)
    }

    /// Reads on from `cursor`. Our transaction holds only what was committed after it began: if everything was in the database
    /// file by then, a writer may be beginning the WAL anew over frames that we have not read.
    fn go_on_at(&mut self, cursor: Option<Cursor>, commit: PageCount) -> Result<()> {
        self.position.cursor = cursor;
        self.position.commit_read = commit;
        self.position.lost = None;
        self.position.begin_file();
        self.catch_up()?;
        // From the first frame on: there is no place that the WAL could have left behind.
        let Some(cursor) = cursor else { return Ok(()) };
        let same_generation = self.position.cursor.is_some_and(|now| now.header.salt == cursor.header.salt);
        if !same_generation || self.files.wal_index()?.is_none_or(|index| index.salt != cursor.header.salt) {
            self.lose("the wal was begun anew while it was opened");
        }
        Ok(())
    }

    /// Removes the L0 file of `txid` if it is not whole.
    pub(crate) fn remove_damaged_l0(&self, txid: TxId) -> Result<()> {
        if !self.meta.level0.has(txid) || self.meta.level0.sound_header(txid)?.is_some() {
            return Ok(());
        }
        let path = self.path().display();
        self.notices.say(format!("local file of {path} at TXID {txid} is damaged; it is not uploaded"));
        self.meta.remove_txid(txid)
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
        let same = self.sums.as_ref().map_or(Ok(false), |sums| self.pages_match_sums(&map, sums))?;
        Ok(same.then_some(map.end))
    }

    fn pages_match_sums(&self, map: &PageMap, sums: &PageSums) -> Result<bool> {
        let mut page = vec![0; self.page_size.bytes()];
        for (pgno, offset) in map.iter() {
            ltx::ReadAt::read_exact_at(&self.files.wal, &mut page, offset).context("read", self.path())?;
            self.form.complete(&mut page);
            if sums.get(pgno)? != ltx::page_checksum(pgno, &page) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Position {
    /// After the newest transaction of the replica, with nothing known of the pages.
    fn unknown(remote: TxId) -> Self {
        let none = PageCount::new(0);
        let lost =
            Some(if remote.is_none() { "the first L0 file" } else { "the replica is ahead of what is here" });
        let wal_start = WalHeader::SIZE as u64;
        Self {
            txid: remote,
            has_file: false,
            commit: none,
            commit_read: none,
            cursor: None,
            backfilled: 0,
            wal_start,
            lost,
        }
    }
}
