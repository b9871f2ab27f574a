//! The three files of a live database, read without ever closing one behind SQLite's back.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use durable::sibling;
use ltx::{PageCount, PageSize, ReadAt};
use osvfs::{FileId, HeldSwitch, LockBytes, LockedBy, PooledFile, RangeLocks, SharedLock, Stamp};
use wal::{Cursor, DbHeader, FrameHeader, WalHeader, WalIndex, WalReader, frame_offset, wal_size};

use crate::error::{Context, Error, Result};
use crate::observed::Checkpoints;

/// A database or `-shm` file, by a descriptor that is not closed behind SQLite's back.
#[derive(Clone, Debug)]
pub(crate) struct Pooled(Arc<PooledFile>, OnceLock<RangeLocks>);

impl Pooled {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        PooledFile::open(path).map(|file| Self(Arc::new(file), OnceLock::new()))
    }

    /// Who has a lock on these bytes, through whichever other descriptor.
    pub(crate) fn lock_on(&self, bytes: LockBytes) -> io::Result<Option<LockedBy>> {
        match self.range_locks() {
            RangeLocks::OfOpenFile => self.0.lock_on(bytes),
            _ => self.0.lock_of_another_process(bytes),
        }
    }

    /// SHARED, for as long as it is held.
    pub(crate) fn try_share(&self) -> io::Result<Option<SharedLock<'_>>> {
        self.0.try_share()
    }

    /// The dead man's switch of a `-shm` file, for as long as it is held.
    pub(crate) fn try_hold_switch(&self) -> io::Result<Option<HeldSwitch<'_>>> {
        self.0.try_hold_switch()
    }

    /// Which locks work on this file.
    pub(crate) fn range_locks(&self) -> RangeLocks {
        *self.1.get_or_init(|| self.0.range_locks())
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
        let id = FileId::from_metadata(&file.metadata()?);
        Ok(Self { file: Arc::new(file), id })
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
    /// The database as its owner named it; links in it may change.
    given: PathBuf,
    /// The three files, without links.
    paths: [PathBuf; 3],
}

/// What a name means now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The file that is open here.
    Same,
    /// No file.
    Gone,
    /// Another file.
    Other,
}

impl Name {
    fn of(path: &Path, known: FileId) -> Result<Self> {
        match FileId::of(path) {
            Ok(id) if id == known => Ok(Self::Same),
            Ok(_) => Ok(Self::Other),
            Err(error) if is_missing(&error) => Ok(Self::Gone),
            Err(error) => Err(error).context("stat", path),
        }
    }
}

/// What the names of a live database mean now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) db: Name,
    pub(crate) wal: Name,
    pub(crate) shm: Name,
}

impl LiveFiles {
    /// Opens the files of the database that its owner calls `given`, and that is at `real` without links.
    pub(crate) fn open(given: &Path, real: &Path) -> Result<Self> {
        let paths = [real.to_owned(), sibling(real, "-wal"), sibling(real, "-shm")];
        let [db, wal, shm] = &paths;
        Ok(Self {
            db: Pooled::open(db).context("open", db)?,
            wal: WalFile::open(wal).context("open", wal)?,
            shm: Pooled::open(shm).context("open", shm)?,
            given: given.to_owned(),
            paths,
        })
    }

    /// The database file, without links.
    pub(crate) fn path(&self) -> &Path {
        &self.paths[0]
    }

    /// The files whose changes tell of commits: WAL and database.
    pub(crate) fn watched(&self) -> [PathBuf; 2] {
        [self.paths[1].clone(), self.paths[0].clone()]
    }

    /// What the three names mean now. That of the database is the one its owner gave: where it leads to may change.
    ///
    /// # Errors
    /// When that cannot be found out: a directory may not be searched, or a network file system does not answer.
    pub(crate) fn names(&self) -> Result<Names> {
        Ok(Names {
            db: Name::of(&self.given, self.db.0.id())?,
            wal: Name::of(&self.paths[1], self.wal.id)?,
            shm: Name::of(&self.paths[2], self.shm.0.id())?,
        })
    }

    /// The file that the database's descriptor is of, as `PRAGMA ltx_file` answers it.
    pub(crate) fn db_id(&self) -> String {
        self.db.0.id().to_string()
    }

    /// When the database file was written last, whatever its name is by now.
    pub(crate) fn stamp(&self) -> Result<Stamp> {
        self.db.0.metadata().map(|metadata| Stamp::of(&metadata)).context("stat", self.path())
    }

    /// When the WAL was written last, whatever its name is by now.
    pub(crate) fn wal_stamp(&self) -> Result<Stamp> {
        self.wal.file.metadata().map(|metadata| Stamp::of(&metadata)).context("stat", &self.paths[1])
    }

    /// What checkpoints have left in the wal-index; `None` while it is being written.
    pub(crate) fn checkpoints(&self) -> Result<Option<Checkpoints>> {
        Ok(self.read_wal_index()?.map(|index| Checkpoints::of(&index)))
    }

    /// Whether the WAL was written by something other than SQLite: it does not hold what the wal-index says, and that stays so.
    pub(crate) fn wal_was_written(&self, page_size: PageSize) -> Result<bool> {
        let Some(index) = self.read_wal_index()? else { return Ok(false) };
        if !self.contradicts(&index, page_size)? {
            return Ok(false);
        }
        // Who commits writes the frames first, and the first frames of a new WAL are in no index before that.
        if index.mx_frame == 0 && self.is_locked(LockBytes::Write)? {
            return Ok(false);
        }
        // SQLite says in the index that it begins the WAL anew, before it does.
        let is_same = self.read_wal_index()?.is_some_and(|again| again.is_as_far_as(&index));
        Ok(is_same && self.contradicts(&index, page_size)?)
    }

    fn contradicts(&self, index: &WalIndex, page_size: PageSize) -> Result<bool> {
        if index.mx_frame == 0 {
            return self.has_unknown_commits(index);
        }
        // Nobody needs frames that are all in the database file: a WAL that was emptied then is as good as the old one.
        let matters = || Ok(index.backfilled < index.mx_frame || self.wal_header()?.is_some());
        Ok(!self.has_newest_frame(index, page_size)? && matters()?)
    }

    /// Whether a WAL that has no frame, says the index, holds commits that are not those of the generation before.
    fn has_unknown_commits(&self, index: &WalIndex) -> Result<bool> {
        let Some(header) = self.wal_header()? else { return Ok(false) };
        if index.salt.follows(header.salt) || header.salt == index.salt {
            return Ok(false);
        }
        self.has_commits_from(Cursor::start(header))
    }

    /// Whether there are commits behind what the wal-index calls the newest, and nobody is about to tell it of them.
    pub(crate) fn has_commits_beyond_index(&self, page_size: PageSize) -> Result<bool> {
        let Some(index) = self.read_wal_index()?.filter(|index| index.mx_frame > 0) else { return Ok(false) };
        if self.is_end_of_wal(&index, page_size)? {
            return Ok(false);
        }
        let Some(header) = self.wal_header()?.filter(|header| header.salt == index.salt) else {
            return Ok(false);
        };
        let offset = wal_size(index.mx_frame.into(), page_size);
        let end = Cursor { header, offset, checksum: index.frame_checksum };
        // In this order: who commits writes the frames, then the index, and then lets go of the lock.
        if !self.has_commits_from(end)? || self.is_locked(LockBytes::Write)? {
            return Ok(false);
        }
        Ok(self.read_wal_index()?.is_some_and(|again| again.is_as_far_as(&index)))
    }

    fn has_commits_from(&self, start: Cursor) -> Result<bool> {
        let mut reader = WalReader::resume(self.wal.clone(), start);
        while let Some(frame) = reader.next_frame().context("read", &self.paths[1])? {
            if frame.header.commit.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the WAL is of the generation before the one that the wal-index begins: SQLite writes to it no more before its header.
    pub(crate) fn is_wal_left_behind(&self) -> Result<bool> {
        let Some(index) = self.read_wal_index()? else { return Ok(false) };
        Ok(index.mx_frame == 0 && self.wal_header()?.is_some_and(|header| index.salt.follows(header.salt)))
    }

    /// Whether a checkpoint is under way.
    pub(crate) fn checkpoint_runs(&self) -> Result<bool> {
        self.is_locked(LockBytes::Checkpoint)
    }

    /// Whether somebody has the lock of the wal-index.
    fn is_locked(&self, bytes: LockBytes) -> Result<bool> {
        let found = self.shm.lock_on(bytes).context("look at the locks of", &self.paths[2])?;
        Ok(found.is_some())
    }

    /// Whether anybody but us uses these files, although their names mean others: to be asked when our own connections are
    /// closed.
    pub(crate) fn is_left_in_use(&self) -> Result<bool> {
        let names = self.names()?;
        let held = |file: &Pooled, bytes, path: &Path| {
            file.lock_on(bytes).map(|found| found.is_some()).context("look at the locks of", path)
        };
        match (names.db, names.shm) {
            _ if self.is_elsewhere() => Ok(false),
            // Another wal-index for the same database.
            (Name::Same, Name::Gone | Name::Other) => {
                held(&self.shm, LockBytes::DeadMansSwitch, &self.paths[2])
            }
            // Another database beside the WAL and wal-index of the old one.
            (Name::Other, Name::Same) => held(&self.db, LockBytes::Shared, &self.paths[0]),
            _ => Ok(false),
        }
    }

    /// Whether the name that the owner gave leads to another place by now, where other sidecars are.
    pub(crate) fn is_elsewhere(&self) -> bool {
        fs::canonicalize(&self.given).is_ok_and(|real| real != self.paths[0])
    }

    /// Whether a connection has the file open that bears the database's name now.
    pub(crate) fn is_successor_in_use(&self) -> bool {
        let file = Pooled::open(&self.paths[0]);
        file.and_then(|file| file.lock_on(LockBytes::Shared)).is_ok_and(|found| found.is_some())
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

    /// Whether the WAL still has the frame that the wal-index calls the newest.
    pub(crate) fn has_newest_frame(&self, index: &WalIndex, page_size: PageSize) -> Result<bool> {
        if index.mx_frame == 0 {
            return Ok(true);
        }
        let mut bytes = [0; FrameHeader::SIZE];
        let newest = frame_offset(index.mx_frame.into(), page_size);
        match self.wal.read_exact_at(&mut bytes, newest) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read.context("read", &self.paths[1])?,
        }
        let is_it = |frame: FrameHeader| frame.salt == index.salt && frame.checksum == index.frame_checksum;
        Ok(FrameHeader::parse(&bytes).is_some_and(is_it))
    }

    /// Whether the WAL ends with the frame that the wal-index calls the newest: what follows is of an earlier generation.
    pub(crate) fn is_end_of_wal(&self, index: &WalIndex, page_size: PageSize) -> Result<bool> {
        let mut bytes = [0; FrameHeader::SIZE];
        let beyond = frame_offset(u64::from(index.mx_frame) + 1, page_size);
        let next = match self.wal.read_exact_at(&mut bytes, beyond) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            read => read.map(|()| FrameHeader::parse(&bytes)).context("read", &self.paths[1])?,
        };
        let goes_on = next.is_some_and(|frame| frame.salt == index.salt);
        Ok(!goes_on && self.has_newest_frame(index, page_size)?)
    }

    /// The header of the WAL; `None` when there is none, or none that is whole.
    pub(crate) fn wal_header(&self) -> Result<Option<WalHeader>> {
        WalHeader::read(&self.wal).context("read", &self.paths[0])
    }

    /// Length of the WAL file in bytes.
    pub(crate) fn wal_size(&self) -> Result<u64> {
        self.wal.len().context("read", &self.paths[1])
    }

    /// Whether the database file has the header of a database with another page size.
    pub(crate) fn has_other_page_size(&self, page_size: PageSize) -> bool {
        // There may be no header yet, while page 1 is in the WAL alone.
        let header = DbHeader::read(&self.db).ok().flatten();
        header.is_some_and(|header| header.page_size != page_size)
    }

    /// Whether the header of the database file is that of WAL mode.
    pub(crate) fn says_wal_mode(&self) -> bool {
        says_wal_mode(&self.db)
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

/// Whether a database file has the header of WAL mode.
pub(crate) fn says_wal_mode(database: &Pooled) -> bool {
    DbHeader::read(database).ok().flatten().is_some_and(|header| header.is_wal())
}

/// Whether a file is there; by `stat` alone.
pub(crate) fn exists(path: &Path) -> bool {
    fs::metadata(path).is_ok()
}

/// Whether a database file holds anything. An empty one still takes any page size and any `auto_vacuum` from whoever makes
/// its first table, and switching it to WAL mode would decide both.
pub(crate) fn has_content(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error).context("stat", path),
    }
}

/// Whether there is no such file, and not only no way to look at it.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
