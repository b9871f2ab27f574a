//! What the newest first page says, which may be in the WAL still.
//!
//! A checkpoint moves the newest frame of each page, unless that is too new for a reader: then the page is left out altogether. So
//! pages may get into the file while the page that says what they look like stays behind. A transaction that gives checksums to a
//! database, or takes them away, writes every page. So a page whose newest frame is older than that of page 1 looks as page 1 says
//! all the same: either it was written since, or nothing has changed since.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use durable::sibling;
use vfs::Result;

use super::{Form, HEADER, read_failed};
use crate::fd_pool::open_above_stderr;
use crate::shm::{Frame, Shm};

/// Bytes before the first frame, and before the page in each frame.
const WAL_HEADER: u64 = 32;
const FRAME_HEADER: usize = 24;

/// The WAL of an open database, which may not have one.
pub(crate) struct Wal<'a> {
    shm: Option<&'a mut Shm>,
    database: &'a Path,
}

impl<'a> Wal<'a> {
    /// That of the database at `database`, whose wal-index is `shm`.
    pub(crate) fn new(shm: Option<&'a mut Shm>, database: &'a Path) -> Self {
        Self { shm, database }
    }

    /// What the newest first page says, if no checkpoint has moved it into the database yet.
    ///
    /// # Errors
    /// `IOERR_READ` if the WAL cannot be read; those of the wal-index.
    pub(super) fn form(self, page_size: usize) -> Result<Option<Form>> {
        let newest = self.shm.map_or(Ok(None), Shm::newest_frame_of_page_1)?;
        let read = |frame| read_form(self.database, frame, page_size).map_err(|error| read_failed(&error));
        newest.map(read).transpose()
    }
}

/// What page 1 says in this frame. Nothing if it is not there, since the database has another name by now, say.
fn read_form(database: &Path, frame: Frame, page_size: usize) -> io::Result<Form> {
    let mut bytes = [0; FRAME_HEADER + HEADER];
    let offset = WAL_HEADER + u64::from(frame.number - 1) * (FRAME_HEADER + page_size) as u64;
    match open_wal(database).and_then(|wal| wal.read_exact_at(&mut bytes, offset)) {
        Err(error) if is_missing(&error) => return Ok(Form::NONE),
        read => read?,
    }
    let (header, page) = bytes.split_at(FRAME_HEADER);
    let is_it = page_number(header) == 1 && header[8..16] == frame.salts;
    Ok(Form::of(page).filter(|_| is_it).unwrap_or(Form::NONE))
}

/// Whether any first page in the WAL of a database that nobody has open says something else than `form`. Frames that were never
/// committed count as well.
///
/// # Errors
/// What `open` and `read` answer.
pub(super) fn is_other_in_wal(database: &Path, form: Form) -> io::Result<bool> {
    let mut bytes = [0; FRAME_HEADER + HEADER];
    let found = open_wal(database).and_then(|wal| {
        let mut wal_header = [0; WAL_HEADER as usize];
        wal.read_exact_at(&mut wal_header, 0)?;
        // The rest of the file, from the first frame of an earlier use, counts for nothing.
        for offset in (WAL_HEADER..).step_by(FRAME_HEADER + form.page_size) {
            wal.read_exact_at(&mut bytes, offset)?;
            let (header, page) = bytes.split_at(FRAME_HEADER);
            if header[8..16] != wal_header[16..24] {
                break;
            }
            if page_number(header) == 1 && Form::of(page) != Some(form) {
                return Ok(true);
            }
        }
        Ok(false)
    });
    match found {
        Err(error) if is_missing(&error) => Ok(false),
        found => found,
    }
}

fn page_number(frame_header: &[u8]) -> u32 {
    frame_header.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}

/// No lock lives on a WAL, so it may be closed at any time.
fn open_wal(database: &Path) -> io::Result<File> {
    open_above_stderr(OpenOptions::new().read(true), &sibling(database, "-wal"))
}
