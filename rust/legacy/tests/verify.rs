//! What is said about histories in which something is damaged or missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};

use common::{GENERATION, Replica, packed};
use legacy::{
    Damage, Error, FrameReader, History, Options, Schedule, Target, format_segment, format_snapshot, verify,
};
use ltx::Timestamp;
use replica::Object;

type Objects = BTreeMap<String, Vec<u8>>;
type Harm = fn(&[u8]) -> Vec<u8>;

/// Two snapshots, and three WAL files of three segments each: each second one is stored.
fn whole() -> (Objects, BTreeMap<String, i64>) {
    let mut made = Replica::new(6);
    let (mut times, mut millis) = (BTreeMap::new(), 0);
    let mut take = |made: &Replica| {
        for key in made.objects.keys() {
            times.entry(key.clone()).or_insert_with(|| {
                millis += 1000;
                millis
            });
        }
    };
    take(&made);
    for index in 0..3 {
        for part in 0..3 {
            made.commit(&[(2 + part, 10 * index as u8), (5, part as u8)], 6);
            made.segment();
            take(&made);
        }
        made.restart(6);
        if index == 1 {
            made.snapshot();
            take(&made);
        }
    }
    (made.objects, times)
}

fn history(objects: &Objects, times: &BTreeMap<String, i64>) -> History {
    History::of(objects.iter().map(|(key, bytes)| Object {
        key: key.clone(),
        size: bytes.len() as u64,
        modified: Timestamp::from_millis(times.get(key).copied().unwrap_or(20_000)),
    }))
}

fn open(objects: &Objects) -> impl Fn(&str, u64) -> io::Result<Box<dyn Read + Send>> + Sync {
    let objects = objects.clone();
    move |key: &str, _| {
        let bytes = objects.get(key).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(bytes.clone())))
    }
}

fn found(objects: &Objects, times: &BTreeMap<String, i64>) -> Vec<Damage> {
    let schedule = Schedule::new(history(objects, times));
    let mut last = 0;
    let mut progress = |bytes| {
        assert!(bytes >= last);
        last = bytes;
        true
    };
    let found =
        verify(&schedule, &open(objects), Options { parallelism: 2, progress: &mut progress }).unwrap();
    assert!(!found.is_empty() || last == schedule.totals().1);
    found
}

/// The states, by their times, that cannot be restored.
fn unrestorable(objects: &Objects, times: &BTreeMap<String, i64>) -> Vec<i64> {
    let history = history(objects, times);
    let schedule = Schedule::new(history.clone());
    let fails = |millis: &i64| {
        let file = tempfile::tempfile().unwrap();
        let target = Target { until: Some(Timestamp::from_millis(*millis)), ..Target::default() };
        let options = Options { parallelism: 1, progress: &mut |_| true };
        history.plan(&target).and_then(|plan| legacy::restore(&plan, &open(objects), &file, options)).is_err()
    };
    schedule.steps().iter().map(|step| step.time.millis()).filter(fails).collect()
}

fn segment(index: u32, offset: u64) -> String {
    GENERATION.wal_folder() + &format_segment(index, offset)
}

#[test]
fn nothing_is_wrong_with_a_whole_history() {
    let (objects, times) = whole();
    assert_eq!(found(&objects, &times), []);
    assert_eq!(found(&Objects::new(), &times), []);
}

#[test]
fn each_damaged_object_is_named_with_the_states_that_need_it() {
    let (objects, times) = whole();
    for key in objects.keys() {
        let damages: [Harm; 4] = [
            |bytes| bytes[..bytes.len() - 4].to_vec(),
            |_| Vec::new(),
            |bytes| [bytes, bytes].concat(),
            |bytes| {
                let mut bytes = bytes.to_vec();
                bytes[10] ^= 4;
                bytes
            },
        ];
        for damage in damages {
            let mut damaged = objects.clone();
            damaged.insert(key.clone(), damage(&objects[key]));
            let found = found(&damaged, &times);
            let lost = unrestorable(&damaged, &times);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((&found[0].key, found[0].states), (key, lost.len() as u64));
            assert_eq!(
                found[0].times.map(|(first, last)| (first.millis(), last.millis())),
                Some((lost[0], lost[lost.len() - 1]))
            );
        }
    }
}

#[test]
fn each_missing_object_is_named_unless_nothing_shows_it() {
    let (objects, times) = whole();
    for key in objects.keys().filter(|key| key.contains("/wal/")) {
        let mut less = objects.clone();
        less.remove(key);
        let found = found(&less, &times);
        let lost = unrestorable(&less, &times);
        // Nothing tells where a WAL ended.
        let is_last = !objects.keys().any(|other| other > key && other[..41] == key[..41]);
        let named: Vec<_> = found.iter().map(|damage| (damage.key.as_str(), damage.states)).collect();
        if is_last {
            assert_eq!((named, lost.len()), (vec![], 0), "{key}");
        } else {
            assert_eq!(named, [(key.as_str(), lost.len() as u64)]);
        }
    }
}

#[test]
fn a_wal_that_is_missing() {
    let (mut objects, times) = whole();
    objects.retain(|key, _| !key.contains("/wal/00000004"));
    let found = found(&objects, &times);
    assert_eq!(found[0].key, segment(4, 0));
    assert_eq!(found[0].states, unrestorable(&objects, &times).len() as u64);
    assert_eq!(found.len(), 1);
}

#[test]
fn a_segment_of_another_wal_and_a_cut_transaction() {
    let (objects, times) = whole();
    let keys: Vec<_> = objects.keys().filter(|key| key.contains("/wal/00000003")).cloned().collect();
    let mut glued = objects.clone();
    glued.insert(keys[1].clone(), objects[&keys[1].replace("00000003", "00000004")].clone());
    let said = found(&glued, &times);
    assert!(said[0].what.contains("does not continue this WAL"), "{said:?}");
    let mut cut = objects.clone();
    let mut bytes = Vec::new();
    FrameReader::new(&*objects[&keys[1]]).unwrap().read_to_end(&mut bytes).unwrap();
    cut.insert(keys[1].clone(), packed(&bytes[..bytes.len() / 2]));
    let said = found(&cut, &times);
    assert!(said[0].what.contains("middle of a transaction"), "{said:?}");
    assert_eq!(said[0].key, keys[1]);
}

#[test]
fn a_snapshot_that_is_no_database() {
    let (mut objects, times) = whole();
    let key = GENERATION.snapshots_folder() + &format_snapshot(3);
    objects.insert(key.clone(), packed(&[7; 5000]));
    assert_eq!(found(&objects, &times)[0].key, key);
    let mut half = Vec::new();
    FrameReader::new(&*whole().0[&key]).unwrap().read_to_end(&mut half).unwrap();
    objects.insert(key, packed(&half[..700]));
    assert!(found(&objects, &times)[0].what.contains("middle of a page"));
}

#[test]
fn a_storage_that_fails_is_no_damage() {
    let (objects, times) = whole();
    let schedule = Schedule::new(history(&objects, &times));
    let failing =
        |_: &str, _: u64| -> io::Result<Box<dyn Read + Send>> { Err(io::ErrorKind::PermissionDenied.into()) };
    let done = verify(&schedule, &failing, Options { parallelism: 2, progress: &mut |_| true });
    assert!(matches!(done, Err(Error::Storage { .. })));
    let done = verify(&schedule, &open(&objects), Options { parallelism: 2, progress: &mut |_| false });
    assert!(matches!(done, Err(Error::Cancelled)));
}
