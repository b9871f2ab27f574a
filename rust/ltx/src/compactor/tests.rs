use super::*;
use crate::page::PageEncoding;
use crate::types::{PageCount, PageSize, Timestamp, TxId};

/// A file of 512-byte pages; each page is filled with one byte.
struct File {
    header: Header,
    pages: &'static [(u32, u8)],
    encoding: PageEncoding,
    post_apply: Checksum,
}

fn file(min: u64, max: u64, commit: u32, pages: &'static [(u32, u8)]) -> File {
    let header = Header {
        timestamp: Timestamp::from_millis(max as i64 * 1000),
        wal_offset: 32,
        wal_salt1: 5,
        node_id: 6,
        ..Header::new(PageSize::MIN, PageCount::new(commit), TxId::new(min), TxId::new(max))
    };
    File { header, pages, encoding: PageEncoding::Block, post_apply: Checksum::NONE }
}

impl File {
    /// Adds checksums. The pre-apply checksum of a snapshot is none.
    fn tracked(mut self, pre: u64, post: u64) -> Self {
        self.header.flags.no_checksum = false;
        if pre != 0 {
            self.header.pre_apply_checksum = Checksum::new(Checksum::FLAG | pre);
        }
        self.post_apply = Checksum::new(Checksum::FLAG | post);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut encoder = Encoder::with_encoding(Vec::new(), &self.header, self.encoding).unwrap();
        for (number, fill) in self.pages {
            encoder.write_page(Pgno::new(*number).unwrap(), &[*fill; 512]).unwrap();
        }
        encoder.finish(self.post_apply).unwrap().0
    }
}

type Compacted = (Header, Trailer, Vec<(u32, u8)>);

fn run(files: &[Vec<u8>], options: CompactOptions) -> Result<Compacted> {
    let mut out = Vec::new();
    let mut seen = Vec::new();
    let inputs = files.iter().map(Vec::as_slice).collect();
    let (header, trailer) = compact(inputs, &mut out, options, &mut |pgno| seen.push(pgno.get()))?;
    let mut decoder = Decoder::new(out.as_slice())?;
    assert_eq!(*decoder.header(), header);
    let mut pages = Vec::new();
    while let Some(frame) = decoder.next_frame()? {
        assert!(frame.block.is_some());
        pages.push((frame.pgno.get(), frame.page[511]));
    }
    assert_eq!(decoder.finish()?, trailer);
    assert_eq!(seen, pages.iter().map(|(number, _)| *number).collect::<Vec<_>>());
    Ok((header, trailer, pages))
}

fn compacted(files: &[File]) -> Result<Compacted> {
    let files: Vec<_> = files.iter().map(File::bytes).collect();
    run(&files, CompactOptions::default())
}

#[test]
fn the_newest_version_of_each_page_wins() {
    let files = [
        file(1, 1, 3, &[(1, 10), (2, 10), (3, 10)]),
        file(2, 5, 4, &[(2, 20), (4, 20)]),
        file(6, 6, 4, &[(1, 30), (2, 30)]),
    ];
    let (header, _, pages) = compacted(&files).unwrap();
    assert_eq!(pages, [(1, 30), (2, 30), (3, 10), (4, 20)]);
    assert_eq!((header.min_txid.get(), header.max_txid.get()), (1, 6));
    assert_eq!((header.commit.get(), header.timestamp.millis()), (4, 6000));
    assert_eq!((header.wal_offset, header.wal_salt1, header.node_id), (0, 0, 0));
    assert!(header.flags.no_checksum);
}

#[test]
fn pages_above_the_last_commit_are_dropped() {
    let files = [file(4, 4, 9, &[(2, 1), (8, 1), (9, 1)]), file(5, 5, 2, &[(1, 2)])];
    assert_eq!(compacted(&files).unwrap().2, [(1, 2), (2, 1)]);
}

#[test]
fn legacy_pages_become_blocks() {
    let mut legacy = file(4, 4, 9, &[(2, 1), (8, 1)]);
    legacy.encoding = PageEncoding::Frame;
    let pages = compacted(&[legacy, file(5, 5, 9, &[(8, 2)])]).unwrap().2;
    assert_eq!(pages, [(2, 1), (8, 2)]);
}

#[test]
fn one_file_without_wal_position_is_copied() {
    let mut single = file(3, 3, 9, &[(2, 1), (8, 1)]);
    single.header = Header { wal_offset: 0, wal_salt1: 0, node_id: 0, ..single.header };
    let bytes = single.bytes();
    let mut out = Vec::new();
    compact(vec![bytes.as_slice()], &mut out, CompactOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(out, bytes);
}

#[test]
fn transactions_must_be_contiguous() {
    let pair = |min, max| [file(3, 6, 9, &[]).bytes(), file(min, max, 9, &[]).bytes()];
    let contiguous = |min, max| run(&pair(min, max), CompactOptions::default()).is_ok();
    assert!(contiguous(7, 7) && contiguous(7, 9) && contiguous(5, 7) && contiguous(3, 7));
    assert!(!contiguous(8, 9) && !contiguous(4, 5) && !contiguous(6, 6) && !contiguous(2, 2));
    let gaps = CompactOptions { allow_gaps: true };
    assert!(run(&pair(8, 9), gaps).is_ok());
    assert!(run(&pair(2, 2), gaps).is_err(), "a gap is not a step back");
    let error = run(&pair(8, 9), CompactOptions::default()).unwrap_err();
    let Error::Input { input: 1, source } = error else { panic!("{error:?}") };
    assert_eq!(
        source.to_string(),
        "transactions 0000000000000008-0000000000000009 do not continue 0000000000000003-0000000000000006"
    );
}

#[test]
fn inputs_must_exist_and_have_one_page_size() {
    assert!(matches!(run(&[], CompactOptions::default()), Err(Error::NoInput)));
    let mut other = file(5, 5, 9, &[]);
    other.header.page_size = PageSize::MAX;
    let error = compacted(&[file(4, 4, 9, &[]), other]).unwrap_err();
    let Error::Input { input: 1, source } = error else { panic!("{error:?}") };
    assert!(matches!(*source, Error::PageSizeMismatch { expected: 512, actual: 65536 }));
}

#[test]
fn every_input_is_verified_even_where_nothing_of_it_is_kept() {
    let good = [
        file(4, 4, 9, &[(2, 1)]).bytes(),
        file(5, 5, 9, &[(2, 2)]).bytes(),
        file(6, 6, 9, &[(2, 3)]).bytes(),
    ];
    for damaged in 0..3 {
        for at in [0, 70, 112, good[0].len() - 1] {
            let mut files = good.clone();
            files[damaged][at] ^= 0x10;
            let error = run(&files, CompactOptions::default()).unwrap_err();
            assert!(
                matches!(error, Error::Input { input, .. } if input == damaged),
                "{damaged} {at}: {error:?}"
            );
        }
        let mut files = good.clone();
        files[damaged].pop();
        let error = run(&files, CompactOptions::default()).unwrap_err();
        let Error::Input { input, source } = error else { panic!("{error:?}") };
        assert_eq!(input, damaged);
        assert!(matches!(*source, Error::Truncated { .. }));
    }
}

#[test]
fn a_snapshot_must_come_out_whole() {
    let files = [file(1, 1, 2, &[(1, 1), (2, 1)]), file(2, 2, 4, &[(4, 2)])];
    assert!(matches!(compacted(&files), Err(Error::SnapshotGap { .. })));
    let files = [file(1, 1, 2, &[(1, 1), (2, 1)]), file(2, 2, 4, &[(3, 2)])];
    assert!(matches!(compacted(&files), Err(Error::SnapshotIncomplete { .. })));
}

#[test]
fn checksums_are_kept_if_all_inputs_have_them() {
    let tracked = || [file(4, 4, 9, &[(2, 1)]).tracked(70, 71), file(5, 5, 9, &[(2, 1)]).tracked(71, 72)];
    let (header, trailer, _) = compacted(&tracked()).unwrap();
    assert!(!header.flags.no_checksum);
    assert_eq!(header.pre_apply_checksum.get(), Checksum::FLAG | 70);
    assert_eq!(trailer.post_apply_checksum.get(), Checksum::FLAG | 72);

    let [first, _] = tracked();
    let (header, trailer, _) = compacted(&[first, file(5, 5, 9, &[(2, 1)])]).unwrap();
    assert!(header.flags.no_checksum);
    assert_eq!((header.pre_apply_checksum, trailer.post_apply_checksum), (Checksum::NONE, Checksum::NONE));
}

#[test]
fn a_broken_chain_of_checksums_is_refused() {
    let files = [file(4, 4, 9, &[(2, 1)]).tracked(70, 71), file(5, 5, 9, &[(2, 1)]).tracked(99, 72)];
    let error = compacted(&files).unwrap_err();
    let Error::Input { input: 1, source } = error else { panic!("{error:?}") };
    assert!(matches!(*source, Error::DatabaseChecksumMismatch { .. }));
}
