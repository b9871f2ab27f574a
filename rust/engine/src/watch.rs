//! Being woken by the file system instead of by a clock.
//!
//! On Linux the WAL and the database file are watched by inotify, one event at a time: under a busy writer every event costs
//! that writer a little, so the watch is armed only when there is nothing left to do. Elsewhere the files are polled.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use durable::sibling;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// [`Watch::wake`] was called.
    Called,
    /// A watched file changed.
    FileChanged,
    /// Time is over.
    TimeOver,
}

/// What is waited for.
#[derive(Debug)]
pub(crate) struct Watch {
    wake: Wake,
    #[cfg(target_os = "linux")]
    inotify: Option<OwnedFd>,
}

/// A byte in a pipe: what one thread uses to end the wait of another.
#[derive(Debug)]
struct Wake {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Watch {
    /// A watch that watches nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::pipe::{PipeFlags, pipe_with};
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self {
            wake: Wake { reader, writer },
            // Without inotify (the number of instances is limited) waits end by time alone.
            #[cfg(target_os = "linux")]
            inotify: linux::init().ok(),
        })
    }

    /// Ends the wait that is going on, or the next one.
    pub(crate) fn wake(&self) {
        // A full pipe will wake the waiter just as well.
        let _ = rustix::io::write(&self.wake.writer, &[1]);
    }

    /// Watches `paths` for the next change; false when that is not possible. Check once more for work before
    /// [`Watch::wait`]: what came before is not seen.
    pub(crate) fn arm(&self, paths: &[PathBuf]) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(inotify) = &self.inotify {
            linux::drain(inotify);
            return paths.iter().all(|path| linux::watch(inotify, path).is_ok());
        }
        let _ = paths;
        false
    }

    /// Watches for a database file that may not be there yet, and for its WAL: the directory, and what is there of both; false when that
    /// is not possible. As [`Watch::arm`].
    pub(crate) fn arm_for_file(&self, path: &Path) -> bool {
        #[cfg(target_os = "linux")]
        if let (Some(inotify), Some(directory)) = (&self.inotify, path.parent()) {
            linux::drain(inotify);
            for path in [path, &sibling(path, "-wal")] {
                // What is not there will come into the directory.
                let _ = linux::watch(inotify, path);
            }
            return linux::watch_directory(inotify, directory).is_ok();
        }
        let _ = path;
        false
    }

    /// Waits for a call of [`Watch::wake`], a change of an armed file, or the end of `timeout`.
    pub(crate) fn wait(&self, timeout: Duration, with_files: bool) -> io::Result<Woken> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let mut fds = vec![PollFd::new(&self.wake.reader, PollFlags::IN)];
        #[cfg(target_os = "linux")]
        if let (true, Some(inotify)) = (with_files, &self.inotify) {
            fds.push(PollFd::new(inotify, PollFlags::IN));
        }
        let _ = with_files;
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Woken::TimeOver),
            ready => ready?,
        };
        if !fds.first().is_some_and(|fd| fd.revents().contains(PollFlags::IN)) {
            return Ok(Woken::FileChanged);
        }
        let mut bytes = [0; 64];
        while rustix::io::read(&self.wake.reader, &mut bytes).is_ok_and(|read| read == bytes.len()) {}
        Ok(Woken::Called)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::path::Path;

    use rustix::fd::OwnedFd;
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

    pub(super) fn init() -> rustix::io::Result<OwnedFd> {
        inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
    }

    pub(super) fn watch(inotify: &OwnedFd, path: &Path) -> rustix::io::Result<()> {
        let events =
            WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        inotify::add_watch(inotify, path, events | WatchFlags::ONESHOT).map(drop)
    }

    pub(super) fn watch_directory(inotify: &OwnedFd, path: &Path) -> rustix::io::Result<()> {
        let events =
            WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        inotify::add_watch(inotify, path, events | WatchFlags::ONESHOT).map(drop)
    }

    /// Old events are of no interest: what they tell of is looked at anyway.
    pub(super) fn drain(inotify: &OwnedFd) {
        let mut buf = [const { MaybeUninit::uninit() }; 4096];
        let mut reader = Reader::new(inotify, &mut buf);
        while reader.next().is_ok_and(|event| event.events() != ReadFlags::empty()) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_wake_up_is_not_lost_when_it_comes_before_the_wait() {
        let watch = Watch::new().unwrap();
        watch.wake();
        watch.wake();
        assert_eq!(watch.wait(LONG, true).unwrap(), Woken::Called);
        assert_eq!(watch.wait(Duration::ZERO, true).unwrap(), Woken::TimeOver, "both were taken together");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_change_of_an_armed_file_ends_the_wait_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wal");
        fs::write(&path, b"a").unwrap();
        let watch = Watch::new().unwrap();
        let paths = [path.clone()];
        assert!(watch.arm(&paths));
        fs::write(&path, b"b").unwrap();
        assert_eq!(watch.wait(LONG, true).unwrap(), Woken::FileChanged);
        assert!(watch.arm(&paths));
        assert_eq!(watch.wait(Duration::from_millis(30), true).unwrap(), Woken::TimeOver, "an old event");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_comes_and_grows_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let watch = Watch::new().unwrap();
        let wal = sibling(&path, "-wal");
        for (file, content) in [(&path, b"a"), (&path, b"b"), (&wal, b"a"), (&wal, b"b")] {
            assert!(watch.arm_for_file(&path));
            fs::write(file, content).unwrap();
            assert_eq!(watch.wait(LONG, true).unwrap(), Woken::FileChanged, "{}", file.display());
        }
        assert!(watch.arm_for_file(&path));
        assert_eq!(watch.wait(Duration::from_millis(30), true).unwrap(), Woken::TimeOver, "an old event");
        assert!(!watch.arm_for_file(Path::new("/nowhere/app.db")));
    }

    #[test]
    fn a_missing_file_cannot_be_armed() {
        assert!(!Watch::new().unwrap().arm(&[PathBuf::from("/nowhere/db-wal")]));
    }
}
