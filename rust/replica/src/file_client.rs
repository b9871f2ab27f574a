//! A replica in a directory: `<root>/ltx/<level>/<min>-<max>.ltx`.
//!
//! Files are staged under a name that no listing shows, made durable, and then appear whole under their own name
//! with the time of their header (`durable`). LTX files may be opened and closed at will: they are immutable and carry
//! no SQLite locks.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use durable::{Commit, Rights, Staged, create_dirs, modified_millis, parent, set_time, sync_dir};
use ltx::{Header, SNAPSHOT_LEVEL, Timestamp, TxId};

use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::history::holes;
use crate::place::{FileKey, Place};
use crate::source::{open_source, read_full};

const CLIENT_TYPE: &str = "file";

/// Who may use what is created: the owner alone, as nothing is known about the rights of the database.
const RIGHTS: Rights = Rights::PRIVATE;

/// How many bytes are copied at a time.
const COPY_BLOCK: usize = 256 << 10;

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
    fn stage(&self, key: FileKey, data: &mut dyn Read) -> Result<(Staged, FileInfo)> {
        let dir = self.level_dir(key.level);
        create_dirs(&dir, RIGHTS).map_err(|source| Self::dir_error(&dir, Some(key.level), source))?;
        let fail = |source| self.file_error(key, source);
        let mut staged = Staged::new(&self.path(key), RIGHTS).map_err(fail)?;
        let mut start = [0; Header::SIZE];
        let (filled, read) = read_full(data, &mut start);
        read.map_err(fail)?;
        let header = check_header(key, &start[..filled])?;
        let size = fill(&mut staged, &start[..filled], data).map_err(fail)?;
        set_time(staged.file(), header.timestamp.millis()).map_err(fail)?;
        let FileKey { level, min_txid, max_txid } = key;
        Ok((staged, FileInfo { level, min_txid, max_txid, size, created_at: header.timestamp }))
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
        create_dirs(&dir, RIGHTS).map_err(|source| Self::dir_error(&dir, Some(level), source))?;
        set_time(&file, header.timestamp.millis()).and_then(|()| file.sync_all()).map_err(fail)?;
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
        let (staged, info) = self.stage(key, data)?;
        // A snapshot of the same range differs in its timestamp only, so the later one may replace the earlier.
        let how = if level == SNAPSHOT_LEVEL { Commit::Replace } else { Commit::IfAbsent };
        match staged.commit(how) {
            Ok(_) => Ok(info),
            Err(refused) if refused.is_taken() => self.taken(info, refused.staged.staging()),
            Err(failed) => Err(self.file_error(key, failed.source)),
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

/// Writes `start` and all of `data`; returns the size in bytes.
fn fill(staged: &mut Staged, start: &[u8], data: &mut dyn Read) -> io::Result<u64> {
    staged.write_all(start)?;
    let mut size = start.len() as u64;
    let mut block = vec![0; COPY_BLOCK];
    loop {
        let (n, read) = read_full(data, &mut block);
        read?;
        staged.write_all(&block[..n])?;
        size += n as u64;
        if n < block.len() {
            return Ok(size);
        }
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
    Timestamp::from_millis(modified_millis(metadata))
}

/// Whether a directory is not there, or none that we write to.
fn is_out_of_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
}
