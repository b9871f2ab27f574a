//! Waiting for commits, and turning them into L0 files.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::emit::Job;
use crate::error::{Context, Error, Result};
use crate::live::Live;
use crate::state::State;
use crate::watch::Woken;

/// The first wait after a commit; each wait without one is twice as long.
const SHORTEST_WAIT: Duration = Duration::from_micros(500);
/// After a wait of this length without a commit the database is left to the file system's watch.
const LONGEST_WAIT: Duration = Duration::from_millis(64);
/// The watch tells of the first write of a commit. One that begins the WAL anew syncs the header before it goes on, so that its
/// end is awaited for a while with waits that are short beside a sync.
const WOKEN_FOR: Duration = Duration::from_millis(1);
const WOKEN_WAIT: Duration = Duration::from_micros(100);
/// What the watch does not tell is noticed within this time.
const TICK: Duration = Duration::from_secs(5);
/// The page checksums are made durable when nothing happens and this long after the last time.
const SUMS_INTERVAL: Duration = Duration::from_secs(30);
/// More than this is not kept back for the next L0 file.
const MAX_PENDING_BYTES: u64 = 64 << 20;

/// What one look at the database found.
#[derive(Default)]
struct Look {
    /// There is a new L0 file.
    emitted: bool,
    /// Something is going on: it is worth looking again soon.
    busy: bool,
    /// Nothing is left to do before the next commit.
    settled: bool,
    /// When the next L0 file is to be made.
    due: Option<Instant>,
}

impl Look {
    /// Whether the database can be left to the file system's watch.
    fn rests(&self, wait: Duration) -> bool {
        self.settled && self.is_quiet(wait)
    }

    /// Whether the watch costs no writer anything.
    fn is_quiet(&self, wait: Duration) -> bool {
        !self.busy && !self.emitted && wait == LONGEST_WAIT
    }
}

impl Database {
    /// Waits for commits and turns them into L0 files; true as soon as there is one that it did not tell of yet, false after
    /// `timeout` or [`Database::interrupt`]. Where [`Database::open`] found no database file, true as soon as there is one that an
    /// application uses in WAL mode, which is kept open from then on, or one that has been there for a moment.
    ///
    /// # Errors
    /// As [`Database::sync`]; a missing database file is waited for.
    pub fn follow(&self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        if self.state().awaited {
            return self.await_file(deadline);
        }
        // A watch that nothing has set off since the last call is still armed.
        let mut armed = self.at_rest.swap(false, Ordering::AcqRel);
        let mut wait = if armed { LONGEST_WAIT } else { SHORTEST_WAIT };
        let mut woken: Option<Instant> = None;
        loop {
            let mut look = self.look()?;
            if look.is_quiet(wait) && !armed {
                armed = self.watched().is_some_and(|paths| self.watch.arm(&paths));
                // What came between the last look and the watch is seen by neither.
                look = self.look()?;
            }
            let resting = armed && look.rests(wait);
            if look.emitted {
                return Ok(true);
            }
            let now = Instant::now();
            wait = match woken.filter(|at| now.duration_since(*at) < WOKEN_FOR) {
                _ if look.busy => SHORTEST_WAIT,
                Some(_) => WOKEN_WAIT,
                None => (wait * 2).clamp(SHORTEST_WAIT, LONGEST_WAIT),
            };
            let longest = if resting && look.rests(wait) { TICK } else { wait };
            let until = look.due.map_or(longest, |due| due.saturating_duration_since(now).min(longest));
            let until = until.min(deadline.saturating_duration_since(now));
            match self.watch.wait(until, armed).context("wait for", &self.options.path)? {
                Woken::Called => return Ok(false),
                Woken::FileChanged => {
                    (armed, wait, woken) = (false, SHORTEST_WAIT, Some(Instant::now()));
                }
                Woken::TimeOver if Instant::now() >= deadline => {
                    self.at_rest.store(resting, Ordering::Release);
                    return Ok(false);
                }
                Woken::TimeOver => {}
            }
        }
    }

    /// Reads what is new, has an L0 file written when one is due, and takes care of the WAL.
    fn look(&self) -> Result<Look> {
        let mut state = self.state();
        if state.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return state.look_while_writing();
        }
        state.finish_writing()?;
        if state.tell() {
            return Ok(Look { emitted: true, ..Look::default() });
        }
        let mut job = None;
        let mut look = match self.on_live(&mut state, |live| live.look(Instant::now(), &mut job)) {
            Err(Error::NotReady { .. }) => return Ok(Look { settled: true, ..Look::default() }),
            look => look?,
        };
        if let Some(job) = job {
            let writer = thread::Builder::new().name("ltxcore-l0".into());
            let writing = forks::between_forks(|| writer.spawn(move || job.write()));
            if writing.is_err()
                && let Some(live) = &mut state.live
            {
                live.lose("an L0 file could not be written");
            }
            state.writing = Some(writing.context("start a thread for", &self.options.path)?);
        }
        look.emitted = state.tell();
        if look.settled && !look.busy && state.sums_flushed.is_none_or(|at| at.elapsed() >= SUMS_INTERVAL) {
            state.sums_flushed = Some(Instant::now());
            self.on_live(&mut state, Live::care_for_sums)?;
        }
        Ok(look)
    }

    fn watched(&self) -> Option<[PathBuf; 2]> {
        self.state().live.as_ref().map(|live| live.files.watched())
    }
}

impl State {
    /// Whether there is an L0 file that nobody who follows was told of, whoever made it; from now on there is none.
    fn tell(&mut self) -> bool {
        let newest = self
            .live
            .as_ref()
            .filter(|live| live.position.has_file)
            .map_or(self.told, |live| live.position.txid);
        std::mem::replace(&mut self.told, newest) != newest
    }

    /// Reads on and takes care of the WAL; the next L0 file has to wait for the one being written.
    fn look_while_writing(&mut self) -> Result<Look> {
        let done = match &mut self.live {
            Some(live) => live.catch_up().and_then(|_| live.take_turns(Instant::now())),
            None => Ok(()),
        };
        match done {
            // To open the files anew has to wait for the L0 file as well.
            Err(error) if !error.asks_for_opening_anew() => Err(error),
            _ => Ok(Look { busy: true, ..Look::default() }),
        }
    }
}

impl Live {
    /// A file that is due is left in `job`, or made at once when that takes comparing every page.
    fn look(&mut self, now: Instant, job: &mut Option<Job>) -> Result<Look> {
        self.verify_files()?;
        self.verify_chain()?;
        let read = self.catch_up()?;
        self.take_turns(now)?;
        let due = self.due(now);
        if due.is_none_or(|due| due > now) {
            if read == 0 && self.pace.pauses(now) {
                self.settle_doubt()?;
            }
            let settled = self.is_settled() && !self.is_in_doubt();
            return Ok(Look { emitted: false, busy: read > 0, settled, due });
        }
        if self.position.lost.is_some() {
            self.emit()?;
            return Ok(Look { busy: true, ..Look::default() });
        }
        // Once more: between the last time and the reading another database may have come to have the name.
        self.verify_files()?;
        *job = self.take_job()?;
        Ok(Look { busy: true, ..Look::default() })
    }

    /// When the next L0 file is to be made: at once after a quiet interval, else when the interval is over or too much waits.
    fn due(&self, now: Instant) -> Option<Instant> {
        if self.position.lost.is_some() {
            return Some(now);
        }
        if self.pending.is_empty() {
            return None;
        }
        let too_much = self.pending.bytes() >= MAX_PENDING_BYTES;
        Some(self.last_emit.filter(|_| !too_much).map_or(now, |last| last + self.options.monitor_interval))
    }

    fn care_for_sums(&mut self) -> Result<()> {
        if self.sums.is_none() && self.position.lost.is_none() {
            return self.rebuild_sums();
        }
        self.flush_sums()
    }

    pub(crate) fn flush_sums(&mut self) -> Result<()> {
        self.note_place()?;
        let txid = self.position.txid;
        match &mut self.sums {
            Some(sums) if self.position.lost.is_none() && sums.durable() != txid => sums.flush(txid),
            _ => Ok(()),
        }
    }

    /// Takes note of the database file as it is now, if that is news.
    pub(crate) fn note_place(&mut self) -> Result<()> {
        let place = self.place();
        match &mut self.sums {
            Some(sums) if self.position.lost.is_none() && sums.place() != place => sums.note(place),
            _ => Ok(()),
        }
    }
}
