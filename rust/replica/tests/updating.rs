//! Restores that begin with a copy: files with checksums of the whole database prove it, or show that it is another one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs::{self, File};
use std::path::Path;

use common::{IMPATIENT, MemoryClient, Pages, Recipe, database_checksum, txid};
use ltx::{Checksum, PageEncoding, Pgno, page_checksum};
use replica::{Base, Past, RestoreOptions, Restored, Shape, Target, restore, with_plan};

const PAGE: u32 = 512;

fn page(pgno: u32, fill: u8) -> (u32, Vec<u8>) {
    (pgno, vec![fill; PAGE as usize])
}

/// Three pages, and the second one changed by each of two more transactions.
fn chain() -> (MemoryClient, Vec<Vec<u8>>) {
    let client = MemoryClient::default();
    let mut state: Pages = (1..=3).map(|pgno| page(pgno, 1)).collect();
    let mut change = state.clone();
    let (mut states, mut before) = (Vec::new(), Checksum::NONE);
    for number in 1..=3_u8 {
        state.extend(change.clone());
        let after = database_checksum(&state);
        let recipe = Recipe {
            min: number.into(),
            max: number.into(),
            page_size: PAGE,
            commit: 3,
            millis: 1000,
            pages: change,
            encoding: PageEncoding::Block,
            checksums: Some((before, after)),
        };
        recipe.store(&client, 0);
        states.push(state.values().flatten().copied().collect());
        before = after;
        change = [page(2, number + 10)].into();
    }
    (client, states)
}

/// Brings `copy`, taken to be at the first transaction, to the last one.
fn update(client: &MemoryClient, copy: &Path, page_1: &[u8], proved: Option<Shape>) -> Restored {
    let file = File::open(copy).unwrap();
    let page_1 = Some(page_checksum(Pgno::FIRST, page_1));
    let base = Some(Base {
        file: &file,
        position: txid(1),
        past: &Past::default(),
        mark: 0,
        page_1,
        head: None,
        proved,
    });
    let options = RestoreOptions { base, overwrite: true, retry: IMPATIENT, ..RestoreOptions::default() };
    let mut work = |plan: &_| restore(client, plan, copy, &options);
    with_plan(client, &Target::Latest, &options, &mut work).unwrap().1
}

#[test]
fn the_checksum_of_the_whole_proves_a_copy_of_which_nothing_is_known() {
    let ((client, states), dir) = (chain(), tempfile::tempdir().unwrap());
    let copy = dir.path().join("copy");
    fs::write(&copy, &states[0]).unwrap();
    let made = update(&client, &copy, &[1; PAGE as usize], None);
    assert!(made.is_update && made.files == 2, "{made:?}");
    assert!(fs::read(&copy).unwrap() == states[2]);
}

#[test]
fn a_copy_that_is_not_what_it_seems_is_not_used_even_if_it_is_said_to_be_proved() {
    for (at, said) in [(1024, false), (1500, true), (600, false)] {
        let ((client, states), dir) = (chain(), tempfile::tempdir().unwrap());
        let copy = dir.path().join("copy");
        let mut bytes = states[0].clone();
        bytes[at] ^= 1;
        fs::write(&copy, &bytes).unwrap();
        let shape = Shape::of(&File::open(&copy).unwrap()).unwrap();
        let made = update(&client, &copy, &[1; PAGE as usize], said.then_some(shape));
        // What is overwritten anyway does not matter.
        assert_eq!(made.is_update, at == 600, "{at}");
        assert!(fs::read(&copy).unwrap() == states[2], "{at}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_copy_of_another_size_or_with_another_first_page_is_not_used() {
    for change in [|bytes: &mut Vec<u8>| bytes.truncate(1000), |bytes: &mut Vec<u8>| bytes[0] = 9] {
        let ((client, states), dir) = (chain(), tempfile::tempdir().unwrap());
        let copy = dir.path().join("copy");
        let mut bytes = states[0].clone();
        change(&mut bytes);
        fs::write(&copy, &bytes).unwrap();
        assert!(!update(&client, &copy, &[1; PAGE as usize], None).is_update);
        assert!(fs::read(&copy).unwrap() == states[2]);
    }
}
