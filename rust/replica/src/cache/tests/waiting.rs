//! Readers that need a block that another one is reading.

use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ltx::Timestamp;
use tempfile::TempDir;

use super::{Memory, cached, content, info, memory, whole};
use crate::cache::blocks::BLOCK;
use crate::cache::flights::{Claimed, Flights, Waited};
use crate::client::{FileInfo, ReplicaClient};

#[test]
fn files_of_one_name_are_told_apart_on_their_way() {
    let flights = Flights::default();
    let later = FileInfo { created_at: Timestamp::from_millis(1_700_000_000_001), ..info(1, 7000) };
    for file in [info(1, 7000), info(1, 7001), later] {
        // All of them at the same time.
        let Claimed::Mine(claims) = flights.claim(file, 0, 1, 8, |_| true) else { panic!("{file:?}") };
        mem::forget(claims);
    }
    assert!(matches!(flights.claim(later, 0, 1, 8, |_| true), Claimed::Others(_)));
}

#[test]
fn whoever_waits_for_a_reader_that_fails_reads_itself() {
    let flights = Flights::default();
    let Claimed::Mine(claims) = flights.claim(info(1, 7000), 0, 1, 8, |_| true) else { panic!() };
    let Claimed::Others(flight) = flights.claim(info(1, 7000), 0, 1, 8, |_| true) else { panic!() };
    thread::scope(|scope| {
        let waiting = scope.spawn(|| matches!(flight.wait(), Waited::Lost));
        scope.spawn(move || drop(claims));
        assert!(waiting.join().unwrap());
    });
    // The same by way of a client: the first one fails in the middle.
    let size = BLOCK as usize;
    let files = Mutex::new(vec![content(1, size)]);
    let short = Arc::new(Memory { files, most: Some(100_000), ..Memory::default() });
    let folder = TempDir::new().unwrap();
    let client = cached(&short, folder.path(), 1 << 30);
    let mut failing = client.open_ltx_file(&info(1, size), 0, None).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| whole(&client, &info(1, size)));
        thread::sleep(Duration::from_millis(50));
        let mut got = Vec::new();
        failing.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), 100_000);
        drop(failing);
        assert_eq!(waiting.join().unwrap(), content(1, size)[..100_000]);
    });
    assert_eq!(short.opened.load(Ordering::SeqCst), 2);
}

#[test]
fn nobody_waits_for_ever_for_a_reader_that_does_not_go_on() {
    let (memory, folder) = (memory(&[7000]), TempDir::new().unwrap());
    let client = cached(&memory, folder.path(), 1 << 30);
    let idle = client.open_ltx_file(&info(1, 7000), 0, None).unwrap();
    assert_eq!(whole(&client, &info(1, 7000)), content(1, 7000));
    assert_eq!(memory.opened.load(Ordering::SeqCst), 2);
    drop(idle);
}
