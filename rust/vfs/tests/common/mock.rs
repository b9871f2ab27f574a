//! A file system in memory. Before every method a hook runs, which may fail or panic in its place.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vfs::{
    AccessKind, Code, Control, DeviceCharacteristics, FileKind, FullPath, LockLevel, MappedRegion, OpenFlags,
    OpenRequest, Opened, Reply, Result, SharedMemory, ShmLock, SyncFlags, Vfs,
};

use super::disk::{Disk, Id, Inode, locked};

type Hook = Arc<dyn Fn(&'static str, &Path) -> Result<()> + Send + Sync>;
type Answer = Arc<dyn Fn(Control<'_>) -> Option<Result<Reply>> + Send + Sync>;

/// Answers that a well-behaved file system would not give.
#[derive(Clone, Copy, Default)]
pub struct Tweaks {
    pub sector_size: Option<u32>,
    pub device_characteristics: DeviceCharacteristics,
    pub size: Option<u64>,
    /// How much `read_at` and `randomness` claim to have filled.
    pub filled: Option<usize>,
    pub map_code: Option<Code>,
    pub is_map_absent: bool,
    pub slept: Option<Duration>,
}

/// Path, and the URI parameters `key` and `flag`.
pub type Parameters = (PathBuf, Option<String>, Option<bool>);

#[derive(Default)]
pub struct Shared {
    pub disk: Disk,
    hook: Mutex<Option<Hook>>,
    answer: Mutex<Option<Answer>>,
    pub tweaks: Mutex<Tweaks>,
    pub log_at_open: Mutex<Option<String>>,
    /// What each open got.
    pub parameters: Mutex<Vec<Parameters>>,
    has_shared_memory: bool,
    pub live: AtomicUsize,
    pub closed: AtomicUsize,
    pub abandoned: AtomicUsize,
}

#[derive(Clone)]
pub struct Mock(pub Arc<Shared>);

impl Mock {
    /// With shared memory for every database.
    pub fn new() -> Self {
        Self(Arc::new(Shared { has_shared_memory: true, ..Shared::default() }))
    }

    pub fn without_shared_memory() -> Self {
        Self(Arc::new(Shared::default()))
    }

    /// `hook` runs before every method.
    pub fn set_hook(&self, hook: impl Fn(&'static str, &Path) -> Result<()> + Send + Sync + 'static) {
        *locked(&self.0.hook) = Some(Arc::new(hook));
    }

    pub fn clear_hook(&self) {
        *locked(&self.0.hook) = None;
    }

    /// `answer` gets the first say on every file control.
    pub fn set_answer(&self, answer: impl Fn(Control<'_>) -> Option<Result<Reply>> + Send + Sync + 'static) {
        *locked(&self.0.answer) = Some(Arc::new(answer));
    }

    pub fn tweak(&self, change: impl FnOnce(&mut Tweaks)) {
        change(&mut locked(&self.0.tweaks));
    }

    pub fn live(&self) -> usize {
        self.0.live.load(Ordering::SeqCst)
    }

    fn before(&self, operation: &'static str, path: &Path) -> Result<()> {
        // Out of the lock first: the hook may panic.
        let hook = locked(&self.0.hook).clone();
        hook.map_or(Ok(()), |hook| hook(operation, path))
    }

    fn tweaks(&self) -> Tweaks {
        *locked(&self.0.tweaks)
    }

    fn note_parameters(&self, request: &OpenRequest<'_>) {
        let Some(name) = request.name else { return };
        let key = name.parameter(c"key").map(|value| value.to_string_lossy().into_owned());
        locked(&self.0.parameters).push((name.path().to_owned(), key, name.flag(c"flag")));
    }

    fn inode(&self, path: Option<&Path>, flags: OpenFlags) -> Result<Arc<Inode>> {
        match path {
            None => Ok(Arc::default()),
            Some(path) if flags.has(OpenFlags::CREATE) => Ok(self.0.disk.find_or_create(path)),
            Some(path) => self.0.disk.find(path).ok_or(Code::CANTOPEN.into()),
        }
    }
}

impl Vfs for Mock {
    type File = MockFile;

    const MAX_PATHNAME: usize = 512;

    fn open(&self, request: OpenRequest<'_>) -> Result<Opened<MockFile>> {
        let path = request.name.map(|name| name.path());
        self.before("open", path.unwrap_or(Path::new("")))?;
        if let Some(text) = &*locked(&self.0.log_at_open) {
            request.log.warn(text);
        }
        self.note_parameters(&request);
        let inode = self.inode(path, request.flags)?;
        self.0.live.fetch_add(1, Ordering::SeqCst);
        let file = MockFile {
            mock: self.clone(),
            inode,
            id: self.0.disk.next_id(),
            path: path.map_or_else(PathBuf::new, Path::to_owned),
            is_deleted_on_close: request.flags.has(OpenFlags::DELETE_ON_CLOSE),
            has_shared_memory: self.0.has_shared_memory && request.flags.kind() == FileKind::MainDb,
            is_wal_kept: false,
            is_powersafe: true,
            is_abandoned: false,
        };
        Ok(Opened { file, flags: request.flags })
    }

    fn delete(&self, path: &Path, _sync_directory: bool) -> Result<()> {
        self.before("delete", path)?;
        if self.0.disk.remove(path) { Ok(()) } else { Err(Code::IOERR_DELETE_NOENT.into()) }
    }

    fn access(&self, path: &Path, _kind: AccessKind) -> Result<bool> {
        self.before("access", path)?;
        Ok(self.0.disk.find(path).is_some())
    }

    /// What stands in the folder `link-` is a link to the file of that name.
    fn full_pathname(&self, path: &Path) -> Result<FullPath> {
        self.before("full_pathname", path)?;
        let target = path.strip_prefix("link-").ok();
        Ok(FullPath { path: Path::new("/").join(target.unwrap_or(path)), was_symlink: target.is_some() })
    }

    fn randomness(&self, buf: &mut [u8]) -> usize {
        let _ = self.before("randomness", Path::new(""));
        buf.fill(7);
        self.tweaks().filled.unwrap_or(buf.len())
    }

    fn sleep(&self, duration: Duration) -> Duration {
        let _ = self.before("sleep", Path::new(""));
        // SQLite's busy handler counts what it asked for as slept.
        std::thread::sleep(duration);
        self.tweaks().slept.unwrap_or(duration)
    }
}

pub struct MockFile {
    mock: Mock,
    inode: Arc<Inode>,
    id: Id,
    path: PathBuf,
    is_deleted_on_close: bool,
    has_shared_memory: bool,
    is_wal_kept: bool,
    is_powersafe: bool,
    is_abandoned: bool,
}

impl MockFile {
    fn before(&self, operation: &'static str) -> Result<()> {
        self.mock.before(operation, &self.path)
    }
}

/// Asks, or changes and then tells.
fn tri_state(value: &mut bool, wanted: Option<bool>) -> Reply {
    *value = wanted.unwrap_or(*value);
    Reply::Number((*value).into())
}

impl vfs::File for MockFile {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.before("read")?;
        let data = locked(&self.inode.data);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        let count = buf.len().min(data.len() - start);
        buf[..count].copy_from_slice(&data[start..start + count]);
        Ok(self.mock.tweaks().filled.unwrap_or(count))
    }

    fn write_at(&mut self, buf: &[u8], offset: u64) -> Result<()> {
        self.before("write")?;
        let mut data = locked(&self.inode.data);
        let start = usize::try_from(offset).map_err(|_| Code::FULL)?;
        let end = start.checked_add(buf.len()).ok_or(Code::FULL)?;
        if data.len() < end {
            data.resize(end, 0);
        }
        data[start..end].copy_from_slice(buf);
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        self.before("truncate")?;
        locked(&self.inode.data).resize(usize::try_from(size).map_err(|_| Code::FULL)?, 0);
        Ok(())
    }

    fn sync(&mut self, _flags: SyncFlags) -> Result<()> {
        self.before("sync")
    }

    fn size(&mut self) -> Result<u64> {
        self.before("size")?;
        Ok(self.mock.tweaks().size.unwrap_or(locked(&self.inode.data).len() as u64))
    }

    fn lock(&mut self, level: LockLevel) -> Result<()> {
        self.before("lock")?;
        locked(&self.inode.locks).lock(self.id, level)
    }

    fn unlock(&mut self, level: LockLevel) -> Result<()> {
        self.before("unlock")?;
        locked(&self.inode.locks).unlock(self.id, level);
        Ok(())
    }

    fn check_reserved_lock(&mut self) -> Result<bool> {
        self.before("check_reserved_lock")?;
        Ok(locked(&self.inode.locks).is_reserved())
    }

    fn control(&mut self, control: Control<'_>) -> Result<Reply> {
        self.before("control")?;
        let answer = locked(&self.mock.0.answer).clone();
        if let Some(reply) = answer.and_then(|answer| answer(control)) {
            return reply;
        }
        Ok(match control {
            Control::LockState => Reply::Number(locked(&self.inode.locks).level(self.id) as i64),
            Control::PersistWal(wanted) => tri_state(&mut self.is_wal_kept, wanted),
            Control::PowersafeOverwrite(wanted) => tri_state(&mut self.is_powersafe, wanted),
            _ => Reply::NotFound,
        })
    }

    fn sector_size(&mut self) -> u32 {
        let _ = self.before("sector_size");
        self.mock.tweaks().sector_size.unwrap_or(4096)
    }

    fn device_characteristics(&mut self) -> DeviceCharacteristics {
        let _ = self.before("device_characteristics");
        self.mock.tweaks().device_characteristics
    }

    fn shared_memory(&mut self) -> Option<&mut dyn SharedMemory> {
        let _ = self.before("shared_memory");
        if self.has_shared_memory { Some(self) } else { None }
    }

    fn close(self) -> Result<()> {
        self.mock.0.closed.fetch_add(1, Ordering::SeqCst);
        if self.is_deleted_on_close {
            self.mock.0.disk.remove(&self.path);
        }
        self.before("close")
    }

    fn abandon(mut self) {
        self.is_abandoned = true;
        self.mock.0.abandoned.fetch_add(1, Ordering::SeqCst);
        let _ = self.before("abandon");
    }
}

// SAFETY: regions are boxes of `size` bytes that live as long as the shared state, which every open file of it holds.
unsafe impl SharedMemory for MockFile {
    fn map(&mut self, index: u32, size: u32, extend: bool) -> Result<MappedRegion> {
        self.before("map")?;
        let mut region = locked(&self.inode.shm).map(self.id, index, size, extend);
        if self.mock.tweaks().is_map_absent {
            region = MappedRegion::ABSENT;
        }
        Ok(MappedRegion { code: self.mock.tweaks().map_code.unwrap_or(region.code), ..region })
    }

    fn lock(&mut self, lock: ShmLock) -> Result<()> {
        self.before("shm_lock")?;
        locked(&self.inode.shm).lock(self.id, lock)
    }

    fn unlock(&mut self, lock: ShmLock) -> Result<()> {
        self.before("shm_unlock")?;
        locked(&self.inode.shm).unlock(self.id, lock);
        Ok(())
    }

    fn barrier(&mut self) {
        let _ = self.before("barrier");
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    fn unmap(&mut self, _delete: bool) -> Result<()> {
        self.before("unmap")?;
        locked(&self.inode.shm).leave(self.id);
        Ok(())
    }
}

impl Drop for MockFile {
    /// Locks go here, so that they go even if `close` panics; but not those that a parent process holds.
    fn drop(&mut self) {
        self.mock.0.live.fetch_sub(1, Ordering::SeqCst);
        if !self.is_abandoned {
            locked(&self.inode.locks).unlock(self.id, LockLevel::None);
            locked(&self.inode.shm).leave(self.id);
        }
    }
}
