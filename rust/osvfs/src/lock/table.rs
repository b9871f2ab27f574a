//! Every step against every level of another connection of this process, without SQL in between.
//!
//! The same through SQL, against other processes and SQLite's own VFS, is in `tests/process/test_osvfs_locks.py`.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use vfs::{Code, LockLevel};

use super::Lock;
use crate::choice::LockMode;
use crate::fd_pool::{Descriptor, OpenHow};

struct Connection(Arc<Descriptor>, Lock);

impl Connection {
    fn open(mode: LockMode, path: &Path) -> Self {
        let shares = mode == LockMode::Ofd;
        let own = || Descriptor::open(path, OpenHow::WRITE).map(Arc::new);
        let descriptor = if shares { Descriptor::share(path, OpenHow::WRITE) } else { own() }.unwrap();
        Self::over(mode, descriptor, path)
    }

    fn over(mode: LockMode, descriptor: Arc<Descriptor>, path: &Path) -> Self {
        let lock = Lock::new(mode, &descriptor, path, false);
        Self(descriptor, lock)
    }

    fn raise(&mut self, level: LockLevel) -> Result<(), Code> {
        self.1.raise(self.0.as_fd(), level).map_err(|error| error.code)
    }

    fn lower(&mut self, level: LockLevel) {
        self.1.lower(self.0.as_fd(), level).unwrap();
    }

    fn is_reserved(&mut self) -> bool {
        self.1.is_reserved(self.0.as_fd()).unwrap()
    }

    /// Any level, PENDING by way of a reader that leaves. Whether it could be reached.
    fn reach(&mut self, level: LockLevel, mode: LockMode, path: &Path) -> bool {
        let mut reader = Connection::open(mode, path);
        let reached = match level {
            LockLevel::None => true,
            LockLevel::Shared => self.raise(LockLevel::Shared).is_ok(),
            LockLevel::Reserved => {
                self.raise(LockLevel::Shared).is_ok() && self.raise(LockLevel::Reserved).is_ok()
            }
            LockLevel::Pending => {
                self.reach(LockLevel::Reserved, mode, path)
                    && reader.raise(LockLevel::Shared).is_ok()
                    && self.raise(LockLevel::Exclusive) == Err(Code::BUSY)
            }
            LockLevel::Exclusive => {
                self.reach(LockLevel::Reserved, mode, path) && self.raise(LockLevel::Exclusive).is_ok()
            }
        };
        reader.lower(LockLevel::None);
        reached && self.1.level() == level
    }
}

const LEVELS: [LockLevel; 5] =
    [LockLevel::None, LockLevel::Shared, LockLevel::Reserved, LockLevel::Pending, LockLevel::Exclusive];

/// From, to, and what comes of it while another one has N, S, R, P, X: `y`es, `n`o, or `-` if it cannot have that then.
type Table = [(LockLevel, LockLevel, &'static str); 4];

const BYTES: Table = [
    (LockLevel::None, LockLevel::Shared, "yyynn"),
    (LockLevel::Shared, LockLevel::Reserved, "yynn-"),
    // A hot journal is rolled back without RESERVED.
    (LockLevel::Shared, LockLevel::Exclusive, "ynnn-"),
    (LockLevel::Reserved, LockLevel::Exclusive, "yn---"),
];
const WHOLE_FILE: Table = [
    (LockLevel::None, LockLevel::Shared, "yyn-n"),
    (LockLevel::Shared, LockLevel::Reserved, "yn---"),
    (LockLevel::Shared, LockLevel::Exclusive, "yn---"),
    (LockLevel::Reserved, LockLevel::Exclusive, "y----"),
];
const MODES: [(LockMode, Table); 5] = [
    (LockMode::Ofd, BYTES),
    (LockMode::Posix, BYTES),
    (LockMode::Dotfile, BYTES),
    (LockMode::Excl, BYTES),
    (LockMode::Flock, WHOLE_FILE),
];

/// Both connections on a new file; `None` if the other one cannot have its level beside `from`.
fn stage(mode: LockMode, path: &Path, from: LockLevel, others: LockLevel) -> Option<[Connection; 2]> {
    fs::write(path, b"page").unwrap();
    let [mut us, mut other] = [(); 2].map(|()| Connection::open(mode, path));
    assert!(us.reach(from, mode, path), "{mode:?} {from:?}");
    let both = other.reach(others, mode, path);
    if !both {
        us.lower(LockLevel::None);
        other.lower(LockLevel::None);
    }
    both.then_some([us, other])
}

#[test]
fn every_step_against_every_level() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, table) in MODES {
        for (from, to, expected) in table {
            let cell = |others: LockLevel| {
                let path = dir.path().join(format!("{mode:?}-{from:?}-{to:?}-{others:?}"));
                let Some([mut us, mut other]) = stage(mode, &path, from, others) else { return '-' };
                let done = us.raise(to);
                assert!(matches!(done, Ok(()) | Err(Code::BUSY)), "{done:?}");
                // What is refused leaves the level as it was, but for PENDING.
                let refused = if from == LockLevel::Reserved { LockLevel::Pending } else { from };
                assert_eq!(us.1.level(), if done.is_ok() { to } else { refused });
                us.lower(LockLevel::None);
                other.lower(LockLevel::None);
                if done.is_ok() { 'y' } else { 'n' }
            };
            let found: String = LEVELS.map(cell).iter().collect();
            assert_eq!(found, expected, "{mode:?}: {from:?} to {to:?}");
        }
    }
}

/// A reader asks this when it finds a journal. Told "no" while a writer is at work, it takes the journal for that of a crash.
#[test]
fn a_reader_sees_that_somebody_writes() {
    let dir = tempfile::tempdir().unwrap();
    let expected = [(LockLevel::None, false), (LockLevel::Shared, false)];
    let expected = [&expected[..], &[(LockLevel::Reserved, true), (LockLevel::Pending, true)]].concat();
    for (mode, table) in MODES {
        for &(others, is_reserved) in &expected {
            let path = dir.path().join(format!("{mode:?}-{others:?}"));
            let Some([mut us, mut other]) = stage(mode, &path, LockLevel::Shared, others) else {
                assert_eq!(table, WHOLE_FILE, "a writer keeps readers out there");
                continue;
            };
            assert_eq!(us.is_reserved(), is_reserved, "{mode:?} {others:?}");
            assert_eq!(other.is_reserved(), is_reserved, "its own counts too");
            us.lower(LockLevel::None);
            other.lower(LockLevel::None);
        }
    }
}

#[test]
fn steps_that_do_not_exist_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    fs::write(&path, b"page").unwrap();
    for (mode, _) in MODES {
        let mut us = Connection::open(mode, &path);
        assert_eq!(us.raise(LockLevel::Reserved), Err(Code::IOERR_LOCK));
        assert_eq!(us.raise(LockLevel::Shared), Ok(()));
        assert_eq!(us.raise(LockLevel::Pending), Err(Code::MISUSE));
        assert_eq!(us.raise(LockLevel::Shared), Ok(()), "a level that is held is no step");
        us.lower(LockLevel::None);
        let mut reader = Connection(us.0, Lock::none());
        reader.1.is_read_only = true;
        assert_eq!(reader.raise(LockLevel::Shared), Ok(()));
        assert_eq!(reader.raise(LockLevel::Reserved), Err(Code::IOERR_LOCK), "its file may only be read");
    }
}

/// As over one descriptor: the writer waits for this process, whose reader would wait for the writer.
#[test]
fn a_connection_that_only_reads_follows_a_reader_of_its_process_past_a_waiting_writer() {
    use LockLevel::{Exclusive, None, Pending, Reserved, Shared};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    fs::write(&path, b"page").unwrap();
    let over = |descriptor| Connection::over(LockMode::Ofd, descriptor, &path);
    let open = |how| over(Descriptor::share(&path, how).unwrap());
    for (of_reader, of_follower) in [(OpenHow::WRITE, OpenHow::READ), (OpenHow::READ, OpenHow::WRITE)] {
        let mut writer = over(Arc::new(Descriptor::open(&path, OpenHow::WRITE).unwrap()));
        let (mut reader, mut follower) = (open(of_reader), open(of_follower));
        reader.raise(Shared).unwrap();
        writer.raise(Shared).unwrap();
        writer.raise(Reserved).unwrap();
        assert_eq!((writer.raise(Exclusive), writer.1.level()), (Err(Code::BUSY), Pending));
        assert_eq!(follower.raise(Shared), Ok(()));
        reader.lower(None);
        follower.lower(None);
        assert_eq!(follower.raise(Shared), Err(Code::BUSY), "nobody to follow");
        assert_eq!(writer.raise(Exclusive), Ok(()));
        assert_eq!(follower.raise(Shared), Err(Code::BUSY));
        writer.lower(None);
    }
}

/// The lock would be on the file that has the name now.
#[test]
fn a_file_that_has_lost_its_name_is_not_locked_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    fs::write(&path, b"page").unwrap();
    let mut us = Connection::open(LockMode::Excl, &path);
    fs::rename(&path, dir.path().join("moved")).unwrap();
    fs::write(&path, b"another").unwrap();
    assert_eq!(us.raise(LockLevel::Shared), Err(Code::IOERR_LOCK));
    assert_eq!(Connection::open(LockMode::Ofd, &path).raise(LockLevel::Shared), Ok(()));
}

/// Somebody removes the directory; maybe another process has made its own since.
#[test]
fn a_directory_that_is_gone_is_no_lock() {
    use LockLevel::{Exclusive, None, Reserved, Shared};
    let dir = tempfile::tempdir().unwrap();
    for (at, from) in [Shared, Reserved, Exclusive].into_iter().enumerate() {
        for is_taken in [false, true] {
            let path = dir.path().join(format!("{at}-{is_taken}"));
            let lock = dir.path().join(format!("{at}-{is_taken}.lock"));
            let Some([mut us, mut other]) = stage(LockMode::Dotfile, &path, from, None) else {
                unreachable!()
            };
            super::break_lock(&path).unwrap();
            if is_taken {
                fs::create_dir(&lock).unwrap();
            }
            let done = if from == Exclusive {
                us.1.lower(us.0.as_fd(), Shared).map_err(|error| error.code)
            } else {
                us.raise(if from == Shared { Reserved } else { Exclusive })
            };
            let expected = if from == Exclusive { Code::IOERR_RDLOCK } else { Code::IOERR_LOCK };
            assert_eq!(done, Err(expected), "{from:?}");
            assert!(us.1.is_lost(), "nothing is read");
            if from == Shared {
                assert_eq!(other.raise(Shared), Err(Code::IOERR_LOCK), "another connection of the process");
            }
            us.lower(None);
            assert!(us.1.is_lost(), "whoever let it go is told");
            assert_eq!(lock.exists(), is_taken, "what is not ours stays");
            if is_taken {
                assert_eq!(us.raise(Shared), Err(Code::BUSY));
                fs::remove_dir(&lock).unwrap();
            }
            for connection in [&mut us, &mut other] {
                assert_eq!(connection.raise(Shared), Ok(()), "as good as new");
                assert!(!connection.1.is_lost());
                connection.lower(None);
            }
        }
    }
}
