//! What is done to a VFS, and what it answers.

use std::ffi::c_int;

pub const ACTORS: usize = 4;
pub const PROCESSES: usize = 2;
/// Regions of shared memory that are used.
pub const REGIONS: usize = 3;

/// A file that an actor may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Db,
    Journal,
    Wal,
    Temp,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Db, Self::Journal, Self::Wal, Self::Temp];
}

/// A call of one method, whose arguments are lawful when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Open(Kind, c_int),
    Close(Kind),
    Read(Kind, i64, usize),
    Write(Kind, i64, usize, u8),
    Truncate(Kind, i64),
    Size(Kind),
    Sync(Kind, c_int),
    Lock(c_int),
    Unlock(c_int),
    CheckReserved,
    /// Which lock the file itself thinks it has.
    LockState,
    HasMoved,
    ChunkSize(c_int),
    SizeHint(i64),
    Characteristics,
    ShmMap(usize, bool),
    ShmLock(c_int, c_int, c_int),
    ShmUnmap(bool),
    /// A word of a region, as SQLite writes it: straight into memory.
    ShmStore(usize, usize, u32),
    ShmLoad(usize, usize),
    Delete(Kind, bool),
    /// The last is the name of `-shm` instead.
    Access(Kind, c_int, bool),
    FullPathname,
    /// Other databases come and go, more than the VFS keeps descriptors for.
    Churn(usize),
    /// A child is forked that only lives on.
    Sleeper,
    /// Somebody else opens the database, reads, and wants to write: a forked child of the actor's process where all its files
    /// are ours, else a process that has nothing to do with it.
    Visit,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub code: c_int,
    pub value: i64,
    pub hash: u64,
}

impl Answer {
    pub const BYTES: usize = 20;

    pub fn of(code: c_int) -> Self {
        Self { code, ..Self::default() }
    }

    pub fn number(code: c_int, value: impl Into<i64>) -> Self {
        Self { code, value: value.into(), hash: 0 }
    }

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.code.to_ne_bytes());
        bytes[4..12].copy_from_slice(&self.value.to_ne_bytes());
        bytes[12..].copy_from_slice(&self.hash.to_ne_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (code, rest) = bytes.split_first_chunk().expect("long enough");
        let (value, rest) = rest.split_first_chunk().expect("long enough");
        let (hash, _) = rest.split_first_chunk().expect("long enough");
        Self {
            code: c_int::from_ne_bytes(*code),
            value: i64::from_ne_bytes(*value),
            hash: u64::from_ne_bytes(*hash),
        }
    }
}

/// One line of a plan: who does what, and what must come of it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub actor: usize,
    pub call: Call,
    pub expected: Answer,
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A visitor's answer: what SHARED came to, whether somebody has RESERVED, what RESERVED came to.
pub fn visit(shared: c_int, is_reserved: c_int, reserved: c_int) -> i64 {
    i64::from(shared) | i64::from(is_reserved) << 8 | i64::from(reserved) << 16
}
