//! A wal-index in the `-shm` file: mapped by every process, locked between them.
//!
//! With locks of the open file description each connection has a descriptor of its own, and the kernel keeps all connections of
//! all processes apart. With locks of the process its connections share one descriptor, and count.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use vfs::{Code, Error, MappedRegion, Result, ShmLock};

use super::file::ShmFile;
use super::slots::{Counts, Held, Outside};
use super::{Plan, Slots, runs};
use crate::fcntl::{Kind, Owner};
use crate::mmap::Mapping;
use crate::per_process::{PerProcess, lock};

static FILES: PerProcess<SharedFile> = PerProcess::new();

/// What the connections of this process share.
struct SharedFile {
    file: ShmFile,
    counts: Counts,
}

enum Backing {
    Own(ShmFile),
    Shared(Arc<Mutex<SharedFile>>),
}

/// One connection's part in it.
pub(super) struct MappedShm {
    backing: Backing,
    path: PathBuf,
    /// Each of `regions_per_mapping` regions.
    mappings: Vec<Mapping>,
    held: Held,
}

impl MappedShm {
    pub(super) fn open(plan: &Plan) -> Result<Self> {
        let file = ShmFile::open(plan)?;
        let backing = match plan.owner {
            Owner::Description => Backing::Own(file),
            Owner::Process => {
                // If the process has it open already, ours goes back to the pool, unused.
                let id = file.id();
                Backing::Shared(
                    FILES.get(id, || Ok::<_, Error>(SharedFile { file, counts: Counts::default() }))?,
                )
            }
        };
        Ok(Self { backing, path: plan.path.clone(), mappings: Vec::new(), held: Held::default() })
    }

    fn with_file<T>(&mut self, work: impl FnOnce(&mut ShmFile) -> T) -> T {
        match &mut self.backing {
            Backing::Own(file) => work(file),
            Backing::Shared(shared) => work(&mut lock(shared).file),
        }
    }

    pub(super) fn map(&mut self, index: u32, size: u32, extend: bool) -> Result<MappedRegion> {
        self.with_file(ShmFile::join)?;
        let (index, size) = (index as usize, size as usize);
        // A mapping begins at a page, and a page may be larger than a region.
        let per_mapping = (rustix::param::page_size() / size.max(1)).max(1);
        while self.mappings.len() * per_mapping <= index {
            let mapped = self.mappings.len();
            let len = per_mapping * size;
            let wanted = ((mapped + 1) * len) as u64;
            let mapping = self.with_file(|file| {
                if !file.has_bytes(wanted, extend)? {
                    return Ok(None);
                }
                file.map((mapped * len) as u64, len).map(Some)
            })?;
            match mapping {
                Some(mapping) => self.mappings.push(mapping),
                None => return Ok(self.region(std::ptr::null_mut())),
            }
        }
        let address = self.mappings[index / per_mapping].at(index % per_mapping * size);
        Ok(self.region(address))
    }

    fn region(&mut self, address: *mut u8) -> MappedRegion {
        let is_read_only = self.with_file(|file| file.is_read_only);
        MappedRegion { address, code: if is_read_only { Code::READONLY } else { Code::OK } }
    }

    pub(super) fn has_external_reader(&self) -> Result<bool> {
        match &self.backing {
            Backing::Own(file) => file.has_external_reader(),
            Backing::Shared(shared) => lock(shared).file.has_external_reader(),
        }
    }

    /// Unmaps, lets the locks go, and deletes the file if `delete` and no sibling uses it. It is deleted before the dead man's
    /// switch is let go: whoever came in between would have a file without a name.
    pub(super) fn close(mut self, delete: bool) -> Result<()> {
        self.mappings.clear();
        let unlocked = self.unlock_all();
        let path = self.path;
        let end = |file: ShmFile| {
            let deleted = if delete { remove(&path) } else { Ok(()) };
            file.close().and(deleted)
        };
        let mut ended = Ok(());
        match self.backing {
            Backing::Own(file) => ended = end(file),
            Backing::Shared(shared) => FILES.release(shared, |shared| ended = end(shared.file)),
        }
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
        match self.backing {
            // The pool knows an inherited descriptor.
            Backing::Own(file) => drop(file),
            Backing::Shared(shared) => std::mem::forget(shared),
        }
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
        match &mut self.backing {
            Backing::Own(file) => {
                if self.held.of(wanted) == wanted.mask() {
                    return Ok(());
                }
                let kind = if wanted.is_exclusive { Kind::Write } else { Kind::Read };
                file.lock_slots(wanted.first, wanted.count, kind)?;
                self.held.add(wanted);
                Ok(())
            }
            Backing::Shared(shared) => {
                let SharedFile { file, counts } = &mut *lock(shared);
                counts.try_lock(&mut self.held, wanted, &mut &*file)
            }
        }
    }

    fn unlock(&mut self, unwanted: ShmLock) -> Result<()> {
        match &mut self.backing {
            Backing::Own(file) => {
                let mut outside = &*file;
                outside.let_go(self.held.of(unwanted))?;
                self.held.remove(unwanted);
                Ok(())
            }
            Backing::Shared(shared) => {
                let SharedFile { file, counts } = &mut *lock(shared);
                counts.unlock(&mut self.held, unwanted, &mut &*file)
            }
        }
    }
}

fn remove(path: &std::path::Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::os(Code::IOERR, &error)),
        _ => Ok(()),
    }
}
