//! Forks are counted, and threads are not started while another thread forks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{alone, in_child};
use forks::{between_forks, fork_generation};

#[test]
fn every_fork_counts_and_only_in_the_child() {
    let _alone = alone();
    let parent = fork_generation();
    let grandchild = |first: bool| c_int::from(!(first && fork_generation() == parent + 2));
    let child = || {
        let is_next = fork_generation() == parent + 1;
        in_child(|| grandchild(is_next))
    };
    assert_eq!(in_child(child), 0);
    assert_eq!(fork_generation(), parent);
}

/// glibc frees the thread-local memory of an old thread when it starts a new one on its stack; a child of that moment did so again.
#[test]
fn a_fork_waits_for_a_thread_that_is_being_started() {
    let _alone = alone();
    let (is_starting, has_started) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            between_forks(|| {
                is_starting.store(true, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(100));
                has_started.store(true, Ordering::SeqCst);
            });
        });
        while !is_starting.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        let started = in_child(|| c_int::from(has_started.load(Ordering::SeqCst)));
        assert_eq!(started, 1);
    });
    // In a child, too, and afterwards.
    assert_eq!(in_child(|| between_forks(|| 7)), 7);
    assert_eq!(between_forks(|| 8), 8);
}
