//! The checksums of all pages of a chain are those of the database that it restores to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use common::{IMPATIENT, MemoryClient, delta, page_size, snapshot, txid};
use ltx::{Checksum, Encoder, Header, PageCount, PageSize, Pgno, page_checksum};
use replica::{Error, FileKey, RestoreOptions, Restored, Target, page_checksums, plan, restore};

fn options() -> RestoreOptions<'static> {
    RestoreOptions { retry: IMPATIENT, ..RestoreOptions::default() }
}

/// What the file should hold, computed from a database.
fn expected(database: &[u8], page_size: PageSize) -> Vec<u8> {
    let pages = (1..).map(|number| Pgno::new(number).unwrap()).zip(database.chunks(page_size.bytes()));
    let sum = |(pgno, page): (Pgno, &[u8])| {
        if pgno == page_size.lock_pgno() { 0 } else { page_checksum(pgno, page).get() }.to_be_bytes()
    };
    pages.flat_map(sum).collect()
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A database that grows, has pages overwritten by zeros and zeros overwritten, and shrinks.
fn chain() -> MemoryClient {
    let client = MemoryClient::default();
    let mut first = snapshot(4096, 900, 1, 1);
    first.pages.insert(4, vec![0; 4096]);
    first.pages.insert(5, vec![0; 4096]);
    first.store(&client, 9);
    delta(4096, 1000, 2, 2, &(900..=1000).map(|pgno| (pgno, pgno as u8)).collect::<Vec<_>>())
        .store(&client, 0);
    delta(4096, 1000, 3, 3, &[(2, 0), (5, 9), (700, 77)]).store(&client, 0);
    delta(4096, 800, 4, 4, &[(1, 50)]).store(&client, 0);
    client
}

#[test]
fn they_are_those_of_the_restored_pages_after_every_transaction() {
    let (client, dir) = (chain(), tempfile::tempdir().unwrap());
    for number in 1..=4 {
        let planned = plan(&client, &Target::Txid(txid(number))).unwrap();
        for parallelism in [1, 3] {
            let options = RestoreOptions { parallelism, ..options() };
            let (database, sums) = (dir.path().join("db"), dir.path().join("sums"));
            let restored = restore(&client, &planned, &database, &options).unwrap();
            let made = page_checksums(&client, &planned, &sums, &options).unwrap();
            assert_eq!(made, Restored { page_1: Checksum::NONE, head: Vec::new(), ..restored });
            let content = fs::read(&sums).unwrap();
            assert!(content == expected(&fs::read(&database).unwrap(), page_size(4096)), "{number}");
            fs::remove_file(database).unwrap();
            fs::remove_file(sums).unwrap();
        }
    }
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn the_lock_page_has_none() {
    let (commit, lock) = (16_388, 16_385);
    let header = Header::new(page_size(65536), PageCount::new(commit), txid(1), txid(1));
    let mut encoder = Encoder::new(Vec::new(), &header).unwrap();
    let zeros = vec![0; 65536];
    header.commit.pgnos(header.page_size).for_each(|pgno| encoder.write_page(pgno, &zeros).unwrap());
    let client = MemoryClient::default();
    let bytes = encoder.finish(Checksum::NONE).unwrap().0;
    client.put(FileKey { level: 9, min_txid: txid(1), max_txid: txid(1) }, bytes, 0);
    let dir = tempfile::tempdir().unwrap();
    let sums = dir.path().join("sums");
    page_checksums(&client, &plan(&client, &Target::Latest).unwrap(), &sums, &options()).unwrap();
    let content = fs::read(sums).unwrap();
    let sums: Vec<u64> = content.chunks(8).map(|sum| u64::from_be_bytes(sum.try_into().unwrap())).collect();
    assert_eq!(sums.len(), commit as usize);
    for (number, sum) in (1..).zip(sums) {
        let wanted = if number == lock { 0 } else { page_checksum(Pgno::new(number).unwrap(), &zeros).get() };
        assert_eq!(sum, wanted, "page {number}");
    }
}

#[test]
fn a_file_that_exists_is_kept_and_failures_leave_none() {
    let (client, dir) = (chain(), tempfile::tempdir().unwrap());
    let planned = plan(&client, &Target::Latest).unwrap();
    let sums = dir.path().join("sums");
    let cancel = AtomicBool::new(true);
    let cancelled = RestoreOptions { cancel: Some(&cancel), ..options() };
    assert!(matches!(page_checksums(&client, &planned, &sums, &cancelled), Err(Error::Cancelled)));
    assert_eq!(names(dir.path()), [""; 0]);
    fs::write(&sums, b"mine").unwrap();
    let overwrite = RestoreOptions { overwrite: true, ..options() };
    let error = page_checksums(&client, &planned, &sums, &overwrite).unwrap_err();
    assert!(matches!(&error, Error::OutputExists { path } if *path == sums), "{error}");
    assert_eq!(fs::read(&sums).unwrap(), b"mine");
    fs::remove_file(&sums).unwrap();
    delta(4096, 1100, 5, 5, &[(1, 1)]).store(&client, 0);
    let planned = plan(&client, &Target::Latest).unwrap();
    let error = page_checksums(&client, &planned, &sums, &options()).unwrap_err();
    assert!(matches!(error, Error::MissingPage { .. }), "{error}");
    assert_eq!(names(dir.path()), [""; 0]);
}
