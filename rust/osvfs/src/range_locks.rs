//! Which locks a file system has, and who has one where open files have none of their own.

use std::io;
use std::os::fd::AsFd;

use vfs::{Code, LockLevel};

use crate::fcntl::{self, Kind, Owner, Range};
use crate::fd_pool::{LockBytes, LockedBy, PooledFile};
use crate::lock::{ByteRanges, Protocol};
use crate::per_process::lock;

/// Locks of ranges of bytes, as far as kernel and file system have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeLocks {
    /// Of the open file, and of the process.
    OfOpenFile,
    /// Of the process alone.
    OfProcess,
    /// None.
    None,
}

impl RangeLocks {
    /// Far behind the bytes that SQLite locks.
    const TRIAL: Range = Range::new(0x4001_0000, 1);
}

impl PooledFile {
    /// Whether another process has a lock on these bytes; nobody can tell of this one where open files have no locks of their own.
    ///
    /// # Errors
    /// What `fcntl` answers.
    pub fn lock_of_another_process(&self, bytes: LockBytes) -> io::Result<Option<LockedBy>> {
        let found = fcntl::conflict(self.file().as_fd(), Owner::Process, Kind::Write, bytes.range())?;
        Ok(found.map(|kind| if kind == Kind::Read { LockedBy::Readers } else { LockedBy::Writer }))
    }

    /// Which locks work on this file, found out by trying, on a byte that no SQLite locks.
    #[must_use]
    pub fn range_locks(&self) -> RangeLocks {
        let works = |owner| {
            let fd = self.file().as_fd();
            let taken = fcntl::set(fd, owner, Kind::Read, RangeLocks::TRIAL);
            match taken.and_then(|()| fcntl::set(fd, owner, Kind::Unlock, RangeLocks::TRIAL)) {
                Ok(()) => true,
                Err(error) => fcntl::is_held(&error),
            }
        };
        match () {
            () if works(Owner::Description) => RangeLocks::OfOpenFile,
            () if works(Owner::Process) => RangeLocks::OfProcess,
            () => RangeLocks::None,
        }
    }
}

/// SHARED of a database, as a connection of this process has it: until it is dropped nobody closes the database as the last one,
/// nor changes its mode.
pub struct SharedLock<'a>(&'a PooledFile, ByteRanges);

impl Drop for SharedLock<'_> {
    fn drop(&mut self) {
        // Nobody can be in the way of that.
        let _ = self.1.release(self.0.file().as_fd(), LockLevel::Shared);
    }
}

/// The dead man's switch of a `-shm` file, as a connection has it: until it is dropped nobody begins the file anew.
#[derive(Debug)]
pub struct HeldSwitch<'a>(&'a PooledFile);

impl Drop for HeldSwitch<'_> {
    fn drop(&mut self) {
        let mut holders = lock(self.0.descriptor().switches());
        *holders = holders.saturating_sub(1);
        if *holders == 0 {
            // Nobody can be in the way of that.
            let _ = fcntl::set(self.0.file().as_fd(), Owner::Description, Kind::Unlock, SWITCH);
        }
    }
}

const SWITCH: Range = LockBytes::DeadMansSwitch.range();

impl PooledFile {
    /// Takes SHARED, unless somebody is about to have the database for itself.
    ///
    /// # Errors
    /// What `fcntl` answers, `EINVAL` where open files have no locks of their own.
    pub fn try_share(&self) -> io::Result<Option<SharedLock<'_>>> {
        let mut lock = ByteRanges::of_description(self.descriptor());
        match lock.shared(self.file().as_fd()) {
            Ok(()) => Ok(Some(SharedLock(self, lock))),
            Err(error) if error.code == Code::BUSY => Ok(None),
            Err(error) => Err(io::Error::from_raw_os_error(error.errno)),
        }
    }

    /// Takes the dead man's switch, unless somebody is beginning the file anew.
    ///
    /// # Errors
    /// What `fcntl` answers, `EINVAL` where open files have no locks of their own.
    pub fn try_hold_switch(&self) -> io::Result<Option<HeldSwitch<'_>>> {
        let mut holders = lock(self.descriptor().switches());
        match fcntl::set(self.file().as_fd(), Owner::Description, Kind::Read, SWITCH) {
            Ok(()) => {
                *holders += 1;
                Ok(Some(HeldSwitch(self)))
            }
            Err(error) if fcntl::is_conflict(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::PENDING;

    #[test]
    fn a_local_file_has_locks_and_none_is_left_behind() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (first, second) = (
            PooledFile::open(file.path()).unwrap(),
            PooledFile::open_for_writing(file.path(), false).unwrap(),
        );
        assert_eq!(first.range_locks(), RangeLocks::OfOpenFile);
        let found = fcntl::conflict(second.file().as_fd(), Owner::Description, Kind::Write, Range::ALL);
        assert_eq!(found.unwrap(), None);
        // Somebody's lock on every byte is a lock that works.
        fcntl::set(second.file().as_fd(), Owner::Description, Kind::Write, Range::ALL).unwrap();
        assert_eq!(first.range_locks(), RangeLocks::OfOpenFile);
        assert_eq!(first.lock_of_another_process(LockBytes::Shared).unwrap(), Some(LockedBy::Writer));
        fcntl::set(second.file().as_fd(), Owner::Description, Kind::Unlock, Range::ALL).unwrap();
    }

    #[test]
    fn the_switch_is_held_until_the_last_one_lets_it_go() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [first, second] = [(); 2].map(|()| PooledFile::open(file.path()).unwrap());
        let beginner = PooledFile::open_for_writing(file.path(), false).unwrap();
        let is_held = || beginner.lock_on(LockBytes::DeadMansSwitch).unwrap().is_some();
        let held = [&first, &second].map(|file| file.try_hold_switch().unwrap().unwrap());
        for one in held {
            assert!(is_held());
            drop(one);
        }
        assert!(!is_held());
        fcntl::set(beginner.file().as_fd(), Owner::Description, Kind::Write, SWITCH).unwrap();
        assert!(first.try_hold_switch().unwrap().is_none());
    }

    #[test]
    fn shared_is_shared_and_does_not_overtake_a_writer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [first, second, writer] =
            [(); 3].map(|()| PooledFile::open_for_writing(file.path(), false).unwrap());
        let held = first.try_share().unwrap().unwrap();
        assert!(second.try_share().unwrap().is_some());
        assert_eq!(second.lock_on(LockBytes::Shared).unwrap(), Some(LockedBy::Readers));
        drop(held);
        assert_eq!(second.lock_on(LockBytes::Shared).unwrap(), None);
        for range in [PENDING, LockBytes::Shared.range()] {
            fcntl::set(writer.file().as_fd(), Owner::Description, Kind::Write, range).unwrap();
            assert!(first.try_share().unwrap().is_none());
            fcntl::set(writer.file().as_fd(), Owner::Description, Kind::Unlock, range).unwrap();
        }
    }
}
