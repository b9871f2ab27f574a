//! The L0 files of a meta directory, as whoever reads them sees them.
//!
//! The meta directory itself is locked for as long as it is open. Reading its files needs no lock, and must not keep one: so
//! they are handed out without it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use durable::modified_millis;
use ltx::{Header, Timestamp, TxId};
use osvfs::Stamp;

use crate::error::{Context, Result};

/// One L0 file of the meta directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// First and only transaction.
    pub min_txid: TxId,
    /// The same; kept apart because the name has both.
    pub max_txid: TxId,
    /// Length in bytes.
    pub size: u64,
    /// Modification time.
    pub created_at: Timestamp,
}

/// The directory of the L0 files.
#[derive(Clone, Debug)]
pub(crate) struct Level0(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// The L0 files of this process as they were when they were done: whatever changes one changes that.
    made: Mutex<BTreeMap<TxId, Stamp>>,
}

impl Level0 {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self(Arc::new(Inner { dir, made: Mutex::default() }))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Path of the L0 file of one transaction.
    pub(crate) fn path(&self, txid: TxId) -> PathBuf {
        self.0.dir.join(ltx::format_file_name(txid, txid))
    }

    /// All of them, oldest first.
    pub(crate) fn list(&self) -> Result<Vec<LocalFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0.dir).context("list", &self.0.dir)? {
            let entry = entry.context("list", &self.0.dir)?;
            let name = entry.file_name();
            let Some((min_txid, max_txid)) = name.to_str().and_then(|name| ltx::parse_file_name(name).ok())
            else {
                continue;
            };
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata.context("stat", &entry.path())?,
            };
            let created_at = Timestamp::from_millis(modified_millis(&metadata));
            files.push(LocalFile { min_txid, max_txid, size: metadata.len(), created_at });
        }
        files.sort_unstable_by_key(|file| (file.min_txid, file.max_txid));
        Ok(files)
    }

    /// Opens the L0 file of `txid`; `None` when it is not here.
    #[expect(clippy::disallowed_methods, reason = "SQLite never opens an LTX file")]
    pub(crate) fn open(&self, txid: TxId) -> Result<Option<File>> {
        let path = self.path(txid);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("open", &path),
        }
    }

    /// Whether the L0 file of `txid` is whole. What this process has made is not read again.
    ///
    /// # Errors
    /// As [`Level0::sound_header`].
    pub(crate) fn is_sound(&self, txid: TxId) -> Result<bool> {
        let made = self.made().get(&txid).copied();
        let is_as_made =
            || fs::metadata(self.path(txid)).is_ok_and(|metadata| Some(Stamp::of(&metadata)) == made);
        Ok(made.is_some() && is_as_made() || self.sound_header(txid)?.is_some())
    }

    /// The header of the L0 file of `txid`, if the file is whole.
    ///
    /// # Errors
    /// When the file cannot be opened, which says nothing about it.
    pub(crate) fn sound_header(&self, txid: TxId) -> Result<Option<Header>> {
        let header = self.open(txid)?.and_then(|file| whole_header(file).ok());
        Ok(header.filter(|header| header.min_txid == txid && header.max_txid == txid))
    }

    /// Whether the directory of the L0 files is where it was put.
    pub(crate) fn is_there(&self) -> bool {
        self.0.dir.is_dir()
    }

    /// Whether the L0 file of `txid` is where it was put.
    pub(crate) fn has(&self, txid: TxId) -> bool {
        crate::files::exists(&self.path(txid))
    }

    /// The files that this process has made.
    pub(crate) fn made(&self) -> MutexGuard<'_, BTreeMap<TxId, Stamp>> {
        self.0.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an LTX file to its end.
fn whole_header(file: File) -> ltx::Result<Header> {
    let mut decoder = ltx::Decoder::new(BufReader::new(file))?;
    let (header, mut page) = (*decoder.header(), vec![0; decoder.header().page_size.bytes()]);
    while decoder.next_page(&mut page)?.is_some() {}
    decoder.finish()?;
    Ok(header)
}
