//! What a v0.3 replica holds, and which part of it a restore reads.
//!
//! Litestream 0.3 and 0.5 choose in different ways where several generations could be meant. Here the one counts that has the newest
//! object of all that may be used, as with 0.3: that is the history which went on last. Its newest snapshot is the start, and then
//! come the segments of the WAL that was in use when the snapshot was made, and of all later ones.

use std::collections::BTreeMap;

use ltx::Timestamp;
use replica::Object;

use crate::error::{Error, Result};
use crate::names::{GENERATIONS, Generation, format_segment, format_snapshot, parse_segment, parse_snapshot};

/// A copy of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Of this generation.
    pub generation: Generation,
    /// The WAL that was in use when it was made.
    pub index: u32,
    /// Size in bytes, as it is stored.
    pub size: u64,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// A part of a WAL, which ends with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Of this generation.
    pub generation: Generation,
    /// The WAL.
    pub index: u32,
    /// Where it begins in the WAL, in bytes.
    pub offset: u64,
    /// Size in bytes, as it is stored.
    pub size: u64,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl Snapshot {
    /// The name of the object.
    #[must_use]
    pub fn key(&self) -> String {
        self.generation.snapshots_folder() + &format_snapshot(self.index)
    }
}

impl Segment {
    /// The name of the object.
    #[must_use]
    pub fn key(&self) -> String {
        self.generation.wal_folder() + &format_segment(self.index, self.offset)
    }
}

/// Everything of one generation, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// By index.
    pub snapshots: Vec<Snapshot>,
    /// By index and offset.
    pub segments: Vec<Segment>,
}

impl Files {
    /// When the first and the last object were stored.
    #[must_use]
    pub fn times(&self) -> Option<(Timestamp, Timestamp)> {
        let times = self.times_in_turn();
        Some((times.clone().min()?, times.max()?))
    }

    pub(crate) fn times_in_turn(&self) -> impl Iterator<Item = Timestamp> + Clone {
        let snapshots = self.snapshots.iter().map(|each| each.created_at);
        snapshots.chain(self.segments.iter().map(|each| each.created_at))
    }
}

/// Which state is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Of this generation alone.
    pub generation: Option<Generation>,
    /// Nothing that was stored after this time.
    pub until: Option<Timestamp>,
    /// No WAL after this one.
    pub index: Option<u32>,
}

/// What a restore reads, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The start.
    pub snapshot: Snapshot,
    /// What comes after it.
    pub segments: Vec<Segment>,
}

impl Plan {
    /// When the newest of its objects was stored.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        let times = self.segments.iter().map(|each| each.created_at);
        times.fold(self.snapshot.created_at, Ord::max)
    }

    /// Bytes of all objects, as they are stored.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.segments.iter().fold(self.snapshot.size, |sum, each| sum.saturating_add(each.size))
    }
}

/// Everything that a replica holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By their names, which say nothing about their order in time.
    pub generations: BTreeMap<Generation, Files>,
}

impl History {
    /// Takes in what a listing of [`GENERATIONS`] shows. Objects with other names are left out.
    #[must_use]
    pub fn of(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut history = Self::default();
        for object in objects {
            history.add(&object);
        }
        for files in history.generations.values_mut() {
            files.snapshots.sort_unstable_by_key(|each| each.index);
            files.segments.sort_unstable_by_key(|each| (each.index, each.offset));
        }
        history
    }

    fn add(&mut self, object: &Object) -> Option<()> {
        let mut parts = object.key.strip_prefix(GENERATIONS)?.split('/');
        let generation = parts.next()?.parse().ok()?;
        let (kind, name) = (parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let Object { size, modified: created_at, .. } = *object;
        match kind {
            "snapshots" => {
                let index = parse_snapshot(name).ok()?;
                let found = Snapshot { generation, index, size, created_at };
                self.generations.entry(generation).or_default().snapshots.push(found);
            }
            "wal" => {
                let (index, offset) = parse_segment(name).ok()?;
                let found = Segment { generation, index, offset, size, created_at };
                self.generations.entry(generation).or_default().segments.push(found);
            }
            _ => {}
        }
        Some(())
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.generations.is_empty()
    }

    /// The objects that lead to a state. Whether the segments are whole shows when they are read.
    ///
    /// # Errors
    /// - [`Error::NoGeneration`]: there is none, or not the one that is wanted.
    /// - [`Error::NoSnapshot`]: none is old enough.
    /// - [`Error::MissingSegment`]: a WAL does not begin at its start, or is missing altogether.
    /// - [`Error::NoWal`]: the history ends before the index that is wanted.
    pub fn plan(&self, target: &Target) -> Result<Plan> {
        let plan = self.plan_unchecked(target)?;
        let mut names = Names::new(&plan.snapshot);
        plan.segments.iter().try_for_each(|segment| names.take(segment))?;
        if let (Some(index), None) = (target.index, target.until) {
            self.check_end(&plan, names, index)?;
        }
        Ok(plan)
    }

    /// A plan up to the end of a WAL has to come to that WAL.
    fn check_end(&self, plan: &Plan, mut names: Names, index: u32) -> Result<()> {
        if names.next > index {
            return Ok(());
        }
        let generation = plan.snapshot.generation;
        let segments = self.generations.get(&generation).map_or(&[][..], |files| &files.segments);
        match segments.iter().find(|segment| segment.index > index) {
            Some(later) => names.take(later),
            // The WAL of a snapshot may have nothing in it yet.
            None if names.next == names.first && index == names.first => Ok(()),
            None => Err(Error::NoWal { generation, index, last: names.next.max(names.first + 1) - 1 }),
        }
    }

    /// The same, also if a WAL is missing.
    pub(crate) fn plan_unchecked(&self, target: &Target) -> Result<Plan> {
        let candidates = || {
            let wanted = |id: Generation| target.generation.is_none_or(|generation| generation == id);
            self.generations.iter().filter(move |(id, _)| wanted(**id)).map(|(_, files)| files)
        };
        if candidates().next().is_none() {
            return Err(Error::NoGeneration { generation: target.generation });
        }
        let plans = candidates().filter_map(|files| files.until(target));
        // Of generations that end at the same time, the one with the newer snapshot was begun later.
        let newest = plans.max_by_key(|plan| (plan.created_at(), plan.snapshot.created_at));
        newest.ok_or_else(|| {
            let snapshots = candidates().flat_map(|files| &files.snapshots);
            Error::NoSnapshot { first: snapshots.map(|each| each.created_at).min() }
        })
    }
}

impl Files {
    fn until(&self, target: &Target) -> Option<Plan> {
        let is_wanted = |index: u32, time: Timestamp| {
            target.until.is_none_or(|until| time <= until) && target.index.is_none_or(|most| index <= most)
        };
        let snapshots = self.snapshots.iter().filter(|each| is_wanted(each.index, each.created_at));
        let snapshot = *snapshots.max_by_key(|each| (each.created_at, each.index))?;
        let later = self.segments.iter().filter(|each| each.index >= snapshot.index);
        // After the first one that is too new none is used, whatever its time is.
        let segments = later.copied().take_while(|each| is_wanted(each.index, each.created_at)).collect();
        Some(Plan { snapshot, segments })
    }
}

/// What can be told by the names of segments: each WAL begins at its start, and no index is left out.
pub(crate) struct Names {
    /// Of the snapshot.
    first: u32,
    /// The WAL that has not begun yet.
    next: u32,
}

impl Names {
    /// Nothing but the snapshot is known.
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        Self { first: snapshot.index, next: snapshot.index }
    }

    /// Takes in the next segment.
    pub(crate) fn take(&mut self, segment: &Segment) -> Result<()> {
        let Segment { generation, index: found_index, offset: found_offset, .. } = *segment;
        let (next, is_start) = (self.next, found_offset == 0);
        if is_start && found_index == next {
            self.next += 1;
        } else if is_start || next == self.first || found_index + 1 != next {
            return Err(Error::MissingSegment {
                generation,
                index: next,
                offset: 0,
                found_index,
                found_offset,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Generation = Generation::new(0xa);
    const B: Generation = Generation::new(0xb);

    fn object(key: String, millis: i64) -> Object {
        Object { key, size: 10, modified: Timestamp::from_millis(millis) }
    }

    fn snapshot(generation: Generation, index: u32, millis: i64) -> Object {
        object(generation.snapshots_folder() + &format_snapshot(index), millis)
    }

    fn segment(generation: Generation, index: u32, offset: u64, millis: i64) -> Object {
        object(generation.wal_folder() + &format_segment(index, offset), millis)
    }

    /// Generation, snapshot and segments of the plan for a target.
    type Found = (Generation, u32, Vec<(u32, u64)>);

    fn found(objects: &[Object], target: Target) -> Result<Found> {
        let plan = History::of(objects.iter().cloned()).plan(&target)?;
        let segments = plan.segments.iter().map(|each| (each.index, each.offset)).collect();
        Ok((plan.snapshot.generation, plan.snapshot.index, segments))
    }

    fn until(millis: i64) -> Target {
        Target { until: Some(Timestamp::from_millis(millis)), ..Target::default() }
    }

    /// A has two snapshots, and B was begun while A still went on.
    fn history() -> Vec<Object> {
        vec![
            segment(A, 2, 0, 40),
            segment(A, 1, 0, 20),
            segment(A, 1, 100, 30),
            snapshot(A, 1, 10),
            snapshot(A, 2, 41),
            segment(A, 2, 100, 70),
            snapshot(B, 0, 50),
            segment(B, 0, 0, 60),
        ]
    }

    #[test]
    fn the_history_that_went_on_last_is_restored() {
        assert_eq!(found(&history(), Target::default()).unwrap(), (A, 2, vec![(2, 0), (2, 100)]));
        assert_eq!(found(&history(), until(65)).unwrap(), (B, 0, vec![(0, 0)]));
    }

    #[test]
    fn a_time_counts_with_what_was_stored_then() {
        for (millis, expected) in [
            (10, (A, 1, vec![])),
            (20, (A, 1, vec![(1, 0)])),
            (39, (A, 1, vec![(1, 0), (1, 100)])),
            (40, (A, 1, vec![(1, 0), (1, 100), (2, 0)])),
            (49, (A, 2, vec![(2, 0)])),
            (50, (B, 0, vec![])),
        ] {
            assert_eq!(found(&history(), until(millis)).unwrap(), expected, "until {millis}");
        }
        let first = Some(Timestamp::from_millis(10));
        assert!(
            matches!(found(&history(), until(9)), Err(Error::NoSnapshot { first: found }) if found == first)
        );
    }

    #[test]
    fn a_generation_and_an_index_are_limits() {
        let target = Target { generation: Some(A), index: Some(1), ..Target::default() };
        assert_eq!(found(&history(), target).unwrap(), (A, 1, vec![(1, 0), (1, 100)]));
        let target = Target { generation: Some(B), ..Target::default() };
        assert_eq!(found(&history(), target).unwrap(), (B, 0, vec![(0, 0)]));
        let target = Target { generation: Some(Generation::new(1)), ..Target::default() };
        assert!(matches!(found(&history(), target), Err(Error::NoGeneration { generation: Some(_) })));
        assert!(matches!(found(&[], Target::default()), Err(Error::NoGeneration { generation: None })));
        let without = [segment(A, 0, 0, 1)];
        assert!(matches!(found(&without, Target::default()), Err(Error::NoSnapshot { first: None })));
    }

    #[test]
    fn a_wal_that_is_wanted_has_to_be_there() {
        let objects = [
            snapshot(A, 1, 1),
            segment(A, 1, 0, 2),
            segment(A, 2, 0, 3),
            snapshot(A, 3, 4),
            segment(A, 4, 0, 5),
        ];
        let plan =
            |index| found(&objects, Target { generation: Some(A), index: Some(index), ..Target::default() });
        assert_eq!(plan(2).unwrap(), (A, 1, vec![(1, 0), (2, 0)]));
        // Its WAL is not there, though a later one is.
        assert!(matches!(plan(3), Err(Error::MissingSegment { index: 3, found_index: 4, .. })));
        assert!(matches!(plan(9), Err(Error::MissingSegment { index: 3, found_index: 4, .. })));
        let whole = [&objects[..4], &[segment(A, 3, 0, 4), segment(A, 4, 0, 5)]].concat();
        let plan = |objects: &[Object], index| {
            found(objects, Target { generation: Some(A), index: Some(index), ..Target::default() })
        };
        assert_eq!(plan(&whole, 4).unwrap(), (A, 3, vec![(3, 0), (4, 0)]));
        assert!(matches!(plan(&whole, 5), Err(Error::NoWal { index: 5, last: 4, .. })));
        // A snapshot in whose WAL nothing is yet.
        assert_eq!(plan(&objects[..4], 3).unwrap(), (A, 3, vec![]));
        assert!(matches!(plan(&objects[..4], 4), Err(Error::NoWal { index: 4, last: 3, .. })));
    }

    #[test]
    fn nothing_is_used_that_follows_something_too_new() {
        let objects = [snapshot(A, 0, 1), segment(A, 0, 0, 2), segment(A, 0, 9, 5), segment(A, 1, 0, 3)];
        assert_eq!(found(&objects, until(4)).unwrap(), (A, 0, vec![(0, 0)]));
    }

    #[test]
    fn a_wal_that_is_missing_is_found_by_the_names() {
        let missing = |objects: &[Object]| match found(objects, Target::default()) {
            Err(Error::MissingSegment { index, found_index, found_offset, .. }) => {
                (index, found_index, found_offset)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(missing(&[snapshot(A, 3, 1), segment(A, 4, 0, 2)]), (3, 4, 0));
        assert_eq!(missing(&[snapshot(A, 3, 1), segment(A, 3, 9, 2)]), (3, 3, 9));
        assert_eq!(missing(&[snapshot(A, 3, 1), segment(A, 3, 0, 2), segment(A, 4, 9, 3)]), (4, 4, 9));
        assert_eq!(missing(&[snapshot(A, 3, 1), segment(A, 3, 0, 2), segment(A, 5, 0, 3)]), (4, 5, 0));
    }

    #[test]
    fn other_names_are_left_out() {
        let mut objects = history();
        for key in [
            "generations/000000000000000a/wal/x",
            "generations/x/wal/00000000_00000000.wal.lz4",
            "generations/000000000000000a/other/00000009.snapshot.lz4",
            "generations/000000000000000a/wal/a/00000000_00000000.wal.lz4",
            "ltx/0/0000000000000001-0000000000000001.ltx",
            "generations",
            "generations/000000000000000a",
        ] {
            objects.push(object(key.into(), 1000));
        }
        assert_eq!(History::of(objects), History::of(history()));
    }
}
