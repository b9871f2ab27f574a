//! What a forked child does not get from its parent: files, memory, state. So a lock ends when its owner lets it go, or ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::ffi::c_int;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Sleeper, alone, first_wrong, in_child};
use forks::{ProcessLocal, UnsharedFile, UnsharedMemory, fork_generation, open_unshared};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ltxcore-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, vec![b'x'; 65536]).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "files of these tests, which no SQLite has open")]
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn unshared(path: &Path) -> UnsharedFile {
    open_unshared(|| open(path), drop).unwrap()
}

/// Takes the whole file for the open file description; whether nobody was in the way.
fn lock(file: &impl AsRawFd) -> bool {
    // SAFETY: all zeros is a value, and the process id must be zero.
    let mut wanted: libc::flock = unsafe { std::mem::zeroed() };
    wanted.l_type = libc::F_WRLCK as _;
    // SAFETY: the descriptor is open, and the command takes this struct.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut wanted) == 0 }
}

fn is_free(path: &Path) -> bool {
    lock(&open(path).unwrap())
}

/// A child gives its copies up when it first runs, which may take it a moment.
fn becomes_free(path: &Path) {
    let free = (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(2));
        is_free(path)
    });
    assert!(free, "{}", path.display());
}

fn byte(path: &Path, offset: u64) -> u8 {
    let mut byte = [0];
    open(path).unwrap().read_exact_at(&mut byte, offset).unwrap();
    byte[0]
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn in_the_child_its_number_is_no_file_any_more_and_stays_taken() {
    let _alone = alone();
    let (scratch, mut buf) = (Scratch::new("number"), [0; 4]);
    let file = unshared(&scratch.file("db"));
    let number = file.as_fd().as_raw_fd();
    assert!(lock(&file.as_fd()));
    let child = in_child(|| {
        let is_inherited = file.is_inherited();
        let at_end = matches!(file.file().read_at(&mut buf, 0), Err(_) | Ok(0));
        let refused = file.file().write_at(b"y", 0).is_err();
        drop(file);
        // SAFETY: a system call on a number.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        first_wrong(&[is_inherited, at_end, refused, flags == libc::FD_CLOEXEC])
    });
    assert_eq!(child, 0);
}

#[test]
fn a_lock_goes_with_its_owner_though_children_live() {
    let _alone = alone();
    let scratch = Scratch::new("owner");
    let path = scratch.file("db");
    let file = unshared(&path);
    assert!(lock(&file.as_fd()));
    let sleepers = [Sleeper::fork(), Sleeper::fork()];
    assert!(!is_free(&path), "the parent has it");
    drop(file);
    becomes_free(&path);
    drop(sleepers);
}

/// Seen with a table that was changed as files were closed: the kernel copies descriptors before memory, so that a child had a
/// descriptor of which it did not know.
#[test]
fn no_child_keeps_a_lock_whenever_it_is_forked() {
    let _alone = alone();
    let scratch = Scratch::new("race");
    let paths: Vec<_> = (0..4).map(|n| scratch.file(&format!("{n}"))).collect();
    let stop = AtomicBool::new(false);
    // Memory that takes time to be copied.
    let _large = vec![1_u8; 64 << 20];
    thread::scope(|scope| {
        for path in &paths {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    lock(&unshared(path).as_fd());
                }
            });
        }
        let sleepers: Vec<_> = (0..300).map(|_| Sleeper::fork()).collect();
        stop.store(true, Ordering::Relaxed);
        paths.iter().for_each(|path| becomes_free(path));
        drop(sleepers);
    });
}

#[test]
fn who_opens_while_another_thread_forks_is_told() {
    let _alone = alone();
    let scratch = Scratch::new("told");
    let path = scratch.file("db");
    let mut sleeper = None;
    let file = UnsharedFile::open(|| {
        let file = open(&path);
        sleeper = Some(Sleeper::fork());
        file
    });
    assert!(file.unwrap().is_shared());
    let mut aside = 0;
    let mut times = 0;
    let file = open_unshared(
        || {
            let file = open(&path);
            times += 1;
            if times == 1 {
                sleeper = Some(Sleeper::fork());
            }
            file
        },
        |_| aside += 1,
    );
    assert!(!file.unwrap().is_shared());
    assert_eq!((times, aside), (2, 1));
    assert!(!unshared(&path).is_shared());
}

/// Programs that become daemons close every descriptor that they have, and use the numbers for files of their own.
#[test]
fn a_number_that_is_another_file_by_now_is_left_alone() {
    let _alone = alone();
    let scratch = Scratch::new("another");
    let file = unshared(&scratch.file("db"));
    let number = file.as_fd().as_raw_fd();
    let theirs = open(&scratch.file("theirs")).unwrap();
    // SAFETY: two numbers that are open. It is what such a program does.
    unsafe { libc::dup2(theirs.as_raw_fd(), number) };
    let child = in_child(|| {
        let mut buf = [0; 1];
        // SAFETY: the number is open, and is not closed.
        let seen = unsafe { File::from_raw_fd(number) };
        let read = seen.read_at(&mut buf, 0).is_ok_and(|read| read == 1);
        let _ = seen.into_raw_fd();
        first_wrong(&[read])
    });
    assert_eq!(child, 0);
    // SAFETY: the number is nobody else's by now; the file must not close it again.
    unsafe { libc::close(number) };
    std::mem::forget(file);
}

#[test]
fn numbers_are_given_back() {
    let _alone = alone();
    let scratch = Scratch::new("back");
    let path = scratch.file("db");
    drop(unshared(&path));
    let before = descriptors();
    for _ in 0..50 {
        let file = unshared(&path);
        drop(Sleeper::fork());
        drop(file);
    }
    assert_eq!(descriptors(), before);
}

#[test]
fn in_the_child_memory_holds_zeros_and_changes_nothing() {
    let _alone = alone();
    let scratch = Scratch::new("memory");
    let path = scratch.file("db");
    let file = unshared(&path);
    assert!(lock(&file.as_fd()));
    let memory = UnsharedMemory::map(file.as_fd(), 0, 32768, true).unwrap();
    let address = memory.address();
    let at = |n: usize| address.wrapping_add(n);
    let child = in_child(|| {
        // SAFETY: inside of the mapping.
        let zeros = unsafe { (at(0).read_volatile(), at(32767).read_volatile()) };
        // SAFETY: inside of the mapping.
        unsafe { at(5).write_volatile(b'y') };
        let grandchild = in_child(|| {
            // SAFETY: inside of the mapping.
            c_int::from(unsafe { at(5).read_volatile() } != 0)
        });
        let closes = memory.len() == 32768;
        drop(memory);
        first_wrong(&[zeros == (0, 0), grandchild == 0, closes])
    });
    assert_eq!(child, 0);
    assert_eq!(byte(&path, 5), b'x');

    let memory = UnsharedMemory::map(file.as_fd(), 32768, 32768, true).unwrap();
    let sleeper = Sleeper::fork();
    // SAFETY: inside of the mapping.
    unsafe { memory.address().write_volatile(b'z') };
    assert_eq!(byte(&path, 32768), b'z', "the parent's is shared as before");
    // As when this process is killed: descriptor and mapping go without a word.
    drop(memory);
    drop(file);
    becomes_free(&path);
    drop(sleeper);
}

#[test]
fn addresses_are_used_again() {
    let _alone = alone();
    let scratch = Scratch::new("again");
    let file = unshared(&scratch.file("db"));
    let map = |len| UnsharedMemory::map(file.as_fd(), 0, len, false).unwrap();
    let (first, other) = (map(8192), map(4096));
    let addresses = (first.address(), other.address());
    drop(first);
    drop(other);
    let (other, first, third) = (map(4096), map(8192), map(8192));
    assert_eq!((first.address(), other.address()), addresses);
    assert_ne!(third.address(), first.address());
    // SAFETY: inside of the mapping.
    assert_eq!(unsafe { third.address().read_volatile() }, b'x');
}

#[test]
fn what_cannot_be_mapped_is_an_error() {
    let _alone = alone();
    let (reader, _writer) = io::pipe().unwrap();
    assert!(UnsharedMemory::map(reader.as_fd(), 0, 4096, false).is_err());
    assert!(UnsharedMemory::map(reader.as_fd(), u64::MAX, 4096, false).is_err());
}

#[test]
fn every_process_has_state_of_its_own() {
    static STATE: ProcessLocal<Mutex<u64>> = ProcessLocal::new(|| Mutex::new(fork_generation()));
    let _alone = alone();
    let parent = fork_generation();
    // The mutex is held at the moment of the fork, as another thread might.
    let mut held = STATE.get().lock().unwrap();
    *held += 100;
    let is = |generation| STATE.get().try_lock().is_ok_and(|state| *state == generation);
    let child = in_child(|| {
        let own = is(parent + 1) && is(parent + 1);
        let grandchild = in_child(|| first_wrong(&[is(parent + 2)]));
        first_wrong(&[own, grandchild == 0])
    });
    assert_eq!(child, 0);
    drop(held);
    assert!(is(parent + 100));
}
