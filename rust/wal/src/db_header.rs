//! The fields of the database header that replication needs.

use ltx::{PageCount, PageSize, ReadAt};

use crate::error::{Error, Result};
use crate::window::read_up_to;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

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

/// Fields of the first 100 bytes of a database file (SQLite file format, section "The Database Header").
///
/// In WAL mode the header in the file is that of the last checkpoint; page 1 of the WAL may be newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DbHeader {
    /// Page size (offset 16; 65536 is stored as 1).
    pub page_size: PageSize,
    /// Version needed to write (offset 18); 2 means WAL mode.
    pub write_version: u8,
    /// Version needed to read (offset 19); 2 means WAL mode.
    pub read_version: u8,
    /// Bytes at the end of each page that SQLite leaves alone (offset 20).
    pub reserved_bytes: u8,
    /// File change counter (offset 24); transactions in WAL mode need not count it.
    pub change_counter: u32,
    /// Size of the database, if the header is up to date: offset 28 counts when it is not zero and the change
    /// counter equals the one at offset 92.
    pub page_count: Option<PageCount>,
    /// Schema cookie (offset 40).
    pub schema_cookie: u32,
    /// What happens to free pages (offsets 52 and 64).
    pub auto_vacuum: AutoVacuum,
}

impl DbHeader {
    /// Length of the header in bytes.
    pub const SIZE: usize = 100;

    /// Parses a database header.
    ///
    /// # Errors
    ///
    /// [`Error::NotDatabase`] and [`Error::InvalidPageSize`].
    pub fn parse(bytes: &[u8; DbHeader::SIZE]) -> Result<DbHeader> {
        if bytes.first_chunk() != Some(MAGIC) {
            return Err(Error::NotDatabase);
        }
        let change_counter = word(bytes, 24);
        let is_current = word(bytes, 92) == change_counter && word(bytes, 28) != 0;
        Ok(DbHeader {
            page_size: page_size(u16::from_be_bytes([bytes[16], bytes[17]]))?,
            write_version: bytes[18],
            read_version: bytes[19],
            reserved_bytes: bytes[20],
            change_counter,
            page_count: is_current.then(|| PageCount::new(word(bytes, 28))),
            schema_cookie: word(bytes, 40),
            auto_vacuum: match (word(bytes, 52), word(bytes, 64)) {
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
        self.write_version == 2 && self.read_version == 2
    }
}

fn page_size(stored: u16) -> Result<PageSize> {
    let bytes = if stored == 1 { 65536 } else { u32::from(stored) };
    PageSize::new(bytes).map_err(|_| Error::InvalidPageSize { actual: bytes })
}

/// Every caller's offset is a constant inside the header; elsewhere the word would be 0.
fn word(bytes: &[u8; DbHeader::SIZE], offset: usize) -> u32 {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> [u8; 100] {
        let mut bytes = [0; 100];
        bytes[..16].copy_from_slice(MAGIC);
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
