//! What a replica holds, as far as names and sizes tell.

use ltx::TxId;

use crate::attempts::MOST_PLANS;
use crate::client::{FileInfo, ReplicaClient, SNAPSHOT_LEVEL};
use crate::error::{Error, Result};
use crate::restore::MIN_FILE;

/// All files of a replica, by level.
///
/// A file that is too short to be an LTX file is kept apart: nothing can be read from it, but its name says that
/// transactions have been there, which must not be passed over in silence.
pub(crate) struct Listing {
    levels: Vec<Vec<FileInfo>>,
    unusable: Vec<FileInfo>,
}

impl Listing {
    /// Lists every level.
    ///
    /// # Errors
    /// What the client reports. A file that vanishes between its listing and a look at its header is none, unless that happens
    /// again and again.
    pub(crate) fn read(client: &dyn ReplicaClient, use_metadata: bool) -> Result<Self> {
        for _ in 1..MOST_PLANS {
            match Self::read_once(client, use_metadata) {
                Err(error) if error.is_not_found() => {}
                read => return read,
            }
        }
        Self::read_once(client, use_metadata)
    }

    fn read_once(client: &dyn ReplicaClient, use_metadata: bool) -> Result<Self> {
        let (mut levels, mut unusable) = (Vec::new(), Vec::new());
        for level in 0..=SNAPSHOT_LEVEL {
            let (files, short) = split(client.ltx_files(level, TxId::NONE, use_metadata)?);
            levels.push(files);
            unusable.extend(short);
        }
        Ok(Self { levels, unusable })
    }

    /// The same with the files that are too short, as if they could be used.
    pub(crate) fn with_unusable(&self) -> Self {
        let mut levels = self.levels.clone();
        for file in &self.unusable {
            levels.iter_mut().skip(file.level.into()).take(1).for_each(|files| files.push(*file));
        }
        levels.iter_mut().for_each(|files| files.sort_unstable_by_key(FileInfo::key));
        Self { levels, unusable: Vec::new() }
    }

    /// Every file that may be used.
    pub(crate) fn files(&self) -> impl Iterator<Item = &FileInfo> {
        self.levels.iter().flatten()
    }

    /// Every file, even if it cannot be used.
    pub(crate) fn all(&self) -> impl Iterator<Item = &FileInfo> {
        self.files().chain(&self.unusable)
    }

    /// The files of `level`, ascending.
    pub(crate) fn level(&self, level: u8) -> &[FileInfo] {
        self.levels.get(usize::from(level)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The files of the snapshot level that hold a whole database, ascending.
    pub(crate) fn snapshots(&self) -> impl DoubleEndedIterator<Item = &FileInfo> {
        self.level(SNAPSHOT_LEVEL).iter().filter(|file| can_be_planned(file))
    }

    /// The first file that cannot be used, of those that say to hold transactions after `reached`.
    pub(crate) fn unusable_after(&self, reached: TxId) -> Option<&FileInfo> {
        let beyond = self.unusable.iter().filter(|file| file.max_txid > reached);
        beyond.min_by_key(|file| (file.min_txid, file.key()))
    }

    /// What is lost of the transactions after `reached` that `wanted` says to be there: those that no usable file has,
    /// whatever it leads to.
    pub(crate) fn lost(&self, reached: TxId, wanted: impl Fn(&FileInfo) -> bool) -> Option<Error> {
        let files: Vec<&FileInfo> = self.all().filter(|file| wanted(file)).collect();
        let top = files.iter().map(|file| file.max_txid).max()?;
        let covered = self.covered(reached);
        if covered >= top {
            return None;
        }
        let hole = covered.get().saturating_add(1);
        let short =
            self.unusable.iter().find(|file| (file.min_txid.get()..=file.max_txid.get()).contains(&hole));
        let next = files
            .iter()
            .filter(|file| file.max_txid > covered)
            .min_by_key(|file| (file.min_txid, file.key()));
        match (short, next) {
            (Some(file), _) => Some(too_short(file)),
            (None, Some(next)) => Some(Error::Gap { have: covered, next: next.key() }),
            (None, None) => None,
        }
    }

    /// Up to where every transaction after `reached` is in some usable file.
    fn covered(&self, mut reached: TxId) -> TxId {
        let mut files: Vec<&FileInfo> = self.files().filter(|file| can_be_planned(file)).collect();
        files.sort_unstable_by_key(|file| file.min_txid);
        for file in files {
            if file.min_txid.get() > reached.get().saturating_add(1) {
                break;
            }
            reached = reached.max(file.max_txid);
        }
        reached
    }
}

/// Whether a plan can contain it: a file of the snapshot level only if it begins with the first transaction.
pub(crate) fn can_be_planned(file: &FileInfo) -> bool {
    file.level < SNAPSHOT_LEVEL || file.min_txid == TxId::FIRST
}

/// Sorts the files of one level, and sets those aside that are too short to be LTX files.
pub(crate) fn split(mut files: Vec<FileInfo>) -> (Vec<FileInfo>, Vec<FileInfo>) {
    files.retain(|file| !file.min_txid.is_none() && file.min_txid <= file.max_txid);
    files.sort_unstable_by_key(FileInfo::key);
    files.into_iter().partition(|file| file.size >= MIN_FILE)
}

pub(crate) fn too_short(file: &FileInfo) -> Error {
    Error::FileTooShort { file: file.key(), size: file.size, minimum: MIN_FILE }
}
