//! Files that a caller names, for functions that read LTX files, texts, or anything else.
//!
//! The path may be that of a database which a connection of this process has open, by mistake or not. Such a file must not be
//! closed behind SQLite's back (see [`crate::fd_pool`]), and what is in it does not tell: the first page may not be written yet, or be
//! encrypted. So the pool closes it, at once if nobody else has it open. Only an LTX file is closed whoever has it open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::fd_pool::{PooledFile, open_above_stderr};

/// What an LTX file begins with.
const LTX_MAGIC: &[u8; 4] = b"LTX1";

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
            && is_ltx(&file)
        {
            file.close();
        }
    }
}

/// Whether no SQLite can have a lock on a file: what cannot be read is none of these.
fn is_ltx(file: &PooledFile) -> bool {
    let mut head = [0; LTX_MAGIC.len()];
    file.read_at(&mut head, 0).is_ok() && head == *LTX_MAGIC
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
    fn only_ltx_files_are_closed_while_others_have_them_open() {
        let dir = tempfile::tempdir().unwrap();
        for (content, stays) in [
            (b"LTX1 and so on".as_slice(), 0),
            (b"", 1),
            (b"x", 1),
            (b"LTX", 1),
            (b"SQLite format 3\0 and so on", 1),
            // The first page of a new database, when others are written first; a `-shm`; what is encrypted.
            (&[0; 512], 1),
            (&3_007_000_u32.to_ne_bytes()[..3], 1),
            (&[0xa7; 1024], 1),
        ] {
            let path = dir.path().canonicalize().unwrap().join(format!("file-{}", content.len()));
            fs::write(&path, content).unwrap();
            let mut file = NamedFile::open(&path).unwrap();
            let mut read = Vec::new();
            file.read_to_end(&mut read).unwrap();
            assert_eq!((read.as_slice(), file.size().unwrap()), (content, content.len() as u64));
            // Somebody else has it open, and may have locks.
            #[expect(clippy::disallowed_methods, reason = "this is what has to be lived with")]
            let theirs = File::open(&path).unwrap();
            drop(file);
            assert_eq!(open_on(&path), 1 + stays, "{content:?}");
            drop(theirs);
            // With nobody else there it is closed at once.
            drop(NamedFile::open(&path).unwrap());
            assert_eq!(open_on(&path), 0, "{content:?}");
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
