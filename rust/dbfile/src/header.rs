//! The header of a database: the first 100 bytes of its first page (section 1.3). Numbers are big-endian.
//!
//! A field is the range of its bytes. Whether they are there is for the caller to know: the functions take any length.

use std::ops::Range;

use crate::{LARGEST_PAGE, SMALLEST_PAGE};

/// Bytes of the header.
pub const SIZE: usize = 100;

/// What every database begins with.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Bytes of a page; 1 stands for 65536. See [`page_size`].
pub const PAGE_SIZE: Range<usize> = 16..18;
/// The versions of the format that are needed to write and to read, a byte each: [`WAL_VERSION`] or [`ROLLBACK_VERSIONS`].
pub const VERSIONS: Range<usize> = 18..20;
/// The byte that says how many bytes SQLite leaves alone at the end of each page.
pub const RESERVED_BYTES: usize = 20;
/// The three payload fractions, which never differ from [`FRACTION_VALUES`].
pub const FRACTIONS: Range<usize> = 21..24;
/// The change counter: another value makes connections forget what they have cached. Not every transaction of WAL mode counts.
pub const CHANGE_COUNTER: Range<usize> = 24..28;
/// Pages of the database, if [`VERSION_VALID_FOR`] equals [`CHANGE_COUNTER`].
pub const PAGE_COUNT: Range<usize> = 28..32;
/// The schema cookie.
pub const SCHEMA_COOKIE: Range<usize> = 40..44;
/// The largest root page where free pages are given back by themselves or when asked to; else 0.
pub const LARGEST_ROOT: Range<usize> = 52..56;
/// Whether free pages are given back when asked to only.
pub const INCREMENTAL_VACUUM: Range<usize> = 64..68;
/// The change counter for which [`PAGE_COUNT`] is right.
pub const VERSION_VALID_FOR: Range<usize> = 92..96;
/// The version of the SQLite that wrote last, as a number.
pub const SQLITE_VERSION: Range<usize> = 96..100;

/// Either byte of [`VERSIONS`] in WAL mode.
pub const WAL_VERSION: u8 = 2;
/// [`VERSIONS`] with a rollback journal.
pub const ROLLBACK_VERSIONS: [u8; 2] = [1, 1];
/// What [`FRACTIONS`] always are.
pub const FRACTION_VALUES: [u8; 3] = [64, 32, 32];

/// The number in a field of four bytes; `None` if `header` ends before it.
#[must_use]
pub fn word(header: &[u8], field: Range<usize>) -> Option<u32> {
    header.get(field)?.try_into().ok().map(u32::from_be_bytes)
}

/// Bytes of a page as the header says, whether SQLite allows that or not; `None` if `header` ends before the field.
#[must_use]
pub fn stored_page_size(header: &[u8]) -> Option<u32> {
    let stored = u16::from_be_bytes(header.get(PAGE_SIZE)?.try_into().ok()?);
    // It has no room for 65536.
    Some(if stored == 1 { 65536 } else { stored.into() })
}

/// Bytes of a page as the header says; `None` if SQLite allows no such size.
#[must_use]
pub fn page_size(header: &[u8]) -> Option<usize> {
    let size = usize::try_from(stored_page_size(header)?).ok()?;
    (size.is_power_of_two() && (SMALLEST_PAGE..=LARGEST_PAGE).contains(&size)).then_some(size)
}

/// Whether the header is that of WAL mode: for reading and for writing.
#[must_use]
pub fn is_wal(header: &[u8]) -> bool {
    header.get(VERSIONS) == Some(&[WAL_VERSION; 2])
}

/// Turns WAL mode off in the first page of a database.
pub fn use_rollback_journal(page_1: &mut [u8]) {
    if let Some(versions) = page_1.get_mut(VERSIONS) {
        versions.copy_from_slice(&ROLLBACK_VERSIONS);
    }
}

/// Turns WAL mode on in the first page of a database.
pub fn use_wal(page_1: &mut [u8]) {
    if let Some(versions) = page_1.get_mut(VERSIONS) {
        versions.copy_from_slice(&[WAL_VERSION; 2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of `PRAGMA page_size = 8192; PRAGMA journal_mode = wal; CREATE TABLE t(x)`, with another change counter.
    fn sample() -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..16].copy_from_slice(b"SQLite format 3\0");
        bytes[16..24].copy_from_slice(&[0x20, 0, 2, 2, 0, 64, 32, 32]);
        bytes[24..32].copy_from_slice(&[0, 0, 1, 2, 0, 0, 0, 2]);
        bytes[40..48].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 4]);
        bytes[92..].copy_from_slice(&[0, 0, 1, 2, 0, 0x2e, 0x97, 0x61]);
        bytes
    }

    #[test]
    fn fields_are_where_sqlite_has_them() {
        let header = sample();
        assert!(header.starts_with(MAGIC) && is_wal(&header));
        assert_eq!(page_size(&header), Some(8192));
        assert_eq!(header[FRACTIONS], FRACTION_VALUES);
        let words =
            [CHANGE_COUNTER, PAGE_COUNT, SCHEMA_COOKIE, LARGEST_ROOT, VERSION_VALID_FOR, SQLITE_VERSION];
        assert_eq!(words.map(|field| word(&header, field)), [258, 2, 1, 0, 258, 3_053_409].map(Some));
    }

    #[test]
    fn page_sizes_that_sqlite_allows() {
        for (stored, stored_size, size) in [
            ([0, 1], 65536, Some(65536)),
            ([2, 0], 512, Some(512)),
            ([0x80, 0], 32768, Some(32768)),
            ([1, 0], 256, None),
            ([0, 0], 0, None),
            ([0x10, 1], 4097, None),
        ] {
            let mut header = sample();
            header[PAGE_SIZE].copy_from_slice(&stored);
            assert_eq!((stored_page_size(&header), page_size(&header)), (Some(stored_size), size));
        }
    }

    #[test]
    fn what_is_too_short_says_nothing() {
        let header = sample();
        assert_eq!((page_size(&header[..17]), stored_page_size(&header[..17])), (None, None));
        assert_eq!(word(&header[..27], CHANGE_COUNTER), None);
        assert!(!is_wal(&header[..19]) && is_wal(&header[..20]));
    }

    #[test]
    fn modes_are_changed_there_and_back() {
        let mut header = sample();
        use_rollback_journal(&mut header);
        assert!(!is_wal(&header));
        use_wal(&mut header);
        assert_eq!(header, sample());
    }

    #[test]
    fn both_versions_make_wal_mode() {
        for versions in [[1, 1], [1, 2], [2, 1]] {
            let mut header = sample();
            header[VERSIONS].copy_from_slice(&versions);
            assert!(!is_wal(&header));
        }
    }
}
