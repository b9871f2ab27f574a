//! Verification finds every damaged byte, and says what is lost by it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use common::{Fault, FaultClient, IMPATIENT, MemoryClient, delta, snapshot, txid};
use ltx::Decoder;
use proptest::prelude::*;
use replica::{Error, FileKey, Obstacle, Progress, Verified, VerifyOptions, verify};

const OPTIONS: VerifyOptions<'_> =
    VerifyOptions { parallelism: 4, retry: IMPATIENT, progress: None, cancel: None };

/// A snapshot of transactions 1 to 3, and transactions 2 to 6.
fn replica() -> MemoryClient {
    let client = MemoryClient::default();
    snapshot(512, 9, 3, 1).store(&client, 9);
    for number in 2..=6 {
        delta(512, 9, number, number, &[(2, number as u8), (7, 0)]).store(&client, 0);
    }
    client
}

fn key(level: u8, min: u64, max: u64) -> FileKey {
    FileKey { level, min_txid: txid(min), max_txid: txid(max) }
}

fn damage(client: &MemoryClient, key: FileKey, change: impl FnOnce(&mut Vec<u8>)) {
    change(&mut client.files.lock().unwrap().get_mut(&key).unwrap().0);
}

/// What a file holds.
fn pages(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut decoder = Decoder::new(file).unwrap();
    let mut page = vec![0; decoder.header().page_size.bytes()];
    let mut pages = Vec::new();
    while let Some(pgno) = decoder.next_page(&mut page).unwrap() {
        pages.push((pgno.get(), page.clone()));
    }
    pages
}

fn damaged(found: &Verified) -> Vec<FileKey> {
    found.damaged.iter().map(|(file, _)| file.key()).collect()
}

#[test]
fn a_sound_replica_is_sound() {
    let client = replica();
    let seen = Mutex::new(Vec::new());
    let progress = |at: Progress| seen.lock().unwrap().push(at);
    let found = verify(&client, &VerifyOptions { progress: Some(&progress), ..OPTIONS }).unwrap();
    assert_eq!((found.files, found.txid), (6, txid(6)));
    assert!(found.damaged.is_empty() && found.unread.is_empty() && found.holes.is_empty());
    assert!(found.obstacle.is_none());
    let last = *seen.lock().unwrap().last().unwrap();
    assert_eq!((last.bytes_done, last.files_done), (last.bytes_total, 6));
    assert_eq!(found.bytes, last.bytes_total);
}

#[test]
fn a_damaged_file_of_the_chain_is_an_obstacle() {
    let client = replica();
    damage(&client, key(0, 5, 5), |bytes| bytes[130] ^= 1);
    let found = verify(&client, &OPTIONS).unwrap();
    assert_eq!((damaged(&found), found.txid), (vec![key(0, 5, 5)], txid(4)));
    assert!(matches!(found.obstacle, Some(Obstacle::Damaged(file)) if file == key(0, 5, 5)));
}

#[test]
fn a_damaged_file_beside_the_chain_is_none() {
    let client = replica();
    damage(&client, key(0, 2, 2), |bytes| bytes.truncate(bytes.len() - 1));
    damage(&client, key(0, 3, 3), |bytes| bytes.truncate(10));
    let found = verify(&client, &OPTIONS).unwrap();
    assert_eq!((damaged(&found), found.txid), (vec![key(0, 2, 2), key(0, 3, 3)], txid(6)));
    assert!(found.obstacle.is_none());
}

#[test]
fn a_file_under_the_name_of_another_is_damaged() {
    let client = replica();
    let other = client.files.lock().unwrap()[&key(0, 5, 5)].clone();
    client.files.lock().unwrap().insert(key(0, 6, 6), other);
    let found = verify(&client, &OPTIONS).unwrap();
    assert!(matches!(found.damaged[..], [(_, Error::WrongTransactions { .. })]));
}

#[test]
fn missing_transactions_are_a_hole_and_an_obstacle() {
    let client = replica();
    client.files.lock().unwrap().remove(&key(0, 5, 5));
    let found = verify(&client, &OPTIONS).unwrap();
    assert_eq!((found.holes.clone(), found.txid), (vec![(txid(4), key(0, 6, 6))], txid(4)));
    assert!(matches!(found.obstacle, Some(Obstacle::Missing(Error::Gap { .. }))));
    delta(512, 9, 4, 5, &[(2, 5)]).store(&client, 1);
    let found = verify(&client, &OPTIONS).unwrap();
    assert_eq!((found.holes.len(), found.txid), (1, txid(6)));
    assert!(found.obstacle.is_none());
}

#[test]
fn what_cannot_be_read_is_not_damaged() {
    let client = replica();
    let broken = FaultClient::new(&client, Fault::Open(io::ErrorKind::PermissionDenied), 0, usize::MAX);
    let found = verify(&broken, &OPTIONS).unwrap();
    assert_eq!((found.unread.len(), found.damaged.len(), found.txid), (6, 0, txid(0)));
    // For the moment only.
    let flaky = FaultClient::new(&client, Fault::Break(io::ErrorKind::ConnectionReset), 1, 2);
    let found = verify(&flaky, &OPTIONS).unwrap();
    assert_eq!((found.unread.len(), found.txid), (0, txid(6)));
}

#[test]
fn files_that_are_merged_meanwhile_are_left_out() {
    let client = replica();
    let gone = FaultClient::new(&client, Fault::Open(io::ErrorKind::NotFound), 2, 1);
    let found = verify(&gone, &OPTIONS).unwrap();
    assert_eq!((found.files, found.txid), (5, txid(6)));
    assert!(found.obstacle.is_none());
}

#[test]
fn nothing_is_not_sound() {
    assert!(matches!(verify(&MemoryClient::default(), &OPTIONS), Err(Error::EmptyReplica { .. })));
}

#[test]
fn it_is_called_off() {
    let cancel = AtomicBool::new(true);
    let options = VerifyOptions { cancel: Some(&cancel), ..OPTIONS };
    assert!(matches!(verify(&replica(), &options), Err(Error::Cancelled)));
}

proptest! {
    #[test]
    fn every_byte_counts(which in 0..6_usize, at: prop::sample::Index, bit in 0..8_u8, cut: bool) {
        let client = replica();
        let key = *client.files.lock().unwrap().keys().nth(which).unwrap();
        let before = client.files.lock().unwrap()[&key].0.clone();
        damage(&client, key, |bytes| {
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        });
        let found = verify(&client, &OPTIONS).unwrap();
        let after = client.files.lock().unwrap()[&key].0.clone();
        if damaged(&found).is_empty() {
            // Other compressed bytes may expand to the same page.
            prop_assert_eq!(pages(&before), pages(&after));
            return Ok(());
        }
        prop_assert_eq!(damaged(&found), vec![key]);
    }
}
