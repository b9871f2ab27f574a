//! Writing to a file only if nobody else has written to it: what keeps a checkpoint from mixing two databases.
//!
//! A checkpoint makes the WAL durable before it writes the first page, and that may take long. Whoever has proved that the frames
//! belong to the file can have its times compared once more, right before each page.

use std::fmt;
use std::fs::{File, Metadata};
use std::num::ParseIntError;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

use vfs::{Code, Error, Result};

/// Which file this is, when it was written last, and how long it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// When its content was changed last, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// When its content, owner, mode or names were changed last, in nanoseconds since 1970.
    pub changed_ns: i64,
    /// Length in bytes.
    pub size: u64,
}

impl Stamp {
    /// The stamp of the file that `metadata` is about.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.len(),
        }
    }
}

impl fmt::Display for Stamp {
    /// As `PRAGMA ltx_unwritten_since` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, inode, modified_ns, changed_ns, size } = self;
        write!(f, "{device}:{inode}:{modified_ns}:{changed_ns}:{size}")
    }
}

impl FromStr for Stamp {
    type Err = ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let mut fields = text.splitn(5, ':');
        let mut next = || fields.next().unwrap_or_default();
        Ok(Self {
            device: next().parse()?,
            inode: next().parse()?,
            modified_ns: next().parse()?,
            changed_ns: next().parse()?,
            size: next().parse()?,
        })
    }
}

/// What a write has to find.
#[derive(Debug, Default)]
pub(crate) enum Guard {
    /// Anything.
    #[default]
    Open,
    /// A file with this stamp, as it was left by the write before.
    Closed(Stamp),
    /// It found another one, and so does every further write.
    Refused,
}

impl Guard {
    /// From now on nothing but a file with `stamp` is written to; any is, if that is empty. False if it is something else.
    pub(crate) fn close(&mut self, stamp: &str) -> bool {
        let guard = if stamp.is_empty() { Ok(Self::Open) } else { stamp.parse().map(Self::Closed) };
        guard.map(|guard| *self = guard).is_ok()
    }

    /// Does `write`, if nobody else has written to `file`; afterwards it should be `size_after` its size so long. Whoever copies a
    /// file over another cuts it first.
    pub(crate) fn pass(
        &mut self,
        file: &File,
        size_after: impl FnOnce(u64) -> u64,
        write: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let Self::Closed(stamp) = *self else {
            return if matches!(self, Self::Open) { write() } else { Err(Code::IOERR_WRITE.into()) };
        };
        *self = Self::Refused;
        if stamp_of(file)? != stamp {
            return Err(Code::IOERR_WRITE.into());
        }
        write()?;
        let left = stamp_of(file)?;
        if left.size != size_after(stamp.size) {
            return Err(Code::IOERR_WRITE.into());
        }
        *self = Self::Closed(left);
        Ok(())
    }

    /// As `PRAGMA ltx_unwritten_since` answers it: the stamp that the file should have.
    pub(crate) fn stamp(&self) -> String {
        match self {
            Self::Open => "any".into(),
            Self::Closed(stamp) => stamp.to_string(),
            Self::Refused => "refused".into(),
        }
    }
}

fn stamp_of(file: &File) -> Result<Stamp> {
    let metadata = file.metadata().map_err(|error| Error::os(Code::IOERR_FSTAT, &error))?;
    Ok(Stamp::of(&metadata))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of the test")]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;

    struct Scene {
        _dir: tempfile::TempDir,
        path: std::path::PathBuf,
        file: File,
        guard: Guard,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("db");
            fs::write(&path, [7; 100]).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            let mut guard = Guard::default();
            guard.close(&stamp_of(&file).unwrap().to_string());
            Self { _dir: dir, path, file, guard }
        }

        fn write(&mut self, at: u64) -> Result<()> {
            let file = &self.file;
            let write =
                || file.write_all_at(&[1; 10], at).map_err(|error| Error::os(Code::IOERR_WRITE, &error));
            self.guard.pass(file, |size| size.max(at + 10), write)
        }
    }

    #[test]
    fn writes_follow_one_another_while_nobody_else_writes() {
        let mut scene = Scene::new();
        for at in [0, 95, 40] {
            scene.write(at).unwrap();
        }
        assert_eq!(scene.guard.stamp(), stamp_of(&scene.file).unwrap().to_string());
        assert_eq!(fs::metadata(&scene.path).unwrap().len(), 105);
        let stamp = stamp_of(&scene.file).unwrap();
        assert_eq!(stamp.to_string().parse(), Ok(stamp));
    }

    #[test]
    fn the_file_of_somebody_else_is_not_touched() {
        let mut scene = Scene::new();
        scene.write(0).unwrap();
        fs::write(&scene.path, [9; 100]).unwrap();
        for _ in 0..2 {
            scene.write(50).unwrap_err();
        }
        assert_eq!(fs::read(&scene.path).unwrap(), [9; 100]);
        assert_eq!(scene.guard.stamp(), "refused");
        for wrong in ["any", "1:2:3:4", "1:2:3:4:5:6", "1:2:3:4:x"] {
            assert!(!scene.guard.close(wrong), "{wrong}");
            assert_eq!(scene.guard.stamp(), "refused");
        }
        assert!(scene.guard.close(""));
        scene.write(50).unwrap();
    }

    #[test]
    fn a_file_that_is_cut_during_a_write_takes_no_further_one() {
        let mut scene = Scene::new();
        let (file, path) = (&scene.file, &scene.path);
        let cut = || {
            fs::write(path, []).unwrap();
            file.write_all_at(&[1; 10], 50).map_err(|error| Error::os(Code::IOERR_WRITE, &error))
        };
        scene.guard.pass(file, |size| size.max(60), cut).unwrap_err();
        scene.write(0).unwrap_err();
    }
}
