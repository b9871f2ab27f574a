//! Names beside the output for a database that is being made, and what dead restores have left under them.
//!
//! | Name | What it is |
//! |---|---|
//! | `.OUTPUT.ltxcore-tmp-PID-N` | the database of one restore |
//! | `.OUTPUT.ltxcore-partial` | the same, of a restore that another one may go on with |
//! | the same and `.state` | its journal |
//! | either and `.lock` | locked while the restore lives, and there as long as anything else of it is |
//! | either and `.map-PID-N` | what file numbers do not fit into memory; without a name, but for a moment |
//! | either and `-wal`, `-shm`, `-journal` | what SQLite made when it looked at the database |

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use durable::{parent, sibling};

use crate::restore::owned::Owned;

const UNIQUE: &str = ".ltxcore-tmp-";
const PARTIAL: &str = ".ltxcore-partial";
const LOCK: &str = ".lock";
const STATE: &str = ".state";
const NEW_STATE: &str = ".state-new";
const SCRATCH: &str = ".map-";
const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Names that no other restore uses until this is dropped.
#[derive(Debug)]
pub(crate) struct Workplace {
    database: PathBuf,
    /// None where the file system has no locks.
    _lock: Option<Owned>,
}

impl Workplace {
    /// Names that are new.
    pub(crate) fn unique(output: &Path) -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let database = hidden(output, &format!("{UNIQUE}{}-{number}", process::id()));
            // A process of the same id, before a reboot or in another container, may have left one behind, or be alive.
            if is_there(&database) {
                continue;
            }
            match Owned::take(&sibling(&database, LOCK)) {
                Ok(None) => {}
                taken => return Self { database, _lock: taken.ok().flatten() },
            }
        }
    }

    /// The names that each restore to `output` has in common with the one before; `None` if another one is using them, or
    /// nothing would tell.
    pub(crate) fn shared(output: &Path) -> Option<Self> {
        let database = partial_path(output);
        let lock = Owned::take(&sibling(&database, LOCK)).ok().flatten()?;
        let found = Self { database, _lock: Some(lock) };
        found.remove_beside();
        Some(found)
    }

    /// The path of the database.
    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    /// The path of its journal.
    pub(crate) fn state(&self) -> PathBuf {
        sibling(&self.database, STATE)
    }

    /// The path of a journal that will take the place of the old one.
    pub(crate) fn new_state(&self) -> PathBuf {
        sibling(&self.database, NEW_STATE)
    }

    /// Removes all there is.
    pub(crate) fn clear(&self) {
        // The journal first: it must not be found beside another database.
        let _ = fs::remove_file(self.state());
        let _ = fs::remove_file(&self.database);
        self.remove_beside();
    }

    /// Removes what a restore that goes on has no use for.
    fn remove_beside(&self) {
        let _ = fs::remove_file(self.new_state());
        for suffix in SIDECARS {
            let _ = fs::remove_file(sibling(&self.database, suffix));
        }
        let Some(name) = self.database.file_name().and_then(|name| name.to_str()) else { return };
        for entry in names(&self.database) {
            if entry.strip_prefix(name).is_some_and(|rest| rest.starts_with(SCRATCH)) {
                let _ = fs::remove_file(self.database.with_file_name(entry));
            }
        }
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // Once the lock file is gone, nothing says that these are ours.
        self.remove_beside();
    }
}

/// Where a restore to `output`, which is no link, has left what it did not finish.
pub(crate) fn partial_path(output: &Path) -> PathBuf {
    hidden(output, PARTIAL)
}

/// A name beside `output` for what is about it.
fn hidden(output: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(output.file_name().unwrap_or_default());
    name.push(suffix);
    output.with_file_name(name)
}

/// Removes a restore to `output` that nobody goes on with any more, unless one is under way.
pub(crate) fn remove_partial(output: &Path) {
    let partial = partial_path(output);
    if (is_there(&partial) || is_there(&sibling(&partial, STATE)))
        && let Some(workplace) = Workplace::shared(output)
    {
        workplace.clear();
    }
}

/// Removes the unique files of restores to `output` that are dead: those that have the lock file of one beside them. What cannot
/// be removed is harmless.
pub(crate) fn remove_dead(output: &Path) {
    let Some(prefix) =
        output.file_name().and_then(|name| name.to_str()).map(|name| format!(".{name}{UNIQUE}"))
    else {
        return;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    for name in names(output) {
        let Some(stem) = name.strip_suffix(LOCK) else { continue };
        let numbers = stem.strip_prefix(&prefix).and_then(|numbers| numbers.split_once('-'));
        let is_ours = numbers.is_some_and(|(process, number)| is_number(process) && is_number(number))
            && fs::symlink_metadata(output.with_file_name(&name)).is_ok_and(|lock| lock.len() == 0);
        if is_ours && let Ok(Some(lock)) = Owned::take(&output.with_file_name(&name)) {
            Workplace { database: output.with_file_name(stem), _lock: Some(lock) }.clear();
        }
    }
}

/// Names in the directory of `path`, as far as they can be had.
fn names(path: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(parent(path)).into_iter().flatten();
    entries.filter_map(|entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok())
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(dir: &Path) -> Vec<String> {
        let mut found: Vec<String> = names(&dir.join("x")).collect();
        found.sort();
        found
    }

    #[test]
    fn dead_restores_are_cleared_away_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("db");
        let live = Workplace::unique(&output);
        let name = live.database().file_name().unwrap().to_str().unwrap().to_owned();
        fs::write(live.database(), "being written").unwrap();
        let dead = ["", ".lock", "-wal", "-shm", "-journal", ".map-5-6"]
            .map(|rest| format!(".db.ltxcore-tmp-1-2{rest}"));
        let others = [
            "db",
            // Nothing says that these are of a restore.
            "db.tmp-20261130-1",
            "db.tmp-20261130-2",
            "db.tmp-20261130-2.lock",
            ".db.ltxcore-tmp-77-1",
            ".db.ltxcore-tmp-78-1-wal",
            ".db.ltxcore-tmp-",
            ".db.ltxcore-tmp-.lock",
            ".db.ltxcore-tmp-1.lock",
            ".db.ltxcore-tmp-1-2x.lock",
            ".db.ltxcore-tmp-a-2.lock",
            ".db.ltxcore-tmp-1-.lock",
            ".db.ltxcore-tmp--1.lock",
            ".other.ltxcore-tmp-1-2.lock",
        ];
        for name in dead.iter().map(String::as_str).chain(others) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        // No lock of ours has anything in it.
        fs::write(dir.path().join(".db.ltxcore-tmp-3-4.lock"), "mine").unwrap();
        let others = || others.into_iter().chain([".db.ltxcore-tmp-3-4.lock"]);
        remove_dead(&output);
        let mut expected: Vec<String> = others().map(str::to_owned).collect();
        expected.extend([name.clone(), format!("{name}.lock")]);
        expected.sort();
        assert_eq!(listed(dir.path()), expected);
        drop(live);
        // As if it had been killed.
        fs::write(dir.path().join(format!("{name}.lock")), "").unwrap();
        remove_dead(&output);
        expected.retain(|other| !other.starts_with(&name));
        assert_eq!(listed(dir.path()), expected);
    }

    #[test]
    fn what_was_made_beside_a_database_goes_away_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let live = Workplace::unique(&dir.path().join("db"));
        for suffix in SIDECARS {
            fs::write(sibling(live.database(), suffix), "").unwrap();
        }
        drop(live);
        assert!(listed(dir.path()).is_empty());
    }

    #[test]
    fn one_restore_at_a_time_has_the_shared_names() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("db");
        let first = Workplace::shared(&output).unwrap();
        assert!(Workplace::shared(&output).is_none());
        for path in [first.database().to_owned(), first.state(), first.new_state()] {
            fs::write(path, "").unwrap();
        }
        remove_partial(&output);
        assert_eq!(listed(dir.path()).len(), 4);
        let new = first.new_state();
        drop(first);
        // As if it had been killed.
        fs::write(new, "").unwrap();
        drop(Workplace::shared(&output).unwrap());
        assert_eq!(listed(dir.path()), [".db.ltxcore-partial", ".db.ltxcore-partial.state"]);
        remove_partial(&output);
        assert!(listed(dir.path()).is_empty());
    }
}
