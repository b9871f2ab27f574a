//! Plans for listings with a known answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use common::{MemoryClient, info, txid};
use ltx::Timestamp;
use replica::{Error, FileInfo, Plan, ReplicaClient, Target, plan, restore_points};

/// A client with these files, of which only the listing is looked at.
fn listing(files: &[FileInfo]) -> MemoryClient {
    let client = MemoryClient::default();
    for file in files {
        client.put(file.key(), vec![0; file.size as usize], file.created_at.millis());
    }
    client
}

/// A file without a time of its own.
fn file(level: u8, min: u64, max: u64) -> FileInfo {
    info(level, min, max, max as i64 * 1000)
}

fn singles(range: std::ops::RangeInclusive<u64>) -> Vec<FileInfo> {
    range.map(|n| file(0, n, n)).collect()
}

fn names(plan: &Plan) -> Vec<String> {
    let name = |file: &FileInfo| format!("{}:{}-{}", file.level, file.min_txid.get(), file.max_txid.get());
    plan.files.iter().map(name).collect()
}

fn planned(files: &[FileInfo], target: Target) -> Vec<String> {
    names(&plan(&listing(files), &target).unwrap())
}

fn to(number: u64) -> Target {
    Target::Txid(txid(number))
}

fn before(millis: i64) -> Target {
    Target::Before(Timestamp::from_millis(millis))
}

#[test]
fn p01_snapshot_only() {
    assert_eq!(planned(&[file(9, 1, 10)], to(10)), ["9:1-10"]);
}

#[test]
fn p02_snapshot_and_incremental() {
    let mut files = vec![file(9, 1, 5), file(9, 1, 15), file(1, 6, 7), file(1, 8, 9), file(1, 10, 12)];
    files.extend(singles(7..=11));
    assert_eq!(planned(&files, to(10)), ["9:1-5", "1:6-7", "1:8-9", "0:10-10"]);
}

#[test]
fn p03_longest_across_levels() {
    let mut files = vec![file(9, 1, 5), file(2, 6, 12)];
    files.push(file(0, 6, 20));
    assert_eq!(planned(&files, to(20)), ["9:1-5", "0:6-20"]);
}

#[test]
fn p04_gap_in_a_level_is_bridged_by_a_lower_one() {
    let mut files = vec![file(9, 1, 5), file(1, 6, 7), file(1, 9, 10)];
    files.extend(singles(8..=10));
    assert_eq!(planned(&files, to(10)), ["9:1-5", "1:6-7", "0:8-8", "1:9-10"]);
    assert_eq!(planned(&files, Target::Latest), ["9:1-5", "1:6-7", "0:8-8", "1:9-10"]);
}

#[test]
fn p05_the_same_range_at_every_level() {
    assert_eq!(planned(&[file(9, 1, 1), file(1, 1, 1), file(0, 1, 1)], to(1)), ["9:1-1"]);
    assert_eq!(planned(&[file(1, 1, 1), file(0, 1, 1)], to(1)), ["1:1-1"], "of equals the one merged more");
}

#[test]
fn p06_overlapping_files_within_a_level() {
    assert_eq!(planned(&[file(9, 1, 5), file(2, 1, 100), file(2, 50, 60)], to(100)), ["9:1-5", "2:1-100"]);
}

#[test]
fn p07_transaction_inside_a_file() {
    let error = plan(&listing(&[file(9, 1, 10)]), &to(5)).unwrap_err();
    let Error::TxidNotAvailable { txid: wanted, available } = &error else { panic!("{error}") };
    assert_eq!((*wanted, available.as_slice()), (txid(5), [txid(10)].as_slice()));
    let text = "transaction 0000000000000005 is not available, the nearest is 000000000000000a";
    assert_eq!(error.to_string(), text);
}

#[test]
fn p08_no_files() {
    let empty = listing(&[]);
    for target in [Target::Latest, before(5), to(5), to(0)] {
        let error = plan(&empty, &target).unwrap_err();
        assert!(matches!(&error, Error::EmptyReplica { exists: true, .. }), "{error}");
        assert_eq!(error.to_string(), "the replica is empty: memory replica");
    }
}

#[test]
fn p10_many_files_and_times() {
    let mut files = vec![file(9, 1, 1)];
    files.extend(singles(1..=3000));
    let client = listing(&files);
    for last in [1, 2, 1500, 2999, 3000] {
        let found = plan(&client, &before(last * 1000 + 1)).unwrap();
        assert_eq!(found.txid, txid(last as u64));
        assert_eq!(found.files.len(), last as usize);
        assert_eq!(found.clamped, last == 3000, "only a time after everything is clamped");
    }
}

#[test]
fn times_are_exclusive_and_may_be_too_early_or_too_late() {
    let client = listing(&[file(9, 1, 1), file(0, 2, 2)]);
    let error = plan(&client, &before(1000)).unwrap_err();
    let text = "nothing from before 1970-01-01T00:00:01.000Z can be restored, the earliest state is transaction \
                0000000000000001 of 1970-01-01T00:00:01.000Z";
    assert_eq!(error.to_string(), text);
    let at_last = plan(&client, &before(2000)).unwrap();
    assert_eq!((at_last.txid, at_last.clamped), (txid(1), false));
    let after = plan(&client, &before(i64::MAX)).unwrap();
    assert_eq!((after.txid, after.clamped), (txid(2), true));
    assert_eq!(after.created_at(), Some(Timestamp::from_millis(2000)));
    assert!(!plan(&client, &Target::Latest).unwrap().clamped);
}

#[test]
fn the_latest_snapshot_before_a_time_is_used_whatever_its_number() {
    let files = [info(9, 1, 1, 1000), info(9, 1, 9, 9000), info(0, 2, 2, 2000), info(0, 3, 3, 3000)];
    assert_eq!(planned(&files, before(3001)), ["9:1-1", "0:2-2", "0:3-3"]);
    assert_eq!(planned(&files, before(9001)), ["9:1-9"]);
}

#[test]
fn a_gap_below_the_target_is_an_error_and_one_above_is_not() {
    let mut files = vec![file(9, 1, 3)];
    files.extend(singles(4..=6));
    files.extend(singles(8..=9));
    let client = listing(&files);
    for target in [Target::Latest, before(8001), before(i64::MAX), to(9)] {
        let error = plan(&client, &target).unwrap_err();
        let Error::Gap { have, next } = error else { panic!("{target:?}: {error}") };
        assert_eq!((have, next), (txid(6), file(0, 8, 8).key()));
    }
    for (target, reached) in [(before(8000), 6), (before(5001), 5), (to(6), 6), (to(4), 4)] {
        assert_eq!(plan(&client, &target).unwrap().txid, txid(reached), "{target:?}");
    }
    assert!(matches!(plan(&client, &to(7)), Err(Error::Gap { .. } | Error::TxidNotAvailable { .. })));
    assert!(matches!(plan(&client, &to(10)), Err(Error::Gap { .. })));
}

#[test]
fn transactions_that_were_merged_away_are_no_gap() {
    let mut files = vec![file(1, 1, 4)];
    files.extend(singles(3..=5));
    let client = listing(&files);
    let error = plan(&client, &to(3)).unwrap_err();
    let Error::TxidNotAvailable { available, .. } = error else { panic!("{error}") };
    assert_eq!(available, [txid(4), txid(5)]);
    assert_eq!(planned(&files, Target::Latest), ["1:1-4", "0:5-5"]);
}

#[test]
fn nothing_to_start_from() {
    let error = plan(&listing(&singles(5..=7)), &Target::Latest).unwrap_err();
    assert!(matches!(error, Error::NoSnapshot { first: Some((min, _)) } if min == txid(5)), "{error}");
    // A file at the snapshot level that is not a snapshot starts nothing.
    let error = plan(&listing(&[file(9, 2, 7)]), &Target::Latest).unwrap_err();
    assert!(matches!(error, Error::NoSnapshot { .. }), "{error}");
}

#[test]
fn without_a_snapshot_any_file_from_the_first_transaction_will_do() {
    assert_eq!(planned(&singles(1..=3), Target::Latest), ["0:1-1", "0:2-2", "0:3-3"]);
    assert_eq!(planned(&[file(3, 1, 4), file(0, 5, 5)], Target::Latest), ["3:1-4", "0:5-5"]);
}

#[test]
fn the_largest_transaction_does_not_overflow() {
    let files = [info(9, 1, u64::MAX, 1), info(0, u64::MAX, u64::MAX, 1)];
    assert_eq!(planned(&files, Target::Latest), [format!("9:1-{}", u64::MAX)]);
}

#[test]
fn restore_points_are_what_can_be_planned() {
    let mut files = vec![file(9, 1, 5), file(1, 1, 3), file(1, 6, 8), info(2, 6, 8, 7777)];
    files.extend(singles(10..=11));
    let client = listing(&files);
    let points = restore_points(&client).unwrap();
    let found: Vec<(u64, i64)> =
        points.iter().map(|point| (point.txid.get(), point.created_at.millis())).collect();
    assert_eq!(found, [(3, 3000), (5, 5000), (8, 7777)]);
    for number in 1..=12 {
        let listed = points.iter().any(|point| point.txid == txid(number));
        assert_eq!(plan(&client, &to(number)).is_ok(), listed, "{number}");
    }
    assert_eq!(client.ltx_files(9, txid(0), true).unwrap().len(), 1);
}
