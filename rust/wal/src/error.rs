//! What can be wrong with a WAL, a database header, or the reading of them.

use std::io;

use ltx::Pgno;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of this crate.
///
/// The end of the valid part of a WAL is never an error: SQLite leaves stale and half-written frames behind a valid
/// log all the time. Errors are failed reads, files that are something else, and callers that contradict them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A read of the WAL or of the database failed.
    #[error("read at offset {offset} failed")]
    Io {
        /// Where the read began, in bytes.
        offset: u64,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The file does not begin with one of the two WAL magic numbers.
    #[error("wal header has magic {actual:08x}")]
    BadMagic {
        /// The first four bytes of the file.
        actual: u32,
    },
    /// The WAL has a format version other than the only one there is.
    #[error("wal header has version {actual}, expected {expected}")]
    UnsupportedVersion {
        /// The version in the header.
        actual: u32,
        /// The version this crate reads.
        expected: u32,
    },
    /// A header carries a page size that is no power of two between 512 and 65536.
    #[error("header has page size {actual}")]
    InvalidPageSize {
        /// The page size in the header, in bytes.
        actual: u32,
    },
    /// An offset that should lie between two frames does not.
    #[error("wal offset {offset} is no frame boundary for page size {page_size}")]
    UnalignedOffset {
        /// The offset, in bytes from the start of the WAL.
        offset: u64,
        /// The page size, in bytes.
        page_size: u32,
    },
    /// The file does not begin with the header of a SQLite database.
    #[error("file is not a sqlite database")]
    NotDatabase,
    /// A page is cut off: the file ends inside it.
    #[error("page {pgno} at offset {offset} has {actual} of {expected} bytes")]
    ShortPage {
        /// The page.
        pgno: Pgno,
        /// Where its bytes begin in the file.
        offset: u64,
        /// The page size, in bytes.
        expected: usize,
        /// How many bytes the file holds.
        actual: usize,
    },
    /// The LTX header and the page map disagree about the page size.
    #[error("ltx header has page size {actual}, the wal has {expected}")]
    PageSizeMismatch {
        /// The page size of the WAL, in bytes.
        expected: u32,
        /// The page size of the LTX header, in bytes.
        actual: u32,
    },
    /// The LTX header and the page map disagree about the size of the database.
    #[error("ltx header has commit {actual}, the wal has {expected}")]
    CommitMismatch {
        /// The commit size of the last transaction in the page map, in pages.
        expected: u32,
        /// The commit size of the LTX header, in pages.
        actual: u32,
    },
    /// The LTX file could not be written.
    #[error("writing the ltx file failed")]
    Ltx(#[from] ltx::Error),
}
