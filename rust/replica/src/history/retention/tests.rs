//! What goes and what stays, by examples and against histories of which nothing was ever deleted.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::head::MIN_FILE;
use crate::history::{Target, plan};
use crate::{Error, ReplicaClient, Result};

const MINUTE: i64 = 60 * 1000;

fn file(level: u8, min: u64, max: u64, millis: i64) -> FileInfo {
    let (min_txid, max_txid) = (TxId::new(min), TxId::new(max));
    FileInfo { level, min_txid, max_txid, size: MIN_FILE, created_at: Timestamp::from_millis(millis) }
}

fn names(files: &[FileInfo]) -> Vec<(u8, u64, u64)> {
    files.iter().map(|file| (file.level, file.min_txid.get(), file.max_txid.get())).collect()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(3600 * count)
}

fn retention(window: u64) -> Retention<'static> {
    Retention { window: hours(window), level_0: Duration::from_secs(300), ..Retention::default() }
}

/// One transaction an hour, from hour 1 on; all merged into level 1; a snapshot every 24 hours.
fn days(count: u64) -> History {
    let hour = |number: u64| i64::try_from(number).unwrap() * HOUR;
    let each = (1..=count * 24).flat_map(|n| [file(0, n, n, hour(n)), file(1, n, n, hour(n))]);
    let snapshots = (1..=count).map(|day| file(9, 1, day * 24, hour(day * 24)));
    History::new(each.chain(snapshots))
}

#[test]
fn a_snapshot_from_before_the_window_stays() {
    let expired = days(4).expired(&retention(24), at(4 * DAY + HOUR));
    // The window begins at 3 d 1 h; what it begins with is the snapshot of 3 d. The one before may be in use.
    let snapshots: Vec<_> = names(&expired).into_iter().filter(|(level, ..)| *level == 9).collect();
    assert_eq!(snapshots, [(9, 1, 24), (9, 1, 48)]);
    let level_1: Vec<_> = names(&expired).into_iter().filter(|(level, ..)| *level == 1).collect();
    assert_eq!(level_1, (1..48).map(|n| (1, n, n)).collect::<Vec<_>>());
    let level_0: Vec<_> = names(&expired).into_iter().filter(|(level, ..)| *level == 0).collect();
    assert_eq!(level_0, (1..96).map(|n| (0, n, n)).collect::<Vec<_>>());
    // Snapshots last, as until then restores may begin with them.
    assert_eq!(names(&expired).into_iter().rev().take(2).collect::<Vec<_>>(), [(9, 1, 48), (9, 1, 24)]);
}

#[test]
fn the_newest_snapshot_stays_whatever_its_age_is() {
    let history = History::new([file(9, 1, 5, 0)]);
    assert!(history.expired(&retention(0), at(1000 * DAY)).is_empty());
}

#[test]
fn without_a_snapshot_only_what_is_merged_goes() {
    let files = (1..=4).map(|n| file(0, n, n, 0)).chain([file(1, 1, 2, 0), file(2, 1, 2, 0)]);
    let expired = History::new(files).expired(&retention(0), at(DAY));
    assert_eq!(names(&expired), [(0, 1, 1), (0, 2, 2)]);
}

#[test]
fn level_0_stays_where_level_1_has_a_hole() {
    let files = (1..=6).map(|n| file(0, n, n, 0)).chain([file(1, 1, 2, 0), file(1, 5, 6, 0)]);
    let expired = History::new(files).expired(&retention(24), at(DAY));
    assert_eq!(names(&expired), [(0, 1, 1), (0, 2, 2)]);
}

#[test]
fn level_0_stays_until_all_of_a_merged_file_is_old_enough() {
    let minute = |number: u64| i64::try_from(number).unwrap() * MINUTE;
    let each = (1..=4).map(|n| file(0, n, n, minute(n)));
    let history = History::new(each.chain([file(1, 1, 2, minute(2)), file(1, 3, 4, minute(4))]));
    // Transaction 3 is old, but 4 cannot be reached without it.
    assert_eq!(names(&history.expired(&retention(24), at(8 * MINUTE + 1))), [(0, 1, 1), (0, 2, 2)]);
    assert_eq!(history.expired(&retention(24), at(9 * MINUTE + 1)).len(), 3);
}

#[test]
fn what_leads_to_a_mark_stays() {
    let history = days(5);
    let marks = [TxId::new(30), TxId::new(5), TxId::new(9999)];
    let with_marks = Retention { marks: &marks, ..retention(1) };
    let left = without(&history, &history.expired(&with_marks, at(5 * DAY + HOUR)));
    for txid in [30, 5] {
        assert_eq!(left.walk(TxId::new(txid)).last().unwrap().max_txid, TxId::new(txid));
    }
    assert_eq!(left.walk(TxId::new(31)).last().unwrap().max_txid, TxId::new(30));
}

#[test]
fn the_last_snapshot_of_a_period_stays() {
    // Three a day: 1970-01-01 was a Thursday.
    let snapshots = (0..60_u64).map(|n| file(9, 1, n + 1, i64::try_from(n).unwrap() * 8 * HOUR));
    let history = History::new(snapshots);
    let now = at(59 * 8 * HOUR + 1);
    let left = |calendar: Calendar| {
        let kept = without(&history, &history.expired(&Retention { calendar, ..retention(0) }, now));
        let hours = kept.snapshots().map(|file| file.created_at.millis() / HOUR);
        hours.map(|hour| (hour / 24, hour % 24)).collect::<Vec<_>>()
    };
    assert_eq!(left(Calendar::default()), [(19, 16)]);
    assert_eq!(left(Calendar { daily: 3, ..Calendar::default() }), [(17, 16), (18, 16), (19, 16)]);
    assert_eq!(left(Calendar { hourly: 2, ..Calendar::default() }), [(19, 8), (19, 16)]);
    // Sundays, and the day that is the last one so far.
    assert_eq!(left(Calendar { weekly: 3, ..Calendar::default() }), [(10, 16), (17, 16), (19, 16)]);
    assert_eq!(left(Calendar { monthly: 9, ..Calendar::default() }), [(19, 16)]);
}

#[test]
fn stray_snapshots_are_left_alone() {
    let history = History::new([file(9, 3, 5, 0), file(9, 1, 6, 1), file(9, 1, 7, 2)]);
    assert_eq!(names(&history.expired(&retention(0), at(DAY))), [(9, 1, 6)]);
}

/// A replica that is nothing but names.
struct Listed(Vec<FileInfo>);

impl ReplicaClient for Listed {
    fn client_type(&self) -> &'static str {
        "listed"
    }

    fn init(&self) -> Result<()> {
        Ok(())
    }

    fn ltx_files(&self, level: u8, seek: TxId, _: bool) -> Result<Vec<FileInfo>> {
        Ok(self.0.iter().filter(|file| file.level == level && file.min_txid >= seek).copied().collect())
    }

    fn open_ltx_file(&self, _: &FileInfo, _: u64, _: Option<u64>) -> Result<Box<dyn std::io::Read + Send>> {
        Err(Error::Cancelled)
    }

    fn write_ltx_file(&self, _: u8, _: TxId, _: TxId, _: &mut dyn std::io::Read) -> Result<FileInfo> {
        Err(Error::Cancelled)
    }

    fn delete_ltx_files(&self, _: &[FileInfo]) -> Result<()> {
        Ok(())
    }

    fn delete_all(&self) -> Result<()> {
        Ok(())
    }
}

fn without(history: &History, expired: &[FileInfo]) -> History {
    let gone: BTreeSet<FileKey> = expired.iter().map(FileInfo::key).collect();
    History::new(history.all().filter(|file| !gone.contains(&file.key())).copied())
}

/// What happens to a replica.
#[derive(Clone, Debug)]
enum Step {
    Commit,
    Wait(i64),
    Merge(u8),
    Snapshot,
    Mark,
    Retain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Commit),
        4 => (1..40_i64).prop_map(Step::Wait),
        3 => (1..4_u8).prop_map(Step::Merge),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Mark),
        2 => Just(Step::Retain),
    ]
}

/// A replica, and one of which nothing was ever deleted.
#[derive(Default)]
struct Model {
    now: i64,
    newest: u64,
    files: BTreeMap<FileKey, FileInfo>,
    all: BTreeMap<FileKey, FileInfo>,
    marks: Vec<TxId>,
}

impl Model {
    fn add(&mut self, info: FileInfo) {
        self.files.insert(info.key(), info);
        self.all.insert(info.key(), info);
    }

    fn time_of(&self, txid: u64) -> i64 {
        self.all[&file(0, txid, txid, 0).key()].created_at.millis()
    }

    fn run(&mut self, step: &Step, retention: Retention<'_>) {
        match step {
            Step::Commit => {
                self.newest += 1;
                self.now += 1;
                self.add(file(0, self.newest, self.newest, self.now));
            }
            Step::Wait(minutes) => self.now += minutes * MINUTE,
            Step::Merge(level) => {
                let end = |level: u8| {
                    self.files.keys().filter(|key| key.level == level).map(|key| key.max_txid.get()).max()
                };
                let (reached, newest) = (end(*level).unwrap_or(0), end(level - 1).unwrap_or(0));
                if newest > reached {
                    self.add(file(*level, reached + 1, newest, self.time_of(newest)));
                }
            }
            Step::Snapshot if self.newest > 0 => self.add(file(9, 1, self.newest, self.time_of(self.newest))),
            Step::Mark if self.newest > 0 => self.marks.push(TxId::new(self.newest)),
            Step::Snapshot | Step::Mark => {}
            Step::Retain => {
                let history = History::new(self.files.values().copied());
                for file in history.expired(&Retention { marks: &self.marks, ..retention }, at(self.now)) {
                    self.files.remove(&file.key());
                    self.check(retention);
                }
            }
        }
    }

    /// What has to be restorable is.
    fn check(&self, retention: Retention<'_>) {
        let listed = Listed(self.files.values().copied().collect());
        assert_eq!(plan(&listed, &Target::Latest).unwrap().txid.get(), self.newest);
        for mark in &self.marks {
            assert_eq!(plan(&listed, &Target::Txid(*mark)).unwrap().txid, *mark);
        }
        let whole = Listed(self.all.values().copied().collect());
        let oldest = self.now - i64::try_from(retention.window.as_millis()).unwrap();
        let recent = self.now - i64::try_from(retention.level_0.as_millis()).unwrap();
        for millis in
            self.all.values().map(|file| file.created_at.millis() + 1).filter(|millis| *millis > oldest)
        {
            let target = Target::Before(at(millis));
            let Ok(expected) = plan(&whole, &target) else { continue };
            // As finely as level 1 and above have it; and to the transaction if it is recent.
            let merged = self.all.values().filter(|file| file.level > 0 && file.created_at.millis() < millis);
            let least = merged.map(|file| file.max_txid).max().unwrap_or(TxId::NONE);
            let least = if millis > recent { expected.txid } else { least };
            let found = plan(&listed, &target).map_or(TxId::NONE, |plan| plan.txid);
            assert!(
                (least..=expected.txid).contains(&found),
                "{found} before {millis}, not {least} or later"
            );
        }
    }
}

proptest! {
    #[test]
    fn what_has_to_be_restorable_is_after_each_deletion(
        steps in prop::collection::vec(step(), 0..120),
        window in 0..200_u64,
        level_0 in 0..60_u64,
    ) {
        let minutes = |count| Duration::from_secs(60 * count);
        let retention = Retention { window: minutes(window), level_0: minutes(level_0), ..Retention::default() };
        let mut model = Model::default();
        for step in &steps {
            model.run(step, retention);
        }
        if model.newest > 0 {
            model.check(retention);
        }
    }

    #[test]
    fn whatever_has_expired_is_all_that_has(steps in prop::collection::vec(step(), 0..80), window in 0..200_u64) {
        let retention = Retention { window: Duration::from_secs(60 * window), ..Retention::default() };
        let mut model = Model::default();
        for step in &steps {
            model.run(step, retention);
        }
        let history = History::new(model.files.values().copied());
        let left = without(&history, &history.expired(&retention, at(model.now)));
        let again = left.expired(&retention, at(model.now));
        // Files from between two snapshots that have gone.
        prop_assert!(again.iter().all(|file| file.level < SNAPSHOT_LEVEL), "{:?}", names(&again));
    }
}
