//! The states of a history in the order of their times: what restores to ever later times would give, one after the other.
//!
//! A restore to a time takes the generation with the newest object up to then ([`History::plan`]), so where generations overlap, the
//! states of one come between those of another. Storages keep times in seconds, some of them, and copies may have none: objects
//! of one time come in the order of their positions, and those of the generation that a restore to that time takes come last. No state is
//! lost: one that no restore to a time gives has the time of the next one that a restore gives.

use ltx::{FileHasher, Timestamp};

use crate::history::{Files, History, Segment, Snapshot};
use crate::names::Generation;

/// A state that can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of this generation.
    pub generation: Generation,
    /// The snapshot that it begins with, by its number in the generation.
    pub snapshot: usize,
    /// The segments of the generation before this number are in it, from the WAL of the snapshot on.
    pub end: usize,
    /// What adds it to the history: the snapshot, or the last segment.
    pub is_snapshot: bool,
    /// A restore to this time gives it, or a later state of the same time.
    pub time: Timestamp,
}

/// All states of a history, and the objects that they are made of.
#[derive(Clone, Debug)]
pub struct Schedule {
    history: History,
    steps: Vec<Step>,
}

impl Schedule {
    /// Brings the states of a history into their order.
    #[must_use]
    pub fn new(history: History) -> Self {
        let steps = steps(&history);
        Self { history, steps }
    }

    /// The states.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Number and size in bytes of all objects.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let files = self.history.generations.values();
        let sizes = files.flat_map(|files| {
            files.snapshots.iter().map(|each| each.size).chain(files.segments.iter().map(|each| each.size))
        });
        sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size))
    }

    /// Everything that there is.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// The objects of a generation; nothing, if there is no such generation.
    pub(crate) fn files(&self, generation: Generation) -> &Files {
        const NONE: &Files = &Files { snapshots: Vec::new(), segments: Vec::new() };
        self.history.generations.get(&generation).unwrap_or(NONE)
    }

    /// The name and the size in bytes of the object that adds a state.
    #[must_use]
    pub fn object(&self, step: &Step) -> (String, u64) {
        let files = self.files(step.generation);
        let segment = || files.segments.get(step.end.wrapping_sub(1)).map(|each| (each.key(), each.size));
        let snapshot = || files.snapshots.get(step.snapshot).map(|each| (each.key(), each.size));
        if step.is_snapshot { snapshot() } else { segment() }.unwrap_or_default()
    }

    /// A number that tells a state from all others: of the name, the size and the time of the object that adds it. Its snapshot does
    /// not count: Litestream 0.3 stores it again, and deletes it. It is never 0, and even.
    #[must_use]
    pub fn mark(&self, step: &Step) -> u64 {
        let files = self.files(step.generation);
        let mut hasher = FileHasher::new();
        let segment = || files.segments.get(step.end.wrapping_sub(1)).map(|each| each.created_at);
        let snapshot = || files.snapshots.get(step.snapshot).map(|each| each.created_at);
        let time = if step.is_snapshot { snapshot() } else { segment() };
        let (key, size) = self.object(step);
        hasher.update(format!("{key} {size} {}\n", time.map_or(0, Timestamp::millis)).as_bytes());
        hasher.checksum().get() & !1
    }
}

/// The first segment that continues a snapshot, by its number.
pub(crate) fn start_of(files: &Files, snapshot: &Snapshot) -> usize {
    files.segments.partition_point(|each| each.index < snapshot.index)
}

fn steps(history: &History) -> Vec<Step> {
    let mut changes: Vec<(Timestamp, Generation)> = Vec::new();
    for (generation, files) in &history.generations {
        changes.extend(files.times_in_turn().map(|time| (time, *generation)));
    }
    changes.sort_unstable();
    changes.dedup();
    let mut cursors: Vec<_> =
        history.generations.iter().map(|(id, files)| (*id, Cursor::new(*id, files))).collect();
    let mut steps = Vec::new();
    for of_one_time in changes.chunk_by(|one, other| one.0 == other.0) {
        // Of each generation, what is new at this time; the one with the newest snapshot is what a restore takes.
        let mut new: Vec<_> = of_one_time
            .iter()
            .filter_map(|(time, generation)| {
                let at = cursors.binary_search_by_key(generation, |(id, _)| *id).ok()?;
                let (_, cursor) = cursors.get_mut(at)?;
                let steps = cursor.advance(*time);
                Some((
                    cursor.base.map(|number| cursor.files.snapshots.get(number).map(|each| each.created_at)),
                    steps,
                ))
            })
            .collect();
        new.sort_by_key(|(snapshot, _)| *snapshot);
        steps.extend(new.into_iter().flat_map(|(_, steps)| steps));
    }
    steps
}

/// How far the states of one generation are known.
struct Cursor<'a> {
    generation: Generation,
    files: &'a Files,
    /// Numbers of the snapshots that are still to come, the next one last.
    coming: Vec<usize>,
    /// Number of the newest snapshot.
    base: Option<usize>,
    /// The segments before this number are in the newest state.
    end: usize,
}

impl<'a> Cursor<'a> {
    fn new(generation: Generation, files: &'a Files) -> Self {
        let mut coming: Vec<usize> = (0..files.snapshots.len()).collect();
        coming.sort_by_key(|number| files.snapshots.get(*number).map(|each| (each.created_at, each.index)));
        coming.reverse();
        Self { generation, files, coming, base: None, end: 0 }
    }

    /// The states that are new at a time.
    fn advance(&mut self, time: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        let files = self.files;
        let next = |coming: &[usize]| {
            let number = *coming.last()?;
            let snapshot = files.snapshots.get(number)?;
            (snapshot.created_at <= time).then_some((number, *snapshot))
        };
        while let Some((number, snapshot)) = next(&self.coming) {
            self.coming.pop();
            // The older snapshot leads to all states before, and to those of the WAL that was in use. Copies may have made the times
            // of segments later ones: restores to a time do not use these, but those to an index do.
            self.extend(&mut steps, time, |segment| {
                segment.index < snapshot.index
                    || (segment.index == snapshot.index && segment.created_at <= time)
            });
            let start = start_of(files, &snapshot);
            let continues = self.base.is_some_and(|base| {
                let before = files.snapshots.get(base);
                self.end >= start && before.is_some_and(|before| before.index <= snapshot.index)
            });
            if !continues {
                self.end = start;
            }
            self.base = Some(number);
            steps.push(self.step(time, true));
        }
        // After the first segment that is too new none is used, whatever its time is.
        self.extend(&mut steps, time, |segment| segment.created_at <= time);
        steps
    }

    /// Goes on by segments while they suit.
    fn extend(&mut self, steps: &mut Vec<Step>, time: Timestamp, suits: impl Fn(&Segment) -> bool) {
        if self.base.is_none() {
            return;
        }
        while self.files.segments.get(self.end).is_some_and(&suits) {
            self.end += 1;
            steps.push(self.step(time, false));
        }
    }

    fn step(&self, time: Timestamp, is_snapshot: bool) -> Step {
        let snapshot = self.base.unwrap_or_default();
        Step { generation: self.generation, snapshot, end: self.end, is_snapshot, time }
    }
}

#[cfg(test)]
mod tests;
