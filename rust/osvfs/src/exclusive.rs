//! Every lock that connections take on a database, held at once: so that its file can be replaced.
//!
//! A connection in WAL mode that has read something has SHARED on the database and the first byte behind the slots of `-shm`
//! for as long as it is open; one in a transaction has SHARED or more. While [`Exclusive`] is held there is no such connection,
//! and none can begin. What has no lock cannot be seen: a connection in rollback mode between two transactions, and one that
//! has been opened and has read nothing yet. Locks that are not on bytes, of `lock=dotfile` and `lock=flock`, are looked for but not held.
//!
//! Neither of these is harmed when the file is replaced. SQLite does not begin to write to a file that has lost its name
//! (`SQLITE_READONLY_DBMOVED`), in rollback mode. In WAL mode it would, into the WAL of the file that has the name now. So a
//! file that has lost its name by the time the locks go is put into rollback mode.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dbfile::header::{ROLLBACK_VERSIONS, VERSIONS, WAL_VERSION};
use dbfile::{FOLLOWER_BYTE, PENDING_BYTE};
use durable::sibling;

use crate::fcntl::{self, Kind, Owner, Range};
use crate::fd_pool::{Descriptor, FileId, OpenHow};
use crate::lock::{find_held_dotfile, is_flock_held};

/// PENDING, RESERVED and SHARED of the database, and the byte of whoever follows a replica with it.
const DATABASE: Range = Range::new(PENDING_BYTE, FOLLOWER_BYTE + 1 - PENDING_BYTE);

/// The eight slots of `-shm`, and the byte that every connection shares while it has the file open.
const SHM: Range = Range::new(120, 9);

/// All locks of a database, until it is dropped.
#[derive(Debug)]
pub struct Exclusive {
    path: PathBuf,
    database: Locked,
    _shm: Option<Locked>,
}

impl Exclusive {
    /// Takes every lock of the database at `path`, a path without links, and of its `-shm`, if there is one. `None` if
    /// anybody has one of them or uses `flock` or a lock directory, or if another file takes this name at this very moment.
    ///
    /// Where locks of open files do not work, those of other processes are still looked for, but none is held. This process must
    /// not have the database open then, in a transaction or not: `None` as well.
    ///
    /// # Errors
    /// What `open` or `fcntl` answers.
    pub fn try_lock(path: &Path) -> io::Result<Option<Self>> {
        let Some(database) = Locked::open(path, DATABASE)? else { return Ok(None) };
        if FileId::of(path).ok() != Some(database.descriptor.id()) || find_held_dotfile(path)?.is_some() {
            return Ok(None);
        }
        // No connection makes a new one now: that happens under SHARED.
        let shm = match Locked::open(&sibling(path, "-shm"), SHM) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Ok(None) => return Ok(None),
            locked => locked?,
        };
        Ok(Some(Self { path: path.to_owned(), database, _shm: shm }))
    }

    /// The database file, to be written.
    ///
    /// # Errors
    /// What `open` would answer if it may only be read.
    pub fn file(&self) -> io::Result<&File> {
        if !self.database.descriptor.is_writable() {
            // Not for what it opens: it says why.
            drop(Descriptor::open(&self.path, OpenHow::WRITE)?);
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(self.database.descriptor.file())
    }

    /// Whether its name means another file now, or none. It may have others still: hard links. What cannot be found out is no
    /// reason to change a file.
    fn has_lost_name(&self) -> bool {
        match FileId::of(&self.path) {
            Ok(id) => id != self.database.descriptor.id(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        let file = self.database.descriptor.file();
        let mut versions = [0; 2];
        if self.has_lost_name()
            && file.read_exact_at(&mut versions, VERSIONS.start as u64).is_ok()
            && versions.contains(&WAL_VERSION)
        {
            // A file that could only be read was in a directory that could be written: nothing more can be done for it.
            let _ = file.write_all_at(&ROLLBACK_VERSIONS, VERSIONS.start as u64);
        }
    }
}

/// A lock on a database that is not on bytes, and that may be there though no connection is.
#[derive(Debug)]
pub enum OtherLock {
    /// The directory of `lock=dotfile`.
    Directory(PathBuf),
    /// `flock` of the file.
    Flock,
}

impl OtherLock {
    /// The one that is in the way of [`Exclusive`] now, to say so.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        if let Ok(Some(lock)) = find_held_dotfile(path) {
            return Some(Self::Directory(lock));
        }
        let file = Descriptor::open(path, OpenHow::READ).ok()?;
        is_flock_held(file.as_fd()).then_some(Self::Flock)
    }
}

/// A file with a range of it locked.
#[derive(Debug)]
struct Locked {
    descriptor: Descriptor,
    range: Range,
}

impl Locked {
    fn open(path: &Path, range: Range) -> io::Result<Option<Self>> {
        let (descriptor, kind) = match Descriptor::open(path, OpenHow::WRITE) {
            Ok(descriptor) => (descriptor, Kind::Write),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            // A shared lock keeps writers out, at least.
            Err(_) => (Descriptor::open(path, OpenHow::READ)?, Kind::Read),
        };
        let locked = Self { descriptor, range };
        // First: on NFS a flock is a lock on all bytes, in the way of those that are taken next.
        let is_free = !is_flock_held(locked.descriptor.as_fd()) && locked.take(kind)?;
        Ok(is_free.then_some(locked))
    }

    /// Whether nobody has any part of the range; then it is locked, where locks of open files work.
    fn take(&self, kind: Kind) -> io::Result<bool> {
        match self.lock(kind) {
            // No call tells of locks that this process has itself, and no protocol without locks on bytes can be seen at all.
            Err(_) if !self.descriptor.is_only_one_of_process() => Ok(false),
            // A lock of the process would be lost when any descriptor of the file is closed.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.is_free(Owner::Process),
            taken => taken,
        }
    }

    fn lock(&self, kind: Kind) -> io::Result<bool> {
        if kind == Kind::Read && !self.is_free(Owner::Description)? {
            return Ok(false);
        }
        match fcntl::set(self.descriptor.as_fd(), Owner::Description, kind, self.range) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            set => set.map(|()| true),
        }
    }

    fn is_free(&self, owner: Owner) -> io::Result<bool> {
        let conflict = fcntl::conflict(self.descriptor.as_fd(), owner, Kind::Write, self.range)?;
        Ok(conflict.is_none())
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Nobody can be in the way; and the descriptor goes back to the pool without a lock.
        let _ = fcntl::set(self.descriptor.as_fd(), Owner::Description, Kind::Unlock, self.range);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::*;

    fn open(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(std::time::Duration::ZERO).unwrap();
        connection
    }

    fn database(path: &Path, mode: &str) -> Connection {
        let connection = open(path);
        let set = format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1)"
        );
        connection.execute_batch(&set).unwrap();
        connection
    }

    fn is_free(path: &Path) -> bool {
        Exclusive::try_lock(path).unwrap().is_some()
    }

    #[test]
    fn a_connection_in_wal_mode_is_seen_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let connection = database(&path, "wal");
        for _ in 0..3 {
            assert!(!is_free(&path), "in the same process, through another library");
            connection.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        }
        drop(connection);
        assert!(is_free(&path));
    }

    #[test]
    fn a_transaction_in_rollback_mode_is_seen_and_none_begins_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let connection = database(&path, "delete");
        connection.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        assert!(!is_free(&path));
        connection.execute_batch("COMMIT").unwrap();
        let held = Exclusive::try_lock(&path).unwrap().unwrap();
        connection.execute_batch("SELECT * FROM t").unwrap_err();
        drop(held);
        connection.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    }

    #[test]
    fn connections_without_a_lock_do_not_write_beside_the_new_database() {
        let dir = tempfile::tempdir().unwrap();
        let (path, new) = (dir.path().join("db"), dir.path().join("new"));
        for mode in ["delete", "wal"] {
            drop(database(&path, mode));
            drop(database(&new, mode));
            // Opened, and not used yet.
            let early = open(&path);
            let held = Exclusive::try_lock(&path).unwrap().unwrap();
            fs::rename(&new, &path).unwrap();
            drop(held);
            early.execute_batch("INSERT INTO t VALUES (3)").unwrap_err();
            let later = open(&path);
            let sum: i64 = later.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap();
            assert_eq!(sum, 1, "{mode}");
            later.execute_batch("INSERT INTO t VALUES (2)").unwrap();
            let check: String = later.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(check, "ok");
            drop(later);
            fs::remove_file(&path).unwrap();
        }
    }

    /// Only a file without any name was put into rollback mode.
    #[test]
    fn a_second_name_does_not_let_them_write_beside_the_new_database() {
        let dir = tempfile::tempdir().unwrap();
        let [path, new, second] = ["db", "new", "second"].map(|name| dir.path().join(name));
        drop(database(&path, "wal"));
        drop(database(&new, "wal"));
        fs::hard_link(&path, &second).unwrap();
        let early = open(&path);
        let held = Exclusive::try_lock(&path).unwrap().unwrap();
        fs::rename(&new, &path).unwrap();
        drop(held);
        early.execute_batch("INSERT INTO t VALUES (3)").unwrap_err();
        for (name, mode) in [(&path, "wal"), (&second, "delete")] {
            let later = open(name);
            let text = |sql| later.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
            assert_eq!(text("PRAGMA journal_mode"), mode);
            assert_eq!(text("SELECT cast(sum(a) AS TEXT) FROM t"), "1");
            assert_eq!(text("PRAGMA integrity_check"), "ok");
        }
    }

    #[test]
    fn a_database_that_was_not_replaced_stays_in_wal_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (path, second) = (dir.path().join("db"), dir.path().join("second"));
        drop(database(&path, "wal"));
        fs::hard_link(&path, &second).unwrap();
        drop(Exclusive::try_lock(&path).unwrap().unwrap());
        fs::remove_file(&second).unwrap();
        drop(Exclusive::try_lock(&path).unwrap().unwrap());
        let mode: String = open(&path).query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn a_missing_database_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let error = Exclusive::try_lock(&dir.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
