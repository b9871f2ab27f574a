//! Litestream's layout: LTX files as objects `ltx/<level>/<min>-<max>.ltx`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ltx::{Header, SNAPSHOT_LEVEL, TxId};

use crate::client::{FileInfo, ReplicaClient};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::history::holes;
use crate::object_store::{IfTaken, Location, Object, ObjectStore, Span};
use crate::place::{FileKey, Place};
use crate::source::{open_source, read_full};

/// How often a level is listed in all, when files seem to be missing from it.
const MOST_LISTINGS: usize = 5;

/// A replica in an object store.
#[derive(Clone, Debug)]
pub struct LtxLayout<S> {
    store: S,
}

/// A replica in a directory: `<root>/ltx/<level>/<min>-<max>.ltx`. LTX files may be opened and closed at will: they are immutable
/// and carry no SQLite locks.
pub type FileClient = LtxLayout<Directory>;

impl FileClient {
    /// A replica below the directory `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::over(Directory::new(root))
    }

    /// The directory of the replica.
    pub fn root(&self) -> &Path {
        self.store.root()
    }
}

fn folder(level: u8) -> String {
    format!("{}/", ltx::level_dir(level))
}

fn key(file: FileKey) -> String {
    folder(file.level) + &ltx::format_file_name(file.min_txid, file.max_txid)
}

impl<S: ObjectStore> LtxLayout<S> {
    /// A replica in `store`.
    pub fn over(store: S) -> Self {
        Self { store }
    }

    fn place(&self, place: Place, key: &str) -> Place {
        match self.store.locate(key) {
            Some(Location::Path(path)) => place.with_path(&path),
            None => place,
        }
    }

    fn file_error(&self, file: FileKey, source: io::Error) -> Error {
        Error::from_io(self.file_place(file), source)
    }

    fn file_place(&self, file: FileKey) -> Place {
        self.place(Place::file(self.store.kind(), file), &key(file))
    }

    fn folder_error(&self, level: Option<u8>, folder: &str, source: io::Error) -> Error {
        let place = Place { level, ..Place::client(self.store.kind()) };
        Error::from_io(self.place(place, folder.trim_end_matches('/')), source)
    }

    /// The files of a level as one listing shows them, ascending.
    fn list(&self, level: u8, seek: TxId, use_metadata: bool) -> Result<Vec<FileInfo>> {
        let folder = folder(level);
        let start = ltx::format_file_name(seek, TxId::NONE);
        let start = start.split_once('-').map_or("", |(seek, _)| seek);
        let listed = self
            .store
            .list(&folder, start)
            .map_err(|source| self.folder_error(Some(level), &folder, source))?;
        let mut files: Vec<FileInfo> =
            listed.iter().filter_map(|object| file_info(level, &folder, object)).collect();
        if use_metadata {
            self.set_times(&mut files);
        }
        files.sort_unstable_by_key(FileInfo::key);
        Ok(files)
    }

    /// The times of the headers, of those files that have one: what a listing shows may have been lost in a copy.
    fn set_times(&self, files: &mut [FileInfo]) {
        let keys: Vec<String> = files.iter().map(|file| key(file.key())).collect();
        let start = Span { offset: 0, size: Some(Header::SIZE as u64) };
        let parts: Vec<(&str, Span)> = keys.iter().map(|key| (key.as_str(), start)).collect();
        for (file, read) in files.iter_mut().zip(self.store.read_many(&parts)) {
            if let Some(header) = read.ok().and_then(|bytes| Header::parse(&bytes).ok()) {
                file.created_at = header.timestamp;
            }
        }
    }

    /// What became of a file that was to be stored.
    fn stored(&self, file: FileKey, header: &Header, size: io::Result<u64>) -> Result<FileInfo> {
        match size {
            Ok(size) => {
                let FileKey { level, min_txid, max_txid } = file;
                Ok(FileInfo { level, min_txid, max_txid, size, created_at: header.timestamp })
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::Conflict { place: Box::new(self.file_place(file)) })
            }
            Err(error) => Err(self.file_error(file, error)),
        }
    }

    /// Those of `files` that do not begin with the header of their TXIDs, or do not end with the index of their pages. A file
    /// that is gone is one of them; so is none that cannot be read without its store.
    ///
    /// # Errors
    /// When a file that is there cannot be read.
    pub fn damaged_ltx_files(&self, files: &[FileKey]) -> Result<Vec<FileKey>> {
        let mut damaged = Vec::new();
        for file in files {
            if let Some(Location::Path(path)) = self.store.locate(&key(*file))
                && !has_both_ends(&path, *file).map_err(|source| self.file_error(*file, source))?
            {
                damaged.push(*file);
            }
        }
        Ok(damaged)
    }
}

impl<S: ObjectStore> ReplicaClient for LtxLayout<S> {
    fn client_type(&self) -> &str {
        self.store.kind()
    }

    fn is_local(&self) -> bool {
        self.store.capabilities().is_local
    }

    fn location(&self) -> String {
        self.store.location()
    }

    fn exists(&self) -> bool {
        self.store.exists()
    }

    fn init(&self) -> Result<()> {
        let levels = (0..=SNAPSHOT_LEVEL).map(folder);
        let prefixes: Vec<String> = [String::from("ltx/")].into_iter().chain(levels).collect();
        let failed = |(prefix, source): (Option<String>, io::Error)| {
            self.folder_error(None, prefix.as_deref().unwrap_or_default(), source)
        };
        self.store.init(&prefixes).map_err(failed)
    }

    fn ltx_files(&self, level: u8, seek: TxId, use_metadata: bool) -> Result<Vec<FileInfo>> {
        let mut before = self.list(level, seek, use_metadata)?;
        if level == SNAPSHOT_LEVEL || self.store.capabilities().lists_one_moment {
            return Ok(before);
        }
        for _ in 1..MOST_LISTINGS {
            let known = holes(&before);
            if known.is_empty() {
                break;
            }
            // A level that is being written may show a file and not one that came before it. The next listing shows that, and
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
        let file = info.key();
        self.store.open(&key(file), Span { offset, size }).map_err(|source| self.file_error(file, source))
    }

    fn write_ltx_file(
        &self,
        level: u8,
        min_txid: TxId,
        max_txid: TxId,
        data: &mut dyn Read,
    ) -> Result<FileInfo> {
        let file = FileKey { level, min_txid, max_txid };
        let (start, header) = read_start(file, data).map_err(|error| self.in_file(file, error))?;
        let mut whole = start.as_slice().chain(data);
        let size = self.store.write(&key(file), &mut whole, if_taken(level), header.timestamp);
        self.stored(file, &header, size)
    }

    fn write_ltx_path(&self, level: u8, min_txid: TxId, max_txid: TxId, path: &Path) -> Result<FileInfo> {
        let file = FileKey { level, min_txid, max_txid };
        let mut data = open_source(path).map_err(|source| self.file_error(file, source))?;
        let (_, header) = read_start(file, &mut data).map_err(|error| self.in_file(file, error))?;
        io::Seek::rewind(&mut data).map_err(|source| self.file_error(file, source))?;
        let size = self.store.write_file(&key(file), &mut data, if_taken(level), header.timestamp);
        self.stored(file, &header, size)
    }

    fn delete_ltx_files(&self, files: &[FileInfo]) -> Result<()> {
        let keys: Vec<String> = files.iter().map(|info| key(info.key())).collect();
        let Some((failed, source)) = self.store.delete(&keys).into_iter().next() else { return Ok(()) };
        let file = files.iter().map(FileInfo::key).find(|file| key(*file) == failed);
        let place = file.map_or_else(|| Place::client(self.store.kind()), |file| self.file_place(file));
        Err(Error::from_io(place, source))
    }

    fn delete_all(&self) -> Result<()> {
        self.store.clear().map_err(|source| self.folder_error(None, "", source))
    }
}

/// Why the start of a file was not read.
enum StartError {
    Read(io::Error),
    Wrong(Error),
}

impl<S: ObjectStore> LtxLayout<S> {
    fn in_file(&self, file: FileKey, error: StartError) -> Error {
        match error {
            StartError::Read(source) => self.file_error(file, source),
            StartError::Wrong(error) => error,
        }
    }
}

/// The first bytes of a file that is to be stored, and its header, which must be of the TXIDs of its name.
fn read_start(file: FileKey, data: &mut dyn Read) -> std::result::Result<(Vec<u8>, Header), StartError> {
    let mut start = vec![0; Header::SIZE];
    let (filled, read) = read_full(data, &mut start);
    read.map_err(StartError::Read)?;
    start.truncate(filled);
    let wrong = |error| StartError::Wrong(error);
    let header = Header::parse(&start).map_err(|source| wrong(Error::Format { file, source }))?;
    let (min, max) = (header.min_txid, header.max_txid);
    if (min, max) != (file.min_txid, file.max_txid) {
        return Err(wrong(Error::WrongTransactions { file, min, max }));
    }
    Ok((start, header))
}

/// A snapshot of the same range differs in its timestamp only, so the later one may replace the earlier.
fn if_taken(level: u8) -> IfTaken {
    if level == SNAPSHOT_LEVEL { IfTaken::Replace } else { IfTaken::Keep }
}

/// The file that an object is; `None` for one that this layout has not named.
fn file_info(level: u8, folder: &str, object: &Object) -> Option<FileInfo> {
    let (min_txid, max_txid) = ltx::parse_file_name(object.key.strip_prefix(folder)?).ok()?;
    let info = FileInfo { level, min_txid, max_txid, size: object.size, created_at: object.modified };
    (!min_txid.is_none() && min_txid <= max_txid).then_some(info)
}

fn has_both_ends(path: &Path, file: FileKey) -> io::Result<bool> {
    let mut opened = match open_source(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match read_start(file, &mut opened) {
        Err(StartError::Read(error)) => return Err(error),
        Err(StartError::Wrong(_)) => return Ok(false),
        Ok(_) => {}
    }
    match ltx::read_page_index(&opened) {
        // It is cut while it is read.
        Err(ltx::Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(ltx::Error::Io(error)) => Err(error),
        index => Ok(index.is_ok()),
    }
}
