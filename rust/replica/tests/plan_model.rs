//! Plans for random listings against an exhaustive search.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::collections::BTreeSet;

use common::{MemoryClient, info, txid};
use ltx::Timestamp;
use proptest::prelude::*;
use replica::{Error, FileInfo, Plan, ReplicaClient, Target, plan, restore_points};

/// Files with short ranges, so that they meet, overlap and leave gaps.
fn files() -> impl Strategy<Value = Vec<FileInfo>> {
    let range = (0_u8..=9, 1_u64..14, 0_u64..6, 0_i64..20);
    let file = range.prop_map(|(level, min, len, millis)| match level {
        0 => info(0, min, min, millis),
        9 => info(9, 1, 1 + min, millis),
        _ => info(level % 3 + 1, min, min + len, millis),
    });
    prop::collection::vec(file, 0..24)
}

fn listing(files: &[FileInfo]) -> (MemoryClient, Vec<FileInfo>) {
    let client = MemoryClient::default();
    for file in files {
        client.put(file.key(), vec![0; 200], file.created_at.millis());
    }
    let kept = (0..=9).flat_map(|level| client.ltx_files(level, txid(0), true).unwrap()).collect();
    (client, kept)
}

/// Every state that some chain of these files leads to.
fn states(files: &[FileInfo]) -> BTreeSet<u64> {
    let mut states = BTreeSet::from([0]);
    loop {
        let reached = |file: &&FileInfo| {
            let (min, max) = (file.min_txid.get(), file.max_txid.get());
            states.iter().any(|state| min <= state + 1 && max > *state)
        };
        let new: BTreeSet<u64> = files.iter().filter(reached).map(|file| file.max_txid.get()).collect();
        if new.is_subset(&states) {
            states.remove(&0);
            return states;
        }
        states.extend(new);
    }
}

fn check_chain(plan: &Plan) {
    let mut reached = 0;
    for file in &plan.files {
        assert!(file.min_txid.get() <= reached + 1 && file.max_txid.get() > reached, "{plan:?}");
        reached = file.max_txid.get();
    }
    assert_eq!(plan.txid, txid(reached));
}

/// What the files that count for a target allow: the highest state, or an error.
fn expect(result: Result<Plan, Error>, files: &[FileInfo]) {
    let states = states(files);
    let highest = files.iter().map(|file| file.max_txid.get()).max();
    // A chain may stop below a gap although a snapshot leads past it: then the highest state is beyond the gap.
    match (result, states.last()) {
        (Ok(plan), Some(last)) => {
            check_chain(&plan);
            assert_eq!(plan.txid.get(), *last);
            assert_eq!(highest, Some(*last), "whatever lies beyond the last state has been lost silently");
        }
        (Err(Error::NoSnapshot { .. }), None) => {}
        (Err(Error::Gap { have, next_min, .. }), Some(last)) => {
            assert_eq!(have.get(), *last);
            assert!(next_min.get() > last + 1);
        }
        (result, last) => panic!("{result:?} for highest state {last:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn latest_is_the_highest_state_or_a_gap(files in files()) {
        let (client, files) = listing(&files);
        expect(plan(&client, &Target::Latest), &files);
    }

    #[test]
    fn times_see_only_what_was_there_before(files in files(), millis in 0_i64..22) {
        let (client, files) = listing(&files);
        let time = Timestamp::from_millis(millis);
        let seen: Vec<FileInfo> = files.iter().filter(|file| file.created_at < time).copied().collect();
        let result = plan(&client, &Target::Before(time));
        if let Ok(plan) = &result {
            prop_assert_eq!(plan.clamped, seen.len() == files.len());
        }
        expect(result, &seen);
    }

    #[test]
    fn transactions_are_found_exactly_when_a_chain_ends_there(files in files()) {
        let (client, files) = listing(&files);
        let states = states(&files);
        let points: BTreeSet<u64> =
            restore_points(&client).unwrap().iter().map(|point| point.txid.get()).collect();
        prop_assert_eq!(&points, &states);
        for number in 0..22 {
            match plan(&client, &Target::Txid(txid(number))) {
                Ok(plan) => {
                    check_chain(&plan);
                    prop_assert_eq!(plan.txid.get(), number);
                    prop_assert!(states.contains(&number));
                }
                Err(Error::TxidNotAvailable { available, .. }) => {
                    prop_assert!(!states.contains(&number));
                    prop_assert_eq!(available.len(), states.len());
                }
                Err(Error::Gap { .. }) => prop_assert!(!states.contains(&number)),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
