//! Which frame holds the newest committed copy of each page.

use ltx::{PageCount, PageSize, Pgno, ReadAt};

use crate::error::Result;
use crate::frame::{FrameHeader, frame_offset};
use crate::reader::{Cursor, WalReader};

/// How many entries may gather before superseded ones are thrown out for the first time.
const FIRST_COMPACTION: usize = 64 * 1024;

/// The committed pages of a stretch of a WAL: eight bytes of memory a page.
///
/// Built from the first frame it is the difference between the database file and the database; built from a
/// cursor it is what was committed since.
#[derive(Clone, Debug)]
pub struct PageMap {
    /// Size of the database after the last transaction; 0 if the stretch has no commit frame.
    pub commit: PageCount,
    /// Where the stretch begins.
    pub start: Cursor,
    /// The place after the last commit frame; `start` if there is none.
    pub end: Cursor,
    /// Whether the byte limit ended the stretch: there may be more to read.
    pub limited: bool,
    /// Page number above, number of the frame below, ascending.
    entries: Vec<u64>,
}

impl PageMap {
    /// Reads frames from where `reader` stands, to the end of the valid log or to the first commit frame that ends
    /// `byte_limit` bytes or more behind the start.
    ///
    /// Afterwards the reader stands at [`PageMap::end`]: frames behind the last commit frame may still change, so
    /// they will be read again.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io).
    pub fn build<R: ReadAt>(reader: &mut WalReader<R>, byte_limit: Option<u64>) -> Result<PageMap> {
        let mut builder = PageMapBuilder::new(reader.cursor());
        if let Some(bytes) = byte_limit {
            builder.limit(bytes);
        }
        while !builder.is_limited()
            && let Some(header) = reader.next_frame()?.map(|frame| frame.header)
        {
            builder.push(&header, reader.cursor());
        }
        let map = builder.finish();
        if reader.cursor() != map.end {
            reader.seek(map.end);
        }
        Ok(map)
    }

    /// Number of pages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no committed page.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Page size of the WAL.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.start.header.page_size
    }

    /// Length of the stretch in bytes, from `start` to `end`.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.end.offset.saturating_sub(self.start.offset)
    }

    /// Offset of the newest committed copy of page `pgno` (its bytes, behind the frame header), in bytes from the
    /// start of the WAL.
    #[must_use]
    pub fn get(&self, pgno: Pgno) -> Option<u64> {
        let index = self.entries.binary_search_by_key(&pgno.get(), |entry| unpack(*entry).0).ok()?;
        self.entries.get(index).map(|entry| self.data_offset(*entry))
    }

    /// The pages in ascending order, each with the offset of its bytes as in [`PageMap::get`].
    pub fn iter(&self) -> impl Iterator<Item = (Pgno, u64)> + '_ {
        self.entries
            .iter()
            .filter_map(|entry| Pgno::new(unpack(*entry).0).map(|pgno| (pgno, self.data_offset(*entry))))
    }

    fn data_offset(&self, entry: u64) -> u64 {
        frame_offset(u64::from(unpack(entry).1), self.page_size()).saturating_add(FrameHeader::SIZE as u64)
    }
}

/// Gathers a [`PageMap`] from frames that the caller reads; [`PageMap::build`] if nothing else is done with them.
#[derive(Debug)]
pub struct PageMapBuilder {
    map: PageMap,
    /// Entries before this one belong to committed transactions.
    committed: usize,
    compact_at: usize,
    byte_limit: u64,
}

impl PageMapBuilder {
    /// An empty map that begins at `start`.
    #[must_use]
    pub fn new(start: Cursor) -> PageMapBuilder {
        let commit = PageCount::new(0);
        let map = PageMap { commit, start, end: start, limited: false, entries: Vec::new() };
        PageMapBuilder { map, committed: 0, compact_at: FIRST_COMPACTION, byte_limit: u64::MAX }
    }

    /// Ends the map at the first commit frame that ends `bytes` bytes or more behind the start.
    pub fn limit(&mut self, bytes: u64) {
        self.byte_limit = bytes;
    }

    /// Whether the limit is reached; further frames do not belong to the map.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.map.limited
    }

    /// Adds the next frame. `after` is the reader's cursor behind it.
    pub fn push(&mut self, header: &FrameHeader, after: Cursor) {
        self.map.entries.push(pack(header.pgno, after.frames()));
        let Some(commit) = header.commit else { return };
        self.map.commit = commit;
        self.map.end = after;
        self.map.limited = self.map.byte_len() >= self.byte_limit;
        if self.map.entries.len() >= self.compact_at {
            keep_newest(&mut self.map.entries);
            self.compact_at = self.map.entries.len().saturating_mul(2).max(FIRST_COMPACTION);
        }
        self.committed = self.map.entries.len();
    }

    /// The map of all transactions whose commit frame was added, without pages above the final commit size.
    #[must_use]
    pub fn finish(self) -> PageMap {
        let PageMapBuilder { mut map, committed, .. } = self;
        map.entries.truncate(committed);
        keep_newest(&mut map.entries);
        let (last, lock) = (map.commit.get(), map.page_size().lock_pgno().get());
        map.entries.retain(|entry| {
            let pgno = unpack(*entry).0;
            pgno <= last && pgno != lock
        });
        map.entries.shrink_to_fit();
        map
    }
}

/// Sorts by page and keeps the last frame of each.
fn keep_newest(entries: &mut Vec<u64>) {
    entries.sort_unstable();
    entries.dedup_by(|later, kept| {
        let is_same_page = unpack(*later).0 == unpack(*kept).0;
        if is_same_page {
            *kept = *later;
        }
        is_same_page
    });
}

/// The reader never returns a frame whose number needs more than 32 bits.
fn pack(pgno: Pgno, frame: u64) -> u64 {
    u64::from(pgno.get()) << 32 | (frame & u64::from(u32::MAX))
}

fn unpack(entry: u64) -> (u32, u32) {
    ((entry >> 32) as u32, entry as u32)
}

#[cfg(test)]
#[path = "page_map_tests.rs"]
mod tests;
