//! The one true name of a file.
//!
//! Journal, WAL and `-shm` are found by the name of the database, so two names of one database must become one name: links are
//! followed, in the last part too.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use vfs::{Code, Error, FullPath, Result};

/// More links than this are taken for a circle.
const MAX_LINKS: usize = 200;

/// The absolute path of `name`, without `.`, `..` or links in it. The last part need not exist.
pub(crate) fn full_pathname(name: &Path) -> Result<FullPath> {
    let mut walk = Walk { path: PathBuf::from("/"), links: 0 };
    if !name.is_absolute() {
        let here = env::current_dir().map_err(|error| Error::os(Code::CANTOPEN, &error))?;
        walk.all(here.as_os_str())?;
        // The working directory is what it is; only links in the name count as followed.
        walk.links = 0;
    }
    walk.all(name.as_os_str())?;
    if walk.path.as_os_str() == "/" {
        return Err(Code::CANTOPEN.into());
    }
    Ok(FullPath { path: walk.path, was_symlink: walk.links > 0 })
}

struct Walk {
    path: PathBuf,
    links: usize,
}

impl Walk {
    fn all(&mut self, name: &OsStr) -> Result<()> {
        name.as_bytes().split(|byte| *byte == b'/').try_for_each(|part| self.one(OsStr::from_bytes(part)))
    }

    fn one(&mut self, part: &OsStr) -> Result<()> {
        match part.as_bytes() {
            b"" | b"." => return Ok(()),
            b".." => {
                self.path.pop();
                return Ok(());
            }
            _ => self.path.push(part),
        }
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.file_type().is_symlink() => self.link(),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::os(Code::CANTOPEN, &error)),
        }
    }

    fn link(&mut self) -> Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Code::CANTOPEN.into());
        }
        let target: OsString =
            fs::read_link(&self.path).map_err(|error| Error::os(Code::CANTOPEN, &error))?.into();
        if target.as_bytes().starts_with(b"/") {
            self.path = PathBuf::from("/");
        } else {
            self.path.pop();
        }
        self.all(&target)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn dots_and_links_vanish() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/db"), b"").unwrap();
        symlink("sub/db", root.join("relative")).unwrap();
        symlink(root.join("relative"), root.join("absolute")).unwrap();
        symlink("sub", root.join("dir")).unwrap();
        let cases = [
            ("sub/db", "sub/db", false),
            ("sub/./../sub//db", "sub/db", false),
            ("absolute", "sub/db", true),
            ("dir/new", "sub/new", true),
            ("sub/none", "sub/none", false),
        ];
        for (name, path, was_symlink) in cases {
            let found = full_pathname(&root.join(name)).unwrap();
            assert_eq!(found, FullPath { path: root.join(path), was_symlink }, "{name}");
        }
    }

    #[test]
    fn a_circle_is_an_error_and_so_is_the_root() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert_eq!(full_pathname(&dir.path().join("a")).unwrap_err().code, Code::CANTOPEN);
        assert!(full_pathname(Path::new("/")).is_err());
    }

    #[test]
    fn names_are_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let name = root.join(OsStr::from_bytes(b"caf\xe9.db"));
        assert_eq!(full_pathname(&name).unwrap().path, name);
    }
}
