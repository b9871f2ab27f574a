//! Pages of Litestream before 0.5.16: each a complete LZ4 *frame* instead of a bare block.
//!
//! Layout (LZ4 frame format 1.6): magic, descriptor `64`, block size code, descriptor checksum, one data
//! block with its little-endian length (top bit: stored as it is), a zero end mark, and the content's
//! checksum. There is no length of the whole: the end has to be found. A page fits the smallest block size,
//! so there is just one block.

use crate::error::{Error, Result};
use crate::lz4;
use crate::types::Pgno;
use crate::xxh32::xxh32;

/// Bytes before the data block: magic, two descriptor bytes, their checksum, the block's length.
pub(crate) const PREFIX: usize = 11;
/// Bytes after the data block: end mark and content checksum.
const SUFFIX: usize = 8;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Version 1, independent blocks, content checksum, nothing else.
const FLAGS: u8 = 0x64;
/// Blocks of up to 64 KiB, what Litestream wrote.
const BLOCK_64K: u8 = 0x40;
const STORED: u32 = 1 << 31;

/// Number of bytes that a frame adds to its data block.
pub(crate) const OVERHEAD: usize = PREFIX + SUFFIX;

/// Length of the whole frame, from its first [`PREFIX`] bytes, for a page of `page_len` bytes.
pub(crate) fn frame_len(pgno: Pgno, prefix: &[u8; PREFIX], page_len: usize) -> Result<usize> {
    if !is_descriptor(prefix) {
        return Err(Error::LegacyFrame { pgno });
    }
    let (len, limit) = match block_len(prefix) {
        (len, true) => (len, page_len),
        (len, false) => (len, lz4::bound(page_len)),
    };
    if len == 0 || len > limit {
        return Err(Error::PayloadLength { pgno, limit, actual: len as u64 });
    }
    Ok(PREFIX + len + SUFFIX)
}

fn is_descriptor(prefix: &[u8; PREFIX]) -> bool {
    let [m0, m1, m2, m3, flags, size, check, ..] = *prefix;
    let known = [m0, m1, m2, m3] == MAGIC && flags == FLAGS && matches!(size, 0x40 | 0x50 | 0x60 | 0x70);
    known && check == descriptor_checksum([flags, size])
}

/// Length of the data block in bytes, and whether it is stored without compression.
fn block_len(prefix: &[u8; PREFIX]) -> (usize, bool) {
    let [.., b0, b1, b2, b3] = *prefix;
    let word = u32::from_le_bytes([b0, b1, b2, b3]);
    ((word & !STORED) as usize, word & STORED != 0)
}

/// The second byte of the hash over the descriptor (LZ4 frame format, "Header Checksum").
fn descriptor_checksum(descriptor: [u8; 2]) -> u8 {
    xxh32(&descriptor).to_be_bytes()[2]
}

/// Expands a whole frame into `page`.
pub(crate) fn decode(pgno: Pgno, frame: &[u8], page: &mut [u8]) -> Result<()> {
    let parts = || {
        let (prefix, rest) = frame.split_first_chunk::<PREFIX>()?;
        let (block, suffix) = rest.split_last_chunk::<SUFFIX>()?;
        Some((prefix, block, suffix))
    };
    let (prefix, block, suffix) = parts().ok_or(Error::LegacyFrame { pgno })?;
    let (_, stored) = block_len(prefix);
    let filled = if stored { copy(block, page) } else { lz4::decompress(block, page) };
    if !filled {
        return Err(Error::Payload { pgno });
    }
    let [e0, e1, e2, e3, c0, c1, c2, c3] = *suffix;
    let intact = [e0, e1, e2, e3] == [0; 4] && xxh32(page) == u32::from_le_bytes([c0, c1, c2, c3]);
    if intact { Ok(()) } else { Err(Error::LegacyFrame { pgno }) }
}

fn copy(block: &[u8], page: &mut [u8]) -> bool {
    let fits = block.len() == page.len();
    if fits {
        page.copy_from_slice(block);
    }
    fits
}

/// Writes the frame of `page` to the front of `out`, which has room for the LZ4 bound and [`OVERHEAD`]; its
/// length.
pub(crate) fn encode(page: &[u8], out: &mut [u8]) -> Option<usize> {
    let (prefix, rest) = out.split_first_chunk_mut::<PREFIX>()?;
    let (len, stored) = match lz4::compress(page, rest)? {
        n if n < page.len() => (n, 0),
        _ => {
            rest.get_mut(..page.len())?.copy_from_slice(page);
            (page.len(), STORED)
        }
    };
    prefix[..4].copy_from_slice(&MAGIC);
    prefix[4..7].copy_from_slice(&[FLAGS, BLOCK_64K, descriptor_checksum([FLAGS, BLOCK_64K])]);
    prefix[7..].copy_from_slice(&(u32::try_from(len).ok()? | stored).to_le_bytes());
    let suffix = rest.get_mut(len..)?.first_chunk_mut::<SUFFIX>()?;
    suffix[..4].fill(0);
    suffix[4..].copy_from_slice(&xxh32(page).to_le_bytes());
    Some(PREFIX + len + SUFFIX)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use ::lz4 as lz4_library;

    use super::*;

    fn frame(page: &[u8]) -> Vec<u8> {
        let mut out = vec![0; lz4::bound(page.len()) + OVERHEAD];
        let n = encode(page, &mut out).unwrap();
        out.truncate(n);
        out
    }

    fn decoded(frame: &[u8], page_len: usize) -> Result<Vec<u8>> {
        let prefix = frame.first_chunk().unwrap();
        assert_eq!(frame_len(Pgno::FIRST, prefix, page_len)?, frame.len());
        let mut page = vec![0; page_len];
        decode(Pgno::FIRST, frame, &mut page)?;
        Ok(page)
    }

    #[test]
    fn the_header_is_the_one_litestream_wrote() {
        assert_eq!(frame(&[0; 512])[..7], [0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7]);
    }

    #[test]
    fn compressed_and_stored_pages_come_back() {
        let noise: Vec<u8> = (0..1024_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for page in [vec![7; 1024], noise] {
            assert_eq!(decoded(&frame(&page), 1024).unwrap(), page);
        }
    }

    #[test]
    fn frames_are_exchanged_with_the_lz4_library() {
        for page in [
            vec![9; 512],
            b"row of text ".repeat(400)[..4096].to_vec(),
            (0..=255).collect::<Vec<u8>>().repeat(256),
        ] {
            let mut encoder = lz4_library::EncoderBuilder::new()
                .block_size(lz4_library::BlockSize::Max64KB)
                .block_mode(lz4_library::BlockMode::Independent)
                .block_checksum(lz4_library::liblz4::BlockChecksum::NoBlockChecksum)
                .build(Vec::new())
                .unwrap();
            encoder.write_all(&page).unwrap();
            let (theirs, result) = encoder.finish();
            result.unwrap();
            assert_eq!(decoded(&theirs, page.len()).unwrap(), page);
            let mut back = Vec::new();
            lz4_library::Decoder::new(frame(&page).as_slice()).unwrap().read_to_end(&mut back).unwrap();
            assert_eq!(back, page);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed_or_changes_nothing() {
        let page = [3; 512];
        let good = frame(&page);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let prefix = bad.first_chunk().unwrap();
            if frame_len(Pgno::FIRST, prefix, 512).is_ok_and(|n| n == bad.len()) {
                let outcome = decoded(&bad, 512);
                assert!(outcome.is_err() || outcome.unwrap() == page, "bit {bit}");
            }
        }
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_read() {
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&frame(&[0; 512])[..PREFIX]);
        for word in [0, STORED, STORED | 513, 531, u32::MAX] {
            prefix[7..].copy_from_slice(&word.to_le_bytes());
            let error = frame_len(Pgno::FIRST, &prefix, 512).unwrap_err();
            assert!(matches!(error, Error::PayloadLength { .. }), "{word:#x}");
        }
    }
}
