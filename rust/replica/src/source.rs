//! Reading: LTX files on a disk, and readers that give a little at a time.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Opens an LTX file for reading.
#[expect(clippy::disallowed_methods, reason = "LTX files are immutable and carry no SQLite locks")]
pub(crate) fn open_source(path: &Path) -> io::Result<File> {
    File::open(path)
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
