//! A live database that is being followed: what was read of its WAL, and how the rest is read.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ltx::{PageCount, PageSize, Pos, Timestamp, TxId};
use wal::{Cursor, Salt, WalHeader, WalIndex, WalReader, wal_size};

use crate::connection::Conn;
use crate::error::{Context, Error, Result};
use crate::files::{LiveFiles, Name, WalFile};
use crate::meta_dir::MetaDir;
use crate::notices::Notices;
use crate::observed::{Doubt, Observed};
use crate::options::Options;
use crate::pace::Pace;
use crate::page_form::PageForm;
use crate::page_sums::PageSums;
use crate::pending::Pending;
use crate::published::{Facts, Published};
use crate::running::Snapshots;
use crate::scan::{Batch, View, Wanted, scan};
use crate::status::{Counters, Reason, Status};
use crate::turns::Turns;

/// How long to wait before a wal-index that was being written is read again.
const INDEX_WAIT: Duration = Duration::from_micros(50);

/// Where replication stands: the newest L0 file, and the place in the WAL up to which frames are in it or in `Pending`.
pub(crate) struct Position {
    /// The newest transaction of the chain.
    pub(crate) txid: TxId,
    /// Size of the database after it.
    pub(crate) commit: PageCount,
    /// Whether there is an L0 file of `txid` here; a position that was taken from the replica has none.
    pub(crate) has_file: bool,
    /// Size of the database after the frames read so far.
    pub(crate) commit_read: PageCount,
    /// The next frame to read; `None` while the present WAL generation has no frame.
    pub(crate) cursor: Option<Cursor>,
    /// How many frames of the generation were in the database file when the frame before `cursor` was the newest.
    pub(crate) backfilled: u32,
    /// Where, in the present WAL generation, the frames of the next L0 file begin.
    pub(crate) wal_start: u64,
    /// Set when continuity cannot be proved: the next L0 file is made by comparing all pages.
    pub(crate) lost: Option<Reason>,
}

/// Everything that is held while a database is followed.
pub(crate) struct Live {
    pub(crate) options: Arc<Options>,
    // Fields drop in this order: the transactions end before the files go, and the lock of the meta directory goes last.
    pub(crate) turns: Turns,
    pub(crate) files: LiveFiles,
    /// The database file when it was looked at last.
    pub(crate) observed: Observed,
    pub(crate) doubt: Doubt,
    /// Frames of this generation may belong to another database file than the one beside them: never moved by us, until somebody
    /// commits to it, who has read the database with them.
    pub(crate) distrusted: Option<Salt>,
    /// The transaction of the replica whose page checksums would tell what has to be uploaded; without them, every page is.
    pub(crate) chain_wanted: Option<TxId>,
    pub(crate) reader: Option<WalReader<WalFile>>,
    pub(crate) page_size: PageSize,
    pub(crate) form: PageForm,
    pub(crate) position: Position,
    pub(crate) pending: Pending,
    /// Memory of the last L0 file, for the pages after the next one.
    pub(crate) spare: Option<Pending>,
    pub(crate) sums: Option<PageSums>,
    pub(crate) pace: Pace,
    pub(crate) counters: Counters,
    /// Why the last L0 file that is no increment was needed.
    pub(crate) reason: Option<Reason>,
    /// The first transaction that only a snapshot makes restorable: nothing is known to be whole before it.
    pub(crate) snapshot_wanted: Option<TxId>,
    pub(crate) notices: Notices,
    pub(crate) last_timestamp: Option<Timestamp>,
    pub(crate) last_emit: Option<Instant>,
    pub(crate) snapshots: Snapshots,
    pub(crate) published: Arc<Published>,
    pub(crate) meta: Arc<MetaDir>,
}

impl Live {
    /// The newest transaction that is in an L0 file, with the checksum of the database after it where it is known.
    pub(crate) fn pos(&self) -> Pos {
        let known = self.sums.as_ref().filter(|_| self.position.lost.is_none());
        let post_apply_checksum = known.map_or(ltx::Checksum::NONE, PageSums::rolling);
        Pos { txid: self.position.txid, post_apply_checksum }
    }

    /// The database file.
    pub(crate) fn path(&self) -> &Path {
        &self.options.path
    }

    /// What is true now.
    pub(crate) fn facts(&self) -> Facts {
        let status = Status {
            pos: self.pos(),
            page_size: Some(self.page_size),
            last_sync: self.last_timestamp,
            reason: self.reason,
            snapshot_wanted: self.snapshot_wanted,
            counters: self.counters,
            ..Status::default()
        };
        Facts {
            status,
            lost: self.position.lost,
            wal: Some(self.files.wal.clone()),
            level0: Some(self.meta.level0.clone()),
        }
    }

    /// A pass over every page, which others see, and may end. It takes long: what is true before it is published.
    pub(crate) fn scan(
        &self,
        view: &View,
        wanted: Wanted<'_>,
        sink: impl FnMut(&Batch) -> Result<()>,
    ) -> Result<()> {
        self.published.set(Some(self.facts()));
        scan(view, wanted, &self.published.progress, sink)
    }

    /// A further connection to the database that is open here.
    ///
    /// # Errors
    /// [`Error::IndexRemoved`] when it would make a second wal-index.
    pub(crate) fn connect(&self) -> Result<Conn> {
        let names = self.files.names()?;
        if names.wal == Name::Gone || names.shm == Name::Gone {
            return Err(Error::IndexRemoved { path: self.path().to_owned() });
        }
        let conn = Conn::open(self.files.path(), self.options.busy_timeout)?;
        if conn.file_id()? != self.files.db_id() {
            return Err(Error::Changed {
                path: self.path().to_owned(),
                what: "the database file was replaced",
            });
        }
        Ok(conn)
    }

    /// Reads every frame that is committed now into `pending`; how many there were.
    ///
    /// Frames are taken up to what the wal-index calls committed, and the running checksum must arrive at the one that it
    /// names: a transaction that failed after writing its commit frame is never taken for a commit.
    pub(crate) fn catch_up(&mut self) -> Result<u64> {
        if self.position.lost.is_some() {
            return Ok(0);
        }
        let deadline = Instant::now() + self.options.busy_timeout;
        loop {
            if let Some(index) = self.files.wal_index()? {
                self.pace.saw(&index);
                match self.cursor_for(&index)? {
                    Some(cursor) => return self.read_to(cursor, &index),
                    None if index.mx_frame == 0 => return Ok(self.begun_anew()),
                    // The header on disk is of another generation than the index: the WAL is just being begun anew.
                    None => {}
                }
            }
            if Instant::now() >= deadline {
                return match self.end_without_wal()? {
                    Some(_) => Ok(self.lose("the wal was removed")),
                    None => Err(Error::Busy { path: self.path().to_owned() }),
                };
            }
            // Whoever writes the index may have lost the processor in the middle of it.
            std::thread::sleep(INDEX_WAIT);
        }
    }

    /// Where to go on reading in the generation that the wal-index is about; `None` when it has no frame, or when its
    /// header is not on disk yet.
    fn cursor_for(&mut self, index: &WalIndex) -> Result<Option<Cursor>> {
        if let Some(cursor) = self.position.cursor
            && cursor.header.salt == index.salt
        {
            return Ok(Some(cursor));
        }
        // Another generation. Our transaction was held all the while, so every frame of the last one was read.
        if index.mx_frame == 0 {
            return Ok(None);
        }
        let Some(header) = self.files.wal_header()?.filter(|header| header.salt == index.salt) else {
            return Ok(None);
        };
        self.verify_page_size(&header)?;
        self.position.wal_start = WalHeader::SIZE as u64;
        self.counters.restarts += u64::from(self.position.cursor.is_some());
        let cursor = Cursor::start(header);
        self.position.cursor = Some(cursor);
        Ok(Some(cursor))
    }

    /// The WAL was begun anew and has no frame yet: every frame of the generation before is in the database file.
    fn begun_anew(&mut self) -> u64 {
        if let Some(cursor) = self.position.cursor {
            self.position.backfilled = u32::try_from(cursor.frames()).unwrap_or(u32::MAX);
        }
        0
    }

    fn verify_page_size(&self, header: &WalHeader) -> Result<()> {
        if header.page_size == self.page_size {
            return Ok(());
        }
        Err(Error::Changed { path: self.path().to_owned(), what: "the page size of the wal is another one" })
    }

    fn read_to(&mut self, cursor: Cursor, index: &WalIndex) -> Result<u64> {
        let end = wal_size(index.mx_frame.into(), self.page_size);
        if end < cursor.offset {
            return Ok(self.lose("the wal is shorter than what was read of it"));
        }
        let reader = match &mut self.reader {
            Some(reader) => {
                reader.seek(cursor);
                reader
            }
            none => none.insert(WalReader::resume(self.files.wal.clone(), cursor)),
        };
        reader.limit(end);
        while let Some(frame) = reader.next_frame().context("read", &self.options.path)? {
            self.pending.put(frame.header.pgno, frame.page).context("keep pages of", &self.options.path)?;
        }
        let reached = reader.cursor();
        if reached.offset != end || (index.mx_frame > 0 && reached.checksum != index.frame_checksum) {
            return Ok(self.lose("the wal holds other frames than were committed"));
        }
        self.position.cursor = Some(reached);
        self.position.backfilled = index.backfilled;
        if index.mx_frame > 0 {
            self.position.commit_read = PageCount::new(index.page_count);
        }
        let read = reached.frames() - cursor.frames();
        self.doubt.frames += read;
        if read > 0 {
            self.distrusted = None;
        }
        Ok(read)
    }

    /// From here on only comparing every page can tell what changed.
    pub(crate) fn lose(&mut self, reason: Reason) -> u64 {
        self.position.lost = Some(reason);
        self.pending.clear();
        0
    }

    /// Begins the next transaction, reads everything up to it, ends the last one.
    pub(crate) fn leap(&mut self) -> Result<u64> {
        let before = self.files.wal_index()?;
        self.turns.idle().begin_read(self.options.busy_timeout)?;
        let (read, after) = match self.catch_up().and_then(|read| Ok((read, self.files.wal_index()?))) {
            Ok(done) => done,
            Err(error) => {
                self.turns.idle().rollback()?;
                return Err(error);
            }
        };
        // In this order: the other transaction is the one that counts, also if the last one cannot be ended.
        self.pace.leapt(before.as_ref(), after.as_ref());
        self.turns.hand_over()?;
        Ok(read)
    }

    /// Remembers durably that no restore reaches `txid` without a snapshot.
    pub(crate) fn want_snapshot(&mut self, txid: TxId) -> Result<()> {
        if self.snapshot_wanted.is_none_or(|wanted| wanted < txid) {
            self.meta.write_wanted_snapshot(txid)?;
            self.snapshot_wanted = Some(txid);
        }
        Ok(())
    }

    pub(crate) fn snapshot_stored(&mut self, txid: TxId) -> Result<()> {
        if self.snapshot_wanted.take_if(|wanted| *wanted <= txid).is_some() {
            self.meta.remove_wanted_snapshot()?;
        }
        Ok(())
    }

    /// Whether the chain that the next L0 file continues is still here.
    ///
    /// # Errors
    /// [`Error::LocalStateLost`] when the newest L0 file, or the directory of the meta files, is gone.
    pub(crate) fn verify_chain(&self) -> Result<()> {
        let newest_is_here = !self.position.has_file || self.meta.level0.has(self.position.txid);
        if newest_is_here && self.meta.level0.is_there() {
            return Ok(());
        }
        Err(Error::LocalStateLost { path: self.meta.path().to_owned() })
    }
}

impl Position {
    /// The frames of the next L0 file begin where those read so far end.
    pub(crate) fn begin_file(&mut self) {
        self.wal_start = self.cursor.map_or(WalHeader::SIZE as u64, |cursor| cursor.offset);
    }

    /// The transaction of the next L0 file.
    pub(crate) fn next_txid(&self) -> Result<TxId> {
        self.txid.next().ok_or(Error::TxIdExhausted { txid: self.txid })
    }
}
