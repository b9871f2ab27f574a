//! Who does what next: files newest first, units of a big file by whoever is free.
//!
//! Whatever a worker takes out is its own until it gives it back, so nothing is locked while a client is asked.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::restore::file::{OpenFile, Units};

/// A big file that still has units to give.
pub(crate) struct Active {
    pub(crate) file: Arc<OpenFile>,
    pub(crate) units: Box<Units>,
}

/// What a worker is asked to do.
pub(crate) enum Task {
    /// Open the file with this place in the plan, from 0, and give back whether it has units for others.
    Open(usize),
    /// Take the next unit of this file, give the file back, and decode the unit.
    Advance(Active),
}

struct State {
    /// Files before this place have not been opened.
    unopened: usize,
    active: Vec<Active>,
    /// Tasks that have not been given back: they may still lead to more.
    out: usize,
    workers: usize,
    error: Option<Error>,
    /// A worker has panicked: what it had taken out will not come back.
    is_broken: bool,
}

/// The tasks of one restore.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// For workers: there may be a task, or there will be none.
    changed: Condvar,
    /// For whoever waits for the workers: woken by their ends alone, not by every small file.
    ended: Condvar,
}

impl Queue {
    /// For the files of a plan, and so many workers.
    pub(crate) fn new(files: usize, workers: usize) -> Self {
        let state =
            State { unopened: files, active: Vec::new(), out: 0, workers, error: None, is_broken: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task; `None` when there will be no more, or somebody has failed.
    pub(crate) fn take(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.error.is_some() || state.is_broken {
                return None;
            }
            let task = match state.active.pop() {
                Some(active) => Some(Task::Advance(active)),
                None => state.unopened.checked_sub(1).map(Task::Open),
            };
            if let Some(task) = task {
                if let Task::Open(place) = task {
                    state.unopened = place;
                }
                state.out += 1;
                return Some(task);
            }
            if state.out == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends a task's claim; a file that has more units comes back with it.
    pub(crate) fn give_back(&self, active: Option<Active>) {
        let mut state = self.lock();
        let has_more = active.is_some();
        state.active.extend(active);
        state.out = state.out.saturating_sub(1);
        if state.out == 0 {
            self.changed.notify_all();
        } else if has_more {
            self.changed.notify_one();
        }
    }

    /// Stops everybody. The first error is kept.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.error.get_or_insert(error);
        self.changed.notify_all();
        self.ended.notify_all();
    }

    /// Counts the caller out when the value is dropped. If that is for a panic, everybody else stops, too.
    pub(crate) fn leaving(&self) -> Leaving<'_> {
        Leaving(self)
    }

    /// Waits until all workers have ended, but not longer than `limit`; returns whether they have.
    pub(crate) fn wait_idle(&self, limit: Duration) -> bool {
        let state = self.lock();
        let waited = self.ended.wait_timeout_while(state, limit, |state| state.workers > 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.workers == 0
    }

    /// Why it was stopped.
    pub(crate) fn take_error(&self) -> Option<Error> {
        self.lock().error.take()
    }

    pub(crate) fn has_failed(&self) -> bool {
        let state = self.lock();
        state.error.is_some() || state.is_broken
    }
}

/// A worker that is at work.
pub(crate) struct Leaving<'a>(&'a Queue);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.workers = state.workers.saturating_sub(1);
        state.is_broken |= thread::panicking();
        self.0.changed.notify_all();
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_panics_stops_the_others() {
        let queue = Queue::new(2, 2);
        thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _leaving = queue.leaving();
                let _task = queue.take();
                panic!("in a task");
            });
            panicking.join().unwrap_err();
            let other = scope.spawn(|| {
                let _leaving = queue.leaving();
                queue.take().is_none()
            });
            assert!(other.join().unwrap());
        });
        assert!(queue.has_failed() && queue.wait_idle(Duration::from_secs(60)));
        assert!(queue.take_error().is_none());
    }
}
