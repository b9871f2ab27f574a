use super::*;
use crate::encoder::Encoder;
use crate::header::HeaderFlags;
use crate::types::{PageCount, PageSize, TxId};

/// A complete file that Litestream 0.5.17 wrote: LTX format, "Worked example".
const WORKED_EXAMPLE: &str = "
4c54583100000002000002000000000300000000000000010000000000000001000001a1fa2767e70000000000000000
000000000000002000000000000008601ec1e3c9444e6aee000000000000000000000000000000000000000000000000
00000000000000010001000000cef61253514c69746520666f726d617420330002000202004020200000000200000003
0001005502000000040e0047000001000d000f020004ff0202002e95c80d00000002013900019101392700030f0200a0
fc0e560206172d2d01617461626c655f6c69746573747265616d5f6c6f636b1000ec03435245415445205441424c4520
1e00fd072028696420494e5445474552296d0107172b2b01811159003873657168004f73657102570006387365715600
f00b205052494d415259204b45592c2073657120494e544547455229000000020001000000208f0d0000000002000002
00ffd2000200000200c0000000000000000000000000000000030001000000208f0d000000000200000200ffd2000200
000200c00000000000000000000000000000000000000164d80102bc022a03e6022a00000000000000000d0000000000
000000ffd43860462e65c8";

fn worked_example() -> Vec<u8> {
    let digits: Vec<u8> = WORKED_EXAMPLE.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Two pages of 512 bytes, with checksums.
fn tracked_snapshot(post_apply: Checksum) -> Vec<u8> {
    let plain = Header::new(PageSize::MIN, PageCount::new(2), TxId::FIRST, TxId::FIRST);
    let header = Header { flags: HeaderFlags::default(), ..plain };
    let mut encoder = Encoder::new(Vec::new(), &header).unwrap();
    encoder.write_page(Pgno::FIRST, &[1; 512]).unwrap();
    encoder.write_page(Pgno::new(2).unwrap(), &[2; 512]).unwrap();
    encoder.finish(post_apply).unwrap().0
}

fn verify(bytes: &[u8]) -> Result<Trailer> {
    Decoder::new(bytes)?.finish()
}

#[test]
fn the_worked_example_reads_as_described() {
    let bytes = worked_example();
    assert_eq!(bytes.len(), 443);
    let mut decoder = Decoder::new(bytes.as_slice()).unwrap();
    let header = *decoder.header();
    assert_eq!((header.page_size.get(), header.commit.get()), (512, 3));
    assert_eq!((header.min_txid.get(), header.max_txid.get()), (1, 1));
    assert_eq!((header.wal_offset, header.wal_size), (32, 2144));
    assert_eq!((header.wal_salt1, header.wal_salt2), (0x1ec1_e3c9, 0x444e_6aee));
    assert_eq!(header.timestamp.millis(), 0x1a1_fa27_67e7);
    let mut blocks = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        assert_eq!(frame.page.len(), 512);
        blocks.push((frame.pgno.get(), frame.block.unwrap().len()));
    }
    assert_eq!(blocks, [(1, 206), (2, 32), (3, 32)]);
    let trailer = decoder.finish().unwrap();
    assert_eq!(trailer.post_apply_checksum, Checksum::NONE);
    assert_eq!(trailer.file_checksum.to_string(), "ffd43860462e65c8");
}

#[test]
fn copying_its_blocks_gives_the_worked_example_again() {
    let bytes = worked_example();
    let mut decoder = Decoder::new(bytes.as_slice()).unwrap();
    let mut encoder = Encoder::new(Vec::new(), decoder.header()).unwrap();
    while let Some(frame) = decoder.next_frame().unwrap() {
        encoder.write_compressed(frame.pgno, frame.page, frame.block.unwrap()).unwrap();
    }
    assert_eq!(encoder.finish(Checksum::NONE).unwrap().0, bytes);
}

#[test]
fn every_way_of_reading_gives_the_same_pages() {
    let bytes = worked_example();
    let mut by_page = Decoder::new(bytes.as_slice()).unwrap();
    let mut by_frame = Decoder::with_buffer(bytes.as_slice(), 1).unwrap();
    let mut page = [0; 512];
    while let Some(pgno) = by_page.next_page(&mut page).unwrap() {
        assert_eq!(by_frame.peek_pgno().unwrap(), Some(pgno));
        let frame = by_frame.next_frame().unwrap().unwrap();
        assert_eq!((frame.pgno, frame.page), (pgno, &page[..]));
    }
    assert_eq!(by_frame.peek_pgno().unwrap(), None);
    assert!(by_frame.next_frame().unwrap().is_none());
    assert!(by_frame.next_frame().unwrap().is_none(), "the end stays the end");
    assert_eq!(by_page.finish().unwrap(), by_frame.finish().unwrap());
}

#[test]
fn a_wrong_buffer_is_a_mistake_and_not_damage() {
    let bytes = worked_example();
    let mut decoder = Decoder::new(bytes.as_slice()).unwrap();
    let error = decoder.next_page(&mut [0; 1024]).unwrap_err();
    assert!(matches!(error, Error::PageLength { expected: 512, actual: 1024 }));
    decoder.finish().unwrap();
}

#[test]
fn damage_is_final() {
    let mut bytes = worked_example();
    bytes[110] ^= 0xff;
    let mut decoder = Decoder::new(bytes.as_slice()).unwrap();
    assert!(matches!(decoder.next_frame(), Err(Error::Payload { pgno: Pgno::FIRST })));
    assert!(matches!(decoder.next_frame(), Err(Error::AfterFailure)));
    assert!(matches!(decoder.peek_pgno(), Err(Error::AfterFailure)));
    assert!(matches!(decoder.finish(), Err(Error::AfterFailure)));
}

#[test]
fn each_part_has_its_own_error() {
    type Check = fn(&Error) -> bool;
    let cases: [(usize, u8, Check); 9] = [
        (0, 1, |error| matches!(error, Error::NotLtx)),
        (79, 1, |error| matches!(error, Error::ChecksumMismatch { .. })),
        (99, 1, |error| matches!(error, Error::ChecksumMismatch { .. })),
        (103, 3, |error| matches!(error, Error::SnapshotGap { .. })),
        (105, 2, |error| matches!(error, Error::PageFlags { flags: 3, .. })),
        (107, 1, |error| matches!(error, Error::PayloadLength { .. })),
        (407, 1, |error| matches!(error, Error::IndexMismatch { offset: 406 })),
        (426, 1, |error| matches!(error, Error::IndexLength { expected: 13, actual: 12 })),
        (442, 1, |error| matches!(error, Error::ChecksumMismatch { .. })),
    ];
    for (at, bits, check) in cases {
        let mut bytes = worked_example();
        bytes[at] ^= bits;
        let error = verify(&bytes).unwrap_err();
        assert!(check(&error), "byte {at}: {error:?}");
    }
}

#[test]
fn nothing_may_follow_the_trailer() {
    let mut bytes = worked_example();
    bytes.push(0);
    assert!(matches!(verify(&bytes), Err(Error::TrailingBytes { offset: 443 })));
}

#[test]
fn a_tracked_snapshot_must_be_the_database_it_claims_to_be() {
    let right: Checksum = {
        let mut rolling = RollingChecksum::new();
        rolling.add(page_checksum(Pgno::FIRST, &[1; 512]));
        rolling.add(page_checksum(Pgno::new(2).unwrap(), &[2; 512]));
        rolling.get()
    };
    assert_eq!(verify(&tracked_snapshot(right)).unwrap().post_apply_checksum, right);
    let wrong = Checksum::new(right.get() ^ 1);
    let error = verify(&tracked_snapshot(wrong)).unwrap_err();
    let Error::DatabaseChecksumMismatch { expected, actual } = error else { panic!("{error:?}") };
    assert_eq!((expected, actual), (wrong, right));
}

/// Fails once, in the middle of a page.
struct Broken(usize);

impl Read for Broken {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0 += 1;
        let bytes = worked_example();
        match self.0 {
            1 => (&bytes[..200]).read(buf),
            2 => Err(std::io::Error::other("unplugged")),
            _ => (&bytes[200..]).read(buf),
        }
    }
}

#[test]
fn a_failed_read_is_neither_an_end_nor_forgotten() {
    let mut decoder = Decoder::new(Broken(0)).unwrap();
    assert!(matches!(decoder.next_frame(), Err(Error::Io(error)) if error.to_string() == "unplugged"));
    assert!(matches!(decoder.finish(), Err(Error::AfterFailure)));
}
