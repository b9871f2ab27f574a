//! Restores of replicas that are made here, frame by frame, beside the pages that they should give.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]
mod common;

use std::io::{self, Read};

use common::{GENERATION, PAGE, Replica, packed, page, step};
use legacy::{Error, Options, Target, format_segment, format_snapshot, restore};
use proptest::prelude::*;

/// Three WAL files of three segments each.
fn replica() -> Replica {
    let mut made = Replica::new(5);
    for index in 0..3 {
        for part in 0..3 {
            made.commit(&[(2 + part, 10 * index as u8), (5, part as u8)], 5);
            made.segment();
        }
        made.restart(5);
    }
    made
}

#[test]
fn the_newest_state_is_restored() {
    let made = replica();
    assert_eq!(made.keys("/wal/").len(), 9);
    for parallelism in [1, 2, 7] {
        assert_eq!(made.restored(parallelism).unwrap(), made.pages.concat());
    }
}

#[test]
fn a_snapshot_alone_is_a_state() {
    let made = Replica::new(4);
    assert_eq!(made.restored(4).unwrap(), made.pages.concat());
}

#[test]
fn a_database_that_shrank_and_grew() {
    let mut made = Replica::new(9);
    made.commit(&[(9, 2), (8, 2)], 9);
    made.commit(&[(1, 3)], 4);
    made.restart(4);
    assert_eq!(made.restored(2).unwrap().len(), 4 * PAGE);
    made.commit(&[(6, 4)], 6);
    made.restart(6);
    assert_eq!(made.restored(2).unwrap(), made.pages.concat());
}

#[test]
fn a_lost_segment_is_an_error_unless_it_is_the_last_of_its_wal() {
    let whole = replica();
    for key in whole.keys("/wal/") {
        let mut made = replica();
        made.objects.remove(&key);
        let is_last = key.ends_with(&format!("_{:08x}.wal.lz4", 32 + 4 * (24 + PAGE)));
        match made.restored(3) {
            Ok(_) => assert!(is_last, "{key} was not missed"),
            Err(Error::MissingSegment { .. }) => assert!(!is_last, "{key}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_wal_that_is_missing_is_an_error() {
    for index in 3..5 {
        let mut made = replica();
        made.objects.retain(|key, _| !key.contains(&format!("/wal/{index:08x}_")));
        assert!(
            matches!(made.restored(2), Err(Error::MissingSegment { index: found, .. }) if found == index)
        );
    }
}

#[test]
fn a_segment_that_fits_by_its_name_alone_is_an_error() {
    let mut made = replica();
    let [first, second] =
        [3, 4].map(|index| GENERATION.wal_folder() + &format_segment(index, 32 + 2 * (24 + PAGE as u64)));
    let other = made.objects[&second].clone();
    made.objects.insert(first.clone(), other);
    assert!(matches!(made.restored(2), Err(Error::Damaged { key, .. }) if key == first));
}

#[test]
fn a_segment_without_the_end_of_its_transaction_is_an_error() {
    let mut made = Replica::new(5);
    made.commit(&[(2, 2), (3, 2)], 5);
    let bytes = made.wal.as_ref().unwrap().bytes.clone();
    let key = GENERATION.wal_folder() + &format_segment(3, 0);
    for (len, what) in [(32 + 24 + PAGE, "transaction"), (32 + 24, "frame"), (20, "frame")] {
        made.objects.insert(key.clone(), packed(&bytes[..len]));
        let error = made.restored(2).unwrap_err().to_string();
        assert!(error.contains(&format!("in the middle of a {what}")), "{error}");
    }
    // A header alone is a WAL into which nothing was written yet.
    made.objects.insert(key, packed(&bytes[..32]));
    assert_eq!(made.restored(2).unwrap(), Replica::new(5).pages.concat());
}

#[test]
fn a_snapshot_that_is_no_database_is_an_error() {
    let key = GENERATION.snapshots_folder() + &format_snapshot(3);
    for bytes in [vec![7; 2000], page(1, 1)[..300].to_vec(), [&page(1, 1)[..], &[0; 100]].concat()] {
        let mut made = replica();
        made.objects.insert(key.clone(), packed(&bytes));
        assert!(matches!(made.restored(2), Err(Error::Damaged { key: found, .. }) if found == key));
    }
}

#[test]
fn a_copy_of_another_wal_is_found() {
    let mut made = replica();
    let first = made.keys("_00000000.wal");
    let copy = made.objects[&first[0]].clone();
    made.objects.insert(first[1].clone(), copy);
    assert!(matches!(made.restored(2), Err(Error::Damaged { key, .. }) if key == first[1]));
}

#[test]
fn an_empty_database_takes_the_pages_of_its_wal() {
    let mut made = Replica::new(0);
    assert_eq!(made.restored(1).unwrap(), []);
    made.commit(&[(1, 1), (2, 2)], 2);
    made.segment();
    assert_eq!(made.restored(1).unwrap(), made.pages.concat());
}

#[test]
fn an_object_that_cannot_be_read_is_named() {
    let made = replica();
    let plan = made.plan(&Target::default()).unwrap();
    let lost = plan.segments[5].key();
    let open = |key: &str, _: u64| -> io::Result<Box<dyn Read + Send>> {
        if key == lost {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Box::new(io::Cursor::new(made.objects[key].clone())))
    };
    let file = tempfile::tempfile().unwrap();
    let options = Options { parallelism: 3, progress: &mut |_| true };
    let error = restore(&plan, &open, &file, options).unwrap_err();
    assert!(matches!(error, Error::Storage { key, .. } if key == lost));
}

#[test]
fn a_thread_that_panics_leaves_nobody_waiting() {
    let made = replica();
    let plan = made.plan(&Target::default()).unwrap();
    let lost = plan.segments[5].key();
    let open = |key: &str, _: u64| -> io::Result<Box<dyn Read + Send>> {
        assert_ne!(key, lost);
        Ok(Box::new(io::Cursor::new(made.objects[key].clone())))
    };
    let file = tempfile::tempfile().unwrap();
    let work = || restore(&plan, &open, &file, Options { parallelism: 3, progress: &mut |_| true });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
}

#[test]
fn a_restore_is_called_off() {
    let made = replica();
    let plan = made.plan(&Target::default()).unwrap();
    let open = |key: &str, _: u64| -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::Cursor::new(made.objects[key].clone())))
    };
    let file = tempfile::tempfile().unwrap();
    let options = Options { parallelism: 3, progress: &mut |done| done < plan.size() / 2 };
    assert!(matches!(restore(&plan, &open, &file, options), Err(Error::Cancelled)));
}

proptest! {
    #[test]
    fn whatever_happened_the_pages_are_those_of_the_database(steps in prop::collection::vec(step(), 0..60), parallelism in 1..5_usize) {
        let mut made = Replica::new(5);
        made.run(steps);
        let found = made.restored(parallelism).unwrap();
        prop_assert_eq!(found.len(), made.pages.len() * PAGE);
        for (number, (found, page)) in (1..).zip(found.chunks(PAGE).zip(&made.pages)) {
            prop_assert_eq!(found, page, "page {}", number);
        }
    }
}
