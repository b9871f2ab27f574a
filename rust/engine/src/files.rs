//! The three files of a live database, read without ever closing one behind SQLite's back.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ltx::{PageCount, PageSize, ReadAt};
use osvfs::{FileId, PooledFile};
use wal::{WalHeader, WalIndex};

use crate::error::{Context, Error, Result};

/// A database or `-shm` file, by a descriptor that is not closed behind SQLite's back.
#[derive(Clone, Debug)]
pub(crate) struct Pooled(Arc<PooledFile>);

impl Pooled {
    fn open(path: &Path) -> io::Result<Self> {
        PooledFile::open(path).map(|file| Self(Arc::new(file)))
    }
}

impl ReadAt for Pooled {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.size()
    }
}

/// The WAL. SQLite keeps no lock on it, so it may be opened and closed at will.
#[derive(Clone, Debug)]
pub(crate) struct WalFile {
    file: Arc<File>,
    id: FileId,
}

impl WalFile {
    #[expect(clippy::disallowed_methods, reason = "no SQLite lock ever lives on a WAL")]
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { file: Arc::new(file), id: FileId::of(path)? })
    }
}

impl ReadAt for WalFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&*self.file, buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }
}

/// Database, WAL and wal-index of one live database.
///
/// To be opened while a connection of ours holds a read transaction: from then on the two side files exist, and stay.
#[derive(Clone, Debug)]
pub(crate) struct LiveFiles {
    pub(crate) db: Pooled,
    pub(crate) wal: WalFile,
    shm: Pooled,
    paths: [PathBuf; 3],
}

impl LiveFiles {
    /// Opens the files of the database at `paths`: database, WAL, wal-index.
    pub(crate) fn open(paths: [PathBuf; 3]) -> Result<Self> {
        let [db, wal, shm] = &paths;
        Ok(Self {
            db: Pooled::open(db).context("open", db)?,
            wal: WalFile::open(wal).context("open", wal)?,
            shm: Pooled::open(shm).context("open", shm)?,
            paths,
        })
    }

    /// The database file.
    pub(crate) fn path(&self) -> &Path {
        &self.paths[0]
    }

    /// Whether the three names still mean the files that are open here.
    ///
    /// # Errors
    /// [`Error::Changed`] says which does not.
    pub(crate) fn verify_identity(&self) -> Result<()> {
        let known = [self.db.0.id(), self.wal.id, self.shm.0.id()];
        let what = ["the database file was replaced", "the wal was replaced", "the wal-index was replaced"];
        for ((path, known), what) in self.paths.iter().zip(known).zip(what) {
            if FileId::of(path).ok() != Some(known) {
                return Err(Error::Changed { path: self.paths[0].clone(), what });
            }
        }
        Ok(())
    }

    /// The wal-index as it stands; `None` while somebody is writing it, or before anybody has.
    ///
    /// `backfilled` is read before the rest, so it belongs to a checkpoint that knew of no frame beyond `mx_frame`. That
    /// matters: a checkpoint which stops short of the newest frame does not move a page that has a later frame as well, so its
    /// number says what is in the database file only together with all the frames it knew of.
    pub(crate) fn wal_index(&self) -> Result<Option<WalIndex>> {
        let (Some(before), Some(index)) = (self.read_wal_index()?, self.read_wal_index()?) else {
            return Ok(None);
        };
        Ok((before.salt == index.salt).then_some(WalIndex { backfilled: before.backfilled, ..index }))
    }

    fn read_wal_index(&self) -> Result<Option<WalIndex>> {
        let mut bytes = [0; WalIndex::SIZE];
        match self.shm.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(WalIndex::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error).context("read", &self.paths[2]),
        }
    }

    /// The header of the WAL; `None` when there is none, or none that is whole.
    pub(crate) fn wal_header(&self) -> Result<Option<WalHeader>> {
        WalHeader::read(&self.wal).context("read", &self.paths[0])
    }

    /// Length of the WAL file in bytes.
    pub(crate) fn wal_size(&self) -> Result<u64> {
        self.wal.len().context("read", &self.paths[1])
    }

    /// Length of the database file in whole pages.
    pub(crate) fn db_pages(&self, page_size: PageSize) -> Result<PageCount> {
        let bytes = self.db.len().context("read", &self.paths[0])?;
        let pages = bytes / u64::from(page_size.get());
        u32::try_from(pages).map(PageCount::new).map_err(|_| Error::Changed {
            path: self.paths[0].clone(),
            what: "the database file is larger than SQLite allows",
        })
    }
}

/// Whether a file is there; by `stat` alone.
pub(crate) fn exists(path: &Path) -> bool {
    fs::metadata(path).is_ok()
}
