//! The mutexes of a SQLite that is used in the background.
//!
//! Every thread that uses SQLite takes them for moments, and a thread that replicates does so all the time. In the child of a
//! fork at such a moment they would stay locked, and whatever opened a database with this library there would hang. So the thread
//! that forks holds them all meanwhile.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The static mutexes (SQLite, "Mutex Types"), outer ones first, as SQLite nests them: PRNG, OPEN, VFS1 to VFS3, MAIN, LRU, PMEM,
/// MEM.
#[cfg(feature = "linked")]
const KINDS: [std::ffi::c_int; COUNT] = [5, 4, 11, 12, 13, 2, 6, 7, 3];
const COUNT: usize = 9;

/// What a fork holds. Functions as well as mutexes, so that a binary without a SQLite of its own needs no such functions.
struct Held {
    mutexes: [*mut c_void; COUNT],
    enter: unsafe extern "C" fn(*mut c_void),
    leave: unsafe extern "C" fn(*mut c_void),
}

/// Null until there is something; then never freed.
static HELD: AtomicPtr<Held> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    static IS_HOLDING: Cell<bool> = const { Cell::new(false) };
}

/// Has every fork from now on wait for the moments in which another thread holds a mutex of the SQLite that this binary is
/// linked with. That library must call nothing that forks.
#[cfg(feature = "linked")]
pub fn hold_linked_over_forks() {
    unsafe extern "C" {
        fn sqlite3_mutex_alloc(kind: std::ffi::c_int) -> *mut c_void;
        fn sqlite3_mutex_enter(mutex: *mut c_void);
        fn sqlite3_mutex_leave(mutex: *mut c_void);
    }
    if HELD.load(Ordering::Acquire).is_null() {
        super::install();
        // SAFETY: takes a number, and returns a mutex that is never freed, or null if SQLite was told to need none.
        let mutexes = KINDS.map(|kind| unsafe { sqlite3_mutex_alloc(kind) });
        let held = Held { mutexes, enter: sqlite3_mutex_enter, leave: sqlite3_mutex_leave };
        HELD.store(Box::into_raw(Box::new(held)), Ordering::Release);
    }
}

pub(super) fn enter() {
    // SAFETY: null, or a leaked box that nobody changes.
    if let Some(held) = unsafe { HELD.load(Ordering::Acquire).as_ref() } {
        // SAFETY: mutexes and functions are those of one library. This thread is not inside of it, so it holds none of them.
        held.mutexes.iter().for_each(|&mutex| unsafe { (held.enter)(mutex) });
        IS_HOLDING.set(true);
    }
}

/// Also in the child, where the thread that entered them is the only one.
pub(super) fn leave() {
    // SAFETY: as above.
    if let Some(held) = unsafe { HELD.load(Ordering::Acquire).as_ref() }
        && IS_HOLDING.replace(false)
    {
        // SAFETY: `enter` has entered them in this thread.
        held.mutexes.iter().rev().for_each(|&mutex| unsafe { (held.leave)(mutex) });
    }
}
