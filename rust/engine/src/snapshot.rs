//! The whole database as one LTX file of level 9, while replication goes on.

use std::io::Write;

use ltx::{Checksum, Encoder, Header, TxId};

use crate::connection::Conn;
use crate::database::Database;
use crate::error::{Context, Error, Result};
use crate::live::Live;
use crate::progress::Progress;
use crate::running::Running;
use crate::scan::{View, Wanted, scan};

/// A snapshot that is fixed but not written yet. It pins the WAL until it is dropped.
pub(crate) struct Snapshot {
    view: View,
    header: Header,
    // Ends the transaction before the count goes down. Where no further connection can be had, the engine's own holds the WAL.
    conn: Option<Conn>,
    _running: Running,
}

impl Database {
    /// Writes the whole database, as it is at the newest position, as an LTX file of level 9 to `out`. Replication goes on
    /// meanwhile, the WAL grows.
    ///
    /// # Errors
    /// As [`Database::sync`], and what `out` answers.
    pub fn snapshot<W: Write>(&self, out: W) -> Result<Header> {
        let mut state = self.state();
        let snapshot = self.on_live(&mut state, |live| {
            // What was done to the files before is dealt with first: it is no reason to throw the snapshot away.
            live.verify_files()?;
            live.begin_snapshot()
        })?;
        let opened = state.opened;
        let held = if snapshot.is_independent() {
            drop(state);
            None
        } else {
            Some(state)
        };
        let header = snapshot.write(out, &self.published.progress.hidden())?;
        drop(held);
        // Another file that was copied over this one meanwhile would be in it, in part.
        self.sync()?;
        if self.state().opened == opened {
            return Ok(header);
        }
        let what = "the database file was written while a snapshot was made";
        Err(Error::Changed { path: self.options.path.clone(), what })
    }
}

impl Live {
    /// Fixes the database at its newest position.
    pub(crate) fn begin_snapshot(&mut self) -> Result<Snapshot> {
        let running = self.snapshots.begin();
        let conn = match self.connect() {
            Err(Error::IndexRemoved { .. }) => None,
            conn => Some(conn?),
        };
        match &conn {
            Some(conn) => {
                conn.begin_read(self.options.busy_timeout)?;
                self.catch_up()?;
            }
            None => drop(self.leap()?),
        }
        self.emit()?;
        if self.position.txid.is_none() {
            return Err(Error::NotReady { path: self.path().to_owned() });
        }
        let view = self.view_at_position()?;
        let header = self.snapshot_header(&view);
        Ok(Snapshot { view, header, conn, _running: running })
    }

    fn snapshot_header(&self, view: &View) -> Header {
        let mut header = Header::new(self.page_size, view.commit, TxId::FIRST, self.position.txid);
        header.timestamp = self.last_timestamp.unwrap_or_else(|| (self.options.clock)());
        header
    }
}

impl Snapshot {
    /// Writes the file. The header is returned once every page is in `out`.
    pub(crate) fn write<W: Write>(self, out: W, progress: &Progress) -> Result<Header> {
        let path = self.view.files.path();
        let mut encoder = Encoder::new(out, &self.header).context("write a snapshot of", path)?;
        scan(&self.view, Wanted::Every, progress, |batch| {
            for (pgno, page, block) in batch.pages() {
                encoder.write_compressed(pgno, page, block).context("write a snapshot of", path)?;
            }
            Ok(())
        })?;
        let (mut out, _) = encoder.finish(Checksum::NONE).context("write a snapshot of", path)?;
        out.flush().context("write a snapshot of", path)?;
        self.conn.as_ref().map_or(Ok(()), Conn::rollback)?;
        Ok(self.header)
    }

    /// Whether it is held by a connection of its own, so that replication can go on meanwhile.
    pub(crate) fn is_independent(&self) -> bool {
        self.conn.is_some()
    }
}
