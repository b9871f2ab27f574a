//! What directories know for sure.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::platform::{self, Strength};

/// Makes durable that a file is in its directory, or is no longer.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags, open};

    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // By the same call as a file, as SQLite's own VFS does: where that is `fdatasync`, names are data of their directory.
    platform::sync(directory.as_fd(), Strength::Normal)
}
