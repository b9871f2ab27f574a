//! A database that is replaced: who has it open, what is kept of it, and what comes last.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

mod common;

use std::any::Any;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{IMPATIENT, MemoryClient, snapshot};
use replica::{Error, RestoreOptions, Restored, Target, plan, restore};

fn options() -> RestoreOptions<'static> {
    RestoreOptions { retry: IMPATIENT, overwrite: true, ..RestoreOptions::default() }
}

/// Restores three pages, the first of which says that it belongs to a database in WAL mode.
fn attempt(output: &Path, options: &RestoreOptions<'_>) -> Result<Restored, Error> {
    let client = MemoryClient::default();
    let mut recipe = snapshot(512, 3, 4, 1);
    recipe.pages.get_mut(&1).unwrap()[18..20].copy_from_slice(&[2, 2]);
    recipe.store(&client, 9);
    restore(&client, &plan(&client, &Target::Latest)?, output, options)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What has happened so far, in order.
#[derive(Clone, Default)]
struct Steps(Arc<Mutex<Vec<&'static str>>>);

impl Steps {
    fn add(&self, step: &'static str) {
        self.0.lock().unwrap().push(step);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Notes when it is dropped.
struct Held(Steps);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.add("unlock");
    }
}

#[test]
fn the_old_database_is_locked_at_first_and_while_names_change() {
    let dir = tempfile::tempdir().unwrap();
    let (output, steps) = (dir.path().join("db"), Steps::default());
    fs::write(&output, b"old").unwrap();
    let lock = |path: &Path| -> io::Result<Option<Box<dyn Any>>> {
        assert_eq!(path, output);
        steps.add("lock");
        Ok(Some(Box::new(Held(steps.clone()))))
    };
    let verify = |_: &Path| {
        steps.add("verify");
        Ok(())
    };
    let prepare = |new: &Path| {
        assert!(fs::metadata(new).unwrap().len() > 3, "it is whole");
        assert_eq!(fs::read(&output).unwrap(), b"old");
        steps.add("prepare");
        Ok(())
    };
    let options =
        RestoreOptions { lock: Some(&lock), verify: Some(&verify), prepare: Some(&prepare), ..options() };
    attempt(&output, &options).unwrap();
    assert_eq!(steps.take(), ["lock", "unlock", "verify", "lock", "prepare", "unlock"]);
    fs::remove_file(&output).unwrap();
    attempt(&output, &RestoreOptions { prepare: None, ..options }).unwrap();
    assert_eq!(steps.take(), ["verify"], "what is not there is not locked");
}

#[test]
fn a_database_that_is_open_is_left_alone_whenever_that_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("db");
    for free_locks in [0, 1] {
        fs::write(&output, b"old").unwrap();
        let asked = AtomicUsize::new(0);
        let prepared = AtomicUsize::new(0);
        let lock = |_: &Path| -> io::Result<Option<Box<dyn Any>>> {
            let is_free = asked.fetch_add(1, Ordering::Relaxed) < free_locks;
            Ok(is_free.then(|| Box::new(()) as Box<dyn Any>))
        };
        let prepare = |_: &Path| {
            prepared.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let options = RestoreOptions { lock: Some(&lock), prepare: Some(&prepare), ..options() };
        let error = attempt(&output, &options).unwrap_err();
        assert!(matches!(&error, Error::OutputInUse { path } if *path == output), "{error}");
        assert!(asked.into_inner() > 2, "a transaction that is under way is waited for");
        assert_eq!((prepared.into_inner(), names(dir.path())), (0, vec!["db".to_owned()]));
        assert_eq!(fs::read(&output).unwrap(), b"old");
    }
}

#[test]
fn a_transaction_that_ends_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("db");
    fs::write(&output, b"old").unwrap();
    let asked = Mutex::new(0);
    let lock = |_: &Path| -> io::Result<Option<Box<dyn Any>>> {
        *asked.lock().unwrap() += 1;
        Ok((*asked.lock().unwrap() % 3 == 0).then(|| Box::new(()) as Box<dyn Any>))
    };
    attempt(&output, &RestoreOptions { lock: Some(&lock), ..options() }).unwrap();
    assert_eq!(asked.into_inner().unwrap(), 6);
}

#[test]
fn a_lock_that_cannot_be_asked_for_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("db");
    fs::write(&output, b"old").unwrap();
    let lock = |_: &Path| -> io::Result<Option<Box<dyn Any>>> { Err(io::ErrorKind::PermissionDenied.into()) };
    let error = attempt(&output, &RestoreOptions { lock: Some(&lock), ..options() }).unwrap_err();
    assert!(matches!(error, Error::Output { op: "lock", .. }), "{error}");
    assert_eq!(fs::read(&output).unwrap(), b"old");
}

#[test]
fn wal_mode_is_left_on_or_turned_off() {
    let dir = tempfile::tempdir().unwrap();
    for (rollback_journal, versions) in [(false, [2, 2]), (true, [1, 1])] {
        let output = dir.path().join("db");
        attempt(&output, &RestoreOptions { rollback_journal, ..options() }).unwrap();
        let mut expected = snapshot(512, 3, 4, 1).pages[&1].clone();
        expected[18..20].copy_from_slice(&versions);
        assert_eq!(fs::read(&output).unwrap()[..512], expected);
    }
}
