use super::*;

fn pgno(value: u32) -> Pgno {
    Pgno::new(value).unwrap()
}

/// The end of a file with frames of these sizes: index, its length, a trailer; and the file's length.
fn tail(frames: &[(u32, u64)]) -> (Vec<u8>, u64) {
    let (mut bytes, mut offset) = (Vec::new(), 100);
    for (number, size) in frames {
        push_entry(&mut bytes, pgno(*number), offset, *size);
        offset += size;
    }
    bytes.push(0);
    footer(bytes, offset)
}

fn footer(mut bytes: Vec<u8>, frames_end: u64) -> (Vec<u8>, u64) {
    bytes.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&[0xee; 16]);
    let file_len = frames_end + 6 + bytes.len() as u64;
    (bytes, file_len)
}

fn complete(tail: &[u8], file_len: u64) -> PageIndex {
    match parse_page_index(tail, file_len).unwrap() {
        IndexTail::Complete(index) => index,
        IndexTail::Need { offset, len } => panic!("needs {len} bytes from {offset}"),
    }
}

#[test]
fn entries_are_found_by_page() {
    let (bytes, file_len) = tail(&[(1, 50), (3, 60), (900, 70)]);
    let index = complete(&bytes, file_len);
    assert_eq!(index.len(), 3);
    assert!(!index.is_empty());
    assert_eq!(index.frames_end(), 280);
    assert_eq!(index.get(pgno(3)), Some(PageIndexElem { pgno: pgno(3), offset: 150, size: 60 }));
    assert_eq!(index.get(pgno(900)), Some(PageIndexElem { pgno: pgno(900), offset: 210, size: 70 }));
    assert_eq!(index.get(pgno(2)), None);
    let all: Vec<_> = index.iter().map(|elem| (elem.pgno.get(), elem.offset, elem.size)).collect();
    assert_eq!(all, [(1, 100, 50), (3, 150, 60), (900, 210, 70)]);
    assert_eq!(index.nth(3), None);
}

#[test]
fn a_file_without_pages_has_an_empty_index() {
    let (bytes, file_len) = tail(&[]);
    assert_eq!(file_len, 131);
    assert!(complete(&bytes, file_len).is_empty());
}

#[test]
fn two_reads_are_enough_whatever_the_first_one_was() {
    let frames: Vec<(u32, u64)> = (1..400).map(|number| (number, 11 + u64::from(number))).collect();
    let (bytes, file_len) = tail(&frames);
    let expected = complete(&bytes, file_len);
    for len in 0..bytes.len() {
        match parse_page_index(&bytes[bytes.len() - len..], file_len).unwrap() {
            IndexTail::Complete(_) => panic!("{len} bytes cannot be enough"),
            IndexTail::Need { offset, len: needed } => {
                assert_eq!(offset + needed, file_len);
                assert!(needed >= bytes.len() as u64);
                let first = bytes.len().saturating_sub(needed as usize);
                let padded =
                    [vec![0; needed as usize - (bytes.len() - first)], bytes[first..].to_vec()].concat();
                assert_eq!(complete(&padded, file_len), expected);
            }
        }
    }
    let longer = [&[0xaa; 77][..], &bytes].concat();
    assert_eq!(complete(&longer, file_len), expected);
}

#[test]
fn impossible_lengths_are_refused_before_anything_is_read() {
    let (good, file_len) = tail(&[(1, 50)]);
    for stored in [0, 28, file_len - 130, file_len, u64::MAX] {
        let mut bytes = good.clone();
        let at = bytes.len() - 24;
        bytes[at..at + 8].copy_from_slice(&stored.to_be_bytes());
        let error = parse_page_index(&bytes, file_len).unwrap_err();
        assert!(matches!(error, Error::IndexLength { actual, .. } if actual == stored), "{stored}: {error}");
    }
    for short in [0, 24, 130] {
        assert!(matches!(parse_page_index(&[0; 24], short), Err(Error::Truncated { .. })));
    }
    assert!(matches!(parse_page_index(&[0; 200], 150), Err(Error::Truncated { offset: 150 })));
}

#[test]
fn entries_must_follow_each_other_and_fill_the_space() {
    let entry = |entries: &[(u32, u64, u64)], end: &[u8]| {
        let mut bytes = Vec::new();
        for (number, offset, size) in entries {
            push_entry(&mut bytes, pgno(*number), *offset, *size);
        }
        bytes.extend_from_slice(end);
        footer(bytes, 200)
    };
    let bad = [
        entry(&[(1, 100, 50)], &[0]),
        entry(&[(1, 100, 50), (2, 150, 51)], &[0]),
        entry(&[(1, 100, 50), (2, 151, 49)], &[0]),
        entry(&[(2, 100, 50), (2, 150, 50)], &[0]),
        entry(&[(2, 100, 50), (1, 150, 50)], &[0]),
        entry(&[(1, 99, 101)], &[0]),
        entry(&[(1, 100, 100), (2, 200, 0)], &[0]),
        entry(&[(1, 100, 100)], &[]),
        entry(&[(1, 100, 100)], &[0, 0]),
        entry(&[(1, 100, u64::MAX - 10)], &[0]),
        entry(&[], &[0xff, 0xff, 0xff, 0xff, 0x1f, 100, 100, 0]),
    ];
    for (bytes, file_len) in bad {
        let result = parse_page_index(&bytes, file_len);
        assert!(matches!(result, Err(Error::IndexMismatch { .. })), "{result:?}");
    }
    let (bytes, file_len) = entry(&[(1, 100, 50), (2, 150, 50)], &[0]);
    assert_eq!(complete(&bytes, file_len).len(), 2);
}

#[test]
fn small_and_large_indexes_are_read_from_files() {
    for count in [1, 20_000] {
        let frames: Vec<(u32, u64)> = (1..=count).map(|number| (number, 20)).collect();
        let (bytes, file_len) = tail(&frames);
        let file = [vec![0; file_len as usize - bytes.len()], bytes].concat();
        assert_eq!(read_page_index(&file).unwrap().len(), count as usize);
    }
    assert!(matches!(read_page_index(&vec![0; 99]), Err(Error::Truncated { offset: 99 })));
}

#[test]
fn damage_in_a_large_index_is_found_in_every_piece() {
    let frames: Vec<(u32, u64)> = (1..=30_000).map(|number| (number, 20)).collect();
    let (bytes, file_len) = tail(&frames);
    let start = file_len as usize - bytes.len();
    let good = [vec![0; start], bytes].concat();
    for at in (start..good.len() - 24).step_by(4999).chain([good.len() - 25]) {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        assert!(
            matches!(read_page_index(&bad), Err(Error::IndexMismatch { offset }) if offset >= start as u64)
        );
    }
}

/// A file of a terabyte that claims to be index for the most part.
struct Vast;

impl ReadAt for Vast {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        assert!(buf.len() <= PIECE_SIZE);
        buf.fill(1);
        if offset + buf.len() as u64 == 1 << 40 {
            let at = buf.len() - 24;
            buf[at..at + 8].copy_from_slice(&(1_u64 << 38).to_be_bytes());
        }
        Ok(buf.len())
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(1 << 40)
    }
}

#[test]
fn a_stated_length_is_not_allocated() {
    assert!(matches!(read_page_index(&Vast), Err(Error::IndexMismatch { .. })));
}

#[test]
fn the_digest_is_the_one_of_the_whole_index() {
    let (mut digest, mut bytes) = (IndexDigest::new(), Vec::new());
    for number in 1..5000_u32 {
        digest.push(pgno(number), u64::from(number) * 1000, 999);
        push_entry(&mut bytes, pgno(number), u64::from(number) * 1000, 999);
    }
    bytes.push(0);
    let mut hasher = FileHasher::new();
    hasher.update(&bytes);
    assert_eq!(digest.finish(), (hasher.finish(), bytes.len() as u64));
}
