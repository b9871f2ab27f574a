//! Which files nobody needs any more.
//!
//! As Litestream does it, files go by age and level: snapshots that are older than the window, what lower levels hold of the time before
//! it, and single transactions once they are merged. Three things are different. One more snapshot stays, the last one from before the
//! window, as nothing from the beginning of the window can be restored without it. Level 0 is deleted only where a file that stays
//! really holds the same transactions. And what leads to a mark stays, as does the last snapshot of so many hours, days, weeks and months.

use std::collections::BTreeSet;
use std::time::Duration;

use ltx::{SNAPSHOT_LEVEL, Timestamp, TxId};

use super::History;
use crate::client::FileInfo;
use crate::place::FileKey;
use crate::utc::civil;

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

/// What has to stay restorable, besides the newest state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention<'a> {
    /// Every state that is not older than this, as finely as level 1 has them; older snapshots go.
    pub window: Duration,
    /// Every single transaction that is not older than this.
    pub level_0: Duration,
    /// Snapshots beyond the window.
    pub calendar: Calendar,
    /// The states after these transactions, whatever their age is.
    pub marks: &'a [TxId],
}

/// Of how many periods the last snapshot stays: of the newest ones that have any, by UTC. Weeks begin on Monday.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calendar {
    /// Hours.
    pub hourly: usize,
    /// Days.
    pub daily: usize,
    /// Weeks.
    pub weekly: usize,
    /// Months.
    pub monthly: usize,
}

impl History {
    /// The files that may be deleted, in the order in which that should be done: what is left after each of them is restorable as far as
    /// it is after all. Nothing is told of files that are too short to be LTX files.
    ///
    /// Without a snapshot nothing goes but what is merged.
    #[must_use]
    pub fn expired(&self, retention: &Retention<'_>, now: Timestamp) -> Vec<FileInfo> {
        let marked = self.marked(retention.marks);
        let snapshots: Vec<&FileInfo> = self.snapshots().collect();
        let window = window(&snapshots, before(now, retention.window));
        let kept: BTreeSet<FileKey> = window.iter().map(|file| file.key()).collect();
        let kept: BTreeSet<FileKey> = &(&kept | &retention.calendar.kept(&snapshots)) | &marked;
        // Restores that have been planned with the snapshot before are still under way.
        let first = window.first().map_or(TxId::NONE, |file| file.max_txid);
        let floor =
            snapshots.iter().rfind(|file| file.max_txid < first).map_or(TxId::NONE, |file| file.max_txid);
        let mut upper: Vec<FileInfo> = Vec::new();
        for level in 1..SNAPSHOT_LEVEL {
            let Some((_, files)) = self.level(level).split_last() else { continue };
            let is_over = |file: &&FileInfo| file.max_txid < floor && !marked.contains(&file.key());
            upper.extend(files.iter().filter(is_over));
        }
        let gone: BTreeSet<FileKey> = upper.iter().map(FileInfo::key).collect();
        let mut expired = self.merged(&gone, &marked, before(now, retention.level_0), floor);
        expired.extend(upper);
        expired.extend(snapshots.into_iter().filter(|file| !kept.contains(&file.key())));
        expired
    }

    /// What leads to the marked transactions, if anything does.
    fn marked(&self, marks: &[TxId]) -> BTreeSet<FileKey> {
        let chains = marks.iter().map(|txid| (txid, self.walk(*txid)));
        let found = chains.filter(|(txid, chain)| chain.last().is_some_and(|file| file.max_txid == **txid));
        found.flat_map(|(_, chain)| chain).map(|file| file.key()).collect()
    }

    /// Files of level 0 from before `cutoff` that files of higher levels hold as well, or that are from before `floor`. What is
    /// left begins after them, but for what is marked, and its last file stays.
    fn merged(
        &self,
        gone: &BTreeSet<FileKey>,
        marked: &BTreeSet<FileKey>,
        cutoff: Timestamp,
        floor: TxId,
    ) -> Vec<FileInfo> {
        let Some((_, files)) = self.level(0).split_last() else { return Vec::new() };
        let higher = (1..SNAPSHOT_LEVEL).flat_map(|level| self.level(level));
        let higher: Vec<&FileInfo> = higher.filter(|file| !gone.contains(&file.key())).collect();
        let is_held = |file: &FileInfo| {
            // If the rest of that file is not old, the way to it leads over this one.
            let holds = |other: &&FileInfo| {
                let range = other.min_txid..=other.max_txid;
                other.created_at < cutoff && range.contains(&file.min_txid) && range.contains(&file.max_txid)
            };
            file.max_txid < floor || higher.iter().any(holds)
        };
        let old = files.iter().take_while(|file| file.created_at < cutoff && is_held(file));
        old.filter(|file| !marked.contains(&file.key())).copied().collect()
    }
}

/// The snapshots that restores to a time since `cutoff` begin with.
fn window<'a>(snapshots: &[&'a FileInfo], cutoff: Timestamp) -> Vec<&'a FileInfo> {
    let first = snapshots.iter().rposition(|file| file.created_at < cutoff).unwrap_or(0);
    snapshots.get(first..).unwrap_or_default().to_vec()
}

impl Calendar {
    fn kept(&self, snapshots: &[&FileInfo]) -> BTreeSet<FileKey> {
        let day = |millis: i64| millis.div_euclid(DAY);
        let month = |millis: i64| {
            let (year, month, _) = civil(day(millis));
            year * 12 + month
        };
        let mut kept = last_of(snapshots, self.hourly, |millis| millis.div_euclid(HOUR));
        kept.extend(last_of(snapshots, self.daily, day));
        // The first Monday was day 4.
        kept.extend(last_of(snapshots, self.weekly, |millis| (day(millis) - 4).div_euclid(7)));
        kept.extend(last_of(snapshots, self.monthly, month));
        kept
    }
}

/// The last snapshot of each of the newest `count` periods.
fn last_of(snapshots: &[&FileInfo], count: usize, period: impl Fn(i64) -> i64) -> BTreeSet<FileKey> {
    let mut periods = BTreeSet::new();
    let mut kept = BTreeSet::new();
    for file in snapshots.iter().rev() {
        if periods.len() == count && !periods.contains(&period(file.created_at.millis())) {
            break;
        }
        if periods.insert(period(file.created_at.millis())) {
            kept.insert(file.key());
        }
    }
    kept
}

fn before(now: Timestamp, duration: Duration) -> Timestamp {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.millis().saturating_sub(millis))
}

#[cfg(test)]
mod tests;
