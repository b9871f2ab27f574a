//! What a fork means to us: it is counted, and nothing through which the parent holds a lock stays with the child.
//!
//! * [`fork_generation`] is the count, and [`ProcessLocal`] a value that every process has for itself.
//! * [`UnsharedFile`] and [`UnsharedMemory`] are what a forked child does not get from its parent.
//! * [`between_forks`] starts threads, while no other thread forks.
//! * `hold_linked_over_forks` (feature `linked`) keeps the mutexes of the linked SQLite from staying locked in a child.
//!
//! A forked child shares the open file descriptions of its parent, and with them the locks that belong to those (`flock(2)`;
//! `fcntl(2)`, "Open file description locks"). Such a lock ends with the last descriptor or mapping of its description, so
//! it would outlive a parent that is killed, for as long as any child of its lives. Therefore the child gives up its copies before
//! `fork` returns in it: [`UnsharedFile`] and [`UnsharedMemory`] are what it gives up. No lock of the child can be lost by that,
//! since it has none yet: locks of a process are not inherited.
//!
//! A handler in the child may do little more than system calls. Any mutex, the allocator's too, may have been held by a thread
//! that does not exist there. So whatever the handlers look at is made of atomics that are never freed.
//!
//! Unsafe code is in all modules but `starts`.

mod files;
mod local;
mod memory;
mod mutexes;
mod starts;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use files::{UnsharedFile, open_unshared};
pub use local::ProcessLocal;
pub use memory::UnsharedMemory;
#[cfg(feature = "linked")]
pub use mutexes::hold_linked_over_forks;
pub use starts::between_forks;

static FORKS: AtomicU64 = AtomicU64::new(0);

/// How many forks lie between this process and the one that first asked. Whoever keeps what a child must not use compares this
/// number before using it.
#[must_use]
pub fn fork_generation() -> u64 {
    install();
    FORKS.load(Ordering::Relaxed)
}

/// Not by a `Once`: a fork while another thread is inside of it would leave it locked in the child for ever. That two threads may
/// install the handlers twice does no harm, see [`DEPTH`].
fn install() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: the three functions fit what is expected of them: `in_child` touches atomics and makes system calls, no more.
    if unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) } == 0 {
        INSTALLED.store(true, Ordering::Release);
    }
}

thread_local! {
    /// How often the handlers of the fork that this thread is inside of have run: only the outermost of them count.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Calls of `fork` that this process has begun, by whichever thread, and those that have ended.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

extern "C" fn before() {
    DEPTH.set(DEPTH.get() + 1);
    if DEPTH.get() == 1 {
        starts::give_way();
        BEGUN.fetch_add(1, Ordering::SeqCst);
        starts::wait();
        mutexes::enter();
    }
}

extern "C" fn in_parent() {
    if is_outermost() {
        mutexes::leave();
        ENDED.fetch_add(1, Ordering::SeqCst);
    }
}

extern "C" fn in_child() {
    if is_outermost() {
        FORKS.fetch_add(1, Ordering::Relaxed);
        starts::forget();
        files::give_up();
        memory::give_up();
        mutexes::leave();
        // Forks that other threads had begun do not end here.
        ENDED.store(BEGUN.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

fn is_outermost() -> bool {
    let depth = DEPTH.get();
    DEPTH.set(depth.saturating_sub(1));
    depth == 1
}

/// Whether a thread of this process is inside of `fork`.
#[must_use]
pub fn is_forking() -> bool {
    Quiet::now().is_none()
}

/// A moment at which no thread of this process was inside of `fork`.
struct Quiet(u64);

impl Quiet {
    /// This moment, unless some thread is.
    fn now() -> Option<Self> {
        install();
        // In this order: when the second is read, no fork can be under way that the first does not count as such.
        let ended = ENDED.load(Ordering::SeqCst);
        let begun = BEGUN.load(Ordering::SeqCst);
        (begun == ended).then_some(Self(begun))
    }

    /// Whether no fork has begun since.
    fn lasts(&self) -> bool {
        BEGUN.load(Ordering::SeqCst) == self.0
    }
}

/// For how long one thread waits for another: a signal handler that forks may have interrupted the very thread that is waited for.
#[derive(Default)]
struct Patience {
    end: Option<Instant>,
}

impl Patience {
    const LONGEST: Duration = Duration::from_secs(1);
    const STEP: Duration = Duration::from_micros(20);

    /// Asks again and again, with pauses; false if the answer was no until the end.
    fn until(&mut self, mut is_so: impl FnMut() -> bool) -> bool {
        while !is_so() {
            if self.is_over() {
                return false;
            }
            thread::sleep(Self::STEP);
        }
        true
    }

    /// Whether it has come to its end, which is counted from the first question.
    fn is_over(&mut self) -> bool {
        Instant::now() >= *self.end.get_or_insert_with(|| Instant::now() + Self::LONGEST)
    }
}
