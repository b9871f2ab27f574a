//! Small files, damaged in every possible place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use common::{Pages, header, noise, pgno, read, write};
use ltx::{
    Checksum, CompactOptions, Decoder, Encoder, Error, IndexTail, PageEncoding, PageIndex, PageSize, compact,
    compress_page, decode_frame, parse_page_index, read_page_index,
};

/// A snapshot of text, zeros and noise, so that there are matches, long runs and literal-only blocks.
fn pages() -> Pages {
    let text: Vec<u8> = b"insert into t values ('row')".iter().cycle().take(512).copied().collect();
    [(1, text), (2, vec![0; 512]), (3, noise(3, 512))].into_iter().collect()
}

fn files() -> [Vec<u8>; 3] {
    let snapshot = header(512, 3, 1, 4);
    let increment = header(512, 9, 5, 5);
    [
        write(&snapshot, &pages(), PageEncoding::Block),
        write(&snapshot, &pages(), PageEncoding::Frame),
        write(&increment, &Pages::from([(4, vec![7; 512]), (9, noise(9, 512))]), PageEncoding::Block),
    ]
}

/// One file with both encodings: the second page's frame comes from a legacy file.
fn mixed() -> Vec<u8> {
    let legacy = write(&header(512, 9, 5, 5), &Pages::from([(4, noise(4, 512))]), PageEncoding::Frame);
    let block = write(&header(512, 9, 5, 5), &Pages::from([(3, vec![1; 512])]), PageEncoding::Block);
    let frames = [
        &block[100..read_page_index(&block).unwrap().frames_end() as usize],
        &legacy[100..read_page_index(&legacy).unwrap().frames_end() as usize],
    ];
    common_file(&block[..100], &frames, &[3, 4], &[&vec![1; 512], &noise(4, 512)])
}

/// Puts a file together by hand, from the format's description.
fn common_file(header: &[u8], frames: &[&[u8]], numbers: &[u8], contents: &[&Vec<u8>]) -> Vec<u8> {
    let mut hasher = ltx::FileHasher::new();
    let (mut file, mut index) = (header.to_vec(), Vec::new());
    hasher.update(header);
    for ((frame, number), content) in frames.iter().zip(numbers).zip(contents) {
        let hashed = if frame[5] == 1 { 10 } else { 6 };
        hasher.update(&frame[..hashed]);
        hasher.update(content);
        index.push(*number);
        for value in [file.len(), frame.len()] {
            index.extend([value as u8 | 0x80, (value >> 7) as u8].iter().take(if value < 128 {
                0
            } else {
                2
            }));
            index.extend((value < 128).then_some(value as u8));
        }
        file.extend_from_slice(frame);
    }
    index.push(0);
    let mut tail = vec![0; 6];
    tail.extend_from_slice(&index);
    tail.extend_from_slice(&(index.len() as u64).to_be_bytes());
    tail.extend_from_slice(&[0; 8]);
    hasher.update(&tail);
    file.extend_from_slice(&tail);
    file.extend_from_slice(&hasher.checksum().get().to_be_bytes());
    file
}

#[test]
fn both_encodings_may_be_mixed() {
    let content = read(&mixed()).unwrap();
    assert_eq!(content.pages, Pages::from([(3, vec![1; 512]), (4, noise(4, 512))]));
}

#[test]
fn every_prefix_is_truncated() {
    for file in files().into_iter().chain([mixed()]) {
        read(&file).unwrap();
        for len in 0..file.len() {
            let error = read(&file[..len]).unwrap_err();
            assert!(matches!(error, Error::Truncated { offset } if offset == len as u64), "{len}: {error:?}");
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_changes_nothing() {
    for file in files().into_iter().chain([mixed()]) {
        let good = read(&file).unwrap();
        let mut harmless = 0;
        for bit in 0..file.len() * 8 {
            let mut bad = file.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(content) = read(&bad) {
                assert_eq!(content, good, "bit {bit} was not noticed");
                assert!(bit / 8 > 100 + 10, "bit {bit} is outside of compressed data");
                harmless += 1;
            }
        }
        assert!(harmless < file.len() / 10, "{harmless} flips changed nothing");
    }
}

/// Whether every entry leads to the page it names.
fn leads_to_its_pages(file: &[u8], index: &PageIndex) -> bool {
    let mut page = vec![0; 512];
    index.iter().all(|elem| {
        let frame = &file[elem.offset as usize..][..elem.size as usize];
        decode_frame(frame, PageSize::MIN, &mut page).is_ok_and(|pgno| pgno == elem.pgno)
    })
}

#[test]
fn every_flipped_bit_in_an_index_is_an_error_or_names_another_page() {
    for file in files() {
        let index = read_page_index(&file).unwrap();
        assert!(leads_to_its_pages(&file, &index));
        let start = index.frames_end() as usize + 6;
        for bit in start * 8..(file.len() - 16) * 8 {
            let mut bad = file.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match read_page_index(&bad) {
                Ok(index) => assert!(!leads_to_its_pages(&bad, &index), "bit {bit}"),
                Err(error) => assert!(!matches!(error, Error::Io(_)), "bit {bit}: {error:?}"),
            }
        }
        for len in 0..file.len() {
            let result = parse_page_index(&file[..len], len as u64);
            assert!(!matches!(result, Ok(IndexTail::Complete(_))), "{len} bytes");
        }
    }
}

#[test]
fn huge_payload_lengths_allocate_nothing() {
    for len in [531_u32, 1 << 20, u32::MAX] {
        let mut file = files()[0].clone();
        file[106..110].copy_from_slice(&len.to_be_bytes());
        let error = read(&file).unwrap_err();
        assert!(matches!(error, Error::PayloadLength { limit: 530, actual, .. } if actual == u64::from(len)));
    }
    let mut file = files()[1].clone();
    for len in [u32::MAX, i32::MAX as u32, 0] {
        file[113..117].copy_from_slice(&len.to_le_bytes());
        assert!(matches!(read(&file), Err(Error::PayloadLength { .. })));
    }
}

#[test]
fn a_block_must_expand_to_exactly_one_page() {
    for wrong in [1024, 2048] {
        let mut block = Vec::new();
        compress_page(&noise(1, wrong)[..].repeat(2)[..wrong], &mut block).unwrap();
        block.truncate(530);
        let mut encoder = Encoder::new(Vec::new(), &header(512, 9, 5, 5)).unwrap();
        encoder.write_compressed(pgno(1), &[0; 512], &block).unwrap();
        let file = encoder.finish(Checksum::NONE).unwrap().0;
        assert!(matches!(read(&file), Err(Error::Payload { .. })));
    }
    // One literal run of 511 bytes: well formed, but a byte too short.
    let mut short = vec![0xf0, 255, 241];
    short.extend_from_slice(&[5; 511]);
    let mut encoder = Encoder::new(Vec::new(), &header(512, 9, 5, 5)).unwrap();
    encoder.write_compressed(pgno(1), &[5; 512], &short).unwrap();
    let file = encoder.finish(Checksum::NONE).unwrap().0;
    assert!(matches!(read(&file), Err(Error::Payload { .. })));
}

#[test]
fn pages_out_of_place_are_refused_though_the_checksum_is_right() {
    let single = |number: u32| {
        let file = write(
            &header(512, 99, 5, 5),
            &Pages::from([(number, vec![number as u8; 512])]),
            PageEncoding::Block,
        );
        file[100..read_page_index(&file).unwrap().frames_end() as usize].to_vec()
    };
    let (two, three) = (single(2), single(3));
    let start = header(512, 9, 5, 5).encode();
    let contents = |numbers: &[u8]| numbers.iter().map(|number| vec![*number; 512]).collect::<Vec<_>>();
    let build = |start: &[u8], frames: &[&[u8]], numbers: &[u8]| {
        let contents = contents(numbers);
        common_file(start, frames, numbers, &contents.iter().collect::<Vec<_>>())
    };
    assert!(read(&build(&start, &[&two, &three], &[2, 3])).is_ok());
    assert!(matches!(read(&build(&start, &[&three, &two], &[3, 2])), Err(Error::PageOrder { .. })));
    assert!(matches!(read(&build(&start, &[&two, &two], &[2, 2])), Err(Error::PageOrder { .. })));
    let small = header(512, 2, 5, 5).encode();
    assert!(matches!(read(&build(&small, &[&three], &[3])), Err(Error::PageAboveCommit { .. })));
    let snapshot = header(512, 3, 1, 1).encode();
    assert!(matches!(read(&build(&snapshot, &[&two], &[2])), Err(Error::SnapshotGap { .. })));
    assert!(matches!(read(&build(&snapshot, &[], &[])), Err(Error::SnapshotIncomplete { .. })));
    // The index lies about the order; the checksum covers the lie.
    assert!(matches!(read(&build(&start, &[&two, &three], &[3, 2])), Err(Error::IndexMismatch { .. })));
}

#[test]
fn damage_is_found_through_every_entrance() {
    let [_, _, good] = files();
    let before = write(&header(512, 9, 4, 4), &Pages::from([(4, vec![1; 512])]), PageEncoding::Block);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let read_well = read(&bad).is_ok();
        assert_eq!(Decoder::new(bad.as_slice()).and_then(Decoder::finish).is_ok(), read_well, "bit {bit}");
        let inputs = vec![before.as_slice(), bad.as_slice()];
        let result = compact(inputs, std::io::sink(), CompactOptions::default(), &mut |_| {});
        let blamed = matches!(result, Err(Error::Input { input: 1, .. }));
        assert_eq!((result.is_ok(), blamed), (read_well, !read_well), "bit {bit}: {result:?}");
    }
}

#[test]
fn single_frames_never_panic() {
    let file = &files()[0];
    let frame = &file[100..read_page_index(file).unwrap().frames_end() as usize];
    let mut page = vec![0; 512];
    for bit in 0..frame.len() * 8 {
        let mut bad = frame.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        for len in [bad.len(), bad.len() / 2] {
            decode_frame(&bad[..len], PageSize::MIN, &mut page).ok();
        }
    }
}
