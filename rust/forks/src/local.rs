//! State that every process of a fork has for itself.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::fork_generation;

/// A static value that a forked child does not inherit: it makes a new one when it first asks.
///
/// What the parent has in there may be in the middle of a change, or a mutex that is held by a thread which does not exist in
/// the child. So the child never looks at it. It is not freed either: what it owns is the parent's.
pub struct ProcessLocal<T: 'static> {
    made: AtomicPtr<Made<T>>,
    make: fn() -> T,
}

struct Made<T> {
    forks: u64,
    value: T,
    /// That of the parent, for whoever looks for memory that was lost.
    _inherited: *mut Self,
}

impl<T: Send + Sync> ProcessLocal<T> {
    /// A value that `make` makes, once in each process.
    pub const fn new(make: fn() -> T) -> Self {
        Self { made: AtomicPtr::new(ptr::null_mut()), make }
    }

    /// The value of this process.
    pub fn get(&'static self) -> &'static T {
        let forks = fork_generation();
        let known = self.made.load(Ordering::Acquire);
        // SAFETY: null, or a leaked box that nobody changes.
        if let Some(made) = unsafe { known.as_ref() }
            && made.forks == forks
        {
            return &made.value;
        }
        let new = Box::into_raw(Box::new(Made { forks, value: (self.make)(), _inherited: known }));
        match self.made.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: just leaked.
            Ok(_) => unsafe { &(*new).value },
            Err(others) => {
                // SAFETY: it was leaked above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: another thread of this process was faster, and has leaked its box.
                unsafe { &(*others).value }
            }
        }
    }
}
