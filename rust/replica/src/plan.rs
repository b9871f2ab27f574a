//! Which files rebuild a database: the newest snapshot that fits, then the longest steps forward.

use ltx::{Timestamp, TxId};

use crate::client::{FileInfo, ReplicaClient, SNAPSHOT_LEVEL};
use crate::error::{Error, Result};
use crate::points;

/// What a restore should reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The newest state.
    Latest,
    /// The state after exactly this transaction.
    Txid(TxId),
    /// The newest state from strictly before this time.
    Before(Timestamp),
}

/// The files of a restore, in the order in which they apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Files in ascending order; each continues the one before, the first starts with TXID 1.
    pub files: Vec<FileInfo>,
    /// The transaction that the restored database will be at.
    pub txid: TxId,
    /// The target time lies after the newest file: this is the newest state there is.
    pub clamped: bool,
}

impl Plan {
    /// Size of all files together, in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// When the restored state was made, as well as the listing knows.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.files.last().map(|file| file.created_at)
    }
}

/// Calculates which files of a replica restore `target`.
///
/// Every level is listed once; with a time, `created_at` comes from the file headers. The result for a replica
/// without gaps is Litestream's: the last snapshot that fits, then again and again, among all levels, the file
/// that reaches furthest without passing the target.
///
/// # Errors
/// - [`Error::NoSnapshot`]: no chain of files starts with the first transaction (before the target time).
/// - [`Error::TxidNotAvailable`]: the files do not let a restore stop at exactly this transaction.
/// - [`Error::Gap`]: transactions before the target are missing, while later ones are there. Files at or after a
///   target time play no part in that.
/// - What the client reports.
pub fn plan(client: &dyn ReplicaClient, target: &Target) -> Result<Plan> {
    let listing = Listing::read(client, matches!(target, Target::Before(_)))?;
    listing.plan(target)
}

/// All files of a replica, by level.
pub(crate) struct Listing {
    levels: Vec<Vec<FileInfo>>,
}

impl Listing {
    pub(crate) fn read(client: &dyn ReplicaClient, use_metadata: bool) -> Result<Self> {
        let list = |level| {
            let mut files = client.ltx_files(level, TxId::NONE, use_metadata)?;
            files.retain(|file| !file.min_txid.is_none() && file.min_txid <= file.max_txid);
            files.sort_unstable_by_key(FileInfo::key);
            Ok(files)
        };
        Ok(Self { levels: (0..=SNAPSHOT_LEVEL).map(list).collect::<Result<_>>()? })
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &FileInfo> {
        self.levels.iter().flatten()
    }

    /// The files of `level`, ascending; only those that hold a whole database at the snapshot level.
    fn level(&self, level: u8) -> &[FileInfo] {
        self.levels.get(usize::from(level)).map(Vec::as_slice).unwrap_or_default()
    }

    fn snapshots(&self) -> impl DoubleEndedIterator<Item = &FileInfo> {
        self.level(SNAPSHOT_LEVEL).iter().filter(|file| file.min_txid == TxId::FIRST)
    }

    pub(crate) fn plan(&self, target: &Target) -> Result<Plan> {
        let (files, gap) = self.walk(target);
        let txid = files.last().map_or(TxId::NONE, |file| file.max_txid);
        if let Target::Txid(wanted) = *target {
            if txid != wanted || wanted.is_none() {
                return Err(self.unreachable(wanted));
            }
        } else {
            if files.is_empty() {
                let eligible = self.files().filter(|file| fits(file, target));
                return Err(Error::NoSnapshot { first: eligible.map(txids).min() });
            }
            if let Some(next) = gap {
                return Err(gap_error(txid, next));
            }
        }
        Ok(Plan { files, txid, clamped: self.is_clamped(target) })
    }

    /// Walks as far towards `target` as the files lead. The second value is the lowest file that fits the target
    /// but begins after a gap.
    fn walk(&self, target: &Target) -> (Vec<FileInfo>, Option<FileInfo>) {
        let mut chain: Vec<FileInfo> =
            self.snapshots().rfind(|file| fits(file, target)).copied().into_iter().collect();
        let mut reached = chain.last().map_or(TxId::NONE, |file| file.max_txid);
        let mut cursors: Vec<Cursor<'_>> =
            (0..SNAPSHOT_LEVEL).rev().map(|level| Cursor { rest: self.level(level), best: None }).collect();
        while Target::Txid(reached) != *target {
            let candidates = cursors.iter_mut().filter_map(|cursor| cursor.advance(reached, target));
            let Some(best) = candidates.reduce(better) else {
                break;
            };
            chain.push(*best);
            reached = best.max_txid;
        }
        let beyond = cursors.iter().filter_map(|cursor| cursor.rest.iter().find(|file| fits(file, target)));
        (chain, beyond.min_by_key(|file| file.key().min_txid).copied())
    }

    /// Why `wanted` was not reached: transactions are lost on the way, or no file ends there.
    fn unreachable(&self, wanted: TxId) -> Error {
        let (chain, gap) = self.walk(&Target::Latest);
        let reached = chain.last().map_or(TxId::NONE, |file| file.max_txid);
        match gap {
            Some(next) if reached < wanted && !reached.is_none() => gap_error(reached, next),
            _ => Error::TxidNotAvailable { txid: wanted, available: points::reachable(self) },
        }
    }

    fn is_clamped(&self, target: &Target) -> bool {
        matches!(target, Target::Before(_)) && self.files().all(|file| fits(file, target))
    }
}

/// One level on the way up; files that were passed never come back.
struct Cursor<'a> {
    rest: &'a [FileInfo],
    best: Option<&'a FileInfo>,
}

impl<'a> Cursor<'a> {
    /// The best file of the level that continues `reached`.
    fn advance(&mut self, reached: TxId, target: &Target) -> Option<&'a FileInfo> {
        let next = reached.get().saturating_add(1);
        while let Some((file, rest)) = self.rest.split_first()
            && file.min_txid.get() <= next
        {
            self.rest = rest;
            if fits(file, target) {
                self.best = Some(self.best.map_or(file, |best| better(best, file)));
            }
        }
        self.best = self.best.filter(|best| best.max_txid > reached);
        self.best
    }
}

/// The file that leads further; of equals the one that covers more, then the one merged more, then the older.
fn better<'a>(a: &'a FileInfo, b: &'a FileInfo) -> &'a FileInfo {
    let rank = |file: &FileInfo| {
        use std::cmp::Reverse;
        (file.max_txid, Reverse(file.min_txid), file.level, Reverse(file.created_at))
    };
    if rank(b) > rank(a) { b } else { a }
}

fn fits(file: &FileInfo, target: &Target) -> bool {
    match *target {
        Target::Latest => true,
        Target::Txid(txid) => file.max_txid <= txid,
        Target::Before(time) => file.created_at < time,
    }
}

fn txids(file: &FileInfo) -> (TxId, TxId) {
    (file.min_txid, file.max_txid)
}

fn gap_error(have: TxId, next: FileInfo) -> Error {
    Error::Gap { have, next_min: next.min_txid, next_max: next.max_txid }
}
