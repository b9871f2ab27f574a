//! Batches of writes that happen wholly or not at all, on file systems that have them: F2FS on Linux.
//!
//! Source: Linux, `include/uapi/linux/f2fs.h`. SQLite asks for them only if it was compiled with
//! `SQLITE_ENABLE_BATCH_ATOMIC_WRITE`, and falls back to a journal when a batch fails.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

/// What a file is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    Begin,
    Commit,
    Rollback,
}

/// Whether the file system can write batches.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn is_supported(fd: BorrowedFd<'_>) -> bool {
    use rustix::ioctl::{Getter, ioctl, opcode};

    const GET_FEATURES: rustix::ioctl::Opcode = opcode::read::<u32>(0xf5, 12);
    const FEATURE_ATOMIC_WRITE: u32 = 0x4;
    loop {
        // SAFETY: this request fills in a number of this width, and nothing else.
        #[expect(unsafe_code, reason = "the system call itself")]
        match unsafe { ioctl(fd, Getter::<GET_FEATURES, u32>::new()) } {
            Ok(features) => return features & FEATURE_ATOMIC_WRITE != 0,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Begins, ends or forgets a batch.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn control(fd: BorrowedFd<'_>, batch: Batch) -> std::io::Result<()> {
    use rustix::ioctl::{NoArg, ioctl, opcode};

    const START: rustix::ioctl::Opcode = opcode::none(0xf5, 1);
    const COMMIT: rustix::ioctl::Opcode = opcode::none(0xf5, 2);
    const ABORT: rustix::ioctl::Opcode = opcode::none(0xf5, 5);
    loop {
        // SAFETY: these requests take no argument.
        #[expect(unsafe_code, reason = "the system call itself")]
        let done = unsafe {
            match batch {
                Batch::Begin => ioctl(fd, NoArg::<START>::new()),
                Batch::Commit => ioctl(fd, NoArg::<COMMIT>::new()),
                Batch::Rollback => ioctl(fd, NoArg::<ABORT>::new()),
            }
        };
        match done {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_supported(_fd: BorrowedFd<'_>) -> bool {
    false
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn control(_fd: BorrowedFd<'_>, _batch: Batch) -> std::io::Result<()> {
    Err(Errno::NOTSUP.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_file_system_without_batches_says_so() {
        let file = tempfile::tempfile().unwrap();
        if is_supported(file.as_fd()) {
            control(file.as_fd(), Batch::Begin).unwrap();
            control(file.as_fd(), Batch::Rollback).unwrap();
        } else {
            assert!(control(file.as_fd(), Batch::Begin).is_err());
        }
    }
}
