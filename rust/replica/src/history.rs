//! One history: which transactions the files of a replica hold, by their names and sizes, and how files join to a chain.
//!
//! Whatever asks how files follow each other asks here: a restore for its plan and for the points there are, compaction for what
//! to merge next, a follower for what leads on, an uploader for how far a restore would come and for what is missing.

mod following;
mod plan;
mod points;
mod reach;
mod retention;
mod since;
mod sources;

use ltx::{SNAPSHOT_LEVEL, TxId};

use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::head::MIN_FILE;

pub use following::following;
pub(crate) use plan::plan_from;
pub use plan::{Plan, Target, plan};
pub use points::restore_points;
pub use reach::{Obstacle, Reach};
pub use retention::{Calendar, Retention};
pub(crate) use sources::Sources;

/// How often something is planned in all, when files of the plans are merged, deleted or replaced meanwhile.
pub(crate) const MOST_PLANS: usize = 5;

/// All files of a replica, by level.
///
/// A file that is too short to be an LTX file is kept apart: nothing can be read from it, but its name says that
/// transactions have been there, which must not be passed over in silence.
pub struct History {
    levels: Vec<Vec<FileInfo>>,
    unusable: Vec<FileInfo>,
}

impl History {
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
        client.all_ltx_files(use_metadata).map(Self::new)
    }

    /// The history that these files are; those of no level are left out.
    pub fn new(files: impl IntoIterator<Item = FileInfo>) -> Self {
        let mut levels = vec![Vec::new(); usize::from(SNAPSHOT_LEVEL) + 1];
        for file in files {
            levels.iter_mut().skip(file.level.into()).take(1).for_each(|level| level.push(file));
        }
        let (levels, unusable): (Vec<_>, Vec<_>) = levels.into_iter().map(split).unzip();
        Self { levels, unusable: unusable.concat() }
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

    /// Every file below the snapshot level that may be used.
    fn increments(&self) -> impl Iterator<Item = &FileInfo> {
        self.levels.iter().take(SNAPSHOT_LEVEL.into()).flatten()
    }

    /// The files of the snapshot level that hold a whole database, ascending.
    pub(crate) fn snapshots(&self) -> impl DoubleEndedIterator<Item = &FileInfo> {
        self.level(SNAPSHOT_LEVEL).iter().filter(|file| can_be_planned(file))
    }

    /// The first file that cannot be used, of those that say to hold transactions after `reached`.
    pub(crate) fn unusable_after(&self, reached: TxId) -> Option<&FileInfo> {
        let beyond = self.unusable.iter().filter(|file| file.leads_beyond(reached));
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
        let short = self.unusable.iter().find(|file| file.continues(covered) && file.leads_beyond(covered));
        let next = files
            .iter()
            .filter(|file| file.leads_beyond(covered))
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
            if !file.continues(reached) {
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

/// Where transactions are in none of these files, by ascending first TXID, although later ones are: before each hole, the last one
/// that is in a file.
pub(crate) fn holes(files: &[FileInfo]) -> Vec<TxId> {
    let mut holes = Vec::new();
    let mut end = files.first().map_or(TxId::NONE, |file| file.max_txid);
    for file in files {
        if !file.continues(end) {
            holes.push(end);
        }
        end = end.max(file.max_txid);
    }
    holes
}

#[cfg(test)]
mod tests;
