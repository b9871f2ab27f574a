//! Random histories, stored at random levels and restored to every transaction.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs;
use std::ops::RangeInclusive;

use common::{IMPATIENT, MemoryClient, Pages, Recipe, database, database_checksum, txid};
use ltx::PageEncoding;
use proptest::prelude::*;
use proptest::sample::Index;
use replica::{RestoreOptions, Target, plan, restore};

const PAGE: usize = 512;

/// One transaction: how large the database is afterwards, and which pages get which fill (0 for zeros).
#[derive(Clone, Debug)]
struct Step {
    commit: u32,
    writes: Vec<(Index, u8)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = prop::collection::vec((any::<Index>(), prop_oneof![Just(0_u8), 1..=255_u8]), 0..6);
    let step = (1_u32..40, writes).prop_map(|(commit, writes)| Step { commit, writes });
    prop::collection::vec(step, 1..12)
}

/// A page that does not compress to nothing, unless it is zeros.
fn page(fill: u8, txid: u64, pgno: u32) -> Vec<u8> {
    let byte = |i: usize| fill.wrapping_mul((i as u8).wrapping_add(txid as u8) % 7 + 1) ^ (pgno as u8);
    if fill == 0 { vec![0; PAGE] } else { (0..PAGE).map(byte).collect() }
}

/// States of the database after each transaction, and the pages that each transaction changed.
fn history(steps: &[Step]) -> (Vec<Pages>, Vec<Pages>) {
    let (mut states, mut changes) = (vec![Pages::new()], Vec::new());
    for (txid, step) in (1..).zip(steps) {
        let mut state = states.last().unwrap().clone();
        state.retain(|pgno, _| *pgno <= step.commit);
        let mut change: Pages = (1..=step.commit)
            .filter(|pgno| !state.contains_key(pgno))
            .map(|pgno| (pgno, page(txid as u8, txid, pgno)))
            .collect();
        for (at, fill) in &step.writes {
            let pgno = at.index(step.commit as usize) as u32 + 1;
            change.insert(pgno, page(*fill, txid, pgno));
        }
        state.extend(change.clone());
        states.push(state);
        changes.push(change);
    }
    (states, changes)
}

/// The file for a range of transactions: the last version of every page, none above the last commit size.
fn recipe(
    steps: &[Step],
    states: &[Pages],
    changes: &[Pages],
    range: RangeInclusive<usize>,
    tracked: bool,
) -> Recipe {
    let (min, max) = (*range.start(), *range.end());
    let commit = steps[max - 1].commit;
    let mut pages: Pages =
        changes[min - 1..max].iter().flatten().map(|(n, page)| (*n, page.clone())).collect();
    pages.retain(|pgno, _| *pgno <= commit);
    Recipe {
        min: min as u64,
        max: max as u64,
        page_size: PAGE as u32,
        commit,
        millis: 10 * max as i64,
        pages,
        encoding: if max % 2 == 0 { PageEncoding::Block } else { PageEncoding::Frame },
        checksums: tracked.then(|| (database_checksum(&states[min - 1]), database_checksum(&states[max]))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_transaction_is_restored(
        steps in steps(),
        group in 1_usize..5,
        snapshots in prop::collection::vec(any::<Index>(), 0..3),
        drop_l0 in any::<bool>(),
        tracked in any::<bool>(),
        parallelism in 1_usize..5,
    ) {
        let (states, changes) = history(&steps);
        let client = MemoryClient::default();
        let store = |range, level| {
            recipe(&steps, &states, &changes, range, tracked).store(&client, level);
        };
        let last = steps.len();
        for first in (1..=last - last % group).step_by(group) {
            store(first..=first + group - 1, 1);
        }
        let merged = last - last % group;
        (1..=last).filter(|n| !drop_l0 || *n > merged).for_each(|n| store(n..=n, 0));
        let mut available: Vec<usize> = (1..=last).filter(|n| !drop_l0 || *n > merged || n % group == 0).collect();
        for at in snapshots {
            let max = at.index(last) + 1;
            store(1..=max, 9);
            available.push(max);
        }
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("db");
        let options = RestoreOptions { parallelism, overwrite: true, retry: IMPATIENT, ..RestoreOptions::default() };
        for number in 1..=last {
            let planned = plan(&client, &Target::Txid(txid(number as u64)));
            prop_assert_eq!(planned.is_ok(), available.contains(&number));
            let Ok(planned) = planned else { continue };
            let restored = restore(&client, &planned, &output, &options).unwrap();
            let commit = steps[number - 1].commit;
            prop_assert_eq!(restored.commit.get(), commit);
            prop_assert_eq!(restored.pos.txid, txid(number as u64));
            if tracked {
                prop_assert_eq!(restored.pos.post_apply_checksum, database_checksum(&states[number]));
            }
            prop_assert!(fs::read(&output).unwrap() == database(&states[number], commit), "state {number}");
        }
    }
}
