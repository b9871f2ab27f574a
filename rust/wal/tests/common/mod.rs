//! Helpers shared by the test binaries.

pub mod wal_file;
