//! Brings WAL segments into a database file, as a checkpoint of SQLite does.
//!
//! Every frame is checked: its salts, and the checksum that runs through its WAL. A segment that is glued to another WAL, or does not
//! end with a transaction, is found by that. Names alone do not show it, and Litestream restores such a replica to a wrong state.
//!
//! One loss cannot be seen: of the last segments of a WAL that has a successor. Nothing in the successor tells where it ended.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use ltx::{PageCount, PageSize, Pgno};
use wal::WalHeader;

use crate::error::{Error, Result};
use crate::history::Segment;
use crate::wal_files::{Wal, WalFiles};

/// Consecutive pages are written together, up to so many bytes.
const MOST_BYTES: usize = 1 << 20;

/// A database file that WAL files are brought into, one after the other.
pub struct Applier<F> {
    file: F,
    wals: WalFiles,
    wal: Option<Wal>,
    frame: Vec<u8>,
    run: Run,
    /// Pages of the latest segment, in the order of its frames, if somebody wants to know.
    touched: Option<Vec<Pgno>>,
    /// Size of the database before that segment.
    before: PageCount,
}

/// What a segment has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Size of a page.
    pub page_size: PageSize,
    /// Size of the database after it.
    pub commit: PageCount,
    /// The pages that are new or others, ascending, without those that were cut off again.
    pub pages: Vec<Pgno>,
}

/// Consecutive pages that are not written yet.
#[derive(Default)]
struct Run {
    /// Where they go.
    offset: u64,
    bytes: Vec<u8>,
}

impl<F: Borrow<File>> Applier<F> {
    /// Begins with a snapshot that is in `file`, or with an empty database.
    ///
    /// # Errors
    /// [`Error::Damaged`]: it is no database, or not a whole one. `key` is its name.
    pub fn new(file: F, key: &str) -> Result<Self> {
        let size = file.borrow().metadata().map_err(Error::Output)?.len();
        let page_size = if size == 0 { None } else { Some(page_size_of(file.borrow(), size, key)?) };
        let before = PageCount::new(page_size.map_or(0, |page_size| pages_in(size, page_size)));
        Ok(Self {
            file,
            wals: WalFiles::new(page_size),
            wal: None,
            frame: Vec::new(),
            run: Run::default(),
            touched: None,
            before,
        })
    }

    /// The same, and what each segment changes can be asked for.
    ///
    /// # Errors
    /// As [`Applier::new`].
    pub fn with_changes(file: F, key: &str) -> Result<Self> {
        Ok(Self { touched: Some(Vec::new()), ..Self::new(file, key)? })
    }

    /// Size of a page, once it is known.
    #[must_use]
    pub fn page_size(&self) -> Option<PageSize> {
        self.wals.page_size()
    }

    /// Size of the database.
    #[must_use]
    pub fn commit(&self) -> PageCount {
        self.wal.as_ref().and_then(|wal| wal.commit).unwrap_or(self.before)
    }

    /// The file, in which everything is that was brought in. Up to where it is shorter than the database, that reads as zeros; where it is
    /// longer, the rest has no meaning.
    ///
    /// # Errors
    /// [`Error::Output`]: it cannot be written.
    pub fn flushed(&mut self) -> Result<&File> {
        self.run.flush(self.file.borrow()).map_err(Error::Output)?;
        Ok(self.file.borrow())
    }

    /// The WAL that is being brought in, and up to which byte of it; `None` before the first one.
    #[must_use]
    pub fn reached(&self) -> Option<(u32, u64)> {
        self.wal.as_ref().map(|wal| (wal.index, wal.offset))
    }

    /// Brings in one segment, which follows the one before.
    ///
    /// # Errors
    /// - [`Error::MissingSegment`]: it does not follow.
    /// - [`Error::Damaged`], [`Error::Storage`]: it cannot be used, or not be read.
    /// - [`Error::Output`]: the database cannot be written.
    pub fn segment(&mut self, segment: &Segment, data: &mut dyn Read) -> Result<()> {
        let key = segment.key();
        if segment.offset == 0 {
            self.end_wal()?;
            self.wal = Some(self.wals.begin(segment.index, &key, data)?);
        }
        let Some(mut wal) = self.wal.take() else { return Err(missing(segment, segment.index, 0)) };
        if (wal.index, wal.offset) != (segment.index, segment.offset.max(WalHeader::SIZE as u64)) {
            return Err(missing(segment, wal.index, wal.offset));
        }
        if let Some(touched) = &mut self.touched {
            touched.clear();
        }
        self.before = wal.commit.unwrap_or(self.before);
        let Self { file, run, touched, frame, .. } = self;
        let done = wal.frames(&key, data, frame, &mut |pgno, page| {
            if let Some(touched) = touched {
                touched.push(pgno);
            }
            run.add((*file).borrow(), pgno, page).map_err(Error::Output)
        });
        self.wal = Some(wal);
        done
    }

    /// What the latest segment has changed, which is in the file then; `None` if it held no transaction.
    ///
    /// # Errors
    /// [`Error::Output`]: it cannot be written.
    pub fn changes(&mut self) -> Result<Option<Changes>> {
        self.run.flush(self.file.borrow()).map_err(Error::Output)?;
        let touched = self.touched.as_deref().filter(|touched| !touched.is_empty());
        let (Some(touched), Some(wal)) = (touched, &self.wal) else { return Ok(None) };
        let Some(commit) = wal.commit else { return Ok(None) };
        let page_size = wal.header.page_size;
        // A page that a transaction adds need not have a frame.
        let added = (self.before.get()..commit.get()).filter_map(|before| Pgno::new(before + 1));
        let mut pages: Vec<Pgno> = touched.iter().copied().chain(added).collect();
        pages.retain(|pgno| pgno.get() <= commit.get() && *pgno != page_size.lock_pgno());
        pages.sort_unstable();
        pages.dedup();
        Ok(Some(Changes { page_size, commit, pages }))
    }

    /// Page size, `None` if there is no page, and size of the database, once everything is written.
    ///
    /// # Errors
    /// [`Error::Output`]: it cannot be written.
    pub fn finish(mut self) -> Result<(Option<PageSize>, PageCount)> {
        self.end_wal()?;
        Ok((self.wals.page_size(), self.before))
    }

    /// As the last step of a checkpoint, gives the file the size of the database.
    fn end_wal(&mut self) -> Result<()> {
        self.run.flush(self.file.borrow()).map_err(Error::Output)?;
        let sizes = self.wal.take().and_then(|wal| Some((wal.commit?, wal.header.page_size)));
        sizes.map_or(Ok(()), |(commit, page_size)| {
            self.before = commit;
            self.file.borrow().set_len(commit.bytes(page_size)).map_err(Error::Output)
        })
    }
}

impl Run {
    fn add(&mut self, file: &File, pgno: Pgno, page: &[u8]) -> io::Result<()> {
        let offset = (u64::from(pgno.get()) - 1) * page.len() as u64;
        if self.offset + self.bytes.len() as u64 != offset || self.bytes.len() + page.len() > MOST_BYTES {
            self.flush(file)?;
            self.offset = offset;
        }
        self.bytes.extend_from_slice(page);
        Ok(())
    }

    fn flush(&mut self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.bytes, self.offset)?;
        self.bytes.clear();
        Ok(())
    }
}

fn page_size_of(file: &File, size: u64, key: &str) -> Result<PageSize> {
    let header = wal::DbHeader::read(file).map_err(|error| Error::damaged(key, error))?;
    whole_pages(header, size, key)
}

/// The page size of a database with this header and this size in bytes.
pub(crate) fn whole_pages(header: Option<wal::DbHeader>, size: u64, key: &str) -> Result<PageSize> {
    let page_size = header.ok_or_else(|| Error::damaged(key, "not a whole database"))?.page_size;
    if size.is_multiple_of(u64::from(page_size.get())) {
        return Ok(page_size);
    }
    Err(Error::damaged(key, "it ends in the middle of a page"))
}

fn pages_in(size: u64, page_size: PageSize) -> u32 {
    u32::try_from(size / u64::from(page_size.get())).unwrap_or(u32::MAX)
}

fn missing(segment: &Segment, index: u32, offset: u64) -> Error {
    let Segment { generation, index: found_index, offset: found_offset, .. } = *segment;
    Error::MissingSegment { generation, index, offset, found_index, found_offset }
}
