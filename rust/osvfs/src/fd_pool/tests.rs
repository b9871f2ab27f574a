//! What is parked, used again, and closed.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// Whether some descriptor of this process is the file that has, or had, this name. Inodes are used again too soon to tell.
fn is_open(path: &Path) -> bool {
    let deleted = format!("{} (deleted)", path.display());
    fs::read_dir("/proc/self/fd").unwrap().flatten().any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|file| file == path || file == Path::new(&deleted))
    })
}

#[test]
fn a_dropped_descriptor_stays_open_and_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("db"), dir.path().join("link"));
    fs::write(&path, b"page").unwrap();
    fs::hard_link(&path, &link).unwrap();
    let first = PooledFile::open(&path).unwrap();
    let number = first.0.as_fd().as_raw_fd();
    drop(first);
    assert!(is_open(&path));
    let again = PooledFile::open(&link).unwrap();
    assert_eq!(again.0.as_fd().as_raw_fd(), number);
    let other = PooledFile::open(&path).unwrap();
    assert_ne!(other.0.as_fd().as_raw_fd(), number, "two users never share one");
    let mut buf = [0; 8];
    assert_eq!(again.read_at(&mut buf, 2).unwrap(), 2);
    assert_eq!((&buf[..2], again.size().unwrap()), (&b"ge"[..], 4));
}

#[test]
fn a_replaced_file_is_another_file_and_an_unlinked_one_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    fs::write(&path, b"old").unwrap();
    let old = PooledFile::open(&path).unwrap();
    fs::rename(&path, dir.path().join("gone")).unwrap();
    fs::remove_file(dir.path().join("gone")).unwrap();
    fs::write(&path, b"newer").unwrap();
    let new = PooledFile::open(&path).unwrap();
    assert_eq!((old.size().unwrap(), new.size().unwrap()), (3, 5));
    assert!(is_open(&dir.path().join("gone")));
    drop(old);
    assert!(!is_open(&dir.path().join("gone")));
    assert_eq!(FileId::of(&path).unwrap(), new.id());
}

#[test]
fn a_missing_file_is_not_found_and_an_existing_one_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    assert_eq!(PooledFile::open(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    let anew = OpenHow { create: true, exclusive: true, ..OpenHow::WRITE };
    drop(Descriptor::open(&path, anew).unwrap());
    assert_eq!(Descriptor::open(&path, anew).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn beyond_the_limit_the_oldest_are_closed_unless_somebody_here_has_a_lock() {
    let _alone = lock(&ALONE);
    let dir = tempfile::tempdir().unwrap();
    let mut pool = Pool::default();
    let open = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, b"page").unwrap();
        Arc::new(open_file(&path, OpenHow::WRITE, drop).unwrap())
    };
    let names: Vec<_> = (0..MAX_PARKED + 10).map(|n| format!("db{n}")).collect();
    let locked = open("locked");
    // What another SQLite library in this process would do: a lock of the process, through a descriptor of its own.
    #[expect(clippy::disallowed_methods, reason = "this is what the pool has to live with")]
    let theirs = OpenOptions::new().read(true).write(true).open(dir.path().join("locked")).unwrap();
    fcntl::set(theirs.as_fd(), Owner::Process, Kind::Read, Range::new(0x4000_0002, 510)).unwrap();
    pool.park(locked);
    names.iter().for_each(|name| pool.park(open(name)));
    assert_eq!(pool.parked.len(), MAX_PARKED);
    assert!(is_open(&dir.path().join("locked")), "its lock would have been lost");
    let open = names.iter().filter(|name| is_open(&dir.path().join(name))).count();
    assert_eq!(open, MAX_PARKED - 1);
    let kept = fcntl::conflict(theirs.as_fd(), Owner::Description, Kind::Write, Range::ALL).unwrap();
    assert_eq!(kept, Some(Kind::Read), "the lock is still there");
}

/// Nothing is closed while a thread forks, which a test that counts what is open must not meet.
static ALONE: Mutex<()> = Mutex::new(());

/// Forks, and waits for the child. A process is forked, and not spawned, when it has to become a user, be it the same one.
fn fork() {
    let user = rustix::process::getuid().as_raw();
    assert!(Command::new("true").uid(user).status().unwrap().success());
}

#[test]
fn what_a_child_may_share_is_never_used_and_closed_as_any_other() {
    let _alone = lock(&ALONE);
    let dir = tempfile::tempdir().unwrap();
    let mut pool = Pool::default();
    let open = |name: &str, forks: bool| {
        let path = dir.path().join(name);
        fs::write(&path, b"page").unwrap();
        let file = UnsharedFile::open(|| {
            let file = open_above_stderr(&OpenHow::WRITE.options(), &path);
            if forks {
                fork();
            }
            file
        });
        let file = OpenFile { file: file.unwrap(), is_writable: true };
        assert_eq!(file.file.is_shared(), forks);
        Arc::new(file)
    };
    let (shared, own) = (open("shared", true), open("own", false));
    let (shared_id, own_id) = (shared.id(), own.id());
    pool.park(shared);
    pool.park(own);
    assert!(pool.take(shared_id, true).is_none());
    assert!(pool.take(own_id, true).is_some());
    (0..MAX_PARKED).for_each(|n| pool.park(open(&format!("db{n}"), false)));
    assert_eq!(pool.parked.len(), MAX_PARKED);
    assert!(!is_open(&dir.path().join("shared")));
}

/// A file that must not be there yet is there at the second attempt.
#[test]
fn a_new_file_is_opened_again_if_another_thread_forked() {
    let _alone = lock(&ALONE);
    let dir = tempfile::tempdir().unwrap();
    let anew = OpenHow { create: true, exclusive: true, ..OpenHow::WRITE };
    let stop = AtomicBool::new(false);
    let (mut aside, mut shared, end) = (0, 0, Instant::now() + Duration::from_secs(20));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fork();
            }
        });
        while aside == 0 && Instant::now() < end {
            let path = dir.path().join("db");
            let file = open_file(&path, anew, |_| aside += 1).unwrap();
            shared += usize::from(file.file.is_shared());
            fs::remove_file(path).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(aside > 0, "no fork has come in between");
    assert_eq!(shared, 0);
}
