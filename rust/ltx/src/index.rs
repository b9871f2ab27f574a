//! The page index: where each page's frame lies (LTX format, "Page index").
//!
//! For each page three integers, `pgno`, `offset` and `size`; then a zero; then the length of all that in 8
//! bytes. Since frames lie one behind the other from byte 100 on, an index that leaves a gap is no good.

use crate::bytes::u64_at;
use crate::checksum::FileHasher;
use crate::error::{Error, Result};
use crate::header::Header;
use crate::io::ReadAt;
use crate::page::{PAGE_HEADER_SIZE, frame_bound};
use crate::trailer::Trailer;
use crate::types::{PageSize, Pgno};
use crate::varint;

/// What a first read of a file's end should fetch, in bytes: enough for the index of about 3600 pages.
const TAIL_SIZE: u64 = 32 << 10;
/// What is read at once of a longer index, in bytes.
const PIECE_SIZE: usize = 64 << 10;
/// No entry of three integers is longer.
const ENTRY_BOUND: usize = 3 * varint::BOUND;
/// Index length and trailer.
const FOOTER_SIZE: usize = 8 + Trailer::SIZE;
/// Header and terminator.
const FRONT_SIZE: u64 = (Header::SIZE + PAGE_HEADER_SIZE) as u64;
const HEADER_SIZE: u64 = Header::SIZE as u64;

/// Where a page's frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageIndexElem {
    /// The page.
    pub pgno: Pgno,
    /// Offset in the file of the frame's first byte, which belongs to the page header.
    pub offset: u64,
    /// Length of the frame in bytes, page header included.
    pub size: u64,
}

/// The page index of one LTX file, in 12 bytes a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageIndex {
    pgnos: Vec<u32>,
    offsets: Vec<u64>,
    end: u64,
}

impl PageIndex {
    /// Number of pages.
    pub fn len(&self) -> usize {
        self.pgnos.len()
    }

    /// Whether the file has no page.
    pub fn is_empty(&self) -> bool {
        self.pgnos.is_empty()
    }

    /// Where the frame of page `pgno` lies; `None` if the file does not have the page.
    pub fn get(&self, pgno: Pgno) -> Option<PageIndexElem> {
        let at = self.pgnos.binary_search(&pgno.get()).ok()?;
        self.nth(at)
    }

    /// The `at`-th page in ascending order, from 0.
    pub fn nth(&self, at: usize) -> Option<PageIndexElem> {
        let pgno = Pgno::new(*self.pgnos.get(at)?)?;
        let offset = *self.offsets.get(at)?;
        let next = self.offsets.get(at + 1).copied().unwrap_or(self.end);
        Some(PageIndexElem { pgno, offset, size: next - offset })
    }

    /// All pages in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = PageIndexElem> + '_ {
        (0..self.len()).filter_map(|at| self.nth(at))
    }

    /// Offset in the file of the first byte after the last frame, where the six zero bytes of the terminator
    /// lie.
    pub fn frames_end(&self) -> u64 {
        self.end
    }
}

/// Result of [`parse_page_index`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexTail {
    /// The index.
    Complete(PageIndex),
    /// Another `len` bytes from `offset` to the end of the file are needed; with them the index will be
    /// complete.
    Need {
        /// Where to read, in bytes from the start of the file.
        offset: u64,
        /// How many bytes to read.
        len: u64,
    },
}

/// Reads the page index from `tail`, the last bytes of a file of `file_len` bytes.
///
/// Any tail will do to start with, 32 KiB is a good one; if it is too short, the answer says which tail
/// suffices, so two reads at most are needed. Nothing is allocated beyond four times the tail.
///
/// # Errors
/// [`Error::Truncated`] if no LTX file is so short, [`Error::IndexLength`] if the index cannot have
/// its stated length, [`Error::IndexMismatch`] unless its pages ascend and their frames fill the space
/// between header and terminator.
pub fn parse_page_index(tail: &[u8], file_len: u64) -> Result<IndexTail> {
    let room = FRONT_SIZE + FOOTER_SIZE as u64;
    let limit = match file_len.checked_sub(room) {
        // No entry is longer than its frame; the zero at the end has none.
        Some(space) if space > 0 && tail.len() as u64 <= file_len => (space - 1) / 2 + 1,
        _ => return Err(Error::Truncated { offset: file_len }),
    };
    let Some((body, footer)) = tail.split_last_chunk::<FOOTER_SIZE>() else {
        let len = file_len.min(TAIL_SIZE);
        return Ok(IndexTail::Need { offset: file_len - len, len });
    };
    let actual = u64_at(footer, 0);
    if actual == 0 || actual > limit {
        return Err(Error::IndexLength { expected: limit, actual });
    }
    let start = file_len - FOOTER_SIZE as u64 - actual;
    let entries = usize::try_from(actual).ok().and_then(|len| body.get(body.len().checked_sub(len)?..));
    match entries {
        Some(entries) => Ok(IndexTail::Complete(parse_entries(entries, start)?)),
        None => Ok(IndexTail::Need { offset: start, len: file_len - start }),
    }
}

/// Reads the page index of a file. Memory grows with the entries that were found good, whatever length is
/// stated.
///
/// # Errors
/// Those of [`parse_page_index`], and [`Error::Io`].
pub fn read_page_index(file: &(impl ReadAt + ?Sized)) -> Result<PageIndex> {
    let file_len = file.len()?;
    let mut tail = vec![0; usize::try_from(file_len.min(TAIL_SIZE)).unwrap_or(0)];
    let start = file_len - tail.len() as u64;
    file.read_exact_at(&mut tail, start)?;
    match parse_page_index(&tail, file_len)? {
        IndexTail::Complete(index) => Ok(index),
        IndexTail::Need { offset, len } => read_entries(file, offset, len.saturating_sub(FOOTER_SIZE as u64)),
    }
}

/// Reads the `len` bytes of entries at `start` piece by piece.
fn read_entries(file: &(impl ReadAt + ?Sized), start: u64, len: u64) -> Result<PageIndex> {
    let mut index = PageIndex { end: HEADER_SIZE, ..PageIndex::default() };
    let (mut unread, mut buf) = (len, Vec::new());
    loop {
        let kept = buf.len();
        let more = usize::try_from(unread).unwrap_or(PIECE_SIZE).min(PIECE_SIZE);
        buf.resize(kept + more, 0);
        file.read_exact_at(&mut buf[kept..], start + len - unread)?;
        unread -= more as u64;
        let mut rest = buf.as_slice();
        // An entry that may reach into the next piece waits for it.
        while rest.len() >= ENTRY_BOUND || unread == 0 {
            let offset = start + len - unread - rest.len() as u64;
            match take_entry(&mut rest, &mut index) {
                Some(true) => {}
                Some(false) if unread == 0 && rest.is_empty() => return check_end(index, start),
                _ => return Err(Error::IndexMismatch { offset }),
            }
        }
        buf = rest.to_vec();
    }
}

/// The frames must fill the space up to the terminator before the index at `start`.
fn check_end(index: PageIndex, start: u64) -> Result<PageIndex> {
    if index.end + PAGE_HEADER_SIZE as u64 == start {
        Ok(index)
    } else {
        Err(Error::IndexMismatch { offset: start })
    }
}

/// Reads the entries and the zero after them, which lie at `start` in the file.
fn parse_entries(bytes: &[u8], start: u64) -> Result<PageIndex> {
    let mismatch = |rest: &[u8]| Error::IndexMismatch { offset: start + (bytes.len() - rest.len()) as u64 };
    // Every integer ends with a byte below 0x80, so this counts the entries exactly, whoever wrote them.
    let count = bytes.iter().filter(|byte| **byte < 0x80).count() / 3;
    let mut index =
        PageIndex { pgnos: Vec::with_capacity(count), offsets: Vec::with_capacity(count), end: HEADER_SIZE };
    let mut rest = bytes;
    loop {
        let entry = rest;
        match take_entry(&mut rest, &mut index) {
            Some(true) => {}
            Some(false) => break,
            None => return Err(mismatch(entry)),
        }
    }
    if rest.is_empty() { check_end(index, start) } else { Err(mismatch(rest)) }
}

/// Takes one entry, which must continue the ones before; false for the zero at the end.
fn take_entry(rest: &mut &[u8], index: &mut PageIndex) -> Option<bool> {
    let pgno = u32::try_from(varint::take(rest)?).ok()?;
    if pgno == 0 {
        return Some(false);
    }
    let (offset, size) = (varint::take(rest)?, varint::take(rest)?);
    let ascends = index.pgnos.last().is_none_or(|last| *last < pgno);
    let possible = size > PAGE_HEADER_SIZE as u64 && size <= frame_bound(PageSize::MAX.bytes()) as u64;
    if !ascends || offset != index.end || !possible {
        return None;
    }
    index.pgnos.push(pgno);
    index.offsets.push(offset);
    index.end = index.end.checked_add(size)?;
    Some(true)
}

/// Appends one entry.
pub(crate) fn push_entry(out: &mut Vec<u8>, pgno: Pgno, offset: u64, size: u64) {
    let mut entry = [0; ENTRY_BOUND];
    let mut len = 0;
    for value in [pgno.get().into(), offset, size] {
        len += varint::put(&mut entry[len..], value);
    }
    out.extend_from_slice(&entry[..len]);
}

/// Length and CRC of the index that a file must have, without keeping it.
pub(crate) struct IndexDigest {
    pending: Vec<u8>,
    hasher: FileHasher,
    len: u64,
}

impl IndexDigest {
    const PENDING_LIMIT: usize = 4 << 10;

    pub(crate) fn new() -> Self {
        Self { pending: Vec::new(), hasher: FileHasher::new(), len: 0 }
    }

    /// Adds the entry of a frame.
    pub(crate) fn push(&mut self, pgno: Pgno, offset: u64, size: u64) {
        push_entry(&mut self.pending, pgno, offset, size);
        if self.pending.len() > Self::PENDING_LIMIT {
            self.flush();
        }
    }

    /// Adds the zero at the end; CRC and length in bytes.
    pub(crate) fn finish(&mut self) -> (u64, u64) {
        self.pending.push(0);
        self.flush();
        (self.hasher.finish(), self.len)
    }

    /// Large pieces are hashed much faster than small ones.
    fn flush(&mut self) {
        self.hasher.update(&self.pending);
        self.len += self.pending.len() as u64;
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests;
