//! Descriptors that are kept for the moment in which the process has no other left.
//!
//! A connection that was opened with the last ones could neither write, for want of a journal, nor undo what another one left
//! half done.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, TryLockError};

use rustix::fs::fstat;

/// For a database, its journal, and the directory of both.
const COUNT: usize = 3;

/// A forked child goes on with those of its parent. Never waited for: a thread of the parent may have held it.
static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());

fn kept() -> Option<MutexGuard<'static, Vec<File>>> {
    match KEPT.try_lock() {
        Ok(kept) => Some(kept),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Makes up for what was given up, as far as there are descriptors.
pub(super) fn fill() {
    let Some(mut kept) = kept() else { return };
    while kept.len() < COUNT {
        let Ok(nothing) = nothing() else { return };
        kept.push(nothing);
    }
}

/// Gives them up; whether there were any.
pub(super) fn give_up() -> bool {
    let Some(mut kept) = kept() else { return false };
    let mut ours = 0;
    for file in kept.drain(..) {
        if is_nothing(&file) {
            ours += 1;
        } else {
            // The application has closed all its descriptors, ours with them, and uses the number for something else.
            std::mem::forget(file);
        }
    }
    ours > 0
}

#[expect(clippy::disallowed_methods, reason = "no database")]
fn nothing() -> std::io::Result<File> {
    File::open("/dev/null")
}

fn is_nothing(file: &File) -> bool {
    let device = |fd: std::os::fd::BorrowedFd<'_>| fstat(fd).ok().map(|found| (found.st_mode, found.st_rdev));
    let wanted = rustix::fs::stat("/dev/null").ok().map(|found| (found.st_mode, found.st_rdev));
    wanted.is_some() && device(file.as_fd()) == wanted
}
