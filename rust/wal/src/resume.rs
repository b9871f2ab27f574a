//! Finding out whether a log still continues where an earlier reading ended.

use ltx::{PageSize, ReadAt};

use crate::error::{Error, Result};
use crate::frame::{FrameHeader, frame_size};
use crate::header::{Salt, WalHeader};
use crate::reader::{Cursor, WalReader, block_bytes};
use crate::window::{Window, read_up_to};

/// What the header of a WAL says about a generation read earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderState {
    /// No valid header: the file is empty, cut off, or its header is being written.
    Absent,
    /// The generation is the same.
    Same,
    /// The log was restarted; [`WalHeader::follows`] tells whether by a single counted restart.
    Restarted(WalHeader),
}

/// Compares the header that `io` has now with the `known` one.
///
/// # Errors
///
/// As [`WalHeader::read`].
pub fn probe_header<R: ReadAt + ?Sized>(io: &R, known: &WalHeader) -> Result<HeaderState> {
    Ok(match WalHeader::read(io)? {
        None => HeaderState::Absent,
        Some(header) if header == *known => HeaderState::Same,
        Some(header) => HeaderState::Restarted(header),
    })
}

/// A cursor at `offset` bytes, with the checksum taken from the header of the frame before.
///
/// That frame must carry the salts of `header`; its page is not verified, which is why the cursor proves nothing
/// about the frames before it. `None`: the frame before is missing or of another generation.
///
/// # Errors
///
/// [`Error::UnalignedOffset`] if no frame can begin at `offset`; [`Error::Io`].
pub fn resume_unverified<R: ReadAt + ?Sized>(
    io: &R,
    header: WalHeader,
    offset: u64,
) -> Result<Option<Cursor>> {
    check_aligned(header.page_size, offset)?;
    let start = Cursor::start(header);
    if offset == start.offset {
        return Ok(Some(start));
    }
    let mut bytes = [0; FrameHeader::SIZE];
    let at = offset.saturating_sub(frame_size(header.page_size) as u64);
    if read_up_to(io, &mut bytes, at)? < bytes.len() {
        return Ok(None);
    }
    let previous = FrameHeader::parse(&bytes).filter(|frame| frame.salt == header.salt);
    Ok(previous.map(|frame| Cursor { header, offset, checksum: frame.checksum }))
}

/// Walks from the first frame to `end_offset` bytes and verifies every checksum. `None`: the file's header is
/// not `header`, or the valid part of the log ends before.
///
/// # Errors
///
/// [`Error::UnalignedOffset`] if no frame can end at `end_offset`; the errors of [`WalHeader::read`].
pub fn verify_chain<R: ReadAt + ?Sized>(
    io: &R,
    header: &WalHeader,
    end_offset: u64,
) -> Result<Option<Cursor>> {
    check_aligned(header.page_size, end_offset)?;
    if probe_header(io, header)? != HeaderState::Same {
        return Ok(None);
    }
    let mut reader = WalReader::resume(io, Cursor::start(*header));
    reader.limit(end_offset);
    while reader.next_frame()?.is_some() {}
    Ok(Some(reader.cursor()).filter(|cursor| cursor.offset == end_offset))
}

/// The salt pairs of the frames in the file, in order of first appearance, up to and with `until`.
///
/// Frames behind the valid part of a log show which generations wrote before; their checksums are not verified.
/// `page_size` is that of the WAL.
///
/// # Errors
///
/// [`Error::Io`].
pub fn frame_salts<R: ReadAt + ?Sized>(io: &R, page_size: PageSize, until: Salt) -> Result<Vec<Salt>> {
    let size = frame_size(page_size);
    let mut window = Window::default();
    let mut salts: Vec<Salt> = Vec::new();
    let mut offset = WalHeader::SIZE as u64;
    loop {
        let frame = window.get(io, offset, size, block_bytes(size, u64::MAX))?;
        let whole = (frame.len() == size).then(|| frame.first_chunk()).flatten();
        let Some(header) = whole.and_then(FrameHeader::parse) else { return Ok(salts) };
        // Generations follow each other, so a long list is searched only when the pair changes.
        if salts.last() != Some(&header.salt) && !salts.contains(&header.salt) {
            salts.push(header.salt);
        }
        if header.salt == until {
            return Ok(salts);
        }
        offset = offset.saturating_add(size as u64);
    }
}

fn check_aligned(page_size: PageSize, offset: u64) -> Result<()> {
    let size = frame_size(page_size) as u64;
    let is_aligned =
        offset.checked_sub(WalHeader::SIZE as u64).is_some_and(|bytes| bytes.is_multiple_of(size));
    is_aligned.then_some(()).ok_or(Error::UnalignedOffset { offset, page_size: page_size.get() })
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
