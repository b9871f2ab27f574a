//! CRC-64/GO-ISO in its three uses: one page, a whole database, an LTX file.
//!
//! LTX format, "File checksum" and "Rolling database checksum": polynomial 0xD800000000000000 reflected,
//! initial value and final XOR all ones.

use crc_fast::CrcAlgorithm::Crc64GoIso;
use crc_fast::Digest;

use crate::types::{Checksum, Pgno};

/// Checksum of one page: its number as four big-endian bytes, then its content.
pub fn page_checksum(pgno: Pgno, page: &[u8]) -> Checksum {
    let mut hasher = FileHasher::new();
    hasher.update(&pgno.get().to_be_bytes());
    hasher.update(page);
    hasher.checksum()
}

/// Checksum of a database, kept up to date page by page.
///
/// It is the XOR of all page checksums, so a page is replaced by removing its old checksum and adding the new
/// one. The lock page has no part in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RollingChecksum(u64);

impl RollingChecksum {
    /// Starts with a database without pages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues from a known checksum.
    pub fn from_checksum(checksum: Checksum) -> Self {
        Self(checksum.get())
    }

    /// Adds a page by its [`page_checksum`].
    pub fn add(&mut self, page: Checksum) {
        self.0 ^= page.get();
    }

    /// Removes a page by its [`page_checksum`]; XOR is its own inverse.
    pub fn remove(&mut self, page: Checksum) {
        self.0 ^= page.get();
    }

    /// The checksum, with the top bit that every stored checksum has.
    pub fn get(self) -> Checksum {
        Checksum::new(self.0 | Checksum::FLAG)
    }
}

/// CRC-64/GO-ISO over a stream of bytes.
#[derive(Clone)]
pub struct FileHasher {
    /// The shift register: bit 63 is the coefficient of x^0.
    state: u64,
}

impl Default for FileHasher {
    fn default() -> Self {
        Self { state: u64::MAX }
    }
}

impl FileHasher {
    /// Below this length in bytes the vectorised implementation costs more than it saves.
    const SHORT: usize = 16;

    /// Starts with no bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state = if bytes.len() < Self::SHORT {
            let (words, rest) = bytes.as_chunks();
            let state =
                words.iter().fold(self.state, |state, word| times_x64(state ^ u64::from_le_bytes(*word)));
            append_rest(state, rest)
        } else {
            let mut digest = Digest::new_with_init_state(Crc64GoIso, self.state);
            digest.update(bytes);
            digest.get_state()
        };
    }

    /// The CRC of all bytes so far, as it is.
    pub fn finish(&self) -> u64 {
        !self.state
    }

    /// The CRC of all bytes so far in its stored form: with the top bit set.
    pub fn checksum(&self) -> Checksum {
        Checksum::new(self.finish() | Checksum::FLAG)
    }

    /// CRC of two parts, from the raw CRC of each and the length of the second in bytes.
    ///
    /// Takes the raw values of [`FileHasher::finish`]: the stored form has lost a bit.
    pub fn combine(first: u64, second: u64, second_len: u64) -> u64 {
        times(first, x_to_bytes(second_len)) ^ second
    }
}

/// Element `k` is x to the power of `8 << k`, by which `1 << k` bytes shift what is before them.
const POWERS: [u64; 64] = {
    let mut powers = [0; 64];
    let (mut k, mut power) = (0, X_TO_0 >> 8);
    while k < powers.len() {
        powers[k] = power;
        power = times(power, power);
        k += 1;
    }
    powers
};

/// The polynomial 1.
const X_TO_0: u64 = 1 << 63;

/// x to the power of eight times `bytes`.
///
/// The library's way to combine checksums squares matrices, which for the many small parts of a restore took as long as
/// expanding them.
fn x_to_bytes(bytes: u64) -> u64 {
    let set = POWERS.iter().enumerate().filter(|(k, _)| bytes >> k & 1 != 0);
    set.fold(X_TO_0, |product, (_, power)| times(product, *power))
}

/// The product of two polynomials, modulo that of the checksum.
const fn times(a: u64, b: u64) -> u64 {
    let (mut product, mut shifted, mut bit) = (0, b, X_TO_0);
    while bit != 0 {
        if a & bit != 0 {
            product ^= shifted;
        }
        shifted = times_x(shifted);
        bit >>= 1;
    }
    product
}

/// The product with x.
const fn times_x(a: u64) -> u64 {
    (a >> 1) ^ ((a & 1) * POLYNOMIAL)
}

/// x^4 + x^3 + x + 1, which is what x^64 leaves.
const POLYNOMIAL: u64 = 0xd800_0000_0000_0000;

/// Appends fewer than 8 bytes to a shift register.
///
/// Page headers are too short for the vectorised implementation, and there are as many as pages. The polynomial,
/// x^64 + x^4 + x^3 + x + 1, is so sparse that a few shifts are all it takes.
fn append_rest(state: u64, bytes: &[u8]) -> u64 {
    if bytes.is_empty() {
        return state;
    }
    let word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let bits = 8 * bytes.len() as u32;
    let sum = state ^ word;
    (sum >> bits) ^ times_x64(sum << (64 - bits))
}

/// The product with x^64, which is x^4 + x^3 + x + 1. What the shifts push out at x^64 and above comes in again at
/// the other end, and so takes part in the product.
fn times_x64(value: u64) -> u64 {
    let value = value ^ value << 63 ^ value << 61 ^ value << 60;
    value ^ value >> 1 ^ value >> 3 ^ value >> 4
}

impl std::fmt::Debug for FileHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileHasher({:016x})", self.finish())
    }
}

#[cfg(test)]
mod tests {
    use crc_fast::checksum_combine;
    use proptest::prelude::*;

    use super::*;

    fn crc(bytes: &[u8]) -> u64 {
        let mut hasher = FileHasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    fn database(pages: &[Vec<u8>]) -> String {
        let mut rolling = RollingChecksum::new();
        for (number, page) in (1..).zip(pages) {
            rolling.add(page_checksum(Pgno::new(number).unwrap(), page));
        }
        rolling.get().to_string()
    }

    #[test]
    fn check_value_of_the_algorithm() {
        assert_eq!(crc(b"123456789"), 0xb909_56c7_75a4_1001);
        assert_eq!(crc(b""), 0);
    }

    #[test]
    fn golden_database_checksums() {
        assert_eq!(database(&[vec![1; 512], vec![2; 512], vec![3; 512]]), "efffffffecd99000");
        assert_eq!(database(&[vec![b'2'; 1024], vec![b'3'; 1024]]), "e1899b6d587aaaaa");
        assert_eq!(page_checksum(Pgno::FIRST, &[0; 512]).to_string(), "efb1f44fecd99000");
        assert_eq!(RollingChecksum::new().get(), Checksum::EMPTY_DATABASE);
    }

    #[test]
    fn a_replaced_page_gives_the_checksum_of_the_new_database() {
        let second = Pgno::new(2).unwrap();
        let mut rolling = RollingChecksum::new();
        rolling.add(page_checksum(Pgno::FIRST, &[1; 512]));
        rolling.add(page_checksum(second, &[7; 512]));
        let mut resumed = RollingChecksum::from_checksum(rolling.get());
        resumed.remove(page_checksum(second, &[7; 512]));
        resumed.add(page_checksum(second, &[2; 512]));
        assert_eq!(resumed.get().to_string(), database(&[vec![1; 512], vec![2; 512]]));
    }

    /// Bit by bit, as the definition says, to hold the vectorised implementation to it at every length.
    fn crc_by_definition(bytes: &[u8]) -> u64 {
        let mut state = u64::MAX;
        for byte in bytes {
            state ^= u64::from(*byte);
            for _ in 0..8 {
                let carry = state & 1;
                state = (state >> 1) ^ (carry * 0xd800_0000_0000_0000);
            }
        }
        !state
    }

    proptest! {
        #[test]
        fn parts_are_combined_as_the_library_does(first: u64, second: u64, len: u64, bits in 0..64_u32) {
            let len = len >> bits;
            prop_assert_eq!(
                FileHasher::combine(first, second, len),
                checksum_combine(Crc64GoIso, first, second, len)
            );
        }
    }

    #[test]
    fn every_length_and_every_split_agrees_with_the_definition() {
        let bytes: Vec<u8> = (0..700_u32).map(|n| (n * n % 251) as u8).collect();
        for len in 0..bytes.len() {
            assert_eq!(crc(&bytes[..len]), crc_by_definition(&bytes[..len]), "length {len}");
        }
        let whole = crc(&bytes);
        for split in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(split);
            let mut hasher = FileHasher::new();
            hasher.update(head);
            hasher.update(tail);
            assert_eq!(hasher.finish(), whole, "split at {split}");
            assert_eq!(
                FileHasher::combine(crc(head), crc(tail), tail.len() as u64),
                whole,
                "combined at {split}"
            );
        }
    }
}
