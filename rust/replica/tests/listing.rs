//! Listing a directory that is being written.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may, on files of their own")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ltx::TxId;
use replica::{FileClient, ReplicaClient};

const FILES_BEFORE: u64 = 4000;
const LISTINGS: usize = 60;

fn add(level: &Path, txid: u64) {
    let staged = level.join("staged");
    fs::write(&staged, b"").unwrap();
    fs::rename(staged, level.join(ltx::format_file_name(TxId::new(txid), TxId::new(txid)))).unwrap();
}

#[test]
fn a_file_is_never_listed_without_those_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let level = dir.path().join("ltx/0");
    fs::create_dir_all(&level).unwrap();
    (1..=FILES_BEFORE).for_each(|txid| add(&level, txid));
    let client = FileClient::new(dir.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for txid in FILES_BEFORE + 1.. {
                if done.load(Ordering::Acquire) {
                    break;
                }
                add(&level, txid);
                std::thread::sleep(std::time::Duration::from_micros(500));
            }
        });
        let holes = (0..LISTINGS).filter(|_| {
            let files = client.ltx_files(0, TxId::NONE, false).unwrap();
            files.len() as u64 != files.last().unwrap().max_txid.get()
        });
        let found = holes.count();
        done.store(true, Ordering::Release);
        assert_eq!(found, 0, "of {LISTINGS} listings");
    });
}
