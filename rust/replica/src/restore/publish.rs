//! Puts a restored database in place, so that at every moment the old one or the new one is there, and whole.
//!
//! One rename would do, were it not for the files beside a database. SQLite applies a `-wal` or a hot `-journal` to
//! whatever database bears the name, without a sign that they belong together: renaming first and removing them
//! afterwards would, after a crash in between, let old transactions be written into the new database. Removing them
//! first would take transactions from the old one, or its way back out of a half-done one. Three names cannot be
//! changed in one step. So, if there is such a file with content, the old database is set aside with all its parts:
//!
//! 1. `-wal` and `-journal` get second names, `NAME.ltxcore-replaced-wal` and so on; the directory is synced.
//! 2. The database is renamed to `NAME.ltxcore-replaced`; synced. Now `NAME` is absent, and the old database is
//!    whole under its other name. Should an application open `NAME` now, SQLite removes the `-wal` of an empty
//!    database, but the second names keep the content.
//! 3. `-journal`, `-wal` and `-shm` of `NAME` are removed; synced.
//! 4. The new database, durable already, is renamed to `NAME`; synced. Nothing is left that could spoil it.
//! 5. The set-aside files are removed.
//!
//! Each sync keeps a power failure from reordering the steps. A process that dies before step 2 or after step 4
//! leaves `NAME` whole; in between, [`recover`] brings the old database back when a restore to the same place
//! begins. An error in between does that at once. Without such files, or if they are empty, step 4 alone remains.
//!
//! All of that happens under the locks of SQLite's connections, if the caller has a way to take them ([`Place::lock`]).

use std::any::Any;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use durable::{parent, rename_new, sibling, sync_dir};

use crate::error::{Error, Result};
use crate::restore::options::LockDatabase;

const SET_ASIDE: &str = ".ltxcore-replaced";

/// How long a transaction that is under way is waited for before a database counts as being in use.
const PATIENCE: Duration = Duration::from_millis(1000);
const NAP: Duration = Duration::from_millis(20);

/// The files beside a database that have a part in its content. `-shm` has none: it can be rebuilt.
const CONTENT: [&str; 2] = ["-journal", "-wal"];

/// All files that SQLite keeps beside a database.
const SIDECARS: [&str; 3] = ["-journal", "-wal", "-shm"];

/// The steps that change names. Tests let each of them fail, or be the last one.
pub(crate) trait Names {
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync(&self, dir: &Path) -> io::Result<()> {
        sync_dir(dir)
    }
}

/// The names of the file system itself.
pub(crate) struct RealNames;

impl Names for RealNames {}

/// One place for a database, with the names around it.
pub(crate) struct Place<'a> {
    names: &'a dyn Names,
    output: PathBuf,
}

/// Where a symbolic link leads to; any other path as it is.
pub(crate) fn resolved(output: &Path) -> Result<PathBuf> {
    let is_link = fs::symlink_metadata(output).is_ok_and(|metadata| metadata.is_symlink());
    let resolved = if is_link { fs::canonicalize(output) } else { Ok(output.to_owned()) };
    resolved.map_err(|source| Error::output("follow", output, source))
}

impl<'a> Place<'a> {
    /// `output` may be a symbolic link: the files then are where it points to.
    pub(crate) fn new(names: &'a dyn Names, output: &Path) -> Result<Self> {
        Ok(Self { names, output: resolved(output)? })
    }

    pub(crate) fn output(&self) -> &Path {
        &self.output
    }

    /// Brings back what an earlier attempt set aside, then refuses a place that is taken: with `overwrite` only by
    /// something that is no file.
    pub(crate) fn prepare(&self, overwrite: bool) -> Result<()> {
        self.recover()?;
        if !overwrite {
            return self.check_free();
        }
        match fs::symlink_metadata(&self.output) {
            Ok(metadata) if !metadata.is_file() => Err(Error::OutputNotAFile { path: self.output.clone() }),
            _ => Ok(()),
        }
    }

    /// Keeps connections out of the database that is there, if one is, until the value is dropped.
    pub(crate) fn lock(&self, lock: Option<&LockDatabase<'_>>) -> Result<Option<Box<dyn Any>>> {
        let Some(lock) = lock else { return Ok(None) };
        let deadline = Instant::now() + PATIENCE;
        while exists(&self.output) {
            let locked = lock(&self.output).map_err(|source| Error::output("lock", &self.output, source))?;
            if locked.is_some() {
                return Ok(locked);
            }
            if Instant::now() >= deadline {
                return Err(Error::OutputInUse { path: self.output.clone() });
            }
            thread::sleep(NAP);
        }
        Ok(None)
    }

    fn check_free(&self) -> Result<()> {
        let sidecars = SIDECARS.map(|suffix| sibling(&self.output, suffix));
        match std::iter::once(self.output.clone()).chain(sidecars).find(|path| exists(path)) {
            Some(path) => Err(Error::OutputExists { path }),
            None => Ok(()),
        }
    }

    /// Gives the finished and durable file `temp` its place.
    pub(crate) fn publish(&self, temp: &Path, overwrite: bool) -> Result<()> {
        if !overwrite {
            return self.publish_new(temp);
        }
        if exists(&self.output) && CONTENT.iter().any(|suffix| has_content(&self.beside(suffix))) {
            self.set_aside()?;
        }
        if let Err(error) = self.replace(temp) {
            // The first error is the one to report; should this fail as well, the next restore tries again.
            let _ = self.recover();
            return Err(error);
        }
        self.remove_set_aside()
    }

    fn publish_new(&self, temp: &Path) -> Result<()> {
        self.check_free()?;
        match self.names.rename_new(temp, &self.output) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::OutputExists { path: self.output.clone() })
            }
            Err(error) => Err(Error::output("rename", temp, error)),
        }
    }

    /// Steps 1 and 2, or neither.
    fn set_aside(&self) -> Result<()> {
        self.remove_set_aside()?;
        let done = self.try_set_aside();
        if done.is_err() {
            // Only once the database is back under its own name, its second names may go.
            let _ = self.recover().and_then(|()| self.remove_set_aside());
        }
        done
    }

    fn try_set_aside(&self) -> Result<()> {
        for suffix in CONTENT {
            let (from, to) = (self.beside(suffix), self.aside(suffix));
            if exists(&from) {
                self.step("link", &from, |names| names.link(&from, &to))?;
            }
        }
        self.sync()?;
        self.step("rename", &self.output, |names| names.rename(&self.output, &self.aside("")))?;
        self.sync()
    }

    /// Steps 3 and 4. Files without content may go while the old database is still in its place.
    fn replace(&self, temp: &Path) -> Result<()> {
        if self.remove_all(SIDECARS.map(|suffix| self.beside(suffix)))? {
            self.sync()?;
        }
        self.step("rename", temp, |names| names.rename(temp, &self.output))?;
        self.sync()
    }

    /// Step 5; before step 1, what a process left that died between step 4 and here.
    fn remove_set_aside(&self) -> Result<()> {
        let removed = self.remove_all(["", "-journal", "-wal"].map(|suffix| self.aside(suffix)))?;
        if removed { self.sync() } else { Ok(()) }
    }

    /// Brings a database back that was set aside and not replaced. Can be interrupted and repeated.
    fn recover(&self) -> Result<()> {
        let old = self.aside("");
        if exists(&self.output) || !exists(&old) {
            return Ok(());
        }
        for suffix in CONTENT {
            let (from, to) = (self.aside(suffix), self.beside(suffix));
            if !exists(&from) {
                continue;
            }
            // Renaming one name of a file to another of the same file would do nothing.
            if same_file(&from, &to) {
                self.step("remove", &from, |names| names.remove(&from))?;
            } else {
                self.step("rename", &from, |names| names.rename(&from, &to))?;
            }
        }
        self.sync()?;
        self.step("rename", &old, |names| names.rename(&old, &self.output))?;
        self.sync()
    }

    fn remove_all<const N: usize>(&self, paths: [PathBuf; N]) -> Result<bool> {
        let mut removed = false;
        for path in paths.iter().filter(|path| exists(path)) {
            self.step("remove", path, |names| names.remove(path))?;
            removed = true;
        }
        Ok(removed)
    }

    fn sync(&self) -> Result<()> {
        let dir = parent(&self.output);
        self.step("sync", dir, |names| names.sync(dir))
    }

    fn step<T>(
        &self,
        op: &'static str,
        path: &Path,
        act: impl FnOnce(&dyn Names) -> io::Result<T>,
    ) -> Result<T> {
        act(self.names).map_err(|source| Error::output(op, path, source))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        sibling(&self.output, suffix)
    }

    fn aside(&self, suffix: &str) -> PathBuf {
        sibling(&set_aside_path(&self.output), suffix)
    }
}

/// Where the old database waits between steps 2 and 4.
pub(crate) fn set_aside_path(output: &Path) -> PathBuf {
    sibling(output, SET_ASIDE)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn same_file(a: &Path, b: &Path) -> bool {
    let identity = |path| fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}

fn has_content(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

#[cfg(test)]
mod tests;
