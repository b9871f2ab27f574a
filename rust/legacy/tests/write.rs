//! LTX files that are written as a v0.3 replica and restored from it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};

use legacy::{
    Generation, History, Options, Target, WalState, WriteError, format_segment, format_snapshot, restore,
    wal_salt, write_snapshot,
};
use ltx::{Checksum, Encoder, Header, PageCount, PageSize, Pgno, Timestamp, TxId};
use proptest::prelude::*;
use replica::Object;
use wal::Salt;

const PAGE: usize = 1024;
const GENERATION: Generation = Generation::new(7);

fn page(number: u32, content: u8) -> Vec<u8> {
    let mut page = vec![content; PAGE];
    page[..4].copy_from_slice(&number.to_be_bytes());
    if number == 1 {
        page[..16].copy_from_slice(b"SQLite format 3\0");
        page[16..18].copy_from_slice(&(PAGE as u16).to_be_bytes());
        page[18..24].copy_from_slice(&[2, 2, 0, 64, 32, 32]);
    }
    page
}

fn ltx_file(txids: (u64, u64), commit: u32, pages: &BTreeMap<u32, u8>) -> Vec<u8> {
    let size = PageSize::new(PAGE as u32).unwrap();
    let header = Header::new(size, PageCount::new(commit), TxId::new(txids.0), TxId::new(txids.1));
    let mut encoder = Encoder::new(Vec::new(), &header).unwrap();
    for (number, content) in pages {
        encoder.write_page(Pgno::new(*number).unwrap(), &page(*number, *content)).unwrap();
    }
    encoder.finish(Checksum::NONE).unwrap().0
}

fn salt() -> Salt {
    Salt { salt1: 1, salt2: 0x1234_5678 }
}

fn restored(objects: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let listed = objects.iter().map(|(key, bytes)| Object {
        key: key.clone(),
        size: bytes.len() as u64,
        modified: Timestamp::from_millis(0),
    });
    let plan = History::of(listed).plan(&Target::default()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let open = |key: &str, _: u64| -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(objects[key].clone())))
    };
    restore(&plan, &open, &file, Options { parallelism: 2, progress: &mut |_| true }).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn what_no_wal_can_hold_is_refused() {
    let state = WalState::new(PageSize::new(PAGE as u32).unwrap(), salt());
    let other = WalState::new(PageSize::new(512).unwrap(), salt());
    let one = ltx_file((2, 2), 3, &BTreeMap::from([(2, 1)]));
    assert!(matches!(other.append(&*one, Vec::new()), Err(WriteError::Unfit)));
    let none = ltx_file((2, 2), 3, &BTreeMap::new());
    assert!(matches!(state.append(&*none, Vec::new()), Err(WriteError::Unfit)));
    assert!(matches!(write_snapshot(&*one, Vec::new()), Err(WriteError::Unfit)));
    assert!(matches!(state.append(&one[..one.len() - 1], Vec::new()), Err(WriteError::Ltx(_))));
}

#[test]
fn the_same_again_gives_the_same_segment() {
    let state = WalState::new(PageSize::new(PAGE as u32).unwrap(), salt());
    let file = ltx_file((2, 2), 3, &BTreeMap::from([(1, 1), (2, 2)]));
    let (mut first, mut then) = (Vec::new(), Vec::new());
    assert_eq!(state.append(&*file, &mut first).unwrap(), state.append(&*file, &mut then).unwrap());
    assert_eq!(first, then);
}

proptest! {
    #[test]
    fn a_chain_is_restored_as_it_was(
        first in 1..12_u32,
        transactions in prop::collection::vec((prop::collection::btree_map(1..16_u32, any::<u8>(), 1..5), 0..20_u32, any::<bool>()), 0..20),
    ) {
        let mut database: BTreeMap<u32, u8> = (1..=first).map(|number| (number, 1)).collect();
        let mut objects = BTreeMap::new();
        let mut bytes = Vec::new();
        write_snapshot(&*ltx_file((1, 1), first, &database), &mut bytes).unwrap();
        objects.insert(GENERATION.snapshots_folder() + &format_snapshot(0), bytes);
        let (mut index, mut state) = (0, WalState::new(PageSize::new(PAGE as u32).unwrap(), salt()));
        for (txid, (mut pages, wanted, restarts)) in (2..).zip(transactions) {
            let old = database.len() as u32;
            let commit = wanted.min(old + 3).max(1);
            // Every page that the database gets has to be written.
            pages.extend((old + 1..=commit).map(|number| (number, 9)));
            pages.retain(|number, _| *number <= commit);
            pages.insert(1, txid as u8);
            database.extend(pages.clone());
            database.retain(|number, _| *number <= commit);
            let mut bytes = Vec::new();
            let next = state.append(&*ltx_file((txid, txid), commit, &pages), &mut bytes).unwrap().wal;
            objects.insert(GENERATION.wal_folder() + &format_segment(index, state.offset), bytes);
            state = next;
            if restarts {
                index += 1;
                state = WalState::new(state.page_size, wal_salt(GENERATION, index));
            }
        }
        let expected: Vec<u8> = database.iter().flat_map(|(number, content)| page(*number, *content)).collect();
        prop_assert_eq!(restored(&objects), expected);
    }
}

proptest! {
    #[test]
    fn wal_files_have_other_marks_than_those_before(generation: u64, index in 0_u32..1000) {
        let salt = wal_salt(Generation::new(generation), index);
        prop_assert_eq!(salt, wal_salt(Generation::new(generation), index));
        let next = wal_salt(Generation::new(generation), index + 1);
        prop_assert!(next.follows(salt) && next.salt2 != salt.salt2);
        prop_assert_ne!(salt.salt2, wal_salt(Generation::new(generation ^ 1), index).salt2);
    }
}
