//! Restores of known databases, and everything around the output.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{IMPATIENT, MemoryClient, Recipe, database, database_checksum, delta, info, snapshot, txid};
use ltx::{Checksum, Encoder, Header, PageCount, Pgno};
use replica::{
    Error, FileClient, FileKey, Plan, Progress, ReplicaClient, RestoreOptions, Restored, Target, plan,
    restore,
};

fn latest(
    client: &dyn ReplicaClient,
    output: &Path,
    options: &RestoreOptions<'_>,
) -> Result<Restored, Error> {
    restore(client, &plan(client, &Target::Latest)?, output, options)
}

fn options() -> RestoreOptions<'static> {
    RestoreOptions { retry: IMPATIENT, ..RestoreOptions::default() }
}

fn replacing() -> RestoreOptions<'static> {
    RestoreOptions { overwrite: true, ..options() }
}

fn client_with(recipes: &[(u8, Recipe)]) -> MemoryClient {
    let client = MemoryClient::default();
    recipes.iter().for_each(|(level, recipe)| {
        recipe.store(&client, *level);
    });
    client
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn directories_above_the_output_are_created() {
    let dir = tempfile::tempdir().unwrap();
    let client = client_with(&[(9, snapshot(512, 3, 4, 1))]);
    let output = dir.path().join("a/b/db");
    let restored = latest(&client, &output, &options()).unwrap();
    assert_eq!(fs::read(&output).unwrap(), database(&snapshot(512, 3, 4, 1).pages, 3));
    assert_eq!((restored.files, restored.commit.get(), restored.page_size.get()), (1, 3, 512));
    assert_eq!((restored.pos.txid, restored.pos.post_apply_checksum), (txid(4), Checksum::NONE));
    assert_eq!(names(&dir.path().join("a/b")), ["db"]);
}

#[test]
fn an_output_that_exists_is_kept_unless_it_may_be_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let client = client_with(&[(9, snapshot(512, 3, 4, 1))]);
    let output = dir.path().join("db");
    for name in ["db", "db-wal", "db-shm", "db-journal"] {
        let path = dir.path().join(name);
        fs::write(&path, b"mine").unwrap();
        let error = latest(&client, &output, &options()).unwrap_err();
        assert!(matches!(&error, Error::OutputExists { path: found } if *found == path), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_file(path).unwrap();
    }
    fs::create_dir(&output).unwrap();
    assert!(matches!(latest(&client, &output, &replacing()), Err(Error::OutputNotAFile { .. })));
    fs::remove_dir(&output).unwrap();
    fs::write(&output, b"old").unwrap();
    fs::write(dir.path().join("db-wal"), b"old frames").unwrap();
    fs::set_permissions(&output, fs::Permissions::from_mode(0o640)).unwrap();
    latest(&client, &output, &replacing()).unwrap();
    assert_eq!(names(dir.path()), ["db"]);
    assert_eq!(fs::read(&output).unwrap().len(), 3 * 512);
    assert_eq!(fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o640, "access rights are kept");
}

#[test]
fn a_failed_overwrite_leaves_the_old_database_alone() {
    let dir = tempfile::tempdir().unwrap();
    let client = client_with(&[(9, snapshot(512, 3, 4, 1))]);
    let key = FileKey { level: 9, min_txid: txid(1), max_txid: txid(4) };
    let mut bytes = snapshot(512, 3, 4, 1).encode();
    bytes[150] ^= 1;
    client.put(key, bytes, 0);
    let output = dir.path().join("db");
    fs::write(&output, b"old").unwrap();
    fs::write(dir.path().join("db-wal"), b"old frames").unwrap();
    assert!(matches!(latest(&client, &output, &replacing()), Err(Error::Format { .. })));
    assert_eq!(names(dir.path()), ["db", "db-wal"]);
    assert_eq!(fs::read(&output).unwrap(), b"old");
}

#[test]
fn files_too_short_for_anything_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let client = client_with(&[(9, snapshot(512, 3, 4, 1))]);
    let key = FileKey { level: 0, min_txid: txid(5), max_txid: txid(5) };
    for size in [0, 50, 130] {
        client.put(key, vec![0; size], 0);
        let error = latest(&client, &dir.path().join("db"), &options()).unwrap_err();
        let Error::FileTooShort { file, size: found, minimum } = error else { panic!("{error}") };
        assert_eq!((file, found, minimum), (key, size as u64, 131));
    }
    let text = latest(&client, &dir.path().join("db"), &options()).unwrap_err().to_string();
    let range = "0000000000000005-0000000000000005";
    assert_eq!(text, format!("level 0, transactions {range} has 130 bytes, an LTX file has at least 131"));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_plan_without_files_restores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let empty = Plan { files: Vec::new(), txid: txid(0), clamped: false, exact: true, since: None };
    let error = restore(&MemoryClient::default(), &empty, &dir.path().join("db"), &options()).unwrap_err();
    assert!(matches!(error, Error::NoSnapshot { .. }));
}

#[test]
fn pages_above_the_last_commit_size_are_cut_off_and_holes_are_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = snapshot(4096, 9, 1, 1);
    first.pages.insert(4, vec![0; 4096]);
    let zeroed = delta(4096, 9, 2, 2, &[(2, 0), (8, 77)]);
    let shrunk = delta(4096, 5, 3, 3, &[(1, 50)]);
    let client = client_with(&[(9, first.clone()), (0, zeroed.clone()), (0, shrunk.clone())]);
    let mut pages = first.pages;
    pages.extend(zeroed.pages);
    pages.extend(shrunk.pages);
    for parallelism in 1..4 {
        let output = dir.path().join(format!("db{parallelism}"));
        latest(&client, &output, &RestoreOptions { parallelism, ..options() }).unwrap();
        assert!(fs::read(output).unwrap() == database(&pages, 5));
    }
}

#[test]
fn a_chain_that_lacks_pages_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let grown = delta(512, 9, 2, 2, &[(9, 1)]);
    let client = client_with(&[(9, snapshot(512, 3, 1, 1)), (0, grown)]);
    let error = latest(&client, &dir.path().join("db"), &options()).unwrap_err();
    assert!(matches!(error, Error::MissingPage { pgno, .. } if pgno.get() == 4), "{error}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("db");
    let other_size = client_with(&[(9, snapshot(512, 3, 1, 1)), (0, delta(1024, 3, 2, 2, &[(1, 1)]))]);
    assert!(matches!(latest(&other_size, &output, &options()), Err(Error::PageSizeMismatch { .. })));
    let renamed = MemoryClient::default();
    let bytes = snapshot(512, 3, 2, 1).encode();
    renamed.put(FileKey { level: 9, min_txid: txid(1), max_txid: txid(3) }, bytes, 0);
    let error = latest(&renamed, &output, &options()).unwrap_err();
    assert!(matches!(error, Error::WrongTransactions { max, .. } if max == txid(2)), "{error}");
    let first = snapshot(512, 3, 1, 1);
    let sum = database_checksum(&first.pages);
    let tracked = |recipe: Recipe, before, after| Recipe { checksums: Some((before, after)), ..recipe };
    let next = tracked(delta(512, 3, 2, 2, &[(1, 1)]), Checksum::EMPTY_DATABASE, sum);
    let client = client_with(&[(9, tracked(first, sum, sum)), (0, next)]);
    let error = latest(&client, &output, &options()).unwrap_err();
    assert!(matches!(error, Error::NotContinued { expected, .. } if expected == sum), "{error}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_snapshot_with_the_wrong_database_checksum_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = Checksum::new(Checksum::FLAG | 77);
    let client = client_with(&[(9, Recipe { checksums: Some((wrong, wrong)), ..snapshot(512, 3, 1, 1) })]);
    let error = latest(&client, &dir.path().join("db"), &options()).unwrap_err();
    let Error::Format { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(source, ltx::Error::DatabaseChecksumMismatch { expected, .. } if *expected == wrong));
}

#[test]
fn missing_files_and_missing_rights_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let planned =
        Plan { files: vec![info(9, 1, 3, 0)], txid: txid(3), clamped: false, exact: true, since: None };
    let client = FileClient::new(dir.path().join("replica"));
    let error = restore(&client, &planned, &dir.path().join("db"), &options()).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let blocked = dir.path().join("file");
    fs::write(&blocked, b"").unwrap();
    let client = client_with(&[(9, snapshot(512, 3, 4, 1))]);
    let error = latest(&client, &blocked.join("db"), &options()).unwrap_err();
    assert!(matches!(error, Error::Output { op: "create", .. }), "{error}");
}

#[test]
fn progress_ends_with_everything_and_cancelling_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let client = client_with(&[(9, snapshot(4096, 50, 4, 1)), (0, delta(4096, 50, 5, 5, &[(1, 1)]))]);
    let last = Mutex::new(None);
    let note = |progress: Progress| *last.lock().unwrap() = Some(progress);
    let restored =
        latest(&client, &dir.path().join("db"), &RestoreOptions { progress: Some(&note), ..options() })
            .unwrap();
    let (total, files) = (restored.bytes, 2);
    let end = Progress { bytes_done: total, bytes_total: total, files_done: files, files_total: files };
    assert_eq!(*last.lock().unwrap(), Some(end));
    let cancel = AtomicBool::new(true);
    let error =
        latest(&client, &dir.path().join("other"), &RestoreOptions { cancel: Some(&cancel), ..options() });
    assert!(matches!(error, Err(Error::Cancelled)), "{error:?}");
    assert_eq!(names(dir.path()), ["db"]);
}

/// A client whose reads hang until somebody cancels.
struct Hanging<'a>(&'a MemoryClient, &'a AtomicBool);

impl ReplicaClient for Hanging<'_> {
    fn client_type(&self) -> &str {
        "hanging"
    }
    fn init(&self) -> replica::Result<()> {
        Ok(())
    }
    fn ltx_files(&self, level: u8, seek: ltx::TxId, exact: bool) -> replica::Result<Vec<replica::FileInfo>> {
        self.0.ltx_files(level, seek, exact)
    }
    fn open_ltx_file(
        &self,
        info: &replica::FileInfo,
        offset: u64,
        size: Option<u64>,
    ) -> replica::Result<Box<dyn std::io::Read + Send>> {
        if size != Some(100) {
            // The restore is under way: cancel it, then fail in a way that would be repeated.
            self.1.store(true, Ordering::Relaxed);
            let place = replica::Place::file("hanging", info.key());
            return Err(Error::from_io(place, std::io::ErrorKind::TimedOut.into()));
        }
        self.0.open_ltx_file(info, offset, size)
    }
    fn write_ltx_file(
        &self,
        _: u8,
        _: ltx::TxId,
        _: ltx::TxId,
        _: &mut dyn std::io::Read,
    ) -> replica::Result<replica::FileInfo> {
        Err(Error::Cancelled)
    }
    fn delete_ltx_files(&self, _: &[replica::FileInfo]) -> replica::Result<()> {
        Ok(())
    }
    fn delete_all(&self) -> replica::Result<()> {
        Ok(())
    }
}

#[test]
fn cancelling_ends_the_pause_before_a_repetition() {
    const LONG: replica::RetryPolicy =
        replica::RetryPolicy { delays: &[std::time::Duration::from_secs(3600)] };
    let dir = tempfile::tempdir().unwrap();
    let (memory, cancel) = (client_with(&[(9, snapshot(512, 3, 4, 1))]), AtomicBool::new(false));
    let client = Hanging(&memory, &cancel);
    let options = RestoreOptions { retry: LONG, cancel: Some(&cancel), ..options() };
    let error = latest(&client, &dir.path().join("db"), &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_database_beyond_the_lock_page_has_zeros_there_and_takes_no_room_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let (commit, lock) = (16_390, 16_385);
    let header = Header::new(common::page_size(65536), PageCount::new(commit), txid(1), txid(1));
    let mut encoder = Encoder::new(Vec::new(), &header).unwrap();
    let (zeros, ones) = (vec![0; 65536], vec![1; 65536]);
    for pgno in header.commit.pgnos(header.page_size) {
        let page = if pgno == Pgno::FIRST || pgno.get() > lock { &ones } else { &zeros };
        encoder.write_page(pgno, page).unwrap();
    }
    let bytes = encoder.finish(Checksum::NONE).unwrap().0;
    assert!(bytes.len() > 2 << 20, "it takes several units");
    let client = MemoryClient::default();
    client.put(FileKey { level: 9, min_txid: txid(1), max_txid: txid(1) }, bytes, 0);
    let output = dir.path().join("db");
    latest(&client, &output, &options()).unwrap();
    let metadata = fs::metadata(&output).unwrap();
    assert_eq!(metadata.len(), u64::from(commit) * 65536);
    assert!(metadata.blocks() * 512 < 1 << 20, "{} bytes used", metadata.blocks() * 512);
    let file = fs::File::open(&output).unwrap();
    let mut page = vec![9; 65536];
    for (pgno, expected) in [(1, &ones), (2, &zeros), (lock, &zeros), (lock + 1, &ones), (commit, &ones)] {
        ltx::ReadAt::read_exact_at(&file, &mut page, u64::from(pgno - 1) * 65536).unwrap();
        assert!(page == *expected, "page {pgno}");
    }
}
