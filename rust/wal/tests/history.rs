//! Random transaction histories against a model: what a reader finds is exactly what was committed, whatever
//! happens to the end of the file.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;

use common::wal_file::WalFile;
use proptest::prelude::*;
use wal::{PageMap, WalReader};

const PAGE_BYTES: usize = 512;
const FRAME_BYTES: usize = PAGE_BYTES + 24;

/// One transaction: the pages it writes, each with its fill, and the size of the database afterwards.
#[derive(Clone, Debug)]
struct Transaction {
    writes: Vec<(u32, u8)>,
    commit: u32,
}

/// What a database in the WAL looks like: size, content of the pages in the log, bytes of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    commit: u32,
    pages: BTreeMap<u32, u8>,
    end: usize,
}

fn transaction() -> impl Strategy<Value = Transaction> {
    (prop::collection::vec((1u32..20, any::<u8>()), 1..6), 1u32..24)
        .prop_map(|(writes, commit)| Transaction { writes, commit })
}

fn history() -> impl Strategy<Value = (bool, Vec<Transaction>)> {
    (any::<bool>(), prop::collection::vec(transaction(), 1..7))
}

/// Writes the history; the states after 0, 1, 2... transactions.
fn write(is_big: bool, history: &[Transaction]) -> (WalFile, Vec<State>) {
    let mut file = WalFile::new(is_big, PAGE_BYTES as u32, (0xdead_0001, 0x0bee_f002));
    let mut written = BTreeMap::new();
    let mut states = vec![State { commit: 0, pages: BTreeMap::new(), end: 32 }];
    for transaction in history {
        let last = transaction.writes.len() - 1;
        for (i, (pgno, fill)) in transaction.writes.iter().enumerate() {
            file.filled(*pgno, if i == last { transaction.commit } else { 0 }, *fill);
            written.insert(*pgno, *fill);
        }
        let pages = written.range(..=transaction.commit).map(|(pgno, fill)| (*pgno, *fill)).collect();
        states.push(State { commit: transaction.commit, pages, end: file.end() });
    }
    (file, states)
}

fn state_of(bytes: &[u8], map: &PageMap) -> State {
    let fill = |offset: u64| {
        let page = &bytes[offset as usize..][..PAGE_BYTES];
        assert!(page.iter().all(|byte| *byte == page[0]), "a page of two transactions");
        page[0]
    };
    let pages = map.iter().map(|(pgno, offset)| (pgno.get(), fill(offset))).collect();
    State { commit: map.commit.get(), pages, end: map.end.offset as usize }
}

fn read(bytes: &[u8], byte_limit: Option<u64>) -> Option<PageMap> {
    let mut reader = WalReader::open(bytes).unwrap()?;
    Some(PageMap::build(&mut reader, byte_limit).unwrap())
}

/// The last state that ends at `len` bytes or before.
fn last_within(states: &[State], len: usize) -> &State {
    states.iter().rev().find(|state| state.end <= len).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn cut_anywhere_only_whole_transactions_remain((is_big, history) in history()) {
        let (file, states) = write(is_big, &history);
        for len in 0..=file.bytes().len() {
            let bytes = &file.bytes()[..len];
            match read(bytes, None) {
                None => prop_assert!(len < 32),
                Some(map) => prop_assert_eq!(&state_of(bytes, &map), last_within(&states, len)),
            }
        }
    }

    #[test]
    fn in_steps_or_at_once((is_big, history) in history(), limit in 1u64..4000) {
        let (file, states) = write(is_big, &history);
        let mut reader = WalReader::open(file.bytes()).unwrap().unwrap();
        let mut pages = BTreeMap::new();
        loop {
            let map = PageMap::build(&mut reader, Some(limit)).unwrap();
            if map.is_empty() && map.byte_len() == 0 {
                break;
            }
            prop_assert_eq!(map.limited, map.byte_len() >= limit);
            let step = state_of(file.bytes(), &map);
            prop_assert!(states.iter().any(|state| state.end == step.end && state.commit == step.commit));
            pages.extend(step.pages);
            // A page that was cut off needs a new copy before it counts again.
            pages.retain(|pgno, _| *pgno <= step.commit);
        }
        let last = states.last().unwrap();
        prop_assert_eq!(reader.cursor().offset as usize, last.end);
        for (pgno, fill) in pages {
            prop_assert_eq!(last.pages.get(&pgno), Some(&fill));
        }
    }

    #[test]
    fn a_newer_generation_hides_the_older((is_big, old) in history(), (_, new) in history()) {
        let (mut file, _) = write(is_big, &old);
        file.restart(1, (0xdead_0002, 0x1234_5678));
        let (fresh, states) = write(is_big, &new);
        for (at, transaction) in new.iter().enumerate() {
            let last = transaction.writes.len() - 1;
            for (i, (pgno, fill)) in transaction.writes.iter().enumerate() {
                file.filled(*pgno, if i == last { transaction.commit } else { 0 }, *fill);
            }
            let map = read(file.bytes(), None).unwrap();
            prop_assert_eq!(&state_of(file.bytes(), &map), &states[at + 1]);
        }
        prop_assert_eq!(file.end(), fresh.end());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn one_flipped_bit_ends_the_log((is_big, history) in history(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let (file, states) = write(is_big, &history);
        let at = 32 + at.index(file.bytes().len() - 32);
        let mut bytes = file.bytes().to_vec();
        bytes[at] ^= 1u8 << bit;
        let frames_before = (at - 32) / FRAME_BYTES;
        let mut reader = WalReader::open(bytes.as_slice()).unwrap().unwrap();
        let mut frames = 0;
        while reader.next_frame().unwrap().is_some() {
            frames += 1;
        }
        prop_assert_eq!(frames, frames_before);
        let map = read(&bytes, None).unwrap();
        prop_assert_eq!(&state_of(&bytes, &map), last_within(&states, 32 + frames_before * FRAME_BYTES));
    }

    #[test]
    fn no_bytes_make_it_panic(head in prop::collection::vec(any::<u8>(), 0..3000), seal in any::<bool>()) {
        let mut bytes = head;
        if seal && bytes.len() >= 32 {
            let header = WalFile::new(false, 512, (1, 2));
            bytes[..32].copy_from_slice(header.bytes());
        }
        if let Ok(Some(mut reader)) = WalReader::open(bytes.as_slice()) {
            let map = PageMap::build(&mut reader, None).unwrap();
            prop_assert!(map.end.offset <= bytes.len() as u64);
        }
        if let Some(head) = bytes.first_chunk() {
            prop_assert_eq!(wal::WalIndex::parse(head), None);
        }
    }
}
