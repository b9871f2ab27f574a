//! A replica in a directory: `<root>/ltx/<level>/<min>-<max>.ltx`.
//!
//! Files are staged under a name that no listing shows, made durable, and then appear whole under their own name
//! with the time of their header. This is one of the two places in the crate that open files: LTX files are
//! immutable and carry no SQLite locks, so opening and closing them harms nobody.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use ltx::{Header, Timestamp, TxId};

use crate::client::{FileInfo, ReplicaClient, SNAPSHOT_LEVEL, read_full};
use crate::error::{Error, Result};
use crate::history::holes;
use crate::place::{FileKey, Place};
use crate::stage::Stage;

const CLIENT_TYPE: &str = "file";

/// Access rights of directories that are created: the owner's only, as nothing is known about the database's.
const DIR_MODE: u32 = 0o700;

/// How often a directory is listed in all, when files seem to be missing from a level.
const MOST_LISTINGS: usize = 5;

/// Client for a directory on a local or mounted file system.
#[derive(Clone, Debug)]
pub struct FileClient {
    root: PathBuf,
    link: bool,
}

impl FileClient {
    /// A replica below the directory `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), link: false }
    }

    /// Lets [`ReplicaClient::write_ltx_path`] make hard links instead of copies where the file system can.
    ///
    /// Costs nothing, but one damaged disk block then damages the source and the replica.
    #[must_use]
    pub fn with_link(self, link: bool) -> Self {
        Self { link, ..self }
    }

    /// The directory of the replica.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn level_dir(&self, level: u8) -> PathBuf {
        self.root.join(ltx::level_dir(level))
    }

    pub(crate) fn path(&self, key: FileKey) -> PathBuf {
        self.level_dir(key.level).join(ltx::format_file_name(key.min_txid, key.max_txid))
    }

    pub(crate) fn file_error(&self, key: FileKey, source: io::Error) -> Error {
        Error::from_io(Place::file(CLIENT_TYPE, key).with_path(&self.path(key)), source)
    }

    fn dir_error(path: &Path, level: Option<u8>, source: io::Error) -> Error {
        Error::from_io(Place { level, ..Place::client(CLIENT_TYPE).with_path(path) }, source)
    }

    /// What the listing shows of one directory entry; `None` for everything that is no LTX file.
    fn entry_info(
        &self,
        level: u8,
        entry: &fs::DirEntry,
        seek: TxId,
        exact: bool,
    ) -> io::Result<Option<FileInfo>> {
        let Some((min_txid, max_txid)) = entry.file_name().to_str().and_then(parse_own_name) else {
            return Ok(None);
        };
        if min_txid < seek {
            return Ok(None);
        }
        let metadata = match entry.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let by_header = exact.then(|| header_time(&entry.path())).flatten();
        let created_at = by_header.unwrap_or_else(|| modified_at(&metadata));
        Ok(Some(FileInfo { level, min_txid, max_txid, size: metadata.len(), created_at }))
    }

    /// The files of a level as one pass over its directory shows them, ascending.
    fn list(&self, level: u8, seek: TxId, use_metadata: bool) -> Result<Vec<FileInfo>> {
        let dir = self.level_dir(level);
        let fail = |source| Self::dir_error(&dir, Some(level), source);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let info = entry.and_then(|entry| self.entry_info(level, &entry, seek, use_metadata));
            files.extend(info.map_err(fail)?);
        }
        files.sort_unstable_by_key(FileInfo::key);
        Ok(files)
    }

    /// Stages `data` beside its final name and checks that it is the file it is said to be.
    fn stage(&self, key: FileKey, data: &mut dyn Read) -> Result<(Stage, FileInfo)> {
        let dir = self.level_dir(key.level);
        ensure_dir(&dir).map_err(|source| Self::dir_error(&dir, Some(key.level), source))?;
        let fail = |source| self.file_error(key, source);
        let mut stage =
            Stage::create(&dir, &ltx::format_file_name(key.min_txid, key.max_txid)).map_err(fail)?;
        let mut start = [0; Header::SIZE];
        let (filled, read) = read_full(data, &mut start);
        read.map_err(fail)?;
        let header = check_header(key, &start[..filled])?;
        let size = stage.fill(&start[..filled], data).map_err(fail)?;
        stage.seal(header.timestamp).map_err(fail)?;
        let FileKey { level, min_txid, max_txid } = key;
        Ok((stage, FileInfo { level, min_txid, max_txid, size, created_at: header.timestamp }))
    }

    /// Whether the file stored under `key` is byte for byte the one at `path`.
    fn same_content(&self, key: FileKey, path: &Path) -> io::Result<bool> {
        let (mut ours, mut theirs) = (open_source(path)?, open_source(&self.path(key))?);
        if ours.metadata()?.len() != theirs.metadata()?.len() {
            return Ok(false);
        }
        let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            let (n, read) = read_full(&mut ours, &mut a);
            read?;
            let (m, read) = read_full(&mut theirs, &mut b);
            read?;
            if a[..n] != b[..m] {
                return Ok(false);
            }
            if n == 0 {
                return Ok(true);
            }
        }
    }

    /// The name is taken: by the same content, which is as good as having written it, or by something else.
    fn taken(&self, info: FileInfo, path: &Path) -> Result<FileInfo> {
        let key = info.key();
        let fail = |source| self.file_error(key, source);
        if self.same_content(key, path).map_err(fail)? {
            // Whoever wrote it may have been killed before its name was durable.
            return sync_dir(&self.level_dir(key.level)).map_err(fail).map(|()| info);
        }
        let place = Place::file(CLIENT_TYPE, key).with_path(&self.path(key));
        Err(Error::Conflict { place: Box::new(place) })
    }

    /// Makes `path` itself a file of the replica; `None` where that is impossible.
    fn try_link(&self, key: FileKey, path: &Path) -> Result<Option<FileInfo>> {
        let fail = |source| self.file_error(key, source);
        let file = open_source(path).map_err(fail)?;
        let mut start = [0; Header::SIZE];
        let (filled, read) = read_full(&mut &file, &mut start);
        read.map_err(fail)?;
        let header = check_header(key, &start[..filled])?;
        let size = file.metadata().map_err(fail)?.len();
        let FileKey { level, min_txid, max_txid } = key;
        let info = FileInfo { level, min_txid, max_txid, size, created_at: header.timestamp };
        let dir = self.level_dir(level);
        ensure_dir(&dir).map_err(|source| Self::dir_error(&dir, Some(level), source))?;
        crate::stage::seal(&file, header.timestamp).map_err(fail)?;
        match fs::hard_link(path, self.path(key)) {
            Ok(()) => sync_dir(&dir).map_err(fail).map(|()| Some(info)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.taken(info, path).map(Some),
            Err(_) => Ok(None),
        }
    }
}

impl ReplicaClient for FileClient {
    fn client_type(&self) -> &str {
        CLIENT_TYPE
    }

    fn is_local(&self) -> bool {
        true
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn exists(&self) -> bool {
        self.root.exists()
    }

    fn init(&self) -> Result<()> {
        // What a listing shows counts as stored, and who gave it its name may have been killed before that was durable.
        let above = [parent(&self.root).to_owned(), self.root.clone(), self.root.join("ltx")];
        let levels = (0..=SNAPSHOT_LEVEL).map(|level| self.level_dir(level));
        above.into_iter().chain(levels).try_for_each(|dir| match sync_dir(&dir) {
            Err(error) if !is_out_of_reach(&error) => Err(Self::dir_error(&dir, None, error)),
            _ => Ok(()),
        })
    }

    fn ltx_files(&self, level: u8, seek: TxId, use_metadata: bool) -> Result<Vec<FileInfo>> {
        let mut before = self.list(level, seek, use_metadata)?;
        for _ in 1..MOST_LISTINGS {
            let known = holes(&before);
            if level == SNAPSHOT_LEVEL || known.is_empty() {
                break;
            }
            // A directory that is being written may show a file and not one that came before it. The next listing shows that, and
            // what it does not show beyond the end of the last one has come meanwhile: so has all that follows.
            let mut files = self.list(level, seek, use_metadata)?;
            let end = before.last().map_or(TxId::NONE, |file| file.max_txid);
            let new: Vec<_> = holes(&files).into_iter().filter(|hole| !known.contains(hole)).collect();
            if let Some(hole) = new.iter().find(|hole| **hole >= end) {
                files.retain(|file| file.max_txid <= *hole);
            }
            let is_settled = new.iter().all(|hole| *hole >= end);
            before = files;
            if is_settled {
                break;
            }
        }
        Ok(before)
    }

    fn open_ltx_file(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Box<dyn Read + Send>> {
        let key = info.key();
        let file = open_source(&self.path(key)).map_err(|source| self.file_error(key, source))?;
        Ok(Box::new(FileRange { file, offset, rest: size.unwrap_or(u64::MAX) }))
    }

    fn write_ltx_file(
        &self,
        level: u8,
        min_txid: TxId,
        max_txid: TxId,
        data: &mut dyn Read,
    ) -> Result<FileInfo> {
        let key = FileKey { level, min_txid, max_txid };
        let (stage, info) = self.stage(key, data)?;
        let path = self.path(key);
        // A snapshot of the same range differs in its timestamp only, so the later one may replace the earlier.
        let published = if level == SNAPSHOT_LEVEL { stage.replace(&path) } else { stage.publish_new(&path) };
        match published {
            Ok(()) => Ok(info),
            Err((stage, error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.taken(info, stage.path())
            }
            Err((_, error)) => Err(self.file_error(key, error)),
        }
    }

    fn write_ltx_path(&self, level: u8, min_txid: TxId, max_txid: TxId, path: &Path) -> Result<FileInfo> {
        let key = FileKey { level, min_txid, max_txid };
        if self.link
            && level != SNAPSHOT_LEVEL
            && let Some(info) = self.try_link(key, path)?
        {
            return Ok(info);
        }
        let mut file = open_source(path).map_err(|source| self.file_error(key, source))?;
        self.write_ltx_file(level, min_txid, max_txid, &mut file)
    }

    fn delete_ltx_files(&self, files: &[FileInfo]) -> Result<()> {
        for info in files {
            match fs::remove_file(self.path(info.key())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.file_error(info.key(), error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn delete_all(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Self::dir_error(&self.root, None, error))
            }
            _ => Ok(()),
        }
    }
}

/// A part of a file, read without moving a shared position.
struct FileRange {
    file: File,
    offset: u64,
    rest: u64,
}

impl Read for FileRange {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.rest).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read_at(&mut buf[..limit], self.offset)?;
        self.offset = self.offset.saturating_add(n as u64);
        self.rest -= n as u64;
        Ok(n)
    }
}

/// TXIDs of a file name that this replica could have given.
fn parse_own_name(name: &str) -> Option<(TxId, TxId)> {
    ltx::parse_file_name(name).ok().filter(|(min, max)| !min.is_none() && min <= max)
}

fn check_header(key: FileKey, start: &[u8]) -> Result<Header> {
    let header = Header::parse(start).map_err(|source| Error::Format { file: key, source })?;
    if (header.min_txid, header.max_txid) == (key.min_txid, key.max_txid) {
        return Ok(header);
    }
    Err(Error::WrongTransactions { file: key, min: header.min_txid, max: header.max_txid })
}

/// Timestamp in the header of the file at `path`; `None` if it has none that can be read.
fn header_time(path: &Path) -> Option<Timestamp> {
    let mut start = [0; Header::SIZE];
    open_source(path).ok()?.read_exact_at(&mut start, 0).ok()?;
    Header::parse(&start).ok().map(|header| header.timestamp)
}

fn modified_at(metadata: &fs::Metadata) -> Timestamp {
    let millis = metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    Timestamp::from_millis(millis)
}

/// Creates `dir` and what is missing above it, each made durable in the directory above.
pub(crate) fn ensure_dir(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    ensure_dir(dir.parent().unwrap_or(Path::new("")))?;
    match DirBuilder::new().mode(DIR_MODE).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_parent(dir),
    }
}

/// Makes the names in `dir` durable.
#[expect(clippy::disallowed_methods, reason = "a directory of a replica or of a restored database")]
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether a directory is not there, or none that we write to.
fn is_out_of_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
}

/// Makes the name `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(parent(path))
}

/// The directory that the name `path` is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens an LTX file for reading.
#[expect(clippy::disallowed_methods, reason = "LTX files are immutable and carry no SQLite locks")]
pub(crate) fn open_source(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Creates a file that must not exist yet.
#[expect(clippy::disallowed_methods, reason = "a new file: nobody can hold a lock on it")]
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
}
