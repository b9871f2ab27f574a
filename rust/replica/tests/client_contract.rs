//! What every replica client has to do, and what the directory client does beyond that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use common::store::MemoryStore;
use common::{MemoryClient, delta, info, snapshot, txid};
use ltx::{Timestamp, TxId};
use replica::{Error, FileClient, FileInfo, LtxLayout, ReplicaClient};

/// Runs `check` on an empty client of every kind.
fn on_all(check: impl Fn(&dyn ReplicaClient)) {
    let dir = tempfile::tempdir().unwrap();
    check(&FileClient::new(dir.path().join("deep/replica")));
    check(&MemoryClient::default());
    check(&LtxLayout::over(MemoryStore::default()));
}

fn ranges(client: &dyn ReplicaClient, level: u8, seek: u64) -> Vec<(u64, u64)> {
    let files = client.ltx_files(level, txid(seek), false).unwrap();
    assert!(files.iter().all(|file| file.level == level));
    files.iter().map(|file| (file.min_txid.get(), file.max_txid.get())).collect()
}

#[test]
fn listings_ascend_and_respect_the_seek() {
    on_all(|client| {
        client.init().unwrap();
        client.init().unwrap();
        assert_eq!(ranges(client, 0, 0), []);
        for (level, min, max) in
            [(0, 3, 3), (0, 16, 16), (0, 1, 1), (1, 1, 3), (0, 2, 2), (9, 1, 9), (9, 1, 2)]
        {
            delta(512, 4, min, max, &[(1, 1), (2, 2), (3, 3), (4, 4)]).store(client, level);
        }
        assert_eq!(ranges(client, 0, 0), [(1, 1), (2, 2), (3, 3), (16, 16)]);
        assert_eq!(ranges(client, 0, 2), [(2, 2), (3, 3), (16, 16)]);
        assert_eq!(ranges(client, 0, 17), []);
        assert_eq!(ranges(client, 1, 2), [], "the seek is about the first transaction, not about covering");
        assert_eq!(ranges(client, 9, 0), [(1, 2), (1, 9)]);
    });
}

#[test]
fn files_come_back_as_they_were_in_whole_and_in_part() {
    on_all(|client| {
        let recipe = snapshot(1024, 5, 7, 3);
        let bytes = recipe.encode();
        let stored = recipe.store(client, 0);
        assert_eq!(stored.size, bytes.len() as u64);
        assert_eq!(client.ltx_files(0, TxId::NONE, true).unwrap(), [stored]);
        assert_eq!(client.read_ltx_file(&stored, 0, None).unwrap(), bytes);
        assert_eq!(client.read_ltx_file(&stored, 100, Some(6)).unwrap(), bytes[100..106]);
        assert_eq!(client.read_ltx_file(&stored, 100, None).unwrap(), bytes[100..]);
        assert_eq!(client.read_ltx_file(&stored, 0, Some(0)).unwrap(), []);
        let last = stored.size - 1;
        assert_eq!(client.read_ltx_file(&stored, last, Some(50)).unwrap(), bytes[bytes.len() - 1..]);
        assert_eq!(client.read_ltx_file(&stored, last + 50, None).unwrap(), []);
    });
}

#[test]
fn a_missing_file_is_not_found() {
    on_all(|client| {
        let Err(Error::NotFound { place, .. }) = client.open_ltx_file(&info(2, 5, 9, 0), 0, None).map(|_| ())
        else {
            panic!("opened a file that is not there");
        };
        assert_eq!((place.level, place.txids), (Some(2), Some((txid(5), txid(9)))));
        assert_eq!(place.client_type, client.client_type());
    });
}

#[test]
fn deleting_is_idempotent() {
    on_all(|client| {
        let files: Vec<FileInfo> = (1..=4).map(|n| delta(512, 1, n, n, &[(1, 1)]).store(client, 0)).collect();
        client.delete_ltx_files(&[]).unwrap();
        client.delete_ltx_files(&files[1..3]).unwrap();
        client.delete_ltx_files(&files[1..3]).unwrap();
        assert_eq!(ranges(client, 0, 0), [(1, 1), (4, 4)]);
        client.delete_all().unwrap();
        client.delete_all().unwrap();
        assert_eq!(ranges(client, 0, 0), []);
    });
}

#[test]
fn the_header_gives_the_time() {
    on_all(|client| {
        let recipe = common::Recipe { millis: 1_234_567_890_123, ..snapshot(512, 1, 1, 0) };
        let stored = recipe.store(client, 0);
        assert_eq!(stored.created_at, Timestamp::from_millis(1_234_567_890_123));
        for use_metadata in [false, true] {
            assert_eq!(client.ltx_files(0, TxId::NONE, use_metadata).unwrap(), [stored]);
        }
    });
}

#[test]
fn a_transaction_can_be_claimed_once() {
    on_all(|client| {
        let first = snapshot(512, 2, 1, 1).store(client, 0);
        assert_eq!(snapshot(512, 2, 1, 1).store(client, 0), first, "the same again is success");
        let other = snapshot(512, 2, 1, 9).encode();
        let taken = client.write_ltx_file(0, txid(1), txid(1), &mut other.as_slice());
        assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");
        let kept = client.read_ltx_file(&first, 0, None).unwrap();
        assert_eq!(kept, snapshot(512, 2, 1, 1).encode());
        snapshot(512, 2, 1, 1).store(client, 9);
        snapshot(512, 2, 1, 9).store(client, 9);
        assert_eq!(client.read_ltx_file(&FileInfo { level: 9, ..first }, 0, None).unwrap(), other);
    });
}

struct Breaking;

impl Read for Breaking {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(Error::foreign(common::Exception, false).into_io())
    }
}

#[test]
fn a_source_that_breaks_stores_nothing_and_keeps_its_error() {
    on_all(|client| {
        let bytes = snapshot(512, 3, 1, 1).encode();
        for cut in [0, 50, 100, bytes.len() - 1] {
            let mut source = bytes[..cut].chain(Breaking);
            let Err(Error::Foreign { source, .. }) = client.write_ltx_file(0, txid(1), txid(1), &mut source)
            else {
                panic!("the error was changed");
            };
            assert!(source.is::<common::Exception>());
            assert_eq!(ranges(client, 0, 0), []);
        }
    });
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn directories_look_like_litestreams() {
    let dir = tempfile::tempdir().unwrap();
    let client = FileClient::new(dir.path());
    let stored = common::Recipe { millis: 1_700_000_000_789, ..snapshot(512, 1, 26, 0) }.store(&client, 9);
    let path = dir.path().join("ltx/9/0000000000000001-000000000000001a.ltx");
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_700_000_000, 789_000_000));
    assert_eq!(metadata.len(), stored.size);
    assert_eq!(names(&dir.path().join("ltx/9")).len(), 1, "nothing but the file is left");
    assert_eq!(client.client_type(), "file");
}

#[test]
fn foreign_names_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let client = FileClient::new(dir.path());
    let stored = snapshot(512, 1, 1, 0).store(&client, 0);
    let level = dir.path().join("ltx/0");
    let foreign = [
        "junk.ltx",
        "00000000000000ff-00000000000000fe.ltx",
        "0000000000000000-0000000000000001.ltx",
        "00000000000000AA-00000000000000AA.ltx",
        "0000000000000002-0000000000000002.ltx.tmp",
        "README",
    ];
    foreign.iter().for_each(|name| fs::write(level.join(name), b"?").unwrap());
    fs::create_dir(level.join("0000000000000002-0000000000000002.ltx")).unwrap();
    assert_eq!(client.ltx_files(0, TxId::NONE, true).unwrap(), [stored]);
}

#[test]
fn times_come_from_the_header_when_the_directory_was_copied_without_them() {
    let dir = tempfile::tempdir().unwrap();
    let client = FileClient::new(dir.path());
    let stored = snapshot(512, 1, 5, 0).store(&client, 0);
    let path = dir.path().join("ltx/0/0000000000000001-0000000000000005.ltx");
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    assert_eq!(client.ltx_files(0, TxId::NONE, true).unwrap(), [stored]);
    assert_ne!(client.ltx_files(0, TxId::NONE, false).unwrap(), [stored]);
    fs::write(&path, b"no header").unwrap();
    let listed = client.ltx_files(0, TxId::NONE, true).unwrap();
    assert_eq!(listed[0].size, 9, "a file without a header is listed with the time it was changed");
}

#[test]
fn directories_that_are_missing_or_read_only_are_no_error_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let client = FileClient::new(dir.path().join("replica"));
    client.init().unwrap();
    assert!(!client.root().exists(), "nothing is made by looking");
    let stored = snapshot(512, 2, 1, 1).store(&client, 0);
    client.init().unwrap();
    let level = client.root().join("ltx/0");
    for mode in [0o500, 0o000] {
        fs::set_permissions(&level, Permissions::from_mode(mode)).unwrap();
        client.init().unwrap();
    }
    fs::set_permissions(&level, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(
        snapshot(512, 2, 1, 1).store(&client, 0),
        stored,
        "a name that is there is made durable once more"
    );
}

#[test]
fn the_name_must_be_the_headers() {
    let dir = tempfile::tempdir().unwrap();
    let client = FileClient::new(dir.path());
    let bytes = snapshot(512, 1, 5, 0).encode();
    let wrong = client.write_ltx_file(0, txid(1), txid(4), &mut bytes.as_slice());
    assert!(matches!(wrong, Err(Error::WrongTransactions { max, .. }) if max == txid(5)), "{wrong:?}");
    let short = client.write_ltx_file(0, txid(1), txid(4), &mut &bytes[..99]);
    assert!(matches!(short, Err(Error::Format { .. })), "{short:?}");
    assert!(!dir.path().join("ltx").exists());
}

#[test]
fn paths_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let bytes = snapshot(512, 2, 3, 0).encode();
    fs::write(&source, &bytes).unwrap();
    let client = FileClient::new(dir.path().join("replica"));
    let stored = client.write_ltx_path(0, txid(1), txid(3), &source).unwrap();
    assert_eq!(client.write_ltx_path(0, txid(1), txid(3), &source).unwrap(), stored);
    assert_eq!(client.ltx_files(0, TxId::NONE, false).unwrap(), [stored]);
    fs::write(dir.path().join("other"), snapshot(512, 2, 3, 1).encode()).unwrap();
    let taken = client.write_ltx_path(0, txid(1), txid(3), &dir.path().join("other"));
    assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");
    let absent = client.write_ltx_path(0, txid(1), txid(3), &dir.path().join("absent"));
    assert!(matches!(absent, Err(Error::NotFound { .. })), "{absent:?}");
    // What happens to the source does not happen to the replica.
    fs::OpenOptions::new().write(true).open(&source).unwrap().set_len(100).unwrap();
    assert_eq!(fs::read(client.root().join("ltx/0/0000000000000001-0000000000000003.ltx")).unwrap(), bytes);
    fs::write(&source, &bytes).unwrap();
    let memory = MemoryClient::default();
    memory.write_ltx_path(0, txid(1), txid(3), &source).unwrap();
    assert_eq!(ranges(&memory, 0, 0), [(1, 3)]);
}
