use std::sync::Mutex;

use super::*;
use crate::header::HeaderFlags;
use crate::types::TxId;

fn page_size() -> PageSize {
    PageSize::new(4096).unwrap()
}

fn database(pages: u8) -> Vec<u8> {
    (0..pages).flat_map(|number| vec![number.wrapping_mul(37); 4096]).collect()
}

fn header(min: u64, commit: u32) -> Header {
    Header::new(page_size(), PageCount::new(commit), TxId::new(min), TxId::new(min))
}

fn increment(commit: u32, pages: &[u32]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), &header(2, commit)).unwrap();
    for number in pages {
        encoder.write_page(Pgno::new(*number).unwrap(), &[*number as u8; 4096]).unwrap();
    }
    encoder.finish(Checksum::NONE).unwrap().0
}

#[test]
fn databases_survive() {
    for pages in [1, 2, 63, 64, 65, 130, 255] {
        let original = database(pages);
        let mut file = Vec::new();
        let written = encode_database(&original, &header(1, pages.into()), &mut file).unwrap();
        let mut back = Vec::new();
        let read = decode_database(Decoder::new(file.as_slice()).unwrap(), &mut back).unwrap();
        assert!(back == original, "{pages} pages");
        assert_eq!(read, written);
        let applied = Mutex::new(vec![9; 10_000_000]);
        apply(Decoder::new(file.as_slice()).unwrap(), &applied).unwrap();
        assert!(*applied.lock().unwrap() == original, "{pages} pages");
    }
}

#[test]
fn increments_replace_their_pages_and_set_the_size() {
    for (commit, pages) in [(200, vec![1, 2, 3, 70, 72, 199, 200]), (90, (5..=90).collect()), (3, vec![])] {
        let copy = Mutex::new(database(150));
        apply(Decoder::new(increment(commit, &pages).as_slice()).unwrap(), &copy).unwrap();
        let mut expected = database(150);
        expected.resize(commit as usize * 4096, 0);
        for number in &pages {
            let start = (*number as usize - 1) * 4096;
            expected[start..start + 4096].fill(*number as u8);
        }
        assert!(*copy.lock().unwrap() == expected, "{pages:?}");
    }
}

/// Counts writes.
struct Counter(Mutex<Vec<(u64, usize)>>);

impl WriteAt for Counter {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.lock().unwrap().push((offset, buf.len()));
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn neighbouring_pages_are_written_together() {
    let file = increment(200, &(1..=70).chain(100..=101).collect::<Vec<_>>());
    let counter = Counter(Mutex::new(Vec::new()));
    apply(Decoder::new(file.as_slice()).unwrap(), &counter).unwrap();
    let writes = counter.0.into_inner().unwrap();
    assert_eq!(writes, [(0, 64 * 4096), (64 * 4096, 6 * 4096), (99 * 4096, 2 * 4096)]);
}

#[test]
fn a_damaged_file_does_not_change_the_size() {
    let mut file = increment(1, &[1]);
    *file.last_mut().unwrap() ^= 1;
    let copy = Mutex::new(database(5));
    assert!(matches!(
        apply(Decoder::new(file.as_slice()).unwrap(), &copy),
        Err(Error::ChecksumMismatch { .. })
    ));
    assert_eq!(copy.lock().unwrap().len(), 5 * 4096);
}

#[test]
fn only_snapshots_are_databases() {
    let file = increment(1, &[1]);
    let error = decode_database(Decoder::new(file.as_slice()).unwrap(), Vec::new()).unwrap_err();
    assert!(matches!(error, Error::NotSnapshot { min, .. } if min == TxId::new(2)));
}

#[test]
fn a_short_database_is_not_filled_up() {
    let error = encode_database(&database(2), &header(1, 3), Vec::new()).unwrap_err();
    assert!(matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof));
}

#[test]
fn wanted_checksums_are_computed() {
    let original = database(70);
    let tracked = Header { flags: HeaderFlags::default(), ..header(1, 70) };
    let mut file = Vec::new();
    let trailer = encode_database(&original, &tracked, &mut file).unwrap();
    assert_eq!(trailer.post_apply_checksum, checksum_database(&original, page_size()).unwrap());
    assert_eq!(Decoder::new(file.as_slice()).unwrap().finish().unwrap(), trailer);
}

#[test]
fn golden_database_checksum() {
    let pages = [vec![1; 512], vec![2; 512], vec![3; 512]].concat();
    assert_eq!(checksum_database(&pages, PageSize::MIN).unwrap().to_string(), "efffffffecd99000");
    assert_eq!(checksum_database(&Vec::new(), PageSize::MIN).unwrap(), Checksum::EMPTY_DATABASE);
    let error = checksum_database(&pages[1..], PageSize::MIN).unwrap_err();
    assert!(matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof));
}
