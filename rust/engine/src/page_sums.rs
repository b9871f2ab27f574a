//! The checksum of every page, in a side file: 8 bytes a page, never in memory.
//!
//! It says what the database was at the newest L0 file, so that a gap in the WAL costs one local scan and not an upload of
//! everything. Layout, big-endian: `magic[8] page_size[4] pages[4] txid[8] rolling[8] crc64[8]`, and from byte 4096 on one
//! 8-byte page checksum (LTX format, rolling database checksum) a page, 0 for a page that was never seen.
//!
//! Byte 64 on holds the slot: `own[8] rolling[8] device[8] inode[8] modified[8] changed[8] size[8] is_whole[8] crc64[8]`. `own` is
//! the newest transaction whose L0 file was made by us, which tells files that another program added, and `rolling` the checksum
//! of all entries after it, which tells entries of another time than the L0 files, as after a copy of a meta directory in use. The
//! rest is the database file as it was then; `is_whole` is 1 if it held exactly what the L0 files hold.
//!
//! The header names the transaction up to which every entry is known to be on disk. Entries are overwritten in place after
//! their L0 file is durable, so whatever a crash leaves, repeating the L0 files after that transaction makes the entries whole:
//! they hold values, not changes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use durable::Commit;
use ltx::{Checksum, Decoder, FileHasher, PageCount, PageSize, Pgno, RollingChecksum, TxId};
use osvfs::Stamp;

use crate::error::{Context, Error, Result};
use crate::meta_dir::MetaDir;

const MAGIC: [u8; 8] = *b"LTXSUMS2";
const HEADER_SIZE: usize = 40;
const ENTRIES_OFFSET: u64 = 4096;
const SLOT_OFFSET: u64 = 64;
const SLOT_SIZE: usize = 72;
/// Entries that are read or written at once.
const RUN: usize = 8192;

/// The side file of one database.
pub(crate) struct PageSums {
    file: File,
    path: PathBuf,
    page_size: PageSize,
    pages: PageCount,
    rolling: RollingChecksum,
    durable: TxId,
    slot: Slot,
}

/// What is known of the last time that we wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    own: TxId,
    rolling: Checksum,
    place: Place,
}

/// The database file at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) stamp: Stamp,
    /// The file held exactly what the L0 files hold: nothing more, and nothing less for being in the WAL only.
    pub(crate) is_whole: bool,
}

impl PageSums {
    /// Opens the side file and brings it up to `pos` with the L0 files since.
    ///
    /// `None` when it is missing, damaged, of another page size, newer than `pos`, or when an L0 file that it needs is gone:
    /// then nothing can be said about any page.
    pub(crate) fn open(meta: &MetaDir, page_size: PageSize, pos: TxId) -> Result<Option<Self>> {
        let path = meta.sums_path();
        let Some(mut sums) = Self::load(&path).context("read", &path)? else { return Ok(None) };
        if sums.page_size != page_size || sums.durable > pos || sums.slot.own > pos || pos.is_none() {
            return Ok(None);
        }
        let stored = sums.rolling;
        if !sums.repeat_to(meta, pos)? {
            return Ok(None);
        }
        let damaged = (sums.durable == pos && sums.rolling.get() != stored.get())
            || (sums.slot.own == pos && sums.rolling.get() != sums.slot.rolling);
        Ok((!damaged).then_some(sums))
    }

    /// Repeats the L0 files after the durable transaction, up to `pos`; false when one cannot be.
    pub(crate) fn repeat_to(&mut self, meta: &MetaDir, pos: TxId) -> Result<bool> {
        let (mut txid, mut page) = (self.durable, vec![0; self.page_size.bytes()]);
        while txid < pos {
            let Some(next) = txid.next() else { return Ok(false) };
            if !self.repeat(meta, next, &mut page)? {
                return Ok(false);
            }
            txid = next;
        }
        self.rolling = self.add_up().context("read", &self.path)?;
        Ok(true)
    }

    /// The rolling checksum of the whole database.
    pub(crate) fn rolling(&self) -> Checksum {
        self.rolling.get()
    }

    /// The transaction up to which the file on disk is complete by itself.
    pub(crate) fn durable(&self) -> TxId {
        self.durable
    }

    /// The checksum of one page; `Checksum::NONE` when it was never seen.
    pub(crate) fn get(&self, pgno: Pgno) -> Result<Checksum> {
        let mut run = [0; 1];
        self.read_run(pgno, &mut run)?;
        Ok(Checksum::new(run[0]))
    }

    /// Fills `run` with the checksums of the pages from `first` on, 0 beyond the end.
    pub(crate) fn read_run(&self, first: Pgno, run: &mut [u64]) -> Result<()> {
        read_entries(&self.file, first, run).context("read", &self.path)
    }

    /// The newest transaction whose L0 file is known to be ours.
    pub(crate) fn own(&self) -> TxId {
        self.slot.own
    }

    /// The database file when we wrote last.
    pub(crate) fn place(&self) -> Place {
        self.slot.place
    }

    /// Size of the database that the entries are about.
    pub(crate) fn pages(&self) -> PageCount {
        self.pages
    }

    /// Takes over the pages of our L0 file of `txid`, which is durable, and the size of the database after it.
    pub(crate) fn update(
        &mut self,
        txid: TxId,
        changed: &[(Pgno, Checksum)],
        commit: PageCount,
        place: Place,
    ) -> Result<()> {
        for &(pgno, sum) in changed {
            let old = self.get(pgno)?;
            self.rolling.remove(old);
            self.rolling.add(sum);
            self.write(pgno, sum)?;
        }
        self.resize(commit)?;
        // Last, so that it never speaks of entries that are not there.
        self.slot.own = txid;
        self.note(place)
    }

    /// Takes note of the database file as it is at the position that the entries describe.
    pub(crate) fn note(&mut self, place: Place) -> Result<()> {
        self.slot = Slot { own: self.slot.own, rolling: self.rolling.get(), place };
        self.file.write_all_at(&self.slot.encode(), SLOT_OFFSET).context("write", &self.path)
    }

    /// Makes the file complete by itself at `txid`, which it describes already.
    pub(crate) fn flush(&mut self, txid: TxId) -> Result<()> {
        self.file.sync_data().context("sync", &self.path)?;
        let header = header(self.page_size, self.pages, txid, self.rolling.get());
        self.file.write_all_at(&header, 0).context("write", &self.path)?;
        self.file.sync_data().context("sync", &self.path)?;
        self.durable = txid;
        Ok(())
    }

    fn load(path: &Path) -> io::Result<Option<Self>> {
        let file = match open(path) {
            // One of another user, who was root once, say, is made anew.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                return Ok(None);
            }
            file => file?,
        };
        let mut bytes = [0; HEADER_SIZE];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let Some((page_size, pages, durable, rolling)) = parse_header(&bytes) else { return Ok(None) };
        let mut slot = [0; SLOT_SIZE];
        if file.read_exact_at(&mut slot, SLOT_OFFSET).is_err() {
            return Ok(None);
        }
        let mut stored = RollingChecksum::new();
        stored.add(rolling);
        let none = Slot { own: durable, rolling, place: Place::default() };
        let slot = Slot::parse(&slot).filter(|slot| slot.own >= durable).unwrap_or(none);
        Ok(Some(Self { file, path: path.to_owned(), page_size, pages, rolling: stored, durable, slot }))
    }

    /// Repeats one L0 file; false when it cannot be: it is missing, damaged, or of another page size.
    fn repeat(&mut self, meta: &MetaDir, txid: TxId, page: &mut [u8]) -> Result<bool> {
        let Some(file) = meta.level0.open(txid)? else { return Ok(false) };
        let Ok(mut decoder) = Decoder::new(BufReader::new(file)) else { return Ok(false) };
        if decoder.header().page_size != self.page_size {
            return Ok(false);
        }
        let commit = decoder.header().commit;
        loop {
            match decoder.next_page(page) {
                Ok(Some(pgno)) => self.write(pgno, ltx::page_checksum(pgno, page))?,
                Ok(None) => break,
                Err(_) => return Ok(false),
            }
        }
        if decoder.finish().is_err() {
            return Ok(false);
        }
        self.pages = commit;
        self.file.set_len(end_of(commit)).context("resize", &self.path)?;
        Ok(true)
    }

    fn write(&self, pgno: Pgno, sum: Checksum) -> Result<()> {
        self.file.write_all_at(&sum.get().to_be_bytes(), offset_of(pgno)).context("write", &self.path)
    }

    fn resize(&mut self, commit: PageCount) -> Result<()> {
        let mut run = [0; 512];
        let mut next = commit.get();
        while next < self.pages.get() {
            let length = run.len().min((self.pages.get() - next) as usize);
            let Some(first) = Pgno::new(next + 1) else { break };
            self.read_run(first, &mut run[..length])?;
            run[..length].iter().for_each(|&sum| self.rolling.remove(Checksum::new(sum)));
            next += length as u32;
        }
        self.pages = commit;
        self.file.set_len(end_of(commit)).context("resize", &self.path)
    }

    fn add_up(&self) -> io::Result<RollingChecksum> {
        let (mut total, mut run, mut next) = (RollingChecksum::new(), vec![0; RUN], 0);
        while next < self.pages.get() {
            let length = RUN.min((self.pages.get() - next) as usize);
            let Some(first) = Pgno::new(next + 1) else { break };
            read_entries(&self.file, first, &mut run[..length])?;
            run[..length].iter().for_each(|&sum| total.add(Checksum::new(sum)));
            next += length as u32;
        }
        Ok(total)
    }
}

/// A side file that is written from the first page to the last, beside the one in use.
pub(crate) struct NewSums {
    out: BufWriter<durable::Staged>,
    page_size: PageSize,
    pages: u32,
    rolling: RollingChecksum,
}

impl NewSums {
    /// Begins a file that will take the place of the one in use.
    pub(crate) fn create(meta: &MetaDir, page_size: PageSize) -> Result<Self> {
        let out = BufWriter::with_capacity(RUN * 8, meta.stage_own(&meta.sums_path())?);
        let mut sums = Self { out, page_size, pages: 0, rolling: RollingChecksum::new() };
        sums.write(&[0; ENTRIES_OFFSET as usize])?;
        Ok(sums)
    }

    /// Adds the checksum of the next page; `Checksum::NONE` for the lock page.
    pub(crate) fn push(&mut self, sum: Checksum) -> Result<()> {
        self.rolling.add(sum);
        self.pages += 1;
        self.write(&sum.get().to_be_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).context("write", self.out.get_ref().staging())
    }

    /// Makes the file durable as the truth at `txid` and puts it in place.
    pub(crate) fn install(self, txid: TxId) -> Result<PageSums> {
        let Self { out, page_size, pages, rolling } = self;
        let staging = out.get_ref().staging().to_owned();
        let staged = out.into_inner().map_err(io::IntoInnerError::into_error).context("write", &staging)?;
        let pages = PageCount::new(pages);
        let slot = Slot { own: txid, rolling: rolling.get(), place: Place::default() };
        let header = header(page_size, pages, txid, rolling.get());
        let file = staged.file();
        // In any order: nobody sees the file before all of it is durable.
        file.write_all_at(&slot.encode(), SLOT_OFFSET).context("write", &staging)?;
        file.write_all_at(&header, 0).context("write", &staging)?;
        let path = staged.path().to_owned();
        let file = staged.commit(Commit::Replace).map_err(Error::not_committed)?;
        Ok(PageSums { file, path, page_size, pages, rolling, durable: txid, slot })
    }
}

impl Slot {
    fn encode(&self) -> [u8; SLOT_SIZE] {
        let Stamp { device, inode, modified_ns, changed_ns, size } = self.place.stamp;
        let words = [
            self.own.get(),
            self.rolling.get(),
            device,
            inode,
            modified_ns.cast_unsigned(),
            changed_ns.cast_unsigned(),
            size,
            self.place.is_whole.into(),
        ];
        let mut bytes = [0; SLOT_SIZE];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        let crc = crc(&bytes[..SLOT_SIZE - 8]);
        bytes[SLOT_SIZE - 8..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn parse(bytes: &[u8; SLOT_SIZE]) -> Option<Self> {
        let mut words = bytes.chunks_exact(8).filter_map(|word| word.try_into().ok()).map(u64::from_be_bytes);
        let mut next = || words.next();
        let (own, rolling) = (TxId::new(next()?), Checksum::new(next()?));
        let stamp = Stamp {
            device: next()?,
            inode: next()?,
            modified_ns: next()?.cast_signed(),
            changed_ns: next()?.cast_signed(),
            size: next()?,
        };
        let place = Place { stamp, is_whole: next()? == 1 };
        (next()? == crc(&bytes[..SLOT_SIZE - 8])).then_some(Self { own, rolling, place })
    }
}

fn header(page_size: PageSize, pages: PageCount, txid: TxId, rolling: Checksum) -> [u8; HEADER_SIZE] {
    let mut bytes = [0; HEADER_SIZE];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&page_size.get().to_be_bytes());
    bytes[12..16].copy_from_slice(&pages.get().to_be_bytes());
    bytes[16..24].copy_from_slice(&txid.get().to_be_bytes());
    bytes[24..32].copy_from_slice(&rolling.get().to_be_bytes());
    let crc = crc(&bytes[..32]);
    bytes[32..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn parse_header(bytes: &[u8; HEADER_SIZE]) -> Option<(PageSize, PageCount, TxId, Checksum)> {
    let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    let sizes = word(8)?;
    if bytes[..8] != MAGIC || word(32)? != crc(&bytes[..32]) {
        return None;
    }
    let page_size = PageSize::new(u32::try_from(sizes >> 32).ok()?).ok()?;
    let pages = PageCount::new(u32::try_from(sizes & u64::from(u32::MAX)).ok()?);
    Some((page_size, pages, TxId::new(word(16)?), Checksum::new(word(24)?)))
}

fn crc(bytes: &[u8]) -> u64 {
    let mut hasher = FileHasher::new();
    hasher.update(bytes);
    hasher.finish()
}

fn offset_of(pgno: Pgno) -> u64 {
    ENTRIES_OFFSET + (u64::from(pgno.get()) - 1) * 8
}

fn end_of(pages: PageCount) -> u64 {
    ENTRIES_OFFSET + u64::from(pages.get()) * 8
}

fn read_entries(file: &File, first: Pgno, run: &mut [u64]) -> io::Result<()> {
    let mut bytes = vec![0; run.len() * 8];
    let (mut done, offset) = (0, offset_of(first));
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    for (sum, bytes) in run.iter_mut().zip(bytes.chunks_exact(8)) {
        *sum = bytes.try_into().map_or(0, u64::from_be_bytes);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "SQLite never opens the side file")]
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}
