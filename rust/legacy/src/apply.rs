//! Brings WAL segments into a database file, as a checkpoint of SQLite does.
//!
//! Every frame is checked: its salts, and the checksum that runs through its WAL. A segment that is glued to another WAL, or does not
//! end with a transaction, is found by that. Names alone do not show it, and Litestream restores such a replica to a wrong state.
//!
//! One loss cannot be seen: of the last segments of a WAL that has a successor. Nothing in the successor tells where it ended.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use ltx::{PageCount, PageSize, Pgno};
use wal::{FrameHeader, WalChecksum, WalHeader};

use crate::error::{Error, Result};
use crate::history::Segment;

/// Consecutive pages are written together, up to so many bytes.
const MOST_BYTES: usize = 1 << 20;

/// A database file that WAL files are brought into, one after the other.
pub struct Applier<F> {
    file: F,
    page_size: Option<PageSize>,
    wal: Option<Wal>,
    /// Marks of all WAL files so far.
    salts: BTreeSet<(u32, u32)>,
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

/// The WAL that is being brought in.
struct Wal {
    index: u32,
    header: WalHeader,
    /// Up to where it is known.
    offset: u64,
    checksum: WalChecksum,
    /// Size of the database after the last transaction.
    commit: Option<PageCount>,
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
            page_size,
            wal: None,
            salts: BTreeSet::new(),
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
        self.page_size
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
            self.wal = Some(self.begin_wal(segment, &key, data)?);
        }
        let Some(mut wal) = self.wal.take() else { return Err(missing(segment, segment.index, 0)) };
        if (wal.index, wal.offset) != (segment.index, segment.offset.max(WalHeader::SIZE as u64)) {
            return Err(missing(segment, wal.index, wal.offset));
        }
        if let Some(touched) = &mut self.touched {
            touched.clear();
        }
        self.before = wal.commit.unwrap_or(self.before);
        let done = self.frames(&mut wal, &key, data);
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
        Ok((self.page_size, self.before))
    }

    fn begin_wal(&mut self, segment: &Segment, key: &str, data: &mut dyn Read) -> Result<Wal> {
        let mut bytes = [0; WalHeader::SIZE];
        data.read_exact(&mut bytes).map_err(|error| short(key, error))?;
        let header = match WalHeader::parse(&bytes) {
            Ok(Some(header)) => header,
            Ok(None) => return Err(Error::damaged(key, "the WAL header has a wrong checksum")),
            Err(error) => return Err(Error::damaged(key, error)),
        };
        if !self.salts.insert((header.salt.salt1, header.salt.salt2)) {
            return Err(Error::damaged(key, "it is a copy of another WAL"));
        }
        let page_size = *self.page_size.get_or_insert(header.page_size);
        if page_size != header.page_size {
            let (found, expected) = (header.page_size.get(), page_size.get());
            return Err(Error::damaged(
                key,
                format_args!("pages of {found} bytes, but the database has {expected}"),
            ));
        }
        self.frame.resize(FrameHeader::SIZE + page_size.bytes(), 0);
        let offset = WalHeader::SIZE as u64;
        Ok(Wal { index: segment.index, header, offset, checksum: header.checksum, commit: None })
    }

    fn frames(&mut self, wal: &mut Wal, key: &str, data: &mut dyn Read) -> Result<()> {
        let mut is_committed = true;
        while read_frame(data, &mut self.frame).map_err(|error| short(key, error))? {
            let Some((head, page)) = self.frame.split_first_chunk() else { break };
            let header = FrameHeader::parse(head).filter(|header| header.salt == wal.header.salt);
            let order = wal.header.byte_order;
            let checksum = wal::frame_checksum(wal.checksum, order, head, page);
            let Some(header) = header.filter(|header| header.checksum == checksum) else {
                let what = format_args!("the frame at offset {} does not continue this WAL", wal.offset);
                return Err(Error::damaged(key, what));
            };
            self.run.add(self.file.borrow(), header.pgno, page).map_err(Error::Output)?;
            if let Some(touched) = &mut self.touched {
                touched.push(header.pgno);
            }
            wal.checksum = checksum;
            wal.offset += self.frame.len() as u64;
            is_committed = header.commit.is_some();
            wal.commit = header.commit.or(wal.commit);
        }
        if is_committed { Ok(()) } else { Err(Error::damaged(key, "it ends in the middle of a transaction")) }
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

/// Fills `frame`; false at the end.
fn read_frame(data: &mut dyn Read, frame: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < frame.len() {
        match data.read(&mut frame[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn short(key: &str, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Error::damaged(key, "it ends in the middle of a frame");
    }
    Error::of_read(key, error)
}
