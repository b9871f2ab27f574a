//! What leads where, by names alone. Plans are tested from outside.

use std::collections::HashSet;

use ltx::{Timestamp, TxId};

use super::*;
use crate::place::FileKey;

fn file((level, min, max): (u8, u64, u64)) -> FileInfo {
    let (min_txid, max_txid) = (TxId::new(min), TxId::new(max));
    FileInfo { level, min_txid, max_txid, size: MIN_FILE, created_at: Timestamp::default() }
}

fn history(files: &[(u8, u64, u64)]) -> History {
    History::new(files.iter().copied().map(file))
}

fn names(files: &[FileInfo]) -> Vec<(u8, u64, u64)> {
    files.iter().map(|file| (file.level, file.min_txid.get(), file.max_txid.get())).collect()
}

fn keys(files: &[(u8, u64, u64)]) -> HashSet<FileKey> {
    files.iter().map(|name| file(*name).key()).collect()
}

#[test]
fn a_restore_comes_to_the_end_of_the_chain() {
    let found = history(&[(9, 1, 3), (1, 4, 6), (0, 5, 5), (0, 7, 7)]).reach(&HashSet::new());
    assert_eq!(names(&found.chain), [(9, 1, 3), (1, 4, 6), (0, 7, 7)]);
    assert_eq!(found.txid, TxId::new(7));
    assert!(found.obstacle.is_none());
}

#[test]
fn it_stops_before_a_hole_and_says_what_lies_beyond() {
    let found = history(&[(0, 1, 1), (0, 2, 2), (0, 4, 4)]).reach(&HashSet::new());
    assert_eq!(found.txid, TxId::new(2));
    let Some(Obstacle::Missing(Error::Gap { have, next })) = found.obstacle else { panic!("{found:?}") };
    assert_eq!((have, next), (TxId::new(2), file((0, 4, 4)).key()));
}

#[test]
fn it_stops_before_a_damaged_file_even_if_others_would_lead_around_it() {
    let files = history(&[(0, 1, 1), (0, 2, 2), (1, 1, 2), (0, 3, 3)]);
    let found = files.reach(&keys(&[(1, 1, 2)]));
    assert_eq!(names(&found.chain), [(1, 1, 2), (0, 3, 3)]);
    assert_eq!(found.txid, TxId::NONE);
    assert!(matches!(found.obstacle, Some(Obstacle::Damaged(file)) if keys(&[(1, 1, 2)]).contains(&file)));
    // Of one that it does not need it knows nothing.
    let found = files.reach(&keys(&[(0, 2, 2)]));
    assert_eq!(found.txid, TxId::new(3));
    assert!(found.obstacle.is_none());
}

#[test]
fn a_file_that_is_too_short_is_a_damaged_one() {
    let short = FileInfo { size: MIN_FILE - 1, ..file((0, 2, 2)) };
    let found = History::new([file((0, 1, 1)), short]).reach(&HashSet::new());
    assert_eq!(found.txid, TxId::new(1));
    assert!(matches!(found.obstacle, Some(Obstacle::Damaged(file)) if file == short.key()));
}

#[test]
fn nothing_is_no_obstacle_and_no_beginning_is_one() {
    let found = history(&[]).reach(&HashSet::new());
    assert!(found.chain.is_empty() && found.obstacle.is_none());
    let found = history(&[(0, 2, 2)]).reach(&HashSet::new());
    assert!(matches!(found.obstacle, Some(Obstacle::Missing(Error::NoSnapshot { .. }))), "{found:?}");
}

#[test]
fn a_snapshot_lacks_the_states_before_its_last() {
    let missing = |files: &[(u8, u64, u64)], txids: &[u64]| {
        let txids: Vec<TxId> = txids.iter().copied().map(TxId::new).collect();
        history(files).missing(&txids).into_iter().map(TxId::get).collect::<Vec<_>>()
    };
    assert_eq!(missing(&[(9, 1, 9)], &[3, 9]), [3, 9]);
    assert_eq!(missing(&[(1, 1, 4), (0, 2, 2), (0, 6, 6)], &[1, 2, 4, 5, 6, 7]), [5, 7]);
    assert_eq!(missing(&[], &[1]), [1]);
}

#[test]
fn holes_are_named_by_what_is_before_them() {
    let files: Vec<FileInfo> = [(0, 2, 2), (0, 3, 6), (0, 4, 4), (0, 8, 8)].map(file).to_vec();
    assert_eq!(holes(&files), [TxId::new(6)]);
}
