//! The head of the wal-index: how far the log is committed and backfilled.

use ltx::PageSize;

use crate::checksum::{ByteOrder, WalChecksum};
use crate::header::Salt;

const VERSION: u32 = 3_007_000;

/// Length of one of the two copies of the header.
const COPY_BYTES: usize = 48;

/// How many bytes of a copy its checksum covers.
const CHECKED_BYTES: usize = 40;

/// The first 136 bytes of a `-shm` file (SQLite documentation "WAL-mode File Format", section "The WAL-Index
/// Header").
///
/// The header is there twice; a writer changes the second copy first, so two equal copies with a right checksum
/// are a consistent reading. All fields have the byte order of the machine, except the salts, which are copied from
/// the WAL as they are.
///
/// | offset | size | field |
/// |---:|---:|---|
/// | 0 | 4 | version, 3007000 |
/// | 8 | 4 | change counter |
/// | 12 | 1 | 1 when initialised |
/// | 13 | 1 | 1 when the WAL's checksums are big-endian |
/// | 14 | 2 | page size; 65536 is stored as 1 |
/// | 16 | 4 | `mxFrame` |
/// | 20 | 4 | size of the database in pages |
/// | 24 | 8 | checksum of the last frame |
/// | 32 | 8 | salts |
/// | 40 | 8 | checksum of the 40 bytes before |
/// | 48 | 48 | the second copy |
/// | 96 | 4 | frames backfilled |
/// | 100 | 20 | five read marks |
/// | 120 | 8 | the bytes that locks are taken on |
/// | 128 | 4 | frames whose backfill was begun |
/// | 132 | 4 | unused |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WalIndex {
    /// Number of the last committed frame; 0 if the log is empty.
    pub mx_frame: u32,
    /// Page size; `None` until the first frame is written to a new log.
    pub page_size: Option<PageSize>,
    /// Size of the database in pages after the last commit.
    pub page_count: u32,
    /// Running checksum after the last committed frame.
    pub frame_checksum: WalChecksum,
    /// Marks of the generation.
    pub salt: Salt,
    /// Counts transactions.
    pub change: u32,
    /// Order of the words in the checksums of the WAL.
    pub byte_order: ByteOrder,
    /// How many frames are in the database file already.
    pub backfilled: u32,
    /// How many frames a checkpoint has at least begun to copy.
    pub backfill_attempted: u32,
    /// The frame each of the five read locks lets its holders see up to; `u32::MAX` for an unused one.
    pub read_marks: [u32; 5],
}

impl WalIndex {
    /// How many bytes of the file this is about.
    pub const SIZE: usize = 136;

    /// Whether both name the same frame of the same WAL as the newest.
    #[must_use]
    pub fn is_as_far_as(&self, other: &WalIndex) -> bool {
        (self.salt, self.mx_frame) == (other.salt, other.mx_frame)
    }

    /// Parses the head of a wal-index. `None`: a writer is at work (read again), nobody has initialised it yet, or it
    /// is none.
    #[must_use]
    pub fn parse(bytes: &[u8; WalIndex::SIZE]) -> Option<WalIndex> {
        let (copy, rest) = bytes.split_first_chunk::<COPY_BYTES>()?;
        let (second, info) = rest.split_first_chunk::<COPY_BYTES>()?;
        if copy != second || !is_valid(copy) {
            return None;
        }
        Some(WalIndex {
            mx_frame: word(copy, 16),
            page_size: page_size(u16::from_ne_bytes([copy[14], copy[15]]))?,
            page_count: word(copy, 20),
            frame_checksum: WalChecksum { s1: word(copy, 24), s2: word(copy, 28) },
            // The only fields that are bytes of the WAL, not words of the machine.
            salt: Salt { salt1: word(copy, 32).to_be(), salt2: word(copy, 36).to_be() },
            change: word(copy, 8),
            byte_order: if copy[13] == 0 { ByteOrder::Little } else { ByteOrder::Big },
            backfilled: word(info, 0),
            read_marks: [word(info, 4), word(info, 8), word(info, 12), word(info, 16), word(info, 20)],
            backfill_attempted: word(info, 32),
        })
    }
}

fn is_valid(copy: &[u8; COPY_BYTES]) -> bool {
    let checksum = WalChecksum { s1: word(copy, 40), s2: word(copy, 44) };
    word(copy, 0) == VERSION
        && copy[12] != 0
        && WalChecksum::ZERO.update(ByteOrder::NATIVE, &copy[..CHECKED_BYTES]) == checksum
}

/// The outer `None`: no page size SQLite would store.
fn page_size(stored: u16) -> Option<Option<PageSize>> {
    match stored {
        0 => Some(None),
        1 => PageSize::new(65536).ok().map(Some),
        bytes => PageSize::new(bytes.into()).ok().map(Some),
    }
}

/// A word in the machine's byte order, which is what the format asks for here. Offsets are constants inside the
/// array; elsewhere the word would be 0.
fn word(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::reference_checksum;

    /// A wal-index built field by field.
    fn sample(page_size: u16) -> [u8; 136] {
        let mut copy = Vec::new();
        for word in [3_007_000, 0, 77] {
            copy.extend(u32::to_ne_bytes(word));
        }
        copy.extend([1, 0]);
        copy.extend(page_size.to_ne_bytes());
        for word in [9, 5, 0x0101_0202, 0x0303_0404] {
            copy.extend(u32::to_ne_bytes(word));
        }
        copy.extend([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
        let (s1, s2) = reference_checksum(cfg!(target_endian = "big"), (0, 0), &copy);
        copy.extend(s1.to_ne_bytes());
        copy.extend(s2.to_ne_bytes());
        let mut bytes = copy.repeat(2);
        for word in [4, 0, 9, u32::MAX, u32::MAX, 3, 0, 0, 6, 0] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes.try_into().unwrap()
    }

    #[test]
    fn fields_in_their_places() {
        let index = WalIndex::parse(&sample(4096)).unwrap();
        let expected = WalIndex {
            mx_frame: 9,
            page_size: PageSize::new(4096).ok(),
            page_count: 5,
            frame_checksum: WalChecksum { s1: 0x0101_0202, s2: 0x0303_0404 },
            salt: Salt { salt1: 0x1122_3344, salt2: 0x5566_7788 },
            change: 77,
            byte_order: ByteOrder::Little,
            backfilled: 4,
            backfill_attempted: 6,
            read_marks: [0, 9, u32::MAX, u32::MAX, 3],
        };
        assert_eq!(index, expected);
    }

    #[test]
    fn page_sizes() {
        let parse = |stored| WalIndex::parse(&sample(stored)).map(|index| index.page_size.map(PageSize::get));
        assert_eq!(parse(1), Some(Some(65536)));
        assert_eq!(parse(512), Some(Some(512)));
        assert_eq!(parse(0), Some(None));
        assert_eq!(parse(513), None);
    }

    #[test]
    fn a_change_in_either_copy_is_noticed() {
        for at in 0..96 {
            let mut bytes = sample(4096);
            bytes[at] ^= 1;
            assert_eq!(WalIndex::parse(&bytes), None, "byte {at}");
        }
    }

    #[test]
    fn equal_copies_still_need_a_right_checksum() {
        for at in 0..48 {
            let mut bytes = sample(4096);
            bytes[at] ^= 1;
            bytes[at + 48] ^= 1;
            assert_eq!(WalIndex::parse(&bytes), None, "byte {at}");
        }
        assert_eq!(WalIndex::parse(&[0; 136]), None);
    }
}
