//! The only place that knows which LZ4 library is used.
//!
//! LZ4 block format: a payload without any header, that expands to one page.

use lz4::block::{compress_to_buffer, decompress_to_buffer};

/// The longest block that a compressor can make of `len` bytes: one literal run and its length bytes.
pub(crate) const fn bound(len: usize) -> usize {
    len + len / 255 + 16
}

/// Compresses `page` into the front of `out`, which has at least [`bound`] bytes; the length, or `None` if it
/// failed.
pub(crate) fn compress(page: &[u8], out: &mut [u8]) -> Option<usize> {
    compress_to_buffer(page, None, false, out).ok()
}

/// Expands `block` into `page`; false unless it is well formed and fills the page exactly.
pub(crate) fn decompress(block: &[u8], page: &mut [u8]) -> bool {
    let Ok(capacity) = i32::try_from(page.len()) else { return false };
    decompress_to_buffer(block, Some(capacity), page).is_ok_and(|n| n == page.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(page: &[u8]) -> Vec<u8> {
        let mut block = vec![0; bound(page.len())];
        let n = compress(page, &mut block).unwrap();
        block.truncate(n);
        let mut back = vec![1; page.len()];
        assert!(decompress(&block, &mut back));
        assert_eq!(back, page);
        block
    }

    #[test]
    fn incompressible_bytes_stay_within_the_bound() {
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(65536)
        .collect();
        for len in [512, 4096, 65536] {
            assert!(round_trip(&noise[..len]).len() > len);
        }
        assert!(round_trip(&[0; 65536]).len() < 300);
    }

    #[test]
    fn wrong_lengths_and_damage_are_refused() {
        let block = round_trip(&[5; 1024]);
        assert!(!decompress(&block, &mut [0; 1023]));
        assert!(!decompress(&block, &mut [0; 1025]));
        assert!(!decompress(&block[..block.len() - 1], &mut [0; 1024]));
        assert!(!decompress(&[], &mut [0; 512]));
        assert!(!decompress(&[0xff; 40], &mut [0; 512]));
    }
}
