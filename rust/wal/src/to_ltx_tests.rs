use ltx::{Decoder, HeaderFlags, PageSize, TxId};

use super::*;
use crate::common::WalFile;
use crate::reader::WalReader;

const SIZE: u32 = 512;

/// A database whose page n is full of n.
fn database(pages: u32) -> Vec<u8> {
    (1..=pages).flat_map(|n| vec![n as u8; SIZE as usize]).collect()
}

/// Replaces page 2, adds page 6; pages 4 and 5 belong to the growth but are not in the log.
fn wal() -> WalFile {
    let mut wal = WalFile::new(true, SIZE, (1, 2));
    wal.filled(2, 3, 0xa2).filled(2, 0, 0xb2).filled(6, 6, 0xb6);
    wal
}

fn map(bytes: &[u8]) -> PageMap {
    PageMap::build(&mut WalReader::open(bytes).unwrap().unwrap(), None).unwrap()
}

fn header(commit: u32, txid: u64) -> Header {
    let size = PageSize::new(SIZE).unwrap();
    Header::new(size, PageCount::new(commit), TxId::new(txid), TxId::new(txid))
}

/// Page numbers and fills of an LTX file, which must be sound.
fn pages(file: &[u8]) -> Vec<(u32, u8)> {
    let mut decoder = Decoder::new(file).unwrap();
    let mut page = [0; SIZE as usize];
    let mut pages = Vec::new();
    while let Some(pgno) = decoder.next_page(&mut page).unwrap() {
        assert!(page.iter().all(|byte| *byte == page[0]));
        pages.push((pgno.get(), page[0]));
    }
    decoder.finish().unwrap();
    pages
}

#[test]
fn a_snapshot_is_the_database_with_its_log() {
    let (db, wal) = (database(5), wal());
    let map = map(wal.bytes());
    let (file, _) = write_snapshot(&db, wal.bytes(), Some(&map), &header(6, 1), Vec::new()).unwrap();
    assert_eq!(pages(&file), [(1, 1), (2, 0xb2), (3, 3), (4, 4), (5, 5), (6, 0xb6)]);
}

#[test]
fn a_snapshot_without_a_log_is_the_file() {
    let db = database(3);
    let (file, _) = write_snapshot(&db, [].as_slice(), None, &header(3, 1), Vec::new()).unwrap();
    assert_eq!(pages(&file), [(1, 1), (2, 2), (3, 3)]);
}

#[test]
fn a_snapshot_computes_the_database_checksum() {
    let (db, wal) = (database(5), wal());
    let map = map(wal.bytes());
    let header = Header { flags: HeaderFlags { no_checksum: false }, ..header(6, 1) };
    let (file, trailer) = write_snapshot(&db, wal.bytes(), Some(&map), &header, Vec::new()).unwrap();
    let mut expected = RollingChecksum::new();
    for (pgno, fill) in pages(&file) {
        expected.add(ltx::page_checksum(Pgno::new(pgno).unwrap(), &[fill; SIZE as usize]));
    }
    assert_eq!(trailer.post_apply_checksum, expected.get());
}

#[test]
fn an_increment_has_the_log_and_the_growth() {
    let (db, wal) = (database(5), wal());
    let map = map(wal.bytes());
    let write = |prev| {
        let prev = PageCount::new(prev);
        let out = Vec::new();
        write_incremental(&db, wal.bytes(), &map, prev, &header(6, 2), Checksum::NONE, out).unwrap().0
    };
    assert_eq!(pages(&write(3)), [(2, 0xb2), (4, 4), (5, 5), (6, 0xb6)]);
    assert_eq!(pages(&write(6)), [(2, 0xb2), (6, 0xb6)]);
    assert_eq!(pages(&write(9)), [(2, 0xb2), (6, 0xb6)]);
    assert_eq!(pages(&write(0)).len(), 6);
}

#[test]
fn growth_steps_over_the_lock_page() {
    let size = PageSize::new(65536).unwrap();
    let lock = size.lock_pgno().get();
    let mut wal = WalFile::new(false, 65536, (1, 2));
    wal.filled(1, lock + 2, 1);
    let map = map(wal.bytes());
    let pages = |prev| -> Vec<u32> {
        incremental_pages(&map, PageCount::new(prev), map.commit).map(Pgno::get).collect()
    };
    assert_eq!(pages(lock - 2), [1, lock - 1, lock + 1, lock + 2]);
    assert_eq!(pages(lock), [1, lock + 1, lock + 2]);
}

#[test]
fn header_and_map_must_agree() {
    let (db, wal) = (database(5), wal());
    let map = map(wal.bytes());
    let snapshot =
        |header: Header| write_snapshot(&db, wal.bytes(), Some(&map), &header, Vec::new()).unwrap_err();
    assert!(matches!(snapshot(header(5, 1)), Error::CommitMismatch { expected: 6, actual: 5 }));
    let other = Header { page_size: PageSize::new(1024).unwrap(), ..header(6, 1) };
    assert!(matches!(snapshot(other), Error::PageSizeMismatch { expected: 512, actual: 1024 }));
    let impossible = header(6, 0);
    assert!(matches!(snapshot(impossible), Error::Ltx(_)));
}
