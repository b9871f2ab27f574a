//! The meta directory beside a database: `.<name>-litestream/`, laid out so that Litestream can take over and we from it.
//!
//! `ltx/0/<txid>-<txid>.ltx` holds the L0 files (litestream.org, format of 0.5); `ltxcore/` holds what is ours alone: the lock
//! that keeps a second replicator away, the page checksums, and the note that a snapshot is wanted. Names of ours that end in `.tmp` are
//! leftovers of a crash.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use durable::{Commit, Rights, create_dirs, create_or_empty, remove_stale, sibling};
use ltx::TxId;
use osvfs::{LockFile, Stamp};

use crate::error::{Context, Error, Result};
use crate::level0::{Level0, LocalFile};

/// Files of the directory that is ours alone, before they have their names; of each replica, those for its chain have its number.
const OWN_STAGING: [&str; 6] =
    ["page-checksums", "snapshot-wanted", "chain-checksums", "chain-compared", "v03", "v03-object"];

/// Whether a name is one of [`OWN_STAGING`].
fn is_staged(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|name| {
        let number = |rest: &str| rest.is_empty() || rest.strip_prefix('-').is_some_and(is_number);
        OWN_STAGING.iter().any(|own| name.strip_prefix(own).is_some_and(number))
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The meta directory of one database, locked against a second replicator.
#[derive(Debug)]
pub(crate) struct MetaDir {
    root: PathBuf,
    pub(crate) level0: Level0,
    own: PathBuf,
    /// Who may read what we write: whoever may read the database.
    rights: Rights,
    _lock: LockFile,
}

impl MetaDir {
    /// Where the meta directory of `database` is, unless it was put elsewhere.
    pub(crate) fn default_path(database: &Path) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(database.file_name().unwrap_or_default());
        name.push("-litestream");
        database.with_file_name(name)
    }

    /// Creates what is missing, locks it, and removes what a crash left behind.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it.
    pub(crate) fn open(database: &Path, root: PathBuf) -> Result<Self> {
        let rights = Rights::of(database).context("stat", database)?;
        let (level0, own) = (root.join(ltx::level_dir(ltx::L0)), root.join("ltxcore"));
        for dir in [&level0, &own] {
            create_dirs(dir, rights).context("create", dir)?;
        }
        let lock = lock(&own.join("lock"), rights).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::InUse { path: root.clone() },
            _ => Error::Io { op: "lock", path: own.join("lock"), source: error },
        })?;
        remove_stale(&level0, |name| {
            name.strip_suffix(".tmp").is_some_and(|name| ltx::parse_file_name(name).is_ok())
        })
        .context("clean", &level0)?;
        remove_stale(&own, is_staged).context("clean", &own)?;
        Ok(Self { root, level0: Level0::new(level0), own, rights, _lock: lock })
    }

    /// The meta directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// Where the page checksums are.
    pub(crate) fn sums_path(&self) -> PathBuf {
        self.own.join("page-checksums")
    }

    /// The directory for files that only we understand.
    pub(crate) fn own_dir(&self) -> &Path {
        &self.own
    }

    /// The transaction noted by [`MetaDir::write_wanted_snapshot`].
    pub(crate) fn wanted_snapshot(&self) -> Result<Option<TxId>> {
        let path = self.wanted_path();
        match fs::read_to_string(&path) {
            // A note that cannot be read was written all the same.
            Ok(text) => Ok(Some(text.trim().parse().unwrap_or(TxId::FIRST))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("read", &path),
        }
    }

    /// Notes durably that no restore reaches `txid` without a snapshot.
    pub(crate) fn write_wanted_snapshot(&self, txid: TxId) -> Result<()> {
        let mut staged = self.stage_own(&self.wanted_path())?;
        staged.write_all(format!("{txid}\n").as_bytes()).context("write", staged.staging())?;
        staged.commit(Commit::Replace).map(drop).map_err(Error::not_committed)
    }

    /// A snapshot has reached it.
    pub(crate) fn remove_wanted_snapshot(&self) -> Result<()> {
        remove(&self.wanted_path())
    }

    fn wanted_path(&self) -> PathBuf {
        self.own.join("snapshot-wanted")
    }

    /// A new file in [`MetaDir::own_dir`] under its staging name, as readable as the database is.
    pub(crate) fn stage_own(&self, path: &Path) -> Result<durable::Staged> {
        self.stage(path.with_extension("tmp"), path)
    }

    fn stage(&self, staging: PathBuf, path: &Path) -> Result<durable::Staged> {
        durable::Staged::at(staging.clone(), path, self.rights).context("create", &staging)
    }

    /// A new L0 file under its staging name.
    pub(crate) fn stage_l0(&self, txid: TxId) -> Result<Staged> {
        let path = self.level0.path(txid);
        let staged = self.stage(sibling(&path, ".tmp"), &path)?;
        Ok(Staged { out: BufWriter::with_capacity(256 << 10, staged), txid })
    }

    /// Makes a new L0 file durable, gives it its name, and makes the name durable.
    ///
    /// # Errors
    /// [`Error::Changed`] when the name is taken: somebody else writes here too, and nothing of theirs is overwritten.
    pub(crate) fn publish(&self, mut staged: Staged) -> Result<()> {
        let path = self.level0.path(staged.txid);
        staged.out.flush().context("write", staged.out.get_ref().staging())?;
        let whole =
            staged.out.into_inner().map_err(io::IntoInnerError::into_error).context("write", &path)?;
        let file = whole.commit(Commit::IfAbsent).map_err(|error| match error.is_taken() {
            true => Error::Changed { path: path.clone(), what: "another program made the next L0 file" },
            false => Error::not_committed(error),
        })?;
        let metadata = file.metadata().context("stat", &path)?;
        self.level0.made().insert(staged.txid, Stamp::of(&metadata));
        Ok(())
    }

    /// Removes an L0 file; one that is gone already is fine.
    pub(crate) fn remove_l0(&self, file: &LocalFile) -> Result<()> {
        self.level0.made().remove(&file.max_txid);
        remove(&self.level0.dir().join(ltx::format_file_name(file.min_txid, file.max_txid)))
    }

    /// Removes the L0 file of one transaction.
    pub(crate) fn remove_txid(&self, txid: TxId) -> Result<()> {
        remove(&self.level0.path(txid))
    }

    /// Removes every L0 file: the replica knows better than they do.
    pub(crate) fn remove_all_l0(&self) -> Result<()> {
        for file in self.level0.list()? {
            self.remove_l0(&file)?;
        }
        Ok(())
    }
}

/// A file that is being written. Dropped before [`MetaDir::publish`], it disappears.
pub(crate) struct Staged {
    out: BufWriter<durable::Staged>,
    txid: TxId,
}

impl Write for Staged {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("remove", path),
        _ => Ok(()),
    }
}

/// The kernel lets go of the lock when the process ends, however it ends, and no child of it has the lock.
fn lock(path: &Path, rights: Rights) -> io::Result<LockFile> {
    LockFile::lock(|| create_or_empty(path, rights))
}
