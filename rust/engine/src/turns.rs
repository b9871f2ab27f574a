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

use crate::connection::Conn;
use crate::error::Result;

/// Two connections; at every moment at least one is in a transaction.
pub(crate) struct Turns {
    conns: [Conn; 2],
    holder: usize,
}

impl Turns {
    /// Opens both connections, makes sure of WAL mode and begins the first transaction.
    pub(crate) fn open(path: &Path, patience: Duration) -> Result<Self> {
        let conns = [Conn::open(path, patience)?, Conn::open(path, patience)?];
        conns[0].ensure_wal_mode(patience)?;
        conns[0].begin_read(patience)?;
        Ok(Self { conns, holder: 0 })
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
        self.idle().rollback()
    }
}
