//! Memory that is shared with a file, but not with a forked child.
//!
//! A mapping keeps the open file description alive through which it was made, and its locks with it. And a connection that a child has
//! inherited could change the index of the parent's WAL without asking for anything: SQLite does that when it rolls back.
//! So in the child zeros lie where the file was mapped, which nobody else sees.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use libc::{MAP_ANON, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE};

use super::install;

/// A part of a file, mapped and shared with every process that maps it, but for children of this one; unmapped when it is dropped.
#[derive(Debug)]
pub struct UnsharedMemory(&'static Range);

/// A range of addresses that is ours for as long as the process lives, whether a file is mapped there or not. So the
/// handler in the child can never meet memory that somebody else has mapped there since.
#[derive(Debug)]
struct Range {
    /// Null if it was lost.
    address: AtomicPtr<u8>,
    len: usize,
    is_used: AtomicBool,
    next: AtomicPtr<Range>,
}

/// All ranges, the last one first; none is ever freed.
static RANGES: AtomicPtr<Range> = AtomicPtr::new(ptr::null_mut());
/// How many of them are not used.
static SPARE: AtomicUsize = AtomicUsize::new(0);

impl UnsharedMemory {
    /// Maps `len` bytes from `offset` on, a multiple of the page size. The file must be that long, or touching what is missing
    /// kills the process.
    ///
    /// # Errors
    /// What `mmap` answers.
    pub fn map(fd: BorrowedFd<'_>, offset: u64, len: usize, is_writable: bool) -> io::Result<Self> {
        install();
        let offset = offset.try_into().map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
        let protection = if is_writable { PROT_READ | PROT_WRITE } else { PROT_READ };
        let range = Range::take(len)?;
        let address = range.address.load(Ordering::SeqCst);
        // SAFETY: the addresses are ours, and nobody uses them, since the range was not in use.
        let mapped = unsafe {
            libc::mmap(address.cast(), len, protection, MAP_SHARED | MAP_FIXED, fd.as_raw_fd(), offset)
        };
        if mapped == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            // Nobody knows whether the addresses are still ours (mmap(2), "MAP_FIXED"), so they are never used again.
            range.address.store(ptr::null_mut(), Ordering::SeqCst);
            return Err(error);
        }
        Ok(Self(range))
    }

    /// The address of its first byte. Other processes write there at any time, so it must never become a reference.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        self.0.address.load(Ordering::Relaxed)
    }

    /// Length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len
    }
}

impl Drop for UnsharedMemory {
    fn drop(&mut self) {
        let range = self.0;
        // SAFETY: the addresses are ours; whoever mapped the file there lets go of them.
        if unsafe { range.map_nothing(PROT_NONE) } {
            range.is_used.store(false, Ordering::SeqCst);
            SPARE.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Range {
    /// A range of this length that nobody uses: an old one, or a new one.
    fn take(len: usize) -> io::Result<&'static Self> {
        if SPARE.load(Ordering::SeqCst) > 0
            && let Some(spare) = all().find(|range| range.len == len && range.claim())
        {
            SPARE.fetch_sub(1, Ordering::SeqCst);
            return Ok(spare);
        }
        // SAFETY: no address is asked for, so no mapping that exists is touched.
        let address = unsafe { libc::mmap(ptr::null_mut(), len, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let (address, next) = (AtomicPtr::new(address.cast()), AtomicPtr::new(ptr::null_mut()));
        let new = Box::leak(Box::new(Self { address, len, is_used: AtomicBool::new(true), next }));
        let mut first = RANGES.load(Ordering::SeqCst);
        loop {
            new.next.store(first, Ordering::SeqCst);
            match RANGES.compare_exchange(first, new, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Ok(new),
                Err(others) => first = others,
            }
        }
    }

    fn claim(&self) -> bool {
        self.is_used.compare_exchange(false, true, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Puts zeros of this process alone in the place of what is mapped; false if that did not work, or the range is lost.
    ///
    /// # Safety
    /// Nobody relies on what is mapped there now.
    unsafe fn map_nothing(&self, protection: i32) -> bool {
        let address = self.address.load(Ordering::SeqCst);
        let flags = MAP_PRIVATE | MAP_ANON | MAP_FIXED;
        // SAFETY: the addresses are ours as long as they are in the range, and by the caller's promise nobody misses what
        // was there.
        !address.is_null()
            && unsafe { libc::mmap(address.cast(), self.len, protection, flags, -1, 0) } != libc::MAP_FAILED
    }
}

fn all() -> impl Iterator<Item = &'static Range> {
    // SAFETY: null, or a leaked box that changes through its atomics alone.
    let at = |place: &AtomicPtr<Range>| unsafe { place.load(Ordering::SeqCst).as_ref() };
    std::iter::successors(at(&RANGES), move |range| at(&range.next))
}

/// In the child: zeros instead of every file that is mapped, at the same addresses, for reading and writing. SQLite may look there
/// before it asks us for anything, and is then refused a lock.
pub(super) fn give_up() {
    for range in all().filter(|range| range.is_used.load(Ordering::SeqCst)) {
        // SAFETY: whoever uses it here is a connection that is not to see the parent's memory any more.
        unsafe { range.map_nothing(PROT_READ | PROT_WRITE) };
    }
}
