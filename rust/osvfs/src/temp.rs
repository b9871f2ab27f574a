//! Temporary files: for sorting, statement journals, databases without a name.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use vfs::{Code, Error, Result};

use crate::fd_pool::open_above_stderr;

/// Attempts at a name that nobody has.
const ATTEMPTS: usize = 10;

/// Where temporary files may be, the place that is wished for first.
///
/// The environment is looked at when this is made, and never again: `setenv` in another thread moves what `getenv` reads.
#[derive(Clone, Debug)]
pub(crate) struct TempDirectories(Arc<[PathBuf]>);

impl TempDirectories {
    /// SQLite's list.
    #[expect(clippy::disallowed_methods, reason = "once, when a VFS is registered")]
    pub(crate) fn from_environment() -> Self {
        let wished = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(env::var_os).map(PathBuf::from);
        let usual = ["/var/tmp", "/usr/tmp", "/tmp", "."].into_iter().map(PathBuf::from);
        Self(wished.chain(usual).collect())
    }

    /// The first one that may be written to.
    fn usable(&self) -> Result<&PathBuf> {
        let usable = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let mut all = self.0.iter();
        all.find(|path| path.is_dir() && rustix::fs::access(*path, usable).is_ok())
            .ok_or_else(|| Code::IOERR_GETTEMPPATH.into())
    }

    /// A path for a temporary file that does not exist.
    pub(crate) fn name(&self) -> Result<PathBuf> {
        Ok(self.usable()?.join(random_name()?))
    }
}

/// Opens a file that has no name, or not for long.
pub(crate) fn open_temp(directories: &TempDirectories) -> Result<File> {
    let directory = directories.usable()?;
    let cantopen = |error: &io::Error| Error::os(Code::CANTOPEN, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let nameless = options.clone().custom_flags(libc::O_TMPFILE | libc::O_EXCL).to_owned();
        match open_above_stderr(&nameless, directory) {
            Ok(file) => return Ok(file),
            // Not every file system has files without a name.
            Err(error) if is_unsupported(&error) => {}
            Err(error) => return Err(cantopen(&error)),
        }
    }
    options.create_new(true).custom_flags(libc::O_NOFOLLOW);
    for _ in 0..ATTEMPTS {
        let path = directory.join(random_name()?);
        match open_above_stderr(&options, &path) {
            Ok(file) => {
                fs::remove_file(&path).map_err(|error| cantopen(&error))?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cantopen(&error)),
        }
    }
    Err(Code::CANTOPEN.into())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EISDIR | libc::EOPNOTSUPP | libc::ENOENT | libc::EINVAL))
}

fn random_name() -> Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| Error::from(Code::IOERR_GETTEMPPATH))?;
    Ok(format!("ltxcore_{:016x}", u64::from_le_bytes(random)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_temporary_file_has_no_name_and_is_private() {
        let directories = TempDirectories::from_environment();
        let file = open_temp(&directories).unwrap();
        file.write_all_at(b"page", 4096).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.nlink(), metadata.len(), metadata.mode() & 0o777), (0, 4100, 0o600));
        assert_ne!(directories.name().unwrap(), directories.name().unwrap());
    }
}
