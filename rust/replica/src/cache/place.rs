//! Whose a directory is: only one that is marked as a cache is used, and only one that nobody else may change.
//!
//! The mark is a file as <https://bford.info/cachedir/> has it, so that backups leave the cache out. It is written to a directory that
//! is new or empty, and it is there before anything else is.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::names::is_replica;

/// The name of the mark, and what it has in it.
const MARK: &str = "CACHEDIR.TAG";
const TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
                    # Cache of ltxcore restores. ltxcore may delete what is in this directory.\n";

/// Makes the directory of a replica in that of a cache.
pub(super) fn take(path: &Path, replica: &str) -> io::Result<()> {
    if !is_replica(replica) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no name of a replica: {replica}")));
    }
    let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
    make(path)?;
    durable::check_private(path)?;
    mark(path)?;
    let folder = path.join(replica);
    make(&folder)?;
    if !fs::symlink_metadata(&folder)?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{replica} in it is a link")));
    }
    durable::check_private(&folder)
}

/// Marks a directory, unless it is marked.
fn mark(path: &Path) -> io::Result<()> {
    if is_marked(path)? {
        return Ok(());
    }
    if is_empty(path)? {
        return write_mark(path);
    }
    // Another process may have marked it meanwhile.
    if is_marked(path)? {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::DirectoryNotEmpty,
        "it has other files in it and is not marked as a cache: name a directory that is new or empty",
    ))
}

fn is_marked(path: &Path) -> io::Result<bool> {
    let mut found = Vec::new();
    if let Some(file) = durable::open_plain(&path.join(MARK))? {
        file.take(TEXT.len() as u64).read_to_end(&mut found)?;
    }
    Ok(found == TEXT.as_bytes())
}

/// Whether nothing is in a directory but marks on their way.
fn is_empty(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        if !entry?.file_name().to_string_lossy().starts_with("CACHEDIR.TAG.new-") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is in a cache that is not marked is lost to it, so this is synced.
fn write_mark(path: &Path) -> io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let staged = path.join(format!("{MARK}.new-{}-{number}", process::id()));
    // One of a process that had this number before us.
    drop(fs::remove_file(&staged));
    let written = durable::create_new(&staged, 0o600).and_then(|mut file| {
        file.write_all(TEXT.as_bytes())?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&staged, path.join(MARK)));
    if done.is_err() {
        drop(fs::remove_file(&staged));
    }
    done.and_then(|()| durable::sync_dir(path))
}
