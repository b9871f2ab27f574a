//! What is drawn at random: who is where, and what is tried.

use std::ffi::c_int;

use proptest::prelude::*;
use rusqlite::ffi;

use crate::step::{ACTORS, Kind, REGIONS};

/// Something to try. The model leaves out what SQLite would not do in its place.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Open(Kind, c_int),
    /// With locks held, or after they were let go.
    Close(Kind, bool),
    Read(Kind, i64, usize),
    Write(Kind, i64, usize, u8),
    Truncate(Kind, i64),
    Size(Kind),
    Sync(Kind, c_int),
    Lock(c_int),
    Unlock(c_int),
    CheckReserved,
    LockState,
    HasMoved,
    ChunkSize(c_int),
    SizeHint(i64),
    Characteristics,
    ShmMap(usize, bool),
    ShmLock(c_int, c_int, bool),
    ShmUnlock(c_int),
    ShmUnmap(bool),
    ShmStore(usize, usize, u32),
    ShmLoad(usize, usize),
    Delete(Kind, bool),
    Access(Kind, c_int, bool),
    FullPathname,
    Churn(usize),
    Sleeper,
    Visit,
}

#[derive(Clone, Debug)]
pub struct Case {
    /// In which process an actor is.
    pub processes: [usize; ACTORS],
    /// Who uses stock where some do.
    pub is_stock: [bool; ACTORS],
    pub ops: Vec<(usize, Op)>,
}

pub fn case(longest: usize) -> impl Strategy<Value = Case> {
    let processes = prop::array::uniform4(0..crate::step::PROCESSES);
    let ops = prop::collection::vec((0..ACTORS, op()), 1..longest);
    (processes, prop::array::uniform4(any::<bool>()), ops).prop_map(|(processes, is_stock, ops)| Case {
        processes,
        is_stock,
        ops,
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![10 => file(), 12 => lock(), 8 => shared_memory(), 3 => directory(), 2 => others()]
}

/// Databases are what most of it is about.
fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![5 => Just(Kind::Db), 2 => Just(Kind::Journal), 2 => Just(Kind::Wal), 1 => Just(Kind::Temp)]
}

fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), 0..20_000_i64, (0..10_i64).prop_map(|page| page * 4096)]
}

fn file() -> impl Strategy<Value = Op> {
    const READ_ONLY: c_int = ffi::SQLITE_OPEN_READONLY;
    const WRITE: c_int = ffi::SQLITE_OPEN_READWRITE;
    const CREATE: c_int = WRITE | ffi::SQLITE_OPEN_CREATE;
    let flags = prop_oneof![6 => Just(CREATE), 2 => Just(WRITE), 1 => Just(READ_ONLY)];
    let sync = prop::sample::select(vec![
        ffi::SQLITE_SYNC_NORMAL,
        ffi::SQLITE_SYNC_FULL,
        ffi::SQLITE_SYNC_NORMAL | ffi::SQLITE_SYNC_DATAONLY,
    ]);
    let length = prop_oneof![Just(4096_usize), 1..5000_usize];
    prop_oneof![
        5 => (kind(), flags).prop_map(|(kind, flags)| Op::Open(kind, flags)),
        2 => (kind(), any::<bool>()).prop_map(|(kind, held)| Op::Close(kind, held)),
        3 => (kind(), offset(), length.clone()).prop_map(|(kind, offset, length)| Op::Read(kind, offset, length)),
        3 => (kind(), offset(), length, any::<u8>())
            .prop_map(|(kind, offset, length, fill)| Op::Write(kind, offset, length, fill)),
        1 => (kind(), offset()).prop_map(|(kind, size)| Op::Truncate(kind, size)),
        1 => kind().prop_map(Op::Size),
        1 => (kind(), sync).prop_map(|(kind, flags)| Op::Sync(kind, flags)),
        1 => prop_oneof![
            (0..4).prop_map(|pages| Op::ChunkSize(pages * 4096)),
            offset().prop_map(Op::SizeHint),
            Just(Op::Characteristics),
        ],
    ]
}

fn lock() -> impl Strategy<Value = Op> {
    const RISE: [c_int; 3] = [ffi::SQLITE_LOCK_SHARED, ffi::SQLITE_LOCK_RESERVED, ffi::SQLITE_LOCK_EXCLUSIVE];
    prop_oneof![
        6 => prop::sample::select(RISE.to_vec()).prop_map(Op::Lock),
        2 => prop::sample::select(vec![ffi::SQLITE_LOCK_NONE, ffi::SQLITE_LOCK_SHARED]).prop_map(Op::Unlock),
        1 => Just(Op::CheckReserved),
        1 => Just(Op::LockState),
    ]
}

fn shared_memory() -> impl Strategy<Value = Op> {
    let slots = (0..8_i32).prop_flat_map(|first| (Just(first), 1..=8 - first, any::<bool>()));
    prop_oneof![
        4 => (0..REGIONS, any::<bool>()).prop_map(|(region, extend)| Op::ShmMap(region, extend)),
        5 => slots.prop_map(|(first, count, alone)| Op::ShmLock(first, if alone { count } else { 1 }, alone)),
        3 => (0..8_i32).prop_map(Op::ShmUnlock),
        1 => any::<bool>().prop_map(Op::ShmUnmap),
        2 => (0..REGIONS, 0..4_usize, any::<u32>())
            .prop_map(|(region, word, value)| Op::ShmStore(region, word, value)),
        2 => (0..REGIONS, 0..4_usize).prop_map(|(region, word)| Op::ShmLoad(region, word)),
    ]
}

fn directory() -> impl Strategy<Value = Op> {
    let named = prop_oneof![1 => Just(Kind::Db), 3 => Just(Kind::Journal), 3 => Just(Kind::Wal)];
    let what = prop::sample::select(vec![
        ffi::SQLITE_ACCESS_EXISTS,
        ffi::SQLITE_ACCESS_READWRITE,
        ffi::SQLITE_ACCESS_READ,
    ]);
    prop_oneof![
        2 => (named.clone(), any::<bool>()).prop_map(|(kind, sync)| Op::Delete(kind, sync)),
        2 => (named, what, prop::bool::weighted(0.2)).prop_map(|(kind, what, shm)| Op::Access(kind, what, shm)),
        1 => Just(Op::HasMoved),
        1 => Just(Op::FullPathname),
    ]
}

fn others() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => (1..80_usize).prop_map(Op::Churn),
        1 => Just(Op::Sleeper),
        4 => Just(Op::Visit),
    ]
}
