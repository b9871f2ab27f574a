//! What the wal-index said last, and since when: how a WAL that grows is dealt with.

use std::time::{Duration, Instant};

use wal::WalIndex;

use crate::options::Options;

/// No new frame for this long: the writer pauses, and the mark may follow it.
const PAUSE: Duration = Duration::from_millis(2);
/// A writer that paused within this time will pause again: it need not be stopped by a lock.
const PAUSES_AGAIN: Duration = Duration::from_millis(200);
/// No new frame for this long: what is in the WAL is moved, so that the database file is complete by itself, and slot 0 taken.
const REST: Duration = Duration::from_millis(100);
/// How much longer than usual a WAL may get before a writer that pauses is stopped all the same. One that begins its next
/// transaction at once, and so never meets a WAL that is wholly moved, needs that now and then, and pays with a `SQLITE_BUSY`.
pub(crate) const INSIST: u32 = 16;
/// How long the write lock is asked for without sleeping: the longer the WAL, in multiples of the length at which it should
/// begin anew, the more insistently.
const PATIENCE: [(u32, Duration); 3] =
    [(4, Duration::from_millis(4)), (16, Duration::from_millis(50)), (u32::MAX, Duration::from_millis(250))];
/// The first wait after a seal that a reader of the application made useless; it doubles up to `LONGEST_BACKOFF`.
pub(crate) const FIRST_BACKOFF: Duration = Duration::from_millis(4);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// What the wal-index said last, and since when.
pub(crate) struct Pace {
    pub(crate) seal_at: u32,
    pub(crate) frames: u32,
    pub(crate) backfilled: u32,
    /// The newest frame that the held transaction sees.
    pub(crate) mark: u32,
    /// The held transaction may be on slot 0.
    pub(crate) on_slot_0: bool,
    /// It is: the whole WAL was in the database file before it began, and after.
    surely_on_slot_0: bool,
    changed_at: Instant,
    pub(crate) paused_at: Option<Instant>,
    pub(crate) checkpointed_at: Instant,
    /// The newest frame when frames were moved last.
    pub(crate) moved_at: u32,
    /// The newest frame when the write lock was refused last.
    refused_at: u32,
    pub(crate) seal_not_before: Instant,
    pub(crate) backoff: Duration,
    /// It is a checkpoint of somebody else that is waited for.
    waits_for_rival: bool,
}

impl Pace {
    /// At the beginning nothing is known, so the worst is assumed.
    pub(crate) fn new(options: &Options) -> Self {
        let now = Instant::now();
        Self {
            // The application's own threshold is most often the same number: be done before it is reached.
            seal_at: options.min_checkpoint_page_n / 10 * 6,
            frames: 0,
            backfilled: 0,
            mark: 0,
            on_slot_0: true,
            surely_on_slot_0: false,
            changed_at: now,
            paused_at: None,
            checkpointed_at: now,
            moved_at: 0,
            refused_at: 0,
            seal_not_before: now,
            backoff: FIRST_BACKOFF,
            waits_for_rival: false,
        }
    }

    /// Takes note of the wal-index.
    pub(crate) fn saw(&mut self, index: &WalIndex) {
        if self.frames != index.mx_frame || self.backfilled != index.backfilled {
            self.changed_at = Instant::now();
        }
        let begins_anew = index.mx_frame < self.frames;
        if begins_anew {
            self.mark = 0;
            self.moved_at = 0;
        }
        // Nothing pins it any more, or the rival is done. A wait that stayed long from then would let it grow as far every time.
        if begins_anew || (self.waits_for_rival && index.backfilled != self.backfilled) {
            self.waits_for_rival = false;
            (self.seal_not_before, self.backoff) = (Instant::now(), FIRST_BACKOFF);
        }
        (self.frames, self.backfilled) = (index.mx_frame, index.backfilled);
    }

    /// Another transaction is held now; it began between the two states of the wal-index.
    pub(crate) fn leapt(&mut self, before: Option<&WalIndex>, after: Option<&WalIndex>) {
        let moved_all =
            |index: Option<&WalIndex>| index.is_none_or(|index| index.backfilled >= index.mx_frame);
        self.on_slot_0 = moved_all(before) || moved_all(after);
        self.surely_on_slot_0 = before.is_some() && moved_all(before) && before == after;
        self.mark = before.map_or(0, |index| index.mx_frame);
    }

    /// Whether no checkpoint can write as long as the held transaction is.
    pub(crate) fn is_surely_on_slot_0(&self) -> bool {
        self.surely_on_slot_0
    }

    pub(crate) fn wal_is_drained(&self) -> bool {
        self.backfilled >= self.frames
    }

    /// Whether the writer leaves time for other work.
    pub(crate) fn pauses(&self, now: Instant) -> bool {
        now.duration_since(self.changed_at) >= PAUSE
    }

    pub(crate) fn rests(&self, now: Instant) -> bool {
        now.duration_since(self.changed_at) >= REST
    }

    /// Whether the writer leaves room for a checkpoint beside it, so that no lock is needed.
    pub(crate) fn will_pause(&self, now: Instant) -> bool {
        let paused = self.paused_at.is_some_and(|at| now.duration_since(at) < PAUSES_AGAIN);
        paused && self.frames < self.seal_at.saturating_mul(INSIST)
    }

    /// A reader of the application pins the WAL: trying all the time would only stop the writer for nothing.
    pub(crate) fn pinned(&mut self) {
        self.waits_for_rival = false;
        self.seal_not_before = Instant::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
    }

    /// Somebody else is at a checkpoint, most often the writer itself, which does not write meanwhile. As long as that lasts it is
    /// looked for less and less often, since the write lock stops others; its end ends the wait.
    pub(crate) fn rivalled(&mut self) {
        self.pinned();
        self.waits_for_rival = true;
    }

    /// Somebody keeps the write lock. Between two commits it is asked for again soon; within one long transaction it is not.
    pub(crate) fn refused(&mut self) {
        if self.refused_at == self.frames {
            self.pinned();
        }
        self.refused_at = self.frames;
    }

    pub(crate) fn patience(&self) -> Duration {
        let lengths = self.frames / self.seal_at.max(1);
        PATIENCE.iter().find(|(most, _)| lengths <= *most).map_or(Duration::ZERO, |(_, patience)| *patience)
    }
}
