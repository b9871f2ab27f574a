//! What stands where in a SQLite database file, and in the files beside it (SQLite, "Database File Format").
//!
//! * [`header`] has the fields of the first 100 bytes of a database.
//! * [`page_checksum`] has the checksums that pages may end with.
//! * [`PENDING_BYTE`] is where the lock bytes lie, and [`JOURNAL_MAGIC`] what a rollback journal begins with.
//!
//! Constants and functions over bytes: no file is opened here. The crate stands below all others, so that those which handle
//! SQLite's files and know nothing of LTX (`osvfs`) share it with those that do.

#![forbid(unsafe_code)]

pub mod header;
pub mod page_checksum;

/// Offset in bytes of the first lock byte. The page that it is on holds no content.
pub const PENDING_BYTE: u64 = 0x4000_0000;
/// The first of the lock bytes that readers share and a writer has alone.
pub const SHARED_FIRST: u64 = PENDING_BYTE + 2;
/// How many bytes these are.
pub const SHARED_SIZE: u64 = 510;
/// Ours, beyond all that SQLite locks: the byte of whoever follows a replica with the database.
pub const FOLLOWER_BYTE: u64 = PENDING_BYTE + 1024;

/// What a rollback journal begins with that has to be played back.
pub const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Bytes of the smallest page that SQLite allows.
pub const SMALLEST_PAGE: usize = 512;

/// Bytes of the largest page that SQLite allows.
pub const LARGEST_PAGE: usize = 65536;
