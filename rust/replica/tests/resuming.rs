//! Restores that fail or are killed, and those that go on with what is left.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::resume::{Limited, PAGE, Site, noise};
use common::{Fault, FaultClient, MemoryClient, database, delta, snapshot, txid};
use replica::{Error, FileInfo, Progress, ReplicaClient, RestoreOptions, Target, plan, restore};

/// A page of zeros, in the second unit of the snapshot.
const EMPTY: u32 = 400;

/// A file of some units and three small ones, and the database they make.
fn replica() -> (MemoryClient, Vec<u8>) {
    let client = MemoryClient::default();
    let mut big = snapshot(PAGE, 1200, 3, 1);
    noise(&mut big.pages, 1);
    big.pages.get_mut(&EMPTY).unwrap().fill(0);
    // In WAL mode, as its header says.
    big.pages.get_mut(&1).unwrap()[..20].copy_from_slice(b"SQLite format 3\0\x10\x00\x02\x02");
    big.store(&client, 9);
    let changes =
        [&[(2, 9), (700, 8), (1200, 7)][..], &[(2, 9), (700, 6)], &[(700, 5)]].map(|fills| fills.to_vec());
    let mut pages = big.pages;
    for (number, fills) in (4..).zip(changes) {
        let change = delta(PAGE, 1200, number, number, &fills);
        change.store(&client, 0);
        pages.extend(change.pages);
    }
    (client, database(&pages, 1200))
}

#[test]
fn a_restore_goes_on_where_reading_failed() {
    let ((client, good), site) = (replica(), Site::new());
    let (mut read, mut last) = (0, 0);
    for reads in 7..12 {
        read += site.interrupt(&client, reads);
        site.assert_left(true);
        let kept = site.kept.load(Ordering::Relaxed);
        assert!(kept > last, "{kept} after {last}");
        last = kept;
        if kept > 3 << 20 {
            break;
        }
    }
    let last_run = Limited::new(&client, usize::MAX);
    let seen = AtomicU64::new(u64::MAX);
    let progress = |at: Progress| {
        seen.fetch_min(at.bytes_done, Ordering::Relaxed);
        assert!(at.bytes_done <= at.bytes_total);
    };
    let options = RestoreOptions { progress: Some(&progress), ..site.options() };
    let restored = site.run_with(&last_run, &options).unwrap();
    assert_eq!(restored.resumed, last);
    assert!(seen.into_inner() >= last, "progress begins there");
    assert!(last_run.bytes() < restored.bytes - last + 60_000);
    assert!(
        read + last_run.bytes() < restored.bytes * 13 / 10,
        "{read} {} {}",
        last_run.bytes(),
        restored.bytes
    );
    site.assert_restored(&good);
}

#[test]
fn what_is_whole_is_not_read_again() {
    let ((client, good), site) = (replica(), Site::new());
    let stop = AtomicBool::new(false);
    let progress = |at: Progress| stop.store(at.bytes_done == at.bytes_total, Ordering::Relaxed);
    let options = RestoreOptions { progress: Some(&progress), cancel: Some(&stop), ..site.options() };
    assert!(matches!(site.run_with(&client, &options), Err(Error::Cancelled)));
    site.assert_left(true);
    let last_run = Limited::new(&client, usize::MAX);
    let restored = site.run(&last_run).unwrap();
    assert!(last_run.bytes() < 20_000, "{}", last_run.bytes());
    assert!(restored.resumed * 100 > restored.bytes * 99);
    site.assert_restored(&good);
}

#[test]
fn what_the_database_stands_on_is_known_of_files_that_were_read_before() {
    let ((client, _), fresh, site) = (replica(), Site::new(), Site::new());
    let past_of = |site: &Site| {
        let options = RestoreOptions { keeps_past: true, ..site.options() };
        let restored = site.run_with(&client, &options).unwrap();
        (restored.past.unwrap(), restored.resumed)
    };
    let stop = |_: &Path| Err(Error::Cancelled);
    let options = RestoreOptions { verify: Some(&stop), ..site.options() };
    assert!(matches!(site.run_with(&client, &options), Err(Error::Cancelled)));
    let ((expected, _), (found, resumed)) = (past_of(&fresh), past_of(&site));
    assert!(resumed > 0 && expected.marks.iter().all(|mark| mark.checksum != 0));
    assert_eq!(found, expected);
}

#[test]
fn an_edited_page_1_is_undone() {
    let ((client, good), site) = (replica(), Site::new());
    let stop = |_: &Path| Err(Error::Cancelled);
    for rollback_journal in [true, true, false] {
        let options = RestoreOptions { rollback_journal, verify: Some(&stop), ..site.options() };
        assert!(matches!(site.run_with(&client, &options), Err(Error::Cancelled)));
        site.assert_left(true);
        assert_eq!(fs::read(site.partial()).unwrap()[18..20] == [1, 1], rollback_journal);
    }
    let restored = site.run(&client).unwrap();
    assert!(restored.resumed > 0);
    site.assert_restored(&good);
}

/// Restores one transaction; what it took over, and what it made.
fn restore_txid(client: &dyn ReplicaClient, site: &Site, number: u64) -> (u64, Vec<u8>) {
    let planned = plan(client, &Target::Txid(txid(number))).unwrap();
    let restored = restore(client, &planned, &site.output(), &site.options()).unwrap();
    assert_eq!(site.names(), ["db"]);
    (restored.resumed, fs::read(site.output()).unwrap())
}

/// The same from nothing.
fn restored_afresh(client: &dyn ReplicaClient, number: u64) -> Vec<u8> {
    restore_txid(client, &Site::new(), number).1
}

#[test]
fn merged_files_replace_what_was_read_of_them() {
    let ((client, good), site) = (replica(), Site::new());
    site.interrupt(&client, 7);
    let files = client.ltx_files(0, txid(5), false).unwrap();
    delta(PAGE, 1200, 5, 6, &[(2, 9), (700, 5)]).store(&client, 1);
    client.delete_ltx_files(&files).unwrap();
    let restored = site.run(&client).unwrap();
    assert!(restored.resumed > 0);
    site.assert_restored(&good);
}

#[test]
fn a_page_that_a_lost_file_had_is_not_taken_from_a_file_that_is_too_old() {
    // The small files are read, and the snapshot is not, as far as page 700. An earlier state has that from the file before.
    let ((client, _), site) = (replica(), Site::new());
    site.interrupt(&client, 7);
    assert_eq!(restore_txid(&client, &site, 5), (0, restored_afresh(&client, 5)));
}

#[test]
fn a_page_that_was_cut_off_is_not_taken_from_a_file_that_is_too_old() {
    // Transaction 4 wrote the last page, which is behind the end of the newest state.
    let ((client, _), site) = (replica(), Site::new());
    delta(PAGE, 1100, 7, 7, &[(3, 1)]).store(&client, 0);
    site.interrupt(&client, 8);
    assert_eq!(restore_txid(&client, &site, 6), (0, restored_afresh(&client, 6)));
}

#[test]
fn what_a_lost_file_may_have_written_over_is_read_again() {
    let ((client, _), site) = (replica(), Site::new());
    // Two units, which wait until all smaller files are read, and are not read then.
    let mut big = snapshot(PAGE, 1200, 7, 3);
    big.min = 7;
    big.pages.retain(|pgno, _| (1..450).contains(pgno));
    noise(&mut big.pages, 5);
    let lost = big.store(&client, 0);
    delta(PAGE, 1200, 8, 8, &[(3, 1)]).store(&client, 0);
    let small = AtomicUsize::new(0);
    let before = |info: &FileInfo, offset: u64| {
        small.fetch_add(usize::from(info.size < 1 << 20), Ordering::Relaxed);
        if info.max_txid == txid(7) && (100..1_800_000).contains(&offset) {
            while small.load(Ordering::Relaxed) < 5 {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(100));
            return false;
        }
        true
    };
    let limited = Limited { before: &before, ..Limited::new(&client, usize::MAX) };
    site.run_with(&limited, &RestoreOptions { parallelism: 3, ..site.options() }).unwrap_err();
    site.assert_left(true);
    // It is killed after it has written page 2, which older files have, and one that is empty in the snapshot.
    let state = fs::File::options().write(true).open(site.state()).unwrap();
    state.set_len(state.metadata().unwrap().len() - 64).unwrap();
    let partial = fs::File::options().write(true).open(site.partial()).unwrap();
    for page in [1, EMPTY - 1] {
        partial.write_all_at(&[7; PAGE as usize], u64::from(page) * u64::from(PAGE)).unwrap();
    }
    // And another writer had the replica.
    client.delete_ltx_files(&[lost]).unwrap();
    delta(PAGE, 1200, 7, 7, &[(700, 3)]).store(&client, 0);
    let (resumed, database) = restore_txid(&client, &site, 8);
    assert!(resumed > 0);
    assert!(database == restored_afresh(&client, 8), "another database");
}

#[test]
fn a_page_that_was_written_for_a_unit_that_was_not_done_is_written_again() {
    let ((client, good), site) = (replica(), Site::new());
    site.interrupt(&client, 9);
    // The last page but one is in the last unit of the snapshot. Its holder was durable before the page was.
    let state = fs::File::options().write(true).open(site.state()).unwrap();
    state.write_all_at(&1_u32.to_be_bytes(), 64 + 1198 * 4).unwrap();
    assert!(site.run(&client).unwrap().resumed > 0);
    site.assert_restored(&good);
}

#[test]
fn damaged_files_leave_nothing_and_what_was_left_is_doubted_once() {
    let ((client, good), site) = (replica(), Site::new());
    site.interrupt(&client, 8);
    site.assert_left(true);
    // A bit flips in the first reads after the header, then no more: everything is read afresh.
    let flipping = FaultClient::new(&client, Fault::Flip, 3, 1);
    let restored = site.run(&flipping).unwrap();
    assert_eq!(restored.resumed, 0);
    site.assert_restored(&good);
    fs::remove_file(site.output()).unwrap();
    site.interrupt(&client, 8);
    let flipping = FaultClient::new(&client, Fault::Flip, 3, usize::MAX);
    assert!(matches!(site.run(&flipping), Err(Error::Format { .. } | Error::WrongTransactions { .. })));
    site.assert_left(false);
}

#[test]
fn a_garbled_database_is_found_by_who_looks_at_it_and_is_made_afresh() {
    let ((client, good), site) = (replica(), Site::new());
    site.interrupt(&client, 8);
    let partial = fs::File::options().write(true).open(site.partial()).unwrap();
    // Pages of the small files are there for sure.
    partial.write_all_at(&[0xee; 100], 699 * u64::from(PAGE)).unwrap();
    let looks = AtomicUsize::new(0);
    let verify = |path: &Path| {
        looks.fetch_add(1, Ordering::Relaxed);
        if fs::read(path).unwrap() == good { Ok(()) } else { Err(Error::foreign("it is damaged", false)) }
    };
    let options = RestoreOptions { verify: Some(&verify), ..site.options() };
    let restored = site.run_with(&client, &options).unwrap();
    assert_eq!((restored.resumed, looks.into_inner()), (0, 2));
    site.assert_restored(&good);
}

#[test]
fn what_cannot_be_gone_on_with_is_cleared_away() {
    type Spoil = fn(&mut Site);
    let spoils: [(&str, Spoil); 6] = [
        ("another replica", |site| site.replica = "two".into()),
        ("no journal", |site| fs::remove_file(site.state()).unwrap()),
        ("no database", |site| fs::remove_file(site.partial()).unwrap()),
        ("a garbled journal", |site| {
            let file = fs::File::options().write(true).open(site.state()).unwrap();
            file.write_all_at(b"x", 20).unwrap();
        }),
        ("another database", |site| {
            let bytes = fs::read(site.partial()).unwrap();
            fs::rename(site.partial(), site.dir.path().join("kept")).unwrap();
            fs::write(site.partial(), bytes).unwrap();
            fs::remove_file(site.dir.path().join("kept")).unwrap();
        }),
        ("a link", |site| {
            fs::remove_file(site.partial()).unwrap();
            std::os::unix::fs::symlink("/nowhere/else", site.partial()).unwrap();
        }),
    ];
    for (name, spoil) in spoils {
        let ((client, good), mut site) = (replica(), Site::new());
        site.interrupt(&client, 8);
        site.assert_left(true);
        spoil(&mut site);
        let restored = site.run(&client).unwrap();
        // A file system may give a new file the number of the old one; then it is a copy of it.
        assert!(restored.resumed == 0 || name == "another database", "{name}");
        site.assert_restored(&good);
    }
}

#[test]
fn without_a_journal_it_is_a_restore_like_any_other() {
    let ((client, good), site) = (replica(), Site::new());
    let new = site.dir.path().join(".db.ltxcore-partial.state-new");
    fs::create_dir_all(new.join("in the way")).unwrap();
    assert!(site.run(&Limited::new(&client, 8)).is_err());
    assert_eq!(site.names(), [".db.ltxcore-partial.state-new"]);
    site.run(&client).unwrap();
    assert!(fs::read(site.output()).unwrap() == good);
    assert_eq!(site.names(), [".db.ltxcore-partial.state-new", "db"]);
    // What there is cannot be gone on with if nothing can be written down.
    fs::remove_dir_all(&new).unwrap();
    fs::remove_file(site.output()).unwrap();
    site.interrupt(&client, 8);
    fs::create_dir_all(new.join("in the way")).unwrap();
    let restored = site.run(&client).unwrap();
    assert_eq!(restored.resumed, 0);
    assert!(fs::read(site.output()).unwrap() == good);
}

#[test]
fn two_at_once_do_not_meet() {
    let ((client, good), site) = (replica(), Site::new());
    site.interrupt(&client, 8);
    let other = AtomicBool::new(false);
    let before = || {
        if !other.swap(true, Ordering::Relaxed) {
            let options = RestoreOptions { overwrite: true, ..site.options() };
            let restored = site.run_with(&client, &options).unwrap();
            assert_eq!(restored.resumed, 0);
            assert!(fs::read(site.output()).unwrap() == good);
            // One that fails leaves nothing: the names are taken.
            let failing = Limited::new(&client, 8);
            site.run_with(&failing, &options).unwrap_err();
            assert_eq!(site.kept.load(Ordering::Relaxed), 0);
            assert!(site.names().iter().all(|name| !name.contains("-tmp-")), "{:?}", site.names());
        }
    };
    // The other one begins when this one has begun: it reads the newest header before.
    let started = AtomicUsize::new(0);
    let late = |_: &FileInfo, _: u64| {
        if started.fetch_add(1, Ordering::Relaxed) > 1 {
            before();
        }
        true
    };
    let limited = Limited { before: &late, ..Limited::new(&client, usize::MAX) };
    let options = RestoreOptions { overwrite: true, parallelism: 1, ..site.options() };
    let restored = site.run_with(&limited, &options).unwrap();
    assert!(restored.resumed > 0 && other.into_inner());
    site.assert_restored(&good);
}

#[test]
fn rights_are_those_of_a_new_database_or_of_the_old_one() {
    let (client, _) = replica();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let site = Site::new();
    fs::write(site.dir.path().join("probe"), "").unwrap();
    let usual = mode(&site.dir.path().join("probe"));
    fs::remove_file(site.dir.path().join("probe")).unwrap();
    for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
        let site = Site::new();
        let there = |is_there: bool| {
            let _ = fs::remove_file(site.output());
            if is_there {
                fs::write(site.output(), "old").unwrap();
                fs::set_permissions(site.output(), fs::Permissions::from_mode(0o640)).unwrap();
            }
        };
        there(first);
        let options = RestoreOptions { overwrite: true, ..site.options() };
        site.run_with(&Limited::new(&client, 8), &options).unwrap_err();
        assert_eq!(mode(&site.partial()), if first { 0o600 } else { usual });
        assert_eq!(mode(&site.state()), 0o600);
        there(second);
        assert!(site.run_with(&client, &options).unwrap().resumed > 0);
        assert_eq!(mode(&site.output()), if second { 0o640 } else { usual });
    }
}

#[test]
fn other_restores_leave_it_or_clear_it_away() {
    let ((client, good), site) = (replica(), Site::new());
    site.interrupt(&client, 8);
    // One that is too small to be resumed fails, and leaves it; one that succeeds has no use for it any more.
    let plain = RestoreOptions { resume: None, ..site.options() };
    site.run_with(&Limited::new(&client, 3), &plain).unwrap_err();
    site.assert_left(true);
    for name in [".db.ltxcore-tmp-999999-5", ".db.ltxcore-tmp-999999-5.lock"] {
        fs::write(site.dir.path().join(name), "").unwrap();
    }
    site.run_with(&client, &plain).unwrap();
    site.assert_restored(&good);
}

#[test]
fn what_was_sound_is_kept_if_what_was_read_may_have_been_at_fault() {
    let ((client, good), site) = (replica(), Site::new());
    site.interrupt(&client, 8);
    let kept = site.kept.load(Ordering::Relaxed);
    let told = AtomicUsize::new(0);
    // The first reads are of something else than the replica itself, and what is made of them once is not made of them again.
    let flipping = FaultClient::new(&client, Fault::Flip, 3, 1);
    let distrust = |error: &Error| {
        assert!(error.is_about_content(), "{error}");
        told.fetch_add(1, Ordering::Relaxed) == 0
    };
    let options = RestoreOptions { distrust: Some(&distrust), ..site.options() };
    let restored = site.run_with(&flipping, &options).unwrap();
    assert!(restored.resumed >= kept, "{} of {kept}", restored.resumed);
    assert_eq!(told.into_inner(), 1);
    site.assert_restored(&good);
    // If it was not, everything is read afresh, and then nothing is left.
    fs::remove_file(site.output()).unwrap();
    site.interrupt(&client, 8);
    let told = AtomicUsize::new(0);
    let distrust = |_: &Error| told.fetch_add(1, Ordering::Relaxed) == 0;
    let options = RestoreOptions { distrust: Some(&distrust), ..site.options() };
    let flipping = FaultClient::new(&client, Fault::Flip, 3, usize::MAX);
    let error = site.run_with(&flipping, &options).unwrap_err();
    assert!(error.is_about_content(), "{error}");
    assert_eq!(told.into_inner(), 3);
    site.assert_left(false);
}
