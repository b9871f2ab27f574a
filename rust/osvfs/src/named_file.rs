//! Files that a caller names, for functions that read LTX files, texts, or anything else.
//!
//! The path may be that of a database which a connection of this process has open, by mistake or not. Such a file must not be
//! closed behind SQLite's back (see [`crate::fd_pool`]). Any other one is closed at once: it may be on a medium that is to be
//! unmounted, or be deleted to get its space back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use vfs::page_checksum::MAGIC;

use crate::fd_pool::{PooledFile, open_above_stderr};

/// What a `-shm` file begins with (SQLite, "WAL-mode File Format", section 2.1), in the byte order of the machine.
const WAL_INDEX_VERSION: [u8; 4] = 3_007_000_u32.to_ne_bytes();

/// A file that is open for reading, and closed in a way that takes no lock of this process away.
#[derive(Debug)]
pub struct NamedFile(Inner);

#[derive(Debug)]
enum Inner {
    /// A regular file, and how far it was read. It is only taken out to be closed.
    Regular(Option<PooledFile>, u64),
    /// A pipe, say: no lock of SQLite's lives there.
    Stream(File),
}

impl NamedFile {
    /// Opens what `path` names now, links followed.
    ///
    /// # Errors
    /// What `stat` or `open` answers.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !fs::metadata(path)?.is_file() {
            return open_above_stderr(OpenOptions::new().read(true), path)
                .map(|file| Self(Inner::Stream(file)));
        }
        let file = PooledFile::open_read_only(&fs::canonicalize(path)?)?;
        Ok(Self(Inner::Regular(Some(file), 0)))
    }

    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// What `pread` answers: `ESPIPE` if it is no regular file.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.0 {
            Inner::Regular(Some(file), _) => file.read_at(buf, offset),
            Inner::Regular(None, _) => Ok(0),
            Inner::Stream(file) => std::os::unix::fs::FileExt::read_at(file, buf, offset),
        }
    }

    /// Length in bytes, by `fstat`.
    ///
    /// # Errors
    /// What `fstat` answers.
    pub fn size(&self) -> io::Result<u64> {
        match &self.0 {
            Inner::Regular(Some(file), _) => file.size(),
            Inner::Regular(None, _) => Ok(0),
            Inner::Stream(file) => file.metadata().map(|metadata| metadata.len()),
        }
    }
}

impl Read for NamedFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Regular(Some(file), at) => {
                let read = file.read_at(buf, *at)?;
                *at += read as u64;
                Ok(read)
            }
            Inner::Regular(None, _) => Ok(0),
            Inner::Stream(file) => file.read(buf),
        }
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        if let Inner::Regular(file, _) = &mut self.0
            && let Some(file) = file.take()
            && !may_be_live(&file)
        {
            file.close();
        }
    }
}

/// Whether SQLite may have locks on a file: a database, which may be empty yet, or a `-shm` file. What cannot be read may be one.
fn may_be_live(file: &PooledFile) -> bool {
    let mut head = [0; 16];
    match file.read_at(&mut head, 0) {
        Ok(0) | Err(_) => true,
        Ok(read) => head[..read] == *MAGIC || head.starts_with(&WAL_INDEX_VERSION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many descriptors of this process are open on a file.
    #[cfg(target_os = "linux")]
    fn open_on(path: &Path) -> usize {
        let links = fs::read_dir("/proc/self/fd").unwrap();
        links.filter(|link| fs::read_link(link.as_ref().unwrap().path()).is_ok_and(|to| to == path)).count()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_what_may_be_live_stays_open() {
        let dir = tempfile::tempdir().unwrap();
        let index = [WAL_INDEX_VERSION.as_slice(), &[0; 200]].concat();
        for (content, stays) in [
            (b"LTX1 and so on".as_slice(), 0),
            (b"x", 0),
            (b"", 1),
            (b"SQLite format 3\0 and so on", 1),
            (&index, 1),
        ] {
            let path = dir.path().canonicalize().unwrap().join(format!("file-{}", content.len()));
            fs::write(&path, content).unwrap();
            let mut file = NamedFile::open(&path).unwrap();
            let mut read = Vec::new();
            file.read_to_end(&mut read).unwrap();
            assert_eq!((read.as_slice(), file.size().unwrap()), (content, content.len() as u64));
            // Somebody else has it open, who might have locks if it is a database.
            #[expect(clippy::disallowed_methods, reason = "this is what has to be lived with")]
            let theirs = File::open(&path).unwrap();
            drop(file);
            assert_eq!(open_on(&path), 1 + stays, "{content:?}");
            drop(theirs);
        }
    }

    #[test]
    fn links_are_followed_and_what_is_no_file_is_read_as_well() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), b"text").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let mut text = String::new();
        NamedFile::open(&dir.path().join("link")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        assert_eq!(NamedFile::open(Path::new("/dev/null")).unwrap().read(&mut [0; 9]).unwrap(), 0);
        let error = NamedFile::open(&dir.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
