//! What is closed at once, parked, and used again.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::fcntl::{self, Kind, Owner, Range};
use crate::per_process::lock;

/// Whether some descriptor of this process is the file that has, or had, this name. Inodes are used again too soon to tell.
fn is_open(path: &Path) -> bool {
    descriptors(path) > 0
}

/// Whether no descriptor is left that was parked. While another test's thread looks whether it can close it, it is not there for us to
/// close, and that thread parks it again if it finds a lock that has gone meanwhile.
fn is_closed_in_the_end(path: &Path) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while is_open(path) && Instant::now() < end {
        parked::give_up();
    }
    !is_open(path)
}

fn descriptors(path: &Path) -> usize {
    let deleted = format!("{} (deleted)", path.display());
    let is_it = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|file| file == path || file == Path::new(&deleted))
    };
    fs::read_dir("/proc/self/fd").unwrap().flatten().filter(is_it).count()
}

/// A lock as another SQLite library in this process would take it, through a descriptor of its own.
fn theirs(path: &Path, range: Range) -> File {
    #[expect(clippy::disallowed_methods, reason = "this is what the pool has to live with")]
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    fcntl::set(file.as_fd(), Owner::Process, Kind::Read, range).unwrap();
    file
}

const SHARED: Range = Range::new(0x4000_0002, 510);

fn is_locked(theirs: &File) -> bool {
    fcntl::conflict(theirs.as_fd(), Owner::Description, Kind::Write, Range::ALL).unwrap() == Some(Kind::Read)
}

#[test]
fn a_descriptor_is_closed_at_once_if_nobody_else_has_the_file_open() {
    let _alone = lock(&ALONE);
    let dir = tempfile::tempdir().unwrap();
    for how in [OpenHow::READ, OpenHow::WRITE] {
        let path = dir.path().join(format!("{}", how.write));
        fs::write(&path, b"page").unwrap();
        let file = Descriptor::open(&path, how).unwrap();
        assert!(is_open(&path));
        drop(file);
        assert!(!is_open(&path), "{how:?}");
    }
}

#[test]
fn a_descriptor_stays_while_somebody_here_has_a_lock_and_is_used_again() {
    let _alone = lock(&ALONE);
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("db"), dir.path().join("link"));
    fs::write(&path, b"page").unwrap();
    fs::hard_link(&path, &link).unwrap();
    let first = PooledFile::open(&path).unwrap();
    let other = theirs(&path, SHARED);
    let number = first.0.as_fd().as_raw_fd();
    drop(first);
    assert!(is_locked(&other));
    let again = PooledFile::open(&link).unwrap();
    assert_eq!(again.0.as_fd().as_raw_fd(), number);
    let third = Descriptor::open(&path, OpenHow::WRITE).unwrap();
    assert_ne!(third.as_fd().as_raw_fd(), number, "one of its own");
    assert_eq!(PooledFile::open(&path).unwrap().0.as_fd().as_raw_fd(), number, "those who look share theirs");
    let mut buf = [0; 8];
    assert_eq!(again.read_at(&mut buf, 2).unwrap(), 2);
    assert_eq!((&buf[..2], again.size().unwrap()), (&b"ge"[..], 4));
    drop((again, third));
    assert!(is_locked(&other));
    // Two get no lease beside each other. There may be several of any file: a thread that looks whether a parked one can be closed
    // leaves none for whoever opens the file at that moment. So they have to go once nobody has a lock.
    drop(other);
    drop(PooledFile::open(&path).unwrap());
    assert!(is_closed_in_the_end(&path) && is_closed_in_the_end(&link));
}

#[test]
fn those_who_share_a_descriptor_have_one_until_the_last_lets_it_go() {
    let _alone = lock(&ALONE);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    fs::write(&path, b"page").unwrap();
    let share = |how| Descriptor::share(&path, how).unwrap();
    let (first, second, reader) = (share(OpenHow::WRITE), share(OpenHow::WRITE), share(OpenHow::READ));
    assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &reader));
    drop(first);
    assert!(Arc::ptr_eq(&second, &share(OpenHow::WRITE)));
    // A file of the same name is another one.
    fs::rename(&path, dir.path().join("gone")).unwrap();
    fs::write(&path, b"page").unwrap();
    assert!(!Arc::ptr_eq(&second, &share(OpenHow::WRITE)));
    drop((second, reader));
    assert!(!is_open(&dir.path().join("gone")) && !is_open(&path));
}

/// Its space is given back, but not beside a lock of this process.
#[test]
fn a_deleted_file_is_closed_though_others_have_it_locked() {
    let _alone = lock(&ALONE);
    let dir = tempfile::tempdir().unwrap();
    for is_here in [false, true] {
        let path = dir.path().join(format!("{is_here}"));
        fs::write(&path, b"page").unwrap();
        let ours = Descriptor::open(&path, OpenHow::WRITE).unwrap();
        let id = ours.id();
        let mut holder = Holder::new(std::iter::once(path.as_path()));
        let here = is_here.then(|| theirs(&path, SHARED));
        fs::remove_file(&path).unwrap();
        drop(ours);
        assert_eq!(parked::is_parked(id), is_here);
        assert!(here.as_ref().is_none_or(is_locked));
        holder.end();
        drop(here);
        parked::give_up();
        assert!(!parked::is_parked(id));
    }
}

/// That nobody here has a lock now does not say that nobody here takes one before the close.
#[test]
fn one_to_read_and_one_to_write_stay_beside_a_lock_of_another_process() {
    let _alone = lock(&ALONE);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    fs::write(&path, b"page").unwrap();
    let ours = [OpenHow::READ, OpenHow::WRITE].map(|how| Descriptor::open(&path, how).unwrap());
    let mut holder = Holder::new(std::iter::once(path.as_path()));
    drop(ours);
    assert!(parked::is_parked(FileId::of(&path).unwrap()));
    holder.end();
    // Both go with the next one.
    drop(Descriptor::open(&path, OpenHow::READ).unwrap());
    assert!(is_closed_in_the_end(&path));
}

/// As under `mode=ro`: nobody may lock anything for writing through it.
#[test]
fn a_file_that_may_only_be_read_stays_beside_a_lock_and_goes_when_there_are_too_many() {
    let _alone = lock(&ALONE);
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, b"page").unwrap();
        (Descriptor::open(&path, OpenHow::READ).unwrap(), path)
    };
    let (ours, path) = open("locked");
    let other = theirs(&path, SHARED);
    drop(ours);
    assert!(is_locked(&other) && parked::is_parked(FileId::of(&path).unwrap()));
    // Another process has each of these open, and a lock on it.
    let names: Vec<_> = (0..MAX_PARKED + 10).map(|n| format!("db{n}")).collect();
    let files: Vec<_> = names.iter().map(|name| open(name)).collect();
    let mut holder = Holder::new(files.iter().map(|(_, path)| path.as_path()));
    drop(files);
    let open = names.iter().filter(|name| is_open(&dir.path().join(name))).count();
    assert!(open <= MAX_PARKED, "{open}");
    assert!(is_locked(&other));
    holder.end();
    // They are closed one by one whenever another one is let go.
    for _ in 0..=MAX_PARKED {
        drop(Descriptor::open(&dir.path().join("db0"), OpenHow::READ).unwrap());
    }
    assert_eq!(names.iter().filter(|name| is_open(&dir.path().join(name))).count(), 0);
}

/// Another process that has files open, and a lock on each.
struct Holder(std::process::Child);

impl Holder {
    fn new<'a>(paths: impl Iterator<Item = &'a Path>) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", HOLDER]).args(paths).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        Self(child)
    }

    fn end(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

const HOLDER: &str = r"
import fcntl, sys
files = [open(name, 'rb') for name in sys.argv[1:]]
for file in files:
    fcntl.lockf(file, fcntl.LOCK_SH, 510, 0x40000002)
print('ok', flush=True)
sys.stdin.read()
";

#[test]
fn a_replaced_file_is_another_file_and_an_unlinked_one_is_let_go() {
    let _alone = lock(&ALONE);
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
    let path = dir.path().join("shared");
    fs::write(&path, b"page").unwrap();
    let file = UnsharedFile::open(|| {
        let file = open_above_stderr(&OpenHow::WRITE.options(), &path);
        fork();
        file
    });
    let shared = Descriptor::from(Arc::new(OpenFile::new(file.unwrap(), true)));
    assert!(shared.file.file.is_shared());
    let other = theirs(&path, SHARED);
    drop(shared);
    assert!(is_locked(&other) && parked::is_parked(FileId::of(&path).unwrap()));
    for _ in 0..10 {
        drop(Descriptor::open(&path, OpenHow::WRITE).unwrap());
        parked::give_up();
    }
    assert_eq!(descriptors(&path), 4, "theirs, this one, one that is used again, and one to lock meanwhile");
    let own = Descriptor::open(&path, OpenHow::WRITE).unwrap();
    assert!(!own.file.file.is_shared());
    drop(other);
    drop(own);
    assert!(is_closed_in_the_end(&path));
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
