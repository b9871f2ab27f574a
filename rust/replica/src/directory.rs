//! Objects in a directory: a file for each, named by its key.
//!
//! Files are staged under a name that no listing shows, made durable, and then appear whole under their own name
//! (`durable`).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use durable::{Commit, Rights, Staged, create_dirs, modified_millis, parent, set_time, sync_dir};
use ltx::Timestamp;

use crate::object_store::{Capabilities, IfTaken, Location, Object, ObjectStore, Span};
use crate::source::{FileSpan, open_source, read_full};

/// Who may use what is created: the owner alone, as nothing is known about the rights of the database.
const RIGHTS: Rights = Rights::PRIVATE;

/// How many bytes are copied at a time.
const COPY_BLOCK: usize = 256 << 10;

/// A directory on a local or mounted file system.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directory `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// The directory of an object, made if it is missing.
    fn make_folder(&self, key: &str) -> io::Result<()> {
        create_dirs(parent(&self.path(key)), RIGHTS)
    }

    /// Stores what `fill` writes, whole or not at all, and durably; the size in bytes.
    fn publish(
        &self,
        key: &str,
        taken: IfTaken,
        time: Timestamp,
        fill: impl FnOnce(&mut Staged) -> io::Result<u64>,
    ) -> io::Result<u64> {
        self.make_folder(key)?;
        let mut staged = Staged::new(&self.path(key), RIGHTS)?;
        let size = fill(&mut staged)?;
        set_time(staged.file(), time.millis())?;
        let how = match taken {
            IfTaken::Replace => Commit::Replace,
            IfTaken::Keep => Commit::IfAbsent,
        };
        match staged.commit(how) {
            Ok(_) => Ok(size),
            Err(refused) if refused.is_taken() => {
                self.taken(key, refused.staged.staging(), refused.source).map(|()| size)
            }
            Err(failed) => Err(failed.source),
        }
    }

    /// The key is taken: by the same bytes as those at `path`, which is as good as having written them, or by others.
    fn taken(&self, key: &str, path: &Path, error: io::Error) -> io::Result<()> {
        if !same_content(path, &self.path(key))? {
            return Err(error);
        }
        // Whoever wrote it may have been killed before its name was durable.
        sync_dir(parent(&self.path(key)))
    }
}

impl ObjectStore for Directory {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn exists(&self) -> bool {
        self.root.exists()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { lists_one_moment: false, is_local: true }
    }

    fn init(&self, prefixes: &[String]) -> Result<(), (Option<String>, io::Error)> {
        // What a listing shows counts as stored, and who gave it its name may have been killed before that was durable.
        let sync = |dir: &Path, prefix: Option<&String>| match sync_dir(dir) {
            Err(error) if !is_out_of_reach(&error) => Err((prefix.cloned(), error)),
            _ => Ok(()),
        };
        sync(parent(&self.root), None)?;
        sync(&self.root, None)?;
        prefixes.iter().try_for_each(|prefix| sync(&self.path(prefix), Some(prefix)))
    }

    fn list(&self, folder: &str, start: &str) -> io::Result<Vec<Object>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut objects = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| *name >= start) else { continue };
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.is_file() {
                let modified = Timestamp::from_millis(modified_millis(&metadata));
                objects.push(Object { key: format!("{folder}{name}"), size: metadata.len(), modified });
            }
        }
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    fn open(&self, key: &str, span: Span) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(FileSpan::open(&self.path(key), span)?))
    }

    fn write(&self, key: &str, data: &mut dyn Read, taken: IfTaken, time: Timestamp) -> io::Result<u64> {
        self.publish(key, taken, time, |staged| fill(staged, data))
    }

    fn write_file(&self, key: &str, file: &mut File, taken: IfTaken, time: Timestamp) -> io::Result<u64> {
        // From file to file, which the kernel does by itself: a file system that can share blocks until one of both is changed does.
        self.publish(key, taken, time, |staged| io::copy(file, &mut staged.file()))
    }

    fn delete(&self, keys: &[String]) -> Vec<(String, io::Error)> {
        let removed = keys.iter().map(|key| (key, fs::remove_file(self.path(key))));
        let failed = removed.filter_map(|(key, removed)| removed.err().map(|error| (key.clone(), error)));
        failed.filter(|(_, error)| error.kind() != io::ErrorKind::NotFound).collect()
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn locate(&self, key: &str) -> Option<Location> {
        Some(Location::Path(self.path(key)))
    }
}

/// Writes all of `data`; the size in bytes.
fn fill(staged: &mut Staged, data: &mut dyn Read) -> io::Result<u64> {
    let (mut size, mut block) = (0, vec![0; COPY_BLOCK]);
    loop {
        let (n, read) = read_full(data, &mut block);
        read?;
        staged.write_all(&block[..n])?;
        size += n as u64;
        if n < block.len() {
            return Ok(size);
        }
    }
}

/// Whether two files are the same, byte for byte.
fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (open_source(one)?, open_source(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let (n, read) = read_full(&mut one, &mut a);
        read?;
        let (m, read) = read_full(&mut other, &mut b);
        read?;
        if a[..n] != b[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

/// Whether a directory is not there, or none that we write to.
fn is_out_of_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
}
