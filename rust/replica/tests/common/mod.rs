//! Replicas made by hand, and clients that keep them in memory or fail on request.
#![allow(dead_code, reason = "every test binary uses its own part")]

pub(crate) mod resume;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ltx::{
    Checksum, Encoder, Header, HeaderFlags, PageCount, PageEncoding, PageSize, Pgno, RollingChecksum,
    Timestamp, TxId, page_checksum,
};
use replica::{Error, FileInfo, FileKey, Place, ReplicaClient, Result, RetryPolicy};

/// Repeats as often as the default, without the pauses.
pub(crate) const IMPATIENT: RetryPolicy = RetryPolicy { delays: &[Duration::ZERO; 3] };

pub(crate) fn txid(number: u64) -> TxId {
    TxId::new(number)
}

pub(crate) fn page_size(bytes: u32) -> PageSize {
    PageSize::new(bytes).unwrap()
}

/// A listing entry without a file behind it.
pub(crate) fn info(level: u8, min: u64, max: u64, millis: i64) -> FileInfo {
    let created_at = Timestamp::from_millis(millis);
    FileInfo { level, min_txid: txid(min), max_txid: txid(max), size: 1000, created_at }
}

/// Pages of a database, or of a change to one.
pub(crate) type Pages = BTreeMap<u32, Vec<u8>>;

/// What one LTX file is made of.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) page_size: u32,
    pub(crate) commit: u32,
    pub(crate) millis: i64,
    pub(crate) pages: Pages,
    pub(crate) encoding: PageEncoding,
    /// Database checksums before and after, if the file carries them.
    pub(crate) checksums: Option<(Checksum, Checksum)>,
}

impl Recipe {
    pub(crate) fn header(&self) -> Header {
        let commit = PageCount::new(self.commit);
        let header = Header::new(page_size(self.page_size), commit, txid(self.min), txid(self.max));
        let header = Header { timestamp: Timestamp::from_millis(self.millis), ..header };
        match self.checksums {
            Some((before, _)) => {
                let pre_apply_checksum = if self.min == 1 { Checksum::NONE } else { before };
                Header { flags: HeaderFlags::default(), pre_apply_checksum, ..header }
            }
            None => header,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::with_encoding(Vec::new(), &self.header(), self.encoding).unwrap();
        for (pgno, page) in &self.pages {
            encoder.write_page(Pgno::new(*pgno).unwrap(), page).unwrap();
        }
        let after = self.checksums.map_or(Checksum::NONE, |(_, after)| after);
        encoder.finish(after).unwrap().0
    }

    pub(crate) fn key(&self, level: u8) -> FileKey {
        FileKey { level, min_txid: txid(self.min), max_txid: txid(self.max) }
    }

    /// Stores the file in `client`.
    pub(crate) fn store(&self, client: &dyn ReplicaClient, level: u8) -> FileInfo {
        let bytes = self.encode();
        client.write_ltx_file(level, txid(self.min), txid(self.max), &mut bytes.as_slice()).unwrap()
    }
}

/// A snapshot whose pages are filled with a byte each, derived from page number and `seed`.
pub(crate) fn snapshot(page_bytes: u32, commit: u32, max: u64, seed: u8) -> Recipe {
    let page = |pgno: u32| (pgno, vec![seed.wrapping_add(pgno as u8); page_bytes as usize]);
    Recipe {
        min: 1,
        max,
        page_size: page_bytes,
        commit,
        millis: 1000 * max as i64,
        pages: (1..=commit).map(page).collect(),
        encoding: PageEncoding::Block,
        checksums: None,
    }
}

/// A change to some pages.
pub(crate) fn delta(page_bytes: u32, commit: u32, min: u64, max: u64, fills: &[(u32, u8)]) -> Recipe {
    let pages = fills.iter().map(|(pgno, fill)| (*pgno, vec![*fill; page_bytes as usize])).collect();
    Recipe { min, pages, commit, ..snapshot(page_bytes, 0, max, 0) }
}

pub(crate) fn database_checksum(pages: &Pages) -> Checksum {
    let mut rolling = RollingChecksum::new();
    pages.iter().for_each(|(pgno, page)| rolling.add(page_checksum(Pgno::new(*pgno).unwrap(), page)));
    rolling.get()
}

/// The bytes of a database with these pages.
pub(crate) fn database(pages: &Pages, commit: u32) -> Vec<u8> {
    (1..=commit).flat_map(|pgno| pages[&pgno].clone()).collect()
}

/// A replica in memory.
#[derive(Default)]
pub(crate) struct MemoryClient {
    pub(crate) files: Mutex<BTreeMap<FileKey, (Vec<u8>, Timestamp)>>,
}

impl MemoryClient {
    fn place(key: FileKey) -> Place {
        Place::file("memory", key)
    }

    /// Stores bytes as they are, with a time of its own.
    pub(crate) fn put(&self, key: FileKey, bytes: Vec<u8>, millis: i64) {
        self.files.lock().unwrap().insert(key, (bytes, Timestamp::from_millis(millis)));
    }
}

impl ReplicaClient for MemoryClient {
    fn client_type(&self) -> &str {
        "memory"
    }

    fn init(&self) -> Result<()> {
        Ok(())
    }

    fn ltx_files(&self, level: u8, seek: TxId, _: bool) -> Result<Vec<FileInfo>> {
        let files = self.files.lock().unwrap();
        let found = files.iter().filter(|(key, _)| key.level == level && key.min_txid >= seek);
        let info = |(key, (bytes, created_at)): (&FileKey, &(Vec<u8>, Timestamp))| FileInfo {
            level,
            min_txid: key.min_txid,
            max_txid: key.max_txid,
            size: bytes.len() as u64,
            created_at: *created_at,
        };
        Ok(found.map(info).collect())
    }

    fn open_ltx_file(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Box<dyn Read + Send>> {
        let files = self.files.lock().unwrap();
        let missing = || Error::from_io(Self::place(info.key()), io::ErrorKind::NotFound.into());
        let (bytes, _) = files.get(&info.key()).ok_or_else(missing)?;
        let start = bytes.len().min(offset as usize);
        let end = size.map_or(bytes.len(), |size| bytes.len().min(start + size as usize));
        Ok(Box::new(io::Cursor::new(bytes[start..end].to_vec())))
    }

    fn write_ltx_file(&self, level: u8, min: TxId, max: TxId, data: &mut dyn Read) -> Result<FileInfo> {
        let key = FileKey { level, min_txid: min, max_txid: max };
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).map_err(|error| Error::from_io(Self::place(key), error))?;
        let header = Header::parse(&bytes).map_err(|source| Error::Format { file: key, source })?;
        let mut files = self.files.lock().unwrap();
        if level < 9 && files.get(&key).is_some_and(|(old, _)| *old != bytes) {
            return Err(Error::Conflict { place: Box::new(Self::place(key)) });
        }
        let (size, created_at) = (bytes.len() as u64, header.timestamp);
        files.insert(key, (bytes, created_at));
        Ok(FileInfo { level, min_txid: min, max_txid: max, size, created_at })
    }

    fn delete_ltx_files(&self, infos: &[FileInfo]) -> Result<()> {
        let mut files = self.files.lock().unwrap();
        infos.iter().for_each(|info| drop(files.remove(&info.key())));
        Ok(())
    }

    fn delete_all(&self) -> Result<()> {
        self.files.lock().unwrap().clear();
        Ok(())
    }
}

/// What happens to a chosen read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Opening fails.
    Open(io::ErrorKind),
    /// Half of the bytes arrive, then an error.
    Break(io::ErrorKind),
    /// Half of the bytes arrive, then the end.
    Short,
    /// One bit of the bytes is another.
    Flip,
    /// An error of another library comes from the reader.
    Foreign,
}

/// Passes everything on, but lets reads from number `from` (from 0) to `from + count` go wrong.
pub(crate) struct FaultClient<'a> {
    pub(crate) inner: &'a dyn ReplicaClient,
    pub(crate) fault: Fault,
    pub(crate) from: usize,
    pub(crate) count: usize,
    pub(crate) reads: AtomicUsize,
}

impl<'a> FaultClient<'a> {
    pub(crate) fn new(inner: &'a dyn ReplicaClient, fault: Fault, from: usize, count: usize) -> Self {
        Self { inner, fault, from, count, reads: AtomicUsize::new(0) }
    }
}

/// The error that [`Fault::Foreign`] sends on its way.
#[derive(Debug, thiserror::Error)]
#[error("an exception with a traceback")]
pub(crate) struct Exception;

struct Then(Option<io::Error>);

impl Read for Then {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

impl ReplicaClient for FaultClient<'_> {
    fn client_type(&self) -> &str {
        "faulty"
    }

    fn init(&self) -> Result<()> {
        self.inner.init()
    }

    fn ltx_files(&self, level: u8, seek: TxId, use_metadata: bool) -> Result<Vec<FileInfo>> {
        self.inner.ltx_files(level, seek, use_metadata)
    }

    fn open_ltx_file(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Box<dyn Read + Send>> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        let mut bytes = self.inner.read_ltx_file(info, offset, size)?;
        if !(self.from..self.from.saturating_add(self.count)).contains(&number) {
            return Ok(Box::new(io::Cursor::new(bytes)));
        }
        let half = bytes.len() / 2;
        let end = match self.fault {
            Fault::Open(kind) => return Err(Error::from_io(Place::file("faulty", info.key()), kind.into())),
            Fault::Break(kind) => Some(kind.into()),
            Fault::Foreign => Some(Error::foreign(Exception, false).into_io()),
            Fault::Short => None,
            Fault::Flip => {
                bytes[half] ^= 0x10;
                return Ok(Box::new(io::Cursor::new(bytes)));
            }
        };
        bytes.truncate(half);
        Ok(Box::new(io::Cursor::new(bytes).chain(Then(end))))
    }

    fn write_ltx_file(&self, level: u8, min: TxId, max: TxId, data: &mut dyn Read) -> Result<FileInfo> {
        self.inner.write_ltx_file(level, min, max, data)
    }

    fn delete_ltx_files(&self, files: &[FileInfo]) -> Result<()> {
        self.inner.delete_ltx_files(files)
    }

    fn delete_all(&self) -> Result<()> {
        self.inner.delete_all()
    }
}
