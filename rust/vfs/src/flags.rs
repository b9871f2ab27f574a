//! SQLite's C integers, turned into Rust types once, at the edge. No value that SQLite may send can panic here.

use std::ffi::c_int;

use crate::code::{Code, Result};

/// The flags of `xOpen` (SQLite, "Flags For File Open Operations").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlags(pub c_int);

#[expect(missing_docs, reason = "the names are SQLite's own, and documented there")]
impl OpenFlags {
    pub const READONLY: Self = Self(0x1);
    pub const READWRITE: Self = Self(0x2);
    pub const CREATE: Self = Self(0x4);
    pub const DELETE_ON_CLOSE: Self = Self(0x8);
    pub const EXCLUSIVE: Self = Self(0x10);
    pub const MAIN_DB: Self = Self(0x100);
}

impl OpenFlags {
    /// Whether all of `wanted` are set.
    #[must_use]
    pub const fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// The flags of a file that could be opened for reading only.
    #[must_use]
    pub const fn read_only(self) -> Self {
        Self((self.0 & !(Self::READWRITE.0 | Self::CREATE.0)) | Self::READONLY.0)
    }

    /// What the file is for.
    #[must_use]
    pub const fn kind(self) -> FileKind {
        match self.0 & 0x000f_ff00 {
            0x100 => FileKind::MainDb,
            0x200 => FileKind::TempDb,
            0x400 => FileKind::TransientDb,
            0x800 => FileKind::MainJournal,
            0x1000 => FileKind::TempJournal,
            0x2000 => FileKind::SubJournal,
            0x4000 => FileKind::SuperJournal,
            0x80000 => FileKind::Wal,
            _ => FileKind::Other,
        }
    }
}

/// What SQLite opens a file for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are SQLite's own, and documented there")]
pub enum FileKind {
    MainDb,
    TempDb,
    TransientDb,
    MainJournal,
    TempJournal,
    SubJournal,
    SuperJournal,
    Wal,
    Other,
}

impl FileKind {
    /// Whether names of this kind carry URI parameters (SQLite, `sqlite3_uri_parameter`): others end in no terminator.
    #[must_use]
    pub const fn has_parameters(self) -> bool {
        matches!(self, Self::MainDb | Self::MainJournal | Self::Wal)
    }
}

/// The levels of a database lock (SQLite, "File Locking And Concurrency In SQLite Version 3", section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are SQLite's own, and documented there")]
pub enum LockLevel {
    None = 0,
    Shared = 1,
    Reserved = 2,
    Pending = 3,
    Exclusive = 4,
}

impl LockLevel {
    pub(crate) fn from_raw(raw: c_int) -> Result<Self> {
        match raw {
            0 => Ok(Self::None),
            1 => Ok(Self::Shared),
            2 => Ok(Self::Reserved),
            3 => Ok(Self::Pending),
            4 => Ok(Self::Exclusive),
            _ => Err(Code::MISUSE.into()),
        }
    }
}

/// What `xAccess` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// Is it there?
    Exists,
    /// May it be read and written?
    ReadWrite,
    /// May it be read?
    Read,
}

impl AccessKind {
    pub(crate) fn from_raw(raw: c_int) -> Result<Self> {
        match raw {
            0 => Ok(Self::Exists),
            1 => Ok(Self::ReadWrite),
            2 => Ok(Self::Read),
            _ => Err(Code::MISUSE.into()),
        }
    }
}

/// The flags of `xSync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncFlags(pub c_int);

impl SyncFlags {
    /// The disk's own cache too (`PRAGMA fullfsync`).
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.0 & 0x0f == 3
    }
}

/// What a file promises of itself (SQLite, "Device Characteristics"). The default promises nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCharacteristics(pub c_int);

#[expect(missing_docs, reason = "the names are SQLite's own, and documented there")]
impl DeviceCharacteristics {
    pub const POWERSAFE_OVERWRITE: Self = Self(0x1000);
    pub const IMMUTABLE: Self = Self(0x2000);
    pub const BATCH_ATOMIC: Self = Self(0x4000);
    pub const SUBPAGE_READ: Self = Self(0x8000);
}

impl DeviceCharacteristics {
    /// These and `more`, if `wanted`.
    #[must_use]
    pub const fn with(self, more: Self, wanted: bool) -> Self {
        if wanted { Self(self.0 | more.0) } else { self }
    }
}

/// One request of `xShmLock`: `count` slots from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShmLock {
    /// The first of the eight slots.
    pub first: u8,
    /// How many, one unless exclusive.
    pub count: u8,
    /// Exclusive, or shared.
    pub is_exclusive: bool,
}

impl ShmLock {
    /// The slots of SQLite's wal-index (SQLite, "WAL-mode File Format", section 2.3).
    pub const SLOTS: u8 = 8;

    const UNLOCK: c_int = 1;
    const LOCK: c_int = 2;
    const SHARED: c_int = 4;
    const EXCLUSIVE: c_int = 8;

    /// The request, and whether it takes the lock rather than letting it go.
    pub(crate) fn from_raw(offset: c_int, n: c_int, flags: c_int) -> Result<(Self, bool)> {
        let is_exclusive = flags & Self::EXCLUSIVE != 0;
        let (Ok(first), Ok(count)) = (u8::try_from(offset), u8::try_from(n)) else {
            return Err(Code::MISUSE.into());
        };
        let fits = count >= 1 && first.checked_add(count).is_some_and(|end| end <= Self::SLOTS);
        let one_of = |a: c_int, b: c_int| (flags & a != 0) != (flags & b != 0);
        let sound = one_of(Self::UNLOCK, Self::LOCK) && one_of(Self::SHARED, Self::EXCLUSIVE);
        if !fits || !sound || (count > 1 && !is_exclusive) {
            return Err(Code::MISUSE.into());
        }
        Ok((Self { first, count, is_exclusive }, flags & Self::LOCK != 0))
    }

    /// One bit per slot.
    #[must_use]
    pub const fn mask(self) -> u8 {
        (((1u16 << self.count) - 1) << self.first) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_do_not_exist_are_misuse() {
        for (offset, n, flags) in
            [(-1, 1, 6), (8, 1, 6), (7, 2, 10), (0, 0, 6), (0, 2, 6), (0, 1, 2), (0, 1, 15)]
        {
            let error = ShmLock::from_raw(offset, n, flags).unwrap_err();
            assert_eq!(error.code, Code::MISUSE, "{offset} {n} {flags}");
        }
        let (lock, takes) = ShmLock::from_raw(3, 5, 10).unwrap();
        assert_eq!((lock.mask(), lock.is_exclusive, takes), (0b1111_1000, true, true));
        assert!(!ShmLock::from_raw(0, 8, 9).unwrap().1);
        assert_eq!(ShmLock { first: 0, count: 8, is_exclusive: true }.mask(), 0xff);
    }

    #[test]
    fn levels_and_kinds_that_do_not_exist_are_misuse() {
        assert!(LockLevel::from_raw(5).is_err() && LockLevel::from_raw(-1).is_err());
        assert!(AccessKind::from_raw(3).is_err());
        assert_eq!(OpenFlags(0x80000 | 6).kind(), FileKind::Wal);
        assert_eq!(OpenFlags(0x300).kind(), FileKind::Other);
        assert_eq!(OpenFlags(0x106).read_only(), OpenFlags(0x101));
    }
}
