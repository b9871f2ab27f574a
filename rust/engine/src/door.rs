//! What is checked before a live database is opened: whether we may, and whether that would harm anybody.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use durable::sibling;
use ltx::ReadAt;
use osvfs::{LockBytes, LockedBy, RangeLocks};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use wal::WalIndex;

use crate::error::{Context, Error, Result};
use crate::files::{Pooled, exists, has_content, says_wal_mode};
use crate::notices::Notices;
use crate::options::Options;

/// An application that is just opening the database has its first lock and not yet the next. It is given so long.
const LOCK_TRIES: u32 = 20;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Refuses the database of `options`, which is at `real`, if we must not open it; says what will be missing. Whether somebody uses it, with a WAL that we will share.
///
/// # Errors
/// [`Error::NotPermitted`], [`Error::ProcessLocks`], [`Error::NoLocks`], [`Error::IndexRemoved`], [`Error::LeftInUse`],
/// [`Error::ExclusiveLock`].
pub(crate) fn check(options: &Options, real: &Path, notices: &Notices) -> Result<bool> {
    let given = &options.path;
    let metadata = fs::metadata(real).context("stat", given)?;
    refuse_without_permission(given, real, &metadata)?;
    refuse_without_locks(options, real)?;
    if metadata.nlink() > 1 {
        notices.say(format!(
            "{} has {} hard links: commits made under another name have another WAL and are not replicated",
            given.display(),
            metadata.nlink()
        ));
    }
    if is_mounted_alone(real) {
        notices.say(format!(
            "{} is mounted as a single file: its WAL is not shared, so commits made outside are not replicated; mount the directory",
            given.display()
        ));
    }
    refuse_hidden_index(given, real)
}

/// Whether somebody uses the `database` at `real`, with a WAL and wal-index that a further connection only has to share: it is not the one
/// that makes them. To be asked while SHARED is held, or the answer is of no use.
///
/// # Errors
/// What reading them answers.
pub(crate) fn is_in_use(database: &Pooled, real: &Path) -> io::Result<bool> {
    if !says_wal_mode(database) || !exists(&sibling(real, "-wal")) {
        return Ok(false);
    }
    let index = Pooled::open(&sibling(real, "-shm"))?;
    // In this order: who is the first to use it empties it before.
    if index.lock_on(LockBytes::DeadMansSwitch)? != Some(LockedBy::Readers) {
        return Ok(false);
    }
    let mut bytes = [0; WalIndex::SIZE];
    index.read_exact_at(&mut bytes, 0)?;
    Ok(WalIndex::parse(&bytes).is_some())
}

/// A lock of the process would end those of the application, if that is the same process.
fn refuse_without_locks(options: &Options, real: &Path) -> Result<()> {
    let path = &options.path;
    match Pooled::open(real).context("open", path)?.range_locks() {
        RangeLocks::OfOpenFile => Ok(()),
        RangeLocks::OfProcess if !options.shares_process => Ok(()),
        RangeLocks::OfProcess => Err(Error::ProcessLocks { path: path.clone() }),
        RangeLocks::None => Err(Error::NoLocks { path: path.clone() }),
    }
}

/// Who may only read a database would leave `-wal` and `-shm` behind that its owner cannot write.
pub(crate) fn refuse_without_permission(given: &Path, real: &Path, metadata: &Metadata) -> Result<()> {
    if accessat(CWD, real, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).is_ok() {
        return Ok(());
    }
    Err(Error::NotPermitted {
        path: given.to_owned(),
        mode: metadata.mode() & 0o7777,
        owner: metadata.uid(),
        user: rustix::process::geteuid().as_raw(),
    })
}

/// A connection in WAL mode holds SHARED on the database and the dead man's switch of its wal-index. If there is the first and not
/// the second, the wal-index in use has lost its name, and we would make another one: two that each know half of the commits. So
/// it is with a WAL. And where a database in rollback mode was copied over one that is in use, SQLite goes on with the WAL as long as
/// that has frames; afterwards the application does not know of commits that others make in the new mode, nor they of its own.
fn refuse_hidden_index(given: &Path, real: &Path) -> Result<bool> {
    for attempt in 1.. {
        match use_of(real).context("look at the locks of", given)? {
            Use::None => return Ok(false),
            Use::Shared => return Ok(true),
            Use::Hidden(LockedBy::Writer) if attempt == LOCK_TRIES => {
                return Err(Error::ExclusiveLock { path: given.to_owned() });
            }
            Use::Hidden(LockedBy::Readers) if attempt == LOCK_TRIES => {
                return Err(Error::IndexRemoved { path: given.to_owned() });
            }
            Use::Overwritten if attempt == LOCK_TRIES => {
                return Err(Error::LeftInUse { path: given.to_owned() });
            }
            Use::Hidden(_) | Use::Overwritten => std::thread::sleep(LOCK_WAIT),
        }
    }
    Ok(false)
}

/// Who has a database in WAL mode open.
enum Use {
    None,
    /// Somebody, with a WAL and wal-index that we can share.
    Shared,
    /// Somebody, without.
    Hidden(LockedBy),
    /// Somebody, with a WAL that whoever opens the database now would not look at.
    Overwritten,
}

fn use_of(real: &Path) -> io::Result<Use> {
    let database = Pooled::open(real)?;
    let is_in_wal_mode = says_wal_mode(&database);
    let Some(users) = database.lock_on(LockBytes::Shared)? else { return Ok(Use::None) };
    let has_index = match Pooled::open(&sibling(real, "-shm")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        index => index?.lock_on(LockBytes::DeadMansSwitch)?.is_some(),
    };
    // A database in rollback mode has no wal-index; its locks are held for as long as a transaction is.
    Ok(match (is_in_wal_mode, has_index) {
        // Whoever uses the index has the WAL open as well.
        (true, true) if exists(&sibling(real, "-wal")) => Use::Shared,
        (true, _) => Use::Hidden(users),
        (false, true) if !has_content(&sibling(real, "-wal")).unwrap_or(true) => Use::Overwritten,
        (false, _) => Use::None,
    })
}

#[cfg(target_os = "linux")]
fn is_mounted_alone(real: &Path) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags, statx};

    statx(CWD, real, AtFlags::empty(), StatxFlags::BASIC_STATS).is_ok_and(|found| {
        (found.stx_attributes & found.stx_attributes_mask).contains(StatxAttributes::MOUNT_ROOT)
    })
}

#[cfg(not(target_os = "linux"))]
fn is_mounted_alone(_real: &Path) -> bool {
    false
}
