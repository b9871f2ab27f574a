//! A connection of our own SQLite to the live database, reduced to what a replicator does with one.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use osvfs::{FileId, Stamp};
use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode as SqliteMode;
use rusqlite::{Connection, DEFAULT_NAME, OpenFlags};

use crate::error::{Context, Error, Result, is_busy};

/// How hard a checkpoint tries (SQLite, `sqlite3_wal_checkpoint_v2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointMode {
    /// As much as is possible without waiting for anybody.
    Passive,
    /// Waits for writers and readers, moves every frame.
    Full,
    /// Like Full, and the next writer begins the WAL anew.
    Restart,
    /// Like Restart, and the WAL file is cut to nothing.
    Truncate,
}

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointResult {
    /// Somebody else was in the way of a mode that is not PASSIVE.
    pub busy: bool,
    /// Frames in the WAL.
    pub wal_frames: u32,
    /// Frames of them that are in the database file now.
    pub checkpointed: u32,
}

/// Of our VFS: compares the stamp of the database file before every write. It answers the stamp that the last one left, or
const GUARD: &str = "PRAGMA ltx_unwritten_since";
/// this after one that was not let through.
const REFUSED: &str = "refused";

/// What became of a checkpoint, and of the database file.
pub(crate) struct Checkpointed {
    pub(crate) result: CheckpointResult,
    left: String,
}

impl Checkpointed {
    /// Whether somebody else had written to the file.
    pub(crate) fn is_refused(&self) -> bool {
        self.left == REFUSED
    }

    /// Whether a file with `stamp` is as the checkpoint left it.
    pub(crate) fn left(&self, stamp: &Stamp) -> bool {
        self.left == stamp.to_string()
    }
}

impl CheckpointResult {
    pub(crate) const BUSY: Self = Self { busy: true, wal_frames: 0, checkpointed: 0 };
}

/// One connection. It never waits inside SQLite: what may wait is tried again here, where the time is known.
pub(crate) struct Conn {
    sqlite: Connection,
    path: PathBuf,
}

impl Conn {
    /// Opens the database for reading, locking and checkpoints. Nothing of it is touched yet, and what is read is read of the file as
    /// it is now: once something else has written to it, this connection does not.
    pub(crate) fn open(path: &Path, patience: Duration) -> Result<Self> {
        let stamp = Stamp::of(&fs::metadata(path).context("stat", path)?);
        if stamp.size == 0 {
            // SQLite would make an empty database of it, in the middle of whatever somebody is about to write there.
            return Err(Error::Changed { path: path.to_owned(), what: "the database file was emptied" });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Self { sqlite: open_sqlite(path, flags)?, path: path.to_owned() };
        conn.guard(&stamp)?;
        let sqlite = &conn.sqlite;
        wait_for_locks(sqlite, patience).context("open", path)?;
        // Whoever closes last would otherwise move the WAL into the database and delete it: frames we have not read.
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).context("open", path)?;
        for pragma in
            ["PRAGMA wal_autocheckpoint = 0", "PRAGMA synchronous = NORMAL", "PRAGMA cache_size = -64"]
        {
            run(sqlite, pragma).context("open", path)?;
        }
        sqlite.busy_timeout(Duration::ZERO).context("open", path)?;
        Ok(conn)
    }

    /// Opens the database, and switches it to WAL mode unless it is in it already.
    pub(crate) fn open_in_wal_mode(path: &Path, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            let conn = Self::open(path, patience)?;
            match conn.ensure_wal_mode() {
                // Not with the same connection: it may know pages of the file as it was before.
                Err(Error::Busy { .. } | Error::Changed { .. }) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(1));
                }
                done => return done.map(|()| conn),
            }
        }
    }

    /// It writes the first page. Without a journal: where the write is refused, because the file is no longer the one that was read,
    /// nothing may be left that would roll the new one back.
    fn ensure_wal_mode(&self) -> Result<()> {
        let switched = self.answer("PRAGMA journal_mode").and_then(|mode| {
            if mode.eq_ignore_ascii_case("wal") {
                return Ok(mode);
            }
            self.answer("PRAGMA journal_mode = off")?;
            self.answer("PRAGMA journal_mode = wal")
        });
        match switched {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => Ok(()),
            Ok(mode) => Err(Error::NotWal { path: self.path.clone(), mode }),
            Err(error) if is_busy(&error) => Err(Error::Busy { path: self.path.clone() }),
            Err(_) if self.is_refused()? => {
                let what = "the database file was written while it was opened";
                Err(Error::Changed { path: self.path.clone(), what })
            }
            Err(error) => Err(error).context("switch to wal mode", &self.path),
        }
    }

    /// Page size in bytes.
    pub(crate) fn page_size(&self) -> Result<u32> {
        self.sqlite
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .context("read the page size of", &self.path)
    }

    /// Which file is open, as `PRAGMA ltx_file` of our VFS answers it.
    pub(crate) fn file_id(&self) -> Result<String> {
        self.sqlite.query_row("PRAGMA ltx_file", [], |row| row.get(0)).context("identify", &self.path)
    }

    /// Whether `path` means the file that is open.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let named = FileId::of(path).ok().map(|id| id.to_string());
        named.is_some() && named == self.file_id().ok()
    }

    /// From here on closing the last connection does what it usually does, if the database file has `stamp` then.
    pub(crate) fn tidy_on_close(&self, stamp: &Stamp) -> Result<()> {
        self.guard(stamp)?;
        self.sqlite
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map(drop)
            .context("close", &self.path)
    }

    /// Begins a read transaction at the newest commit and holds it.
    pub(crate) fn begin_read(&self, patience: Duration) -> Result<()> {
        // One that an error kept from being ended would keep every later one from beginning.
        self.rollback()?;
        self.patiently("begin a read transaction on", patience, || {
            self.execute("BEGIN")?;
            // BEGIN alone takes no lock; reading anything does.
            let read = self.execute("SELECT rowid FROM sqlite_schema LIMIT 1");
            if read.is_err() {
                let _ = self.execute("ROLLBACK");
            }
            read
        })
    }

    /// Tries once to take the write lock; false when somebody has it.
    fn try_begin_write(&self) -> Result<bool> {
        match self.execute("BEGIN IMMEDIATE") {
            Ok(()) => Ok(true),
            Err(error) if is_busy(&error) => Ok(false),
            Err(error) => Err(error).context("lock", &self.path),
        }
    }

    /// Takes the write lock, polling without sleep: the pause between two commits of a busy writer is a few microseconds
    /// long, and whoever sleeps never meets it. False when `patience` is over.
    pub(crate) fn begin_write(&self, patience: Duration) -> Result<bool> {
        self.rollback()?;
        let deadline = Instant::now() + patience;
        loop {
            if self.try_begin_write()? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    /// Whether a transaction is open.
    pub(crate) fn is_in_transaction(&self) -> bool {
        !self.sqlite.is_autocommit()
    }

    /// Ends the transaction, if there is one.
    pub(crate) fn rollback(&self) -> Result<()> {
        if !self.is_in_transaction() {
            return Ok(());
        }
        self.execute("ROLLBACK").context("end a transaction on", &self.path)
    }

    /// Moves frames into the database file. Only to be called outside a transaction. Says that somebody was in the way if the file
    /// does not have `stamp` any more when the first page is about to be written.
    pub(crate) fn checkpoint(
        &self,
        mode: CheckpointMode,
        patience: Duration,
        stamp: &Stamp,
    ) -> Result<Checkpointed> {
        self.guard(stamp)?;
        wait_for_locks(&self.sqlite, patience).context("checkpoint", &self.path)?;
        let done = self.sqlite.wal_checkpoint_v2(DEFAULT_NAME, mode.into());
        self.sqlite.busy_timeout(Duration::ZERO).context("checkpoint", &self.path)?;
        let left = self.left()?;
        let is_refused = left == REFUSED;
        let result = match done {
            Ok((frames, moved)) => {
                CheckpointResult { busy: false, wal_frames: count(frames), checkpointed: count(moved) }
            }
            Err(error) if is_refused || is_busy(&error) => CheckpointResult::BUSY,
            Err(error) => return Err(error).context("checkpoint", &self.path),
        };
        Ok(Checkpointed { result, left })
    }

    /// The stamp that the last write of this connection left, or [`REFUSED`].
    fn left(&self) -> Result<String> {
        self.sqlite.query_row(GUARD, [], |row| row.get(0)).context("ask for the last write to", &self.path)
    }

    fn is_refused(&self) -> Result<bool> {
        Ok(self.left()? == REFUSED)
    }

    /// Lets this connection write to the database file only while that has the stamp.
    fn guard(&self, stamp: &Stamp) -> Result<()> {
        self.sqlite.query_row(&format!("{GUARD} = '{stamp}'"), [], |_| Ok(())).context("open", &self.path)
    }

    /// What a statement answers, read to the end: that is where it commits.
    fn answer(&self, sql: &str) -> rusqlite::Result<String> {
        let mut statement = self.sqlite.prepare(sql)?;
        statement.query_map([], |row| row.get::<_, String>(0))?.collect()
    }

    fn execute(&self, sql: &'static str) -> rusqlite::Result<()> {
        let mut statement = self.sqlite.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }

    /// Tries again for as long as somebody else holds a lock and `patience` lasts.
    fn patiently<T>(
        &self,
        op: &'static str,
        patience: Duration,
        mut attempt: impl FnMut() -> rusqlite::Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            match attempt() {
                Err(error) if is_busy(&error) => {
                    if Instant::now() >= deadline {
                        return Err(Error::Busy { path: self.path.clone() });
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                done => return done.context(op, &self.path),
            }
        }
    }
}

impl From<CheckpointMode> for SqliteMode {
    fn from(mode: CheckpointMode) -> Self {
        match mode {
            CheckpointMode::Passive => Self::PASSIVE,
            CheckpointMode::Full => Self::FULL,
            CheckpointMode::Restart => Self::RESTART,
            CheckpointMode::Truncate => Self::TRUNCATE,
        }
    }
}

/// Opens a database with our own SQLite, over our own VFS: its locks belong to the open file, so that neither another SQLite of this
/// process nor a `close` anywhere in it can take them away, and it closes no descriptor that others depend on.
pub(crate) fn open_sqlite(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let vfs = osvfs::register_linked().context("register the file system for", path)?;
    Connection::open_with_flags_and_vfs(path, flags, vfs).context("open", path)
}

/// Lets SQLite wait for locks of others; it counts milliseconds, up to some weeks.
fn wait_for_locks(sqlite: &Connection, patience: Duration) -> rusqlite::Result<()> {
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
    sqlite.busy_timeout(patience.min(LONGEST))
}

/// SQLite says -1 for "no WAL".
fn count(frames: i32) -> u32 {
    u32::try_from(frames).unwrap_or(0)
}

fn run(sqlite: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = sqlite.prepare(sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of the test")]
mod tests {
    use super::*;

    /// A database in rollback mode.
    fn database() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_that_is_copied_over_is_not_switched_by_who_has_read_the_old_one() {
        // In the middle of the copy it is empty: what SQLite would make of that is a database without tables.
        for content in [vec![], fs::read(&database().1).unwrap()] {
            let (dir, path) = database();
            let conn = Conn::open(&path, Duration::ZERO).unwrap();
            fs::write(&path, &content).unwrap();
            let error = conn.ensure_wal_mode().unwrap_err();
            assert!(matches!(error, Error::Changed { .. }), "{error}");
            drop(conn);
            assert_eq!(fs::read(&path).unwrap(), content);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no journal");
        }
    }

    #[test]
    fn an_empty_file_is_not_switched() {
        let (_dir, path) = database();
        fs::write(&path, []).unwrap();
        let error = Conn::open_in_wal_mode(&path, Duration::ZERO).err();
        assert!(matches!(error, Some(Error::Changed { .. })), "{error:?}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_database_is_switched() {
        let (_dir, path) = database();
        let conn = Conn::open_in_wal_mode(&path, Duration::ZERO).unwrap();
        conn.begin_read(Duration::ZERO).unwrap();
        assert_eq!(fs::read(&path).unwrap()[18..20], [2, 2]);
    }

    #[test]
    fn a_patience_of_years_is_one() {
        let (_dir, path) = database();
        let years = Duration::from_secs(1 << 33);
        let conn = Conn::open_in_wal_mode(&path, years).unwrap();
        let done = conn
            .checkpoint(CheckpointMode::Truncate, years, &Stamp::of(&fs::metadata(&path).unwrap()))
            .unwrap();
        assert!(!done.result.busy);
    }

    #[test]
    fn connections_are_over_our_own_vfs() {
        let (_dir, path) = database();
        let conn = Conn::open(&path, Duration::ZERO).unwrap();
        let lock: String = conn.sqlite.query_row("PRAGMA ltx_lock", [], |row| row.get(0)).unwrap();
        assert_eq!(lock, "ofd");
    }
}
