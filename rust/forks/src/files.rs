//! Files that a forked child does not share.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Patience, ProcessLocal, Quiet, fork_generation, is_forking, starts};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use libc::{fstat, stat};
#[cfg(any(target_os = "linux", target_os = "android"))]
use libc::{fstat64 as fstat, stat64 as stat};

/// An open file whose descriptor a forked child does not keep, so that a lock on it ends when this process lets it go or ends.
///
/// In the child its number stands for a file that is always at its end, and stays taken: whoever closes an inherited number, or
/// opens a file, meets nobody else's.
#[derive(Debug)]
pub struct UnsharedFile {
    file: ManuallyDrop<File>,
    /// Device and inode.
    identity: (u64, u64),
    entry: u64,
    forks: u64,
    is_shared: bool,
}

impl UnsharedFile {
    /// Opens a file; see [`UnsharedFile::is_shared`].
    ///
    /// # Errors
    /// What `open` and the operating system answer.
    pub fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        END_OF_FILE.prepare()?;
        let quiet = Quiet::now();
        // Not closed on an error: that might take locks away (`fcntl(2)`, "Record locking and file descriptors").
        let file = ManuallyDrop::new(open()?);
        let fd = file.as_raw_fd();
        let identity = identity(fd).ok_or_else(io::Error::last_os_error)?;
        let entry = new_entry(identity);
        if let Some(slot) = slot(fd) {
            slot.store(entry, Ordering::SeqCst);
        }
        let is_shared = !quiet.is_some_and(|quiet| quiet.lasts());
        Ok(Self { file, identity, entry, forks: fork_generation(), is_shared })
    }

    /// Whether another thread was forking while the file was opened: its child may have the descriptor without knowing
    /// of it. A lock that is taken through it may then outlive this process.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether the parent of this process has opened it: here it is no file any more.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.forks != fork_generation()
    }

    /// Device and inode.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl AsFd for UnsharedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for UnsharedFile {
    fn drop(&mut self) {
        if self.is_inherited() {
            // The number stays taken.
            return;
        }
        let fd = self.file.as_raw_fd();
        if END_OF_FILE.get().is_some_and(|end_of_file| put_in_place_of(fd, end_of_file)) {
            retire(Retired { fd, entry: self.entry });
        } else {
            forget(fd, self.entry);
            // SAFETY: dropped here and nowhere else, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// A number behind which there is no file of ours any more.
struct Retired {
    fd: c_int,
    entry: u64,
}

/// Gives a number back when no thread forks. The kernel copies the descriptors of a process before its memory. So the child of a fork
/// that is under way may have the file at this number, and learns of it only if until then the entry stays in the table,
/// and the number ours.
fn retire(retired: Retired) {
    static WAITING: ProcessLocal<Mutex<Vec<Retired>>> = ProcessLocal::new(Mutex::default);
    let mut waiting = WAITING.get().lock().unwrap_or_else(PoisonError::into_inner);
    waiting.push(retired);
    if Quiet::now().is_some() {
        for Retired { fd, entry } in waiting.drain(..) {
            forget(fd, entry);
            // SAFETY: the number is ours, and nobody uses it.
            unsafe { libc::close(fd) };
        }
    }
}

/// Takes an entry out of the table, unless another file has got its number.
fn forget(fd: c_int, entry: u64) {
    if let Some(slot) = slot(fd) {
        let _ = slot.compare_exchange(entry, 0, Ordering::SeqCst, Ordering::Relaxed);
    }
}

/// Opens a file when no other thread forks. `aside` gets what was opened in vain, because one began to meanwhile.
///
/// Forks wait for whoever was disturbed. If that takes more than a second, it gets a file that is shared: better that than none.
///
/// # Errors
/// As [`UnsharedFile::open`].
pub fn open_unshared(
    mut open: impl FnMut() -> io::Result<File>,
    mut aside: impl FnMut(UnsharedFile),
) -> io::Result<UnsharedFile> {
    if !is_forking() {
        let file = UnsharedFile::open(&mut open)?;
        if !file.is_shared() {
            return Ok(file);
        }
        aside(file);
    }
    let _waiting = starts::waiting();
    let mut patience = Patience::default();
    loop {
        patience.until(|| Quiet::now().is_some());
        let file = UnsharedFile::open(&mut open)?;
        if !file.is_shared() || patience.is_over() {
            return Ok(file);
        }
        aside(file);
    }
}

/// In the child: puts something harmless in the place of every descriptor of the table.
pub(super) fn give_up() {
    let end_of_file = END_OF_FILE.get();
    let chunks = TABLE.iter().take(CHUNKS_IN_USE.load(Ordering::SeqCst));
    for (chunk, first) in chunks.zip((0..).step_by(PER_CHUNK)) {
        // SAFETY: null, or a leaked box of atomics.
        let Some(chunk) = (unsafe { chunk.load(Ordering::SeqCst).as_ref() }) else { continue };
        for (slot, fd) in chunk.iter().zip(first..) {
            let entry = slot.load(Ordering::SeqCst);
            if entry != 0 {
                slot.store(0, Ordering::SeqCst);
                replace(fd, entry, end_of_file);
            }
        }
    }
}

/// `fd` stands for the end of a file afterwards, if it still is what the entry says. The application may have closed all its
/// descriptors, ours with them, and use the number for something else.
fn replace(fd: c_int, entry: u64, end_of_file: Option<c_int>) {
    if identity(fd).is_none_or(|found| tag(found) != entry & TAG) {
        return;
    }
    if !end_of_file.is_some_and(|end_of_file| put_in_place_of(fd, end_of_file)) {
        // The application has closed that, too. SAFETY: the number is ours, and nobody uses it here.
        unsafe { libc::close(fd) };
    }
}

/// Closes what is behind `fd`, a number of ours, and has it stand for the end of a file.
fn put_in_place_of(fd: c_int, end_of_file: c_int) -> bool {
    loop {
        // SAFETY: system calls on two numbers that are open; nobody else uses the one that changes.
        let done = unsafe {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            let done = libc::dup3(end_of_file, fd, libc::O_CLOEXEC);
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            let done = match libc::dup2(end_of_file, fd) {
                -1 => -1,
                _ => libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC),
            };
            done
        };
        if done != -1 {
            return true;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return false;
        }
    }
}

/// The open files of this process, by the numbers of their descriptors; 0 where there is none. An entry tells one opening from all
/// others (upper half, never 0), and what was opened ([`tag`]).
static TABLE: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
/// What is behind it was never used; chunks before it may be missing.
static CHUNKS_IN_USE: AtomicUsize = AtomicUsize::new(0);

type Chunk = [AtomicU64; PER_CHUNK];
const PER_CHUNK: usize = 1024;
/// For four million descriptors; those beyond are shared with children.
const CHUNKS: usize = 4096;
const TAG: u64 = u32::MAX as u64;

/// The place of a descriptor in the table.
fn slot(fd: c_int) -> Option<&'static AtomicU64> {
    let fd = usize::try_from(fd).ok()?;
    let (number, place) = (fd / PER_CHUNK, fd % PER_CHUNK);
    let chunk = TABLE.get(number)?;
    let mut known = chunk.load(Ordering::Acquire);
    if known.is_null() {
        // Before anybody can use it: a child must not overlook what another thread has put there.
        CHUNKS_IN_USE.fetch_max(number + 1, Ordering::SeqCst);
        let new = Box::into_raw(Box::new([const { AtomicU64::new(0) }; PER_CHUNK]));
        match chunk.compare_exchange(ptr::null_mut(), new, Ordering::SeqCst, Ordering::Acquire) {
            Ok(_) => known = new,
            Err(others) => {
                // SAFETY: it was leaked above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                known = others;
            }
        }
    }
    // SAFETY: a leaked box of atomics.
    unsafe { known.as_ref() }?.get(place)
}

fn new_entry(identity: (u64, u64)) -> u64 {
    static OPENED: AtomicU32 = AtomicU32::new(1);
    let serial = OPENED.fetch_add(1, Ordering::Relaxed).max(1);
    u64::from(serial) << 32 | tag(identity)
}

/// 32 bits of device and inode.
fn tag((device, inode): (u64, u64)) -> u64 {
    (inode ^ device.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// Device and inode of a descriptor, by `fstat`.
fn identity(fd: c_int) -> Option<(u64, u64)> {
    let mut found = MaybeUninit::<stat>::uninit();
    // SAFETY: there is room for the answer; a number that is not open is an error.
    if unsafe { fstat(fd, found.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: filled in, as the call succeeded.
    let found = unsafe { found.assume_init() };
    #[expect(clippy::unnecessary_cast, reason = "of other widths elsewhere")]
    Some((found.st_dev as u64, found.st_ino as u64))
}

static END_OF_FILE: EndOfFile = EndOfFile(AtomicU64::new(0));

/// A descriptor with nothing behind it: a pipe that nobody writes to. Reads find its end, writes fail.
///
/// Its number in the upper half, and what was opened ([`tag`]) in the lower one; 0 before there is one. Both at once, since a tag
/// beside the number of another thread's pipe would never be found again.
struct EndOfFile(AtomicU64);

impl EndOfFile {
    /// Makes it, before the first file that it may have to stand for, or again if the application has closed it since.
    fn prepare(&self) -> io::Result<()> {
        let known = self.0.load(Ordering::SeqCst);
        if Self::descriptor(known).is_some() {
            return Ok(());
        }
        let (reader, _) = io::pipe()?;
        // The copy is none of the standard descriptors.
        let reader = reader.as_fd().try_clone_to_owned()?;
        let fd = reader.as_raw_fd();
        let tag = tag(identity(fd).ok_or_else(io::Error::last_os_error)?);
        let made = u64::from(fd.cast_unsigned()) << 32 | tag;
        if self.0.compare_exchange(known, made, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            let _ = reader.into_raw_fd();
        }
        Ok(())
    }

    /// The descriptor, unless the application has closed it.
    fn get(&self) -> Option<c_int> {
        Self::descriptor(self.0.load(Ordering::SeqCst))
    }

    /// The descriptor of a value, if that is still open.
    fn descriptor(value: u64) -> Option<c_int> {
        let fd = c_int::try_from(value >> 32).ok().filter(|&fd| fd > 0)?;
        (identity(fd).map(tag) == Some(value & TAG)).then_some(fd)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// Each thread stored the tag of its own pipe, and one of them the number: they may have been of two pipes, and the end of a file
    /// was missing for the life of the process.
    #[test]
    fn the_end_of_a_file_is_there_whoever_makes_it_first() {
        const THREADS: usize = 4;
        for _ in 0..2000 {
            let (made, start) = (EndOfFile(AtomicU64::new(0)), Barrier::new(THREADS));
            let prepare = || {
                start.wait();
                made.prepare().unwrap();
                made.get()
            };
            let found: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(prepare)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let fd = made.get().unwrap();
            assert_eq!(found, [Some(fd); THREADS]);
            // SAFETY: the number is of a pipe that was made here.
            unsafe { libc::close(fd) };
        }
    }

    /// As a daemon does that closes all descriptors.
    #[test]
    fn the_end_of_a_file_is_made_again_when_it_was_closed() {
        let made = EndOfFile(AtomicU64::new(0));
        assert_eq!(made.get(), None);
        made.prepare().unwrap();
        let first = made.get().unwrap();
        // SAFETY: the number is of a pipe that was made here.
        unsafe { libc::close(first) };
        assert_ne!(made.get(), Some(first));
        made.prepare().unwrap();
        let second = made.get().unwrap();
        made.prepare().unwrap();
        assert_eq!(made.get(), Some(second));
        // SAFETY: as above.
        unsafe { libc::close(second) };
    }
}
