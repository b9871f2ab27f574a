//! The numbers an LTX file is made of. Each has its own type, so that an index cannot be taken for a count.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::error::{Error, Result};

/// First byte of the region that SQLite locks; the page holding it is never stored.
///
/// SQLite file format, section 1.4 "The Lock-Byte Page".
pub const PENDING_BYTE: u32 = 0x4000_0000;

/// Size of a database page in bytes: a power of two from 512 to 65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// The smallest page size.
    pub const MIN: Self = Self(512);
    /// The largest page size.
    pub const MAX: Self = Self(65536);

    /// Takes a size in bytes.
    ///
    /// # Errors
    /// [`Error::PageSize`] unless `value` is a power of two from 512 to 65536.
    pub fn new(value: u32) -> Result<Self> {
        let valid = value.is_power_of_two() && (Self::MIN.0..=Self::MAX.0).contains(&value);
        if valid { Ok(Self(value)) } else { Err(Error::PageSize { value }) }
    }

    /// The size in bytes.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The size in bytes, for buffers.
    pub fn bytes(self) -> usize {
        self.0 as usize
    }

    /// Number of the page that holds [`PENDING_BYTE`].
    pub fn lock_pgno(self) -> Pgno {
        Pgno(NonZeroU32::MIN.saturating_add(PENDING_BYTE / self.0))
    }
}

/// Number of a database page; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pgno(NonZeroU32);

impl Pgno {
    /// The first page of a database.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Takes a page number; `None` for 0.
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// The page number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// Offset in bytes of the page in a database file.
    pub fn offset(self, page_size: PageSize) -> u64 {
        u64::from(self.get() - 1) * u64::from(page_size.get())
    }

    /// The page after this one; `None` after the last possible page.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Pgno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of pages, for example the size of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageCount(u32);

impl PageCount {
    /// Takes a number of pages.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number of pages.
    pub fn get(self) -> u32 {
        self.0
    }

    /// Size in bytes of a database of so many pages.
    pub fn bytes(self, page_size: PageSize) -> u64 {
        u64::from(self.0) * u64::from(page_size.get())
    }

    /// The last page, the lock page included; `None` for an empty database.
    pub fn last(self) -> Option<Pgno> {
        Pgno::new(self.0)
    }

    /// All pages in ascending order, without the lock page.
    pub fn pgnos(self, page_size: PageSize) -> impl Iterator<Item = Pgno> {
        let lock = page_size.lock_pgno();
        (1..=self.0).filter_map(Pgno::new).filter(move |pgno| *pgno != lock)
    }
}

impl fmt::Display for PageCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Transaction id of a replication chain; 0 stands for none.
///
/// Shown as 16 lower-case hexadecimal digits; text in either case is understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(u64);

impl TxId {
    /// No transaction.
    pub const NONE: Self = Self(0);
    /// The first transaction of every chain; a file that starts with it is a snapshot.
    pub const FIRST: Self = Self(1);

    /// Takes a TXID, 0 for none.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is 0.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The TXID after this one; `None` after the last possible one.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for TxId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_hex(text).map(Self).ok_or_else(|| text_error("transaction id", text))
    }
}

/// A CRC-64 with its top bit set, or 0 for none: of a page, of a database, or of an LTX file.
///
/// Shown as 16 lower-case hexadecimal digits; text in either case is understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum(u64);

impl Checksum {
    /// No checksum.
    pub const NONE: Self = Self(0);
    /// The bit that tells a checksum from none.
    pub const FLAG: u64 = 1 << 63;
    /// Checksum of a database without pages.
    pub const EMPTY_DATABASE: Self = Self(Self::FLAG);

    /// Takes a checksum as stored.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number as stored.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is 0.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether the top bit is set, as in every real checksum.
    pub const fn is_flagged(self) -> bool {
        self.0 & Self::FLAG != 0
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Checksum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_hex(text).map(Self).ok_or_else(|| text_error("checksum", text))
    }
}

/// A state of the database: the transaction that led to it, and its checksum if known.
///
/// Shown as `txid/checksum`, 33 characters. The character between the two halves is not looked at in parsing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// The last transaction applied.
    pub txid: TxId,
    /// Rolling checksum of the database afterwards.
    pub post_apply_checksum: Checksum,
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.txid, self.post_apply_checksum)
    }
}

impl FromStr for Pos {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let halves = || Some((parse_hex(text.get(..16)?)?, parse_hex(text.get(17..)?)?));
        let (txid, checksum) = halves().ok_or_else(|| text_error("position", text))?;
        Ok(Self { txid: TxId(txid), post_apply_checksum: Checksum(checksum) })
    }
}

/// A point in time: milliseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Takes milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

/// Reads exactly 16 hexadecimal digits; the standard parser alone would take a sign.
fn parse_hex(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u64::from_str_radix(text, 16).ok() } else { None }
}

fn text_error(kind: &'static str, text: &str) -> Error {
    Error::Text { kind, text: text.to_owned() }
}

#[cfg(test)]
mod tests;
