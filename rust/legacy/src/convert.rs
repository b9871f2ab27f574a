//! LTX files of what the segments of a v0.3 history have changed.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use ltx::{Checksum, Encoder, Header, PageCount, PageSize, Pgno, Timestamp, TxId};

use crate::apply::Changes;

/// Where the WAL of an LTX file begins of which no WAL is known: behind its header, so that Litestream, when it continues such a file,
/// begins with a file of all pages. Without any offset it fails.
const WAL_OFFSET: u64 = 32;

/// What an LTX file says beside its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// First and last transaction.
    pub txids: (TxId, TxId),
    /// When the last one was made.
    pub time: Timestamp,
    /// Stored where the format has the node that wrote the file.
    pub mark: u64,
    /// Stored where the format has the salts of the WAL.
    pub origin: u64,
}

impl Stamp {
    /// Nothing but transactions and their time.
    #[must_use]
    pub fn new(txids: (TxId, TxId), time: Timestamp) -> Self {
        Self { txids, time, mark: 0, origin: 0 }
    }

    fn header(self, page_size: PageSize, commit: PageCount) -> Header {
        Header {
            timestamp: self.time,
            wal_offset: WAL_OFFSET,
            wal_salt1: (self.origin >> 32) as u32,
            wal_salt2: self.origin as u32,
            node_id: self.mark,
            ..Header::new(page_size, commit, self.txids.0, self.txids.1)
        }
    }
}

/// A database in a file. Where that is shorter than the database, it reads as zeros.
#[derive(Clone, Copy, Debug)]
pub struct Database<'a> {
    /// The file.
    pub file: &'a File,
    /// Size of a page.
    pub page_size: PageSize,
    /// Number of its pages.
    pub commit: PageCount,
}

impl Changes {
    /// Writes an LTX file with these pages, as they are in `database`, to `output`. Where that is shorter than the database, which it is
    /// until its WAL ends, it reads as zeros.
    ///
    /// # Errors
    /// What the files report.
    pub fn write<W: Write>(&self, database: &File, stamp: &Stamp, output: W) -> io::Result<W> {
        let database = Database { file: database, page_size: self.page_size, commit: self.commit };
        write(&database, stamp, self.pages.iter().copied().map(Ok), output)
    }
}

impl Database<'_> {
    /// Writes an LTX file with every page to `output`.
    ///
    /// # Errors
    /// What the files report.
    pub fn write<W: Write>(&self, stamp: &Stamp, output: W) -> io::Result<W> {
        write(self, stamp, self.commit.pgnos(self.page_size).map(Ok), output)
    }

    /// Writes an LTX file with the pages that are not the same in `before`, whose pages have the same size, to `output`.
    ///
    /// # Errors
    /// What the files report.
    pub fn write_since<W: Write>(&self, before: &Database<'_>, stamp: &Stamp, output: W) -> io::Result<W> {
        let mut changed = self.changed(before).peekable();
        if changed.peek().is_none() {
            // Nothing but its size is another.
            return write(self, stamp, self.commit.pgnos(self.page_size).take(1).map(Ok), output);
        }
        write(self, stamp, changed, output)
    }

    /// Whether it is the same database.
    ///
    /// # Errors
    /// What the files report.
    pub fn is_same(&self, other: &Database<'_>) -> io::Result<bool> {
        if (self.page_size, self.commit) != (other.page_size, other.commit) {
            return Ok(false);
        }
        self.changed(other).next().transpose().map(|changed| changed.is_none())
    }

    fn changed<'a>(&'a self, before: &'a Database<'_>) -> impl Iterator<Item = io::Result<Pgno>> + 'a {
        let (mut page, mut old) = (vec![0; self.page_size.bytes()], vec![0; self.page_size.bytes()]);
        let mut is_same = move |pgno: Pgno| {
            if pgno.get() > before.commit.get() {
                return Ok(false);
            }
            read_page(self.file, pgno.offset(self.page_size), &mut page)?;
            read_page(before.file, pgno.offset(self.page_size), &mut old)?;
            Ok::<_, io::Error>(page == old)
        };
        self.commit.pgnos(self.page_size).filter_map(move |pgno| match is_same(pgno) {
            Ok(true) => None,
            Ok(false) => Some(Ok(pgno)),
            Err(error) => Some(Err(error)),
        })
    }
}

fn write<W: Write>(
    database: &Database<'_>,
    stamp: &Stamp,
    pages: impl Iterator<Item = io::Result<Pgno>>,
    output: W,
) -> io::Result<W> {
    let page_size = database.page_size;
    let header = stamp.header(page_size, database.commit);
    let mut encoder = Encoder::new(output, &header).map_err(io::Error::other)?;
    let mut page = vec![0; page_size.bytes()];
    for pgno in pages {
        let pgno = pgno?;
        read_page(database.file, pgno.offset(page_size), &mut page)?;
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
