//! Which parts of a file were written.

use dbfile::SMALLEST_PAGE;

const SECTOR: u64 = SMALLEST_PAGE as u64;
const BITS: u64 = u64::BITS as u64;

/// A set of pieces of a file, each as long as the smallest page: one bit for each, up to the last one that is in it.
#[derive(Default)]
pub(super) struct Sectors(Vec<u64>);

impl Sectors {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds the `len` bytes at `offset`.
    pub(super) fn add(&mut self, offset: u64, len: usize) {
        for sector in sectors(offset, len) {
            let (Ok(word), bit) = (usize::try_from(sector / BITS), sector % BITS) else { return };
            if word >= self.0.len() {
                self.0.resize(word + 1, 0);
            }
            self.0[word] |= 1 << bit;
        }
    }

    /// Whether any of the `len` bytes at `offset` is in it.
    pub(super) fn has_any(&self, offset: u64, len: usize) -> bool {
        !self.is_empty() && sectors(offset, len).any(|sector| self.has(sector))
    }

    /// Where the pages begin of which any part is in it, in ascending order.
    pub(super) fn pages(&self, page_size: u64) -> impl Iterator<Item = u64> {
        let end = self.0.len() as u64 * BITS * SECTOR;
        let len = usize::try_from(page_size).unwrap_or(usize::MAX);
        (0..end.div_ceil(page_size))
            .map(move |page| page * page_size)
            .filter(move |at| self.has_any(*at, len))
    }

    fn has(&self, sector: u64) -> bool {
        let word = usize::try_from(sector / BITS).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|word| word & (1 << (sector % BITS)) != 0)
    }
}

fn sectors(offset: u64, len: usize) -> std::ops::Range<u64> {
    offset / SECTOR..(offset + len as u64).div_ceil(SECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_with_any_part_in_it_are_found() {
        let mut written = Sectors::default();
        assert!(written.is_empty() && !written.has_any(0, 512));
        written.add(512 * 70, 1024);
        written.add(4096, 512);
        assert_eq!(written.pages(512).collect::<Vec<_>>(), [4096, 35840, 36352]);
        assert_eq!(written.pages(4096).collect::<Vec<_>>(), [4096, 32768]);
        assert_eq!(written.pages(65536).collect::<Vec<_>>(), [0]);
        assert!(written.has_any(0, 4097) && !written.has_any(0, 4096));
        written.clear();
        assert!(written.is_empty());
    }
}
