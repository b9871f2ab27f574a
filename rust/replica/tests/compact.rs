//! Compaction from one level into the next.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs;
use std::io;
use std::sync::atomic::Ordering;

use common::{Fault, FaultClient, IMPATIENT, MemoryClient, delta, snapshot, txid};
use ltx::{Decoder, Timestamp, TxId};
use replica::{
    Error, FileClient, FileInfo, FileKey, ReplicaClient, RestoreOptions, Target, compact_level,
    compact_level_with, plan, restore,
};

/// Ten transactions of a growing database at level 0.
fn ten(client: &dyn ReplicaClient) {
    snapshot(512, 3, 1, 1).store(client, 0);
    for n in 2..=10_u32 {
        let fills = [(1, n as u8), (n + 2, 100 + n as u8)];
        delta(512, n + 2, n.into(), n.into(), &fills).store(client, 0);
    }
}

fn restored(client: &dyn ReplicaClient, target: Target) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("db");
    restore(client, &plan(client, &target).unwrap(), &output, &RestoreOptions::default()).unwrap();
    fs::read(output).unwrap()
}

fn remove_level(client: &dyn ReplicaClient, level: u8) {
    client.delete_ltx_files(&client.ltx_files(level, TxId::NONE, false).unwrap()).unwrap();
}

#[test]
fn levels_build_on_each_other_and_restore_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let clients: [&dyn ReplicaClient; 2] = [&FileClient::new(dir.path()), &MemoryClient::default()];
    for client in clients {
        ten(client);
        let good = restored(client, Target::Latest);
        for level in 1..=8 {
            let info = compact_level(client, level).unwrap().unwrap();
            assert_eq!((info.level, info.min_txid, info.max_txid), (level, txid(1), txid(10)));
            assert_eq!(
                info.created_at,
                Timestamp::from_millis(10_000),
                "the time of the last transaction is kept"
            );
            assert_eq!(compact_level(client, level).unwrap(), None, "there is nothing more");
            remove_level(client, level - 1);
            assert!(restored(client, Target::Latest) == good, "level {level}");
        }
    }
}

#[test]
fn what_is_new_is_merged_alone() {
    let client = MemoryClient::default();
    ten(&client);
    compact_level(&client, 1).unwrap();
    delta(512, 12, 11, 11, &[(1, 11)]).store(&client, 0);
    delta(512, 12, 12, 12, &[(2, 12)]).store(&client, 0);
    let info = compact_level(&client, 1).unwrap().unwrap();
    assert_eq!((info.min_txid, info.max_txid), (txid(11), txid(12)));
    assert!(Decoder::new(client.read_ltx_file(&info, 0, None).unwrap().as_slice()).unwrap().finish().is_ok());
}

#[test]
fn many_files_become_a_few_in_bounded_pieces() {
    let client = MemoryClient::default();
    snapshot(512, 2, 1, 1).store(&client, 0);
    for n in 2..=600 {
        delta(512, 2, n, n, &[(1, n as u8)]).store(&client, 0);
    }
    let good = restored(&client, Target::Latest);
    let last = compact_level(&client, 1).unwrap().unwrap();
    let files = client.ltx_files(1, TxId::NONE, false).unwrap();
    let ranges: Vec<(u64, u64)> =
        files.iter().map(|file| (file.min_txid.get(), file.max_txid.get())).collect();
    assert_eq!(ranges, [(1, 256), (257, 512), (513, 600)]);
    assert_eq!(files.last(), Some(&last));
    remove_level(&client, 0);
    assert!(restored(&client, Target::Latest) == good);
}

#[test]
fn gaps_are_reported_when_they_are_reached() {
    let client = MemoryClient::default();
    ten(&client);
    let lost = client.ltx_files(0, txid(5), false).unwrap()[0];
    client.delete_ltx_files(&[lost]).unwrap();
    let error = compact_level(&client, 1).unwrap_err();
    assert!(
        matches!(error, Error::Gap { have, next } if (have, next.min_txid) == (txid(4), txid(6))),
        "{error}"
    );
    let files = client.ltx_files(1, TxId::NONE, false).unwrap();
    assert_eq!((files.len(), files[0].max_txid), (1, txid(4)), "what comes before the gap is merged");
    assert!(matches!(compact_level(&client, 1), Err(Error::Gap { .. })));
}

#[test]
fn a_gap_that_a_snapshot_covers_is_none() {
    let client = MemoryClient::default();
    ten(&client);
    let lost = client.ltx_files(0, txid(5), false).unwrap()[0];
    client.delete_ltx_files(&[lost]).unwrap();
    compact_level(&client, 1).unwrap_err();
    snapshot(512, 8, 6, 1).store(&client, 9);
    let info = compact_level(&client, 1).unwrap().unwrap();
    assert_eq!((info.min_txid, info.max_txid), (txid(6), txid(10)));
    assert!(compact_level(&client, 1).unwrap().is_none());
    remove_level(&client, 0);
    assert_eq!(plan(&client, &Target::Latest).unwrap().txid, txid(10));
}

#[test]
fn a_file_across_the_seam_closes_the_gap() {
    let client = MemoryClient::default();
    ten(&client);
    compact_level(&client, 1).unwrap();
    let (whole, l2) =
        (client.ltx_files(1, TxId::NONE, false).unwrap()[0], client.files.lock().unwrap().clone());
    let bytes = l2[&FileKey { level: 0, min_txid: txid(1), max_txid: txid(1) }].0.clone();
    // Level 2 ends at 1; level 1 has one file from 1 to 10, which no listing from 2 on shows.
    client.put(FileKey { level: 2, min_txid: txid(1), max_txid: txid(1) }, bytes, 1000);
    delta(512, 12, 11, 11, &[(1, 11)]).store(&client, 1);
    let info = compact_level(&client, 2).unwrap().unwrap();
    assert_eq!((info.min_txid, info.max_txid), (whole.min_txid, txid(11)));
}

#[test]
fn only_merged_levels_are_compacted_into() {
    for level in [0, 9, 10] {
        assert!(matches!(compact_level(&MemoryClient::default(), level), Err(Error::Level { .. })));
    }
    assert_eq!(compact_level(&MemoryClient::default(), 1).unwrap(), None);
}

#[test]
fn a_damaged_input_leaves_no_output_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let client = FileClient::new(dir.path());
    ten(&client);
    let path = dir.path().join("ltx/0/0000000000000007-0000000000000007.ltx");
    let good = fs::read(&path).unwrap();
    for at in [0, 20, 60, 110, good.len() - 40, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&path, bad).unwrap();
        let error = compact_level(&client, 1).unwrap_err();
        let Error::Format { file, .. } = &error else { panic!("{error:?}") };
        // A changed range may show only where the next file does not continue it.
        assert!([txid(7), txid(8)].contains(&file.min_txid), "byte {at}: {error}");
        let left = fs::read_dir(dir.path().join("ltx/1")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "byte {at}");
    }
}

#[test]
fn a_damaged_file_above_is_not_in_the_way() {
    let client = MemoryClient::default();
    ten(&client);
    let made = compact_level(&client, 1).unwrap().unwrap();
    delta(512, 12, 11, 11, &[(1, 11)]).store(&client, 0);
    client.put(made.key(), vec![0; made.size as usize], 0);
    assert_eq!(compact_level(&client, 1).unwrap().unwrap().min_txid, txid(11));
}

#[test]
fn another_writer_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let client = FileClient::new(dir.path());
    ten(&client);
    /// Stores other content of the same range just before this process does.
    struct Rival<'a>(&'a FileClient);
    impl ReplicaClient for Rival<'_> {
        fn client_type(&self) -> &str {
            "file"
        }
        fn init(&self) -> replica::Result<()> {
            Ok(())
        }
        fn ltx_files(&self, level: u8, seek: TxId, exact: bool) -> replica::Result<Vec<FileInfo>> {
            self.0.ltx_files(level, seek, exact)
        }
        fn open_ltx_file(
            &self,
            info: &FileInfo,
            offset: u64,
            size: Option<u64>,
        ) -> replica::Result<Box<dyn io::Read + Send>> {
            self.0.open_ltx_file(info, offset, size)
        }
        fn write_ltx_file(
            &self,
            level: u8,
            min: TxId,
            max: TxId,
            data: &mut dyn io::Read,
        ) -> replica::Result<FileInfo> {
            snapshot(512, 12, max.get(), 77).store(self.0, level);
            self.0.write_ltx_file(level, min, max, data)
        }
        fn delete_ltx_files(&self, files: &[FileInfo]) -> replica::Result<()> {
            self.0.delete_ltx_files(files)
        }
        fn delete_all(&self) -> replica::Result<()> {
            self.0.delete_all()
        }
    }
    assert!(matches!(compact_level(&Rival(&client), 1), Err(Error::Conflict { .. })));
    let kept = client.ltx_files(1, TxId::NONE, false).unwrap()[0];
    assert_eq!(client.read_ltx_file(&kept, 0, None).unwrap(), snapshot(512, 12, 10, 77).encode());
}

#[test]
fn whichever_read_fails_nothing_is_stored_and_the_error_is_kept() {
    let client = MemoryClient::default();
    ten(&client);
    let counting = FaultClient::new(&client, Fault::Short, usize::MAX, 0);
    compact_level(&counting, 1).unwrap();
    remove_level(&client, 1);
    for number in 0..counting.reads.load(Ordering::Relaxed) {
        let faulty = FaultClient::new(&client, Fault::Foreign, number, 1);
        let Err(Error::Foreign { source, .. }) = compact_level(&faulty, 1) else { panic!("read {number}") };
        assert!(source.is::<common::Exception>());
        assert_eq!(client.ltx_files(1, TxId::NONE, false).unwrap(), []);
        let broken = FaultClient::new(&client, Fault::Break(io::ErrorKind::ConnectionReset), number, 3);
        compact_level_with(&broken, 1, IMPATIENT).unwrap().unwrap();
        remove_level(&client, 1);
    }
}

#[test]
fn a_store_that_refuses_ends_the_merge() {
    struct Full(MemoryClient);
    impl ReplicaClient for Full {
        fn client_type(&self) -> &str {
            "full"
        }
        fn init(&self) -> replica::Result<()> {
            Ok(())
        }
        fn ltx_files(&self, level: u8, seek: TxId, exact: bool) -> replica::Result<Vec<FileInfo>> {
            self.0.ltx_files(level, seek, exact)
        }
        fn open_ltx_file(
            &self,
            info: &FileInfo,
            offset: u64,
            size: Option<u64>,
        ) -> replica::Result<Box<dyn io::Read + Send>> {
            self.0.open_ltx_file(info, offset, size)
        }
        fn write_ltx_file(
            &self,
            level: u8,
            min: TxId,
            max: TxId,
            _: &mut dyn io::Read,
        ) -> replica::Result<FileInfo> {
            let place = replica::Place::file("full", FileKey { level, min_txid: min, max_txid: max });
            Err(Error::from_io(place, io::ErrorKind::StorageFull.into()))
        }
        fn delete_ltx_files(&self, files: &[FileInfo]) -> replica::Result<()> {
            self.0.delete_ltx_files(files)
        }
        fn delete_all(&self) -> replica::Result<()> {
            self.0.delete_all()
        }
    }
    let full = Full(MemoryClient::default());
    snapshot(4096, 2000, 1, 1).store(&full.0, 0);
    let Err(Error::Io { source, place }) = compact_level(&full, 1) else { panic!("it was not refused") };
    assert_eq!((source.kind(), place.level), (io::ErrorKind::StorageFull, Some(1)));
}
