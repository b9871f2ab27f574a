use super::*;
use crate::common::{WalFile, three_frames};

const FRAME: u64 = 4120;

fn header(file: &WalFile) -> WalHeader {
    WalHeader::read(file.bytes()).unwrap().unwrap()
}

fn cursor_after(file: &WalFile, frames: u64) -> Cursor {
    let mut reader = WalReader::open(file.bytes()).unwrap().unwrap();
    for _ in 0..frames {
        reader.next_frame().unwrap().unwrap();
    }
    reader.cursor()
}

#[test]
fn seeded_cursors_are_those_of_a_full_reading() {
    for is_big in [false, true] {
        let file = three_frames(is_big);
        for frames in 0..=3 {
            let cursor = resume_unverified(file.bytes(), header(&file), 32 + frames * FRAME).unwrap();
            assert_eq!(cursor, Some(cursor_after(&file, frames)), "{frames} frames");
        }
    }
}

#[test]
fn seeding_needs_the_frame_before() {
    let file = three_frames(false);
    assert_eq!(resume_unverified(file.bytes(), header(&file), 32 + 4 * FRAME).unwrap(), None);
    let cut = &file.bytes()[..8272 + 23];
    assert_eq!(resume_unverified(cut, header(&file), 32 + 3 * FRAME).unwrap(), None);
}

#[test]
fn seeding_needs_the_right_salts() {
    let mut file = three_frames(false);
    let old = header(&file);
    file.restart(1, (0x0f0f_1112, 9));
    file.filled(5, 5, 5);
    assert_eq!(resume_unverified(file.bytes(), header(&file), 32 + 2 * FRAME).unwrap(), None);
    assert_eq!(resume_unverified(file.bytes(), old, 32 + FRAME).unwrap(), None);
    // The stale tail still looks right to its own header: the reason why a cursor proves nothing.
    assert!(resume_unverified(file.bytes(), old, 32 + 2 * FRAME).unwrap().is_some());
}

#[test]
fn offsets_between_frames_only() {
    let file = three_frames(false);
    for offset in [0, 31, 33, 32 + FRAME - 1, 32 + FRAME + 8] {
        let result = resume_unverified(file.bytes(), header(&file), offset);
        assert!(matches!(result, Err(Error::UnalignedOffset { offset: o, page_size: 4096 }) if o == offset));
        let result = verify_chain(file.bytes(), &header(&file), offset);
        assert!(matches!(result, Err(Error::UnalignedOffset { offset: o, page_size: 4096 }) if o == offset));
    }
}

#[test]
fn a_whole_chain_verifies() {
    let file = three_frames(true);
    for frames in 0..=3 {
        let cursor = verify_chain(file.bytes(), &header(&file), 32 + frames * FRAME).unwrap();
        assert_eq!(cursor, Some(cursor_after(&file, frames)));
    }
    assert_eq!(verify_chain(file.bytes(), &header(&file), 32 + 4 * FRAME).unwrap(), None);
}

#[test]
fn a_changed_byte_breaks_the_chain_behind_it_only() {
    let file = three_frames(false);
    let mut bytes = file.bytes().to_vec();
    bytes[4152 + 100] ^= 1;
    let head = header(&file);
    assert!(verify_chain(bytes.as_slice(), &head, 32 + FRAME).unwrap().is_some());
    assert_eq!(verify_chain(bytes.as_slice(), &head, 32 + 2 * FRAME).unwrap(), None);
    // Seeding from the frame before does not notice.
    assert!(resume_unverified(bytes.as_slice(), head, 32 + 2 * FRAME).unwrap().is_some());
}

#[test]
fn restarts_are_noticed() {
    let mut file = three_frames(false);
    let old = header(&file);
    assert_eq!(probe_header(file.bytes(), &old).unwrap(), HeaderState::Same);
    file.restart(1, (0x0f0f_1112, 77));
    let new = header(&file);
    assert_eq!(probe_header(file.bytes(), &old).unwrap(), HeaderState::Restarted(new));
    assert!(new.follows(&old));
    assert_eq!(verify_chain(file.bytes(), &old, 32).unwrap(), None);
    assert_eq!(probe_header(&file.bytes()[..20], &old).unwrap(), HeaderState::Absent);
}

// W-08
#[test]
fn generations_in_order() {
    let salts = [(0x1b9a_2949, 0x13b3_dd67), (0x1b9a_294a, 0x031f_195e), (0x1b9a_294b, 0x37f9_1916)];
    let mut file = WalFile::new(false, 4096, salts[0]);
    for fill in 0..6 {
        file.filled(1, 1, fill);
    }
    file.restart(1, salts[1]);
    for fill in 0..4 {
        file.filled(1, 1, fill);
    }
    file.restart(2, salts[2]);
    file.filled(1, 1, 9);
    let salt = |(salt1, salt2)| Salt { salt1, salt2 };
    let size = PageSize::new(4096).unwrap();
    let until = |salt| frame_salts(file.bytes(), size, salt).unwrap();
    let newest_first: Vec<Salt> = salts.iter().rev().copied().map(salt).collect();
    assert_eq!(until(salt(salts[0])), newest_first);
    assert_eq!(until(Salt::default()), newest_first);
    assert_eq!(until(salt(salts[1])), newest_first[..2]);
    assert_eq!(until(salt(salts[2])), newest_first[..1]);
    assert_eq!(frame_salts(&file.bytes()[..4151], size, Salt::default()).unwrap(), []);
}
