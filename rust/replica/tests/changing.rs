//! A replica that changes while it is read: what vanishes is planned anew, with an end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Fault, FaultClient, IMPATIENT, MemoryClient, database, delta, info, snapshot, txid};
use ltx::{Timestamp, TxId};
use replica::{
    Error, FileInfo, Plan, ReplicaClient, RestoreOptions, Target, compact_level, page_checksums, plan,
    restore, with_plan,
};

/// What happens to a replica before the read with this number, from 0.
type Change<'a> = dyn Fn(&MemoryClient, usize) + Sync + Send + 'a;

/// Changes the replica below before every read of a file.
struct Changing<'a> {
    inner: &'a MemoryClient,
    reads: AtomicUsize,
    change: Box<Change<'a>>,
}

impl<'a> Changing<'a> {
    fn new(inner: &'a MemoryClient, change: impl Fn(&MemoryClient, usize) + Sync + Send + 'a) -> Self {
        Self { inner, reads: AtomicUsize::new(0), change: Box::new(change) }
    }
}

impl ReplicaClient for Changing<'_> {
    fn client_type(&self) -> &str {
        "changing"
    }
    fn init(&self) -> replica::Result<()> {
        Ok(())
    }
    fn ltx_files(&self, level: u8, seek: TxId, exact: bool) -> replica::Result<Vec<FileInfo>> {
        self.inner.ltx_files(level, seek, exact)
    }
    fn open_ltx_file(
        &self,
        info: &FileInfo,
        offset: u64,
        size: Option<u64>,
    ) -> replica::Result<Box<dyn Read + Send>> {
        (self.change)(self.inner, self.reads.fetch_add(1, Ordering::Relaxed));
        self.inner.open_ltx_file(info, offset, size)
    }
    fn write_ltx_file(
        &self,
        level: u8,
        min: TxId,
        max: TxId,
        data: &mut dyn Read,
    ) -> replica::Result<FileInfo> {
        self.inner.write_ltx_file(level, min, max, data)
    }
    fn delete_ltx_files(&self, files: &[FileInfo]) -> replica::Result<()> {
        self.inner.delete_ltx_files(files)
    }
    fn delete_all(&self) -> replica::Result<()> {
        self.inner.delete_all()
    }
}

/// Six transactions at level 0, and the database that they make.
fn six() -> (MemoryClient, Vec<u8>) {
    let client = MemoryClient::default();
    let first = snapshot(512, 8, 1, 1);
    first.store(&client, 0);
    let mut pages = first.pages;
    for number in 2..=6 {
        let change = delta(512, 8, number, number, &[(number as u32, 100 + number as u8)]);
        change.store(&client, 0);
        pages.extend(change.pages);
    }
    let good = database(&pages, 8);
    (client, good)
}

/// What compaction and retention do.
fn merge(client: &MemoryClient, level: u8) {
    compact_level(client, level).unwrap();
    let files = client.ltx_files(level - 1, TxId::NONE, false).unwrap();
    client.delete_ltx_files(&files).unwrap();
}

fn options() -> RestoreOptions<'static> {
    RestoreOptions { retry: IMPATIENT, parallelism: 2, ..RestoreOptions::default() }
}

fn attempt(client: &dyn ReplicaClient, target: Target) -> Result<(Plan, Vec<u8>), Error> {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("db");
    let done = with_plan(client, &target, &options(), &mut |plan| restore(client, plan, &output, &options()));
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, usize::from(done.is_ok()), "nothing is left of what failed");
    Ok((done?.0, fs::read(output).unwrap()))
}

/// The error of a restore that fails, and how many plans were tried: reads cannot be counted, as two files are
/// read at a time.
fn failure(client: &dyn ReplicaClient) -> (Error, usize) {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("db");
    let tries = AtomicUsize::new(0);
    let error = with_plan(client, &Target::Latest, &options(), &mut |plan| {
        tries.fetch_add(1, Ordering::Relaxed);
        restore(client, plan, &output, &options())
    })
    .unwrap_err();
    (error, tries.into_inner())
}

#[test]
fn files_that_are_merged_while_they_are_read_are_planned_anew() {
    for at in 0..6 {
        let (client, good) = six();
        let change = move |client: &MemoryClient, number| {
            if number == at {
                merge(client, 1);
            }
        };
        for target in
            [Target::Latest, Target::Txid(txid(6)), Target::Before(Timestamp::from_millis(i64::MAX))]
        {
            let (planned, found) = attempt(&Changing::new(&client, change), target).unwrap();
            assert!(found == good, "read {at}, {target:?}");
            assert_eq!(planned.txid, txid(6));
        }
    }
}

#[test]
fn checksums_of_pages_are_planned_anew_as_well() {
    let (client, good) = six();
    let changing = Changing::new(&client, |client, number| {
        if number == 3 {
            merge(client, 1)
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let sums = dir.path().join("sums");
    with_plan(&changing, &Target::Latest, &options(), &mut |plan| {
        page_checksums(&changing, plan, &sums, &options())
    })
    .unwrap();
    assert_eq!(fs::read(sums).unwrap().len(), good.len() / 512 * 8);
}

#[test]
fn a_state_that_is_merged_away_meanwhile_is_not_replaced_by_another() {
    let (client, _) = six();
    let changing = Changing::new(&client, |client, number| {
        if number == 1 {
            merge(client, 1)
        }
    });
    let error = attempt(&changing, Target::Txid(txid(4))).unwrap_err();
    assert!(
        matches!(&error, Error::TxidNotAvailable { available, .. } if *available == [txid(6)]),
        "{error}"
    );
}

#[test]
fn the_newest_state_may_be_a_newer_one() {
    let (client, _) = six();
    let changing = Changing::new(&client, |client, number| {
        if number == 2 {
            delta(512, 8, 7, 7, &[(1, 77)]).store(client, 0);
            merge(client, 1);
        }
    });
    assert_eq!(attempt(&changing, Target::Latest).unwrap().0.txid, txid(7));
}

#[test]
fn there_are_five_attempts() {
    let (client, _) = six();
    // Whatever is read is gone, but the listing goes on showing it.
    let faulty = FaultClient::new(&client, Fault::Open(std::io::ErrorKind::NotFound), 0, usize::MAX);
    assert!(matches!(failure(&faulty), (Error::NotFound { .. }, 5)));
    for failures in 0..=5 {
        let mut tried = 0;
        let done = with_plan(&client, &Target::Latest, &options(), &mut |_| {
            tried += 1;
            let gone = || Error::from_io(replica::Place::client("test"), std::io::ErrorKind::NotFound.into());
            if tried > failures { Ok(()) } else { Err(gone()) }
        });
        assert_eq!((done.is_ok(), tried), (failures < 5, 5.min(failures + 1)));
    }
}

#[test]
fn what_fails_without_a_change_is_not_tried_again() {
    let (client, _) = six();
    for fault in [Fault::Foreign, Fault::Flip, Fault::Open(std::io::ErrorKind::PermissionDenied)] {
        let faulty = FaultClient::new(&client, fault, 0, usize::MAX);
        assert_eq!(failure(&faulty).1, 1, "{fault:?}");
    }
}

#[test]
fn a_damaged_file_that_stays_is_read_once_whatever_else_changes() {
    let (client, _) = six();
    let key = info(0, 2, 2, 0).key();
    let damage = |(bytes, _): &mut (Vec<u8>, _)| bytes[120] ^= 1;
    client.files.lock().unwrap().get_mut(&key).map(damage).unwrap();
    let changing = Changing::new(&client, |client, _| {
        let oldest = client.ltx_files(0, TxId::NONE, false).unwrap()[0];
        client.put(oldest.key(), client.read_ltx_file(&oldest, 0, None).unwrap(), 77);
    });
    let (error, tries) = failure(&changing);
    assert!(matches!(error, Error::Format { file, .. } if file == key), "{error}");
    assert_eq!(tries, 1);
}

#[test]
fn inputs_of_a_compaction_that_vanish_are_done_without() {
    let (client, _) = six();
    // Somebody else merges the same files, and deletes them.
    let changing = Changing::new(&client, |client, number| {
        if number == 2 {
            merge(client, 1)
        }
    });
    assert_eq!(compact_level(&changing, 1).unwrap(), None);
    let made = client.ltx_files(1, TxId::NONE, false).unwrap();
    assert_eq!(made.iter().map(FileInfo::key).collect::<Vec<_>>(), [info(1, 1, 6, 0).key()]);
    // Or retention has deleted files that a snapshot covers.
    let (client, _) = six();
    snapshot(512, 8, 4, 1).store(&client, 9);
    let changing = Changing::new(&client, |client, number| {
        if number == 1 {
            let old = client.ltx_files(0, TxId::NONE, false).unwrap();
            client.delete_ltx_files(&old[..4]).unwrap();
        }
    });
    let made = compact_level(&changing, 1).unwrap().unwrap();
    assert_eq!((made.min_txid, made.max_txid), (txid(5), txid(6)));
}

#[test]
fn a_gap_that_is_one_only_because_somebody_else_has_merged_is_none() {
    /// Merges below right after the higher level has been listed for the first time.
    struct Rival<'a>(&'a MemoryClient, AtomicUsize);
    impl ReplicaClient for Rival<'_> {
        fn client_type(&self) -> &str {
            "rival"
        }
        fn init(&self) -> replica::Result<()> {
            Ok(())
        }
        fn ltx_files(&self, level: u8, seek: TxId, exact: bool) -> replica::Result<Vec<FileInfo>> {
            let listed = self.0.ltx_files(level, seek, exact);
            if level == 1 && self.1.fetch_add(1, Ordering::Relaxed) == 0 {
                merge(self.0, 1);
                delta(512, 8, 7, 7, &[(1, 77)]).store(self.0, 0);
            }
            listed
        }
        fn open_ltx_file(
            &self,
            info: &FileInfo,
            offset: u64,
            size: Option<u64>,
        ) -> replica::Result<Box<dyn Read + Send>> {
            self.0.open_ltx_file(info, offset, size)
        }
        fn write_ltx_file(
            &self,
            level: u8,
            min: TxId,
            max: TxId,
            data: &mut dyn Read,
        ) -> replica::Result<FileInfo> {
            self.0.write_ltx_file(level, min, max, data)
        }
        fn delete_ltx_files(&self, files: &[FileInfo]) -> replica::Result<()> {
            self.0.delete_ltx_files(files)
        }
        fn delete_all(&self) -> replica::Result<()> {
            self.0.delete_all()
        }
    }
    let (client, _) = six();
    snapshot(512, 8, 1, 1).store(&client, 1);
    let made = compact_level(&Rival(&client, AtomicUsize::new(0)), 1).unwrap().unwrap();
    assert_eq!((made.min_txid, made.max_txid), (txid(7), txid(7)));
    assert_eq!(plan(&client, &Target::Latest).unwrap().txid, txid(7));
}
