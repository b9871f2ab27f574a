//! Histories as LTX files: restores from both give the same database at every time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::Path;

use common::{PAGE, Replica, Step, step};
use legacy::{
    Batch, Continued, Conversion, Error, Generation, History, Made, Options, Schedule, Stamp, Target,
};
use ltx::{Header, Timestamp, TxId};
use proptest::prelude::*;
use replica::{FileClient, Object, ReplicaClient, RestoreOptions};

/// Objects with their times in milliseconds.
type Objects = BTreeMap<String, (Vec<u8>, i64)>;

fn history(objects: &Objects) -> History {
    History::of(objects.iter().map(|(key, (bytes, millis))| Object {
        key: key.clone(),
        size: bytes.len() as u64,
        modified: Timestamp::from_millis(*millis),
    }))
}

struct Converter<'a> {
    objects: &'a Objects,
    client: FileClient,
    conversion: Conversion,
}

impl<'a> Converter<'a> {
    fn new(objects: &'a Objects, directory: &Path, skips: bool) -> Self {
        let conversion = Conversion::new(Schedule::new(history(objects)), directory, skips).unwrap();
        Self { objects, client: FileClient::new(directory.join("ltx")), conversion }
    }

    fn batch(&mut self) -> Batch {
        let objects = self.objects;
        let open = move |key: &str, _: u64| -> io::Result<Box<dyn Read + Send>> {
            let (bytes, _) = objects.get(key).ok_or(io::ErrorKind::NotFound)?;
            Ok(Box::new(Cursor::new(bytes.clone())))
        };
        self.conversion.run(&open, Options { parallelism: 2, progress: &mut |_| true })
    }

    fn bytes(&self, made: &Made) -> Vec<u8> {
        let mut bytes = vec![0; made.size as usize];
        self.conversion.read(made.offset, &mut bytes).unwrap();
        bytes
    }

    fn store(&self, made: &Made) {
        let bytes = self.bytes(made);
        self.client.write_ltx_file(made.level, made.txids.0, made.txids.1, &mut Cursor::new(bytes)).unwrap();
    }

    /// Everything that is left.
    fn finish(&mut self) -> Option<Error> {
        while self.conversion.done() < self.conversion.schedule().steps().len() {
            let batch = self.batch();
            batch.files.iter().for_each(|made| self.store(made));
            if batch.error.is_some() {
                return batch.error;
            }
        }
        None
    }

    fn restored(&self, before: i64, output: &Path) -> Option<Vec<u8>> {
        let target = replica::Target::Before(Timestamp::from_millis(before));
        let plan = replica::plan(&self.client, &target).ok()?;
        let _ = fs::remove_file(output);
        replica::restore(&self.client, &plan, output, &RestoreOptions::default()).unwrap();
        Some(fs::read(output).unwrap())
    }
}

fn restored_from(objects: &Objects, until: i64, output: &Path) -> Option<Vec<u8>> {
    let target = Target { until: Some(Timestamp::from_millis(until)), ..Target::default() };
    let plan = history(objects).plan(&target).ok()?;
    let file = File::options().read(true).write(true).create(true).truncate(true).open(output).unwrap();
    let open = |key: &str, _: u64| -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(objects[key].0.clone())))
    };
    legacy::restore(&plan, &open, &file, Options { parallelism: 1, progress: &mut |_| true }).unwrap();
    Some(fs::read(output).unwrap())
}

/// The states of several generations, each of which begins with the database as the one before left it, or one with other pages.
fn generations() -> impl Strategy<Value = Vec<(bool, Vec<Step>)>> {
    prop::collection::vec((any::<bool>(), prop::collection::vec(step(), 0..25)), 1..4)
}

/// Gives each object a time. Those of one generation come in the order in which they were stored; generations may overlap.
fn stored(generations: &[(bool, Vec<Step>)], pauses: &[i64], overlap: i64) -> Objects {
    let mut objects = Objects::new();
    let (mut pauses, mut now) = (pauses.iter().cycle(), 1000);
    let mut pages = Replica::new(5).pages;
    for (number, (is_same, steps)) in generations.iter().enumerate() {
        if !is_same {
            pages = Replica::new(3 + number as u32).pages;
        }
        let mut made = Replica::of(Generation::new(1 + (number as u64 * 7) % 5), pages);
        let mut known = 0;
        let mut millis = now - overlap;
        let mut take = |made: &Replica, millis: &mut i64| {
            if made.objects.len() > known {
                known = made.objects.len();
                *millis += pauses.next().unwrap();
                for (key, bytes) in &made.objects {
                    objects.entry(key.clone()).or_insert_with(|| (bytes.clone(), *millis));
                }
            }
        };
        take(&made, &mut millis);
        for step in steps {
            made.run_one(step.clone());
            take(&made, &mut millis);
        }
        made.end();
        take(&made, &mut millis);
        (pages, now) = (made.pages, millis);
    }
    objects
}

fn times(objects: &Objects) -> Vec<i64> {
    let mut times: Vec<i64> =
        objects.values().flat_map(|(_, millis)| [*millis - 1, *millis, *millis + 1]).collect();
    times.sort_unstable();
    times.dedup();
    times
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn restores_to_every_time_are_the_same(
        generations in generations(),
        pauses in prop::collection::vec(prop_oneof![Just(0_i64), 1..5_i64], 1..30),
        overlap in prop_oneof![Just(-3_i64), 0..20_i64],
    ) {
        let objects = stored(&generations, &pauses, overlap);
        let directory = tempfile::tempdir().unwrap();
        let mut converter = Converter::new(&objects, directory.path(), false);
        prop_assert!(converter.finish().is_none());
        prop_assert!(converter.conversion.left_out().is_empty());
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        for millis in times(&objects) {
            let (old, new) = (restored_from(&objects, millis, &one), converter.restored(millis, &other));
            prop_assert!(old == new, "until {millis}");
        }
    }

    #[test]
    fn a_conversion_that_goes_on_writes_the_same_files(
        generations in generations(),
        pauses in prop::collection::vec(1..5_i64, 1..30),
        at: prop::sample::Index,
    ) {
        let objects = stored(&generations, &pauses, 0);
        let directory = tempfile::tempdir().unwrap();
        let mut whole = Converter::new(&objects, directory.path(), false);
        let batch = whole.batch();
        let written: BTreeMap<_, _> = batch.files.iter().map(|made| ((made.level, made.txids), whole.bytes(made))).collect();
        let made = batch.files[at.index(batch.files.len())];
        let header = Header::parse(&whole.bytes(&made)).unwrap();
        let mut other = Converter::new(&objects, directory.path(), false);
        let stamp = stamp_of(&header);
        prop_assert_eq!(other.conversion.resume(&stamp), Continued::Found);
        let rest = other.batch();
        prop_assert!(rest.error.is_none());
        for made in &rest.files {
            prop_assert!(written[&(made.level, made.txids)] == other.bytes(made), "{:?}", made);
        }
        let newest = |batch: &Batch| batch.files.iter().map(|made| made.txids.1).max();
        prop_assert!(newest(&rest).is_none() || newest(&rest) == newest(&batch));
    }
}

fn stamp_of(header: &Header) -> Stamp {
    Stamp {
        txids: (header.min_txid, header.max_txid),
        time: header.timestamp,
        mark: header.node_id,
        origin: (u64::from(header.wal_salt1) << 32) | u64::from(header.wal_salt2),
    }
}

/// Three snapshots, with three segments in the WAL of each; times are seconds.
fn three() -> Objects {
    let mut made = Replica::new(6);
    let (mut objects, mut millis) = (Objects::new(), 0);
    let mut take = |made: &Replica| {
        for (key, bytes) in &made.objects {
            objects.entry(key.clone()).or_insert_with(|| {
                millis += 1000;
                (bytes.clone(), millis)
            });
        }
    };
    take(&made);
    for index in 0..3 {
        if index > 0 {
            made.restart(6);
            made.snapshot();
            take(&made);
        }
        for part in 0..3 {
            made.commit(&[(2 + part, 10 * index as u8), (5, part as u8)], 6);
            made.segment();
            take(&made);
        }
    }
    objects
}

#[test]
fn a_damaged_file_ends_a_conversion_and_what_was_made_stays() {
    let whole = three();
    let key = "generations/00000000000000ab/wal/00000004_00000450.wal.lz4";
    let mut objects = whole.clone();
    objects.get_mut(key).unwrap().0[9] ^= 1;
    let directory = tempfile::tempdir().unwrap();
    let mut converter = Converter::new(&objects, directory.path(), false);
    let error = converter.finish().unwrap();
    assert_eq!(error.key().as_deref(), Some(key));
    let output = directory.path().join("db");
    for millis in 0..=6 {
        let millis = 1000 * millis;
        assert!(converter.restored(millis, &output) == restored_from(&whole, millis, &output), "{millis}");
    }
    // Once the file is sound, the rest is made.
    let mut converter = Converter::new(&whole, directory.path(), false);
    resume(&mut converter);
    assert!(converter.finish().is_none());
    for millis in times(&whole) {
        assert!(converter.restored(millis, &output) == restored_from(&whole, millis, &output), "{millis}");
    }
}

fn resume(converter: &mut Converter<'_>) {
    let files = converter.client.all_ltx_files(true).unwrap();
    let last =
        files.iter().filter(|file| file.level > 0).max_by_key(|file| (file.max_txid, file.level)).unwrap();
    let bytes = converter.client.read_ltx_file(last, 0, Some(100)).unwrap();
    let stamp = stamp_of(&Header::parse(&bytes).unwrap());
    assert_eq!(converter.conversion.resume(&stamp), Continued::Found);
}

#[test]
fn what_depends_on_a_damaged_file_is_left_out_if_asked_for() {
    let whole = three();
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("db");
    for (number, key) in whole.keys().enumerate() {
        let mut objects = whole.clone();
        if number % 2 == 0 {
            objects.get_mut(key).unwrap().0[9] ^= 1;
        } else {
            objects.get_mut(key).unwrap().0.truncate(20);
        }
        let folder = directory.path().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        let mut converter = Converter::new(&objects, &folder, true);
        assert!(converter.finish().is_none(), "{key}");
        let [left_out] = converter.conversion.left_out() else { panic!("{key}") };
        assert_eq!(&left_out.key, key);
        let lost: Vec<i64> = whole
            .values()
            .map(|(_, millis)| *millis)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .filter(|millis| converter.restored(*millis, &output) != restored_from(&whole, *millis, &output))
            .collect();
        // An older snapshot leads to the states of a later one as well.
        let expected = if key.contains("00000003.snapshot") {
            4
        } else if key.contains("snapshot") {
            0
        } else {
            3 - (objects.keys().filter(|other| other < &key && other.contains(&key[..41])).count() as u64)
        };
        assert_eq!(left_out.states, expected, "{key}");
        assert_eq!(lost.len() as u64, expected, "{key}: {lost:?}");
        let times = left_out.times.map(|(first, last)| (first.millis(), last.millis()));
        assert_eq!(times, lost.first().copied().zip(lost.last().copied()), "{key}");
    }
}

#[test]
fn a_history_whose_beginning_was_deleted_since_goes_on() {
    let whole = three();
    let directory = tempfile::tempdir().unwrap();
    let first: Objects = whole
        .iter()
        .filter(|(_, (_, millis))| *millis <= 6000)
        .map(|(key, object)| (key.clone(), object.clone()))
        .collect();
    assert!(Converter::new(&first, directory.path(), false).finish().is_none());
    let later: Objects = whole
        .iter()
        .filter(|(key, _)| key.contains("/00000005"))
        .map(|(key, object)| (key.clone(), object.clone()))
        .collect();
    let mut converter = Converter::new(&later, directory.path(), false);
    let files = converter.client.all_ltx_files(true).unwrap();
    let last = files.iter().max_by_key(|file| (file.max_txid, file.level)).unwrap();
    let bytes = converter.client.read_ltx_file(last, 0, Some(100)).unwrap();
    let mut stamp = stamp_of(&Header::parse(&bytes).unwrap());
    assert_eq!(converter.conversion.resume(&stamp), Continued::Pruned);
    assert!(converter.finish().is_none());
    assert_eq!(converter.conversion.reached().unwrap().0, TxId::new(stamp.txids.1.get() + 4));
    let output = directory.path().join("db");
    for millis in [1000, 6000, 9000, 10_000, 12_000] {
        assert!(converter.restored(millis, &output) == restored_from(&whole, millis, &output), "{millis}");
    }
    stamp.origin += 1;
    assert_eq!(converter.conversion.resume(&stamp), Continued::Foreign);
    assert_eq!(PAGE, 512);
}
