//! A history as LTX files, batch by batch.
//!
//! Each state becomes a transaction, and a file of level 8 with the pages that it changes: the highest level that is not one of
//! snapshots, as whoever continues the replica merges files of lower levels soon, and deletes them. Each snapshot becomes a file of level
//! 9 as well; so do states that no pages lead to, the first one and one of another page size.
//!
//! The newest transaction of each batch has a file of level 0, too, which is stored before all others of the batch. That is where
//! Litestream looks for the transaction to continue with. While others are missing, what it adds is beyond a gap, and no wrong
//! database comes of it. Where a state has nothing but a file of level 9, the caller makes one of level 0 of it.
//!
//! The same history gives the same files, and each has the mark of its state. So an interrupted conversion goes on after the last
//! state that is there.

mod skipping;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ltx::{SNAPSHOT_LEVEL, Timestamp, TxId};

use crate::convert::Stamp;
use crate::error::{Error, Result};
use crate::names::Generation;
use crate::restore::Options;
use crate::schedule::{Schedule, Step};
use crate::source::Source;
use crate::verify::Damage;
use crate::work::{Reading, State, Work};

/// Where the states are.
pub const STATE_LEVEL: u8 = SNAPSHOT_LEVEL - 1;
/// A batch ends after so many states, or so many bytes.
const MOST_STATES: usize = 256;
const MOST_BYTES: u64 = 32 << 20;
/// In a mark: states before were left out.
const LACKS: u64 = 1;

/// An LTX file that was made, a part of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Level.
    pub level: u8,
    /// First and last transaction.
    pub txids: (TxId, TxId),
    /// Where it begins in the spool, in bytes.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// What one call has made.
#[derive(Debug, Default)]
pub struct Batch {
    /// Files, in the order in which they have to be stored.
    pub files: Vec<Made>,
    /// What kept it from going on.
    pub error: Option<Error>,
}

/// Whether a replica goes on from a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continued {
    /// Its newest state is one of the history.
    Found,
    /// Its newest state is of a generation of the history, but was deleted or stored again there.
    Pruned,
    /// It is of no generation of the history.
    Foreign,
}

/// What is in the LTX files.
#[derive(Clone, Copy, Debug)]
struct Reached {
    txid: TxId,
    /// Its time there.
    time: Timestamp,
    mark: u64,
    origin: u64,
    /// Whether a file of level 9 ends with it: generations may begin with the same state.
    is_whole: bool,
    /// The state; nothing, if its content cannot be had any more.
    state: Option<State>,
}

/// A history that becomes LTX files.
pub struct Conversion {
    schedule: Schedule,
    /// Number of the next step.
    next: usize,
    /// Size of the objects of the steps before it, in bytes.
    done_bytes: u64,
    reached: Option<Reached>,
    works: [Work; 2],
    /// Which of them holds what was reached, if one does.
    current: usize,
    /// Files that are made, one after the other.
    spool: File,
    spooled: u64,
    /// Whether what is damaged is left out.
    skips: bool,
    /// What is used instead of a snapshot: an older one, or nothing.
    replaced: BTreeMap<(Generation, usize), Option<usize>>,
    /// Where the states that need a snapshot are counted that leads no further.
    lost: BTreeMap<(Generation, usize), usize>,
    left_out: Vec<Damage>,
    /// Whether states before the next one were left out, also by an earlier call. Then all files say so from here on.
    lacks: bool,
    /// Whether earlier calls have left out states.
    lacked: bool,
}

impl Conversion {
    /// Begins with the first state. Three files without names are in `directory`: two databases, and the LTX files of a batch.
    ///
    /// # Errors
    /// [`Error::Output`]: the directory cannot be written to.
    pub fn new(schedule: Schedule, directory: &Path, skips: bool) -> Result<Self> {
        let spool = durable::create_nameless(&directory.join("ltxcore"), "convert").map_err(Error::Output)?;
        Ok(Self {
            schedule,
            next: 0,
            done_bytes: 0,
            reached: None,
            works: [Work::new(directory)?, Work::new(directory)?],
            current: 0,
            spool,
            spooled: 0,
            skips,
            replaced: BTreeMap::new(),
            lost: BTreeMap::new(),
            left_out: Vec::new(),
            lacks: false,
            lacked: false,
        })
    }

    /// The states.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// How many of them are done.
    #[must_use]
    pub fn done(&self) -> usize {
        self.next
    }

    /// The newest transaction, and its time.
    #[must_use]
    pub fn reached(&self) -> Option<(TxId, Timestamp)> {
        self.reached.map(|reached| (reached.txid, reached.time))
    }

    /// What was left out up to now.
    #[must_use]
    pub fn left_out(&self) -> &[Damage] {
        &self.left_out
    }

    /// Whether earlier calls have left out states that come before the one that it has gone on after.
    #[must_use]
    pub fn lacked(&self) -> bool {
        self.lacked
    }

    /// Whether the history has the generation that an LTX file is of.
    #[must_use]
    pub fn has_origin(&self, origin: u64) -> bool {
        self.schedule.history().generations.keys().any(|generation| generation.get() == origin)
    }

    /// Goes on after the state of an LTX file. If the state is not there any more, states of the same time are converted again.
    pub fn resume(&mut self, stamp: &Stamp) -> Continued {
        let steps = self.schedule.steps();
        let mark = stamp.mark & !LACKS;
        let is_it = |step: &Step| mark != 0 && self.schedule.mark(step) == mark;
        // The same segment may follow two snapshots.
        let found = steps
            .iter()
            .rposition(|step| time_of(step) == stamp.time && is_it(step))
            .or_else(|| steps.iter().rposition(is_it));
        let state = found.and_then(|number| steps.get(number)).map(State::of);
        let (next, continued) = match found {
            Some(number) => (number + 1, Continued::Found),
            None => {
                if mark == 0 || !self.has_origin(stamp.origin) {
                    return Continued::Foreign;
                }
                (steps.partition_point(|step| time_of(step) < stamp.time), Continued::Pruned)
            }
        };
        self.next = next;
        self.done_bytes = steps.iter().take(next).map(|step| self.schedule.object(step).1).sum();
        let Stamp { txids, time, mark, origin } = *stamp;
        let is_whole = txids.0 == TxId::FIRST;
        self.reached = Some(Reached { txid: txids.1, time, mark, origin, is_whole, state });
        self.lacked = mark & LACKS != 0;
        self.lacks = self.lacked;
        continued
    }

    /// Bytes of a file that was made in the last batch.
    ///
    /// # Errors
    /// What the file reports.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.spool.read_exact_at(buf, offset)
    }

    /// Makes the files of the next states. `options.progress` is called with the bytes that were read for the present one.
    pub fn run<'a>(&mut self, source: &'a dyn Source, options: Options<'a>) -> Batch {
        self.spooled = 0;
        let (mut files, begun) = (Vec::new(), self.reached.map(|reached| reached.txid));
        let mut reading = Reading::new(source, options, self.done_bytes);
        let error = self.fill(&mut reading, &mut files).err();
        self.add_newest(begun, &mut files);
        Batch { files, error }
    }

    /// Puts a file of level 0 with the newest transaction before all others, if that has a file of its own.
    fn add_newest(&self, begun: Option<TxId>, files: &mut Vec<Made>) {
        let newest = self.reached.map(|reached| reached.txid).filter(|txid| Some(*txid) != begun);
        let same = newest.and_then(|txid| files.iter().find(|made| made.txids == (txid, txid)).copied());
        files.splice(..0, same.map(|made| Made { level: 0, ..made }));
    }

    fn fill(&mut self, reading: &mut Reading<'_>, files: &mut Vec<Made>) -> Result<()> {
        let begun = self.next;
        while let Some(step) = self.schedule.steps().get(self.next).copied() {
            // The first file is as large as the database, and not alone: the newest one of a batch is stored twice.
            let bytes: u64 =
                files.iter().filter(|made| made.txids.1 > TxId::FIRST).map(|made| made.size).sum();
            if self.next - begun >= MOST_STATES || bytes >= MOST_BYTES {
                return Ok(());
            }
            match self.advance(&step, begun + MOST_STATES, reading, files) {
                Err(error) if self.skips && error.is_damage() => self.leave_out(&error),
                done => done?,
            }
        }
        Ok(())
    }

    /// Goes on by one step, or by several that come one after the other in one generation.
    fn advance(
        &mut self,
        step: &Step,
        limit: usize,
        reading: &mut Reading<'_>,
        files: &mut Vec<Made>,
    ) -> Result<()> {
        let Some(state) = self.state_of(step) else {
            self.count_lost(step);
            self.skip(step);
            return Ok(());
        };
        (reading.begun, reading.most) = (self.done_bytes, self.schedule.object(step).1);
        self.restore_reached(reading)?;
        let is_next = |reached: Reached| {
            reached.state.is_some_and(|before| before == State { end: state.end.wrapping_sub(1), ..state })
        };
        if !step.is_snapshot && self.reached.is_some_and(is_next) {
            self.extend(step, limit, reading, files)
        } else {
            self.compare(step, state, reading, files)
        }
    }

    /// Writes what segments change that follow one another.
    fn extend(
        &mut self,
        first: &Step,
        limit: usize,
        reading: &mut Reading<'_>,
        files: &mut Vec<Made>,
    ) -> Result<()> {
        let steps =
            self.schedule.steps().get(self.next..limit.min(self.schedule.steps().len())).unwrap_or_default();
        let objects = self.schedule.files(first.generation);
        let (mut bytes, mut count) = (0, 0);
        for (step, end) in steps.iter().zip(first.end..) {
            let follows = !step.is_snapshot
                && (step.generation, step.snapshot, step.end) == (first.generation, first.snapshot, end);
            if !follows || (count > 0 && bytes >= MOST_BYTES) {
                break;
            }
            bytes += objects.segments.get(end - 1).map_or(0, |segment| segment.size);
            count += 1;
        }
        reading.most = bytes;
        let lacks = self.lacks;
        let Self { schedule, works, current, reached, next, done_bytes, spool, spooled, .. } = self;
        let (Some(work), Some(now)) = (works.get_mut(*current), reached.as_mut()) else { return Ok(()) };
        work.extend(schedule, first.end + count - 1, reading, &mut |number, changes, file| {
            let Some(step) = schedule.steps().get(*next) else { return Ok(()) };
            if let Some(changes) = changes {
                let stamp = stamp(schedule, step, after(now.txid)?, time_of(step), lacks);
                let made = write(spool, spooled, STATE_LEVEL, stamp.txids, |output| {
                    changes.write(file, &stamp, output).map(drop)
                })?;
                files.push(made);
                (now.txid, now.time, now.is_whole) = (stamp.txids.1, stamp.time, false);
                (now.mark, now.origin) = (stamp.mark, stamp.origin);
            }
            now.state = now.state.map(|state| State { end: number + 1, ..state });
            (*next, *done_bytes) = (*next + 1, *done_bytes + schedule.object(step).1);
            Ok(())
        })
    }

    /// Writes in what a state differs from the one before.
    fn compare(
        &mut self,
        step: &Step,
        state: State,
        reading: &mut Reading<'_>,
        files: &mut Vec<Made>,
    ) -> Result<()> {
        let lacks = self.lacks;
        let Self { schedule, works, current, reached, spool, spooled, left_out, .. } = self;
        let [one, two] = works;
        let (before, work) = if *current == 0 { (one, two) } else { (two, one) };
        work.build(schedule, state, reading)?;
        let old =
            if reached.is_some_and(|reached| reached.state.is_some()) { before.database()? } else { None };
        let Some(new) = work.database()? else {
            // Nothing is in it, as in a file of 0 bytes. LTX has no such state.
            if reached.is_some() {
                let (key, what) =
                    (schedule.object(step).0, "an empty database is no state in LTX".to_owned());
                left_out.push(Damage { key, what, states: 1, times: Some((step.time, step.time)) });
            }
            self.skip(step);
            return Ok(());
        };
        let fits = old.is_some_and(|old| old.page_size == new.page_size);
        let is_same = match &old {
            Some(old) => new.is_same(old).map_err(Error::Output)?,
            None => false,
        };
        let (txid, time) = match reached {
            Some(reached) if is_same => (reached.txid, reached.time),
            Some(reached) => (after(reached.txid)?, time_of(step)),
            None => (TxId::FIRST, time_of(step)),
        };
        let stamp = stamp(schedule, step, txid, time, lacks);
        if let (Some(old), false, true) = (&old, is_same, fits) {
            let made = write(spool, spooled, STATE_LEVEL, stamp.txids, |output| {
                new.write_since(old, &stamp, output).map(drop)
            })?;
            files.push(made);
        }
        let has_whole = is_same && reached.is_some_and(|reached| reached.is_whole);
        let needs_whole = (step.is_snapshot && !has_whole) || !(is_same || fits);
        if needs_whole {
            let stamp = Stamp { txids: (TxId::FIRST, txid), ..stamp };
            files.push(write(spool, spooled, SNAPSHOT_LEVEL, stamp.txids, |output| {
                new.write(&stamp, output).map(drop)
            })?);
        }
        let Stamp { mark, origin, .. } = stamp;
        let is_whole = has_whole || needs_whole;
        *reached = Some(Reached { txid, time, mark, origin, is_whole, state: Some(state) });
        *current = 1 - *current;
        self.skip(step);
        Ok(())
    }

    /// Makes the present work hold what was reached.
    fn restore_reached(&mut self, reading: &mut Reading<'_>) -> Result<()> {
        while let Some(Reached { state: Some(state), .. }) = self.reached {
            if let Some(at) = self.works.iter().position(|work| work.state() == Some(state)) {
                self.current = at;
                return Ok(());
            }
            let Some(work) = self.works.get_mut(self.current) else { return Ok(()) };
            match work.build(&self.schedule, state, reading) {
                Err(error) if self.skips && error.is_damage() => {
                    // An older snapshot leads there, too; or the next state is written as a whole.
                    let older = if self.is_about(&error, &state) { self.replace(&state) } else { None };
                    let state = older.map(|snapshot| State { snapshot, ..state });
                    if let Some(reached) = &mut self.reached {
                        reached.state = state;
                    }
                }
                done => return done,
            }
        }
        Ok(())
    }

    /// Goes on behind a step.
    pub(super) fn skip(&mut self, step: &Step) {
        self.next += 1;
        self.done_bytes += self.schedule.object(step).1;
    }
}

impl State {
    fn of(step: &Step) -> Self {
        Self { generation: step.generation, snapshot: step.snapshot, end: step.end }
    }
}

/// The time of a state in an LTX file. A restore from LTX files takes transactions from *before* a time, one from v0.3 files takes
/// objects stored *until* then; both count whole milliseconds.
fn time_of(step: &Step) -> Timestamp {
    Timestamp::from_millis(step.time.millis().saturating_sub(1))
}

fn stamp(schedule: &Schedule, step: &Step, txid: TxId, time: Timestamp, lacks: bool) -> Stamp {
    let (mark, origin) = (schedule.mark(step) | if lacks { LACKS } else { 0 }, step.generation.get());
    Stamp { mark, origin, ..Stamp::new((txid, txid), time) }
}

fn after(txid: TxId) -> Result<TxId> {
    txid.next().ok_or_else(|| Error::Output(io::Error::other("there is no transaction after the last one")))
}

/// Adds a file to the spool.
fn write<'a>(
    spool: &'a File,
    spooled: &mut u64,
    level: u8,
    txids: (TxId, TxId),
    content: impl FnOnce(&'a File) -> io::Result<()>,
) -> Result<Made> {
    let (mut output, offset) = (spool, *spooled);
    let written = output
        .seek(SeekFrom::Start(offset))
        .and_then(|_| content(spool))
        .and_then(|()| output.stream_position());
    let end = written.map_err(Error::Output)?;
    *spooled = end;
    Ok(Made { level, txids, offset, size: end.saturating_sub(offset) })
}
