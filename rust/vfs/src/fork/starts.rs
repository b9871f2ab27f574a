//! Threads are not started while another thread forks.
//!
//! glibc starts a thread on the stack of one that has ended, if it can. Before that it frees the thread-local memory which that one had
//! of shared objects like ours, and only then forgets it (`get_cached_stack`, glibc 2.36). The child of a fork at that moment finds the
//! stack among those of threads that do not exist any more, and frees that memory once more when it starts a thread of its own:
//! "double free or corruption". Python starts threads while it holds the interpreter, as `os.fork` does; ours hold nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Quiet, fork_generation};

/// How long either waits for the other at most: a signal handler that forks may have interrupted the thread that starts one.
const PATIENCE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_micros(20);

/// How many threads of this process are starting another.
static STARTING: AtomicUsize = AtomicUsize::new(0);

/// Does `start`, which starts a thread, while no other thread forks; a fork that begins meanwhile waits until it is done.
pub fn between_forks<T>(start: impl FnOnce() -> T) -> T {
    let _starting = Starting::begin();
    start()
}

struct Starting {
    forks: u64,
}

impl Starting {
    fn begin() -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Before looking: whoever forks counts that first and looks here afterwards, so that one of both sees the other.
            STARTING.fetch_add(1, Ordering::SeqCst);
            if Quiet::now().is_some() || Instant::now() >= deadline {
                return Self { forks: fork_generation() };
            }
            STARTING.fetch_sub(1, Ordering::SeqCst);
            thread::sleep(STEP);
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if self.forks == fork_generation() {
            STARTING.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Before a fork that has been counted: waits until no other thread is starting one.
pub(super) fn wait() {
    let mut deadline = None;
    while STARTING.load(Ordering::SeqCst) > 0
        && Instant::now() < *deadline.get_or_insert_with(|| Instant::now() + PATIENCE)
    {
        thread::sleep(STEP);
    }
}

/// In the child, where nobody else is.
pub(super) fn forget() {
    STARTING.store(0, Ordering::SeqCst);
}
