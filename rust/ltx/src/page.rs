//! Page frames: a page header, then the compressed page (LTX format, "Page frame").
//!
//! Two encodings exist and may be mixed in one file. Bit 0 of the page flags tells them apart: with it a
//! 4-byte length and an LZ4 block follow, without it an LZ4 frame, as Litestream wrote before 0.5.16.

use crate::bytes::{u16_at, u32_at};
use crate::error::{Error, Result};
use crate::types::{PageSize, Pgno};
use crate::{legacy_frame, lz4};

/// Length of an encoded page header in bytes.
pub const PAGE_HEADER_SIZE: usize = 6;

/// Page header of a block-encoded frame and the payload length after it.
pub(crate) const BLOCK_PREFIX: usize = PAGE_HEADER_SIZE + 4;

const FRAME_PREFIX: usize = PAGE_HEADER_SIZE + legacy_frame::PREFIX;
const FLAG_BLOCK: u16 = 1;

/// How a page is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PageEncoding {
    /// A length and an LZ4 block: what Litestream writes since 0.5.16.
    #[default]
    Block,
    /// An LZ4 frame: what Litestream up to 0.5.15 wrote, and all it can read.
    Frame,
}

/// First 6 bytes of a page frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageHeader {
    /// The page.
    pub pgno: Pgno,
    /// How it is compressed.
    pub encoding: PageEncoding,
}

impl PageHeader {
    /// The stored form.
    pub fn encode(&self) -> [u8; PAGE_HEADER_SIZE] {
        let flags = match self.encoding {
            PageEncoding::Block => FLAG_BLOCK,
            PageEncoding::Frame => 0,
        };
        let mut out = [0; PAGE_HEADER_SIZE];
        out[..4].copy_from_slice(&self.pgno.get().to_be_bytes());
        out[4..].copy_from_slice(&flags.to_be_bytes());
        out
    }

    /// Reads the stored form; `None` for the terminator, six zero bytes.
    ///
    /// # Errors
    /// [`Error::PgnoMissing`], [`Error::PageFlags`].
    pub fn parse(bytes: &[u8; PAGE_HEADER_SIZE]) -> Result<Option<Self>> {
        let flags = u16_at(bytes, 4);
        match (Pgno::new(u32_at(bytes, 0)), flags) {
            (None, 0) => Ok(None),
            (None, _) => Err(Error::PgnoMissing { flags }),
            (Some(pgno), 0) => Ok(Some(Self { pgno, encoding: PageEncoding::Frame })),
            (Some(pgno), FLAG_BLOCK) => Ok(Some(Self { pgno, encoding: PageEncoding::Block })),
            (Some(pgno), _) => Err(Error::PageFlags { pgno, flags }),
        }
    }

    /// How many bytes from the start of the frame tell its length.
    pub(crate) fn prefix_len(&self) -> usize {
        match self.encoding {
            PageEncoding::Block => BLOCK_PREFIX,
            PageEncoding::Frame => FRAME_PREFIX,
        }
    }

    /// How many bytes from the start of the frame the file checksum covers.
    pub(crate) fn hashed_len(&self) -> usize {
        match self.encoding {
            PageEncoding::Block => BLOCK_PREFIX,
            PageEncoding::Frame => PAGE_HEADER_SIZE,
        }
    }

    /// Length of the whole frame in bytes, from its first [`PageHeader::prefix_len`] bytes. Never above
    /// [`frame_bound`].
    pub(crate) fn frame_len(&self, prefix: &[u8], page_size: PageSize) -> Result<usize> {
        match self.encoding {
            PageEncoding::Block => {
                let (pgno, limit) = (self.pgno, lz4::bound(page_size.bytes()));
                let len = u32_at(prefix, PAGE_HEADER_SIZE);
                if len == 0 || len as usize > limit {
                    return Err(Error::PayloadLength { pgno, limit, actual: len.into() });
                }
                Ok(BLOCK_PREFIX + len as usize)
            }
            PageEncoding::Frame => {
                let start = crate::bytes::field(prefix, PAGE_HEADER_SIZE);
                let len = legacy_frame::frame_len(self.pgno, &start, page_size.bytes())?;
                Ok(PAGE_HEADER_SIZE + len)
            }
        }
    }

    /// Expands the payload of a whole `frame` into `page`, one page long.
    pub(crate) fn decode(&self, frame: &[u8], page: &mut [u8]) -> Result<()> {
        let pgno = self.pgno;
        match self.encoding {
            PageEncoding::Block => {
                let block = frame.get(BLOCK_PREFIX..).unwrap_or_default();
                if lz4::decompress(block, page) { Ok(()) } else { Err(Error::Payload { pgno }) }
            }
            PageEncoding::Frame => {
                legacy_frame::decode(pgno, frame.get(PAGE_HEADER_SIZE..).unwrap_or_default(), page)
            }
        }
    }
}

/// The longest frame of a page, in either encoding, in bytes.
pub(crate) const fn frame_bound(page_len: usize) -> usize {
    PAGE_HEADER_SIZE + legacy_frame::OVERHEAD + lz4::bound(page_len)
}

/// Appends `page`, compressed to an LZ4 block, to `out`.
///
/// Needs no state, so pages can be compressed by many threads and handed to
/// [`Encoder::write_compressed`](crate::Encoder::write_compressed) in order.
///
/// # Errors
/// [`Error::PageSize`] unless `page` has the length of a page.
pub fn compress_page(page: &[u8], out: &mut Vec<u8>) -> Result<()> {
    PageSize::new(u32::try_from(page.len()).unwrap_or(u32::MAX))?;
    let start = out.len();
    out.resize(start + lz4::bound(page.len()), 0);
    let len = out.get_mut(start..).and_then(|free| lz4::compress(page, free)).unwrap_or(0);
    out.truncate(start + len);
    if len == 0 { Err(Error::Compress) } else { Ok(()) }
}

/// Expands one whole page frame, header included, as a page index locates it, into `page`; its page number.
///
/// A frame carries no checksum of its own: damage is only noticed where it makes the payload undecodable.
///
/// # Errors
/// [`Error::Truncated`] or [`Error::FrameLength`] if `frame` is not exactly one frame,
/// [`Error::PageLength`] if `page` is not one page long, and the errors of a damaged frame.
pub fn decode_frame(frame: &[u8], page_size: PageSize, page: &mut [u8]) -> Result<Pgno> {
    check_page_len(page_size, page)?;
    let cut = Error::Truncated { offset: frame.len() as u64 };
    let Some(start) = frame.first_chunk() else { return Err(cut) };
    let Some(header) = PageHeader::parse(start)? else { return Err(Error::PgnoMissing { flags: 0 }) };
    let Some(prefix) = frame.get(..header.prefix_len()) else { return Err(cut) };
    let expected = header.frame_len(prefix, page_size)?;
    if expected != frame.len() {
        let (expected, actual) = (expected as u64, frame.len() as u64);
        return Err(Error::FrameLength { pgno: header.pgno, expected, actual });
    }
    header.decode(frame, page)?;
    Ok(header.pgno)
}

pub(crate) fn check_page_len(page_size: PageSize, page: &[u8]) -> Result<()> {
    let (expected, actual) = (page_size.bytes(), page.len());
    if actual == expected { Ok(()) } else { Err(Error::PageLength { expected, actual }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_frame(page: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        compress_page(page, &mut block).unwrap();
        let mut frame = PageHeader { pgno: Pgno::FIRST, encoding: PageEncoding::Block }.encode().to_vec();
        frame.extend_from_slice(&(block.len() as u32).to_be_bytes());
        frame.extend_from_slice(&block);
        frame
    }

    #[test]
    fn headers_and_the_terminator() {
        for encoding in [PageEncoding::Block, PageEncoding::Frame] {
            let header = PageHeader { pgno: Pgno::new(0x0102_0304).unwrap(), encoding };
            assert_eq!(PageHeader::parse(&header.encode()).unwrap(), Some(header));
        }
        assert_eq!(PageHeader::parse(&[0; 6]).unwrap(), None);
        assert!(matches!(PageHeader::parse(&[0, 0, 0, 0, 0, 1]), Err(Error::PgnoMissing { flags: 1 })));
        for flags in (1..16).map(|bit| 1_u16 << bit) {
            let [high, low] = flags.to_be_bytes();
            let result = PageHeader::parse(&[0, 0, 0, 9, high, low]);
            assert!(matches!(result, Err(Error::PageFlags { flags: found, .. }) if found == flags));
        }
    }

    #[test]
    fn a_frame_is_exactly_one_frame() {
        let content = vec![42; 1024];
        let frame = block_frame(&content);
        let size = PageSize::new(1024).unwrap();
        let mut page = vec![0; 1024];
        assert_eq!(decode_frame(&frame, size, &mut page).unwrap(), Pgno::FIRST);
        assert_eq!(page, content);
        for len in 0..frame.len() {
            assert!(decode_frame(&frame[..len], size, &mut page).is_err(), "{len} bytes");
        }
        let longer = [frame.as_slice(), &[0]].concat();
        assert!(matches!(decode_frame(&longer, size, &mut page), Err(Error::FrameLength { .. })));
        assert!(matches!(decode_frame(&frame, size, &mut page[1..]), Err(Error::PageLength { .. })));
        assert!(matches!(decode_frame(&frame, PageSize::MIN, &mut [0; 512]), Err(Error::Payload { .. })));
        assert!(matches!(decode_frame(&[0; 6], size, &mut page), Err(Error::PgnoMissing { .. })));
    }

    #[test]
    fn declared_lengths_have_a_limit() {
        let mut frame = block_frame(&[0; 512]);
        for len in [0, lz4::bound(512) as u32 + 1, u32::MAX] {
            frame[6..10].copy_from_slice(&len.to_be_bytes());
            let error = decode_frame(&frame, PageSize::MIN, &mut [0; 512]).unwrap_err();
            assert!(matches!(error, Error::PayloadLength { actual, .. } if actual == u64::from(len)));
        }
    }

    #[test]
    fn only_pages_are_compressed() {
        let mut out = vec![1, 2];
        assert!(compress_page(&[0; 100], &mut out).is_err());
        compress_page(&[0; 512], &mut out).unwrap();
        assert_eq!(out[..2], [1, 2]);
        assert!(out.len() > 2);
    }
}
