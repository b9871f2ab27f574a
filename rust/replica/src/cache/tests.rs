//! Against plain bytes: random ranges, evictions, damage, several threads, and directories that cannot be used.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use ltx::{Timestamp, TxId};
use proptest::prelude::*;
use tempfile::TempDir;

use super::blocks::BLOCK;
use super::{Blocks, Cached};
use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::place::FileKey;
use crate::source::open_source;

mod places;
mod waiting;

const REPLICA: &str = "000102030405060708090a0b0c0d0e0f";
const OTHER: &str = "f00102030405060708090a0b0c0d0e0f";

/// Files in memory, and what was read of them.
#[derive(Default)]
struct Memory {
    files: Mutex<Vec<Vec<u8>>>,
    reads: Mutex<Vec<(u64, u64, u64)>>,
    /// Ends bodies early.
    most: Option<usize>,
    fails: AtomicBool,
    is_slow: bool,
    opened: AtomicUsize,
}

impl ReplicaClient for Arc<Memory> {
    fn client_type(&self) -> &str {
        "memory"
    }

    fn init(&self) -> Result<()> {
        Ok(())
    }

    fn ltx_files(&self, _: u8, _: TxId, _: bool) -> Result<Vec<FileInfo>> {
        Ok(Vec::new())
    }

    fn open_ltx_file(&self, info: &FileInfo, offset: u64, size: Option<u64>) -> Result<Box<dyn Read + Send>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::foreign(io::Error::other("no"), true));
        }
        if self.is_slow {
            thread::sleep(Duration::from_millis(20));
        }
        let files = self.files.lock().unwrap();
        let bytes = &files[info.min_txid.get() as usize - 1];
        let from = (offset as usize).min(bytes.len());
        let to = size.map_or(bytes.len(), |size| bytes.len().min(from + size as usize));
        self.reads.lock().unwrap().push((info.min_txid.get(), from as u64, to as u64));
        let to = self.most.map_or(to, |most| to.min(from + most));
        Ok(Box::new(io::Cursor::new(bytes[from..to].to_vec())))
    }

    fn write_ltx_file(&self, _: u8, _: TxId, _: TxId, _: &mut dyn Read) -> Result<FileInfo> {
        unreachable!()
    }

    fn delete_ltx_files(&self, _: &[FileInfo]) -> Result<()> {
        unreachable!()
    }

    fn delete_all(&self) -> Result<()> {
        unreachable!()
    }
}

impl Memory {
    fn read_bytes(&self) -> u64 {
        self.reads.lock().unwrap().iter().map(|(_, from, to)| to - from).sum()
    }
}

fn content(number: u64, size: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

fn memory(sizes: &[usize]) -> Arc<Memory> {
    let files = sizes.iter().enumerate().map(|(number, size)| content(number as u64 + 1, *size)).collect();
    Arc::new(Memory { files: Mutex::new(files), ..Memory::default() })
}

fn info(number: u64, size: usize) -> FileInfo {
    let txid = TxId::new(number);
    let created_at = Timestamp::from_millis(1_700_000_000_000);
    FileInfo { level: 0, min_txid: txid, max_txid: txid, size: size as u64, created_at }
}

fn cached(memory: &Arc<Memory>, path: &Path, limit: u64) -> Cached<Arc<Memory>> {
    Cached::new(Arc::clone(memory), Arc::new(Blocks::new(path, limit, REPLICA)))
}

fn whole(client: &dyn ReplicaClient, info: &FileInfo) -> Vec<u8> {
    client.read_ltx_file(info, 0, None).unwrap()
}

/// What is in a directory, in bytes on a disk, and how many files.
fn held(path: &Path) -> (u64, usize) {
    let files: Vec<_> = fs::read_dir(path.join(REPLICA)).unwrap().map(|file| file.unwrap()).collect();
    (files.iter().map(|file| file.metadata().unwrap().len().next_multiple_of(4096)).sum(), files.len())
}

const SIZES: [usize; 5] = [1, 5000, BLOCK as usize, BLOCK as usize + 1, 3 * BLOCK as usize + 77];

#[test]
fn what_was_read_once_is_not_read_again() {
    let (memory, folder) = (memory(&SIZES), TempDir::new().unwrap());
    for round in 0..2 {
        let client = cached(&memory, folder.path(), 1 << 30);
        for (number, size) in (1..).zip(SIZES) {
            assert_eq!(whole(&client, &info(number, size)), content(number, size), "{round} {number}");
        }
        assert_eq!(memory.read_bytes(), SIZES.iter().sum::<usize>() as u64, "{round}");
    }
    // Each in one request.
    assert_eq!(memory.reads.lock().unwrap().len(), SIZES.len());
}

#[test]
fn files_are_told_apart() {
    let (memory, folder) = (memory(&[7000, 7000]), TempDir::new().unwrap());
    let client = cached(&memory, folder.path(), 1 << 30);
    assert_eq!(whole(&client, &info(1, 7000)), content(1, 7000));
    // The replica has begun anew.
    memory.files.lock().unwrap()[0] = content(9, 7000);
    let later = FileInfo { created_at: Timestamp::from_millis(1_700_000_000_001), ..info(1, 7000) };
    assert_eq!(whole(&client, &later), content(9, 7000));
    assert_eq!(whole(&client, &info(1, 7000)), content(1, 7000));
    let other = Cached::new(Arc::clone(&memory), Arc::new(Blocks::new(folder.path(), 1 << 30, OTHER)));
    assert_eq!(whole(&other, &info(1, 7000)), content(9, 7000));
}

#[test]
fn what_turns_out_to_be_wrong_is_read_anew() {
    let (memory, folder) = (memory(&[7000, 7000]), TempDir::new().unwrap());
    whole(&cached(&memory, folder.path(), 1 << 30), &info(1, 7000));
    memory.files.lock().unwrap()[0] = content(9, 7000);
    let client = cached(&memory, folder.path(), 1 << 30);
    let error = |number| Error::ShortFile {
        file: FileKey { level: 0, min_txid: TxId::new(number), max_txid: TxId::new(number) },
        expected: 1,
        actual: 0,
    };
    assert_eq!(whole(&client, &info(1, 7000)), content(1, 7000));
    assert_eq!(whole(&client, &info(2, 7000)), content(2, 7000));
    assert!(!client.distrust(&error(2)), "it came from the storage");
    assert!(!client.distrust(&Error::Cancelled));
    assert!(client.distrust(&error(1)));
    assert_eq!(whole(&client, &info(1, 7000)), content(9, 7000));
    assert!(!client.distrust(&error(1)));
    // What was read anew is in the cache now.
    assert_eq!(whole(&cached(&memory, folder.path(), 1 << 30), &info(1, 7000)), content(9, 7000));
}

/// What happens to the bytes of a block.
type Damage = dyn Fn(&mut Vec<u8>);

#[test]
fn damaged_blocks_are_dropped() {
    let size = 2 * BLOCK as usize + 9;
    let (memory, folder) = (memory(&[size]), TempDir::new().unwrap());
    let damages: [&Damage; 6] = [
        &|bytes| bytes[7] ^= 1,
        &|bytes| *bytes.last_mut().unwrap() ^= 1,
        &|bytes| bytes.truncate(bytes.len() / 2),
        &|bytes| bytes.clear(),
        &|bytes| bytes.push(0),
        &|bytes| bytes.fill(0),
    ];
    for damage in damages {
        let client = cached(&memory, folder.path(), 1 << 30);
        assert_eq!(whole(&client, &info(1, size)), content(1, size));
        for file in fs::read_dir(folder.path().join(REPLICA)).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = Vec::new();
            open_source(&path).unwrap().read_to_end(&mut bytes).unwrap();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
        }
        let before = memory.read_bytes();
        assert_eq!(whole(&cached(&memory, folder.path(), 1 << 30), &info(1, size)), content(1, size));
        assert_eq!(memory.read_bytes() - before, size as u64);
    }
    // One that has the name of another.
    let name =
        |number| folder.path().join(format!("{REPLICA}/0-1-1-{size:x}-{:x}.{number}", 1_700_000_000_000_u64));
    fs::rename(name(0), name(1)).unwrap();
    assert_eq!(whole(&cached(&memory, folder.path(), 1 << 30), &info(1, size)), content(1, size));
}

#[test]
fn the_size_is_bounded_and_the_oldest_go_first() {
    let size = 20_000;
    let (memory, folder) = (memory(&[size; 100]), TempDir::new().unwrap());
    let limit = 1 << 20;
    for number in 1..=100 {
        // Each by a process of its own.
        whole(&cached(&memory, folder.path(), limit), &info(number, size));
        if number == 1 {
            continue;
        }
        let (bytes, _) = held(folder.path());
        assert!(bytes <= limit, "{number}: {bytes}");
        // The first one is used again and again, an hour apart from the others.
        for file in fs::read_dir(folder.path().join(REPLICA)).unwrap() {
            let file = open_source(&file.unwrap().path()).unwrap();
            let hour = Duration::from_secs(3600);
            file.set_modified(file.metadata().unwrap().modified().unwrap() - hour).unwrap();
        }
        let before = memory.read_bytes();
        whole(&cached(&memory, folder.path(), limit), &info(1, size));
        assert_eq!(memory.read_bytes(), before, "{number}");
    }
    let (bytes, count) = held(folder.path());
    assert!(bytes > limit / 2 && count > 20, "{bytes} {count}");
}

#[test]
fn what_is_counted_wrong_is_counted_anew() {
    let (memory, folder) = (memory(&[20_000; 80]), TempDir::new().unwrap());
    for text in ["0", "no number", "", "99999999999999999999999", "18446744073709551615"] {
        for number in 1..=80 {
            whole(&cached(&memory, folder.path(), 1 << 20), &info(number, 20_000));
            fs::write(folder.path().join("usage"), text).unwrap();
        }
        let (bytes, _) = held(folder.path());
        assert!((1 << 19..=1 << 20).contains(&bytes), "{text}: {bytes}");
    }
}

#[test]
fn threads_read_each_block_once() {
    let size = 40 * BLOCK as usize + 5;
    let folder = TempDir::new().unwrap();
    let memory =
        Arc::new(Memory { files: Mutex::new(vec![content(1, size)]), is_slow: true, ..Memory::default() });
    let client = cached(&memory, folder.path(), 1 << 30);
    let (expected, barrier) = (content(1, size), Barrier::new(16));
    thread::scope(|scope| {
        for thread in 0..16 {
            let (client, expected, barrier) = (&client, &expected, &barrier);
            scope.spawn(move || {
                barrier.wait();
                // Units as restores have them, which end anywhere.
                let mut at = thread * 7 % 16 * 70_001;
                while at < size {
                    let len = (1_000_003).min(size - at);
                    let read = client.read_ltx_file(&info(1, size), at as u64, Some(len as u64)).unwrap();
                    assert!(read == expected[at..at + len], "{at}");
                    at += len;
                }
            });
        }
    });
    let sent = memory.read_bytes();
    assert!(sent <= size as u64, "{sent} of {size}");
}

#[test]
fn threads_and_evictions_at_the_same_time() {
    let size = 20 * BLOCK as usize;
    let (memory, folder) = (memory(&[size, size]), TempDir::new().unwrap());
    let clients: Vec<_> = (0..3).map(|_| cached(&memory, folder.path(), 1 << 20)).collect();
    thread::scope(|scope| {
        for number in 0..12 {
            let client = &clients[number % 3];
            scope.spawn(move || {
                for round in 0..6 {
                    let file = (number as u64 + round) % 2 + 1;
                    assert!(whole(client, &info(file, size)) == content(file, size));
                }
            });
        }
    });
    let (bytes, _) = held(folder.path());
    assert!(bytes <= (1 << 20) + 3 * 2 * (BLOCK + 4096), "{bytes}");
}

#[test]
fn failures_are_those_of_the_storage() {
    let size = 3 * BLOCK as usize;
    let folder = TempDir::new().unwrap();
    // Bodies that end early, in the middle of a block.
    let files = Mutex::new(vec![content(1, size)]);
    let short = Arc::new(Memory { files, most: Some(100_000), ..Memory::default() });
    let client = cached(&short, folder.path(), 1 << 30);
    let mut got = Vec::new();
    while got.len() < size {
        let rest = client.read_ltx_file(&info(1, size), got.len() as u64, None).unwrap();
        if rest.is_empty() {
            break;
        }
        got.extend(rest);
    }
    assert_eq!(got, content(1, size)[..got.len()]);
    assert_eq!(held(folder.path()).1, 0, "nothing that is not whole is stored");
    // After a failure, and after a reader that was left lying, the next one asks itself.
    let memory = memory(&[size]);
    let client = cached(&memory, folder.path(), 1 << 30);
    memory.fails.store(true, Ordering::SeqCst);
    assert!(client.open_ltx_file(&info(1, size), 0, None).is_err());
    memory.fails.store(false, Ordering::SeqCst);
    let idle = client.open_ltx_file(&info(1, size), 0, None).unwrap();
    drop(idle);
    assert_eq!(whole(&client, &info(1, size)), content(1, size));
    // What lies beyond the end is asked of the storage.
    assert_eq!(client.read_ltx_file(&info(1, size), size as u64 - 3, Some(9)).unwrap().len(), 3);
    assert!(client.read_ltx_file(&info(1, size), 5, Some(0)).unwrap().is_empty());
}

#[test]
fn distrust_is_of_all_files_of_a_name() {
    let (memory, folder) = (memory(&[7000]), TempDir::new().unwrap());
    let later = FileInfo { created_at: Timestamp::from_millis(1_700_000_000_001), ..info(1, 7000) };
    let key = FileKey { level: 0, min_txid: TxId::new(1), max_txid: TxId::new(1) };
    for file in [info(1, 7000), later] {
        whole(&cached(&memory, folder.path(), 1 << 30), &file);
    }
    let client = cached(&memory, folder.path(), 1 << 30);
    for file in [info(1, 7000), later] {
        whole(&client, &file);
    }
    let before = memory.read_bytes();
    assert!(client.distrust(&Error::ShortFile { file: key, expected: 1, actual: 0 }));
    for file in [info(1, 7000), later] {
        whole(&client, &file);
    }
    assert_eq!(memory.read_bytes() - before, 2 * 7000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is read, evicted and damaged: the bytes are those of the storage.
    #[test]
    fn ranges_are_what_they_should_be(
        sizes in prop::collection::vec(1..1_200_000_usize, 1..4),
        limit in (64 << 10)..(3_u64 << 20),
        steps in prop::collection::vec((any::<usize>(), any::<usize>(), any::<usize>(), 0..10_u8), 1..30),
    ) {
        let (memory, folder) = (memory(&sizes), TempDir::new().unwrap());
        let client = cached(&memory, folder.path(), limit);
        for (file, from, len, act) in steps {
            let number = file % sizes.len();
            let size = sizes[number];
            let from = from % size;
            let len = len % (size - from) + 1;
            let whole = &memory.files.lock().unwrap()[number].clone();
            let read = client.read_ltx_file(&info(number as u64 + 1, size), from as u64, Some(len as u64)).unwrap();
            prop_assert!(read == whole[from..from + len]);
            let victim = fs::read_dir(folder.path().join(REPLICA)).unwrap().next().map(|file| file.unwrap().path());
            match (act, victim) {
                (0, Some(path)) => fs::remove_file(path).unwrap(),
                (1, Some(path)) => fs::write(path, b"garbage").unwrap(),
                (2, Some(path)) => open_source(&path).unwrap()
                    .set_modified(SystemTime::UNIX_EPOCH).unwrap(),
                _ => {}
            }
        }
    }
}
