//! A wal-index in the `-shm` file: mapped by every process, locked between them.
//!
//! The connections of one process share a descriptor, its locks and its memory, and count among themselves who holds what.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use vfs::{Code, Error, MappedRegion, Result, ShmLock};

use super::file::ShmFile;
use super::slots::{Counts, Held, Outside};
use super::{Plan, Slots, runs};
use crate::fcntl::{Kind, Owner};
use crate::fd_pool::FileId;
use crate::mmap::Mapping;
use crate::per_process::{PerProcess, lock};

static FILES: PerProcess<SharedFile, Key> = PerProcess::new();

/// Connections share what they lock for one owner, and may use in the same way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    database: FileId,
    owner: Owner,
    read_only: bool,
}

/// What the connections of this process share.
struct SharedFile {
    /// Each of `regions_per_mapping` regions. Before the file: no lock may be kept by memory.
    mappings: Vec<Mapping>,
    file: ShmFile,
    counts: Counts,
}

/// One connection's part in it.
pub(super) struct MappedShm {
    key: Key,
    shared: Arc<Mutex<SharedFile>>,
    path: PathBuf,
    held: Held,
}

impl MappedShm {
    pub(super) fn open(plan: &Plan) -> Result<Self> {
        // Locks of the process are one set, however the file was opened.
        let read_only = plan.read_only && plan.owner == Owner::Description;
        let key = Key { database: plan.database, owner: plan.owner, read_only };
        let shared = match FILES.find(&key) {
            Some(shared) => shared,
            // Opened while no other file has to wait for it; if a sibling is faster, ours is let go, unused.
            None => {
                let file = ShmFile::open(plan)?;
                let new = SharedFile { mappings: Vec::new(), file, counts: Counts::default() };
                FILES.get(key, || Ok::<_, Error>(new))?
            }
        };
        Ok(Self { key, shared, path: plan.path.clone(), held: Held::default() })
    }

    pub(super) fn map(&mut self, index: u32, size: u32, extend: bool) -> Result<MappedRegion> {
        let SharedFile { mappings, file, .. } = &mut *lock(&self.shared);
        file.join()?;
        let code = if file.is_read_only { Code::READONLY } else { Code::OK };
        let (index, size) = (index as usize, size as usize);
        // A mapping begins at a page, and a page may be larger than a region.
        let per_mapping = (rustix::param::page_size() / size.max(1)).max(1);
        let len = per_mapping * size;
        while mappings.len() * per_mapping <= index {
            let offset = (mappings.len() * len) as u64;
            if !file.has_bytes(offset + len as u64, extend)? {
                return Ok(MappedRegion { code, ..MappedRegion::ABSENT });
            }
            mappings.push(file.map(offset, len)?);
        }
        Ok(MappedRegion { address: mappings[index / per_mapping].at(index % per_mapping * size), code })
    }

    pub(super) fn has_external_reader(&self) -> Result<bool> {
        lock(&self.shared).file.has_external_reader()
    }

    /// Lets the locks go; the last connection unmaps, and deletes the file if `delete`. It is deleted before the dead man's
    /// switch is let go: whoever came in between would have a file without a name.
    pub(super) fn close(mut self, delete: bool) -> Result<()> {
        let unlocked = self.unlock_all();
        let (mut ended, mut last) = (Ok(()), None);
        // Before a sibling can open it: if the locks are those of the process, its would be let go as well.
        FILES.release(self.key, self.shared, |SharedFile { mappings, file, .. }| {
            drop(mappings);
            let deleted = if delete { remove(&self.path) } else { Ok(()) };
            ended = file.unlock_all().and(deleted);
            last = Some(file);
        });
        drop(last);
        unlocked.and(ended)
    }

    fn unlock_all(&mut self) -> Result<()> {
        let Held { shared, exclusive } = self.held;
        for (mask, is_exclusive) in [(exclusive, true), (shared, false)] {
            for (first, count) in runs(mask) {
                self.unlock(ShmLock { first, count, is_exclusive })?;
            }
        }
        Ok(())
    }

    pub(super) fn abandon(self) {
        std::mem::forget(self.shared);
    }
}

impl Outside for &ShmFile {
    fn take(&mut self, mask: u8, is_exclusive: bool) -> Result<()> {
        let kind = if is_exclusive { Kind::Write } else { Kind::Read };
        runs(mask).try_for_each(|(first, count)| self.lock_slots(first, count, kind))
    }

    fn let_go(&mut self, mask: u8) -> Result<()> {
        runs(mask).try_for_each(|(first, count)| self.lock_slots(first, count, Kind::Unlock))
    }
}

impl Slots for MappedShm {
    fn try_lock(&mut self, wanted: ShmLock) -> Result<()> {
        let SharedFile { file, counts, .. } = &mut *lock(&self.shared);
        counts.try_lock(&mut self.held, wanted, &mut &*file)
    }

    fn unlock(&mut self, unwanted: ShmLock) -> Result<()> {
        let SharedFile { file, counts, .. } = &mut *lock(&self.shared);
        counts.unlock(&mut self.held, unwanted, &mut &*file)
    }
}

fn remove(path: &std::path::Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::os(Code::IOERR, &error)),
        _ => Ok(()),
    }
}
