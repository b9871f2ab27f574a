//! Permissions of new files: a journal, WAL or `-shm` must be usable by exactly those who may use the database.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions as FsPermissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use vfs::{Code, Error, FileKind, OpenRequest, Result};

/// Permissions and owner of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permissions {
    /// Exactly these bits, whatever the umask; `None` leaves that to the umask.
    mode: Option<u32>,
    /// User and group; only the superuser can give a file away.
    owner: Option<(u32, u32)>,
}

impl Permissions {
    const USUAL: Self = Self { mode: None, owner: None };

    /// For the file of a request: that of its database for a journal or WAL, nobody else's for a temporary file, that of another
    /// file if the URI says `modeof`.
    ///
    /// # Errors
    /// `IOERR_FSTAT` when the other file is not there.
    pub(crate) fn of(request: &OpenRequest<'_>, path: &Path) -> Result<Self> {
        let kind = request.flags.kind();
        if matches!(kind, FileKind::Wal | FileKind::MainJournal) {
            return database_of(path).map_or(Ok(Self::USUAL), |database| Self::like(&database));
        }
        if request.flags.has(vfs::OpenFlags::DELETE_ON_CLOSE) {
            return Ok(Self { mode: Some(0o600), owner: None });
        }
        let model = request.name.and_then(|name| name.parameter(c"modeof"));
        match model.map(|model| Path::new(OsStr::from_bytes(model.to_bytes()))) {
            Some(model) => Self::like(model).map(|like| Self { owner: None, ..like }),
            None => Ok(Self::USUAL),
        }
    }

    /// Those of another file.
    pub(crate) fn like(model: &Path) -> Result<Self> {
        match fs::metadata(model) {
            Ok(metadata) => Ok(Self::from_metadata(&metadata)),
            Err(error) => Err(Error::os(Code::IOERR_FSTAT, &error)),
        }
    }

    pub(crate) fn from_metadata(metadata: &Metadata) -> Self {
        Self { mode: Some(metadata.mode() & 0o777), owner: Some((metadata.uid(), metadata.gid())) }
    }

    /// What `open` is told.
    pub(crate) fn new_mode(self) -> u32 {
        self.mode.unwrap_or(0o644)
    }

    /// Sets them on a file that was just opened; on one that holds something already only the owner. What is not allowed is left
    /// as it is.
    pub(crate) fn give_to(self, file: &File) {
        if self == Self::USUAL {
            return;
        }
        let Ok(metadata) = file.metadata() else { return };
        if let Some(mode) = self.mode
            && metadata.len() == 0
            && metadata.mode() & 0o777 != mode
        {
            let _ = file.set_permissions(FsPermissions::from_mode(mode));
        }
        if let Some((user, group)) = self.owner
            && rustix::process::geteuid().is_root()
            && (metadata.uid(), metadata.gid()) != (user, group)
        {
            let _ = fchown(file, Some(user), Some(group));
        }
    }
}

/// The database of a journal or WAL: the name up to the last dash. `None` for a name in the style of 8.3, which has no dash after
/// its dot.
fn database_of(journal: &Path) -> Option<PathBuf> {
    let name = journal.as_os_str().as_bytes();
    let end = name.iter().rposition(|byte| matches!(byte, b'-' | b'.' | b'/'))?;
    (end > 0 && name[end] == b'-').then(|| PathBuf::from(OsStr::from_bytes(&name[..end])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_journal() {
        let cases = [
            ("/a/x.db-journal", Some("/a/x.db")),
            ("/a/x-wal", Some("/a/x")),
            ("/a-b/x.wal", None),
            ("/a-b/x", None),
            ("-wal", None),
        ];
        for (journal, database) in cases {
            assert_eq!(database_of(Path::new(journal)), database.map(PathBuf::from), "{journal}");
        }
    }
}
