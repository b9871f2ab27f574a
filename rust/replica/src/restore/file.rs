//! One LTX file taken apart into units of work, and the verdict on it put together again.

use std::sync::{Mutex, PoisonError};

use ltx::{Checksum, Error as LtxError, FileHasher, Header, RollingChecksum};

use crate::client::FileInfo;
use crate::error::{Error, Result};
use crate::head::{ReadFn, read_header};
use crate::restore::index::{Entry, IndexCursor, IndexError, TAIL, TERMINATOR, check_file_checksum};
use crate::restore::marks::Parts;

/// Compressed bytes that one unit has at most, one frame aside; also the size up to which a file is read whole.
pub(crate) const UNIT: usize = 1 << 20;

/// Database bytes that one unit has at most.
pub(crate) const UNIT_PAGES: usize = 8 << 20;

/// A range of frames that lie end to end.
pub(crate) struct Unit {
    /// Offset in bytes of the first frame.
    pub(crate) offset: u64,
    /// Length in bytes, the end mark of the last unit included.
    pub(crate) len: usize,
    pub(crate) entries: Vec<Entry>,
    /// Number of the unit within its file, from 0.
    pub(crate) sequence: u32,
    /// The end mark of the page block follows the frames.
    pub(crate) is_last: bool,
}

/// What the checksum over one unit contributes, or over several that lie end to end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) crc: u64,
    pub(crate) len: u64,
    /// Rolling checksum of the unit's pages, if the file needs it.
    pub(crate) rolling: RollingChecksum,
}

impl Part {
    /// This one, and the one that follows it.
    pub(crate) fn and(mut self, next: Self) -> Self {
        self.rolling.add(next.rolling.get());
        let crc = FileHasher::combine(self.crc, next.crc, next.len);
        Self { crc, len: self.len.saturating_add(next.len), rolling: self.rolling }
    }
}

/// A file whose header and trailer have been read.
pub(crate) struct OpenFile {
    pub(crate) info: FileInfo,
    /// Place in the plan, from 1; higher is newer.
    pub(crate) number: u32,
    pub(crate) header: Header,
    /// CRC of the header.
    pub(crate) header_crc: u64,
    /// What an earlier restore has done.
    kept: Parts,
    fold: Mutex<Fold>,
}

/// The part of an [`OpenFile`] that walks its index, by one worker at a time.
pub(crate) struct Units {
    cursor: IndexCursor,
    info: FileInfo,
    sequence: u32,
    ended: bool,
}

/// Joins the checksums of units, which end in any order.
struct Fold {
    parts: Parts,
    verdict: Option<Verdict>,
}

impl OpenFile {
    /// Reads header and trailer through `read`, and goes on with what is `kept`.
    pub(crate) fn open(
        info: FileInfo,
        number: u32,
        kept: Parts,
        read: &mut ReadFn<'_>,
    ) -> Result<(Self, Units)> {
        let (header, header_crc) = read_header(&info, read)?;
        let mut tail = [0; TAIL];
        read(info.size.saturating_sub(TAIL as u64), &mut tail)?;
        let format = |source| Error::Format { file: info.key(), source };
        let cursor = IndexCursor::new(header, &tail, info.size).map_err(format)?;
        let fold = Mutex::new(Fold { parts: kept.clone(), verdict: None });
        let file = Self { info, number, header, header_crc, kept, fold };
        Ok((file, Units { cursor, info, sequence: 0, ended: false }))
    }

    /// Whether the database checksum has to be computed from the pages.
    pub(crate) fn tracks_pages(&self) -> bool {
        self.header.is_snapshot() && !self.header.flags.no_checksum
    }

    /// Whether an earlier restore has done this unit.
    pub(crate) fn has(&self, sequence: u32) -> bool {
        self.kept.has(sequence)
    }

    /// Says how many units there are; to be called before the last one is added. It gets the verdict itself, if it is good, when
    /// none is left to be added.
    pub(crate) fn set_verdict(&self, verdict: Verdict) -> Result<Option<Verdict>> {
        let mut fold = self.fold.lock().unwrap_or_else(PoisonError::into_inner);
        fold.verdict = Some(verdict);
        self.judge(&mut fold)
    }

    /// Adds the checksum of a unit. The one that completes the file gets the verdict, if it is good.
    pub(crate) fn add(&self, sequence: u32, part: Part) -> Result<Option<Verdict>> {
        let mut fold = self.fold.lock().unwrap_or_else(PoisonError::into_inner);
        fold.parts.add(sequence, part, 0);
        self.judge(&mut fold)
    }

    /// Only once.
    fn judge(&self, fold: &mut Fold) -> Result<Option<Verdict>> {
        let next = fold.parts.next;
        let complete = fold.verdict.take_if(|verdict| verdict.units == next);
        if let Some(verdict) = complete {
            let checked = self.check(&fold.parts.joined, &verdict);
            checked.map_err(|source| Error::Format { file: self.info.key(), source })?;
        }
        Ok(complete)
    }

    fn check(&self, pages: &Part, verdict: &Verdict) -> std::result::Result<(), LtxError> {
        let crc = FileHasher::combine(self.header_crc, pages.crc, pages.len);
        check_file_checksum(FileHasher::combine(crc, verdict.crc, verdict.len), &verdict.trailer)?;
        let (expected, actual) = (verdict.trailer.post_apply_checksum, pages.rolling.get());
        if self.tracks_pages() && expected != actual {
            return Err(LtxError::DatabaseChecksumMismatch { expected, actual });
        }
        if self.header.flags.no_checksum != expected.is_none() {
            return Err(LtxError::PostApplyChecksum { actual: expected });
        }
        Ok(())
    }
}

/// What a file says about itself behind its page block; known when its index has been walked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    /// How many units the file has.
    pub(crate) units: u32,
    pub(crate) trailer: ltx::Trailer,
    crc: u64,
    len: u64,
}

impl Units {
    /// The next unit; `None` once the end mark was in one.
    pub(crate) fn next(&mut self, page_bytes: usize, read: &mut ReadFn<'_>) -> Result<Option<Unit>> {
        if self.ended {
            return Ok(None);
        }
        let (offset, sequence) = (self.cursor.frame_end(), self.sequence);
        let (mut entries, mut len) = (Vec::new(), 0);
        while len < UNIT && entries.len() * page_bytes < UNIT_PAGES {
            match self.cursor.next(read) {
                Ok(Some(entry)) => {
                    len += entry.size as usize;
                    entries.push(entry);
                }
                Ok(None) => {
                    self.ended = true;
                    len += TERMINATOR;
                    break;
                }
                Err(IndexError::Read(error)) => return Err(error),
                Err(IndexError::Format(source)) => {
                    return Err(Error::Format { file: self.info.key(), source });
                }
            }
        }
        self.sequence += 1;
        Ok(Some(Unit { offset, len, entries, sequence, is_last: self.ended }))
    }

    /// Known after [`Units::next`] has given the last unit.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let (crc, len) = self.cursor.hash();
        self.ended.then(|| Verdict { units: self.sequence, trailer: self.cursor.trailer(), crc, len })
    }
}

/// What a file with checksums says about the database before and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) before: Checksum,
    pub(crate) after: Checksum,
}

impl Link {
    /// `None` for files without checksums.
    pub(crate) fn of(header: &Header, verdict: &Verdict) -> Option<Self> {
        let after = verdict.trailer.post_apply_checksum;
        (!header.flags.no_checksum).then_some(Self { before: header.pre_apply_checksum, after })
    }
}
