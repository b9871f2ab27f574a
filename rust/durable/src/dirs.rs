//! Directories, and what they know for sure.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::io::Errno;

use crate::names::parent;
use crate::rights::Rights;

/// Creates `dir` and what is missing above it, each of them durable in the directory above. Those that exist stay as they are.
///
/// The name of a directory in one that may be written to but not read cannot be synced by anybody, and is not.
///
/// # Errors
/// `NotADirectory` if something else has the name; what the system answers.
pub fn create_dirs(dir: &Path, rights: Rights) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    create_dirs(dir.parent().unwrap_or(Path::new("")), rights)?;
    match DirBuilder::new().mode(rights.dir_mode).create(dir) {
        Ok(()) => rights.give_to(&open_dir(dir)?)?,
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Errno::NOTDIR.into()),
        Err(error) => return Err(error),
    }
    match sync_parent(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Checks that nobody but this user can change which names are in `dir`. A link is as good as what it leads to.
///
/// # Errors
/// `NotADirectory`; `PermissionDenied` if it belongs to another user, or if others may write to it; what `stat` answers.
pub fn check_private(dir: &Path) -> io::Result<()> {
    let found = fs::metadata(dir)?;
    let denied = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned()));
    if !found.is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return denied("the directory belongs to another user");
    }
    if found.mode() & 0o022 != 0 {
        return denied("other users may write to the directory (chmod go-w takes that from them)");
    }
    Ok(())
}

/// Makes durable which names are in `dir`.
///
/// # Errors
/// What `open` and `fsync` answer.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    open_dir(dir)?.sync_all()
}

/// Makes durable that `path` is in its directory, or is no longer.
///
/// # Errors
/// As [`sync_dir`].
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(parent(path))
}

#[expect(clippy::disallowed_methods, reason = "a directory carries no SQLite locks")]
fn open_dir(dir: &Path) -> io::Result<File> {
    File::open(dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_missing_is_made_for_the_owner_and_what_is_there_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (outer, inner) = (root.path().join("a"), root.path().join("a/b/c"));
        fs::create_dir(&outer).unwrap();
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o755)).unwrap();
        for _ in 0..2 {
            create_dirs(&inner, Rights::PRIVATE).unwrap();
        }
        assert_eq!([mode(&outer), mode(inner.parent().unwrap()), mode(&inner)], [0o755, 0o700, 0o700]);
    }

    #[test]
    fn a_file_in_the_way_is_an_error_and_stays() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "content").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = create_dirs(&path, Rights::PRIVATE).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{}", path.display());
        }
        assert_eq!(fs::metadata(file).unwrap().len(), 7);
    }

    #[test]
    fn a_directory_that_others_may_change_is_not_private() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("dir");
        fs::create_dir(&dir).unwrap();
        for (mode, is_private) in
            [(0o700, true), (0o755, true), (0o720, false), (0o702, false), (0o777, false)]
        {
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_private(&dir).is_ok(), is_private, "{mode:o}");
        }
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        assert!(check_private(&link).is_err());
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        check_private(&link).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        assert!(check_private(&root.path().join("file")).is_err());
    }

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        assert_eq!(parent(Path::new("db")), Path::new("."));
        assert_eq!(parent(Path::new("/db")), Path::new("/"));
        assert_eq!(parent(Path::new("a/db")), Path::new("a"));
        sync_parent(Path::new("db")).unwrap();
        create_dirs(Path::new(""), Rights::PRIVATE).unwrap();
    }
}
