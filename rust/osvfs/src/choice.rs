//! Which protocol a file uses: from the name of the VFS, or from its URI.

use std::ffi::CStr;

use vfs::FileName;

/// A lock protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// Locks of the open file description on SQLite's lock bytes: excludes SQLite's `unix` VFS and itself, in every process
    /// and in this one.
    Ofd,
    /// Locks of the process on the same bytes, as SQLite's `unix` VFS takes them.
    Posix,
    /// `flock` of the whole file. On Linux it excludes nobody but other users of `flock`.
    Flock,
    /// A directory beside the database; one process at a time. For file systems without locks.
    Dotfile,
    /// One process at a time, by an OFD lock, with the wal-index on its heap. For WAL where memory cannot be shared.
    Excl,
    /// None at all: for databases that nobody else has open.
    None,
}

impl LockMode {
    /// Names that the VFS is registered under: one for each mode, and `ltx-os`, which chooses.
    pub const NAMES: [(&'static CStr, Option<Self>); 7] = [
        (c"ltx-os", None),
        (c"ltx-ofd", Some(Self::Ofd)),
        (c"ltx-posix", Some(Self::Posix)),
        (c"ltx-flock", Some(Self::Flock)),
        (c"ltx-dotfile", Some(Self::Dotfile)),
        (c"ltx-excl", Some(Self::Excl)),
        (c"ltx-none", Some(Self::None)),
    ];

    /// The mode of a name as in `lock=ofd`; `Some(None)` for `auto`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Option<Self>> {
        Some(match name {
            "auto" => None,
            "ofd" => Some(Self::Ofd),
            "posix" => Some(Self::Posix),
            "flock" => Some(Self::Flock),
            "dotfile" => Some(Self::Dotfile),
            "excl" => Some(Self::Excl),
            "none" => Some(Self::None),
            _ => return None,
        })
    }

    /// The name, as in `lock=ofd`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ofd => "ofd",
            Self::Posix => "posix",
            Self::Flock => "flock",
            Self::Dotfile => "dotfile",
            Self::Excl => "excl",
            Self::None => "none",
        }
    }

    /// Whether all connections are those of one process, so that the wal-index may be on its heap.
    pub(crate) const fn is_one_process(self) -> bool {
        matches!(self, Self::Dotfile | Self::Excl)
    }
}

/// Where the wal-index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShmMode {
    /// In the `-shm` file, mapped by every process.
    Mapped,
    /// On the heap of the one process that has the database open.
    Heap,
    /// Nowhere: WAL needs `PRAGMA locking_mode=EXCLUSIVE` before the first read.
    None,
}

/// How much a sync does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// What SQLite asks for.
    #[default]
    Auto,
    /// The disk's own cache always, where that can be asked for (macOS).
    Full,
    /// Order instead of durability, where that can be asked for (macOS): what was written before reaches the disk before what is
    /// written after.
    Barrier,
    /// Nothing: for databases that may be lost with the machine.
    Off,
}

impl SyncMode {
    /// The wish of a URI, which journals and WALs share with their database; the value that is not understood otherwise.
    pub(crate) fn of(name: &FileName<'_>) -> Result<Self, String> {
        Ok(match name.parameter(c"sync").map(CStr::to_bytes) {
            None | Some(b"auto") => Self::Auto,
            Some(b"full") => Self::Full,
            Some(b"barrier") => Self::Barrier,
            Some(b"off") => Self::Off,
            Some(other) => return Err(String::from_utf8_lossy(other).into_owned()),
        })
    }
}

/// What the URI of a file wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) lock: Option<LockMode>,
    pub(crate) shm: Option<ShmMode>,
    pub(crate) sync: SyncMode,
    pub(crate) powersafe_overwrite: bool,
    pub(crate) readonly_shm: bool,
    pub(crate) checksums: bool,
}

impl Choice {
    /// What SQLite's `unix` VFS would do.
    pub(crate) const PLAIN: Self = Self {
        lock: None,
        shm: None,
        sync: SyncMode::Auto,
        powersafe_overwrite: true,
        readonly_shm: false,
        checksums: false,
    };

    /// The wishes of a URI; the parameter that is not understood otherwise.
    pub(crate) fn of(name: &FileName<'_>, lock: Option<LockMode>) -> Result<Self, String> {
        let text = |key: &CStr| name.parameter(key).map(|value| value.to_string_lossy().into_owned());
        let unknown = |key: &str, value: &str| format!("invalid URI parameter: {key}={value}");
        let mut choice = Self { lock, ..Self::PLAIN };
        if let Some(value) = text(c"lock") {
            choice.lock = LockMode::parse(&value).ok_or_else(|| unknown("lock", &value))?;
        }
        if let Some(value) = text(c"shm") {
            choice.shm = Some(match value.as_str() {
                "mmap" => ShmMode::Mapped,
                "heap" => ShmMode::Heap,
                "none" => ShmMode::None,
                _ => return Err(unknown("shm", &value)),
            });
        }
        choice.sync = SyncMode::of(name).map_err(|value| unknown("sync", &value))?;
        let flag = |key: &CStr, otherwise| match (text(key), name.flag(key)) {
            (Some(value), None) => Err(unknown(&key.to_string_lossy(), &value)),
            (_, flag) => Ok(flag.unwrap_or(otherwise)),
        };
        choice.powersafe_overwrite = flag(c"psow", true)?;
        choice.checksums = flag(c"cksm", false)?;
        choice.readonly_shm = flag(c"readonly_shm", false)?;
        Ok(choice)
    }

    /// Where the wal-index goes under `lock`; what is wrong with the wish otherwise.
    pub(crate) fn shm_under(&self, lock: LockMode) -> Result<ShmMode, String> {
        match self.shm {
            Some(ShmMode::None) => Ok(ShmMode::None),
            _ if lock == LockMode::None => Ok(ShmMode::None),
            _ if lock.is_one_process() => Ok(ShmMode::Heap),
            // Another process could use the database and would not see it.
            Some(ShmMode::Heap) => {
                Err(format!("shm=heap needs lock=excl or lock=dotfile, not {}", lock.name()))
            }
            _ => Ok(ShmMode::Mapped),
        }
    }
}
