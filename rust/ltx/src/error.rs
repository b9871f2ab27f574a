//! The one error type of the crate: what was wrong, and where.

use std::io;

use crate::types::{Checksum, PageCount, Pgno, TxId};

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can be wrong with an LTX file, or with a request to write one.
///
/// Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input ended before the file did. Nothing is known to be wrong with the bytes before `offset`.
    #[error("the LTX file ends too early, at byte {offset}")]
    Truncated {
        /// Number of bytes there were.
        offset: u64,
    },
    /// Bytes follow the trailer.
    #[error("unexpected bytes after the trailer, at byte {offset}")]
    TrailingBytes {
        /// Where the file should have ended.
        offset: u64,
    },
    /// The first four bytes are not the LTX magic.
    #[error("not an LTX file")]
    NotLtx,
    /// The header has flags this format generation does not know.
    #[error("unknown header flags {flags:#010x}")]
    HeaderFlags {
        /// All header flags as stored.
        flags: u32,
    },
    /// A page size that SQLite does not have.
    #[error("page size {value} is not a power of two between 512 and 65536")]
    PageSize {
        /// The size in bytes.
        value: u32,
    },
    /// A TXID is zero, or the first is above the last.
    #[error("impossible transaction range {min}-{max}")]
    TxIdRange {
        /// First TXID of the file.
        min: TxId,
        /// Last TXID of the file.
        max: TxId,
    },
    /// WAL offset, size and salts contradict each other or are negative.
    #[error("impossible WAL range: offset {offset}, size {size}")]
    WalRange {
        /// WAL offset in bytes.
        offset: i64,
        /// Length of the WAL segment in bytes.
        size: i64,
    },
    /// The pre-apply checksum is there and must not be, or the other way round.
    #[error("pre-apply checksum {actual} does not suit this kind of file")]
    PreApplyChecksum {
        /// The value found.
        actual: Checksum,
    },
    /// The post-apply checksum is there and must not be, or the other way round.
    #[error("post-apply checksum {actual} does not suit this kind of file")]
    PostApplyChecksum {
        /// The value found.
        actual: Checksum,
    },
    /// A page frame has page number zero but is not the terminator.
    #[error("page number missing in the page header, flags {flags:#06x}")]
    PgnoMissing {
        /// Page flags as stored.
        flags: u16,
    },
    /// A page header has flags this format generation does not know.
    #[error("unknown flags {flags:#06x} in the header of page {pgno}")]
    PageFlags {
        /// Page the header belongs to.
        pgno: Pgno,
        /// Page flags as stored.
        flags: u16,
    },
    /// A page lies beyond the end of the database.
    #[error("page {pgno} is above the commit size of {commit} pages")]
    PageAboveCommit {
        /// The page.
        pgno: Pgno,
        /// Database size of the file's header.
        commit: PageCount,
    },
    /// The lock page must never be stored.
    #[error("page {pgno} is the lock page")]
    LockPage {
        /// The page.
        pgno: Pgno,
    },
    /// Page numbers do not ascend.
    #[error("page {pgno} follows page {previous}")]
    PageOrder {
        /// The page before.
        previous: Pgno,
        /// The offending page.
        pgno: Pgno,
    },
    /// A snapshot misses a page.
    #[error("the snapshot has page {actual} where page {expected} belongs")]
    SnapshotGap {
        /// The page that is missing.
        expected: Pgno,
        /// The page found in its place.
        actual: Pgno,
    },
    /// A snapshot ends before its last page.
    #[error("the snapshot ends before page {expected}")]
    SnapshotIncomplete {
        /// The first page that is missing.
        expected: Pgno,
    },
    /// A page buffer does not have the length of a page.
    #[error("page buffer of {actual} bytes, expected {expected}")]
    PageLength {
        /// Page size in bytes.
        expected: usize,
        /// Length of the buffer in bytes.
        actual: usize,
    },
    /// A compressed payload is empty or larger than any page can become.
    #[error("payload of page {pgno} has {actual} bytes, at most {limit} are possible")]
    PayloadLength {
        /// Page the payload belongs to.
        pgno: Pgno,
        /// The largest possible length in bytes.
        limit: usize,
        /// The length found in bytes.
        actual: u64,
    },
    /// A compressed payload does not expand to exactly one page.
    #[error("payload of page {pgno} does not expand to one page")]
    Payload {
        /// Page the payload belongs to.
        pgno: Pgno,
    },
    /// The LZ4 frame around a page is not of the kind that LTX writers make, or its checksums are wrong.
    #[error("bad LZ4 frame around page {pgno}")]
    LegacyFrame {
        /// Page inside the frame.
        pgno: Pgno,
    },
    /// A frame is longer or shorter than its index entry or buffer says.
    #[error("frame of page {pgno} has {expected} bytes, but {actual} were given")]
    FrameLength {
        /// Page of the frame.
        pgno: Pgno,
        /// Length of the frame in bytes.
        expected: u64,
        /// Length of the buffer in bytes.
        actual: u64,
    },
    /// The compressor failed; cannot happen with a buffer of the right size.
    #[error("the LZ4 compressor failed")]
    Compress,
    /// The length stored behind the page index is not its length.
    #[error("page index length is {actual}, expected {expected} bytes")]
    IndexLength {
        /// The length there must be, or the largest one possible, in bytes.
        expected: u64,
        /// The stored length in bytes.
        actual: u64,
    },
    /// The page index does not describe the frames of the file.
    #[error("the page index at byte {offset} does not match the page frames")]
    IndexMismatch {
        /// Start of the index, or of the offending entry.
        offset: u64,
    },
    /// A stored checksum is not the computed one.
    #[error("checksum mismatch: stored {expected}, computed {actual}")]
    ChecksumMismatch {
        /// The stored checksum.
        expected: Checksum,
        /// The computed checksum.
        actual: Checksum,
    },
    /// The database described by a checksum-tracking snapshot is not the one it claims to be.
    #[error("database checksum mismatch: stored {expected}, computed {actual}")]
    DatabaseChecksumMismatch {
        /// The stored post-apply checksum.
        expected: Checksum,
        /// The computed checksum.
        actual: Checksum,
    },
    /// Only a snapshot describes a whole database.
    #[error("transactions {min}-{max} are no snapshot")]
    NotSnapshot {
        /// First TXID of the file.
        min: TxId,
        /// Last TXID of the file.
        max: TxId,
    },
    /// Compaction needs at least one file.
    #[error("nothing to compact")]
    NoInput,
    /// Files of different page sizes cannot be merged.
    #[error("page size {actual} differs from the first file's {expected}")]
    PageSizeMismatch {
        /// Page size of the first input in bytes.
        expected: u32,
        /// Page size of this input in bytes.
        actual: u32,
    },
    /// Two neighbouring files leave a gap, or the later one adds nothing.
    #[error("transactions {min}-{max} do not continue {previous_min}-{previous_max}")]
    NotContiguous {
        /// First TXID of the file before.
        previous_min: TxId,
        /// Last TXID of the file before.
        previous_max: TxId,
        /// First TXID of the file.
        min: TxId,
        /// Last TXID of the file.
        max: TxId,
    },
    /// One of several inputs is at fault.
    #[error("input {input}")]
    Input {
        /// Number of the input, from 0.
        input: usize,
        /// What is wrong with it.
        #[source]
        source: Box<Error>,
    },
    /// Text that should be a TXID, a checksum, a position or a file name, and is not.
    #[error("{text:?} is not a valid {kind}")]
    Text {
        /// What it should have been.
        kind: &'static str,
        /// The text as given.
        text: String,
    },
    /// The encoder or decoder was used again after it had failed.
    #[error("used again after a failure")]
    AfterFailure,
    /// Reading or writing failed.
    #[error("input or output failed")]
    Io(#[from] io::Error),
}

impl Error {
    /// Says that input number `input` (from 0) is at fault.
    pub(crate) fn of_input(self, input: usize) -> Self {
        Self::Input { input, source: Box::new(self) }
    }
}
