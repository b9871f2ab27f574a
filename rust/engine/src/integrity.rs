//! What the SQLite that is built in says about itself, and about a database that nobody else has open.

use std::path::Path;

use rusqlite::OpenFlags;

use crate::connection::open_sqlite;
use crate::error::{Context, Result};

/// The version of the SQLite that is built in, such as `3.51.3`.
#[must_use]
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// How thoroughly a database is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntegrityCheck {
    /// `PRAGMA quick_check`.
    Quick,
    /// `PRAGMA integrity_check`.
    Full,
}

/// Lets SQLite check a database that nobody else has open, such as one that was just restored. `None`: it is sound; else
/// what SQLite found first.
///
/// # Errors
/// When the file cannot be opened, or is none that SQLite can read.
pub fn check_integrity(path: &Path, check: IntegrityCheck) -> Result<Option<String>> {
    let sqlite = open_sqlite(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let sql = match check {
        IntegrityCheck::Quick => "PRAGMA quick_check(1)",
        IntegrityCheck::Full => "PRAGMA integrity_check(1)",
    };
    let found: String = sqlite.query_row(sql, [], |row| row.get(0)).context("check", path)?;
    Ok((found != "ok").then_some(found))
}
