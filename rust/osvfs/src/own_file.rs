//! A live database for whoever changes it as SQLite would, without being a connection to it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dbfile::{FOLLOWER_BYTE, PENDING_BYTE, SHARED_FIRST, SHARED_SIZE};

use crate::fcntl::{self, Kind, Owner, Range};
use crate::fd_pool::{Descriptor, OpenHow};

const FOLLOWER: Range = Range::new(FOLLOWER_BYTE, 1);
const PENDING: Range = Range::new(PENDING_BYTE, 1);
const SHARED: Range = Range::new(SHARED_FIRST, SHARED_SIZE);

/// Between two attempts while a reader is in the way.
const STEP: Duration = Duration::from_millis(2);

/// A database file with a descriptor of its own, so that its locks hold against the connections of this process, too.
#[derive(Debug)]
pub struct OwnFile(Descriptor);

impl OwnFile {
    /// Opens the file that `path` names now, for reading and writing.
    ///
    /// # Errors
    /// What `stat` or `open` answers.
    pub fn open(path: &Path) -> io::Result<Self> {
        Descriptor::open(path, OpenHow::WRITE).map(Self)
    }

    /// The file, to be read and written.
    #[must_use]
    pub fn file(&self) -> &File {
        self.0.file()
    }

    /// Becomes the only one who follows a replica with this database; `None` if somebody else does.
    ///
    /// # Errors
    /// What `fcntl` answers, `EINVAL` where open files have no locks of their own.
    pub fn try_claim(self: &Arc<Self>) -> io::Result<Option<HeldBytes>> {
        HeldBytes::take(self, FOLLOWER, Kind::Write)
    }

    /// Keeps everybody from keeping everybody out, as a reader in rollback mode does: SQLite copies no WAL into the database when
    /// a connection closes. `None` if somebody does keep everybody out.
    ///
    /// # Errors
    /// As [`OwnFile::try_claim`].
    pub fn try_share(self: &Arc<Self>) -> io::Result<Option<HeldBytes>> {
        HeldBytes::take(self, SHARED, Kind::Read)
    }

    /// Keeps every reader and writer out, as SQLite's EXCLUSIVE does. New ones are held off at once, and those that are there are
    /// waited for; `None`, and nothing is held, if one of them takes longer than `patience`.
    ///
    /// # Errors
    /// As [`OwnFile::try_claim`].
    pub fn try_exclude(self: &Arc<Self>, patience: Duration) -> io::Result<Option<Excluded>> {
        let Some(pending) = HeldBytes::take(self, PENDING, Kind::Write)? else { return Ok(None) };
        let start = Instant::now();
        loop {
            if let Some(shared) = HeldBytes::take(self, SHARED, Kind::Write)? {
                return Ok(Some(Excluded { _shared: shared, _pending: pending }));
            }
            if start.elapsed() >= patience {
                return Ok(None);
            }
            thread::sleep(STEP);
        }
    }
}

/// Nobody else reads or writes the database until this is dropped.
#[derive(Debug)]
pub struct Excluded {
    // Dropped in this order, so that nobody is let in by one lock and kept out by the other.
    _shared: HeldBytes,
    _pending: HeldBytes,
}

/// Locked bytes of a database, until this is dropped. A forked child holds nothing.
#[derive(Debug)]
pub struct HeldBytes {
    file: Arc<OwnFile>,
    range: Range,
}

impl HeldBytes {
    fn take(file: &Arc<OwnFile>, range: Range, kind: Kind) -> io::Result<Option<Self>> {
        match fcntl::set(file.file().as_fd(), Owner::Description, kind, range) {
            Ok(()) => Ok(Some(Self { file: Arc::clone(file), range })),
            Err(error) if fcntl::is_held(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        // Nobody can be in the way of that.
        let _ = fcntl::set(self.file.file().as_fd(), Owner::Description, Kind::Unlock, self.range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its file, and the same one opened once more.
    fn opened(dir: &Path) -> [Arc<OwnFile>; 2] {
        let path = dir.join("app.db");
        rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        [0, 1].map(|_| Arc::new(OwnFile::open(&path).unwrap()))
    }

    fn reads(dir: &Path) -> bool {
        let connection = rusqlite::Connection::open(dir.join("app.db")).unwrap();
        connection.query_row("SELECT count(*) FROM t", [], |_| Ok(())).is_ok()
    }

    #[test]
    fn nobody_gets_in_and_afterwards_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = opened(dir.path());
        let excluded = one.try_exclude(Duration::ZERO).unwrap().unwrap();
        assert!(!reads(dir.path()));
        assert!(other.try_exclude(Duration::ZERO).unwrap().is_none());
        drop(excluded);
        assert!(reads(dir.path()));
        assert!(other.try_exclude(Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn a_reader_is_waited_for_and_others_come_again_after_a_vain_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = opened(dir.path());
        let reader = other.try_share().unwrap().unwrap();
        assert!(one.try_exclude(Duration::from_millis(5)).unwrap().is_none());
        drop(reader);
        assert!(reads(dir.path()), "PENDING was let go");
        let reader = other.try_share().unwrap().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                drop(reader);
            });
            assert!(one.try_exclude(Duration::from_secs(60)).unwrap().is_some());
        });
    }

    #[test]
    fn while_it_is_shared_nobody_closes_as_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let [one, _] = opened(dir.path());
        let connection = rusqlite::Connection::open(dir.path().join("app.db")).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute("INSERT INTO t VALUES (1)", []).unwrap();
        let shared = one.try_share().unwrap().unwrap();
        drop(connection);
        drop(shared);
        assert!(dir.path().join("app.db-wal").metadata().unwrap().len() > 0, "copied into the database");
    }

    #[test]
    fn one_follows_and_readers_do_not_mind() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = opened(dir.path());
        let claim = one.try_claim().unwrap().unwrap();
        assert!(other.try_claim().unwrap().is_none());
        assert!(reads(dir.path()));
        assert!(other.try_exclude(Duration::ZERO).unwrap().is_some());
        drop(claim);
        assert!(other.try_claim().unwrap().is_some());
    }
}
