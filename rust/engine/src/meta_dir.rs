//! The meta directory beside a database: `.<name>-litestream/`, laid out so that Litestream can take over and we from it.
//!
//! `ltx/0/<txid>-<txid>.ltx` holds the L0 files (litestream.org, format of 0.5); `ltxcore/` holds what is ours alone: the lock
//! that keeps a second replicator away, the page checksums, and the note that a snapshot is wanted. Names of ours that end in `.tmp` are
//! leftovers of a crash.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use ltx::TxId;
use osvfs::{LockFile, Stamp};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::level0::{Level0, LocalFile};

/// Files of the directory that is ours alone, before they have their names.
const OWN_STAGING: [&str; 4] =
    ["page-checksums.tmp", "snapshot-wanted.tmp", "chain-checksums.tmp", "chain-compared.tmp"];

/// Who may read what we write: whoever may read the database.
#[derive(Clone, Copy, Debug)]
struct Ownership {
    file_mode: u32,
    dir_mode: u32,
    uid: u32,
    gid: u32,
}

impl Ownership {
    fn of(database: &Path) -> io::Result<Self> {
        let file = fs::metadata(database)?;
        let dir_mode = match database.parent() {
            Some(dir) => fs::metadata(dir)?.permissions().mode() & 0o777,
            None => 0o700,
        };
        Ok(Self { file_mode: file.permissions().mode() & 0o666, dir_mode, uid: file.uid(), gid: file.gid() })
    }

    /// Gives a file or directory that we have made to owner and group of the database, as far as we may: only root gives files
    /// away, and a group is set by those who are in it. Another group gets in no further than the others.
    fn give(self, made: &File) -> io::Result<()> {
        let _ = fchown(made, Some(self.uid), None);
        let metadata = made.metadata()?;
        if metadata.gid() != self.gid && fchown(made, None, Some(self.gid)).is_err() {
            let mode = osvfs::mode_in_another_group(metadata.mode());
            // Not allowed for a lock file that another user has made.
            let _ = made.set_permissions(Permissions::from_mode(mode));
        }
        Ok(())
    }
}

/// The meta directory of one database, locked against a second replicator.
#[derive(Debug)]
pub(crate) struct MetaDir {
    root: PathBuf,
    pub(crate) level0: Level0,
    own: PathBuf,
    ownership: Ownership,
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
        let ownership = Ownership::of(database).context("stat", database)?;
        let (level0, own) = (root.join("ltx").join("0"), root.join("ltxcore"));
        for dir in [&level0, &own] {
            create_dirs(dir, ownership).context("create", dir)?;
        }
        let lock = lock(&own.join("lock"), ownership).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::InUse { path: root.clone() },
            _ => Error::Io { op: "lock", path: own.join("lock"), source: error },
        })?;
        remove_staging(&level0, |name| {
            name.strip_suffix(".tmp").is_some_and(|name| ltx::parse_file_name(name).is_ok())
        })
        .context("clean", &level0)?;
        remove_staging(&own, |name| OWN_STAGING.contains(&name)).context("clean", &own)?;
        Ok(Self { root, level0: Level0::new(level0), own, ownership, _lock: lock })
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
        let (path, staging) = (self.wanted_path(), self.wanted_path().with_extension("tmp"));
        let mut file = self.create_own(&staging)?;
        file.write_all(format!("{txid}\n").as_bytes()).context("write", &staging)?;
        file.sync_all().context("sync", &staging)?;
        fs::rename(&staging, &path).context("name", &path)?;
        sync_dir(&self.own).context("sync", &self.own)
    }

    /// A snapshot has reached it.
    pub(crate) fn remove_wanted_snapshot(&self) -> Result<()> {
        remove(&self.wanted_path())
    }

    fn wanted_path(&self) -> PathBuf {
        self.own.join("snapshot-wanted")
    }

    /// A new file in [`MetaDir::own_dir`], as readable as the database is; one of that name is emptied.
    pub(crate) fn create_own(&self, path: &Path) -> Result<File> {
        create(path, self.ownership).context("create", path)
    }

    /// A new L0 file under its staging name.
    pub(crate) fn stage_l0(&self, txid: TxId) -> Result<Staged> {
        let path = self.level0.path(txid);
        let mut staging = path.clone().into_os_string();
        staging.push(".tmp");
        let staging = PathBuf::from(staging);
        let file = create(&staging, self.ownership).context("create", &staging)?;
        Ok(Staged { out: BufWriter::with_capacity(256 << 10, file), txid, staging, path })
    }

    /// Makes a new L0 file durable, gives it its name, and makes the name durable.
    ///
    /// # Errors
    /// [`Error::Changed`] when the name is taken: somebody else writes here too, and nothing of theirs is overwritten.
    pub(crate) fn publish(&self, mut staged: Staged) -> Result<()> {
        staged.out.flush().context("write", &staged.staging)?;
        staged.out.get_ref().sync_all().context("sync", &staged.staging)?;
        match rename_new(&staged.staging, &staged.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let what = "another program made the next L0 file";
                return Err(Error::Changed { path: staged.path.clone(), what });
            }
            named => named.context("name", &staged.path)?,
        }
        let metadata = staged.out.get_ref().metadata().context("stat", &staged.path)?;
        self.level0.made().insert(staged.txid, Stamp::of(&metadata));
        sync_dir(self.level0.dir()).context("sync", self.level0.dir())
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
    out: BufWriter<File>,
    txid: TxId,
    staging: PathBuf,
    path: PathBuf,
}

impl Write for Staged {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After publishing the name is gone, and this does nothing.
        let _ = fs::remove_file(&self.staging);
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("remove", path),
        _ => Ok(()),
    }
}

/// Renames without replacing, also where the file system does not know how.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        done => done.map_err(io::Error::from),
    }
}

fn create_dirs(dir: &Path, ownership: Ownership) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_dirs(parent, ownership)?;
    }
    DirBuilder::new().mode(ownership.dir_mode).create(dir)?;
    ownership.give(&open_dir(dir)?)
}

#[expect(clippy::disallowed_methods, reason = "files of the meta directory are never opened by SQLite")]
fn create(path: &Path, ownership: Ownership) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(ownership.file_mode)
        .open(path)?;
    ownership.give(&file)?;
    Ok(file)
}

/// The kernel lets go of the lock when the process ends, however it ends, and no child of it has the lock.
fn lock(path: &Path, ownership: Ownership) -> io::Result<LockFile> {
    LockFile::lock(|| create(path, ownership))
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    open_dir(dir)?.sync_all()
}

#[expect(clippy::disallowed_methods, reason = "a directory, not a database")]
fn open_dir(dir: &Path) -> io::Result<File> {
    File::open(dir)
}

/// Removes what a crash left behind. The directory may hold files of others, so only those go whose name is `ours`.
fn remove_staging(dir: &Path, ours: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&ours) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
