//! An open file.

use std::fs::{self, File as StdFile};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vfs::{
    Code, Control, DeviceCharacteristics, Error, File, FileKind, LockLevel, Reply, Result, SharedMemory,
    SyncFlags,
};

use crate::atomic::{self, Batch};
use crate::checksums::{PageChecksums, Wal};
use crate::choice::{LockMode, SyncMode};
use crate::directory::sync_directory_of;
use crate::fd_pool::{Descriptor, FileId};
use crate::guard::Guard;
use crate::lock::Lock;
use crate::platform::{self, Strength};
use crate::shm::Shm;
use crate::temp::TempDirectories;

/// A descriptor: from the pool for a database, since locks live on it, and shared by those who share these; its own for every
/// other file.
pub(crate) enum Handle {
    Pooled(Arc<Descriptor>),
    Private(StdFile),
}

impl Handle {
    pub(crate) fn file(&self) -> &StdFile {
        match self {
            Self::Pooled(descriptor) => descriptor.file(),
            Self::Private(file) => file,
        }
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file().as_fd()
    }
}

/// An open file of an [`crate::OsVfs`].
pub struct OsFile {
    pub(crate) handle: Handle,
    /// Empty for a temporary file.
    pub(crate) path: PathBuf,
    pub(crate) kind: FileKind,
    pub(crate) lock: Lock,
    pub(crate) lock_mode: LockMode,
    pub(crate) shm: Option<Shm>,
    pub(crate) sync_mode: SyncMode,
    /// The directory does not yet know of this file for sure.
    pub(crate) sync_directory: bool,
    pub(crate) powersafe_overwrite: bool,
    pub(crate) persist_wal: bool,
    pub(crate) has_batches: bool,
    pub(crate) checksums: Option<PageChecksums>,
    pub(crate) guard: Guard,
    pub(crate) temp: TempDirectories,
    /// Sizes are multiples of it, unless it is 0.
    pub(crate) chunk_size: u64,
}

impl OsFile {
    /// A file without locks and shared memory, in which SQLite may trust as in any other.
    pub(crate) fn new(handle: Handle, path: &Path, kind: FileKind, temp: TempDirectories) -> Self {
        Self {
            handle,
            path: path.to_owned(),
            kind,
            lock: Lock::none(),
            lock_mode: LockMode::None,
            shm: None,
            sync_mode: SyncMode::Auto,
            sync_directory: false,
            powersafe_overwrite: true,
            persist_wal: false,
            has_batches: false,
            checksums: None,
            guard: Guard::default(),
            temp,
            chunk_size: 0,
        }
    }
}

impl File for OsFile {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> Result<usize> {
        if self.lock.is_lost() {
            return Err(Code::IOERR_READ.into());
        }
        let (file, mut read) = (self.handle.file(), 0);
        while read < buf.len() {
            match file.read_at(&mut buf[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(&error)),
            }
        }
        match &mut self.checksums {
            Some(checksums) => {
                checksums.after_read(file, buf, read, offset, Wal::new(self.shm.as_mut(), &self.path))
            }
            None => Ok(read),
        }
    }

    fn write_at(&mut self, buf: &[u8], offset: u64) -> Result<()> {
        let file = self.handle.file();
        let buf = match &mut self.checksums {
            Some(checksums) => {
                checksums.before_write(file, buf, offset, Wal::new(self.shm.as_mut(), &self.path))?
            }
            None => buf,
        };
        write(file, &mut self.guard, buf, offset)
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        let size = if self.chunk_size > 0 { size.next_multiple_of(self.chunk_size) } else { size };
        let file = self.handle.file();
        self.guard.pass(
            file,
            |_| size,
            || {
                rustix::io::retry_on_intr(|| rustix::fs::ftruncate(file, size))
                    .map_err(|error| Error::os(Code::IOERR_TRUNCATE, &error.into()))
            },
        )
    }

    fn sync(&mut self, flags: SyncFlags) -> Result<()> {
        let strength = match self.sync_mode {
            SyncMode::Off => return Ok(()),
            SyncMode::Full => Strength::Full,
            SyncMode::Barrier => Strength::Barrier,
            // What a rollback journal needs is to be there before the pages that it can undo.
            SyncMode::Auto if flags.is_full() && self.kind == FileKind::MainJournal => Strength::Barrier,
            SyncMode::Auto if flags.is_full() => Strength::Full,
            SyncMode::Auto => Strength::Normal,
        };
        platform::sync(self.handle.as_fd(), strength)
            .map_err(|error| Error::os(Code::IOERR_FSYNC, &error))?;
        if std::mem::take(&mut self.sync_directory) {
            // SQLite's own VFS ignores a failure here, too: not every file system can sync a directory.
            let _ = sync_directory_of(&self.path);
        }
        Ok(())
    }

    fn size(&mut self) -> Result<u64> {
        let metadata = self.handle.file().metadata().map_err(|error| Error::os(Code::IOERR_FSTAT, &error))?;
        // SQLite's own VFS takes a file of one byte for an empty one: some systems cannot lock a file that has none.
        let len = if metadata.len() == 1 { 0 } else { metadata.len() };
        Ok(self.checksums.as_ref().map_or(len, |checksums| checksums.size(len)))
    }

    fn lock(&mut self, level: LockLevel) -> Result<()> {
        let before = self.lock.level();
        self.lock.raise(self.handle.as_fd(), level)?;
        if before <= LockLevel::Shared {
            self.checksums.iter_mut().for_each(PageChecksums::lock_changed);
        }
        Ok(())
    }

    fn unlock(&mut self, level: LockLevel) -> Result<()> {
        self.checksums.iter_mut().for_each(PageChecksums::lock_changed);
        self.lock.lower(self.handle.as_fd(), level)?;
        // Its transaction was not alone. The lock is let go all the same.
        if level == LockLevel::None && self.lock.is_lost() { Err(Code::IOERR_UNLOCK.into()) } else { Ok(()) }
    }

    fn check_reserved_lock(&mut self) -> Result<bool> {
        self.lock.is_reserved(self.handle.as_fd())
    }

    fn control(&mut self, control: Control<'_>) -> Result<Reply> {
        let number = |yes: bool| Ok(Reply::Number(yes.into()));
        match control {
            Control::LockState => Ok(Reply::Number(self.lock.level() as i64)),
            Control::SizeHint(bytes) => self.size_hint(u64::try_from(bytes).unwrap_or(0)),
            Control::ChunkSize(bytes) => {
                self.chunk_size = u64::try_from(bytes).unwrap_or(0);
                Ok(Reply::Done)
            }
            Control::PersistWal(wish) => {
                self.persist_wal = wish.unwrap_or(self.persist_wal);
                number(self.persist_wal)
            }
            Control::PowersafeOverwrite(wish) => {
                self.powersafe_overwrite = wish.unwrap_or(self.powersafe_overwrite);
                number(self.powersafe_overwrite)
            }
            Control::VfsName => Ok(Reply::Text(self.lock_mode.name().into())),
            Control::TempFileName => {
                self.temp.name().map(|name| Reply::Text(name.to_string_lossy().into_owned()))
            }
            Control::HasMoved => number(self.has_moved()),
            Control::BeginAtomicWrite => self.batch(Batch::Begin, Code::IOERR_BEGIN_ATOMIC),
            Control::CommitAtomicWrite => self.batch(Batch::Commit, Code::IOERR_COMMIT_ATOMIC),
            Control::RollbackAtomicWrite => self.batch(Batch::Rollback, Code::IOERR_ROLLBACK_ATOMIC),
            Control::LockTimeout(millis) => Ok(self.lock_timeout(millis)),
            Control::BlockOnConnect(wish) => {
                self.shm.iter_mut().for_each(|shm| shm.waits_to_join = wish);
                Ok(Reply::Done)
            }
            Control::ExternalReader => number(self.shm.as_ref().map_or(Ok(false), Shm::has_external_reader)?),
            Control::NullIo => self.let_go_of_content(),
            Control::FileStat => Ok(Reply::Text(self.describe())),
            Control::Pragma { name, value } => self.pragma(name, value),
            Control::CheckpointStart => {
                self.checksums.iter_mut().for_each(PageChecksums::checkpoint_begins);
                Ok(Reply::NotFound)
            }
            // Before the sync of a transaction, also where that is left out.
            Control::CheckpointDone | Control::Sync => self.finish_checksums(),
            // As where memory mapping was left out of SQLite: it is off, and cannot be turned on.
            Control::MmapSize(_) => Ok(Reply::Number(0)),
            Control::SyncOmitted | Control::Overwrite | Control::CommitPhaseTwo | Control::ChecksumFile => {
                Ok(Reply::NotFound)
            }
        }
    }

    fn device_characteristics(&mut self) -> DeviceCharacteristics {
        // Part of a page cannot be verified.
        DeviceCharacteristics::default()
            .with(
                DeviceCharacteristics::SUBPAGE_READ,
                !self.checksums.as_ref().is_some_and(PageChecksums::is_requested),
            )
            .with(DeviceCharacteristics::POWERSAFE_OVERWRITE, self.powersafe_overwrite)
            .with(DeviceCharacteristics::BATCH_ATOMIC, self.has_batches)
    }

    fn shared_memory(&mut self) -> Option<&mut dyn SharedMemory> {
        self.shm.as_mut().map(|shm| shm as &mut dyn SharedMemory)
    }

    fn confirm_lock(&mut self) -> Result<()> {
        // Only a lock that is a name can be removed by somebody else.
        if self.lock_mode == LockMode::Dotfile {
            self.lock.is_reserved(self.handle.as_fd())?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<()> {
        let unlocked = self.lock.lower(self.handle.as_fd(), LockLevel::None);
        let unmapped = self.shm.as_mut().map_or(Ok(()), |shm| shm.unmap(false));
        unlocked.and(unmapped)
    }

    fn abandon(self) {
        self.lock.abandon();
        if let Some(shm) = self.shm {
            shm.abandon();
        }
    }
}

impl OsFile {
    /// Allocates in chunks ahead of a growing file, if that was asked for. Otherwise nothing: a file longer than its database
    /// would surprise whoever goes by its size.
    fn size_hint(&mut self, bytes: u64) -> Result<Reply> {
        if self.chunk_size == 0 {
            return Ok(Reply::Done);
        }
        let (size, wanted) = (self.size()?, bytes.next_multiple_of(self.chunk_size));
        if wanted > size && !matches!(platform::preallocate(self.handle.as_fd(), size, wanted), Ok(true)) {
            // The length at least; SQLite has no use for an error here, since the write itself will fail.
            self.truncate(wanted)?;
        }
        Ok(Reply::Done)
    }

    /// Whether the path means another file by now. Journals are found by the path, so they would be those of that file.
    fn has_moved(&self) -> bool {
        match &self.handle {
            Handle::Pooled(descriptor) => FileId::of(&self.path).ok() != Some(descriptor.id()),
            Handle::Private(_) => false,
        }
    }

    fn batch(&self, batch: Batch, failed: Code) -> Result<Reply> {
        if !self.has_batches {
            return Ok(Reply::NotFound);
        }
        let done = atomic::control(self.handle.as_fd(), batch);
        done.map(|()| Reply::Done).map_err(|error| Error::os(failed, &error))
    }

    fn lock_timeout(&mut self, millis: i32) -> Reply {
        let Some(shm) = &mut self.shm else { return Reply::NotFound };
        let wanted = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        let last = std::mem::replace(&mut shm.timeout, wanted);
        Reply::Number(i64::try_from(last.as_millis()).unwrap_or(i64::MAX))
    }

    /// From here on the file is empty and takes no writes; for a database whose disk is gone and must not be waited for.
    fn let_go_of_content(&mut self) -> Result<Reply> {
        let mut options = fs::OpenOptions::new();
        let nothing =
            crate::fd_pool::open_above_stderr(options.read(true).write(true), Path::new("/dev/null"))
                .map_err(|error| Error::os(Code::IOERR, &error))?;
        self.lock.lower(self.handle.as_fd(), LockLevel::None)?;
        self.handle = Handle::Private(nothing);
        self.lock = Lock::none();
        Ok(Reply::Done)
    }

    /// Everything of a transaction, or of a checkpoint, is written.
    fn finish_checksums(&mut self) -> Result<Reply> {
        let Some(checksums) = &mut self.checksums else { return Ok(Reply::NotFound) };
        let (file, guard) = (self.handle.file(), &mut self.guard);
        checksums.finish(file, |page, offset| write(file, guard, page, offset))?;
        Ok(Reply::NotFound)
    }

    fn pragma(&mut self, name: &str, value: Option<&str>) -> Result<Reply> {
        if name.eq_ignore_ascii_case("ltx_lock") {
            return Ok(Reply::Text(self.lock_mode.name().into()));
        }
        if name.eq_ignore_ascii_case("ltx_file") {
            return Ok(Reply::Text(self.file_id()));
        }
        if name.eq_ignore_ascii_case("ltx_unwritten_since") {
            let is_understood = value.is_none_or(|stamp| self.guard.close(stamp));
            let refusal =
                || Reply::Refused("ltx_unwritten_since takes device:inode:mtime:ctime:size, or ''".into());
            return Ok(if is_understood { Reply::Text(self.guard.stamp()) } else { refusal() });
        }
        if name.eq_ignore_ascii_case("ltx_shm") {
            return Ok(Reply::Text(self.shm.as_ref().map_or("none", Shm::mode_name).into()));
        }
        match &mut self.checksums {
            Some(checksums) => checksums.pragma(self.handle.file(), name, value),
            None => Ok(Reply::NotFound),
        }
    }

    /// Which file is open here, whatever its path means by now.
    fn file_id(&self) -> String {
        match &self.handle {
            Handle::Pooled(descriptor) => descriptor.id().to_string(),
            Handle::Private(_) => String::new(),
        }
    }

    fn describe(&self) -> String {
        format!(
            r#"{{"lock":"{}","level":{},"shm":"{}","psow":{},"chunk":{},"batches":{}}}"#,
            self.lock_mode.name(),
            self.lock.level() as u8,
            self.shm.as_ref().map_or("none", Shm::mode_name),
            self.powersafe_overwrite,
            self.chunk_size,
            self.has_batches,
        )
    }
}

fn write(file: &StdFile, guard: &mut Guard, buf: &[u8], offset: u64) -> Result<()> {
    let end = offset + buf.len() as u64;
    guard.pass(file, |size| size.max(end), || file.write_all_at(buf, offset).map_err(write_error))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn write_error(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => Error::os(Code::FULL, &error),
        _ if error.kind() == io::ErrorKind::WriteZero => Code::FULL.into(),
        _ => Error::os(Code::IOERR_WRITE, &error),
    }
}

fn read_error(error: &io::Error) -> Error {
    let code = match error.raw_os_error() {
        Some(libc::EIO | libc::ENXIO | libc::ERANGE) => Code::IOERR_CORRUPTFS,
        _ => Code::IOERR_READ,
    };
    Error::os(code, error)
}
