use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::common::WalFile;
use crate::reader::WalReader;

fn size(bytes: u32) -> PageSize {
    PageSize::new(bytes).unwrap()
}

fn pgno(n: u32) -> Pgno {
    Pgno::new(n).unwrap()
}

/// A database whose page n is full of n.
fn database(pages: u8, page_size: usize) -> Vec<u8> {
    (1..=pages).flat_map(|n| vec![n; page_size]).collect()
}

fn map(bytes: &[u8]) -> PageMap {
    PageMap::build(&mut WalReader::open(bytes).unwrap().unwrap(), None).unwrap()
}

struct Counted(Vec<u8>, AtomicUsize);

impl ReadAt for Counted {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read_at(buf, offset)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

#[test]
fn the_wal_lies_over_the_file() {
    let mut wal = WalFile::new(false, 512, (1, 2));
    wal.filled(2, 0, 0xb2).filled(4, 4, 0xb4);
    let (db, map) = (database(3, 512), map(wal.bytes()));
    let mut source = PageSource::new(&db, wal.bytes(), Some(&map), size(512)).unwrap();
    for (n, fill) in [(1, 1), (2, 0xb2), (3, 3), (4, 0xb4), (2, 0xb2), (1, 1)] {
        assert_eq!(source.page(pgno(n)).unwrap(), [fill; 512], "page {n}");
    }
}

#[test]
fn without_a_map_only_the_file() {
    let db = database(2, 1024);
    let mut source = PageSource::new(&db, [].as_slice(), None, size(1024)).unwrap();
    assert_eq!(source.page(pgno(2)).unwrap(), [2; 1024]);
}

#[test]
fn behind_the_file_are_zeros_but_a_cut_page_is_an_error() {
    let mut db = database(2, 512);
    let mut source = PageSource::new(&db, [].as_slice(), None, size(512)).unwrap();
    assert_eq!(source.page(pgno(2)).unwrap(), [2; 512]);
    assert_eq!(source.page(pgno(3)).unwrap(), [0; 512]);
    assert_eq!(source.page(pgno(9)).unwrap(), [0; 512]);
    db.truncate(1023);
    let mut source = PageSource::new(&db, [].as_slice(), None, size(512)).unwrap();
    let error = source.page(pgno(2)).unwrap_err();
    assert!(matches!(error, Error::ShortPage { offset: 512, expected: 512, actual: 511, .. }));
}

#[test]
fn a_page_missing_in_the_wal_is_an_error() {
    let mut wal = WalFile::new(false, 512, (1, 2));
    wal.filled(1, 1, 1).filled(2, 2, 2);
    let map = map(wal.bytes());
    for (len, actual) in [(wal.end() - 1, 511), (wal.end() - 512, 0), (wal.end() - 536, 0)] {
        let cut = &wal.bytes()[..len];
        let mut source = PageSource::new([].as_slice(), cut, Some(&map), size(512)).unwrap();
        assert_eq!(source.page(pgno(1)).unwrap(), [1; 512]);
        let error = source.page(pgno(2)).unwrap_err();
        assert!(matches!(error, Error::ShortPage { offset: 592, actual: a, .. } if a == actual));
    }
}

#[test]
fn page_sizes_must_agree() {
    let map = map(WalFile::new(false, 512, (1, 2)).bytes());
    let result = PageSource::new([].as_slice(), [].as_slice(), Some(&map), size(1024));
    assert!(matches!(result, Err(Error::PageSizeMismatch { expected: 512, actual: 1024 })));
}

#[test]
fn reading_in_order_reads_ahead() {
    let db = Counted(database(200, 4096), AtomicUsize::new(0));
    let mut source = PageSource::new(&db, [].as_slice(), None, size(4096)).unwrap();
    for n in 1..=200 {
        assert_eq!(source.page(pgno(n)).unwrap(), [n as u8; 4096]);
    }
    assert!(db.1.load(Ordering::Relaxed) <= 12, "{:?} reads of 200 pages", db.1);
}

#[test]
fn frames_in_order_are_read_ahead_too() {
    let mut wal = WalFile::new(false, 4096, (1, 2));
    for n in 1..=200 {
        wal.filled(n, n, n as u8);
    }
    let map = map(wal.bytes());
    let wal = Counted(wal.bytes().to_vec(), AtomicUsize::new(0));
    let mut source = PageSource::new([].as_slice(), &wal, Some(&map), size(4096)).unwrap();
    for n in 1..=200 {
        assert_eq!(source.page(pgno(n)).unwrap(), [n as u8; 4096]);
    }
    assert!(wal.1.load(Ordering::Relaxed) <= 12, "{:?} reads of 200 frames", wal.1);
}
