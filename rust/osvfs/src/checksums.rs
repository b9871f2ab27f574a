//! Page checksums: the last eight bytes of every page of a database file, verified when the page is read.
//!
//! The format is that of SQLite's checksum VFS (SQLite, "The Checksum VFS Shim"): a database has them if it reserves exactly
//! eight bytes a page, which its header says. Four things differ:
//!
//! * Checksums are made when a page is written to the database file, by a checkpoint as well, and never in the WAL. SQLite's shim
//!   changes pages on their way into the WAL, after SQLite has computed the checksum of the frame over what they were: after a
//!   crash such frames are not recovered, and no replicator accepts them. Frames have checksums of their own.
//! * Every connection makes them, whether it asked for checksums (`cksm=1`) or not: whoever checkpoints would leave stale ones
//!   otherwise. Only a connection that asked verifies them.
//! * SQLite gets pages to see without their checksums, so that those it changes have zeros in their place in the WAL and in a journal.
//!   Where a connection over another file layer moves them into the database, the page makes no claim, and is not said to be damaged.
//! * A new database begins with the eight bytes reserved, without a file control and a VACUUM.
//!
//! Whether a database has them may change, by a VACUUM or a backup, in this process or in another one. A checksum that is written
//! where there should be none destroys content. So a page gets one only when it is known what the first page will say: a
//! checkpoint, and the commit of most transactions, writes that first. Pages that a large transaction writes earlier get their
//! checksums before the commit. A checkpoint that has to leave the first page in the WAL does as it says there (`newest_form`).

use std::fs::File as StdFile;
use std::io;
use std::os::unix::fs::FileExt;

use dbfile::header::{self, MAGIC, page_size};
use dbfile::page_checksum::{has_checksums, is_absent, is_page, is_sound, remove, seal};
use vfs::{Code, Error, Reply, Result};

use new_database::NewDatabase;
pub(crate) use newest_form::Wal;
use sectors::Sectors;
pub use write::{WriteChecksumsError, write_checksums};

mod new_database;
mod newest_form;
mod sectors;
mod write;

/// Bytes of the header of a database.
const HEADER: usize = header::SIZE;

/// How the pages of a database look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    /// Bytes of a page; 0 if there is no database yet.
    page_size: usize,
    has_checksums: bool,
}

impl Form {
    const NONE: Self = Self { page_size: 0, has_checksums: false };

    fn is_known(self) -> bool {
        self.page_size > 0
    }

    /// What a header says; `None` if it is none.
    fn of(header: &[u8]) -> Option<Self> {
        let page_size = page_size(header).filter(|_| header.starts_with(MAGIC))?;
        Some(Self { page_size, has_checksums: has_checksums(header) })
    }

    /// What the header of `file` says; `None` if it has none.
    fn read(file: &StdFile) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        match file.read_exact_at(&mut header, 0) {
            Ok(()) => Ok(Self::of(&header)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether this is a page that should have a checksum.
    fn applies_to(self, buf: &[u8]) -> bool {
        self.has_checksums && buf.len() == self.page_size
    }
}

/// The checksums of one open database.
pub(crate) struct PageChecksums {
    /// What the header said when it was read or written last; `None` if it has to be read once more.
    reading: Option<Form>,
    writing: Writing,
    /// Pages written without a checksum, until it is known whether they have one.
    unsealed: Sectors,
    /// What is written instead of what SQLite wants to write.
    scratch: Vec<u8>,
    /// What a connection has that asked for checksums.
    request: Option<Request>,
}

/// Whether the pages that are written now get checksums.
#[derive(Clone, Copy)]
enum Writing {
    /// The transaction may write another first page later on: until then nobody knows.
    Unknown,
    /// A checkpoint begins, which writes the first page first. If it does not, the newest one says it, in the WAL or in the file.
    AsNewest,
    /// The first page, which was written in this transaction, says it.
    Known(Form),
}

/// Of a connection that asked for checksums.
struct Request {
    verifies: bool,
    new: NewDatabase,
    /// The page whose checksum was wrong at the last failure.
    unsound_page: Option<u64>,
}

impl PageChecksums {
    /// Those of a database just opened. They are verified, and a new database gets them, if that `is_requested`.
    pub(crate) fn new(is_requested: bool) -> Self {
        let request = || Request { verifies: true, new: NewDatabase::default(), unsound_page: None };
        Self {
            reading: None,
            writing: Writing::Unknown,
            unsealed: Sectors::default(),
            scratch: Vec::new(),
            request: is_requested.then(request),
        }
    }

    /// Whether reads are verified, for which they have to be of whole pages.
    pub(crate) fn is_requested(&self) -> bool {
        self.request.is_some()
    }

    /// The size that SQLite is told: a file without content is shown as a database that is only empty.
    pub(crate) fn size(&self, size: u64) -> u64 {
        match &self.request {
            Some(request) if size == 0 => request.new.page_size() as u64,
            _ => size,
        }
    }

    /// The lock has another level: a transaction begins or ends, others have written or may write.
    pub(crate) fn lock_changed(&mut self) {
        self.writing = Writing::Unknown;
        self.unsealed.clear();
        if self.is_requested() {
            self.reading = None;
        }
    }

    /// A checkpoint begins.
    pub(crate) fn checkpoint_begins(&mut self) {
        self.writing = Writing::AsNewest;
    }

    /// Looks at the `read` bytes that were read at `offset`, and takes the checksum of a page away; how many there are for SQLite.
    ///
    /// # Errors
    /// `IOERR_DATA` for a page whose checksum is not that of its content.
    pub(crate) fn after_read(
        &mut self,
        file: &StdFile,
        buf: &mut [u8],
        read: usize,
        offset: u64,
        wal: Wal<'_>,
    ) -> Result<usize> {
        let has_none = self.reading.is_some_and(|form| form.is_known() && !form.has_checksums);
        if offset != 0 && self.request.is_none() && has_none {
            return Ok(read);
        }
        if read == 0 && self.shows_new_database(file, offset)? {
            return Ok(self.request.as_mut().map_or(0, |request| request.new.read(buf, offset)));
        }
        if offset == 0 && read >= HEADER {
            self.reading = Some(Form::of(buf).unwrap_or(Form::NONE));
        }
        if read == buf.len() && is_page(buf) && !self.unsealed.has_any(offset, read) {
            self.look_at_page(file, buf, offset, wal)?;
        }
        Ok(read)
    }

    fn shows_new_database(&self, file: &StdFile, offset: u64) -> Result<bool> {
        match &self.request {
            Some(request) if offset < request.new.page_size() as u64 => is_empty(file),
            _ => Ok(false),
        }
    }

    fn look_at_page(&mut self, file: &StdFile, buf: &mut [u8], offset: u64, wal: Wal<'_>) -> Result<()> {
        let form = self.form_to_read(file)?;
        if !form.applies_to(buf) {
            return Ok(());
        }
        if is_sound(buf) {
            // Nobody else's bytes, even if the header says otherwise by now.
            remove(buf);
            return Ok(());
        }
        if is_absent(buf) || !self.request.as_ref().is_some_and(|request| request.verifies) {
            return Ok(());
        }
        // In WAL mode another process may have taken the checksums away since the header was read.
        self.reading = None;
        if !self.form_to_read(file)?.applies_to(buf) {
            return Ok(());
        }
        // Or the first page that says so is still in the WAL.
        if wal.form(buf.len())?.is_some_and(|form| !form.has_checksums) {
            return Ok(());
        }
        if let Some(request) = &mut self.request {
            request.unsound_page = Some(offset / buf.len() as u64 + 1);
        }
        Err(Code::IOERR_DATA.into())
    }

    fn form_to_read(&mut self, file: &StdFile) -> Result<Form> {
        let form = match self.reading {
            Some(form) if form.is_known() => form,
            // Its first page was in the WAL alone when this connection was opened, say.
            _ => self.form_in_file(file)?,
        };
        Ok(*self.reading.insert(form))
    }

    /// What to write when SQLite wants to write `buf` at `offset`.
    ///
    /// # Errors
    /// `IOERR_READ` if the header, or the WAL, cannot be read.
    pub(crate) fn before_write<'a>(
        &'a mut self,
        file: &StdFile,
        buf: &'a [u8],
        offset: u64,
        wal: Wal<'_>,
    ) -> Result<&'a [u8]> {
        if offset == 0 && buf.len() >= HEADER {
            let form = Form::of(buf).unwrap_or(Form::NONE);
            self.writing = Writing::Known(form);
            self.reading = Some(form);
        }
        let form = match self.writing {
            Writing::Unknown => {
                self.unsealed.add(offset, buf.len());
                return Ok(buf);
            }
            Writing::AsNewest => match wal.form(buf.len())? {
                Some(form) => form,
                None => self.form_in_file(file)?,
            },
            Writing::Known(form) => form,
        };
        self.writing = Writing::Known(form);
        if !form.has_checksums {
            return Ok(buf);
        }
        let is_whole =
            offset.is_multiple_of(form.page_size as u64) && buf.len().is_multiple_of(form.page_size);
        if !is_whole {
            // A backup into a database with another page size writes pages in parts.
            self.unsealed.add(offset, buf.len());
            return Ok(buf);
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(buf);
        self.scratch.chunks_exact_mut(form.page_size).for_each(seal);
        Ok(&self.scratch)
    }

    /// The transaction, or the checkpoint, has written everything: pages that were written before it was known how get their
    /// checksums, by `write`, and the next one begins.
    ///
    /// # Errors
    /// `IOERR_READ`; those of `write`.
    pub(crate) fn finish(
        &mut self,
        file: &StdFile,
        mut write: impl FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<()> {
        let writing = std::mem::replace(&mut self.writing, Writing::Unknown);
        if self.unsealed.is_empty() {
            return Ok(());
        }
        let form = if let Writing::Known(form) = writing { form } else { self.form_in_file(file)? };
        let unsealed = std::mem::take(&mut self.unsealed);
        if !form.has_checksums {
            return Ok(());
        }
        for offset in unsealed.pages(form.page_size as u64) {
            self.scratch.resize(form.page_size, 0);
            match file.read_exact_at(&mut self.scratch, offset) {
                // What was written there was cut off since.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                read => read.map_err(|error| read_failed(&error))?,
            }
            seal(&mut self.scratch);
            write(&self.scratch, offset)?;
        }
        Ok(())
    }

    /// How the header in the file says that pages look. Without one, as they will look.
    fn form_in_file(&self, file: &StdFile) -> Result<Form> {
        let read = Form::read(file).map_err(|error| read_failed(&error))?;
        let new = || self.request.as_ref().map_or(Form::NONE, |request| request.new.form());
        Ok(read.unwrap_or_else(new))
    }

    /// Answers `PRAGMA checksum_verification` and `ltx_unsound_page`. Takes note of `page_size` and `auto_vacuum` for a new
    /// database: SQLite cannot, because it is shown one that exists.
    ///
    /// # Errors
    /// What reading the header answers.
    pub(crate) fn pragma(&mut self, file: &StdFile, name: &str, value: Option<&str>) -> Result<Reply> {
        let Some(request) = &mut self.request else { return Ok(Reply::NotFound) };
        if name.eq_ignore_ascii_case("checksum_verification") {
            if let Some(value) = value {
                request.verifies = is_yes(value);
            }
            let verifies = request.verifies;
            let answer = u8::from(self.form_to_read(file)?.has_checksums && verifies);
            return Ok(Reply::Text(answer.to_string()));
        }
        if name.eq_ignore_ascii_case("ltx_unsound_page") {
            let page = request.unsound_page.map_or_else(String::new, |page| page.to_string());
            return Ok(Reply::Text(page));
        }
        if is_empty(file)? { Ok(request.new.pragma(name, value)) } else { Ok(Reply::NotFound) }
    }
}

fn is_yes(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(value.as_str(), "yes" | "on" | "true")
        || value.starts_with("enable")
        || value.parse::<i64>().is_ok_and(|number| number != 0)
}

fn is_empty(file: &StdFile) -> Result<bool> {
    let metadata = file.metadata().map_err(|error| Error::os(Code::IOERR_FSTAT, &error))?;
    Ok(metadata.len() == 0)
}

fn read_failed(error: &io::Error) -> Error {
    Error::os(Code::IOERR_READ, error)
}

#[cfg(test)]
mod tests;
