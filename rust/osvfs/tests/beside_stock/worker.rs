//! A process that makes calls when it is told to, and says what came of them.

use std::ffi::{CStr, c_int, c_void};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;

use rusqlite::ffi;
use vfs::SqliteApi;

use crate::model::GLANCE;
use crate::raw::{Names, RawFile, RawVfs};
use crate::step::{ACTORS, Answer, Call, Kind, REGIONS, Step, hash, visit};

/// The names under which a world's actors open files.
pub type Vfses = [&'static CStr; ACTORS];

#[derive(Default)]
struct Actor {
    files: [Option<RawFile>; 4],
    regions: [Option<*mut c_void>; REGIONS],
}

struct Worker<'a> {
    folder: &'a Path,
    vfses: &'a Vfses,
    /// Whether a forked child can say something about the files of this process: all of them are ours.
    is_ours: bool,
    names: Names,
    actors: [Actor; ACTORS],
    sleepers: Vec<c_int>,
}

/// Does the steps whose numbers come out of the socket, until it ends.
pub fn serve(mut socket: UnixStream, folder: &Path, vfses: &Vfses, is_ours: bool, steps: &[Step]) {
    let api = SqliteApi::linked().expect("the linked library");
    osvfs::register_all(&api).expect("the names are free");
    // SAFETY: takes nothing; it may be called again and again.
    assert_eq!(unsafe { ffi::sqlite3_initialize() }, ffi::SQLITE_OK);
    let names = Names::new(&folder.join("db"));
    let mut worker =
        Worker { folder, vfses, is_ours, names, actors: Default::default(), sleepers: Vec::new() };
    let mut number = [0; 4];
    while socket.read_exact(&mut number).is_ok() {
        let step = &steps[u32::from_ne_bytes(number) as usize];
        let answer = worker.perform(step.actor, step.call);
        socket.write_all(&answer.to_bytes()).expect("somebody listens");
    }
    worker.end();
}

impl Worker<'_> {
    fn vfs(&self, actor: usize) -> RawVfs {
        RawVfs::find(self.vfses[actor])
    }

    fn file(&mut self, actor: usize, kind: Kind) -> &mut RawFile {
        self.actors[actor].files[kind as usize].as_mut().expect("the plan has it open")
    }

    fn name(&self, kind: Kind) -> Option<&CStr> {
        match kind {
            Kind::Db => Some(self.names.db()),
            Kind::Journal => Some(self.names.journal()),
            Kind::Wal => Some(self.names.wal()),
            Kind::Temp => None,
        }
    }

    fn perform(&mut self, actor: usize, call: Call) -> Answer {
        match call {
            Call::Open(kind, flags) => self.open(actor, kind, flags),
            Call::Close(kind) => {
                let file = self.actors[actor].files[kind as usize].take().expect("the plan has it open");
                Answer::of(file.close())
            }
            Call::Delete(kind, is_synced) => {
                let path = self.name(kind).expect("a name");
                Answer::of(self.vfs(actor).delete(path, is_synced))
            }
            Call::Access(kind, what, is_shm) => {
                let path = if is_shm { self.names.shm.as_c_str() } else { self.name(kind).expect("a name") };
                let (code, found) = self.vfs(actor).access(path, what);
                Answer::number(code, found)
            }
            Call::FullPathname => self.full_pathname(actor),
            Call::Churn(count) => self.churn(actor, count),
            Call::Sleeper => self.fork_sleeper(),
            Call::Visit => self.visit(actor),
            _ => self.on_file(actor, call),
        }
    }

    fn open(&mut self, actor: usize, kind: Kind, flags: c_int) -> Answer {
        let meaning = match kind {
            Kind::Db => ffi::SQLITE_OPEN_MAIN_DB,
            Kind::Journal => ffi::SQLITE_OPEN_MAIN_JOURNAL,
            Kind::Wal => ffi::SQLITE_OPEN_WAL,
            Kind::Temp => {
                ffi::SQLITE_OPEN_TEMP_DB | ffi::SQLITE_OPEN_EXCLUSIVE | ffi::SQLITE_OPEN_DELETEONCLOSE
            }
        };
        const KEPT: c_int = ffi::SQLITE_OPEN_READONLY | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;
        match self.vfs(actor).open(self.name(kind), flags | meaning) {
            Ok((file, opened)) => {
                self.actors[actor].files[kind as usize] = Some(file);
                // Stock says nothing of a file without a name.
                let kept = if kind == Kind::Temp { 0 } else { opened & KEPT };
                Answer::number(ffi::SQLITE_OK, kept)
            }
            Err(code) => Answer::of(code & 0xff),
        }
    }

    fn on_file(&mut self, actor: usize, call: Call) -> Answer {
        match call {
            Call::Read(kind, offset, length) => {
                let mut bytes = vec![0xa5; length];
                let code = self.file(actor, kind).read(&mut bytes, offset);
                Answer { code, value: 0, hash: hash(&bytes) }
            }
            Call::Write(kind, offset, length, fill) => {
                Answer::of(self.file(actor, kind).write(&vec![fill; length], offset))
            }
            Call::Truncate(kind, size) => Answer::of(self.file(actor, kind).truncate(size)),
            Call::Size(kind) => {
                let (code, size) = self.file(actor, kind).size();
                Answer::number(code, size)
            }
            Call::Sync(kind, flags) => Answer::of(self.file(actor, kind).sync(flags)),
            _ => self.on_database(actor, call),
        }
    }

    fn on_database(&mut self, actor: usize, call: Call) -> Answer {
        let db = self.file(actor, Kind::Db);
        match call {
            Call::Lock(level) => Answer::of(db.lock(level)),
            Call::Unlock(level) => Answer::of(db.unlock(level)),
            Call::CheckReserved => {
                let (code, found) = db.check_reserved();
                Answer::number(code, found)
            }
            Call::LockState => asked(db, ffi::SQLITE_FCNTL_LOCKSTATE),
            Call::HasMoved => asked(db, ffi::SQLITE_FCNTL_HAS_MOVED),
            Call::ChunkSize(mut bytes) => Answer::of(db.control(ffi::SQLITE_FCNTL_CHUNK_SIZE, &mut bytes)),
            Call::SizeHint(mut bytes) => Answer::of(db.control(ffi::SQLITE_FCNTL_SIZE_HINT, &mut bytes)),
            Call::Characteristics => {
                let (sector, flags) = db.characteristics();
                Answer::number(sector, flags)
            }
            Call::ShmLock(first, count, flags) => Answer::of(db.shm_lock(first, count, flags)),
            Call::ShmMap(region, is_extended) => {
                let (code, address) = db.shm_map(region, is_extended);
                self.actors[actor].regions[region] = (!address.is_null()).then_some(address);
                Answer::number(code, !address.is_null())
            }
            Call::ShmUnmap(is_deleted) => {
                let code = db.shm_unmap(is_deleted);
                self.actors[actor].regions = Default::default();
                Answer::of(code)
            }
            Call::ShmStore(region, word, value) => {
                // SAFETY: the region is mapped, is longer, and is shared with others only between calls.
                unsafe { self.word(actor, region, word).write_volatile(value) };
                Answer::of(ffi::SQLITE_OK)
            }
            Call::ShmLoad(region, word) => {
                // SAFETY: the same.
                let value = unsafe { self.word(actor, region, word).read_volatile() };
                Answer::number(ffi::SQLITE_OK, value)
            }
            _ => unreachable!("{call:?}"),
        }
    }

    fn word(&self, actor: usize, region: usize, word: usize) -> *mut u32 {
        let address = self.actors[actor].regions[region].expect("the plan has it mapped");
        address.cast::<u32>().wrapping_add(word)
    }

    /// By the part behind the folder, which is another one for each world.
    fn full_pathname(&self, actor: usize) -> Answer {
        let (code, found) = self.vfs(actor).full_pathname(self.names.db());
        let expected = self.folder.join("db");
        Answer::number(code, i64::from(found != expected.as_os_str().as_bytes()))
    }

    fn churn(&self, actor: usize, count: usize) -> Answer {
        let flags = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE;
        for number in 0..count {
            let names = Names::new(&self.folder.join(format!("other-{number}")));
            match self.vfs(actor).open(Some(names.db()), flags) {
                Ok((mut file, _)) => {
                    let codes = [file.lock(ffi::SQLITE_LOCK_SHARED), file.close()];
                    if let Some(code) = codes.into_iter().find(|code| *code != ffi::SQLITE_OK) {
                        return Answer::of(code);
                    }
                }
                Err(code) => return Answer::of(code),
            }
        }
        Answer::of(ffi::SQLITE_OK)
    }

    /// A child gives up what it inherits when it first runs, so it is waited for until then.
    fn fork_sleeper(&mut self) -> Answer {
        let mut ends = [0; 2];
        // SAFETY: there is room for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        // SAFETY: this process has one thread. The child waits for its end, which comes with that of its parent at the latest.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: the descriptors are the child's, and nothing is taken of this process.
            unsafe {
                #[cfg(target_os = "linux")]
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::close(ends[0]);
                libc::close(ends[1]);
            }
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        }
        self.sleepers.push(child);
        // SAFETY: the descriptors are ours, and there is room for a byte; the end of the file comes when the child has closed its own.
        unsafe {
            libc::close(ends[1]);
            libc::read(ends[0], [0_u8].as_mut_ptr().cast(), 1);
            libc::close(ends[0]);
        }
        Answer::of(ffi::SQLITE_OK)
    }

    fn visit(&mut self, actor: usize) -> Answer {
        if !self.is_ours {
            return visited(self.vfs(actor), self.names.db());
        }
        let mut ends = [0; 2];
        // SAFETY: there is room for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        // SAFETY: this process has one thread. The child makes its calls, answers, and ends without unwinding.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let answer = match self.inherited() {
                0 => visited(self.vfs(actor), self.names.db()),
                wrong => Answer::of(1000 + wrong),
            };
            let bytes = answer.to_bytes();
            // SAFETY: the descriptor is the child's, the bytes are there, and nothing of this process is to be cleaned up.
            unsafe {
                libc::write(ends[1], bytes.as_ptr().cast(), bytes.len());
                libc::_exit(0)
            }
        }
        received(ends, child)
    }

    /// In a child: whether its parent's files are refused, and can be closed. The number of the first thing that is wrong, or 0.
    fn inherited(&mut self) -> c_int {
        let files = self.actors.iter_mut().flat_map(|actor| &mut actor.files).filter_map(Option::take);
        for mut file in files {
            let refused = [
                file.read(&mut [0; 8], 0),
                file.write(&[0; 8], 0),
                file.truncate(0),
                file.size().0,
                file.lock(ffi::SQLITE_LOCK_SHARED),
            ];
            if let Some(wrong) = refused.iter().position(|code| code & 0xff != ffi::SQLITE_IOERR) {
                return wrong as c_int + 1;
            }
            if file.close() != ffi::SQLITE_OK {
                return 10;
            }
        }
        0
    }

    fn end(&mut self) {
        for child in self.sleepers.drain(..) {
            // SAFETY: it is our child, and nobody has waited for it.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, ptr::null_mut(), 0);
            }
        }
    }
}

/// What a newcomer finds.
fn visited(vfs: RawVfs, name: &CStr) -> Answer {
    let flags = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_READWRITE;
    let mut file = match vfs.open(Some(name), flags) {
        Ok((file, _)) => file,
        Err(code) => return Answer::of(code & 0xff),
    };
    let shared = file.lock(ffi::SQLITE_LOCK_SHARED);
    let mut answer = Answer::number(ffi::SQLITE_OK, visit(shared, 0, 0));
    if shared == ffi::SQLITE_OK {
        let mut bytes = [0; GLANCE];
        file.read(&mut bytes, 0);
        let is_reserved = file.check_reserved().1;
        answer.value = visit(shared, is_reserved, file.lock(ffi::SQLITE_LOCK_RESERVED));
        answer.hash = hash(&bytes);
    }
    answer.code = file.close();
    answer
}

fn asked(db: &mut RawFile, operation: c_int) -> Answer {
    let mut found: c_int = -1;
    let code = db.control(operation, &mut found);
    Answer::number(code, found)
}

/// The answer of a child, which ends.
fn received(ends: [c_int; 2], child: c_int) -> Answer {
    let mut bytes = [0; Answer::BYTES];
    // SAFETY: the descriptors are ours, there is room for the answer, and the child was just made.
    let read = unsafe {
        libc::close(ends[1]);
        let read = libc::read(ends[0], bytes.as_mut_ptr().cast(), bytes.len());
        libc::close(ends[0]);
        libc::waitpid(child, ptr::null_mut(), 0);
        read
    };
    if read == Answer::BYTES as isize { Answer::from_bytes(&bytes) } else { Answer::of(-1) }
}
