//! The mutexes of a SQLite that is used in the background.
//!
//! Every thread that uses SQLite takes them for moments, and a thread that replicates does so all the time. In the child of a
//! fork at such a moment they would stay locked, and whatever opened a database with this library there would hang. So the thread
//! that forks holds them all meanwhile.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::Patience;

/// The static mutexes (SQLite, "Mutex Types"), outer ones first, as SQLite nests them: PRNG, OPEN, VFS1 to VFS3, MAIN, LRU, PMEM,
/// MEM.
#[cfg(feature = "linked")]
const KINDS: [c_int; COUNT] = [5, 4, 11, 12, 13, 2, 6, 7, 3];
const COUNT: usize = 9;

/// What a fork holds. Functions as well as mutexes, so that a binary without a SQLite of its own needs no such functions.
struct Held {
    mutexes: [*mut c_void; COUNT],
    try_enter: unsafe extern "C" fn(*mut c_void) -> c_int,
    leave: unsafe extern "C" fn(*mut c_void),
}

/// Null until there is something; then never freed.
static HELD: AtomicPtr<Held> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// How many of them this thread has entered, in their order.
    static ENTERED: Cell<usize> = const { Cell::new(0) };
}

/// Has every fork from now on wait for the moments in which another thread holds a mutex of the SQLite that this binary is
/// linked with.
#[cfg(feature = "linked")]
pub fn hold_linked_over_forks() {
    unsafe extern "C" {
        fn sqlite3_mutex_alloc(kind: c_int) -> *mut c_void;
        fn sqlite3_mutex_try(mutex: *mut c_void) -> c_int;
        fn sqlite3_mutex_leave(mutex: *mut c_void);
    }
    if HELD.load(Ordering::Acquire).is_null() {
        super::install();
        // SAFETY: takes a number, and returns a mutex that is never freed, or null if SQLite was told to need none.
        let mutexes = KINDS.map(|kind| unsafe { sqlite3_mutex_alloc(kind) });
        let held = Held { mutexes, try_enter: sqlite3_mutex_try, leave: sqlite3_mutex_leave };
        HELD.store(Box::into_raw(Box::new(held)), Ordering::Release);
    }
}

fn held() -> Option<&'static Held> {
    // SAFETY: null, or a leaked box that nobody changes.
    unsafe { HELD.load(Ordering::Acquire).as_ref() }
}

pub(super) fn enter() {
    let Some(held) = held() else { return };
    let mut patience = Patience::default();
    // SAFETY: mutex and function are those of one library.
    let mut can_enter = |mutex| patience.until(|| unsafe { (held.try_enter)(mutex) } == 0);
    ENTERED.set(held.mutexes.iter().take_while(|mutex| can_enter(**mutex)).count());
}

/// Also in the child, where the thread that entered them is the only one.
pub(super) fn leave() {
    let Some(held) = held() else { return };
    for &mutex in held.mutexes.iter().take(ENTERED.replace(0)).rev() {
        // SAFETY: `enter` has entered it in this thread.
        unsafe { (held.leave)(mutex) };
    }
}
