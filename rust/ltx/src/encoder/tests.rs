use super::*;
use crate::header::HeaderFlags;
use crate::page::compress_page;
use crate::types::{PageCount, PageSize, TxId};

fn header(min: u64, commit: u32) -> Header {
    Header::new(PageSize::MIN, PageCount::new(commit), TxId::new(min), TxId::new(min))
}

fn pgno(value: u32) -> Pgno {
    Pgno::new(value).unwrap()
}

fn encoder(min: u64, commit: u32) -> Encoder<Vec<u8>> {
    Encoder::new(Vec::new(), &header(min, commit)).unwrap()
}

#[test]
fn the_smallest_file_has_no_page() {
    let encoder = encoder(2, 5);
    assert_eq!(encoder.bytes_written(), 100);
    let (file, trailer) = encoder.finish(Checksum::NONE).unwrap();
    assert_eq!(file.len(), 131);
    assert_eq!(file[100..115], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(file[115..], trailer.encode());
    assert!(trailer.file_checksum.is_flagged());
}

#[test]
fn compressed_pages_make_the_same_file() {
    let (mut plain, mut compressed) = (encoder(1, 2), encoder(1, 2));
    for (number, page) in [(1, [9; 512]), (2, [8; 512])] {
        let mut block = Vec::new();
        compress_page(&page, &mut block).unwrap();
        plain.write_page(pgno(number), &page).unwrap();
        compressed.write_compressed(pgno(number), &page, &block).unwrap();
        assert_eq!(plain.bytes_written(), compressed.bytes_written());
    }
    let written = plain.finish(Checksum::NONE).unwrap();
    assert_eq!(written, compressed.finish(Checksum::NONE).unwrap());
}

#[test]
fn refused_pages_leave_the_file_as_it_was() {
    let page = [1; 512];
    let mut tried = encoder(2, 9);
    let mut untouched = encoder(2, 9);
    tried.write_page(pgno(4), &page).unwrap();
    untouched.write_page(pgno(4), &page).unwrap();
    assert!(matches!(tried.write_page(pgno(4), &page), Err(Error::PageOrder { .. })));
    assert!(matches!(tried.write_page(pgno(10), &page), Err(Error::PageAboveCommit { .. })));
    assert!(matches!(tried.write_page(pgno(5), &page[1..]), Err(Error::PageLength { .. })));
    assert!(matches!(tried.write_compressed(pgno(5), &page[1..], &[0]), Err(Error::PageLength { .. })));
    for block in [&[][..], &[0; 531][..]] {
        let error = tried.write_compressed(pgno(5), &page, block).unwrap_err();
        assert!(matches!(error, Error::PayloadLength { limit: 530, .. }));
    }
    tried.write_page(pgno(9), &page).unwrap();
    untouched.write_page(pgno(9), &page).unwrap();
    assert_eq!(tried.finish(Checksum::NONE).unwrap(), untouched.finish(Checksum::NONE).unwrap());
}

#[test]
fn snapshots_are_whole_or_not_written() {
    let mut snapshot = encoder(1, 2);
    snapshot.write_page(pgno(1), &[1; 512]).unwrap();
    assert!(matches!(snapshot.finish(Checksum::NONE), Err(Error::SnapshotIncomplete { .. })));
}

#[test]
fn checksums_have_to_suit_the_header() {
    let sum = Checksum::new(Checksum::FLAG | 3);
    assert!(matches!(encoder(2, 1).finish(sum), Err(Error::PostApplyChecksum { .. })));
    let invalid = Header { pre_apply_checksum: sum, ..header(2, 1) };
    assert!(matches!(Encoder::new(Vec::new(), &invalid), Err(Error::PreApplyChecksum { .. })));
    let empty = Header { flags: HeaderFlags::default(), ..header(1, 0) };
    let deletion = || Encoder::new(Vec::new(), &empty).unwrap();
    assert!(matches!(deletion().finish(sum), Err(Error::PostApplyChecksum { .. })));
    assert_eq!(deletion().finish(Checksum::EMPTY_DATABASE).unwrap().0.len(), 131);
}

#[test]
fn legacy_pages_are_lz4_frames() {
    let mut legacy = Encoder::with_encoding(Vec::new(), &header(1, 1), PageEncoding::Frame).unwrap();
    legacy.write_page(pgno(1), &[6; 512]).unwrap();
    let (file, _) = legacy.finish(Checksum::NONE).unwrap();
    assert_eq!(file[100..113], [0, 0, 0, 1, 0, 0, 0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7]);
}
