//! A file under a name that nobody looks at, until it is whole and durable.

use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ltx::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::client::read_full;
use crate::file_client::{create_new, sync_parent};

/// Access rights of staged replica files: the owner's only, as nothing is known about the database's.
const FILE_MODE: u32 = 0o600;

/// How many bytes are copied at a time.
const COPY_BLOCK: usize = 256 << 10;

/// Tells the temporary names of one process apart.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A suffix that no other staged file has: process id, then a number within the process.
pub(crate) fn unique_suffix() -> String {
    format!("{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Creates a file whose name is made by `name` from a unique suffix.
pub(crate) fn create_unique(mode: u32, name: impl Fn(&str) -> PathBuf) -> io::Result<(File, PathBuf)> {
    loop {
        let path = name(&unique_suffix());
        match create_new(&path, mode) {
            // A process of the same id, before a reboot or in another container, may have left one behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (file, path)),
        }
    }
}

/// Gives `file` owner, group and access rights of another one, as far as this process may: only root gives files away, and a group
/// is set by those who are in it. Whoever may not use the other one may not use it either, but for its owner.
pub(crate) fn give_rights_of(other: &Metadata, file: &File) -> io::Result<()> {
    let _ = fchown(file, Some(other.uid()), None);
    let has_group = file.metadata()?.gid() == other.gid() || fchown(file, None, Some(other.gid())).is_ok();
    // Without set-id bits: they would be of another owner.
    let mode = other.mode() & 0o777;
    let mode = if has_group { mode } else { vfs::mode_in_another_group(mode) };
    file.set_permissions(Permissions::from_mode(mode))
}

/// A staged file; it is removed when dropped before it was published.
pub(crate) struct Stage {
    file: File,
    path: PathBuf,
    /// Another number now means that the parent of this process is still writing it.
    forks: u64,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nothing depends on it: the name does not parse as an LTX file name. Fails after a rename, as it should.
        if self.forks == vfs::fork_generation() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Stage {
    /// Starts a file that will be called `name` in `dir`.
    pub(crate) fn create(dir: &Path, name: &str) -> io::Result<Self> {
        let (file, path) = create_unique(FILE_MODE, |suffix| dir.join(format!("{name}.{suffix}.tmp")))?;
        Ok(Self { file, path, forks: vfs::fork_generation() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `start` and all of `data`; returns the size in bytes.
    pub(crate) fn fill(&mut self, start: &[u8], data: &mut dyn Read) -> io::Result<u64> {
        self.file.write_all(start)?;
        let mut size = start.len() as u64;
        let mut block = vec![0; COPY_BLOCK];
        loop {
            let (n, read) = read_full(data, &mut block);
            read?;
            self.file.write_all(&block[..n])?;
            size += n as u64;
            if n < block.len() {
                return Ok(size);
            }
        }
    }

    /// Gives the file its time and makes it durable.
    pub(crate) fn seal(&self, time: Timestamp) -> io::Result<()> {
        seal(&self.file, time)
    }

    /// Gives the file its own name, whatever has it now.
    pub(crate) fn replace(self, path: &Path) -> Result<(), (Self, io::Error)> {
        let done = fs::rename(&self.path, path).and_then(|()| sync_parent(path));
        done.map_err(|error| (self, error))
    }

    /// Gives the file its own name; `AlreadyExists` if that is taken.
    pub(crate) fn publish_new(self, path: &Path) -> Result<(), (Self, io::Error)> {
        let done = rename_new(&self.path, path).and_then(|()| sync_parent(path));
        done.map_err(|error| (self, error))
    }
}

/// Sets the times that listings show, and makes the file durable together with them.
pub(crate) fn seal(file: &File, time: Timestamp) -> io::Result<()> {
    let distance = Duration::from_millis(time.millis().unsigned_abs());
    let time: Option<SystemTime> =
        if time.millis() < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    if let Some(time) = time {
        file.set_times(FileTimes::new().set_accessed(time).set_modified(time))?;
    }
    file.sync_all()
}

/// Renames without ever replacing: in one step where the file system can, else by a hard link.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Err(error) if is_unsupported(&error) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => renamed,
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
