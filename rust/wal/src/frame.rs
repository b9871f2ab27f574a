//! Frame headers and where frames lie.

use ltx::{PageCount, PageSize, Pgno};

use crate::checksum::{ByteOrder, WalChecksum};
use crate::header::{Salt, WalHeader};

/// The part of a frame header that the checksum covers: page number and commit size.
const CHECKED_BYTES: usize = 8;

/// Header of a WAL frame (SQLite file format, section "WAL File Format").
///
/// | offset | size | field |
/// |---:|---:|---|
/// | 0 | 4 | page number |
/// | 4 | 4 | size of the database in pages after a commit; 0 in all other frames |
/// | 8 | 4 | salt 1 |
/// | 12 | 4 | salt 2 |
/// | 16 | 8 | checksum of all frames up to here |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    /// The page in this frame.
    pub pgno: Pgno,
    /// Size of the database if this frame commits a transaction.
    pub commit: Option<PageCount>,
    /// Marks of the generation the frame was written in.
    pub salt: Salt,
    /// Running checksum up to and with this frame.
    pub checksum: WalChecksum,
}

impl FrameHeader {
    /// Length of a frame header in bytes.
    pub const SIZE: usize = 24;

    /// Parses a frame header. `None`: the page number is 0, which no frame has.
    #[must_use]
    pub fn parse(bytes: &[u8; FrameHeader::SIZE]) -> Option<FrameHeader> {
        let mut words = [0; 6];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        let [pgno, commit, salt1, salt2, s1, s2] = words;
        Some(FrameHeader {
            pgno: Pgno::new(pgno)?,
            commit: (commit != 0).then(|| PageCount::new(commit)),
            salt: Salt { salt1, salt2 },
            checksum: WalChecksum { s1, s2 },
        })
    }

    /// The bytes of the header, with the checksum it carries.
    #[must_use]
    pub fn encode(&self) -> [u8; FrameHeader::SIZE] {
        let commit = self.commit.map_or(0, PageCount::get);
        let fields =
            [self.pgno.get(), commit, self.salt.salt1, self.salt.salt2, self.checksum.s1, self.checksum.s2];
        let mut bytes = [0; FrameHeader::SIZE];
        for (slot, field) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(fields) {
            *slot = field.to_be_bytes();
        }
        bytes
    }
}

/// Continues `seed`, the checksum before a frame, over the frame's header and page.
#[must_use]
pub fn frame_checksum(
    seed: WalChecksum,
    order: ByteOrder,
    header: &[u8; FrameHeader::SIZE],
    page: &[u8],
) -> WalChecksum {
    seed.update(order, &header[..CHECKED_BYTES]).update(order, page)
}

/// Length of one frame in bytes: its header and one page.
pub(crate) fn frame_size(page_size: PageSize) -> usize {
    FrameHeader::SIZE + page_size.bytes()
}

/// Size in bytes of a WAL with `frames` frames; saturates instead of overflowing.
#[must_use]
pub fn wal_size(frames: u64, page_size: PageSize) -> u64 {
    frames.saturating_mul(frame_size(page_size) as u64).saturating_add(WalHeader::SIZE as u64)
}

/// Offset in bytes of the header of frame `number`. Frames are counted from 1, as `mxFrame` does.
#[must_use]
pub fn frame_offset(number: u64, page_size: PageSize) -> u64 {
    wal_size(number.saturating_sub(1), page_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(bytes: u32) -> PageSize {
        PageSize::new(bytes).unwrap()
    }

    #[test]
    fn fields_in_their_places() {
        let bytes: [u8; 24] = std::array::from_fn(|i| i as u8);
        let header = FrameHeader::parse(&bytes).unwrap();
        assert_eq!(header.pgno.get(), 0x0001_0203);
        assert_eq!(header.commit.map(PageCount::get), Some(0x0405_0607));
        assert_eq!(header.salt, Salt { salt1: 0x0809_0a0b, salt2: 0x0c0d_0e0f });
        assert_eq!(header.checksum, WalChecksum { s1: 0x1011_1213, s2: 0x1415_1617 });
        assert_eq!(header.encode(), bytes);
    }

    #[test]
    fn zero_means_no_page_and_no_commit() {
        let mut bytes = [1; 24];
        bytes[4..8].fill(0);
        let header = FrameHeader::parse(&bytes).unwrap();
        assert_eq!(header.commit, None);
        assert_eq!(header.encode(), bytes);
        bytes[..4].fill(0);
        assert_eq!(FrameHeader::parse(&bytes), None);
    }

    // W-10
    #[test]
    fn sizes_do_not_overflow() {
        assert_eq!(wal_size(0, size(4096)), 32);
        assert_eq!(wal_size(3, size(4096)), 32 + 3 * 4120);
        assert_eq!(wal_size(u64::from(u32::MAX), size(65536)), 32 + 0xffff_ffff * 65560);
        assert_eq!(wal_size(u64::MAX, size(512)), u64::MAX);
    }

    #[test]
    fn frames_count_from_one() {
        assert_eq!(frame_offset(1, size(4096)), 32);
        assert_eq!(frame_offset(2, size(4096)), 4152);
        assert_eq!(frame_offset(3, size(4096)), 8272);
    }
}
