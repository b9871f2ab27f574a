//! Files that do not belong into a replica, or are none: avoided where there is another way, and named where there is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use common::{Fault, FaultClient, IMPATIENT, MemoryClient, delta, info, snapshot, txid};
use ltx::{Timestamp, TxId};
use replica::{
    Error, FileClient, FileKey, ReplicaClient, RestoreOptions, Target, compact_level, plan, restore,
    restore_points,
};

const LAST: u64 = u64::MAX;

fn key(level: u8, min: u64, max: u64) -> FileKey {
    info(level, min, max, 0).key()
}

/// Eight transactions at level 0.
fn eight() -> MemoryClient {
    let client = MemoryClient::default();
    snapshot(512, 3, 1, 1).store(&client, 0);
    for number in 2..=8 {
        delta(512, 3, number, number, &[(1, number as u8)]).store(&client, 0);
    }
    client
}

fn ranges(client: &dyn ReplicaClient, level: u8) -> Vec<(u64, u64)> {
    let files = client.ltx_files(level, TxId::NONE, false).unwrap();
    files.iter().map(|file| (file.min_txid.get(), file.max_txid.get())).collect()
}

fn everything() -> [Target; 2] {
    [Target::Latest, Target::Before(Timestamp::from_millis(i64::MAX))]
}

#[test]
fn a_file_far_beyond_is_named_and_harms_no_earlier_state() {
    for size in [0, 130, 500] {
        let client = eight();
        client.put(key(0, LAST, LAST), vec![0; size], 1);
        for target in everything() {
            let error = plan(&client, &target).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("level 0, transactions ffffffffffffffff-ffffffffffffffff"), "{text}");
            assert!(text.contains("after 0000000000000008 are missing"), "{text}");
        }
        for number in 1..=8 {
            assert_eq!(plan(&client, &Target::Txid(txid(number))).unwrap().txid, txid(number));
        }
        assert_eq!(restore_points(&client).unwrap().len(), 8);
    }
}

#[test]
fn an_empty_file_is_done_without_if_others_have_its_transactions() {
    let client = eight();
    snapshot(512, 3, 4, 1).store(&client, 9);
    for (level, min, max) in [(9, 1, 6), (9, 1, 8), (0, 3, 3), (2, 2, 7)] {
        client.put(key(level, min, max), Vec::new(), 1);
    }
    for target in everything() {
        let planned = plan(&client, &target).unwrap();
        assert_eq!((planned.txid, planned.exact), (txid(8), true));
        assert!(planned.files.iter().all(|file| file.size > 130), "{planned:?}");
    }
    assert!(
        matches!(plan(&client, &Target::Txid(txid(3))), Err(Error::FileTooShort { file, .. }) if file == key(0, 3, 3))
    );
    let points: Vec<u64> = restore_points(&client).unwrap().iter().map(|point| point.txid.get()).collect();
    assert_eq!(points, [1, 2, 4, 5, 6, 7, 8]);
}

#[test]
fn an_empty_file_that_nothing_replaces_is_named() {
    for number in [1, 5, 8, 9] {
        let client = eight();
        client.put(key(0, number, number), Vec::new(), 1);
        for target in [Target::Latest, Target::Txid(txid(number.max(8)))] {
            let Err(Error::FileTooShort { file, .. }) = plan(&client, &target) else { panic!("{number}") };
            assert_eq!(file, key(0, number, number));
        }
        if number > 1 {
            assert_eq!(plan(&client, &Target::Txid(txid(number - 1))).unwrap().txid, txid(number - 1));
        }
    }
}

#[test]
fn compaction_goes_on_beside_a_stray_file_above() {
    for size in [0, 500] {
        let client = eight();
        assert_eq!(compact_level(&client, 1).unwrap().unwrap().max_txid, txid(8));
        client.put(key(1, LAST, LAST), vec![0; size], 1);
        delta(512, 3, 9, 9, &[(1, 9)]).store(&client, 0);
        assert_eq!(compact_level(&client, 1).unwrap().unwrap().min_txid, txid(9));
        assert_eq!(compact_level(&client, 1).unwrap(), None);
    }
}

#[test]
fn compaction_names_an_input_that_cannot_be_one_after_merging_what_comes_before() {
    let client = eight();
    client.put(key(0, 5, 5), Vec::new(), 1);
    for _ in 0..2 {
        let Err(Error::FileTooShort { file, .. }) = compact_level(&client, 1) else { panic!("not named") };
        assert_eq!(file, key(0, 5, 5));
        assert_eq!(ranges(&client, 1), [(1, 4)]);
    }
    snapshot(512, 3, 6, 1).store(&client, 9);
    assert_eq!(compact_level(&client, 1).unwrap().unwrap().min_txid, txid(6));
    client.put(key(0, 9, 9), Vec::new(), 1);
    assert!(
        matches!(compact_level(&client, 1), Err(Error::FileTooShort { file, .. }) if file == key(0, 9, 9))
    );
}

#[test]
fn a_hole_above_that_the_level_below_cannot_fill_is_passed_over() {
    let client = eight();
    let all = client.ltx_files(0, TxId::NONE, false).unwrap();
    client.delete_ltx_files(&all[2..5]).unwrap();
    snapshot(512, 3, 5, 1).store(&client, 9);
    compact_level(&client, 1).unwrap();
    assert_eq!(ranges(&client, 1), [(1, 2), (6, 8)]);
    delta(512, 3, 9, 9, &[(1, 9)]).store(&client, 0);
    compact_level(&client, 1).unwrap();
    assert_eq!(ranges(&client, 1), [(1, 2), (6, 8), (9, 9)]);
}

#[test]
fn a_file_that_ends_early_again_and_again_is_named_with_both_sizes() {
    let (client, dir) = (eight(), tempfile::tempdir().unwrap());
    let planned = plan(&client, &Target::Latest).unwrap();
    let options = RestoreOptions { retry: IMPATIENT, ..RestoreOptions::default() };
    let cut =
        client.files.lock().unwrap().get_mut(&key(0, 8, 8)).map(|(bytes, _)| bytes.split_off(140).len());
    let error = restore(&client, &planned, &dir.path().join("db"), &options).unwrap_err();
    let Error::ShortFile { file, expected, actual } = error else { panic!("{error}") };
    assert_eq!((file, expected, actual), (key(0, 8, 8), 140 + cut.unwrap() as u64, 140));
    // What a client says once, and only once, is not believed.
    let client = eight();
    for read in 0..8 {
        let faulty = FaultClient::new(&client, Fault::Short, read, 2);
        restore(&faulty, &planned, &dir.path().join(format!("db{read}")), &options).unwrap();
    }
}

#[test]
fn a_replica_that_is_not_there_is_told_from_one_that_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let none = FileClient::new(dir.path().join("none"));
    for target in [Target::Latest, Target::Txid(txid(3)), Target::Before(Timestamp::from_millis(1))] {
        let text = plan(&none, &target).unwrap_err().to_string();
        assert_eq!(text, format!("there is no replica: {}/none does not exist", dir.path().display()));
        let text = plan(&FileClient::new(dir.path()), &target).unwrap_err().to_string();
        assert_eq!(text, format!("the replica is empty: {}", dir.path().display()));
    }
}
