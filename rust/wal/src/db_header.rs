//! The fields of the database header that replication needs.

use dbfile::header::{self, word};
use ltx::{PageCount, PageSize, ReadAt};

use crate::error::{Error, Result};
use crate::window::read_up_to;

/// How a database gives free pages back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AutoVacuum {
    /// It keeps them.
    None,
    /// At every commit.
    Full,
    /// When asked to.
    Incremental,
}

/// What the first 100 bytes of a database file say; [`dbfile::header`] says where.
///
/// In WAL mode the header in the file is that of the last checkpoint; page 1 of the WAL may be newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DbHeader {
    /// Page size.
    pub page_size: PageSize,
    /// Version needed to write; 2 means WAL mode.
    pub write_version: u8,
    /// Version needed to read; 2 means WAL mode.
    pub read_version: u8,
    /// Bytes at the end of each page that SQLite leaves alone.
    pub reserved_bytes: u8,
    /// File change counter; transactions in WAL mode need not count it.
    pub change_counter: u32,
    /// Size of the database, if the header is up to date: the field counts when it is not zero and valid for this change counter.
    pub page_count: Option<PageCount>,
    /// Schema cookie.
    pub schema_cookie: u32,
    /// What happens to free pages.
    pub auto_vacuum: AutoVacuum,
}

impl DbHeader {
    /// Length of the header in bytes.
    pub const SIZE: usize = header::SIZE;

    /// Parses a database header.
    ///
    /// # Errors
    ///
    /// [`Error::NotDatabase`] and [`Error::InvalidPageSize`].
    pub fn parse(bytes: &[u8; DbHeader::SIZE]) -> Result<DbHeader> {
        if bytes.first_chunk() != Some(header::MAGIC) {
            return Err(Error::NotDatabase);
        }
        // Every field is inside the header; elsewhere the word would be 0.
        let word = |field| word(bytes, field).unwrap_or(0);
        let (change_counter, pages) = (word(header::CHANGE_COUNTER), word(header::PAGE_COUNT));
        let is_current = word(header::VERSION_VALID_FOR) == change_counter && pages != 0;
        let [write_version, read_version] =
            [header::VERSIONS.start, header::VERSIONS.start + 1].map(|at| bytes[at]);
        Ok(DbHeader {
            page_size: page_size(header::stored_page_size(bytes).unwrap_or(0))?,
            write_version,
            read_version,
            reserved_bytes: bytes[header::RESERVED_BYTES],
            change_counter,
            page_count: is_current.then(|| PageCount::new(pages)),
            schema_cookie: word(header::SCHEMA_COOKIE),
            auto_vacuum: match (word(header::LARGEST_ROOT), word(header::INCREMENTAL_VACUUM)) {
                (0, _) => AutoVacuum::None,
                (_, 0) => AutoVacuum::Full,
                _ => AutoVacuum::Incremental,
            },
        })
    }

    /// Reads and parses the header of the database `io`. `None`: the file is empty, as a database is before its
    /// first transaction.
    ///
    /// # Errors
    ///
    /// As [`DbHeader::parse`], also for a file that is too short, and [`Error::Io`].
    pub fn read<R: ReadAt + ?Sized>(io: &R) -> Result<Option<DbHeader>> {
        let mut bytes = [0; DbHeader::SIZE];
        match read_up_to(io, &mut bytes, 0)? {
            0 => Ok(None),
            DbHeader::SIZE => DbHeader::parse(&bytes).map(Some),
            _ => Err(Error::NotDatabase),
        }
    }

    /// Whether the database is in WAL mode.
    #[must_use]
    pub fn is_wal(&self) -> bool {
        [self.write_version, self.read_version] == [header::WAL_VERSION; 2]
    }
}

fn page_size(bytes: u32) -> Result<PageSize> {
    PageSize::new(bytes).map_err(|_| Error::InvalidPageSize { actual: bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> [u8; 100] {
        let mut bytes = [0; 100];
        bytes[..16].copy_from_slice(header::MAGIC);
        bytes[16..20].copy_from_slice(&[0x10, 0, 2, 2]);
        bytes[20] = 12;
        bytes[24..32].copy_from_slice(&[0, 0, 0, 7, 0, 0, 1, 3]);
        bytes[43] = 5;
        bytes[95] = 7;
        bytes
    }

    #[test]
    fn fields_in_their_places() {
        let header = DbHeader::parse(&sample()).unwrap();
        assert_eq!(header.page_size.get(), 4096);
        assert!(header.is_wal());
        assert_eq!(header.reserved_bytes, 12);
        assert_eq!(header.change_counter, 7);
        assert_eq!(header.page_count.map(PageCount::get), Some(259));
        assert_eq!(header.schema_cookie, 5);
        assert_eq!(header.auto_vacuum, AutoVacuum::None);
    }

    #[test]
    fn both_crates_mean_the_same_lock_byte() {
        assert_eq!(u64::from(ltx::PENDING_BYTE), dbfile::PENDING_BYTE);
    }

    #[test]
    fn a_stale_page_count_does_not_count() {
        let mut bytes = sample();
        bytes[95] = 6;
        assert_eq!(DbHeader::parse(&bytes).unwrap().page_count, None);
        bytes = sample();
        bytes[28..32].fill(0);
        assert_eq!(DbHeader::parse(&bytes).unwrap().page_count, None);
    }

    #[test]
    fn rollback_journal_is_not_wal() {
        for (write, read) in [(1, 1), (1, 2), (2, 1)] {
            let mut bytes = sample();
            bytes[18..20].copy_from_slice(&[write, read]);
            assert!(!DbHeader::parse(&bytes).unwrap().is_wal());
        }
    }

    #[test]
    fn auto_vacuum_modes() {
        let mut bytes = sample();
        bytes[67] = 1;
        assert_eq!(DbHeader::parse(&bytes).unwrap().auto_vacuum, AutoVacuum::None);
        bytes[55] = 4;
        assert_eq!(DbHeader::parse(&bytes).unwrap().auto_vacuum, AutoVacuum::Incremental);
        bytes[67] = 0;
        assert_eq!(DbHeader::parse(&bytes).unwrap().auto_vacuum, AutoVacuum::Full);
    }

    #[test]
    fn page_sizes() {
        for (stored, bytes) in [([0, 1], 65536), ([2, 0], 512), ([0x80, 0], 32768)] {
            let mut header = sample();
            header[16..18].copy_from_slice(&stored);
            assert_eq!(DbHeader::parse(&header).unwrap().page_size.get(), bytes);
        }
        let mut header = sample();
        header[16..18].copy_from_slice(&[0, 0]);
        assert!(matches!(DbHeader::parse(&header), Err(Error::InvalidPageSize { actual: 0 })));
    }

    #[test]
    fn empty_is_no_database_yet_and_garbage_is_none() {
        assert_eq!(DbHeader::read(&[] as &[u8]).unwrap(), None);
        assert!(DbHeader::read(sample().as_slice()).unwrap().is_some());
        assert!(matches!(DbHeader::read(&sample()[..99]), Err(Error::NotDatabase)));
        assert!(matches!(DbHeader::parse(&[0; 100]), Err(Error::NotDatabase)));
    }
}
