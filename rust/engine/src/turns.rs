//! Two read transactions that take turns, so that no frame of the WAL disappears unread.
//!
//! SQLite's read locks have five slots (SQLite, "WAL-mode File Format", section 2.4). A transaction that begins when the whole
//! WAL is in the database file sits on slot 0: the next writer may begin the WAL anew, but while slot 0 is held no checkpoint
//! can move a frame, so it cannot be begun anew a second time. A transaction on a later slot keeps the WAL from being begun anew
//! at all, while checkpoints run up to its mark. By beginning the next transaction, reading everything committed until then,
//! and only then ending the last one, there is never a moment at which an unread frame may be overwritten. Which slot a
//! transaction got matters for how the WAL shrinks, never for whether a frame is missed.

use std::path::Path;
use std::time::Duration;

use osvfs::Stamp;

use crate::connection::{CheckpointMode, Conn};
use crate::error::Result;

/// Two connections; at every moment at least one is in a transaction.
pub(crate) struct Turns {
    conns: [Conn; 2],
    holder: usize,
    number: u64,
}

impl Turns {
    /// Opens both connections, makes sure of WAL mode and begins the first transaction.
    pub(crate) fn open(path: &Path, patience: Duration) -> Result<Self> {
        let conns = [Conn::open_in_wal_mode(path, patience)?, Conn::open(path, patience)?];
        conns[0].begin_read(patience)?;
        Ok(Self { conns, holder: 0, number: 0 })
    }

    /// The connection whose transaction holds the WAL.
    pub(crate) fn holder(&self) -> &Conn {
        &self.conns[self.holder]
    }

    /// The connection that is free: to begin the next transaction on, or to run a checkpoint with.
    pub(crate) fn idle(&self) -> &Conn {
        &self.conns[1 - self.holder]
    }

    /// Ends the holder's transaction; the other connection has begun one, and everything before it was read.
    pub(crate) fn hand_over(&mut self) -> Result<()> {
        self.holder = 1 - self.holder;
        self.number += 1;
        self.idle().rollback()
    }

    /// Begins the holder's transaction anew; the other connection has the write lock, so nothing is committed meanwhile.
    pub(crate) fn renew(&mut self, patience: Duration) -> Result<()> {
        self.number += 1;
        self.holder().begin_read(patience)
    }

    /// How many turns there were. Within one, the same transaction is held.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The file that each connection has open, as `PRAGMA ltx_file` answers it.
    pub(crate) fn file_ids(&self) -> Result<[String; 2]> {
        Ok([self.conns[0].file_id()?, self.conns[1].file_id()?])
    }

    /// Lets the WAL go: from here on anything may happen to it.
    pub(crate) fn rollback(&self) -> Result<()> {
        self.conns.iter().try_for_each(Conn::rollback)
    }

    /// Moves what can be moved into the database file that has `stamp`, waiting for nobody. Both transactions must have ended.
    pub(crate) fn move_frames(&self, stamp: &Stamp) -> Result<()> {
        self.idle().checkpoint(CheckpointMode::Passive, Duration::ZERO, stamp).map(drop)
    }

    /// Empties a WAL whose frames are all in the database file. Both transactions must have ended.
    pub(crate) fn empty_wal(&self, stamp: &Stamp) -> Result<()> {
        self.idle().checkpoint(CheckpointMode::Truncate, Duration::ZERO, stamp).map(drop)
    }

    /// Ends both transactions; from here on closing the connections does what it usually does. If nobody else has the database open,
    /// the WAL is moved into it, if it has `stamp`, and deleted: one that stayed behind would be applied to whatever is copied over
    /// the database.
    pub(crate) fn tidy_on_close(&self, stamp: &Stamp) -> Result<()> {
        self.rollback()?;
        self.conns.iter().try_for_each(|conn| conn.tidy_on_close(stamp))
    }
}
