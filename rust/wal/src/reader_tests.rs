use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use ltx::PageSize;

use super::*;
use crate::common::{WalFile, three_frames};
use crate::error::Error;

/// Offsets, page numbers and commit sizes of all frames.
fn frames<R: ReadAt>(reader: &mut WalReader<R>) -> Vec<(u64, u32, u32)> {
    let mut all = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        all.push((frame.offset, frame.header.pgno.get(), frame.header.commit.map_or(0, ltx::PageCount::get)));
    }
    all
}

fn open(bytes: &[u8]) -> WalReader<&[u8]> {
    WalReader::open(bytes).unwrap().unwrap()
}

/// Counts reads, and can be told to fail.
struct Disk {
    bytes: Vec<u8>,
    reads: AtomicUsize,
    fail_from: u64,
}

impl Disk {
    fn new(bytes: &[u8]) -> Disk {
        Disk { bytes: bytes.to_vec(), reads: AtomicUsize::new(0), fail_from: u64::MAX }
    }
}

impl ReadAt for Disk {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if offset >= self.fail_from {
            return Err(io::Error::other("unplugged"));
        }
        self.bytes.read_at(buf, offset)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

// W-01
#[test]
fn reads_all_frames() {
    for is_big in [false, true] {
        let file = three_frames(is_big);
        let mut reader = open(file.bytes());
        assert_eq!(frames(&mut reader), [(32, 1, 0), (4152, 2, 2), (8272, 2, 2)]);
        assert!(reader.next_frame().unwrap().is_none());
        let cursor = reader.cursor();
        assert_eq!((cursor.offset, cursor.frames()), (32 + 3 * 4120, 3));
        assert_eq!((cursor.checksum.s1, cursor.checksum.s2), file.sum());
    }
}

#[test]
fn lends_the_pages() {
    for page_size in [512, 1024, 65536] {
        let mut file = WalFile::new(true, page_size, (7, 8));
        for pgno in 1..=20 {
            file.filled(pgno, pgno, pgno as u8);
        }
        let mut reader = open(file.bytes());
        for pgno in 1..=20u8 {
            let frame = reader.next_frame().unwrap().unwrap();
            assert_eq!(frame.page, vec![pgno; page_size as usize]);
        }
        assert!(reader.next_frame().unwrap().is_none());
    }
}

// W-02
#[test]
fn a_damaged_frame_is_the_end() {
    let file = three_frames(false);
    for (what, at) in
        [("page number", 4152 + 3), ("salt", 4152 + 8), ("checksum", 4152 + 20), ("page", 4152 + 999)]
    {
        let mut bytes = file.bytes().to_vec();
        bytes[at] ^= 0x40;
        let mut reader = open(&bytes);
        assert_eq!(frames(&mut reader), [(32, 1, 0)], "{what}");
        assert_eq!(reader.cursor().offset, 4152, "{what}");
    }
}

#[test]
fn page_number_zero_is_the_end_even_with_a_right_checksum() {
    let mut file = WalFile::new(false, 512, (1, 2));
    file.filled(1, 1, 1).filled(0, 1, 2).filled(1, 1, 3);
    assert_eq!(frames(&mut open(file.bytes())).len(), 1);
}

// W-06
#[test]
fn a_cut_frame_is_the_end() {
    let file = three_frames(true);
    for len in [8272, 8272 + 1, 8272 + 23, 8272 + 24, 8272 + 25, 8272 + 4119] {
        assert_eq!(frames(&mut open(&file.bytes()[..len])).len(), 2, "{len} bytes");
    }
}

// W-03
#[test]
fn no_header_no_reader() {
    assert!(WalReader::open([].as_slice()).unwrap().is_none());
    assert!(WalReader::open(&three_frames(false).bytes()[..31]).unwrap().is_none());
}

// W-07: what is not the end of the log must not look like one.
#[test]
fn a_failed_read_is_an_error() {
    let mut disk = Disk::new(three_frames(false).bytes());
    disk.fail_from = 0;
    assert!(matches!(WalReader::open(&disk), Err(Error::Io { offset: 0, .. })));
    disk.fail_from = 32;
    let mut reader = WalReader::open(&disk).unwrap().unwrap();
    assert!(matches!(reader.next_frame(), Err(Error::Io { offset: 32, .. })));
    assert_eq!(reader.cursor().offset, 32);
}

#[test]
fn one_read_brings_many_frames() {
    let mut file = WalFile::new(false, 4096, (1, 2));
    for pgno in 1..=126 {
        file.filled(pgno, 0, 1);
    }
    let disk = Disk::new(file.bytes());
    let mut reader = WalReader::open(&disk).unwrap().unwrap();
    assert_eq!(frames(&mut reader).len(), 126);
    // The header, twice 63 frames in 256 KiB, and the look behind the last one.
    assert_eq!(disk.reads.load(Ordering::Relaxed), 4);
}

#[test]
fn the_limit_is_not_passed() {
    let file = three_frames(false);
    let mut disk = Disk::new(file.bytes());
    disk.fail_from = 8272;
    let mut reader = WalReader::open(&disk).unwrap().unwrap();
    reader.limit(8272 + 4119);
    assert_eq!(frames(&mut reader).len(), 2);
    assert_eq!(disk.reads.load(Ordering::Relaxed), 2);
    disk.fail_from = u64::MAX;
    let mut reader = WalReader::open(&disk).unwrap().unwrap();
    reader.limit(8272);
    assert_eq!(frames(&mut reader).len(), 2);
    reader.limit(8272 + 4120);
    assert_eq!(frames(&mut reader), [(8272, 2, 2)]);
}

#[test]
fn goes_on_at_a_cursor() {
    let file = three_frames(true);
    let mut first = open(file.bytes());
    first.next_frame().unwrap();
    let mut second = WalReader::resume(file.bytes(), first.cursor());
    assert_eq!(frames(&mut second), [(4152, 2, 2), (8272, 2, 2)]);
    second.seek(first.cursor());
    assert_eq!(frames(&mut second).len(), 2);
}

/// A file that others write to.
struct Shared(std::sync::Mutex<Vec<u8>>);

impl ReadAt for Shared {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.lock().unwrap().read_at(buf, offset)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
}

#[test]
fn a_reader_at_the_end_sees_what_is_appended() {
    let mut file = three_frames(false);
    let disk = Shared(file.bytes().to_vec().into());
    let mut reader = WalReader::open(&disk).unwrap().unwrap();
    assert_eq!(frames(&mut reader).len(), 3);
    file.filled(1, 2, 9);
    *disk.0.lock().unwrap() = file.bytes()[..file.end() - 1].to_vec();
    assert_eq!(frames(&mut reader), []);
    *disk.0.lock().unwrap() = file.bytes().to_vec();
    assert_eq!(frames(&mut reader), [(32 + 3 * 4120, 1, 2)]);
}

#[test]
fn stale_bytes_read_ahead_are_not_used_again() {
    let mut file = three_frames(false);
    file.restart(1, (0x0f0f_1112, 5));
    file.filled(3, 3, 1);
    let disk = Shared(file.bytes().to_vec().into());
    let mut reader = WalReader::open(&disk).unwrap().unwrap();
    assert_eq!(frames(&mut reader), [(32, 3, 3)], "frames of the generation before are no frames");
    file.filled(4, 4, 2);
    *disk.0.lock().unwrap() = file.bytes().to_vec();
    assert_eq!(frames(&mut reader), [(4152, 4, 4)]);
}

#[test]
fn a_cursor_of_another_generation_finds_nothing() {
    let mut file = three_frames(false);
    let mut reader = open(file.bytes());
    reader.next_frame().unwrap();
    let cursor = reader.cursor();
    file.restart(1, (0x0f0f_1112, 5));
    file.filled(1, 2, 1).filled(2, 2, 2);
    assert_eq!(frames(&mut WalReader::resume(file.bytes(), cursor)), []);
}

#[test]
fn blocks_hold_whole_frames() {
    for page_size in [512, 4096, 65536] {
        let size = frame_size(PageSize::new(page_size).unwrap());
        let full = block_bytes(size, u64::MAX);
        assert!(full.is_multiple_of(size) && full <= 256 * 1024 && full + size > 256 * 1024);
        assert_eq!(block_bytes(size, 1), size);
        assert_eq!(block_bytes(size, 2 * size as u64 + 5), 2 * size);
    }
}
