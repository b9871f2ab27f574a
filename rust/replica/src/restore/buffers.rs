//! Memory that the workers of a restore share, so that many of them can wait for a storage.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Buffers of at least so many bytes are kept for the next one: the allocator would give them back to the system.
const WORTH_KEEPING: usize = 128 << 10;

/// Bytes that are being read: never more than a limit of them.
pub(crate) struct Buffers {
    most: usize,
    state: Mutex<Lent>,
    returned: Condvar,
}

#[derive(Default)]
struct Lent {
    bytes: usize,
    spare: Vec<Vec<u8>>,
}

impl Buffers {
    /// Up to `most` bytes in all; a single buffer may be larger.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, state: Mutex::default(), returned: Condvar::new() }
    }

    /// Waits for `len` bytes to be free, and lends them. What is in them is left from others.
    pub(crate) fn with<T>(&self, len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut lent = Loan { from: self, bytes: self.take(len), len };
        lent.bytes.resize(len, 0);
        work(&mut lent.bytes)
    }

    fn take(&self, len: usize) -> Vec<u8> {
        let is_full = |lent: &mut Lent| lent.bytes > 0 && lent.bytes.saturating_add(len) > self.most;
        let waited = self.returned.wait_while(self.lock(), is_full);
        let mut lent = waited.unwrap_or_else(PoisonError::into_inner);
        lent.bytes += len;
        let spare = if len >= WORTH_KEEPING { lent.spare.pop() } else { None };
        spare.unwrap_or_default()
    }

    fn give_back(&self, bytes: Vec<u8>, len: usize) {
        let mut lent = self.lock();
        lent.bytes = lent.bytes.saturating_sub(len);
        if bytes.capacity() >= WORTH_KEEPING {
            lent.spare.push(bytes);
        }
        drop(lent);
        self.returned.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lent> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that go back when this is dropped: also when the work panics, since others wait for them.
struct Loan<'a> {
    from: &'a Buffers,
    bytes: Vec<u8>,
    /// How many were taken: there may be no memory for them.
    len: usize,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.from.give_back(mem::take(&mut self.bytes), self.len);
    }
}

/// Things of which each is used by one worker at a time. Who finds none waits.
pub(crate) struct Pool<T> {
    free: Mutex<Vec<T>>,
    returned: Condvar,
}

impl<T: Default> Pool<T> {
    /// These things.
    pub(crate) fn new(things: Vec<T>) -> Self {
        Self { free: Mutex::new(things), returned: Condvar::new() }
    }

    /// Waits for one of them, and lends it.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut Lending { from: self, thing: self.take() }.thing)
    }

    fn take(&self) -> T {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(thing) = free.pop() {
                return thing;
            }
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A thing that goes back when this is dropped: also when the work panics.
struct Lending<'a, T: Default> {
    from: &'a Pool<T>,
    thing: T,
}

impl<T: Default> Drop for Lending<'_, T> {
    fn drop(&mut self) {
        let thing = mem::take(&mut self.thing);
        self.from.free.lock().unwrap_or_else(PoisonError::into_inner).push(thing);
        self.from.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_bytes_are_lent_than_there_are() {
        let (buffers, lent, peak) = (Buffers::new(1000), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for len in [600, 300, 400, 100, 5000, 700, 1] {
                let (buffers, lent, peak) = (&buffers, &lent, &peak);
                scope.spawn(move || {
                    buffers.with(len, |bytes| {
                        let now = lent.fetch_add(bytes.len(), Ordering::SeqCst) + bytes.len();
                        if len <= 1000 {
                            peak.fetch_max(now, Ordering::SeqCst);
                        } else {
                            assert_eq!(now, len, "what is too large is alone");
                        }
                        thread::yield_now();
                        lent.fetch_sub(bytes.len(), Ordering::SeqCst);
                    });
                });
            }
        });
        assert!(peak.into_inner() <= 1000);
        assert_eq!(buffers.lock().bytes, 0);
    }

    #[test]
    fn large_buffers_are_used_again() {
        let buffers = Buffers::new(1 << 20);
        buffers.with(WORTH_KEEPING, |bytes| bytes.fill(7));
        buffers.with(10, |bytes| assert_eq!(bytes, [0; 10]));
        assert_eq!(buffers.lock().spare.len(), 1);
        buffers.with(WORTH_KEEPING + 1, |bytes| assert_eq!((bytes[0], bytes[WORTH_KEEPING]), (7, 0)));
        assert_eq!(buffers.lock().spare.len(), 1);
    }

    #[test]
    fn what_a_panic_ends_is_given_back() {
        let (buffers, pool) = (Buffers::new(100), Pool::new(vec![7_usize]));
        let failing = || buffers.with(100, |_| pool.with(|_| -> () { panic!("in the work") }));
        catch_unwind(AssertUnwindSafe(failing)).unwrap_err();
        assert_eq!(buffers.lock().bytes, 0);
        pool.with(|thing| assert_eq!(*thing, 7));
    }

    #[test]
    fn each_thing_is_used_by_one() {
        let pool = Pool::new(vec![0_usize, 0]);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| (0..100).for_each(|_| pool.with(|uses| *uses += 1)));
            }
        });
        let mut sum = 0;
        pool.with(|one| pool.with(|other| sum = *one + *other));
        assert_eq!(sum, 600);
    }
}
