//! Which files rebuild a database: the newest snapshot that fits, then the longest steps forward.

use ltx::{SNAPSHOT_LEVEL, Timestamp, TxId};

use super::points;
use super::{History, too_short};
use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::head::MIN_FILE;
use crate::place::{RestorePoint, after};

/// What a restore should reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The newest state.
    Latest,
    /// The state after exactly this transaction.
    Txid(TxId),
    /// The newest state from strictly before this time that can be restored.
    Before(Timestamp),
}

/// The files of a restore, in the order in which they apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Files in ascending order; each continues the one before. The first starts with TXID 1, or holds every page.
    pub files: Vec<FileInfo>,
    /// The transaction that the restored database will be at.
    pub txid: TxId,
    /// The target time lies after the newest file: this is the newest state there is.
    pub clamped: bool,
    /// Nothing that was committed before the target time is known to be, or may be, left out. It is false if the next
    /// transactions have been merged with later ones, so that the states between them are gone.
    pub exact: bool,
    /// Files that lead there from the transaction of a copy, [`RestoreOptions::base`](crate::RestoreOptions::base), and have fewer
    /// bytes than `files`; none if the copy is there already. `None` if there is no such way, or no copy.
    pub since: Option<Vec<FileInfo>>,
}

impl Plan {
    /// Size of all files together, in bytes.
    pub fn size(&self) -> u64 {
        size(&self.files)
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
/// that reaches furthest without passing the target. Files that are too short to be LTX files are avoided.
///
/// # Errors
/// - [`Error::EmptyReplica`]: there is nothing.
/// - [`Error::NoSnapshot`]: no chain of files starts with the first transaction.
/// - [`Error::TooEarly`]: nothing that can be restored is from before the target time.
/// - [`Error::TxidNotAvailable`]: the files do not let a restore stop at exactly this transaction.
/// - [`Error::Gap`]: transactions before the target are in no file, while later ones are. Files at or after a target time
///   play no part in that.
/// - [`Error::FileTooShort`]: such transactions should be in a file that cannot be one.
/// - What the client reports.
pub fn plan(client: &dyn ReplicaClient, target: &Target) -> Result<Plan> {
    plan_from(client, target, None)
}

/// The same, with the files that lead there from the first transaction of `from`, for a copy that is at the second one.
pub(crate) fn plan_from(
    client: &dyn ReplicaClient,
    target: &Target,
    from: Option<(TxId, TxId)>,
) -> Result<Plan> {
    let history = History::read(client, matches!(target, Target::Before(_)))?;
    if history.all().next().is_none() {
        return Err(Error::EmptyReplica { location: client.location(), exists: client.exists() });
    }
    let plan = match *target {
        Target::Latest => history.latest(),
        Target::Txid(txid) => history.exactly(txid),
        Target::Before(time) => history.before(time),
    }?;
    let since = from.and_then(|(from, position)| {
        // What the copy has from later transactions the files hardly ever bring back. To try that may cost this part of a restore.
        let most = if position > plan.txid { plan.size() / 4 } else { plan.size() };
        history.cheapest(from, plan.txid).filter(|files| size(files) < most)
    });
    Ok(Plan { since, ..plan })
}

fn size(files: &[FileInfo]) -> u64 {
    files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
}

/// Beyond every transaction.
pub(super) const END: TxId = TxId::new(u64::MAX);

impl History {
    fn latest(&self) -> Result<Plan> {
        let files = self.walk(END);
        let reached = files.last().map_or(TxId::NONE, |file| file.max_txid);
        if files.is_empty() {
            return Err(self.nothing());
        }
        match self.lost(reached, |_| true) {
            Some(error) => Err(error),
            None => Ok(Plan { files, txid: reached, clamped: false, exact: true, since: None }),
        }
    }

    fn exactly(&self, wanted: TxId) -> Result<Plan> {
        let files = self.walk(wanted);
        match files.last() {
            Some(last) if last.max_txid == wanted => {
                Ok(Plan { files, txid: wanted, clamped: false, exact: true, since: None })
            }
            _ => Err(self.unreachable(wanted)),
        }
    }

    /// The order of transactions counts for more than their times: a clock may have been wrong for some of them. So what
    /// is looked for is a state whose last transaction is from before `time`, whatever the others say.
    fn before(&self, time: Timestamp) -> Result<Plan> {
        let points = points::collect(self);
        let Some(point) = points.iter().rfind(|point| point.created_at < time) else {
            return Err(self.too_early(time, points.first()));
        };
        let reached = point.txid;
        let fits = |file: &FileInfo| file.created_at < time;
        if let Some(error) = self.lost(reached, fits) {
            return Err(error);
        }
        let next = after(reached);
        let beyond = || self.all().filter(|file| file.leads_beyond(reached));
        let next_is_later = || beyond().any(|file| file.max_txid == next) && !beyond().any(fits);
        let exact = beyond().next().is_none() || next_is_later();
        let clamped = self.all().all(fits);
        Ok(Plan { files: self.walk(reached), txid: reached, clamped, exact, since: None })
    }

    /// Walks as far towards `limit` as the files lead, and never beyond.
    pub(super) fn walk(&self, limit: TxId) -> Vec<FileInfo> {
        let start = self.snapshots().rfind(|file| file.max_txid <= limit);
        let mut chain: Vec<FileInfo> = start.copied().into_iter().collect();
        let mut reached = chain.last().map_or(TxId::NONE, |file| file.max_txid);
        let mut cursors: Vec<Cursor<'_>> =
            (0..SNAPSHOT_LEVEL).rev().map(|level| Cursor { rest: self.level(level), best: None }).collect();
        while reached < limit {
            let candidates = cursors.iter_mut().filter_map(|cursor| cursor.advance(reached, limit));
            let Some(best) = candidates.reduce(better) else {
                break;
            };
            chain.push(*best);
            reached = best.max_txid;
        }
        chain
    }

    /// Why no chain begins.
    pub(super) fn nothing(&self) -> Error {
        match self.unusable_after(TxId::NONE) {
            Some(file) if file.min_txid == TxId::FIRST => too_short(file),
            _ => Error::NoSnapshot { first: self.all().map(txids).min() },
        }
    }

    fn too_early(&self, time: Timestamp, earliest: Option<&RestorePoint>) -> Error {
        earliest.map_or_else(|| self.nothing(), |earliest| Error::TooEarly { time, earliest: *earliest })
    }

    /// Why `wanted` was not reached: a file on the way cannot be used, transactions are lost, or no file ends there.
    fn unreachable(&self, wanted: TxId) -> Error {
        let chain = self.with_unusable().walk(wanted);
        let leads_there = chain.last().is_some_and(|file| file.max_txid == wanted);
        if let Some(file) = chain.iter().find(|file| leads_there && file.size < MIN_FILE) {
            return too_short(file);
        }
        let reached = self.walk(END).last().map_or(TxId::NONE, |file| file.max_txid);
        match self.lost(reached, |_| true) {
            Some(lost) if reached < wanted && !reached.is_none() => lost,
            _ => Error::TxidNotAvailable { txid: wanted, available: points::reachable(self) },
        }
    }
}

/// One level on the way up; files that were passed never come back.
struct Cursor<'a> {
    rest: &'a [FileInfo],
    best: Option<&'a FileInfo>,
}

impl<'a> Cursor<'a> {
    /// The best file of the level that continues `reached` and does not pass `limit`.
    fn advance(&mut self, reached: TxId, limit: TxId) -> Option<&'a FileInfo> {
        while let Some((file, rest)) = self.rest.split_first()
            && file.continues(reached)
        {
            self.rest = rest;
            if file.max_txid <= limit {
                self.best = Some(self.best.map_or(file, |best| better(best, file)));
            }
        }
        self.best = self.best.filter(|best| best.leads_beyond(reached));
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

fn txids(file: &FileInfo) -> (TxId, TxId) {
    (file.min_txid, file.max_txid)
}
