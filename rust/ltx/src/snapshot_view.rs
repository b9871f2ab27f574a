//! A snapshot, seen as the database that it holds, without unpacking it.

use std::io;

use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::header::Header;
use crate::index::{PageIndex, read_page_index};
use crate::io::ReadAt;
use crate::page::decode_frame;
use crate::types::Pgno;

/// The database in a snapshot, read page by page out of the compressed file. Memory is the page index, 12 bytes a page.
#[derive(Debug)]
pub struct SnapshotView<R> {
    file: R,
    header: Header,
    index: PageIndex,
}

impl<R: ReadAt> SnapshotView<R> {
    /// The database in `file`. The file is read and verified once as a whole: a page frame has no checksum of its own.
    ///
    /// # Errors
    /// [`Error::NotSnapshot`] if the file holds only some of the pages; what decoding a damaged file answers.
    pub fn new(file: R) -> Result<Self> {
        let mut decoder = Decoder::new(Sequential { file: &file, offset: 0 })?;
        let header = *decoder.header();
        if !header.is_snapshot() {
            return Err(Error::NotSnapshot { min: header.min_txid, max: header.max_txid });
        }
        let mut page = vec![0; header.page_size.bytes()];
        while decoder.next_page(&mut page)?.is_some() {}
        decoder.finish()?;
        let index = read_page_index(&file)?;
        Ok(Self { file, header, index })
    }

    /// The header of the file.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Fills `page` with a page of the database; with zeros for the lock page, which no file stores.
    fn read_page(&self, pgno: Pgno, page: &mut [u8]) -> io::Result<()> {
        let Some(place) = self.index.get(pgno) else {
            page.fill(0);
            return Ok(());
        };
        let mut frame = vec![0; usize::try_from(place.size).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut frame, place.offset)?;
        let found = decode_frame(&frame, self.header.page_size, page)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if found == pgno { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

impl<R: ReadAt> ReadAt for SnapshotView<R> {
    /// Reads up to the end of the page that `offset` is in.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if buf.is_empty() || offset >= self.len()? {
            return Ok(0);
        }
        let page_size = self.header.page_size.bytes();
        let pgno = offset / page_size as u64 + 1;
        let pgno = u32::try_from(pgno).ok().and_then(Pgno::new).ok_or(io::ErrorKind::InvalidInput)?;
        let start = usize::try_from(offset % page_size as u64).map_err(io::Error::other)?;
        let len = buf.len().min(page_size - start);
        if len == page_size {
            self.read_page(pgno, &mut buf[..len])?;
        } else {
            let mut page = vec![0; page_size];
            self.read_page(pgno, &mut page)?;
            buf[..len].copy_from_slice(&page[start..start + len]);
        }
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(u64::from(self.header.commit.get()) * u64::from(self.header.page_size.get()))
    }
}

/// A file read from front to back.
struct Sequential<'a, R: ?Sized> {
    file: &'a R,
    offset: u64,
}

impl<R: ReadAt + ?Sized> io::Read for Sequential<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Encoder;
    use crate::types::{Checksum, PageCount, PageSize, TxId};

    fn snapshot(pages: u32, min: u64) -> Vec<u8> {
        let header = Header::new(PageSize::MIN, PageCount::new(pages), TxId::new(min), TxId::new(9));
        let mut encoder = Encoder::new(Vec::new(), &header).unwrap();
        for number in 1..=pages {
            encoder.write_page(Pgno::new(number).unwrap(), &[number as u8; 512]).unwrap();
        }
        encoder.finish(Checksum::NONE).unwrap().0
    }

    #[test]
    fn any_range_is_what_the_pages_hold() {
        let view = SnapshotView::new(snapshot(5, 1)).unwrap();
        let whole: Vec<u8> = (1..=5).flat_map(|number| [number; 512]).collect();
        assert_eq!(view.len().unwrap(), 2560);
        for (offset, len) in [(0, 2560), (0, 100), (24, 16), (500, 700), (2559, 1), (512, 512)] {
            let mut buf = vec![0xff; len];
            view.read_exact_at(&mut buf, offset as u64).unwrap();
            assert_eq!(buf, whole[offset..offset + len]);
        }
        assert_eq!(view.read_at(&mut [0; 10], 2560).unwrap(), 0);
    }

    #[test]
    fn only_whole_and_sound_snapshots_are_databases() {
        assert!(matches!(SnapshotView::new(snapshot(3, 2)), Err(Error::NotSnapshot { .. })));
        let good = snapshot(3, 1);
        for at in [50, 120, good.len() - 4] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(SnapshotView::new(bad).is_err(), "byte {at}");
        }
        assert!(SnapshotView::new(good[..good.len() - 1].to_vec()).is_err());
    }
}
