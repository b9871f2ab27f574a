//! The first 100 bytes of an LTX file (LTX format, "Header").
//!
//! ```text
//!  0  4  magic "LTX1"         40  8  pre-apply checksum
//!  4  4  flags                48  8  WAL offset
//!  8  4  page size            56  8  WAL size
//! 12  4  commit               64  4  WAL salt 1
//! 16  8  min TXID             68  4  WAL salt 2
//! 24  8  max TXID             72  8  node id
//! 32  8  timestamp (ms)       80 20  reserved
//! ```

use crate::bytes::{i64_at, u32_at, u64_at};
use crate::error::{Error, Result};
use crate::types::{Checksum, PageCount, PageSize, Pgno, Pos, Timestamp, TxId};

const MAGIC: [u8; 4] = *b"LTX1";
const NO_CHECKSUM: u32 = 0x2;

/// What the header says about the whole file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HeaderFlags {
    /// The file carries no database checksums, as all files that stock Litestream can restore.
    pub no_checksum: bool,
}

/// Header of an LTX file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Flags.
    pub flags: HeaderFlags,
    /// Page size of the database.
    pub page_size: PageSize,
    /// Size of the database after the last transaction.
    pub commit: PageCount,
    /// First transaction; 1 makes the file a snapshot.
    pub min_txid: TxId,
    /// Last transaction.
    pub max_txid: TxId,
    /// When the last transaction was captured.
    pub timestamp: Timestamp,
    /// Database checksum before the first transaction; none in snapshots and in files without checksums.
    pub pre_apply_checksum: Checksum,
    /// Where in the WAL the file's frames start, in bytes; 0 if not taken from a WAL.
    pub wal_offset: u64,
    /// Length in bytes of the WAL segment.
    pub wal_size: u64,
    /// First salt of the WAL.
    pub wal_salt1: u32,
    /// Second salt of the WAL.
    pub wal_salt2: u32,
    /// Node that wrote the file; Litestream writes 0.
    pub node_id: u64,
}

impl Header {
    /// Length of an encoded header in bytes.
    pub const SIZE: usize = 100;

    /// A header without checksums and WAL position, for the transactions `min_txid..=max_txid`.
    pub fn new(page_size: PageSize, commit: PageCount, min_txid: TxId, max_txid: TxId) -> Self {
        Self {
            flags: HeaderFlags { no_checksum: true },
            page_size,
            commit,
            min_txid,
            max_txid,
            timestamp: Timestamp::default(),
            pre_apply_checksum: Checksum::NONE,
            wal_offset: 0,
            wal_size: 0,
            wal_salt1: 0,
            wal_salt2: 0,
            node_id: 0,
        }
    }

    /// The stored form; reserved bytes are zero.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let flags = if self.flags.no_checksum { NO_CHECKSUM } else { 0 };
        out[0..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&flags.to_be_bytes());
        out[8..12].copy_from_slice(&self.page_size.get().to_be_bytes());
        out[12..16].copy_from_slice(&self.commit.get().to_be_bytes());
        out[16..24].copy_from_slice(&self.min_txid.get().to_be_bytes());
        out[24..32].copy_from_slice(&self.max_txid.get().to_be_bytes());
        out[32..40].copy_from_slice(&self.timestamp.millis().to_be_bytes());
        out[40..48].copy_from_slice(&self.pre_apply_checksum.get().to_be_bytes());
        out[48..56].copy_from_slice(&self.wal_offset.to_be_bytes());
        out[56..64].copy_from_slice(&self.wal_size.to_be_bytes());
        out[64..68].copy_from_slice(&self.wal_salt1.to_be_bytes());
        out[68..72].copy_from_slice(&self.wal_salt2.to_be_bytes());
        out[72..80].copy_from_slice(&self.node_id.to_be_bytes());
        out
    }

    /// Reads a header from the start of `bytes` and validates it.
    ///
    /// # Errors
    /// [`Error::Truncated`] below 100 bytes, [`Error::NotLtx`], and those of [`Header::validate`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let record = bytes.get(..Self::SIZE).ok_or(Error::Truncated { offset: bytes.len() as u64 })?;
        if !record.starts_with(&MAGIC) {
            return Err(Error::NotLtx);
        }
        let flags = u32_at(record, 4);
        if flags & !NO_CHECKSUM != 0 {
            return Err(Error::HeaderFlags { flags });
        }
        let (wal_offset, wal_size) = parse_wal_range(record)?;
        let header = Self {
            flags: HeaderFlags { no_checksum: flags & NO_CHECKSUM != 0 },
            page_size: PageSize::new(u32_at(record, 8))?,
            commit: PageCount::new(u32_at(record, 12)),
            min_txid: TxId::new(u64_at(record, 16)),
            max_txid: TxId::new(u64_at(record, 24)),
            timestamp: Timestamp::from_millis(i64_at(record, 32)),
            pre_apply_checksum: Checksum::new(u64_at(record, 40)),
            wal_offset,
            wal_size,
            wal_salt1: u32_at(record, 64),
            wal_salt2: u32_at(record, 68),
            node_id: u64_at(record, 72),
        };
        header.validate()?;
        Ok(header)
    }

    /// Checks that the fields do not contradict each other.
    ///
    /// # Errors
    /// [`Error::TxIdRange`], [`Error::WalRange`], [`Error::PreApplyChecksum`].
    pub fn validate(&self) -> Result<()> {
        let (min, max) = (self.min_txid, self.max_txid);
        if min.is_none() || min > max {
            return Err(Error::TxIdRange { min, max });
        }
        self.validate_wal_range()?;
        let actual = self.pre_apply_checksum;
        let unwanted = self.is_snapshot() || self.flags.no_checksum;
        let suits = if unwanted { actual.is_none() } else { actual.is_flagged() };
        if suits { Ok(()) } else { Err(Error::PreApplyChecksum { actual }) }
    }

    /// Without a position in a WAL there is no segment and no salt; and both numbers are stored as signed
    /// ones.
    fn validate_wal_range(&self) -> Result<()> {
        let position = i64::try_from(self.wal_offset).unwrap_or(-1);
        let size = i64::try_from(self.wal_size).unwrap_or(-1);
        let salted = self.wal_salt1 != 0 || self.wal_salt2 != 0;
        let contradiction = position == 0 && (salted || size != 0);
        if position < 0 || size < 0 || contradiction {
            return Err(Error::WalRange { offset: position, size });
        }
        Ok(())
    }

    /// Whether the file describes a whole database: its first transaction is 1.
    pub fn is_snapshot(&self) -> bool {
        self.min_txid == TxId::FIRST
    }

    /// The page that is never stored.
    pub fn lock_pgno(&self) -> Pgno {
        self.page_size.lock_pgno()
    }

    /// The state of the database that the file applies to.
    pub fn pre_apply_pos(&self) -> Pos {
        let txid = TxId::new(self.min_txid.get().saturating_sub(1));
        Pos { txid, post_apply_checksum: self.pre_apply_checksum }
    }
}

/// Offset and size are stored as signed integers, and must not be negative.
fn parse_wal_range(record: &[u8]) -> Result<(u64, u64)> {
    let (offset, size) = (i64_at(record, 48), i64_at(record, 56));
    match (u64::try_from(offset), u64::try_from(size)) {
        (Ok(offset), Ok(size)) => Ok((offset, size)),
        _ => Err(Error::WalRange { offset, size }),
    }
}

#[cfg(test)]
mod tests;
