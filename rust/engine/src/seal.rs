//! When to take the next turn, and how a WAL is let go to begin anew.
//!
//! While frames arrive the transaction that is held stays where it is: every step forward of its mark would let the
//! application's automatic checkpoint, which runs after each commit once the WAL is long, do a little real work with a sync
//! each time. Instead, shortly before that length is reached, the frames are moved by us: most of them beside the running
//! writer, the last few under a short write lock, after which a transaction on slot 0 lets the next commit begin the WAL anew.

use std::time::{Duration, Instant};

use crate::connection::{CheckpointMode, CheckpointResult};
use crate::error::Result;
use crate::live::Live;
use crate::pace::{FIRST_BACKOFF, INSIST};

/// A writer that rests often has its frames moved at most this often on that account.
const REST_INTERVAL: Duration = Duration::from_secs(1);
/// A WAL of that many times its usual length is cut when it is drained and the writer rests.
const CUT: u32 = 4;
/// How long the application's own checkpoint is waited for, under the write lock.
const RIVAL_PATIENCE: Duration = Duration::from_millis(40);
/// What became of a WAL that was to begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// Every frame is in the database file, and the next writer begins anew.
    Drained,
    /// The write lock could not be had.
    NoLock,
    /// Somebody else was at a checkpoint for too long.
    Rival,
    /// Somebody still reads older frames.
    Pinned,
}

impl Sealed {
    /// By a checkpoint under the write lock.
    pub(crate) fn by(done: &CheckpointResult) -> Self {
        match done {
            CheckpointResult { busy: true, .. } => Self::Rival,
            _ if done.checkpointed == done.wal_frames => Self::Drained,
            _ => Self::Pinned,
        }
    }
}

impl Live {
    /// Whether there is nothing that a later call of [`Live::take_turns`] will do without a new commit.
    pub(crate) fn is_settled(&self) -> bool {
        let pace = &self.pace;
        // Where a reader of the application pins the WAL, trying again now and then will do.
        let moved = pace.wal_is_drained()
            || pace.backoff > FIRST_BACKOFF
            || self.options.checkpoint_interval.is_zero()
            || !self.frames_are_trusted();
        moved && pace.on_slot_0 == pace.wal_is_drained() && (pace.on_slot_0 || pace.mark == pace.frames)
    }

    /// Does whatever the state of the WAL asks for now.
    pub(crate) fn take_turns(&mut self, now: Instant) -> Result<()> {
        if self.pace.on_slot_0 && !self.pace.wal_is_drained() {
            // On slot 0 nobody can move a frame; on the next slot everybody can, up to our mark.
            self.leap()?;
        }
        self.save_nameless_wal()?;
        if self.pace.pauses(now) {
            self.pace.paused_at = Some(now);
            self.use_pause(now)?;
        }
        if self.seal_is_due(now) {
            return self.drain(now);
        }
        Ok(())
    }

    /// The writer pauses: the mark follows it, and frames are moved without a lock that it could meet.
    fn use_pause(&mut self, now: Instant) -> Result<()> {
        if !self.pace.on_slot_0 && (self.pace.wal_is_drained() || self.pace.mark < self.pace.frames) {
            self.leap()?;
        }
        if self.move_is_due(now) {
            self.pace.checkpointed_at = now;
            match self.move_frames()? {
                Sealed::Rival => self.pace.rivalled(),
                _ if self.pace.wal_is_drained() => {
                    self.pace.backoff = FIRST_BACKOFF;
                    self.leap()?;
                }
                _ => self.pace.pinned(),
            }
        }
        if self.pace.on_slot_0 && self.pace.wal_is_drained() && self.pace.rests(now) {
            self.cut_large_wal()?;
        }
        Ok(())
    }

    /// Moves what can be moved into the database file, beside whoever else uses it; what was in the way, if anything was.
    pub(crate) fn move_frames(&mut self) -> Result<Sealed> {
        // The last moment to find out that the file is not the one that the frames belong to.
        self.verify_files()?;
        self.pace.moved_at = self.pace.frames;
        let stamp = &self.observed.stamp;
        let done = self.turns.idle().checkpoint(CheckpointMode::Passive, Duration::ZERO, stamp)?;
        self.observe_own_checkpoint(&done)?;
        self.counters.checkpoints += 1;
        if let Some(index) = self.files.wal_index()? {
            self.pace.backfilled = index.backfilled;
        }
        Ok(Sealed::by(&done.result))
    }

    /// There is enough to move, or the writer rests, or nobody has moved anything for a long time.
    fn move_is_due(&self, now: Instant) -> bool {
        let (pace, interval) = (&self.pace, self.options.checkpoint_interval);
        if !self.may_move(now) {
            return false;
        }
        let overdue = !interval.is_zero() && now.duration_since(pace.checkpointed_at) >= interval;
        let is_long =
            pace.frames >= pace.seal_at && pace.frames - pace.moved_at.min(pace.frames) >= pace.seal_at / 8;
        let rests =
            pace.rests(now) && now.duration_since(pace.checkpointed_at) >= REST_INTERVAL.min(interval);
        is_long || overdue || (!interval.is_zero() && rests)
    }

    /// The WAL is long, and the writer never pauses, or not long enough.
    fn seal_is_due(&self, now: Instant) -> bool {
        self.may_move(now) && self.pace.frames >= self.pace.seal_at && !self.pace.will_pause(now)
    }

    /// A snapshot that is being written pins the WAL: nothing can be drained until it is done.
    fn may_move(&self, now: Instant) -> bool {
        !self.pace.wal_is_drained()
            && !self.snapshots.is_any()
            && now >= self.pace.seal_not_before
            && self.frames_are_trusted()
            && !self.doubt_forbids_moving()
    }

    /// Moves every frame into the database file and lets the next writer begin the WAL anew.
    fn drain(&mut self, now: Instant) -> Result<()> {
        self.leap()?;
        if self.pace.frames - self.pace.backfilled.min(self.pace.frames) >= self.pace.seal_at / 2 {
            // The bulk of it, beside the running writer; what comes meanwhile is left for the write lock.
            self.move_frames()?;
        }
        self.pace.checkpointed_at = now;
        let sealed = self.seal(self.pace.patience())?;
        self.note(sealed);
        Ok(())
    }

    /// Takes note of what became of it: when to try again.
    pub(crate) fn note(&mut self, sealed: Sealed) {
        match sealed {
            Sealed::Drained if self.pace.frames < self.pace.seal_at.saturating_mul(INSIST) => {
                self.pace.backoff = FIRST_BACKOFF;
            }
            // The writer was in a transaction already, and goes on in this WAL: trying all the time would only stop it.
            Sealed::Drained => self.pace.pinned(),
            Sealed::NoLock => {
                self.counters.seals_refused += 1;
                self.pace.refused();
            }
            Sealed::Rival => {
                self.counters.seals_refused += 1;
                self.pace.rivalled();
            }
            Sealed::Pinned => {
                self.counters.seals_pinned += 1;
                self.pace.pinned();
            }
        }
    }

    /// Drains the WAL under the write lock and goes to slot 0.
    pub(crate) fn seal(&mut self, patience: Duration) -> Result<Sealed> {
        self.verify_files()?;
        if !self.turns.idle().begin_write(patience)? {
            return Ok(Sealed::NoLock);
        }
        self.counters.seals += 1;
        let sealed = self.drain_locked();
        if !self.turns.holder().is_in_transaction() && self.turns.renew(self.options.busy_timeout).is_err() {
            // Once the write lock goes nothing would hold the WAL any more.
            self.lose("no read transaction could be had");
        }
        self.turns.idle().rollback()?;
        sealed
    }

    /// The write transaction sees the newest commit and no later one can come: it holds the WAL while the holder changes.
    fn drain_locked(&mut self) -> Result<Sealed> {
        self.catch_up()?;
        self.turns.holder().rollback()?;
        let done = self.checkpoint_all()?;
        self.turns.renew(self.options.busy_timeout)?;
        let index = self.files.wal_index()?;
        self.pace.leapt(index.as_ref(), index.as_ref());
        if let Some(index) = &index {
            self.pace.saw(index);
        }
        Ok(Sealed::by(&done))
    }

    /// The application's automatic checkpoint may be at the same work, inside the commit that came before our write lock: then
    /// it is waited for, since its writer waits too.
    fn checkpoint_all(&mut self) -> Result<CheckpointResult> {
        let deadline = Instant::now() + RIVAL_PATIENCE;
        loop {
            self.verify_files()?;
            let (holder, stamp) = (self.turns.holder(), &self.observed.stamp);
            let done = holder.checkpoint(CheckpointMode::Passive, Duration::ZERO, stamp)?;
            self.observe_own_checkpoint(&done)?;
            if !done.result.busy || Instant::now() >= deadline {
                return Ok(done.result);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// A WAL that grew far beyond its length, under a long reader say, keeps its size on disk when it is begun anew. Now that
    /// it is drained and nobody writes, cutting it needs no waiting; if somebody is in the way, the next time will do.
    fn cut_large_wal(&mut self) -> Result<()> {
        let usual = self.options.min_checkpoint_page_n.saturating_mul(CUT);
        let frames =
            if self.options.truncate_page_n == 0 { usual } else { usual.min(self.options.truncate_page_n) };
        if self.files.wal_size()? > wal::wal_size(frames.into(), self.page_size) {
            // Frames that the wal-index does not know may have been put there a moment ago.
            self.verify_files()?;
            let stamp = &self.observed.stamp;
            self.turns.idle().checkpoint(CheckpointMode::Truncate, Duration::ZERO, stamp)?;
        }
        Ok(())
    }
}
