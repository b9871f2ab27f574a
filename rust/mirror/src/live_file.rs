//! The descriptors of databases that follow a replica: one for each file and process, never closed.
//!
//! POSIX locks belong to a process and a file. To close any descriptor of a database drops the locks of every connection that
//! this process has to it (`docs/locking.md`), so that what was opened here stays open. The exception is a file that
//! has no name any more.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use forks::{ProcessLocal, UnsharedFile, open_unshared};

type Files = HashMap<(u64, u64), LiveFile>;

/// An open database. A forked child does not share it, nor the locks that are taken through it.
#[derive(Clone, Debug)]
pub(super) struct LiveFile(Arc<UnsharedFile>);

impl Deref for LiveFile {
    type Target = File;

    fn deref(&self) -> &File {
        self.0.file()
    }
}

/// The descriptor, for reading and writing, of the file that `path` names now.
pub(super) fn open(path: &Path) -> io::Result<LiveFile> {
    static FILES: ProcessLocal<Mutex<Files>> = ProcessLocal::new(Mutex::default);
    let mut files = FILES.get().lock().unwrap_or_else(PoisonError::into_inner);
    files.retain(|_, file| Arc::strong_count(&file.0) > 1 || has_name(file));
    let metadata = fs::metadata(path)?;
    if let Some(file) = files.get(&(metadata.dev(), metadata.ino())) {
        return Ok(file.clone());
    }
    let file = LiveFile(Arc::new(open_unshared(|| open_once(path), std::mem::forget)?));
    // A file that took the name between the two looks may be known already; then both descriptors stay open.
    if let Some(known) = files.insert(file.0.identity(), file.clone()) {
        std::mem::forget(known);
    }
    Ok(file)
}

fn has_name(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}

#[expect(clippy::disallowed_methods, reason = "opened once, and never closed while it has a name")]
fn open_once(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}
