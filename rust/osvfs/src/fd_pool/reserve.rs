//! Descriptors that are kept for the moment in which the process has no other left.
//!
//! A connection that was opened with the last ones could neither write, for want of a journal, nor undo what another one left
//! half done.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use vfs::ProcessLocal;

use crate::per_process::lock;

/// For a database, its journal, and the directory of both.
const COUNT: usize = 3;

static KEPT: ProcessLocal<Mutex<Vec<OwnedFd>>> = ProcessLocal::new(Mutex::default);

/// Makes up for what was given up, as far as there are descriptors.
pub(super) fn fill() {
    let mut kept = lock(KEPT.get());
    while kept.len() < COUNT {
        #[expect(clippy::disallowed_methods, reason = "no database")]
        let Ok(nothing) = File::open("/dev/null") else { return };
        kept.push(nothing.into());
    }
}

/// Gives them up; whether there were any.
pub(super) fn give_up() -> bool {
    !std::mem::take(&mut *lock(KEPT.get())).is_empty()
}
