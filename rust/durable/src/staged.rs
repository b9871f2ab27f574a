//! A file under a name that nobody looks at, until it is whole and durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use crate::dirs::sync_dir;
use crate::names::{create_unique, parent, rename_new, sibling};
use crate::rights::Rights;

/// What happens to a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The new file takes its place.
    Replace,
    /// It stays, and nothing is committed.
    IfAbsent,
}

/// A file that will get its name when it is whole. Dropped before that, it is removed; a forked child that has a copy of this value
/// removes nothing, since its parent may still be writing.
#[derive(Debug)]
pub struct Staged {
    file: File,
    staging: Staging,
    path: PathBuf,
}

/// The name that goes away.
#[derive(Debug)]
struct Staging {
    path: PathBuf,
    /// The file has another name by now.
    is_done: bool,
    /// The process that made it.
    owner: u32,
}

/// Why a file did not get its name, or not durably.
#[derive(Debug)]
pub struct NotCommitted {
    /// What failed: `"sync"` or `"name"`.
    pub op: &'static str,
    /// The file or directory that it failed on.
    pub path: PathBuf,
    /// What the system answered.
    pub source: io::Error,
    /// The file. If only the sync of the directory failed, it has its name; otherwise dropping this removes it.
    pub staged: Staged,
}

impl NotCommitted {
    /// Whether another file has the name: [`Commit::IfAbsent`] only.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.op == NAME && self.source.kind() == io::ErrorKind::AlreadyExists
    }
}

const SYNC: &str = "sync";
const NAME: &str = "name";

impl Staged {
    /// Starts a file that will be called `path`; until then it is `<path>.<process id>-<number>.tmp`.
    ///
    /// # Errors
    /// What `open` and `fchown` answer.
    pub fn new(path: &Path, rights: Rights) -> io::Result<Self> {
        Self::with_name(path, rights, |unique| sibling(path, &format!(".{unique}.tmp")))
    }

    /// Starts a file that will be called `path`; until then it has the name that `name` makes of a unique suffix, in the same
    /// directory.
    ///
    /// # Errors
    /// What `open` and `fchown` answer.
    pub fn with_name(path: &Path, rights: Rights, name: impl Fn(&str) -> PathBuf) -> io::Result<Self> {
        let (file, staging) = create_unique(rights.file_mode(), name)?;
        let staged = Self { file, staging: Staging::new(staging), path: path.to_owned() };
        rights.give_to(&staged.file)?;
        Ok(staged)
    }

    /// Starts a file that will be called `path`; until then it is `staging`, in the same directory. What a crash left under that
    /// name is overwritten: only for directories that one process at a time writes to.
    ///
    /// # Errors
    /// What `open` and `fchown` answer.
    pub fn at(staging: PathBuf, path: &Path, rights: Rights) -> io::Result<Self> {
        let file = create_or_empty(&staging, rights)?;
        Ok(Self { file, staging: Staging::new(staging), path: path.to_owned() })
    }

    /// Goes on with a file that will be called `path` and is `staging` until then, in the same directory.
    #[must_use]
    pub fn adopt(file: File, staging: PathBuf, path: &Path) -> Self {
        Self { file, staging: Staging::new(staging), path: path.to_owned() }
    }

    /// Lets the file stay under the name that it has: dropping this does not remove it any more.
    pub fn leave(&mut self) {
        self.staging.is_done = true;
    }

    /// The file, open for reading and writing.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The name that it has until it is committed.
    #[must_use]
    pub fn staging(&self) -> &Path {
        &self.staging.path
    }

    /// The name that it will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the content durable, gives the file its name, and makes the name durable. When this returns the file survives a power
    /// failure; when it fails the old file is there, or the new one whole.
    ///
    /// # Errors
    /// [`NotCommitted`], with [`NotCommitted::is_taken`] if another file has the name and is to stay.
    pub fn commit(mut self, how: Commit) -> Result<File, NotCommitted> {
        match self.try_commit(how) {
            Ok(()) => Ok(self.file),
            Err((op, path, source)) => Err(NotCommitted { op, path, source, staged: self }),
        }
    }

    fn try_commit(&mut self, how: Commit) -> Result<(), (&'static str, PathBuf, io::Error)> {
        self.file.sync_all().map_err(|error| (SYNC, self.staging.path.clone(), error))?;
        let named = match how {
            Commit::Replace => fs::rename(&self.staging.path, &self.path),
            Commit::IfAbsent => rename_new(&self.staging.path, &self.path),
        };
        named.map_err(|error| (NAME, self.path.clone(), error))?;
        self.staging.is_done = true;
        let dir = parent(&self.path);
        sync_dir(dir).map_err(|error| (SYNC, dir.to_owned(), error))
    }
}

impl Staging {
    fn new(path: PathBuf) -> Self {
        Self { path, is_done: false, owner: process::id() }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed is harmless: nobody reads a file of that name.
        if !self.is_done && self.owner == process::id() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Opens a file for reading and writing that is empty then, with `rights` if it is new: for files that only their names matter of,
/// and for those that one process at a time writes.
///
/// # Errors
/// What `open` and `fchown` answer.
#[expect(clippy::disallowed_methods, reason = "for files that SQLite never opens")]
pub fn create_or_empty(path: &Path, rights: Rights) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(true).mode(rights.file_mode()).open(path)?;
    rights.give_to(&file)?;
    Ok(file)
}

/// Removes the staged files that a crash left in `dir`: those whose names `is_stale` accepts, and no directory or link. To be
/// called while nobody stages there.
///
/// # Errors
/// What `readdir` and `unlink` answer.
pub fn remove_stale(dir: &Path, is_stale: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&is_stale) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::{create_new, open_left};

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(io::Result::unwrap);
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn staged(path: &Path, content: &str) -> Staged {
        let mut staged = Staged::new(path, Rights::PRIVATE).unwrap();
        staged.write_all(content.as_bytes()).unwrap();
        staged
    }

    #[test]
    fn nothing_bears_the_name_before_it_is_committed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let staged = staged(&path, "content");
        let staging = format!("file.{}-", process::id());
        assert!(
            matches!(&names(dir.path())[..], [name] if name.starts_with(&staging) && name.ends_with(".tmp"))
        );
        assert_eq!(staged.path(), path);
        let inode = staged.file().metadata().unwrap().ino();
        let file = staged.commit(Commit::IfAbsent).unwrap();
        assert_eq!(
            (file.metadata().unwrap().ino(), fs::read_to_string(&path).unwrap()),
            (inode, "content".into())
        );
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn what_is_dropped_is_removed_but_not_by_a_forked_child() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        drop(staged(&path, "half"));
        assert!(names(dir.path()).is_empty());
        let mut of_the_parent = staged(&path, "half");
        of_the_parent.staging.owner = of_the_parent.staging.owner.wrapping_add(1);
        drop(of_the_parent);
        assert_eq!(names(dir.path()).len(), 1);
    }

    #[test]
    fn a_file_of_the_name_stays_or_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        staged(&path, "old").commit(Commit::IfAbsent).unwrap();
        let refused = staged(&path, "new").commit(Commit::IfAbsent).unwrap_err();
        assert!(refused.is_taken());
        assert_eq!((refused.op, &refused.path), ("name", &path));
        // What was refused can still be read, to be compared with what is there.
        assert_eq!(fs::read_to_string(refused.staged.staging()).unwrap(), "new");
        drop(refused);
        assert_eq!(
            (names(dir.path()), fs::read_to_string(&path).unwrap()),
            (vec!["file".into()], "old".into())
        );
        staged(&path, "new").commit(Commit::Replace).unwrap();
        assert_eq!(
            (names(dir.path()), fs::read_to_string(&path).unwrap()),
            (vec!["file".into()], "new".into())
        );
    }

    #[test]
    fn what_cannot_be_named_is_no_taken_name_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, gone) = (dir.path().join("gone/file"), dir.path().join("gone"));
        fs::create_dir(&gone).unwrap();
        let staged = staged(&path, "content");
        fs::rename(&gone, dir.path().join("moved")).unwrap();
        let failed = staged.commit(Commit::IfAbsent).unwrap_err();
        assert_eq!(
            (failed.op, failed.is_taken(), failed.source.kind()),
            ("name", false, io::ErrorKind::NotFound)
        );
        // A directory in the way is replaced by nothing.
        fs::create_dir_all(path.join("below")).unwrap();
        for how in [Commit::Replace, Commit::IfAbsent] {
            let failed = super::tests::staged(&path, "content").commit(how).unwrap_err();
            assert_eq!((failed.op, failed.is_taken()), ("name", how == Commit::IfAbsent));
        }
        assert_eq!(names(&gone), ["file"]);
    }

    #[test]
    fn a_fixed_name_takes_over_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let (path, staging) = (dir.path().join("file"), dir.path().join("file.tmp"));
        fs::write(&staging, "left behind by a crash, and longer").unwrap();
        let mut staged = Staged::at(staging, &path, Rights::PRIVATE).unwrap();
        staged.write_all(b"content").unwrap();
        staged.commit(Commit::Replace).unwrap();
        assert_eq!(
            (names(dir.path()), fs::read_to_string(&path).unwrap()),
            (vec!["file".into()], "content".into())
        );
    }

    #[test]
    fn what_was_left_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let (path, staging) = (dir.path().join("file"), dir.path().join("file.part"));
        let begin = || Staged::adopt(create_new(&staging, 0o600).unwrap(), staging.clone(), &path);
        drop(begin());
        assert!(names(dir.path()).is_empty());
        let mut staged = begin();
        staged.write_all(b"first, ").unwrap();
        staged.leave();
        drop(staged);
        assert_eq!(names(dir.path()), ["file.part"]);
        let mut again = Staged::adopt(open_left(&staging).unwrap().unwrap(), staging, &path);
        std::io::Seek::seek(&mut again.file, io::SeekFrom::End(0)).unwrap();
        again.write_all(b"second").unwrap();
        again.commit(Commit::IfAbsent).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first, second");
    }

    #[test]
    fn only_files_of_our_names_are_cleaned_up() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, others, inside) =
            (dir.path().join("a.tmp"), dir.path().join("b.tmp"), dir.path().join("c.tmp"));
        fs::write(&ours, "").unwrap();
        fs::write(&others, "").unwrap();
        fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink(&others, dir.path().join("d.tmp")).unwrap();
        remove_stale(dir.path(), |name| name != "b.tmp").unwrap();
        assert_eq!(names(dir.path()), ["b.tmp", "c.tmp", "d.tmp"]);
    }
}
