//! Random files, random histories and random bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::collections::BTreeMap;

use common::{Pages, header, noise, pgno, read, write};
use ltx::{
    Checksum, CompactOptions, Decoder, Encoder, Header, PageEncoding, PageSize, compact, compress_page,
    decode_frame, parse_page_index, read_page_index,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn page_sizes() -> impl Strategy<Value = u32> {
    (9..=16_u32).prop_map(|shift| 1 << shift)
}

/// What a page looks like, without its size: constant, noise, or noise repeated.
fn looks() -> impl Strategy<Value = (u8, u32)> {
    (0..3_u8, any::<u32>())
}

fn page((kind, seed): (u8, u32), page_size: u32) -> Vec<u8> {
    let len = page_size as usize;
    match kind {
        0 => vec![seed as u8; len],
        1 => noise(seed, len),
        _ => noise(seed, 16 + seed as usize % 100).into_iter().cycle().take(len).collect(),
    }
}

/// Page size, then pages by number.
fn increments() -> impl Strategy<Value = (u32, Pages)> {
    (page_sizes(), btree_map(1..500_u32, looks(), 0..12)).prop_map(|(size, looks)| {
        (size, looks.into_iter().map(|(number, look)| (number, page(look, size))).collect())
    })
}

/// A database of at most ten pages through up to six transactions: new size, and pages rewritten.
fn histories() -> impl Strategy<Value = Vec<(u32, BTreeMap<u32, u8>)>> {
    vec((1..=10_u32, btree_map(1..=10_u32, any::<u8>(), 0..6)), 1..6)
}

/// The files of a history. As every writer must, a transaction that grows the database has all the new pages.
fn history_files(history: &[(u32, BTreeMap<u32, u8>)], first: u64) -> (Vec<Vec<u8>>, Vec<Pages>) {
    let (mut files, mut changes) = (Vec::new(), Vec::new());
    let mut size = if first == 1 { 0 } else { 4 };
    for (txid, (commit, rewritten)) in (first..).zip(history) {
        let mut pages: Pages = (size + 1..=*commit).map(|number| (number, vec![0; 512])).collect();
        pages.extend(rewritten.iter().filter(|(n, _)| *n <= commit).map(|(n, fill)| (*n, vec![*fill; 512])));
        let encoding = if txid % 3 == 0 { PageEncoding::Frame } else { PageEncoding::Block };
        files.push(write(&header(512, *commit, txid, txid), &pages, encoding));
        changes.push(pages);
        size = *commit;
    }
    (files, changes)
}

fn compacted(files: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let inputs = files.iter().map(Vec::as_slice).collect();
    compact(inputs, &mut out, CompactOptions::default(), &mut |_| {}).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn files_round_trip((size, pages) in increments(), block in any::<bool>()) {
        let header = Header { wal_offset: 32, ..header(size, 500, 2, 3) };
        let encoding = if block { PageEncoding::Block } else { PageEncoding::Frame };
        let file = write(&header, &pages, encoding);
        let content = read(&file).unwrap();
        prop_assert_eq!(content.header, header);
        prop_assert!(content.pages == pages);
        let index = read_page_index(&file).unwrap();
        let mut page = vec![0; size as usize];
        for (number, expected) in &pages {
            let elem = index.get(pgno(*number)).unwrap();
            let frame = &file[elem.offset as usize..][..elem.size as usize];
            prop_assert_eq!(decode_frame(frame, header.page_size, &mut page).unwrap(), elem.pgno);
            prop_assert!(page == *expected);
        }
    }

    #[test]
    fn pages_compressed_elsewhere_make_the_same_file((size, pages) in increments()) {
        let header = header(size, 500, 2, 3);
        let mut encoder = Encoder::new(Vec::new(), &header).unwrap();
        for (number, page) in &pages {
            let mut block = Vec::new();
            compress_page(page, &mut block).unwrap();
            encoder.write_compressed(pgno(*number), page, &block).unwrap();
        }
        let (file, _) = encoder.finish(Checksum::NONE).unwrap();
        prop_assert!(file == write(&header, &pages, PageEncoding::Block));
    }

    #[test]
    fn compaction_is_the_newest_of_each_page(history in histories(), first in 1..3_u64) {
        let (files, changes) = history_files(&history, first);
        let commit = history.last().unwrap().0;
        let mut expected: Pages = changes.into_iter().flatten().collect();
        expected.retain(|number, _| *number <= commit);
        let content = read(&compacted(&files)).unwrap();
        prop_assert_eq!(content.header.commit.get(), commit);
        prop_assert_eq!(content.header.max_txid.get(), first + files.len() as u64 - 1);
        prop_assert!(content.pages == expected);
    }

    #[test]
    fn compaction_in_steps_is_compaction_at_once(history in histories(), at in any::<prop::sample::Index>()) {
        let (files, _) = history_files(&history, 1);
        let (head, tail) = files.split_at(at.index(files.len()));
        let parts = [head, tail].into_iter().filter(|part| !part.is_empty());
        let steps: Vec<Vec<u8>> = parts.map(compacted).collect();
        prop_assert!(compacted(&steps) == compacted(&files));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..600), file_len in any::<u64>()) {
        prop_assert!(read(&bytes).is_err());
        let _ = parse_page_index(&bytes, file_len);
        let _ = parse_page_index(&bytes, bytes.len() as u64);
        let _ = read_page_index(&bytes);
        let mut page = vec![0; 512];
        let _ = decode_frame(&bytes, PageSize::MIN, &mut page);
        let _ = Header::parse(&bytes);
    }

    #[test]
    fn arbitrary_pages_behind_a_good_header_never_panic(
        bytes in vec(any::<u8>(), 0..600),
        flags in prop::sample::select(vec![0_u8, 1]),
        min in 1..3_u64,
    ) {
        let mut file = header(512, 40, min, 4).encode().to_vec();
        file.extend_from_slice(&[0, 0, 0, 1, 0, flags]);
        if flags == 0 {
            file.extend_from_slice(&[0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7]);
        }
        file.extend_from_slice(&bytes);
        prop_assert!(read(&file).is_err());
    }

    #[test]
    fn spliced_files_never_panic(
        (size, pages) in increments(),
        cut in any::<prop::sample::Index>(),
        patch in vec(any::<u8>(), 1..20),
    ) {
        let header = header(size, 500, 2, 3);
        let mut file = write(&header, &pages, PageEncoding::Block);
        let at = cut.index(file.len());
        file.splice(at..at, patch);
        prop_assert!(read(&file).is_err());
        let _ = read_page_index(&file);
        let _ = Decoder::new(file.as_slice()).and_then(Decoder::finish);
    }
}
