//! Fields of a database's first page that depend on who uses the file, and not on the replica.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ltx::PageSize;
use vfs::page_checksum;

/// Offset of the two bytes that say which versions may write and read (SQLite, "Database File Format", section 1.3).
pub(crate) const VERSIONS_AT: usize = 18;
/// What they are with a rollback journal.
pub(crate) const ROLLBACK: [u8; 2] = [1, 1];

/// Changes fields of the first page of a database file. If its pages have checksums, the page gets a new one: else nobody who
/// verifies them could open the database.
pub(crate) fn edit(file: &File, page_size: PageSize, edit: impl FnOnce(&mut [u8])) -> io::Result<()> {
    let mut page = vec![0; page_size.bytes()];
    file.read_exact_at(&mut page, 0)?;
    let has_checksums = page_checksum::has_page_checksums(&page);
    edit(&mut page);
    if has_checksums {
        page_checksum::seal(&mut page);
    }
    file.write_all_at(&page, 0)
}

/// Turns WAL mode off; to be called by [`edit`].
pub(crate) fn use_rollback_journal(page: &mut [u8]) {
    if let Some(versions) = page.get_mut(VERSIONS_AT..VERSIONS_AT + ROLLBACK.len()) {
        versions.copy_from_slice(&ROLLBACK);
    }
}
