//! Children that are forked in the middle of a test.
//!
//! The child of a process with threads may call little more than the methods under test, so it asserts nothing itself: it ends
//! with the number of the first thing that was wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time. They share descriptors, which some count; and a lock that another thread holds at the moment of a fork, of
/// SQLite's memory for one, is held for ever in the child.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` in a child; the code that it ended with. One that hangs is killed by `SIGALRM`.
pub fn in_child(work: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the child runs `work` and ends; it never returns into the threads of the test.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: takes a number of seconds.
            unsafe { libc::alarm(60) };
            let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(99);
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = -1;
            // SAFETY: the child was just made, and there is room for its status.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert!(libc::WIFEXITED(status), "status {status:#x}");
            libc::WEXITSTATUS(status)
        }
    }
}

/// 1 and up: the first that is not as it should be. 0 if all are.
pub fn first_wrong(checks: &[bool]) -> c_int {
    checks.iter().position(|ok| !ok).map_or(0, |index| c_int::try_from(index).unwrap_or(98) + 1)
}

/// A child that does nothing until it is dropped.
pub struct Sleeper(c_int);

impl Sleeper {
    pub fn fork() -> Self {
        // SAFETY: the child only waits to be killed.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            },
            child => {
                assert!(child > 0);
                Self(child)
            }
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // SAFETY: it is our child, and nobody has waited for it yet.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}
