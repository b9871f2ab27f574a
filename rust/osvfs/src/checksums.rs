//! Page checksums: the last eight bytes of every page of a database file, verified when the page is read.
//!
//! The format is that of SQLite's checksum VFS (SQLite, "The Checksum VFS Shim"): a database has them if it reserves exactly
//! eight bytes a page, which byte 20 of its header says. Two things differ:
//!
//! * Checksums are made when a page is written to the database file, by a checkpoint as well, and never in the WAL. SQLite's shim
//!   changes pages on their way into the WAL, after SQLite has computed the checksum of the frame over what they were: after a
//!   crash such frames are not recovered, and no replicator accepts them. Frames have checksums of their own.
//! * A new database begins with the eight bytes reserved, without a file control and a VACUUM.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use vfs::page_checksum::{MAGIC, SIZE, SMALLEST_PAGE, has_checksums, is_page, is_sound, seal};
use vfs::{Code, Reply, Result};

use crate::fd_pool::{Descriptor, OpenHow};

/// Page size of a new database: SQLite's own default.
const NEW_PAGE: usize = 4096;

/// The checksums of one open database.
pub(crate) struct PageChecksums {
    /// The database reserves the bytes for them.
    is_active: bool,
    verifies: bool,
    scratch: Vec<u8>,
}

impl PageChecksums {
    pub(crate) fn new() -> Self {
        Self { is_active: false, verifies: true, scratch: Vec::new() }
    }

    /// The size that SQLite is told: a file without content is shown as a database that is only empty.
    pub(crate) fn size(size: u64) -> u64 {
        if size == 0 { NEW_PAGE as u64 } else { size }
    }

    /// Looks at what was read at `offset`; how many bytes there are.
    ///
    /// # Errors
    /// `IOERR_DATA` for a page whose checksum is not that of its content.
    pub(crate) fn after_read(&mut self, buf: &mut [u8], read: usize, offset: u64) -> Result<usize> {
        if read == 0 && offset < NEW_PAGE as u64 {
            let page = new_database();
            let from = usize::try_from(offset).unwrap_or(NEW_PAGE).min(NEW_PAGE);
            let len = buf.len().min(NEW_PAGE - from);
            buf[..len].copy_from_slice(&page[from..from + len]);
            self.see(buf, offset);
            return Ok(len);
        }
        if read == buf.len() {
            self.see(buf, offset);
            if self.is_active && self.verifies && is_page(buf) && !is_sound(buf) {
                return Err(Code::IOERR_DATA.into());
            }
        }
        Ok(read)
    }

    /// The bytes to write for a page that is about to be written at `offset`.
    pub(crate) fn before_write<'a>(&'a mut self, buf: &'a [u8], offset: u64) -> &'a [u8] {
        self.see(buf, offset);
        if !self.is_active || !is_page(buf) {
            return buf;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(buf);
        seal(&mut self.scratch);
        &self.scratch
    }

    /// The header tells whether the database has checksums.
    fn see(&mut self, buf: &[u8], offset: u64) {
        if offset == 0 && buf.len() >= 100 && buf.starts_with(MAGIC) {
            self.is_active = has_checksums(buf);
        }
    }

    /// `PRAGMA checksum_verification`, and `page_size`, which such a database cannot change.
    pub(crate) fn pragma(&mut self, name: &str, value: Option<&str>) -> Reply {
        if name.eq_ignore_ascii_case("checksum_verification") {
            if let Some(value) = value {
                let value = value.to_ascii_lowercase();
                self.verifies = matches!(value.as_str(), "yes" | "on" | "true")
                    || value.starts_with("enable")
                    || value.parse::<i64>().is_ok_and(|number| number != 0);
            }
            return Reply::Text(u8::from(self.is_active && self.verifies).to_string());
        }
        if self.is_active && value.is_some() && name.eq_ignore_ascii_case("page_size") {
            return Reply::Done;
        }
        Reply::NotFound
    }
}

/// Writes the checksum of every page of a database that nobody has open: one that was restored from a replica, whose pages were
/// taken from a WAL. How many pages there are; 0 if the database has no checksums.
///
/// # Errors
/// What opening, reading and writing the file answers.
pub fn write_checksums(database: &Path) -> io::Result<u64> {
    let descriptor = Descriptor::open(&fs::canonicalize(database)?, OpenHow::WRITE)?;
    let file = descriptor.file();
    let mut header = [0; 100];
    if file.metadata()?.len() < 100 {
        return Ok(0);
    }
    file.read_exact_at(&mut header, 0)?;
    if !header.starts_with(MAGIC) || !has_checksums(&header) {
        return Ok(0);
    }
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => usize::from(size),
    };
    if !page_size.is_power_of_two() || page_size < SMALLEST_PAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the header has no page size that SQLite allows",
        ));
    }
    let (pages, mut page) = (file.metadata()?.len() / page_size as u64, vec![0; page_size]);
    for index in 0..pages {
        let offset = index * page_size as u64;
        file.read_exact_at(&mut page, offset)?;
        if !is_sound(&page) {
            seal(&mut page);
            file.write_all_at(&page, offset)?;
        }
    }
    file.sync_all()?;
    Ok(pages)
}

/// The one page of a database in which nothing was made yet (SQLite, "Database File Format", sections 1.3 and 1.6), except that it
/// reserves the bytes for checksums.
fn new_database() -> [u8; NEW_PAGE] {
    let mut page = [0; NEW_PAGE];
    page[..16].copy_from_slice(MAGIC);
    page[16..18].copy_from_slice(&4096u16.to_be_bytes());
    // Rollback journal; reserved bytes; the three fractions that never differ; one page.
    page[18..24].copy_from_slice(&[1, 1, SIZE as u8, 64, 32, 32]);
    page[28..32].copy_from_slice(&1u32.to_be_bytes());
    // A leaf of a table without cells, whose content would end before the checksum.
    page[100] = 13;
    page[105..107].copy_from_slice(&4088u16.to_be_bytes());
    seal(&mut page);
    page
}

#[cfg(test)]
mod tests;
