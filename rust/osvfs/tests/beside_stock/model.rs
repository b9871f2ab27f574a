//! What must come of every call, by SQLite's documents ("File Locking And Concurrency", "WAL-mode File Format") alone.

use std::collections::BTreeSet;
use std::ffi::c_int;

use rusqlite::ffi;

use crate::case::{Case, Op};
use crate::step::{ACTORS, Answer, Call, Kind, REGIONS, Step, hash, visit};

const OK: c_int = ffi::SQLITE_OK;
const BUSY: c_int = ffi::SQLITE_BUSY;
const NONE: c_int = ffi::SQLITE_LOCK_NONE;
const SHARED: c_int = ffi::SQLITE_LOCK_SHARED;
const RESERVED: c_int = ffi::SQLITE_LOCK_RESERVED;
const PENDING: c_int = 3;
const EXCLUSIVE: c_int = ffi::SQLITE_LOCK_EXCLUSIVE;
const READ_ONLY: c_int = ffi::SQLITE_OPEN_READONLY;
const CREATE: c_int = ffi::SQLITE_OPEN_CREATE;
const SLOTS: usize = 8;
/// What a visitor reads.
pub const GLANCE: usize = 64;

/// The file behind a name, or behind none any more.
#[derive(Default)]
struct Inode {
    data: Vec<u8>,
    levels: [c_int; ACTORS],
}

impl Inode {
    fn highest_other(&self, actor: usize) -> c_int {
        let others = self.levels.iter().enumerate().filter(|(other, _)| *other != actor);
        others.map(|(_, level)| *level).max().unwrap_or(NONE)
    }

    fn highest(&self) -> c_int {
        self.levels.iter().copied().max().unwrap_or(NONE)
    }

    /// Bytes from an offset on, with zeros for those that are not there.
    fn padded(&self, offset: usize, length: usize) -> (Vec<u8>, bool) {
        let there = self.data.get(offset..).unwrap_or_default();
        let mut bytes = there[..length.min(there.len())].to_vec();
        let is_whole = bytes.len() == length;
        bytes.resize(length, 0);
        (bytes, is_whole)
    }
}

#[derive(Clone, Copy)]
struct Handle {
    inode: usize,
    flags: c_int,
    chunk: usize,
}

/// Shared memory: of the database by its name, since nobody deletes a database that has some.
#[derive(Default)]
struct Shm {
    /// Whether there is a file, which outlives those who use it.
    exists: bool,
    regions: usize,
    words: [[u32; 4]; REGIONS],
    users: BTreeSet<usize>,
    /// What a user has the address of.
    mapped: [[bool; REGIONS]; ACTORS],
    /// Who has a slot, and whether alone.
    slots: [[Option<bool>; SLOTS]; ACTORS],
}

#[derive(Default)]
pub struct Model {
    processes: [usize; ACTORS],
    is_stock: [bool; ACTORS],
    inodes: Vec<Inode>,
    names: [Option<usize>; 3],
    handles: [[Option<Handle>; 4]; ACTORS],
    shm: Shm,
    steps: Vec<Step>,
}

/// The calls of a case with their answers; in the end everything is closed.
pub fn plan(case: &Case) -> Vec<Step> {
    let mut model = Model { processes: case.processes, is_stock: case.is_stock, ..Model::default() };
    for (actor, op) in &case.ops {
        model.try_to(*actor, *op);
    }
    for actor in 0..ACTORS {
        for kind in Kind::ALL {
            model.try_to(actor, Op::Close(kind, false));
        }
    }
    model.steps
}

impl Model {
    fn step(&mut self, actor: usize, call: Call, expected: Answer) {
        self.steps.push(Step { actor, call, expected });
    }

    fn handle(&self, actor: usize, kind: Kind) -> Option<Handle> {
        self.handles[actor][kind as usize]
    }

    fn level(&self, actor: usize) -> c_int {
        self.handle(actor, Kind::Db).map_or(NONE, |db| self.inodes[db.inode].levels[actor])
    }

    /// One call, maybe none, and sometimes more: locks that SQLite lets go of before it closes.
    fn try_to(&mut self, actor: usize, op: Op) {
        match op {
            Op::Open(kind, flags) => self.open(actor, kind, flags),
            Op::Close(kind, is_locked) => self.close(actor, kind, is_locked),
            Op::Delete(kind, is_synced) => self.delete(actor, kind, is_synced),
            Op::Access(kind, what, is_shm) => self.access(actor, kind, what, is_shm),
            Op::FullPathname => self.step(actor, Call::FullPathname, Answer::of(OK)),
            Op::Churn(count) => self.step(actor, Call::Churn(count), Answer::of(OK)),
            Op::Sleeper => self.step(actor, Call::Sleeper, Answer::of(OK)),
            Op::Visit => self.visit(actor),
            Op::Read(kind, ..)
            | Op::Write(kind, ..)
            | Op::Truncate(kind, _)
            | Op::Size(kind)
            | Op::Sync(kind, _) => {
                if let Some(handle) = self.handle(actor, kind) {
                    self.content(actor, handle, op);
                }
            }
            _ => {
                if let Some(db) = self.handle(actor, Kind::Db) {
                    self.database(actor, db, op);
                }
            }
        }
    }

    /// Journal and WAL are those of a database that is there.
    fn open(&mut self, actor: usize, kind: Kind, flags: c_int) {
        let needs_database = matches!(kind, Kind::Journal | Kind::Wal);
        if self.handle(actor, kind).is_some() || needs_database && self.names[Kind::Db as usize].is_none() {
            return;
        }
        let (found, flags) = match kind {
            Kind::Temp => (None, ffi::SQLITE_OPEN_READWRITE | CREATE),
            _ => (self.names[kind as usize], flags),
        };
        let Some(inode) = found.or_else(|| (flags & CREATE != 0).then(|| self.create(kind))) else {
            return self.step(actor, Call::Open(kind, flags), Answer::of(ffi::SQLITE_CANTOPEN));
        };
        self.handles[actor][kind as usize] = Some(Handle { inode, flags, chunk: 0 });
        let said = if kind == Kind::Temp { 0 } else { flags };
        self.step(actor, Call::Open(kind, flags), Answer::number(OK, said));
    }

    fn create(&mut self, kind: Kind) -> usize {
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        if kind != Kind::Temp {
            self.names[kind as usize] = Some(inode);
        }
        inode
    }

    fn close(&mut self, actor: usize, kind: Kind, is_locked: bool) {
        let Some(handle) = self.handle(actor, kind) else { return };
        if kind == Kind::Db {
            self.leave_shm(actor, false);
            if !is_locked {
                self.unlock(actor, NONE);
            }
            self.inodes[handle.inode].levels[actor] = NONE;
        }
        self.handles[actor][kind as usize] = None;
        self.step(actor, Call::Close(kind), Answer::of(OK));
    }

    /// A database is not deleted while it has shared memory, which belongs to its name.
    fn delete(&mut self, actor: usize, kind: Kind, is_synced: bool) {
        if kind == Kind::Db && !self.shm.users.is_empty() {
            return;
        }
        let found = self.names[kind as usize].take();
        let code = if found.is_some() { OK } else { ffi::SQLITE_IOERR_DELETE_NOENT };
        self.step(actor, Call::Delete(kind, is_synced), Answer::of(code));
    }

    /// An empty file does not exist for SQLite, but it can be read.
    fn access(&mut self, actor: usize, kind: Kind, what: c_int, is_shm: bool) {
        let size = match (is_shm, self.names[kind as usize]) {
            (true, _) => self.shm.exists.then_some(1),
            (false, inode) => inode.map(|inode| self.inodes[inode].data.len()),
        };
        let is_found = if what == ffi::SQLITE_ACCESS_EXISTS { size > Some(0) } else { size.is_some() };
        self.step(actor, Call::Access(kind, what, is_shm), Answer::number(OK, is_found));
    }

    fn visit(&mut self, actor: usize) {
        let Some(inode) = self.names[Kind::Db as usize].map(|inode| &self.inodes[inode]) else {
            return self.step(actor, Call::Visit, Answer::of(ffi::SQLITE_CANTOPEN));
        };
        let answer = if inode.highest() >= PENDING {
            Answer::number(OK, visit(BUSY, 0, 0))
        } else {
            let is_reserved = inode.highest() >= RESERVED;
            let value = visit(OK, is_reserved.into(), if is_reserved { BUSY } else { OK });
            Answer { code: OK, value, hash: hash(&inode.padded(0, GLANCE).0) }
        };
        self.step(actor, Call::Visit, answer);
    }

    fn content(&mut self, actor: usize, handle: Handle, op: Op) {
        let data = &mut self.inodes[handle.inode].data;
        let is_writable = handle.flags & READ_ONLY == 0;
        let (call, answer) = match op {
            Op::Read(kind, offset, length) => {
                let (bytes, is_whole) = self.inodes[handle.inode].padded(offset as usize, length);
                let code = if is_whole { OK } else { ffi::SQLITE_IOERR_SHORT_READ };
                (Call::Read(kind, offset, length), Answer { code, value: 0, hash: hash(&bytes) })
            }
            Op::Write(kind, offset, length, fill) if is_writable => {
                let first = offset as usize;
                data.resize(data.len().max(first + length), 0);
                data[first..first + length].fill(fill);
                (Call::Write(kind, offset, length, fill), Answer::of(OK))
            }
            Op::Truncate(kind, size) if is_writable => {
                data.resize(rounded(size as usize, handle.chunk), 0);
                (Call::Truncate(kind, size), Answer::of(OK))
            }
            Op::Size(kind) => (Call::Size(kind), Answer::number(OK, data.len() as i64)),
            Op::Sync(kind, flags) => (Call::Sync(kind, flags), Answer::of(OK)),
            _ => return,
        };
        self.step(actor, call, answer);
    }

    fn database(&mut self, actor: usize, db: Handle, op: Op) {
        let is_writable = db.flags & READ_ONLY == 0;
        let levels = &self.inodes[db.inode].levels;
        match op {
            Op::Lock(level) => self.lock(actor, db, level),
            Op::Unlock(level) => self.unlock(actor, level),
            // Asked by a reader that finds a journal.
            Op::CheckReserved if levels[actor] >= SHARED => {
                let is_reserved = self.inodes[db.inode].highest() >= RESERVED;
                self.step(actor, Call::CheckReserved, Answer::number(OK, is_reserved));
            }
            Op::LockState => self.step(actor, Call::LockState, Answer::number(OK, levels[actor])),
            Op::HasMoved => {
                let has_moved = self.names[Kind::Db as usize] != Some(db.inode);
                self.step(actor, Call::HasMoved, Answer::number(OK, has_moved));
            }
            Op::Characteristics => self.step(actor, Call::Characteristics, Answer::default()),
            Op::ChunkSize(bytes) => {
                self.handles[actor][Kind::Db as usize] = Some(Handle { chunk: bytes as usize, ..db });
                self.step(actor, Call::ChunkSize(bytes), Answer::of(OK));
            }
            Op::SizeHint(bytes) if is_writable => {
                let data = &mut self.inodes[db.inode].data;
                let wanted = if db.chunk > 0 { rounded(bytes as usize, db.chunk) } else { 0 };
                data.resize(data.len().max(wanted), 0);
                self.step(actor, Call::SizeHint(bytes), Answer::of(OK));
            }
            _ if is_writable && self.names[Kind::Db as usize] == Some(db.inode) => {
                self.shared_memory(actor, op);
            }
            _ => {}
        }
    }

    fn lock(&mut self, actor: usize, db: Handle, wanted: c_int) {
        let shm_is_shared = self.shm.users.iter().any(|user| *user != actor);
        let (own, others) = (self.level(actor), self.inodes[db.inode].highest_other(actor));
        let is_lawful = match wanted {
            SHARED => !self.may_pass_pending(actor, db),
            // In WAL mode nobody asks for more but who is alone.
            RESERVED => own == SHARED && db.flags & READ_ONLY == 0 && !shm_is_shared,
            _ => own >= SHARED && db.flags & READ_ONLY == 0 && !shm_is_shared,
        };
        if !is_lawful {
            return;
        }
        let (code, now) = match wanted {
            _ if own >= wanted => (OK, own),
            SHARED if others >= PENDING => (BUSY, own),
            RESERVED if others >= RESERVED => (BUSY, own),
            // Readers may finish, but no new ones come in; who had no RESERVED keeps what it had.
            EXCLUSIVE if others >= SHARED => (BUSY, if own >= RESERVED { PENDING } else { own }),
            _ => (OK, wanted),
        };
        self.inodes[db.inode].levels[actor] = now;
        self.step(actor, Call::Lock(wanted), Answer::of(code));
    }

    /// Where a process has a reader already, a VFS lets another one of it in without a look at PENDING, which another process may
    /// have, or another VFS in this one. Who that is differs from world to world.
    fn may_pass_pending(&self, actor: usize, db: Handle) -> bool {
        let level = |other: &usize| self.inodes[db.inode].levels[*other];
        let is_near = |other: &usize| {
            self.processes[*other] == self.processes[actor] && self.is_stock[*other] == self.is_stock[actor]
        };
        let is_here = |other: &usize| *other != actor && self.processes[*other] == self.processes[actor];
        let is_reading = (0..ACTORS).any(|other| is_here(&other) && level(&other) >= SHARED);
        is_reading && (0..ACTORS).any(|other| !is_near(&other) && level(&other) == PENDING)
    }

    fn unlock(&mut self, actor: usize, wanted: c_int) {
        let Some(db) = self.handle(actor, Kind::Db) else { return };
        if self.level(actor) > wanted {
            self.inodes[db.inode].levels[actor] = wanted;
            self.step(actor, Call::Unlock(wanted), Answer::of(OK));
        }
    }

    fn shared_memory(&mut self, actor: usize, op: Op) {
        let is_user = self.shm.users.contains(&actor);
        match op {
            Op::ShmMap(region, is_extended) => self.map(actor, region, is_extended),
            Op::ShmLock(first, count, alone) if is_user => {
                self.lock_slots(actor, first as usize, count, alone)
            }
            Op::ShmUnlock(slot) if is_user => self.unlock_slot(actor, slot as usize),
            Op::ShmUnmap(is_deleted) if is_user => self.leave_shm(actor, is_deleted),
            Op::ShmStore(region, word, value) if self.shm.mapped[actor][region] => {
                self.shm.words[region][word] = value;
                self.step(actor, Call::ShmStore(region, word, value), Answer::of(OK));
            }
            Op::ShmLoad(region, word) if self.shm.mapped[actor][region] => {
                let value = self.shm.words[region][word];
                self.step(actor, Call::ShmLoad(region, word), Answer::number(OK, value));
            }
            _ => {}
        }
    }

    /// Whoever comes first begins it anew.
    fn map(&mut self, actor: usize, region: usize, is_extended: bool) {
        if self.shm.users.is_empty() {
            self.shm = Shm { exists: true, ..Shm::default() };
        }
        self.shm.users.insert(actor);
        if is_extended {
            self.shm.regions = self.shm.regions.max(region + 1);
        }
        let is_there = region < self.shm.regions;
        self.shm.mapped[actor][region] |= is_there;
        self.step(actor, Call::ShmMap(region, is_extended), Answer::number(OK, is_there));
    }

    fn lock_slots(&mut self, actor: usize, first: usize, count: c_int, alone: bool) {
        let slots = first..first + count as usize;
        if self.shm.slots[actor][slots.clone()].iter().any(Option::is_some) {
            return;
        }
        let is_held = (0..ACTORS).any(|other| {
            let held = |slot: &Option<bool>| *slot == Some(true) || alone && slot.is_some();
            other != actor && self.shm.slots[other][slots.clone()].iter().any(held)
        });
        let kind = if alone { ffi::SQLITE_SHM_EXCLUSIVE } else { ffi::SQLITE_SHM_SHARED };
        if !is_held {
            self.shm.slots[actor][slots].fill(Some(alone));
        }
        let call = Call::ShmLock(first as c_int, count, ffi::SQLITE_SHM_LOCK | kind);
        self.step(actor, call, Answer::of(if is_held { BUSY } else { OK }));
    }

    fn unlock_slot(&mut self, actor: usize, slot: usize) {
        if let Some(alone) = self.shm.slots[actor][slot].take() {
            let kind = if alone { ffi::SQLITE_SHM_EXCLUSIVE } else { ffi::SQLITE_SHM_SHARED };
            let call = Call::ShmLock(slot as c_int, 1, ffi::SQLITE_SHM_UNLOCK | kind);
            self.step(actor, call, Answer::of(OK));
        }
    }

    /// Slots first; only who is alone deletes.
    fn leave_shm(&mut self, actor: usize, is_deleted: bool) {
        if !self.shm.users.contains(&actor) {
            return;
        }
        (0..SLOTS).for_each(|slot| self.unlock_slot(actor, slot));
        self.shm.users.remove(&actor);
        self.shm.mapped[actor] = Default::default();
        let is_deleted = is_deleted && self.shm.users.is_empty();
        self.shm.exists &= !is_deleted;
        self.step(actor, Call::ShmUnmap(is_deleted), Answer::of(OK));
    }
}

fn rounded(size: usize, chunk: usize) -> usize {
    if chunk == 0 { size } else { size.next_multiple_of(chunk) }
}
