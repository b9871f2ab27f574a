//! LTX files of what the segments of a v0.3 history have changed.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use ltx::{Checksum, Encoder, Header, PageCount, PageSize, Pgno, Timestamp, TxId};

use crate::apply::Changes;

impl Changes {
    /// Writes an LTX file of transactions `txids` with these pages, as they are in `database`, to `output`. Where that is shorter than
    /// the database, which it is until its WAL ends, it reads as zeros.
    ///
    /// # Errors
    /// What the files report.
    pub fn write<W: Write>(
        &self,
        database: &File,
        txids: (TxId, TxId),
        time: Timestamp,
        output: W,
    ) -> io::Result<W> {
        let header = Header { timestamp: time, ..Header::new(self.page_size, self.commit, txids.0, txids.1) };
        write(database, &header, self.pages.iter().copied(), output)
    }
}

/// Writes an LTX file with every page of `database`; see [`Changes::write`].
///
/// # Errors
/// What the files report.
pub fn write_whole<W: Write>(
    database: &File,
    (page_size, commit): (PageSize, PageCount),
    txids: (TxId, TxId),
    time: Timestamp,
    output: W,
) -> io::Result<W> {
    let header = Header { timestamp: time, ..Header::new(page_size, commit, txids.0, txids.1) };
    write(database, &header, commit.pgnos(page_size), output)
}

fn write<W: Write>(
    database: &File,
    header: &Header,
    pages: impl Iterator<Item = Pgno>,
    output: W,
) -> io::Result<W> {
    let mut encoder = Encoder::new(output, header).map_err(io::Error::other)?;
    let mut page = vec![0; header.page_size.bytes()];
    for pgno in pages {
        read_page(database, pgno.offset(header.page_size), &mut page)?;
        encoder.write_page(pgno, &page).map_err(io::Error::other)?;
    }
    encoder.finish(Checksum::NONE).map(|(output, _)| output).map_err(io::Error::other)
}

fn read_page(file: &File, offset: u64, page: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < page.len() {
        match file.read_at(&mut page[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    page[filled..].fill(0);
    Ok(())
}
