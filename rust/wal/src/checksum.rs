//! The running checksum of a WAL.

/// Order of the bytes in the words that the WAL checksum adds up.
///
/// Only the checksum's input depends on it; every field of a WAL is big-endian. SQLite writes the order that is
/// native to the machine that created the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Magic `377f0682`.
    Little,
    /// Magic `377f0683`.
    Big,
}

impl ByteOrder {
    /// The order of this machine, which is also the order of the fields of a wal-index.
    pub const NATIVE: ByteOrder =
        if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };
}

/// The two words of a running WAL checksum (SQLite file format, section "Checksum Algorithm").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WalChecksum {
    /// The first word.
    pub s1: u32,
    /// The second word.
    pub s2: u32,
}

impl WalChecksum {
    /// The value before the first byte.
    pub const ZERO: WalChecksum = WalChecksum { s1: 0, s2: 0 };

    /// Continues the checksum over `data`.
    ///
    /// The algorithm eats eight bytes a step: `data` must be a multiple of eight bytes long, as headers and pages
    /// are; bytes beyond the last whole step do not count.
    #[must_use]
    pub fn update(self, order: ByteOrder, data: &[u8]) -> WalChecksum {
        debug_assert!(data.len().is_multiple_of(8), "the checksum works on whole steps");
        // One loop for each order, so that the choice is not made at every step.
        match order {
            ByteOrder::Little => self.fold(data, u32::from_le_bytes),
            ByteOrder::Big => self.fold(data, u32::from_be_bytes),
        }
    }

    #[inline(always)]
    fn fold(self, data: &[u8], word: impl Fn([u8; 4]) -> u32) -> WalChecksum {
        let WalChecksum { mut s1, mut s2 } = self;
        for &[a, b, c, d, e, f, g, h] in data.as_chunks::<8>().0 {
            // The loaded word joins the sum that is ready first: each step then waits for two additions, not four.
            s1 = s1.wrapping_add(word([a, b, c, d])).wrapping_add(s2);
            s2 = s2.wrapping_add(word([e, f, g, h])).wrapping_add(s1);
        }
        WalChecksum { s1, s2 }
    }

    /// The words as stored in WAL and frame headers: big-endian whatever the order of the input.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        let (a, b) = (self.s1.to_be_bytes(), self.s2.to_be_bytes());
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
    }

    /// The reverse of [`WalChecksum::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> WalChecksum {
        let [a, b, c, d, e, f, g, h] = bytes;
        WalChecksum { s1: u32::from_be_bytes([a, b, c, d]), s2: u32::from_be_bytes([e, f, g, h]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::reference_checksum;

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 167 + i / 3) as u8).collect()
    }

    #[test]
    fn one_step_by_hand() {
        let data = [1, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!(WalChecksum::ZERO.update(ByteOrder::Little, &data), WalChecksum { s1: 1, s2: 3 });
        let big = WalChecksum::ZERO.update(ByteOrder::Big, &data);
        assert_eq!(big, WalChecksum { s1: 0x0100_0000, s2: 0x0300_0000 });
    }

    #[test]
    fn agrees_with_the_definition_in_both_orders() {
        for len in [0, 8, 24, 512, 4096, 65536] {
            let data = sample(len);
            for (order, is_big) in [(ByteOrder::Little, false), (ByteOrder::Big, true)] {
                let seed = WalChecksum { s1: 0xffff_fff0, s2: 0x8000_0001 };
                let got = seed.update(order, &data);
                let want = reference_checksum(is_big, (seed.s1, seed.s2), &data);
                assert_eq!((got.s1, got.s2), want, "{len} bytes, {order:?}");
            }
        }
    }

    // W-11
    #[test]
    fn pieces_give_the_sum_of_the_whole() {
        let data = sample(4096 + 8);
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let whole = WalChecksum::ZERO.update(order, &data);
            let pieces = data.chunks(8 * 13).fold(WalChecksum::ZERO, |sum, piece| sum.update(order, piece));
            assert_eq!(pieces, whole);
        }
    }

    #[test]
    fn stored_words_are_big_endian() {
        let sum = WalChecksum { s1: 0x0102_0304, s2: 0xa0b0_c0d0 };
        assert_eq!(sum.to_bytes(), [1, 2, 3, 4, 0xa0, 0xb0, 0xc0, 0xd0]);
        assert_eq!(WalChecksum::from_bytes(sum.to_bytes()), sum);
    }
}
