//! Whether the files of a directory are what their names say, as far as their beginnings and ends tell.

use std::io;

use ltx::Header;

use crate::error::Result;
use crate::file_client::FileClient;
use crate::place::FileKey;
use crate::source::{open_source, read_full};

impl FileClient {
    /// Those of `files` that do not begin with the header of their TXIDs, or do not end with the index of their pages. A file
    /// that is gone is one of them.
    ///
    /// # Errors
    /// When a file that is there cannot be read.
    pub fn damaged_ltx_files(&self, files: &[FileKey]) -> Result<Vec<FileKey>> {
        let mut damaged = Vec::new();
        for file in files {
            if !self.has_both_ends(*file).map_err(|source| self.file_error(*file, source))? {
                damaged.push(*file);
            }
        }
        Ok(damaged)
    }

    fn has_both_ends(&self, key: FileKey) -> io::Result<bool> {
        let mut file = match open_source(&self.path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let mut start = [0; Header::SIZE];
        let (filled, read) = read_full(&mut file, &mut start);
        read?;
        let has_its_header = Header::parse(&start[..filled])
            .is_ok_and(|header| (header.min_txid, header.max_txid) == (key.min_txid, key.max_txid));
        if !has_its_header {
            return Ok(false);
        }
        match ltx::read_page_index(&file) {
            // It is cut while it is read.
            Err(ltx::Error::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(ltx::Error::Io(error)) => Err(error),
            index => Ok(index.is_ok()),
        }
    }
}
