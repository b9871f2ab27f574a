//! Every step of putting a database in place, failing or being the last one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Lets steps from number `from` (from 0) on fail: one of them, as an error does, or all, as a killed process does.
struct FailingNames {
    from: usize,
    killed: bool,
    steps: AtomicUsize,
}

impl FailingNames {
    fn new(from: usize, killed: bool) -> Self {
        Self { from, killed, steps: AtomicUsize::new(0) }
    }

    fn step(&self) -> io::Result<()> {
        let number = self.steps.fetch_add(1, Ordering::Relaxed);
        let fails = if self.killed { number >= self.from } else { number == self.from };
        if fails { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    }
}

impl Names for FailingNames {
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealNames.link(from, to))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealNames.rename(from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealNames.rename_new(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealNames.remove(path))
    }

    fn sync(&self, dir: &Path) -> io::Result<()> {
        self.step().and_then(|()| RealNames.sync(dir))
    }
}

type Files = BTreeMap<String, String>;

fn files(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(io::Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), content(&entry.path()))).collect()
}

#[expect(clippy::disallowed_methods, reason = "test files, not databases")]
fn content(path: &Path) -> String {
    String::from_utf8(fs::read(path).unwrap()).unwrap()
}

fn set(dir: &Path, files: &[(&str, &str)]) {
    files.iter().for_each(|(name, content)| fs::write(dir.join(name), content).unwrap());
}

/// What an application finds at `name`: the database, and what SQLite would apply to it.
fn found<'a>(files: &'a Files, name: &str) -> Option<(&'a str, Option<&'a str>, Option<&'a str>)> {
    let beside =
        |suffix: &str| files.get(&format!("{name}{suffix}")).map(String::as_str).filter(|s| !s.is_empty());
    files.get(name).map(|content| (content.as_str(), beside("-wal"), beside("-journal")))
}

const OLD: Option<(&str, Option<&str>, Option<&str>)> = Some(("old", Some("old wal"), Some("old journal")));
const NEW: Option<(&str, Option<&str>, Option<&str>)> = Some(("new", None, None));

/// An old database with everything beside it, and the new one under its temporary name.
fn scene() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let sidecars = [("db-wal", "old wal"), ("db-journal", "old journal"), ("db-shm", "old shm")];
    set(dir.path(), &[("db", "old"), (".db.ltxcore-tmp-1", "new")]);
    set(dir.path(), &sidecars);
    dir
}

fn publish(names: &dyn Names, dir: &Path, overwrite: bool) -> Result<()> {
    Place::new(names, &dir.join("db"))?.publish(&dir.join(".db.ltxcore-tmp-1"), overwrite)
}

fn count_steps() -> usize {
    let (dir, names) = (scene(), FailingNames::new(usize::MAX, false));
    publish(&names, dir.path(), true).unwrap();
    assert_eq!(files(dir.path()), Files::from([("db".to_owned(), "new".to_owned())]));
    names.steps.into_inner()
}

#[test]
fn wherever_it_is_killed_one_database_is_whole_and_the_next_restore_finds_it() {
    let steps = count_steps();
    assert!(steps > 12, "{steps}");
    let mut seen = [0; 3];
    for from in 0..steps {
        let dir = scene();
        publish(&FailingNames::new(from, true), dir.path(), true).unwrap_err();
        let after = files(dir.path());
        let kind = match (found(&after, "db"), found(&after, "db.ltxcore-replaced")) {
            (OLD, _) => 0,
            (None, OLD) => 1,
            (NEW, _) => 2,
            other => panic!("killed at step {from}: {other:?} in {after:?}"),
        };
        seen[kind] += 1;
        // A second process is killed while it brings the old database back, then a third one succeeds.
        for again in 0..8 {
            let names = FailingNames::new(again, true);
            let _ = Place::new(&names, &dir.path().join("db")).unwrap().prepare(true);
            let halfway = files(dir.path());
            let old = [found(&halfway, "db"), found(&halfway, "db.ltxcore-replaced")].contains(&OLD);
            let split = halfway.get("db.ltxcore-replaced").is_some_and(|content| content == "old");
            assert!(
                old || split || found(&halfway, "db") == NEW,
                "killed at {from}, again at {again}: {halfway:?}"
            );
        }
        Place::new(&RealNames, &dir.path().join("db")).unwrap().prepare(true).unwrap();
        let recovered = files(dir.path());
        assert_eq!(found(&recovered, "db"), if kind == 2 { NEW } else { OLD }, "{recovered:?}");
        set(dir.path(), &[(".db.ltxcore-tmp-1", "newer")]);
        publish(&RealNames, dir.path(), true).unwrap();
        assert_eq!(files(dir.path()), Files::from([("db".to_owned(), "newer".to_owned())]));
    }
    assert!(seen.iter().all(|count| *count > 0), "each of the three situations occurs: {seen:?}");
}

#[test]
fn whichever_step_fails_the_old_database_is_back_or_the_new_one_is_there() {
    for from in 0..count_steps() {
        let dir = scene();
        publish(&FailingNames::new(from, false), dir.path(), true).unwrap_err();
        let after = files(dir.path());
        let at_place = found(&after, "db");
        assert!(at_place == OLD || at_place == NEW, "step {from}: {after:?}");
        if at_place == OLD {
            assert!(after.keys().all(|name| !name.contains("replaced")), "step {from}: {after:?}");
        }
    }
}

#[test]
fn nothing_old_stands_beside_the_new_database_even_if_names_are_lost_in_a_power_failure() {
    // Between removing the last old file and giving the new one its name the directory must be synced.
    struct Order(std::sync::Mutex<Vec<String>>);
    impl Names for Order {
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.note("rename", to);
            RealNames.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.note("remove", path);
            RealNames.remove(path)
        }
        fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.note("link", to);
            RealNames.link(from, to)
        }
        fn sync(&self, _: &Path) -> io::Result<()> {
            self.note("sync", Path::new(""));
            Ok(())
        }
    }
    impl Order {
        fn note(&self, op: &str, path: &Path) {
            let name = path.file_name().map_or(String::new(), |name| format!(" {}", name.to_str().unwrap()));
            self.0.lock().unwrap().push(format!("{op}{name}"));
        }
    }
    let (dir, order) = (scene(), Order(std::sync::Mutex::default()));
    publish(&order, dir.path(), true).unwrap();
    let expected = [
        "link db.ltxcore-replaced-journal",
        "link db.ltxcore-replaced-wal",
        "sync",
        "rename db.ltxcore-replaced",
        "sync",
        "remove db-journal",
        "remove db-wal",
        "remove db-shm",
        "sync",
        "rename db",
        "sync",
        "remove db.ltxcore-replaced",
        "remove db.ltxcore-replaced-journal",
        "remove db.ltxcore-replaced-wal",
        "sync",
    ];
    assert_eq!(*order.0.lock().unwrap(), expected);
}

#[test]
fn without_content_beside_it_one_rename_replaces() {
    let dir = tempfile::tempdir().unwrap();
    let scene = [("db", "old"), (".db.ltxcore-tmp-1", "new"), ("db-wal", ""), ("db-shm", "index")];
    for from in 0..4 {
        set(dir.path(), &scene);
        publish(&FailingNames::new(from, true), dir.path(), true).unwrap_err();
        assert_eq!(found(&files(dir.path()), "db"), Some(("old", None, None)), "step {from}");
    }
    set(dir.path(), &scene);
    publish(&RealNames, dir.path(), true).unwrap();
    assert_eq!(files(dir.path()), Files::from([("db".to_owned(), "new".to_owned())]));
}

#[test]
fn a_new_place_is_never_taken_from_somebody() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["db", "db-wal", "db-shm", "db-journal"] {
        set(dir.path(), &[(".db.ltxcore-tmp-1", "new"), (name, "")]);
        let Err(Error::OutputExists { path }) = publish(&RealNames, dir.path(), false) else {
            panic!("{name}")
        };
        assert_eq!(path, dir.path().join(name));
        fs::remove_file(path).unwrap();
    }
    publish(&RealNames, dir.path(), false).unwrap();
    assert_eq!(found(&files(dir.path()), "db"), NEW);
}

#[test]
fn links_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    set(&dir.path().join("real"), &[("store", "old"), ("store-wal", "old wal")]);
    set(dir.path(), &[(".db.ltxcore-tmp-1", "new")]);
    std::os::unix::fs::symlink(dir.path().join("real/store"), dir.path().join("db")).unwrap();
    publish(&RealNames, dir.path(), true).unwrap();
    assert_eq!(files(&dir.path().join("real")), Files::from([("store".to_owned(), "new".to_owned())]));
    assert!(fs::symlink_metadata(dir.path().join("db")).unwrap().is_symlink());
}
