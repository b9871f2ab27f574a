//! Plans for random listings against an exhaustive search.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::collections::BTreeSet;

use common::{MemoryClient, info, txid};
use ltx::Timestamp;
use proptest::prelude::*;
use replica::{Error, FileInfo, FileKey, Plan, ReplicaClient, Target, plan, restore_points};

/// The size of a file that may be sound, and of one that cannot be.
const SIZES: [u64; 2] = [200, 130];

/// Files with short ranges, so that they meet, overlap and leave gaps; some of them too short to be LTX files.
fn files() -> impl Strategy<Value = Vec<FileInfo>> {
    let size = prop_oneof![6 => Just(SIZES[0]), 1 => Just(SIZES[1])];
    let range = (0_u8..=9, 1_u64..14, 0_u64..6, 0_i64..20, size);
    let file = range.prop_map(|(level, min, len, millis, size)| {
        let file = match level {
            0 => info(0, min, min, millis),
            9 => info(9, 1, 1 + min, millis),
            _ => info(level % 3 + 1, min, min + len, millis),
        };
        FileInfo { size, ..file }
    });
    prop::collection::vec(file, 0..24)
}

fn listing(files: &[FileInfo]) -> (MemoryClient, Vec<FileInfo>) {
    let client = MemoryClient::default();
    for file in files {
        client.put(file.key(), vec![0; file.size as usize], file.created_at.millis());
    }
    let kept = (0..=9).flat_map(|level| client.ltx_files(level, txid(0), true).unwrap()).collect();
    (client, kept)
}

fn usable(files: &[FileInfo]) -> Vec<FileInfo> {
    files.iter().filter(|file| file.size == SIZES[0]).copied().collect()
}

fn holds(file: &FileInfo, txid: u64) -> bool {
    (file.min_txid.get()..=file.max_txid.get()).contains(&txid)
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

/// Whether this file, which cannot be used, is one on the way to `txid`.
fn holds_some(files: &[FileInfo], file: &FileKey, txid: u64) -> bool {
    files.iter().any(|other| other.key() == *file && other.size == SIZES[1] && other.min_txid.get() <= txid)
}

/// When each state was made: the earliest time of the files that lead to it.
fn times(files: &[FileInfo]) -> Vec<(u64, Timestamp)> {
    let states = states(files);
    let time = |state: &u64| {
        let leads = |file: &&FileInfo| {
            let min = file.min_txid.get();
            file.max_txid.get() == *state
                && (min == 1 || states.iter().any(|from| min <= from + 1 && from < state))
        };
        (*state, files.iter().filter(leads).map(|file| file.created_at).min().unwrap())
    };
    states.iter().map(time).collect()
}

/// What must be said of a plan for `best`, the highest state that counts, if the files `wanted` say that there is more: the
/// transactions between must be in some file that can be used.
fn expect(result: Result<Plan, Error>, files: &[FileInfo], wanted: &[FileInfo], best: u64) {
    let top = wanted.iter().map(|file| file.max_txid.get()).max().unwrap_or(0);
    let usable = usable(files);
    let hole = (best + 1..=top).find(|txid| !usable.iter().any(|file| holds(file, *txid)));
    match (result, hole) {
        (Ok(plan), None) => {
            check_chain(&plan);
            assert_eq!(plan.txid.get(), best);
            assert!(plan.files.iter().all(|file| usable.contains(file)));
        }
        (Err(Error::Gap { have, next }), Some(hole)) => {
            assert_eq!(have.get(), hole - 1);
            assert!(wanted.iter().any(|file| file.key() == next && next.min_txid.get() > hole));
        }
        (Err(Error::FileTooShort { file, .. }), Some(hole)) => {
            assert!(files.iter().any(|other| other.key() == file && holds(other, hole)));
        }
        (result, hole) => panic!("{result:?} for state {best} and hole {hole:?}"),
    }
}

/// What must be said if no state can be restored.
fn expect_nothing(error: &Error, files: &[FileInfo]) {
    let first_is_short = files.iter().any(|file| file.min_txid.get() == 1);
    match error {
        Error::EmptyReplica { .. } => assert!(files.is_empty()),
        Error::NoSnapshot { .. } => assert!(!files.is_empty() && !first_is_short),
        Error::FileTooShort { file, .. } => assert_eq!(file.min_txid, txid(1)),
        error => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn latest_is_the_highest_state_or_an_error(files in files()) {
        let (client, files) = listing(&files);
        let result = plan(&client, &Target::Latest);
        match states(&usable(&files)).last() {
            Some(best) => expect(result, &files, &files, *best),
            None => expect_nothing(&result.unwrap_err(), &files),
        }
    }

    #[test]
    fn a_time_means_the_highest_state_from_before_it(files in files(), millis in 0_i64..22) {
        let (client, files) = listing(&files);
        let time = Timestamp::from_millis(millis);
        let wanted: Vec<FileInfo> = files.iter().filter(|file| file.created_at < time).copied().collect();
        let result = plan(&client, &Target::Before(time));
        if let Ok(plan) = &result {
            prop_assert_eq!(plan.clamped, wanted.len() == files.len());
            let next = plan.txid.get() + 1;
            let is_known = |file: &FileInfo| file.max_txid.get() == next && file.created_at >= time;
            let nothing_more = files.iter().all(|file| file.max_txid < txid(next));
            prop_assert!(!plan.exact || nothing_more || files.iter().any(is_known));
            prop_assert!(plan.exact || !nothing_more);
        }
        let times = times(&usable(&files));
        match times.iter().rfind(|(_, created_at)| *created_at < time) {
            Some((best, _)) => expect(result, &files, &wanted, *best),
            None if times.is_empty() => expect_nothing(&result.unwrap_err(), &files),
            None => {
                let Err(Error::TooEarly { earliest, .. }) = result else { panic!("{result:?}") };
                prop_assert_eq!((earliest.txid.get(), earliest.created_at), times[0]);
            }
        }
    }

    #[test]
    fn transactions_are_found_exactly_when_a_chain_ends_there(files in files()) {
        let (client, files) = listing(&files);
        let states_of_all = states(&files);
        let states = states(&usable(&files));
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
                Err(Error::FileTooShort { file, .. }) => {
                    prop_assert!(!states.contains(&number));
                    prop_assert!(states_of_all.contains(&number) || holds_some(&files, &file, number));
                }
                Err(Error::Gap { .. }) => prop_assert!(!states.contains(&number)),
                Err(Error::EmptyReplica { .. }) => prop_assert!(files.is_empty()),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
