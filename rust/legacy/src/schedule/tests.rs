use proptest::prelude::*;
use replica::Object;

use super::*;
use crate::history::Target;
use crate::names::{format_segment, format_snapshot};

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

/// Time, generation, index of the snapshot, place of the last segment, if that is what is new.
type Found = (i64, Generation, u32, Option<(u32, u64)>);

fn found(objects: &[Object]) -> Vec<Found> {
    let schedule = Schedule::new(History::of(objects.iter().cloned()));
    let of = |step: &Step| {
        let files = schedule.files(step.generation);
        let segment = (!step.is_snapshot).then(|| &files.segments[step.end - 1]);
        let place = segment.map(|each| (each.index, each.offset));
        (step.time.millis(), step.generation, files.snapshots[step.snapshot].index, place)
    };
    schedule.steps().iter().map(of).collect()
}

#[test]
fn states_follow_each_other_as_they_were_stored() {
    let objects = [snapshot(A, 0, 1), segment(A, 0, 0, 2), segment(A, 0, 50, 3), segment(A, 1, 0, 4)];
    let expected =
        [(1, A, 0, None), (2, A, 0, Some((0, 0))), (3, A, 0, Some((0, 50))), (4, A, 0, Some((1, 0)))];
    assert_eq!(found(&objects), expected);
}

#[test]
fn a_later_snapshot_holds_what_was_stored_of_its_wal() {
    let objects =
        [snapshot(A, 0, 1), segment(A, 0, 0, 2), segment(A, 1, 0, 3), snapshot(A, 1, 4), segment(A, 1, 9, 5)];
    let schedule = Schedule::new(History::of(objects.iter().cloned()));
    assert_eq!(
        schedule.steps()[3],
        Step { generation: A, snapshot: 1, end: 2, is_snapshot: true, time: Timestamp::from_millis(4) }
    );
    assert_eq!(found(&objects)[4], (5, A, 1, Some((1, 9))));
}

#[test]
fn states_of_overlapping_generations_come_in_turn() {
    let objects = [
        snapshot(A, 1, 10),
        segment(A, 1, 0, 20),
        snapshot(B, 0, 30),
        segment(B, 0, 0, 40),
        segment(A, 1, 100, 50),
    ];
    let expected = [
        (10, A, 1, None),
        (20, A, 1, Some((1, 0))),
        (30, B, 0, None),
        (40, B, 0, Some((0, 0))),
        (50, A, 1, Some((1, 100))),
    ];
    assert_eq!(found(&objects), expected);
}

#[test]
fn no_state_is_lost_where_all_times_are_the_same() {
    let objects = [
        snapshot(A, 0, 1),
        segment(A, 0, 0, 1),
        segment(A, 1, 0, 1),
        snapshot(A, 1, 1),
        segment(A, 2, 0, 1),
        snapshot(B, 0, 1),
        segment(B, 0, 0, 1),
    ];
    let expected = [
        (1, A, 0, None),
        (1, A, 0, Some((0, 0))),
        (1, A, 0, Some((1, 0))),
        (1, A, 1, None),
        (1, A, 1, Some((2, 0))),
        (1, B, 0, None),
        (1, B, 0, Some((0, 0))),
    ];
    assert_eq!(found(&objects), expected);
}

#[test]
fn no_state_is_lost_where_snapshots_were_copied_first() {
    let objects =
        [snapshot(A, 0, 1), snapshot(A, 2, 2), segment(A, 0, 0, 3), segment(A, 1, 0, 4), segment(A, 2, 0, 5)];
    let expected = [
        (1, A, 0, None),
        (2, A, 0, Some((0, 0))),
        (2, A, 0, Some((1, 0))),
        (2, A, 2, None),
        (5, A, 2, Some((2, 0))),
    ];
    assert_eq!(found(&objects), expected);
}

#[test]
fn marks_differ() {
    let objects = [snapshot(A, 0, 1), segment(A, 0, 0, 2), snapshot(A, 1, 3), segment(A, 1, 0, 4)];
    let marks = |objects: &[Object]| -> Vec<u64> {
        let schedule = Schedule::new(History::of(objects.iter().cloned()));
        schedule.steps().iter().map(|step| schedule.mark(step)).collect()
    };
    let mut all = marks(&objects);
    all.extend(marks(&[snapshot(A, 0, 9), segment(A, 0, 0, 10)]));
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    // What was deleted since does not matter to what is left.
    assert_eq!(marks(&objects[2..]), marks(&objects)[2..]);
}

proptest! {
    #[test]
    fn restores_to_all_times_give_these_states(
        snapshots in prop::collection::vec((0..3_u64, 0..4_u32, 0..30_i64), 0..6),
        segments in prop::collection::vec((0..3_u64, 0..5_u32, 0..3_u64, 0..30_i64), 0..40),
    ) {
        let mut objects: Vec<Object> =
            snapshots.iter().map(|(id, index, time)| snapshot(Generation::new(*id), *index, *time)).collect();
        objects.extend(segments.iter().map(|(id, index, offset, time)| segment(Generation::new(*id), *index, offset * 9, *time)));
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        objects.dedup_by(|one, other| one.key == other.key);
        let history = History::of(objects);
        let schedule = Schedule::new(history.clone());
        prop_assert!(schedule.steps().is_sorted_by_key(|step| step.time));
        for (generation, files) in &history.generations {
            let of = |step: &&Step| step.generation == *generation;
            let first = files.snapshots.iter().map(|each| each.index).min();
            for (number, segment) in files.segments.iter().enumerate() {
                // Unless it was stored before a segment that has to come first.
                let is_in_order = files.segments[..number].iter().all(|before| before.created_at <= segment.created_at);
                let is_there = schedule.steps().iter().filter(of).any(|step| step.end == number + 1);
                prop_assert!(is_there || !is_in_order || first.is_none_or(|first| segment.index < first), "{:?}", segment);
            }
        }
        for millis in 0..32 {
            let until = Timestamp::from_millis(millis);
            let last = schedule.steps().iter().rfind(|step| step.time <= until);
            match history.plan_unchecked(&Target { until: Some(until), ..Target::default() }) {
                Ok(plan) => {
                    let step = last.unwrap();
                    let files = schedule.files(step.generation);
                    let snapshot = files.snapshots[step.snapshot];
                    prop_assert_eq!(plan.snapshot, snapshot);
                    let segments = files.segments.get(start_of(files, &snapshot)..step.end).unwrap_or_default();
                    prop_assert_eq!(&plan.segments, segments, "until {}", millis);
                }
                Err(_) => prop_assert_eq!(last, None),
            }
        }
    }
}
