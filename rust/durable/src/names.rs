//! Names of files: new ones, none at all, and changes that replace nothing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Access rights of a file that is nobody else's business.
const NAMELESS_MODE: u32 = 0o600;

/// `<path><suffix>`: the file of that name in the same directory.
#[must_use]
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The directory that the name `path` is in: `.` for a bare name.
#[must_use]
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a file for reading and writing that must not exist yet, with the access rights `mode` before the umask.
///
/// # Errors
/// `AlreadyExists` if the name is taken; what `open` answers.
#[expect(clippy::disallowed_methods, reason = "a new file: nobody can hold a lock on it")]
pub fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
}

/// Opens a file for reading and writing that an earlier process has left, if it can be believed: a plain file of this user that has
/// no other name. `None` if there is none, or another one.
///
/// # Errors
/// What `open` and `stat` answer.
pub fn open_left(path: &Path) -> io::Result<Option<File>> {
    let file = open_own(path, OFlags::RDWR)?;
    let has_one_name = |file: &File| file.metadata().map(|metadata| metadata.nlink() == 1);
    Ok(match file {
        Some(file) if has_one_name(&file)? => Some(file),
        _ => None,
    })
}

/// Opens a file for reading if it is a plain file of this user. `None` if there is none, or another one. It never waits.
///
/// # Errors
/// What `open` and `stat` answer.
pub fn open_plain(path: &Path) -> io::Result<Option<File>> {
    open_own(path, OFlags::RDONLY)
}

fn open_own(path: &Path, access: OFlags) -> io::Result<Option<File>> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        // Nothing; a link; a directory; somebody else's.
        Err(Errno::NOENT | Errno::LOOP | Errno::MLINK | Errno::ISDIR | Errno::NXIO | Errno::ACCESS) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    Ok((metadata.is_file() && is_own).then_some(file))
}

/// Creates a file whose name `name` makes of a suffix that no other file has: process id, then a number within the process.
pub(crate) fn create_unique(mode: u32, name: impl Fn(&str) -> PathBuf) -> io::Result<(File, PathBuf)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let path = name(&format!("{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        match create_new(&path, mode) {
            // A process of the same id, before a reboot or in another container, may have left one behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (file, path)),
        }
    }
}

/// Creates a file in the directory of `path` that has no name any more when this returns, so that nothing is left whatever happens.
/// A process that dies before that leaves an empty `<path>.<purpose>-<process id>-<number>`.
///
/// # Errors
/// What `open` and `unlink` answer.
pub fn create_nameless(path: &Path, purpose: &str) -> io::Result<File> {
    let name = |suffix: &str| sibling(path, &format!(".{purpose}-{suffix}"));
    let (file, path) = create_unique(NAMELESS_MODE, name)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// Renames a file without ever replacing: in one step where the file system can, else by a hard link. Nothing is synced.
///
/// # Errors
/// `AlreadyExists` if something has the new name; what `rename`, `link` and `unlink` answer.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rename_no_replace(from, to) {
        Err(error) if is_unsupported(&error) => link_and_unlink(from, to),
        renamed => renamed,
    }
}

/// Two steps: a process that dies between them leaves both names.
fn link_and_unlink(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Renames a file or directory in one step, unless something has the new name. Nothing is synced.
///
/// # Errors
/// `AlreadyExists` if something has the new name; `InvalidInput` or `Unsupported` where the file system or the system cannot do
/// it; what `rename` answers.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// There is no such call.
///
/// # Errors
/// Always `InvalidInput`.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub fn rename_no_replace(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(rustix::io::Errno::INVAL.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    type Rename = fn(&Path, &Path) -> io::Result<()>;

    #[test]
    fn no_rename_replaces_whichever_way_it_is_done() {
        let ways: [Rename; 3] = [rename_new, rename_no_replace, link_and_unlink];
        for (number, rename) in ways.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let (new, taken, free) =
                (dir.path().join("new"), dir.path().join("taken"), dir.path().join("free"));
            fs::write(&new, "new").unwrap();
            fs::write(&taken, "taken").unwrap();
            assert_eq!(rename(&new, &taken).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{number}");
            let content = |path: &Path| fs::read_to_string(path).unwrap();
            assert_eq!((content(&new), content(&taken)), ("new".to_owned(), "taken".to_owned()), "{number}");
            rename(&new, &free).unwrap();
            assert_eq!((content(&free), new.exists()), ("new".to_owned(), false), "{number}");
        }
    }

    #[test]
    fn only_what_the_file_system_cannot_do_is_done_otherwise() {
        let from = |errno: Errno| is_unsupported(&errno.into());
        assert!([Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP].into_iter().all(from));
        assert!(
            ![Errno::EXIST, Errno::NOENT, Errno::ACCESS, Errno::ROFS, Errno::NOSPC].into_iter().any(from)
        );
    }

    #[test]
    fn unique_names_pass_over_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = std::cell::Cell::new(0);
        let name = |suffix: &str| {
            attempts.set(attempts.get() + 1);
            dir.path().join(if attempts.get() < 4 { "taken" } else { suffix })
        };
        fs::write(dir.path().join("taken"), "left behind").unwrap();
        let (file, path) = create_unique(0o600, name).unwrap();
        assert_eq!(attempts.get(), 4);
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{}-", process::id())));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(dir.path().join("taken")).unwrap(), "left behind");
    }

    #[test]
    fn only_a_plain_file_of_one_name_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        create_new(&at("file"), 0o600).unwrap().write_all(b"left").unwrap();
        fs::write(at("other"), "of two names").unwrap();
        fs::hard_link(at("other"), at("second")).unwrap();
        symlink(at("file"), at("link")).unwrap();
        fs::create_dir(at("dir")).unwrap();
        assert_eq!(open_left(&at("file")).unwrap().unwrap().metadata().unwrap().len(), 4);
        for name in ["none", "other", "second", "link", "dir"] {
            assert!(open_left(&at(name)).unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn a_nameless_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = create_nameless(&dir.path().join("db"), "map").unwrap();
        file.write_all(b"intermediate").unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
