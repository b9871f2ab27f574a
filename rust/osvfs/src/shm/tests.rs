//! The eight slots and the dead man's switch, against ourselves and against another process that locks as SQLite's own VFS does.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use durable::sibling;

use super::*;
use crate::fcntl::{self, Kind, Range};
use crate::fd_pool::{Descriptor, OpenHow};

/// A process that holds record locks on bytes of a file, as SQLite's `unix` VFS would: `shared 3 1`, `alone 3 2`, `free 3 2`.
struct Stock {
    child: Child,
    input: ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

const STOCK: &str = r"
import fcntl, sys
file = open(sys.argv[1], 'r+b')
kinds = {'shared': fcntl.LOCK_SH, 'alone': fcntl.LOCK_EX, 'free': fcntl.LOCK_UN}
for line in sys.stdin:
    kind, first, count = line.split()
    try:
        fcntl.lockf(file, kinds[kind] | (0 if kind == 'free' else fcntl.LOCK_NB), int(count), int(first))
        print('ok', flush=True)
    except OSError:
        print('busy', flush=True)
";

impl Stock {
    fn new(path: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", STOCK])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// Whether it got what it wanted; bytes of the file.
    fn does(&mut self, kind: &str, first: u64, count: u8) -> bool {
        writeln!(self.input, "{kind} {first} {count}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer == "ok\n"
    }

    fn slot(&mut self, kind: &str, slot: u8) -> bool {
        self.does(kind, 120 + u64::from(slot), 1)
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shm(directory: &Path, owner: Owner) -> Shm {
    opened(directory, owner, false)
}

fn opened(directory: &Path, owner: Owner, read_only: bool) -> Shm {
    let database = directory.join("app.db");
    std::fs::write(&database, b"").unwrap();
    let mut shm = Shm::new(Plan {
        mode: ShmMode::Mapped,
        owner,
        path: sibling(&database, "-shm"),
        database: FileId::of(&database).unwrap(),
        permissions: Permissions::like(&database).unwrap(),
        read_only,
    })
    .unwrap();
    assert!(matches!(shm.map(0, 32768, true).unwrap().code, Code::OK | Code::READONLY));
    shm
}

fn one(first: u8, is_exclusive: bool) -> ShmLock {
    ShmLock { first, count: 1, is_exclusive }
}

/// What the table of the slots promises: whether one may be had in this way while somebody else has it in that way.
const MAY: [(bool, bool, bool); 4] =
    [(false, false, true), (false, true, false), (true, false, false), (true, true, false)];

#[test]
fn every_slot_against_a_sibling_in_this_process() {
    for owner in [Owner::Description, Owner::Process] {
        let dir = tempfile::tempdir().unwrap();
        let (mut ours, mut theirs) = (shm(dir.path(), owner), shm(dir.path(), owner));
        for slot in 0..ShmLock::SLOTS {
            for (wanted, held, may) in MAY {
                theirs.lock(one(slot, held)).unwrap();
                let got = ours.lock(one(slot, wanted)).map_err(|error| error.code);
                assert_eq!(
                    got,
                    if may { Ok(()) } else { Err(Code::BUSY) },
                    "{owner:?} {slot} {wanted} {held}"
                );
                // The neighbours are free all the while.
                let next = (slot + 1) % ShmLock::SLOTS;
                ours.lock(one(next, true)).unwrap();
                ours.unlock(one(next, true)).unwrap();
                theirs.unlock(one(slot, held)).unwrap();
                ours.unlock(one(slot, wanted)).unwrap();
                theirs.lock(one(slot, true)).unwrap();
                theirs.unlock(one(slot, true)).unwrap();
            }
        }
    }
}

/// Locks of the process are one set: two tables over them did not see each other.
#[test]
fn a_sibling_that_may_only_read_is_in_the_way_of_a_writer() {
    for owner in [Owner::Description, Owner::Process] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = shm(dir.path(), owner);
        let mut reader = opened(dir.path(), owner, true);
        reader.lock(one(4, false)).unwrap();
        assert_eq!(writer.lock(one(4, true)).unwrap_err().code, Code::BUSY, "{owner:?}");
        reader.unmap(false).unwrap();
        writer.lock(one(4, true)).unwrap();
    }
}

#[test]
fn every_slot_against_another_process_in_both_directions() {
    for owner in [Owner::Description, Owner::Process] {
        let dir = tempfile::tempdir().unwrap();
        let mut ours = shm(dir.path(), owner);
        let mut stock = Stock::new(&sibling(&dir.path().join("app.db"), "-shm"));
        let word = |is_exclusive| if is_exclusive { "alone" } else { "shared" };
        for slot in 0..ShmLock::SLOTS {
            for (wanted, held, may) in MAY {
                let what = format!("{owner:?} slot {slot}, wanted {wanted}, held {held}");
                assert!(stock.slot(word(held), slot));
                assert_eq!(ours.lock(one(slot, wanted)).is_ok(), may, "ours, {what}");
                ours.unlock(one(slot, wanted)).unwrap();
                assert!(stock.slot("free", slot));
                ours.lock(one(slot, held)).unwrap();
                assert_eq!(stock.slot(word(wanted), slot), may, "theirs, {what}");
                assert!(stock.slot("free", slot));
                ours.unlock(one(slot, held)).unwrap();
            }
        }
        // A range is had as a whole or not at all, and let go as a whole.
        let all = ShmLock { first: 0, count: 8, is_exclusive: true };
        assert!(stock.slot("shared", 5));
        assert!(ours.lock(all).is_err());
        assert!(stock.does("alone", 120, 5), "nothing of the range was kept");
        assert!(stock.does("free", 120, 8));
        ours.lock(all).unwrap();
        assert!(!stock.slot("shared", 0) && !stock.slot("shared", 7));
        ours.unlock(all).unwrap();
        assert!(stock.does("alone", 120, 8));
    }
}

#[test]
fn what_a_sibling_shares_stays_with_the_process() {
    for owner in [Owner::Description, Owner::Process] {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (shm(dir.path(), owner), shm(dir.path(), owner));
        let mut stock = Stock::new(&sibling(&dir.path().join("app.db"), "-shm"));
        first.lock(one(3, false)).unwrap();
        second.lock(one(3, false)).unwrap();
        first.unlock(one(3, false)).unwrap();
        assert!(!stock.slot("alone", 3), "{owner:?}");
        assert_eq!(first.lock(one(3, true)).unwrap_err().code, Code::BUSY);
        second.unmap(false).unwrap();
        assert!(stock.slot("alone", 3), "{owner:?}");
    }
}

const SWITCH: u64 = 128;

#[test]
fn the_first_begins_the_file_anew_and_the_next_does_not() {
    for owner in [Owner::Description, Owner::Process] {
        let dir = tempfile::tempdir().unwrap();
        let path = sibling(&dir.path().join("app.db"), "-shm");
        // What somebody left behind who died in the middle.
        std::fs::write(&path, vec![0xee; 40000]).unwrap();
        let mut first = shm(dir.path(), owner);
        #[expect(clippy::disallowed_methods, reason = "another process could not look sooner")]
        let content = std::fs::read(&path).unwrap();
        // The three bytes that are left are no header of a wal-index.
        assert!(content.len() == 32768 && content[3..].iter().all(|byte| *byte == 0), "{owner:?}");
        // Locks of the process are gone with that look.
        first.unmap(false).unwrap();
        first.map(0, 32768, true).unwrap();
        let mut stock = Stock::new(&path);
        assert!(!stock.does("alone", SWITCH, 1) && stock.does("shared", SWITCH, 1));
        first.unmap(false).unwrap();
        // A user is left, in another process: what the file holds is true.
        let mut next = shm(dir.path(), owner);
        assert!(stock.does("free", SWITCH, 1) && !stock.does("alone", SWITCH, 1));
        next.unmap(false).unwrap();
        assert!(stock.does("alone", SWITCH, 1));
    }
}

#[test]
fn whoever_sees_the_file_being_begun_waits_and_does_not_share() {
    for owner in [Owner::Description, Owner::Process] {
        let dir = tempfile::tempdir().unwrap();
        let mut ours = shm(dir.path(), owner);
        let mut stock = Stock::new(&sibling(&dir.path().join("app.db"), "-shm"));
        ours.unmap(false).unwrap();
        assert!(stock.does("alone", SWITCH, 1));
        assert_eq!(ours.map(0, 32768, true).unwrap_err().code, Code::BUSY);
        assert!(stock.does("shared", SWITCH, 1));
        assert_eq!(ours.map(0, 32768, true).unwrap().code, Code::OK);
    }
}

/// Everybody else was told that the database is busy, for as long as the connection that had failed was open.
#[test]
#[cfg(target_os = "linux")]
fn who_cannot_begin_the_file_lets_the_next_one_try() {
    use rustix::fs::{CWD, FileType, mknodat};

    for owner in [Owner::Description, Owner::Process] {
        let dir = tempfile::tempdir().unwrap();
        let mut ours = shm(dir.path(), owner);
        ours.unmap(true).unwrap();
        // A file that can be locked and not be truncated.
        mknodat(CWD, &ours.plan.path, FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(ours.map(0, 32768, true).unwrap_err().code, Code::IOERR_SHMOPEN);
        let other = Descriptor::open(&ours.plan.path, OpenHow::WRITE).unwrap();
        let switch = Range::new(SWITCH, 1);
        assert_eq!(fcntl::conflict(other.as_fd(), Owner::Description, Kind::Write, switch).unwrap(), None);
    }
}

#[test]
fn a_file_that_may_only_be_read_needs_somebody_who_has_begun_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut ours = shm(dir.path(), Owner::Description);
    let mut reader = Shm::new(Plan { read_only: true, ..ours.plan.clone() }).unwrap();
    let region = reader.map(0, 32768, false).unwrap();
    assert_eq!((region.code, region.address.is_null()), (Code::READONLY, false));
    reader.unmap(false).unwrap();
    ours.unmap(false).unwrap();
    assert_eq!(reader.map(0, 32768, false).unwrap_err().code, Code::READONLY_CANTINIT);
    ours.map(0, 32768, true).unwrap();
    assert_eq!(reader.map(0, 32768, false).unwrap().code, Code::READONLY);
    ours.unmap(true).unwrap();
    assert!(!ours.plan.path.exists());
}

#[test]
fn waiting_ends_with_the_lock_or_with_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ours, mut theirs) = (shm(dir.path(), Owner::Description), shm(dir.path(), Owner::Description));
    theirs.lock(one(0, true)).unwrap();
    ours.timeout = Duration::from_millis(20);
    assert_eq!(ours.lock(one(0, true)).unwrap_err().code, Code::BUSY_TIMEOUT);
    ours.timeout = Duration::from_secs(20);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(30));
            theirs.unlock(one(0, true)).unwrap();
        });
        ours.lock(one(0, true)).unwrap();
    });
}

#[test]
fn a_mask_falls_into_runs() {
    assert_eq!(runs(0).count(), 0);
    assert_eq!(runs(0b1011_0111).collect::<Vec<_>>(), [(0, 3), (4, 2), (7, 1)]);
    assert_eq!(runs(0xff).collect::<Vec<_>>(), [(0, 8)]);
}
