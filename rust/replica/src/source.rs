//! Reading: LTX files on a disk, and readers that give a little at a time.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::object_store::Span;

/// Opens an LTX file for reading.
#[expect(clippy::disallowed_methods, reason = "LTX files are immutable and carry no SQLite locks")]
pub(crate) fn open_source(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// A part of a file, read without moving a shared position.
pub(crate) struct FileSpan {
    file: File,
    offset: u64,
    rest: u64,
}

impl FileSpan {
    /// Opens an LTX file to read this part of it.
    pub(crate) fn open(path: &Path, span: Span) -> io::Result<Self> {
        let file = open_source(path)?;
        Ok(Self { file, offset: span.offset, rest: span.size.unwrap_or(u64::MAX) })
    }
}

impl Read for FileSpan {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.rest).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read_at(&mut buf[..limit], self.offset)?;
        self.offset = self.offset.saturating_add(n as u64);
        self.rest -= n as u64;
        Ok(n)
    }
}

/// Reads until `buf` is full or the end comes; returns how many bytes there were.
///
/// # Errors
/// What the reader reports, with the bytes before it kept: the count comes with the error.
pub(crate) fn read_full(reader: &mut dyn Read, buf: &mut [u8]) -> (usize, io::Result<()>) {
    let mut filled = 0;
    while filled < buf.len() {
        match reader.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(n) => filled = buf.len().min(filled + n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Err(error)),
        }
    }
    (filled, Ok(()))
}
