//! The mutexes of the linked SQLite, and forks. Compiled where another crate has asked for that library.

#![cfg(feature = "linked")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::c_int;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::in_child;
use forks::hold_linked_over_forks;
use libsqlite3_sys as ffi;

/// What its allocator takes for every piece of memory.
fn memory_mutex() -> *mut ffi::sqlite3_mutex {
    // SAFETY: takes a number, and returns a mutex that is never freed.
    unsafe { ffi::sqlite3_mutex_alloc(ffi::SQLITE_MUTEX_STATIC_MEM) }
}

/// Whether nobody has it.
fn is_free() -> bool {
    // SAFETY: the mutex is SQLite's, and is left only if it was entered.
    unsafe {
        let is_free = ffi::sqlite3_mutex_try(memory_mutex()) == ffi::SQLITE_OK;
        if is_free {
            ffi::sqlite3_mutex_leave(memory_mutex());
        }
        is_free
    }
}

/// Another thread holds it for some time, from before `work` on.
fn while_held<T>(time: Duration, work: impl FnOnce() -> T) -> T {
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            // SAFETY: the mutex is SQLite's, and is left in the thread that has entered it.
            unsafe { ffi::sqlite3_mutex_enter(memory_mutex()) };
            tell.send(()).unwrap();
            thread::sleep(time);
            // SAFETY: as above.
            unsafe { ffi::sqlite3_mutex_leave(memory_mutex()) };
        });
        told.recv().unwrap();
        work()
    })
}

/// In one test, since both are about one mutex.
#[test]
fn a_fork_waits_for_whoever_holds_one_but_not_for_ever() {
    hold_linked_over_forks();
    hold_linked_over_forks();
    let child = || in_child(|| c_int::from(!is_free()));
    assert_eq!(child(), 0);
    assert!(is_free());
    assert_eq!(while_held(Duration::from_millis(100), child), 0);
    assert!(is_free());

    let (code, waited) = while_held(Duration::from_millis(1500), || {
        let began = Instant::now();
        (child(), began.elapsed())
    });
    assert_eq!(code, 1, "nobody could help that");
    assert!(waited < Duration::from_millis(1450), "{waited:?}");
    assert!(is_free());
    assert_eq!(child(), 0);
}
