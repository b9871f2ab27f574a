//! A database that somebody else makes: it gets its place by the same rules as one that is restored from LTX files.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::Ordering;

use ltx::PageSize;

use crate::error::Error;
use crate::restore::make_room;
use crate::restore::options::RestoreOptions;
use crate::restore::output::{Content, Output};
use crate::restore::publish::{Place, RealNames};
use crate::restore::workplace::{Workplace, remove_dead};

/// Has `make` write a database into a new and empty file, and puts that at `output`, whole and durable, or not at all. What `make`
/// returns comes back; the page size is `None` if the database is empty.
///
/// Of the options, `overwrite`, `lock`, `rollback_journal`, `verify`, `prepare` and `cancel` play a part, as for
/// [`restore`](crate::restore()).
///
/// # Errors
/// What `make` fails with; [`Error::OutputExists`], [`Error::OutputNotAFile`], [`Error::OutputInUse`], [`Error::Output`],
/// [`Error::Cancelled`].
pub fn publish_made<T, E: From<Error>>(
    output: &Path,
    options: &RestoreOptions<'_>,
    make: impl FnOnce(&File) -> Result<(Option<PageSize>, T), E>,
) -> Result<T, E> {
    let place = Place::new(&RealNames, output)?;
    place.prepare(options.overwrite)?;
    let lock = options.lock.filter(|_| options.overwrite);
    // Who has the database open is told of before everything has been read.
    drop(place.lock(lock)?);
    make_room(place.output())?;
    remove_dead(place.output());
    let replaced = if options.overwrite { fs::metadata(place.output()).ok() } else { None };
    let workplace = Workplace::unique(place.output());
    let file = Output::create(
        workplace.database(),
        place.output(),
        Content::Pages,
        // Known once there are pages.
        PageSize::MIN,
        replaced.as_ref(),
    )?;
    let (page_size, made) = make(file.file())?;
    let file = file.with_page_size(page_size.unwrap_or(PageSize::MIN));
    if options.rollback_journal {
        file.use_rollback_journal()?;
    }
    file.sync()?;
    options.verify.map_or(Ok(()), |verify| verify(file.path()))?;
    if options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
        return Err(Error::Cancelled.into());
    }
    let locked = place.lock(lock)?;
    if let Some(replaced) = &replaced {
        file.give_rights_of(replaced)?;
        file.sync()?;
    }
    options.prepare.map_or(Ok(()), |prepare| prepare(file.path()))?;
    place.publish(file.path(), options.overwrite)?;
    drop(locked);
    Ok(made)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "no connection has these files open")]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    fn make(text: &'static [u8]) -> impl FnOnce(&File) -> Result<(Option<PageSize>, usize), Error> {
        move |mut file| {
            file.write_all(text).unwrap();
            Ok((None, text.len()))
        }
    }

    #[test]
    fn a_database_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("new/db");
        let options = RestoreOptions::default();
        let failed = publish_made(&output, &options, |mut file| {
            file.write_all(b"half").unwrap();
            Err::<(Option<PageSize>, ()), _>(Error::Cancelled)
        });
        assert!(matches!(failed, Err(Error::Cancelled)));
        assert!(names(output.parent().unwrap()).is_empty());
        assert_eq!(publish_made(&output, &options, make(b"whole")).unwrap(), 5);
        assert_eq!(names(output.parent().unwrap()), ["db"]);
        assert_eq!(fs::read(&output).unwrap(), b"whole");
        assert!(matches!(publish_made(&output, &options, make(b"other")), Err(Error::OutputExists { .. })));
        let options = RestoreOptions { overwrite: true, ..options };
        publish_made(&output, &options, make(b"other")).unwrap();
        assert_eq!(fs::read(&output).unwrap(), b"other");
        assert_eq!(names(output.parent().unwrap()), ["db"]);
    }

    #[test]
    fn a_database_that_is_refused_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("db");
        fs::write(&output, "old").unwrap();
        let refuse = |_: &Path| Err(Error::Cancelled);
        for options in [
            RestoreOptions { verify: Some(&refuse), ..RestoreOptions::default() },
            RestoreOptions { prepare: Some(&refuse), ..RestoreOptions::default() },
            RestoreOptions { cancel: Some(&true.into()), ..RestoreOptions::default() },
        ] {
            let options = RestoreOptions { overwrite: true, ..options };
            assert!(matches!(publish_made(&output, &options, make(b"new")), Err(Error::Cancelled)));
            assert_eq!(fs::read(&output).unwrap(), b"old");
            assert_eq!(names(dir.path()), ["db"]);
        }
    }
}
