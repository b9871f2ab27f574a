//! Threads are not started while another thread forks, and no fork begins while somebody waits for such a moment.
//!
//! glibc starts a thread on the stack of one that has ended, if it can. Before that it frees the thread-local memory which that one had
//! of shared objects like ours, and only then forgets it (`get_cached_stack`, glibc 2.36). The child of a fork at that moment finds the
//! stack among those of threads that do not exist any more, and frees that memory once more when it starts a thread of its own:
//! "double free or corruption". Python starts threads while it holds the interpreter, as `os.fork` does; ours hold nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Patience, Quiet, fork_generation};

/// How many threads of this process are starting another.
static STARTING: AtomicUsize = AtomicUsize::new(0);

/// How many wait for a moment without a fork. Between the forks of a process that does nothing else, it would be too short for them.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Does `start`, which starts a thread, while no other thread forks; a fork that begins meanwhile waits until it is done.
pub fn between_forks<T>(start: impl FnOnce() -> T) -> T {
    let _starting = starting();
    start()
}

fn starting() -> Counted {
    let _waiting = waiting();
    let mut patience = Patience::default();
    loop {
        // Before looking: whoever forks counts that first and looks here afterwards, so that one of both sees the other.
        let starting = Counted::among(&STARTING);
        if Quiet::now().is_some() || patience.is_over() {
            return starting;
        }
        drop(starting);
        patience.until(|| Quiet::now().is_some());
    }
}

/// Until it is dropped, no fork begins, if that does not take too long.
pub(super) fn waiting() -> Counted {
    Counted::among(&WAITING)
}

/// One of those that a number counts. A child has none of them: there it starts at 0.
pub(super) struct Counted {
    number: &'static AtomicUsize,
    forks: u64,
}

impl Counted {
    fn among(number: &'static AtomicUsize) -> Self {
        number.fetch_add(1, Ordering::SeqCst);
        Self { number, forks: fork_generation() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.forks == fork_generation() {
            self.number.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Before a fork is counted: lets those go first who wait for one to end.
pub(super) fn give_way() {
    Patience::default().until(|| WAITING.load(Ordering::SeqCst) == 0);
}

/// Before a fork that has been counted: waits until no other thread is starting one.
pub(super) fn wait() {
    Patience::default().until(|| STARTING.load(Ordering::SeqCst) == 0);
}

/// In the child, where nobody else is.
pub(super) fn forget() {
    STARTING.store(0, Ordering::SeqCst);
    WAITING.store(0, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Files that were opened beside a process which forks all the time were shared after a second: 2 of 48 runs of a test left a lock.
    #[test]
    fn a_fork_lets_those_go_first_who_wait_for_one_to_end() {
        let (is_waiting, has_waited) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let _waiting = waiting();
                is_waiting.store(true, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(100));
                has_waited.store(true, Ordering::SeqCst);
            });
            while !is_waiting.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            // SAFETY: the child ends at once.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: ends the process.
                unsafe { libc::_exit(i32::from(has_waited.load(Ordering::SeqCst))) };
            }
            let mut status = -1;
            // SAFETY: it is our child, and there is room for its status.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(libc::WEXITSTATUS(status), 1, "status {status:#x}");
        });
    }
}
