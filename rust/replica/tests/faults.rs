//! Reads that fail, end early or lie: the output is whole or absent, and the error is the one that happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use common::{Fault, FaultClient, IMPATIENT, MemoryClient, Recipe, database, delta, snapshot};
use replica::{
    Error, ForeignKind, ReplicaClient, RestoreOptions, Restored, RetryPolicy, Target, plan, restore,
};

const NO_RETRY: RetryPolicy = RetryPolicy { delays: &[] };

/// One file of several units, one that is read whole, and one in the old encoding; and the database they make.
fn replica() -> (MemoryClient, Vec<u8>) {
    let client = MemoryClient::default();
    let mut big = snapshot(4096, 1200, 3, 1);
    // Noise, so that the file is larger than what is read at once.
    let mut state = 1_u32;
    for byte in big.pages.values_mut().flatten() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    assert!(big.store(&client, 9).size > 4 << 20);
    let block = delta(4096, 1200, 4, 4, &[(1, 9), (700, 8), (1200, 7)]);
    let legacy = delta(4096, 1199, 5, 5, &[(2, 9), (700, 6)]);
    block.store(&client, 0);
    Recipe { encoding: ltx::PageEncoding::Frame, ..legacy.clone() }.store(&client, 0);
    let mut pages = big.pages;
    pages.extend(block.pages);
    pages.extend(legacy.pages);
    (client, database(&pages, 1199))
}

fn attempt(client: &dyn ReplicaClient, dir: &Path, retry: RetryPolicy) -> Result<Restored, Error> {
    let output = dir.join("db");
    let _ = fs::remove_file(&output);
    let planned = plan(client, &Target::Latest)?;
    let options = RestoreOptions { parallelism: 3, retry, ..RestoreOptions::default() };
    let result = restore(client, &planned, &output, &options);
    let left: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), usize::from(result.is_ok()), "{left:?}");
    result
}

/// How many reads a restore takes when nothing fails.
fn count_reads(client: &dyn ReplicaClient, good: &[u8], dir: &Path) -> usize {
    let counting = FaultClient::new(client, Fault::Short, usize::MAX, 0);
    attempt(&counting, dir, NO_RETRY).unwrap();
    assert!(fs::read(dir.join("db")).unwrap() == good);
    counting.reads.load(Ordering::Relaxed)
}

#[test]
fn whichever_read_fails_the_output_is_absent() {
    let ((client, good), dir) = (replica(), tempfile::tempdir().unwrap());
    let reads = count_reads(&client, &good, dir.path());
    assert!(reads > 8, "{reads}");
    let faults = [
        Fault::Open(io::ErrorKind::ConnectionRefused),
        Fault::Break(io::ErrorKind::ConnectionReset),
        Fault::Short,
        Fault::Foreign,
        Fault::Flip,
    ];
    for fault in faults {
        for number in 0..reads {
            let faulty = FaultClient::new(&client, fault, number, 1);
            let error = attempt(&faulty, dir.path(), NO_RETRY).unwrap_err();
            let expected = match fault {
                Fault::Open(_) | Fault::Break(_) => {
                    matches!(&error, Error::Io { place, .. } if place.txids.is_some())
                }
                Fault::Foreign => {
                    matches!(&error, Error::Foreign { source, .. } if source.is::<common::Exception>())
                }
                Fault::Short => matches!(&error, Error::ShortFile { .. }),
                // A flipped bit shows in the checksum, in the decoder, or in a header that was read twice.
                Fault::Flip => !matches!(&error, Error::Foreign { .. } | Error::Output { .. }),
            };
            assert!(expected, "read {number}, {fault:?}: {error:?}");
        }
    }
}

#[test]
fn broken_reads_are_taken_up_again() {
    let ((client, good), dir) = (replica(), tempfile::tempdir().unwrap());
    let reads = count_reads(&client, &good, dir.path());
    for fault in
        [Fault::Break(io::ErrorKind::ConnectionReset), Fault::Short, Fault::Open(io::ErrorKind::TimedOut)]
    {
        for number in 0..reads {
            let faulty = FaultClient::new(&client, fault, number, 3);
            attempt(&faulty, dir.path(), IMPATIENT).unwrap();
            assert!(fs::read(dir.path().join("db")).unwrap() == good, "read {number}, {fault:?}");
        }
    }
}

#[test]
fn the_fourth_failure_of_a_read_is_final_and_some_are_at_once() {
    let ((client, _), dir) = (replica(), tempfile::tempdir().unwrap());
    let faulty = FaultClient::new(&client, Fault::Break(io::ErrorKind::TimedOut), 0, usize::MAX);
    let error = attempt(&faulty, dir.path(), IMPATIENT).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert_eq!(faulty.reads.load(Ordering::Relaxed), 4, "one read and three repetitions");
    for kind in [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied] {
        let faulty = FaultClient::new(&client, Fault::Open(kind), 0, usize::MAX);
        let error = attempt(&faulty, dir.path(), IMPATIENT).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. } | Error::Permission { .. }), "{error}");
        assert_eq!(faulty.reads.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn an_exception_that_may_pass_is_tried_again_and_one_that_may_not_is_not() {
    let transient = Error::foreign(common::Exception, true);
    assert!(transient.is_transient());
    let through = Error::from_io(replica::Place::client("x"), transient.into_io());
    assert!(through.is_transient(), "packing and unpacking keeps it: {through:?}");
    let ((client, _), dir) = (replica(), tempfile::tempdir().unwrap());
    let faulty = FaultClient::new(&client, Fault::Foreign, 2, 1);
    assert!(matches!(
        attempt(&faulty, dir.path(), IMPATIENT),
        Err(Error::Foreign { kind: ForeignKind::Final, .. })
    ));
}

#[test]
fn every_damaged_byte_and_every_cut_is_noticed_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    for encoding in [ltx::PageEncoding::Block, ltx::PageEncoding::Frame] {
        let client = MemoryClient::default();
        let recipe = Recipe { encoding, ..snapshot(512, 3, 1, 1) };
        recipe.store(&client, 9);
        let (key, good) = (recipe.key(9), recipe.encode());
        attempt(&client, dir.path(), NO_RETRY).unwrap();
        let database = fs::read(dir.path().join("db")).unwrap();
        let mut harmless = 0;
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            client.put(key, bad, 0);
            if attempt(&client, dir.path(), NO_RETRY).is_ok() {
                // LZ4 can say the same in other words; the checksum covers what it says.
                assert!(fs::read(dir.path().join("db")).unwrap() == database, "byte {at}");
                harmless += 1;
            }
            client.put(key, good[..at].to_vec(), 0);
            let error = attempt(&client, dir.path(), NO_RETRY).unwrap_err();
            assert!(
                matches!(error, Error::FileTooShort { .. } | Error::Format { .. }),
                "cut at {at}: {error:?}"
            );
        }
        assert!(harmless < 10, "{harmless}");
        client.put(key, [good.as_slice(), &[0]].concat(), 0);
        attempt(&client, dir.path(), NO_RETRY).unwrap_err();
    }
}
