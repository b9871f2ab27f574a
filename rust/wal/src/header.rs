//! The 32-byte header of a WAL file.

use ltx::{PageSize, ReadAt};

use crate::checksum::{ByteOrder, WalChecksum};
use crate::error::{Error, Result};
use crate::window::read_up_to;

const MAGIC_LITTLE: u32 = 0x377f_0682;
const MAGIC_BIG: u32 = 0x377f_0683;
const VERSION: u32 = 3_007_000;

/// How many bytes of the header its own checksum covers.
const CHECKED_BYTES: usize = 24;

/// The two marks of a WAL generation; every frame of the generation repeats them.
///
/// When a WAL is restarted the first one grows by one and the second one is drawn at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Salt {
    /// The counting salt.
    pub salt1: u32,
    /// The random salt.
    pub salt2: u32,
}

impl Salt {
    /// Whether one restart can lead here from `previous`: the counting salt grew by exactly one.
    #[must_use]
    pub fn follows(self, previous: Salt) -> bool {
        self.salt1 == previous.salt1.wrapping_add(1)
    }
}

/// Header of a WAL file (SQLite file format, section "WAL File Format").
///
/// | offset | size | field |
/// |---:|---:|---|
/// | 0 | 4 | magic, which tells the byte order of the checksums |
/// | 4 | 4 | version, 3007000 |
/// | 8 | 4 | page size in bytes |
/// | 12 | 4 | checkpoint sequence |
/// | 16 | 4 | salt 1 |
/// | 20 | 4 | salt 2 |
/// | 24 | 8 | checksum of the 24 bytes before |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WalHeader {
    /// Order of the words in every checksum of the file.
    pub byte_order: ByteOrder,
    /// Page size of the database.
    pub page_size: PageSize,
    /// Number of restarts counted by the connection that wrote the header.
    pub checkpoint_seq: u32,
    /// Marks of this generation.
    pub salt: Salt,
    /// Checksum of the header, from which the checksum of the first frame continues.
    pub checksum: WalChecksum,
}

impl WalHeader {
    /// Length of the header in bytes.
    pub const SIZE: usize = 32;

    /// A header with a right checksum.
    #[must_use]
    pub fn new(byte_order: ByteOrder, page_size: PageSize, checkpoint_seq: u32, salt: Salt) -> WalHeader {
        let mut header =
            WalHeader { byte_order, page_size, checkpoint_seq, salt, checksum: WalChecksum::ZERO };
        let bytes = header.encode();
        header.checksum = header.checksum_of(&bytes);
        header
    }

    /// Parses the first 32 bytes of a WAL. `None`: the checksum is wrong, so the file holds no log (yet), which is
    /// how SQLite sees a header that is being written.
    ///
    /// # Errors
    ///
    /// [`Error::BadMagic`], [`Error::UnsupportedVersion`] and [`Error::InvalidPageSize`]: the file is not a WAL that
    /// any SQLite would read.
    pub fn parse(bytes: &[u8; WalHeader::SIZE]) -> Result<Option<WalHeader>> {
        let [magic, version, page_size, checkpoint_seq, salt1, salt2, s1, s2] = words(bytes);
        let byte_order = match magic {
            MAGIC_LITTLE => ByteOrder::Little,
            MAGIC_BIG => ByteOrder::Big,
            actual => return Err(Error::BadMagic { actual }),
        };
        let checksum = WalChecksum { s1, s2 };
        if WalChecksum::ZERO.update(byte_order, &bytes[..CHECKED_BYTES]) != checksum {
            return Ok(None);
        }
        if version != VERSION {
            return Err(Error::UnsupportedVersion { actual: version, expected: VERSION });
        }
        let page_size = PageSize::new(page_size).map_err(|_| Error::InvalidPageSize { actual: page_size })?;
        Ok(Some(WalHeader { byte_order, page_size, checkpoint_seq, salt: Salt { salt1, salt2 }, checksum }))
    }

    /// Reads and parses the header of the WAL `io`. `None`: the file is shorter than a header, or its checksum is
    /// wrong.
    ///
    /// # Errors
    ///
    /// As [`WalHeader::parse`], and [`Error::Io`].
    pub fn read<R: ReadAt + ?Sized>(io: &R) -> Result<Option<WalHeader>> {
        let mut bytes = [0; WalHeader::SIZE];
        if read_up_to(io, &mut bytes, 0)? < WalHeader::SIZE {
            return Ok(None);
        }
        WalHeader::parse(&bytes)
    }

    /// The bytes of the header, with the checksum it carries.
    #[must_use]
    pub fn encode(&self) -> [u8; WalHeader::SIZE] {
        let magic = match self.byte_order {
            ByteOrder::Little => MAGIC_LITTLE,
            ByteOrder::Big => MAGIC_BIG,
        };
        let Salt { salt1, salt2 } = self.salt;
        let WalChecksum { s1, s2 } = self.checksum;
        let fields = [magic, VERSION, self.page_size.get(), self.checkpoint_seq, salt1, salt2, s1, s2];
        let mut bytes = [0; WalHeader::SIZE];
        for (slot, field) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(fields) {
            *slot = field.to_be_bytes();
        }
        bytes
    }

    /// Whether this header can have followed `previous` by one restart, as [`Salt::follows`] tells.
    ///
    /// The checkpoint sequence is no help: each connection counts for itself, so it jumps when another one restarts
    /// the log. `false` is possible after a single restart, too: after a TRUNCATE checkpoint, a connection that has
    /// not restarted a log before draws both salts at random.
    #[must_use]
    pub fn follows(&self, previous: &WalHeader) -> bool {
        self.page_size == previous.page_size && self.salt.follows(previous.salt)
    }

    fn checksum_of(&self, bytes: &[u8; WalHeader::SIZE]) -> WalChecksum {
        WalChecksum::ZERO.update(self.byte_order, &bytes[..CHECKED_BYTES])
    }
}

fn words(bytes: &[u8; WalHeader::SIZE]) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::WalFile;

    fn parse(bytes: &[u8]) -> Result<Option<WalHeader>> {
        WalHeader::parse(bytes.first_chunk().unwrap())
    }

    #[test]
    fn reads_what_an_independent_writer_wrote() {
        for (is_big, byte_order) in [(false, ByteOrder::Little), (true, ByteOrder::Big)] {
            for page_size in [512, 4096, 65536] {
                let file = WalFile::new(is_big, page_size, (0x1234_5678, 0x9abc_def0));
                let header = parse(file.bytes()).unwrap().unwrap();
                assert_eq!(header.byte_order, byte_order);
                assert_eq!(header.page_size.get(), page_size);
                assert_eq!(header.salt, Salt { salt1: 0x1234_5678, salt2: 0x9abc_def0 });
                assert_eq!(header.encode(), file.bytes());
                let again = WalHeader::new(byte_order, header.page_size, header.checkpoint_seq, header.salt);
                assert_eq!(again, header);
            }
        }
    }

    // W-03
    #[test]
    fn short_or_damaged_header_is_no_wal() {
        let file = WalFile::new(false, 4096, (1, 2));
        for len in 0..WalHeader::SIZE {
            assert!(WalHeader::read(&file.bytes()[..len]).unwrap().is_none(), "{len} bytes");
        }
        for at in 4..WalHeader::SIZE {
            let mut bytes = file.bytes().to_vec();
            bytes[at] ^= 0x10;
            assert!(parse(&bytes).unwrap().is_none(), "byte {at}");
        }
    }

    // W-04
    #[test]
    fn foreign_magic_is_an_error() {
        let mut bytes = WalFile::new(true, 4096, (1, 2)).bytes().to_vec();
        bytes[3] = 0x84;
        assert!(matches!(parse(&bytes), Err(Error::BadMagic { actual: 0x377f_0684 })));
        assert!(matches!(parse(&[0; 32]), Err(Error::BadMagic { actual: 0 })));
    }

    // W-04
    #[test]
    fn other_version_is_an_error() {
        let bytes = WalFile::with_header(true, 3_007_001, 4096, 0, (1, 2)).bytes().to_vec();
        let error = parse(&bytes).unwrap_err();
        assert!(matches!(error, Error::UnsupportedVersion { actual: 3_007_001, expected: 3_007_000 }));
    }

    #[test]
    fn impossible_page_size_is_an_error() {
        for page_size in [0, 1, 256, 513, 131_072, u32::MAX] {
            let bytes = WalFile::with_header(false, 3_007_000, page_size, 0, (1, 2)).bytes().to_vec();
            assert!(matches!(parse(&bytes), Err(Error::InvalidPageSize { actual }) if actual == page_size));
        }
    }

    #[test]
    fn a_restart_counts_the_first_salt_up() {
        let size = PageSize::new(4096).unwrap();
        let header = |salt1| WalHeader::new(ByteOrder::Little, size, 0, Salt { salt1, salt2: salt1 * 3 });
        assert!(header(8).follows(&header(7)));
        assert!(!header(7).follows(&header(7)));
        assert!(!header(9).follows(&header(7)));
        assert!(WalHeader::new(ByteOrder::Little, size, 0, Salt::default()).follows(&WalHeader::new(
            ByteOrder::Little,
            size,
            9,
            Salt { salt1: u32::MAX, salt2: 5 }
        )));
    }
}
