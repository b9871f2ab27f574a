//! Keeping a database open before it can be followed.
//!
//! To follow a database it must be known where the replica ends, and a replica may take its time to answer. Until then the
//! application's connections may lose each other: the last one to close deletes the WAL, and one of a second SQLite library in
//! the process takes itself for the last one too early. One connection of ours that is open keeps the WAL, and holds
//! up nobody: it is in no transaction.
//!
//! It is opened only beside an application that uses the database in WAL mode. The first connection makes the wal-index, and the one
//! that switches the mode needs the database for itself: both is left to the application, which need not be prepared to wait.

use std::fs;
use std::time::{Duration, Instant};

use durable::sibling;

use crate::connection::Conn;
use crate::database::Database;
use crate::door;
use crate::error::{Context, Result};
use crate::files::{Pooled, has_content};
use crate::state::{State, Turn};
use crate::watch::Woken;

/// A file that nobody uses in WAL mode is opened after this time: an application that has just made it may be about to switch it.
const SETTLING: Duration = Duration::from_millis(250);
/// Whoever opens the database needs fewer looks, of a millisecond, before it has a connection, unless it waits for a lock of the
/// application.
const LOOKS: u32 = 20;
/// What the file system does not tell is noticed within this time.
const TICK: Duration = Duration::from_millis(64);

impl Database {
    /// Keeps the database open from now on, if it is not followed yet and an application uses it in WAL mode; whether it is open.
    /// What goes wrong is for [`Database::open`] to say. Where that is under way it is not waited for, but for a moment.
    pub fn attach(&self) -> bool {
        if self.page_size().is_some() {
            return true;
        }
        Turn::after(LOOKS, &self.state, &self.published).is_some_and(|mut state| self.attach_in(&mut state))
    }

    fn attach_in(&self, state: &mut State) -> bool {
        if state.live.is_some() {
            return true;
        }
        let is_same = |conn: &Conn| conn.is_at(&self.options.path);
        if !state.attached.as_ref().is_some_and(is_same) {
            state.attached = None;
            // In vain while the application is about to begin or to end, for one; then it is tried again.
            state.attached = self.join().ok().flatten();
        }
        state.attached.is_some()
    }

    /// A connection that has read something, if somebody uses the database.
    fn join(&self) -> Result<Option<Conn>> {
        let given = &self.options.path;
        if !has_content(given)? {
            return Ok(None);
        }
        let real = fs::canonicalize(given).context("open", given)?;
        door::refuse_without_permission(given, &real, &fs::metadata(&real).context("stat", given)?)?;
        let file = Pooled::open(&real).context("open", given)?;
        let is_in_use = || door::is_in_use(&file, &real).context("look at the locks of", given);
        // In rollback mode a lock of ours would be in the way of the application.
        if !is_in_use()? {
            return Ok(None);
        }
        // From here on nobody closes it as the last one. Where open files have no locks of their own, this is an error.
        let shared = file.try_share().context("lock", given)?;
        // And we are not the first to use the wal-index if the application lets it go now: to begin it keeps others out.
        let index = Pooled::open(&sibling(&real, "-shm")).context("open", given)?;
        let switch = index.try_hold_switch().context("lock", given)?;
        if shared.is_none() || switch.is_none() || !is_in_use()? {
            return Ok(None);
        }
        let conn = Conn::open(&real, Duration::ZERO)?;
        // From the first read on it holds what shows others that it is there.
        conn.begin_read(Duration::ZERO)?;
        conn.rollback()?;
        Ok(conn.is_at(given).then_some(conn))
    }

    /// Waits for a database file, and until it may be opened; false after `deadline`, or when it is interrupted.
    pub(crate) fn await_file(&self, deadline: Instant) -> Result<bool> {
        loop {
            // Before the look: what comes after it is seen by the watch.
            let armed = self.watch.arm_for_file(&self.options.path);
            if self.may_be_opened()? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let woken = self.watch.wait(left.min(TICK), armed).context("wait for", &self.options.path)?;
            if left.is_zero() || woken == Woken::Called {
                return Ok(false);
            }
        }
    }

    /// Whether there is a database that is open in WAL mode, or has been there for a while.
    fn may_be_opened(&self) -> Result<bool> {
        let mut state = self.state();
        if !has_content(&self.options.path)? {
            state.attached = None;
            state.appeared = None;
            return Ok(false);
        }
        let appeared = *state.appeared.get_or_insert_with(Instant::now);
        Ok(self.attach_in(&mut state) || appeared.elapsed() >= SETTLING)
    }
}

impl State {
    /// The database is followed, or could not be opened: what our own connection shows must not be taken for an application.
    pub(crate) fn detach(&mut self) {
        self.attached = None;
        self.appeared = None;
    }
}
