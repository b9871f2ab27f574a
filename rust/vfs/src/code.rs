//! SQLite's result codes, and the one error type of the callbacks.

use std::ffi::c_int;
use std::fmt;
use std::io;

/// A result code, primary or extended (SQLite, "Result and Error Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub c_int);

macro_rules! codes {
    ($($name:ident = $value:expr;)*) => {
        /// The codes that a VFS answers with, under SQLite's names.
        #[expect(missing_docs, reason = "the names are SQLite's own, and documented there")]
        impl Code {
            $(pub const $name: Self = Self($value);)*
        }

        impl fmt::Display for Code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.write_str(stringify!($name)),)*
                    Self(other) => write!(f, "{other}"),
                }
            }
        }
    };
}

codes! {
    OK = 0;
    ERROR = 1;
    INTERNAL = 2;
    PERM = 3;
    BUSY = 5;
    NOMEM = 7;
    READONLY = 8;
    IOERR = 10;
    CORRUPT = 11;
    NOTFOUND = 12;
    FULL = 13;
    CANTOPEN = 14;
    MISUSE = 21;
    IOERR_READ = 10 | (1 << 8);
    IOERR_SHORT_READ = 10 | (2 << 8);
    IOERR_WRITE = 10 | (3 << 8);
    IOERR_FSYNC = 10 | (4 << 8);
    IOERR_DIR_FSYNC = 10 | (5 << 8);
    IOERR_TRUNCATE = 10 | (6 << 8);
    IOERR_FSTAT = 10 | (7 << 8);
    IOERR_UNLOCK = 10 | (8 << 8);
    IOERR_RDLOCK = 10 | (9 << 8);
    IOERR_DELETE = 10 | (10 << 8);
    IOERR_ACCESS = 10 | (13 << 8);
    IOERR_CHECKRESERVEDLOCK = 10 | (14 << 8);
    IOERR_LOCK = 10 | (15 << 8);
    IOERR_CLOSE = 10 | (16 << 8);
    IOERR_SHMOPEN = 10 | (18 << 8);
    IOERR_SHMSIZE = 10 | (19 << 8);
    IOERR_SHMLOCK = 10 | (20 << 8);
    IOERR_SHMMAP = 10 | (21 << 8);
    IOERR_DELETE_NOENT = 10 | (23 << 8);
    IOERR_GETTEMPPATH = 10 | (25 << 8);
    IOERR_BEGIN_ATOMIC = 10 | (29 << 8);
    IOERR_COMMIT_ATOMIC = 10 | (30 << 8);
    IOERR_ROLLBACK_ATOMIC = 10 | (31 << 8);
    IOERR_DATA = 10 | (32 << 8);
    IOERR_CORRUPTFS = 10 | (33 << 8);
    BUSY_TIMEOUT = 5 | (3 << 8);
    CANTOPEN_FULLPATH = 14 | (3 << 8);
    READONLY_CANTINIT = 8 | (5 << 8);
    READONLY_DIRECTORY = 8 | (6 << 8);
    WARNING = 28;
    OK_LOAD_PERMANENTLY = 1 << 8;
    OK_SYMLINK = 2 << 8;
}

impl Code {
    /// The code without what extends it.
    #[must_use]
    pub const fn primary(self) -> Self {
        Self(self.0 & 0xff)
    }

    /// For the log: what a code may mean that does not say so itself, and what to do.
    pub(crate) const fn advice(self) -> Option<&'static str> {
        match self {
            Self::IOERR_DATA => Some(
                "a page does not have the checksum of its content; it is damaged, or a connection over another vfs wrote it; \
                 in the second case ltxcore.vfs.write_checksums mends it, after which PRAGMA integrity_check should be run",
            ),
            _ => None,
        }
    }

    /// Whether SQLite expects this answer in the course of ordinary work, so that it is no news for a log.
    pub(crate) fn is_routine(self) -> bool {
        let routine = [Self::IOERR_SHORT_READ, Self::IOERR_DELETE_NOENT, Self::READONLY_CANTINIT];
        routine.contains(&self)
            || matches!(self.primary(), Self::OK | Self::BUSY | Self::NOTFOUND | Self::READONLY)
    }
}

/// Why a callback failed: SQLite's code, and the operating system's, 0 if it has no part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What SQLite is told.
    pub code: Code,
    /// What `SQLITE_FCNTL_LAST_ERRNO` and `xGetLastError` tell.
    pub errno: i32,
}

/// What a callback answers.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that the operating system reported, under the code of the place where it happened.
    #[must_use]
    pub fn os(code: Code, error: &io::Error) -> Self {
        Self { code, errno: error.raw_os_error().unwrap_or(0) }
    }

    /// The same as something that C takes for an error: after `OK`, SQLite would use what it did not get.
    pub(crate) fn as_failure(self) -> Self {
        let is_failure = self.code.primary() != Code::OK;
        Self { code: if is_failure { self.code } else { Code::ERROR }, ..self }
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self { code, errno: 0 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            0 => write!(f, "{}", self.code),
            errno => write!(f, "{}: {}", self.code, io::Error::from_raw_os_error(errno)),
        }
    }
}

impl std::error::Error for Error {}
