//! A lock that is a directory: for file systems that have no other.
//!
//! `NAME.lock` is made by whoever has the lock and is gone when nobody has, as with SQLite's `unix-dotfile`, which it excludes. In
//! it stands who made it, so that what a crash left behind can be told from a lock: only if it was made on this host, since this
//! boot, by a process that no longer runs. From another host, or from another container, that cannot be known; then only
//! [`break_lock`] helps.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, Timespec, Timestamps, UTIME_NOW};
use vfs::{Code, Error, Result};

/// Who has the lock, in the directory.
const OWNER_FILE: &str = "owner";

/// How often, and after how long, a directory is removed again that somebody is just looking at as stale.
const REMOVALS: u32 = 20;
const REMOVAL_STEP: Duration = Duration::from_millis(5);

/// The lock of one database.
pub(super) struct LockDirectory {
    path: PathBuf,
    is_held: bool,
}

impl LockDirectory {
    pub(super) fn of(database: &Path) -> Self {
        Self { path: lock_path(database), is_held: false }
    }

    /// Takes the lock, or shows that it is still in use.
    pub(super) fn take(&mut self) -> Result<()> {
        if self.is_held {
            self.touch();
            return Ok(());
        }
        match self.make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && remove_stale(&self.path) => {
                self.make()
            }
            made => made,
        }
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Code::BUSY.into(),
            _ => super::refused(Code::IOERR_LOCK, &error),
        })
    }

    fn make(&mut self) -> io::Result<()> {
        fs::create_dir(&self.path)?;
        self.is_held = true;
        if let Some(owner) = Owner::this_process() {
            // Without it the lock is as good; it only cannot be recognised when it is stale.
            let _ = fs::write(self.path.join(OWNER_FILE), owner.to_text());
        }
        Ok(())
    }

    /// For whoever judges a lock by its age.
    fn touch(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let _ = rustix::fs::utimensat(CWD, &self.path, &times, rustix::fs::AtFlags::empty());
    }

    pub(super) fn let_go(&mut self) -> Result<()> {
        if !self.is_held {
            return Ok(());
        }
        let removed = (0..REMOVALS).find_map(|_| match remove(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                thread::sleep(REMOVAL_STEP);
                None
            }
            done => Some(done),
        });
        removed
            .unwrap_or_else(|| Err(io::ErrorKind::DirectoryNotEmpty.into()))
            .map_err(|error| Error::os(Code::IOERR_UNLOCK, &error))?;
        self.is_held = false;
        Ok(())
    }
}

/// Removes the lock directory of a database, whoever made it. Only for a lock whose owner is known to be gone: everything that is
/// still using the database may damage it afterwards.
///
/// # Errors
/// `NotFound` if there is no lock; what `unlink` and `rmdir` answer.
pub fn break_lock(database: &Path) -> io::Result<()> {
    let directory = lock_path(database);
    for entry in fs::read_dir(&directory)? {
        fs::remove_file(entry?.path())?;
    }
    fs::remove_dir(directory)
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(".lock");
    name.into()
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(OWNER_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_dir(directory)
}

/// Removes a lock whose maker is known to be gone; false if it is not, or if another one was here first.
///
/// Between looking and removing, another process may remove the lock and make its own, which must stay. So the owner is first
/// given a name that only we know: only one process can do that to one file, the directory cannot be made anew while it is in
/// there, and without an owner it is nobody's to remove.
fn remove_stale(directory: &Path) -> bool {
    let (owner, Some(us)) = (directory.join(OWNER_FILE), Owner::this_process()) else { return false };
    if !us.knows_to_be_gone(&owner) {
        return false;
    }
    static CLAIMS: AtomicU32 = AtomicU32::new(0);
    let claim = format!("{OWNER_FILE}-{}-{}", us.pid, CLAIMS.fetch_add(1, Ordering::Relaxed));
    let claim = directory.join(claim);
    if fs::rename(&owner, &claim).is_err() {
        return false;
    }
    if !us.knows_to_be_gone(&claim) {
        let _ = fs::rename(&claim, &owner);
        return false;
    }
    fs::remove_file(&claim).and_then(|()| fs::remove_dir(directory)).is_ok()
}

/// A process, told apart from every other one that had or will have its number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    /// In clock ticks since the host was started.
    started: u64,
    boot: String,
    host: String,
}

impl Owner {
    fn this_process() -> Option<Self> {
        let pid = std::process::id();
        Some(Self {
            pid,
            started: start_time(pid)?,
            boot: read_small(Path::new("/proc/sys/kernel/random/boot_id"))?.trim().to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        })
    }

    /// Whether the process that a file names was one of this host and boot, and has ended.
    fn knows_to_be_gone(&self, file: &Path) -> bool {
        read_small(file).as_deref().and_then(Self::parse).is_some_and(|owner| {
            owner.boot == self.boot && owner.host == self.host && start_time(owner.pid) != Some(owner.started)
        })
    }

    fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n{}\n", self.pid, self.started, self.boot, self.host)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        Some(Self {
            pid: lines.next()?.parse().ok()?,
            started: lines.next()?.parse().ok()?,
            boot: lines.next()?.to_owned(),
            host: lines.next()?.to_owned(),
        })
    }
}

/// When a process was started (proc(5), `/proc/PID/stat`, field 22); `None` if there is none.
fn start_time(pid: u32) -> Option<u64> {
    let stat = read_small(Path::new(&format!("/proc/{pid}/stat")))?;
    // The second field is a name in parentheses, which may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "no database, and no -shm")]
fn read_small(path: &Path) -> Option<String> {
    String::from_utf8(fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("app.db");
        let (mut first, mut second) = (LockDirectory::of(&database), LockDirectory::of(&database));
        first.take().unwrap();
        first.take().unwrap();
        assert_eq!(second.take().unwrap_err().code, Code::BUSY);
        first.let_go().unwrap();
        assert!(!lock_path(&database).exists());
        second.take().unwrap();
        assert_eq!(break_lock(&database).map_err(|error| error.kind()), Ok(()));
        assert_eq!(break_lock(&database).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn only_a_lock_of_a_dead_process_of_this_boot_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("app.db");
        let us = Owner::this_process().unwrap();
        let dead = Owner { started: us.started + 1, ..us.clone() };
        let cases = [
            (us.clone(), false),
            (dead.clone(), true),
            (Owner { boot: "another".into(), ..dead.clone() }, false),
            (Owner { host: "another".into(), ..dead.clone() }, false),
            (Owner { pid: u32::MAX, ..us }, true),
        ];
        for (owner, is_stale) in cases {
            fs::create_dir(lock_path(&database)).unwrap();
            fs::write(lock_path(&database).join(OWNER_FILE), owner.to_text()).unwrap();
            assert_eq!(LockDirectory::of(&database).take().is_ok(), is_stale, "{owner:?}");
            break_lock(&database).unwrap();
        }
        // As SQLite makes it: nobody's name is in it.
        fs::create_dir(lock_path(&database)).unwrap();
        assert!(LockDirectory::of(&database).take().is_err());
    }
}
