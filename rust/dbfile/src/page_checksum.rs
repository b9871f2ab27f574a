//! Page checksums: the last eight bytes of every page of a database file (SQLite, "The Checksum VFS Shim").
//!
//! A database has them if it reserves exactly eight bytes a page, which its header says.

use crate::SMALLEST_PAGE;
use crate::header::{MAGIC, RESERVED_BYTES};

/// Bytes of a checksum.
pub const SIZE: usize = 8;

/// Whether the first page of a database, as it is in the file, says that its pages have checksums, and has one itself. Others may
/// reserve eight bytes a page as well.
#[must_use]
pub fn has_page_checksums(page_1: &[u8]) -> bool {
    is_page(page_1) && page_1.starts_with(MAGIC) && has_checksums(page_1) && is_sound(page_1)
}

/// Whether a header, 100 bytes or more, says that the pages have checksums.
#[must_use]
pub fn has_checksums(header: &[u8]) -> bool {
    header.get(RESERVED_BYTES).copied().map(usize::from) == Some(SIZE)
}

/// Whether these bytes can be a whole page.
#[must_use]
pub fn is_page(buf: &[u8]) -> bool {
    buf.len() >= SMALLEST_PAGE && buf.len().is_power_of_two()
}

/// Whether the checksum of a page is that of its content.
#[must_use]
pub fn is_sound(page: &[u8]) -> bool {
    page.split_last_chunk::<SIZE>().is_some_and(|(content, checksum)| *checksum == checksum_of(content))
}

/// Whether a page has zeros where its checksum would be: it makes no claim.
#[must_use]
pub fn is_absent(page: &[u8]) -> bool {
    page.split_last_chunk::<SIZE>().is_some_and(|(_, checksum)| *checksum == [0; SIZE])
}

/// Takes the checksum of a page away.
pub fn remove(page: &mut [u8]) {
    if let Some((_, checksum)) = page.split_last_chunk_mut::<SIZE>() {
        *checksum = [0; SIZE];
    }
}

/// Gives a page the checksum of its content, as it has in the database file. A page of the WAL has none.
pub fn seal(page: &mut [u8]) {
    if !is_page(page) {
        return;
    }
    let (content, checksum) = page.split_at_mut(page.len() - SIZE);
    checksum.copy_from_slice(&checksum_of(content));
}

/// Changes fields of the first page of a database. If its pages have checksums, the page gets a new one: else nobody who verifies
/// them could open the database.
pub fn edit_page_1(page_1: &mut [u8], edit: impl FnOnce(&mut [u8])) {
    let has_checksums = has_page_checksums(page_1);
    edit(page_1);
    if has_checksums {
        seal(page_1);
    }
}

/// Two running sums over pairs of little-endian words.
fn checksum_of(content: &[u8]) -> [u8; SIZE] {
    let (mut s1, mut s2) = (0u32, 0u32);
    for pair in content.chunks_exact(8) {
        let [a, b, c, d, e, f, g, h] = *pair else { continue };
        s1 = s1.wrapping_add(u32::from_le_bytes([a, b, c, d])).wrapping_add(s2);
        s2 = s2.wrapping_add(u32::from_le_bytes([e, f, g, h])).wrapping_add(s1);
    }
    let mut checksum = [0; SIZE];
    checksum[..4].copy_from_slice(&s1.to_le_bytes());
    checksum[4..].copy_from_slice(&s2.to_le_bytes());
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{VERSIONS, WAL_VERSION, is_wal, use_rollback_journal};

    fn page_1(reserved: u8) -> Vec<u8> {
        let mut page = vec![7; SMALLEST_PAGE];
        page[..MAGIC.len()].copy_from_slice(MAGIC);
        page[VERSIONS].fill(WAL_VERSION);
        page[RESERVED_BYTES] = reserved;
        page
    }

    #[test]
    fn a_page_that_had_a_checksum_has_the_right_one_after_it_was_changed() {
        let mut page = page_1(8);
        seal(&mut page);
        edit_page_1(&mut page, use_rollback_journal);
        assert!(has_page_checksums(&page) && !is_wal(&page));
    }

    #[test]
    fn a_page_that_had_none_gets_none() {
        for reserved in [0, 8] {
            let mut page = page_1(reserved);
            edit_page_1(&mut page, use_rollback_journal);
            assert_eq!(page[SMALLEST_PAGE - SIZE..], [7; SIZE], "{reserved}");
            assert!(!is_wal(&page));
        }
    }
}
