//! The page size changes in the middle of a history: nothing is mixed, and every state can still be restored.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs;

use common::{IMPATIENT, MemoryClient, Recipe, database, delta, info, snapshot, txid};
use ltx::TxId;
use replica::{Error, FileInfo, ReplicaClient, RestoreOptions, Target, compact_level, restore, with_plan};

/// Three transactions of 512-byte pages; from the fourth on, which holds every page, pages have 1024 bytes.
fn history(client: &dyn ReplicaClient) {
    snapshot(512, 3, 1, 1).store(client, 0);
    delta(512, 3, 2, 2, &[(1, 20)]).store(client, 0);
    delta(512, 4, 3, 3, &[(4, 30)]).store(client, 0);
    after_the_change().store(client, 0);
    delta(1024, 2, 5, 5, &[(1, 50)]).store(client, 0);
    delta(1024, 3, 6, 6, &[(3, 60)]).store(client, 0);
}

fn after_the_change() -> Recipe {
    delta(1024, 2, 4, 4, &[(1, 40), (2, 41)])
}

/// The database that a restore to `target` makes, and the files that it came from.
fn restored(client: &dyn ReplicaClient, target: Target) -> Result<(Vec<u8>, Vec<FileInfo>), Error> {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("db");
    let options = RestoreOptions { retry: IMPATIENT, ..RestoreOptions::default() };
    let (plan, _) =
        with_plan(client, &target, &options, &mut |plan| restore(client, plan, &output, &options))?;
    Ok((fs::read(output).unwrap(), plan.files))
}

fn state(client: &dyn ReplicaClient, number: u64) -> Vec<u8> {
    restored(client, Target::Txid(txid(number))).unwrap().0
}

fn ranges(client: &dyn ReplicaClient, level: u8) -> Vec<(u64, u64)> {
    let files = client.ltx_files(level, TxId::NONE, false).unwrap();
    files.iter().map(|file| (file.min_txid.get(), file.max_txid.get())).collect()
}

#[test]
fn every_state_is_restored_without_a_snapshot_from_after_the_change() {
    let client = MemoryClient::default();
    history(&client);
    let sizes: Vec<usize> = (1..=6).map(|number| state(&client, number).len()).collect();
    assert_eq!(sizes, [3 * 512, 3 * 512, 4 * 512, 2 * 1024, 2 * 1024, 3 * 1024]);
    assert!(state(&client, 4) == database(&after_the_change().pages, 2));
    let (_, files) = restored(&client, Target::Latest).unwrap();
    assert_eq!(files.first().unwrap().min_txid, txid(4), "what came before the change plays no part");
}

#[test]
fn pages_from_before_the_change_never_fill_a_hole() {
    // The second change is one back to 512, so the pages of the first file would fit.
    let client = MemoryClient::default();
    snapshot(512, 3, 1, 1).store(&client, 0);
    delta(1024, 2, 2, 2, &[(1, 2), (2, 2)]).store(&client, 0);
    delta(512, 3, 3, 3, &[(1, 3), (2, 3)]).store(&client, 0);
    let error = restored(&client, Target::Latest).unwrap_err();
    let Error::PageSizeMismatch { file, actual, other, expected } = error else { panic!("{error}") };
    assert_eq!((file, actual), (info(0, 3, 3, 0).key(), 512));
    assert_eq!((other, expected), (info(0, 2, 2, 0).key(), 1024));
    delta(512, 3, 4, 4, &[(3, 3)]).store(&client, 0);
    assert_eq!(restored(&client, Target::Latest).unwrap().0, vec![3; 3 * 512]);
}

#[test]
fn what_comes_before_the_change_is_merged_and_the_rest_once_a_snapshot_covers_it() {
    let client = MemoryClient::default();
    history(&client);
    let states: Vec<_> = (1..=6).map(|number| state(&client, number)).collect();
    for _ in 0..2 {
        let error = compact_level(&client, 1).unwrap_err();
        let text = "level 0, transactions 0000000000000004-0000000000000004 has pages of 1024 bytes, but ";
        assert!(error.to_string().starts_with(text), "{error}");
        assert!(error.to_string().ends_with("has pages of 512 bytes"), "{error}");
        assert_eq!(ranges(&client, 1), [(1, 3)]);
    }
    // One that ends right before the change leads nobody past it.
    snapshot(512, 4, 3, 9).store(&client, 9);
    assert!(matches!(compact_level(&client, 1), Err(Error::PageSizeMismatch { .. })));
    Recipe { min: 1, ..after_the_change() }.store(&client, 9);
    let made = compact_level(&client, 1).unwrap().unwrap();
    assert_eq!((made.min_txid, made.max_txid), (txid(4), txid(6)));
    assert_eq!(compact_level(&client, 1).unwrap(), None);
    delta(1024, 3, 7, 7, &[(3, 70)]).store(&client, 0);
    assert_eq!(compact_level(&client, 1).unwrap().unwrap().min_txid, txid(7));
    for level in 2..=8 {
        assert_eq!(compact_level(&client, level).unwrap().unwrap().max_txid, txid(7), "level {level}");
        assert_eq!(ranges(&client, level), [(1, 3), (4, 7)]);
        assert_eq!(compact_level(&client, level).unwrap(), None);
    }
    let snapshots = client.ltx_files(9, TxId::NONE, false).unwrap();
    client.delete_ltx_files(&snapshots).unwrap();
    for (number, good) in (1..).zip(states) {
        assert!(state(&client, number) == good, "state {number}");
    }
}

#[test]
fn a_snapshot_that_ends_at_the_change_will_do_if_it_has_the_new_page_size() {
    let client = MemoryClient::default();
    snapshot(512, 3, 1, 1).store(&client, 1);
    delta(1024, 2, 2, 2, &[(1, 40), (2, 41)]).store(&client, 0);
    snapshot(512, 3, 1, 1).store(&client, 9);
    assert!(matches!(compact_level(&client, 1), Err(Error::PageSizeMismatch { .. })));
    let files = client.ltx_files(9, TxId::NONE, false).unwrap();
    client.delete_ltx_files(&files).unwrap();
    snapshot(1024, 3, 1, 1).store(&client, 9);
    assert_eq!(compact_level(&client, 1).unwrap().unwrap().min_txid, txid(2));
}

#[test]
fn a_gap_before_the_change_is_covered_only_by_a_snapshot_that_leads_past_both() {
    let client = MemoryClient::default();
    history(&client);
    compact_level(&client, 1).unwrap_err();
    let lost = client.ltx_files(0, txid(4), false).unwrap()[0];
    client.delete_ltx_files(&[lost]).unwrap();
    assert!(matches!(compact_level(&client, 1), Err(Error::Gap { .. })));
    snapshot(512, 4, 4, 1).store(&client, 9);
    assert!(matches!(compact_level(&client, 1), Err(Error::PageSizeMismatch { .. })));
    snapshot(1024, 2, 5, 1).store(&client, 9);
    assert_eq!(compact_level(&client, 1).unwrap().unwrap().min_txid, txid(5));
    assert!(restored(&client, Target::Latest).is_ok());
}
