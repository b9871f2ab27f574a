//! Walking the frames of a WAL.

use ltx::ReadAt;

use crate::checksum::WalChecksum;
use crate::error::Result;
use crate::frame::{FrameHeader, frame_checksum, frame_size};
use crate::header::WalHeader;
use crate::window::{BLOCK_BYTES, Window};

/// A place between two frames: all that is needed to go on reading there later and notice a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Header of the generation being read.
    pub header: WalHeader,
    /// Offset of the next frame, in bytes from the start of the WAL.
    pub offset: u64,
    /// Running checksum before the next frame.
    pub checksum: WalChecksum,
}

impl Cursor {
    /// The place before the first frame.
    #[must_use]
    pub fn start(header: WalHeader) -> Cursor {
        Cursor { header, offset: WalHeader::SIZE as u64, checksum: header.checksum }
    }

    /// How many frames lie before; comparable with `mxFrame`.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.offset.saturating_sub(WalHeader::SIZE as u64) / frame_size(self.header.page_size) as u64
    }
}

/// One valid frame; the page is borrowed from the reader.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    /// Offset of the frame's header, in bytes from the start of the WAL.
    pub offset: u64,
    /// The page.
    pub page: &'a [u8],
}

/// Reads valid frames in order, many of them with each read of the file.
///
/// Frames are valid, not committed: a large transaction writes frames before its commit frame, may roll back, and
/// the next one then overwrites them. Keep cursors taken after commit frames only ([`PageMap`](crate::PageMap)
/// does), and set [`WalReader::limit`] to what the wal-index calls committed while others write.
#[derive(Debug)]
pub struct WalReader<R> {
    io: R,
    cursor: Cursor,
    limit: u64,
    window: Window,
}

impl<R: ReadAt> WalReader<R> {
    /// Starts at the first frame. `None`: there is no valid header, so there is no log.
    ///
    /// # Errors
    ///
    /// As [`WalHeader::read`].
    pub fn open(io: R) -> Result<Option<WalReader<R>>> {
        let header = WalHeader::read(&io)?;
        Ok(header.map(|header| WalReader::resume(io, Cursor::start(header))))
    }

    /// Goes on at `cursor`, which is trusted: if the log was restarted since, its frames have other salts and the
    /// reader finds nothing.
    pub fn resume(io: R, cursor: Cursor) -> WalReader<R> {
        WalReader { io, cursor, limit: u64::MAX, window: Window::default() }
    }

    /// Moves to `cursor` and forgets what was read ahead. The buffer is kept: cheaper than a new reader.
    pub fn seek(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        self.window.clear();
    }

    /// Treats the WAL as if it ended at `offset_end` bytes: nothing beyond is read.
    pub fn limit(&mut self, offset_end: u64) {
        self.limit = offset_end;
    }

    /// The place after the last frame returned.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The file being read.
    #[must_use]
    pub fn get_ref(&self) -> &R {
        &self.io
    }

    /// The next frame. `None`: the valid part of the log ends here, by the file's end, the limit, other salts, a
    /// checksum that does not continue the chain, or page number 0. Asking again later reads the file again.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if the file could not be read, which is not an end.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        let offset = self.cursor.offset;
        let Some(header) = self.advance()? else {
            // What was read ahead may be overwritten by a writer before the next call.
            self.window.clear();
            return Ok(None);
        };
        let at = offset.saturating_add(FrameHeader::SIZE as u64);
        let page = self.window.lend(at, self.cursor.header.page_size.bytes());
        Ok(Some(Frame { header, offset, page }))
    }

    /// Validates the frame at the cursor and steps over it.
    fn advance(&mut self) -> Result<Option<FrameHeader>> {
        let Cursor { header: wal, offset, checksum } = self.cursor;
        let size = frame_size(wal.page_size);
        let Some(end) = offset.checked_add(size as u64).filter(|end| *end <= self.limit) else {
            return Ok(None);
        };
        // Frame numbers are 32 bits wide in SQLite; a longer log cannot be one.
        if self.cursor.frames() >= u64::from(u32::MAX) {
            return Ok(None);
        }
        let bytes = self.window.get(&self.io, offset, size, block_bytes(size, self.limit - offset))?;
        if bytes.len() < size {
            return Ok(None);
        }
        let Some((head, page)) = bytes.split_first_chunk::<{ FrameHeader::SIZE }>() else { return Ok(None) };
        let Some(header) = FrameHeader::parse(head).filter(|header| header.salt == wal.salt) else {
            return Ok(None);
        };
        let sum = frame_checksum(checksum, wal.byte_order, head, page);
        if sum != header.checksum {
            return Ok(None);
        }
        self.cursor = Cursor { header: wal, offset: end, checksum: sum };
        Ok(Some(header))
    }
}

/// How much to read at once: whole frames, so that no frame is read in two halves, and nothing beyond the limit.
pub(crate) fn block_bytes(frame_size: usize, available: u64) -> usize {
    let available = usize::try_from(available).unwrap_or(usize::MAX);
    let most = BLOCK_BYTES.min(available).max(frame_size);
    most - most % frame_size
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
