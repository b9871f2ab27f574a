use super::*;
use crate::common::{WalFile, three_frames};

fn pgno(n: u32) -> Pgno {
    Pgno::new(n).unwrap()
}

fn build(bytes: &[u8], byte_limit: Option<u64>) -> PageMap {
    PageMap::build(&mut WalReader::open(bytes).unwrap().unwrap(), byte_limit).unwrap()
}

fn pages(map: &PageMap) -> Vec<(u32, u64)> {
    map.iter().map(|(pgno, offset)| (pgno.get(), offset)).collect()
}

#[test]
fn newest_committed_copy_of_each_page() {
    let map = build(three_frames(false).bytes(), None);
    assert_eq!(pages(&map), [(1, 32 + 24), (2, 8272 + 24)]);
    assert_eq!(map.get(pgno(2)), Some(8272 + 24));
    assert_eq!(map.get(pgno(3)), None);
    assert_eq!((map.commit.get(), map.end.offset, map.limited), (2, 32 + 3 * 4120, false));
    assert_eq!((map.len(), map.byte_len(), map.page_size().get()), (2, 3 * 4120, 4096));
}

// W-09
#[test]
fn the_limit_counts_at_commit_frames() {
    let map = build(three_frames(false).bytes(), Some(1));
    assert_eq!(pages(&map), [(1, 32 + 24), (2, 4152 + 24)]);
    assert_eq!((map.commit.get(), map.end.offset, map.limited), (2, 8272, true));
    let exact = build(three_frames(false).bytes(), Some(2 * 4120));
    assert_eq!((exact.end.offset, exact.limited), (8272, true));
    let next = build(three_frames(false).bytes(), Some(2 * 4120 + 1));
    assert_eq!((next.end.offset, next.limited), (8272 + 4120, true));
    let never = build(three_frames(false).bytes(), Some(3 * 4120 + 1));
    assert_eq!((never.end.offset, never.limited), (8272 + 4120, false));
}

#[test]
fn a_reader_goes_on_behind_the_limit() {
    let file = three_frames(true);
    let mut reader = WalReader::open(file.bytes()).unwrap().unwrap();
    let first = PageMap::build(&mut reader, Some(1)).unwrap();
    assert_eq!(reader.cursor(), first.end);
    let second = PageMap::build(&mut reader, Some(1)).unwrap();
    assert_eq!(pages(&second), [(2, 8272 + 24)]);
    assert_eq!((second.start, second.end.frames()), (first.end, 3));
    let third = PageMap::build(&mut reader, None).unwrap();
    assert!(third.is_empty() && !third.limited);
    assert_eq!((third.commit.get(), third.start, third.end), (0, second.end, second.end));
}

#[test]
fn an_open_transaction_is_left_for_later() {
    let mut file = WalFile::new(false, 512, (1, 2));
    file.filled(1, 1, 1).filled(1, 0, 2).filled(2, 0, 2);
    let mut reader = WalReader::open(file.bytes()).unwrap().unwrap();
    let map = PageMap::build(&mut reader, None).unwrap();
    assert_eq!(pages(&map), [(1, 56)]);
    assert_eq!((map.end.frames(), reader.cursor()), (1, map.end));
    // It rolls back, and another one takes its place.
    let mut file = WalFile::new(false, 512, (1, 2));
    file.filled(1, 1, 1).filled(3, 3, 3);
    let mut reader = WalReader::resume(file.bytes(), map.end);
    assert_eq!(pages(&PageMap::build(&mut reader, None).unwrap()), [(3, 32 + 536 + 24)]);
}

#[test]
fn nothing_committed_is_an_empty_map() {
    let mut file = WalFile::new(false, 512, (1, 2));
    assert!(build(file.bytes(), None).is_empty());
    file.filled(1, 0, 1);
    let map = build(file.bytes(), Some(1));
    assert!(map.is_empty());
    assert_eq!((map.commit.get(), map.end, map.limited), (0, map.start, false));
}

#[test]
fn pages_above_the_final_commit_go() {
    let mut file = WalFile::new(false, 512, (1, 2));
    file.filled(1, 0, 1).filled(9, 9, 1).filled(4, 0, 1).filled(1, 4, 2);
    let map = build(file.bytes(), None);
    assert_eq!(pages(&map).iter().map(|page| page.0).collect::<Vec<_>>(), [1, 4]);
    assert_eq!((map.commit.get(), map.end.frames()), (4, 4));
    // Growing again brings the old copy back, as SQLite's own index would.
    file.filled(1, 9, 3);
    let map = build(file.bytes(), None);
    assert_eq!(map.get(pgno(9)), Some(32 + 536 + 24));
}

#[test]
fn the_end_is_the_last_commit_even_if_its_pages_went() {
    let mut file = WalFile::new(false, 512, (1, 2));
    file.filled(1, 3, 1).filled(3, 2, 1);
    let map = build(file.bytes(), None);
    assert_eq!(pages(&map), [(1, 56)]);
    assert_eq!(map.end.frames(), 2);
}

#[test]
fn the_lock_page_is_no_page() {
    let mut file = WalFile::new(false, 65536, (1, 2));
    let lock = 16385;
    file.filled(lock - 1, 0, 1).filled(lock, 0, 1).filled(lock + 1, lock + 1, 1);
    let map = build(file.bytes(), None);
    assert_eq!(pages(&map).iter().map(|page| page.0).collect::<Vec<_>>(), [lock - 1, lock + 1]);
}

#[test]
fn many_frames_of_few_pages_take_little_memory() {
    let mut file = WalFile::new(false, 512, (1, 2));
    file.filled(1, 1, 1);
    let mut reader = WalReader::open(file.bytes()).unwrap().unwrap();
    let mut header = reader.next_frame().unwrap().unwrap().header;
    let start = reader.cursor();
    let mut builder = PageMapBuilder::new(start);
    let frame_bytes = 536;
    for n in 0..300_000u64 {
        header.pgno = pgno(1 + (n % 100) as u32);
        header.commit = Some(PageCount::new(100));
        builder.push(&header, Cursor { offset: start.offset + (n + 1) * frame_bytes, ..start });
    }
    assert!(builder.map.entries.capacity() <= 2 * FIRST_COMPACTION);
    let map = builder.finish();
    assert_eq!(map.len(), 100);
    // Page 100 is in the last frame, number 300001 with the one before the start.
    assert_eq!(map.get(pgno(100)), Some(32 + 300_000 * frame_bytes + 24));
    assert_eq!(map.get(pgno(1)), Some(32 + (300_000 - 99) * frame_bytes + 24));
}
