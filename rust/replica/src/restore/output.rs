//! What is being made: a database, or the checksums of its pages, in a new file beside its final place.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dbfile::{header, page_checksum};
use durable::{Staged, create_nameless, create_new, give_rights_of};
use ltx::{Checksum, PageCount, PageSize, Pgno, RollingChecksum};

use crate::error::{Error, Result};

/// Access rights of a new database before the umask, as SQLite and Litestream have them.
pub(crate) const MODE: u32 = 0o666;

/// Those of one that will replace another one.
const PRIVATE: u32 = 0o600;

/// How many bytes of long writes may wait for the disk before it is made to start.
const WRITEBACK: u64 = 64 << 20;

/// Only writes of so many bytes count towards [`WRITEBACK`]. Single pages are better left until their neighbours
/// have come: written early, they cost the disk one request and the file system one extent each.
const BULK: usize = 64 << 10;

/// Bytes that are copied or summed at a time.
const BLOCK: usize = 1 << 20;

/// What of each page goes into the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The page itself, so that the file is the database.
    Pages,
    /// Its checksum alone, [`CHECKSUM_SIZE`] big-endian bytes; zeros for the lock page.
    Checksums,
}

/// Length in bytes of a page checksum in the file.
pub(crate) const CHECKSUM_SIZE: usize = 8;

impl Content {
    /// Length in bytes of the file for a whole database.
    fn len(self, commit: PageCount, page_size: PageSize) -> u64 {
        match self {
            Self::Pages => commit.bytes(page_size),
            Self::Checksums => u64::from(commit.get()) * CHECKSUM_SIZE as u64,
        }
    }

    /// Whether a page of zeros is what an unwritten part of the file reads as.
    pub(crate) fn is_sparse(self) -> bool {
        self == Self::Pages
    }
}

/// The file that will get the output's name; removed when dropped before that.
pub(crate) struct Output {
    staged: Staged,
    content: Content,
    page_size: PageSize,
    written: AtomicU64,
    closing: AtomicBool,
    wake: (Mutex<()>, Condvar),
}

impl Output {
    /// Creates the file `database`, beside `output`, for a database of pages of `page_size`. It has the rights of the database
    /// that it will replace, if there is one.
    pub(crate) fn create(
        database: &Path,
        output: &Path,
        content: Content,
        page_size: PageSize,
        replaced: Option<&Metadata>,
    ) -> Result<Self> {
        // Nobody gets hold of it before it has its rights, and reads later what is written then.
        let mode = if replaced.is_some() { PRIVATE } else { MODE };
        let file = create_new(database, mode).map_err(|source| Error::output("create", output, source))?;
        Ok(Self::adopt(file, database, output, content, page_size))
    }

    /// Goes on with a file.
    pub(crate) fn adopt(
        file: File,
        database: &Path,
        output: &Path,
        content: Content,
        page_size: PageSize,
    ) -> Self {
        let staged = Staged::adopt(file, database.to_owned(), output);
        let wake = (Mutex::new(()), Condvar::new());
        let (written, closing) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { staged, content, page_size, written, closing, wake }
    }

    /// The same file, of a database with pages of this size.
    pub(crate) fn with_page_size(self, page_size: PageSize) -> Self {
        Self { page_size, ..self }
    }

    /// Lets the file stay where it is when this is dropped.
    pub(crate) fn leave(&mut self) {
        self.staged.leave();
    }

    /// Gives it the rights of another file.
    pub(crate) fn give_rights_of(&self, other: &Metadata) -> Result<()> {
        give_rights_of(other, self.file()).map_err(|source| self.error(source))
    }

    /// Gives it these access rights.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file().set_permissions(Permissions::from_mode(mode))
    }

    /// Where it is before it gets the output's name.
    pub(crate) fn path(&self) -> &Path {
        self.staged.staging()
    }

    /// What it is made of.
    pub(crate) fn content(&self) -> Content {
        self.content
    }

    /// The number that it has in its file system.
    pub(crate) fn inode(&self) -> Result<u64> {
        self.file().metadata().map(|metadata| metadata.ino()).map_err(|source| self.error(source))
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        self.staged.file()
    }

    /// Makes room for a database of `commit` pages; new space reads as zeros.
    pub(crate) fn set_size(&self, commit: PageCount) -> Result<()> {
        self.file().set_len(self.content.len(commit, self.page_size)).map_err(|source| self.error(source))
    }

    /// Takes over the first `len` bytes of another file, but for zeros.
    pub(crate) fn copy_from(&self, base: &File, len: u64) -> Result<()> {
        let mut block = vec![0; BLOCK];
        let mut copy = || -> io::Result<()> {
            for offset in (0..len).step_by(BLOCK) {
                let size = usize::try_from(len - offset).unwrap_or(BLOCK).min(BLOCK);
                let bytes = block.get_mut(..size).unwrap_or_default();
                base.read_exact_at(bytes, offset)?;
                if bytes.iter().any(|byte| *byte != 0) {
                    self.write_at(bytes, offset)?;
                }
            }
            Ok(())
        };
        copy().map_err(|source| self.error(source))
    }

    /// The checksum of all pages of the database.
    pub(crate) fn checksum(&self, commit: PageCount) -> Result<Checksum> {
        let size = self.page_size.bytes();
        let mut block = vec![0; BLOCK];
        let mut sum = RollingChecksum::new();
        let mut pgnos = (1..=commit.get()).filter_map(Pgno::new).peekable();
        while let Some(start) = pgnos.peek().copied() {
            let pages = (block.len() / size).min((commit.get() - start.get()) as usize + 1);
            let bytes = block.get_mut(..pages * size).unwrap_or_default();
            let read = self.file().read_exact_at(bytes, start.offset(self.page_size));
            read.map_err(|source| self.error(source))?;
            for (pgno, page) in pgnos.by_ref().take(pages).zip(bytes.chunks_exact(size)) {
                if pgno != self.page_size.lock_pgno() {
                    sum.add(ltx::page_checksum(pgno, page));
                }
            }
        }
        Ok(sum.get())
    }

    /// The checksum of page 1; that of a database without a page is none.
    pub(crate) fn page_1_checksum(&self) -> Result<Checksum> {
        let mut page = vec![0; self.page_size.bytes()];
        match self.file().read_exact_at(&mut page, 0) {
            Ok(()) => Ok(ltx::page_checksum(Pgno::FIRST, &page)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Checksum::NONE),
            Err(error) => Err(self.error(error)),
        }
    }

    /// The database header, as far as there is one.
    pub(crate) fn head(&self) -> Result<Vec<u8>> {
        let mut head = vec![0; header::SIZE];
        match self.file().read_exact_at(&mut head, 0) {
            Ok(()) => Ok(head),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Puts a database header in place of that of the database.
    pub(crate) fn set_head(&self, head: &[u8]) -> Result<()> {
        let set = |page: &mut [u8]| page.iter_mut().zip(head).for_each(|(byte, new)| *byte = *new);
        self.edit_page_1(set).map_err(|source| self.error(source))
    }

    /// Undoes [`Output::use_rollback_journal`].
    pub(crate) fn use_wal(&self) -> Result<()> {
        self.edit_page_1(header::use_wal).map_err(|source| self.error(source))
    }

    /// Makes the database one with a rollback journal, if it is one with a WAL.
    pub(crate) fn use_rollback_journal(&self) -> Result<()> {
        let mut versions = [0; 2];
        match self.file().read_exact_at(&mut versions, header::VERSIONS.start as u64) {
            Ok(()) if versions.contains(&header::WAL_VERSION) => {
                self.edit_page_1(header::use_rollback_journal)
            }
            // A database without a page has no mode.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            read => read,
        }
        .map_err(|source| self.error(source))
    }

    fn edit_page_1(&self, edit: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let mut page = vec![0; self.page_size.bytes()];
        self.file().read_exact_at(&mut page, 0)?;
        page_checksum::edit_page_1(&mut page, edit);
        self.file().write_all_at(&page, 0)
    }

    /// Takes in whole pages that lie at `offset` (bytes) in the database.
    pub(crate) fn write_pages(&self, pages: &[u8], offset: u64) -> io::Result<()> {
        match self.content {
            Content::Pages => self.write_at(pages, offset),
            Content::Checksums => {
                let first = offset / u64::from(self.page_size.get());
                self.write_at(&checksums(pages, first, self.page_size), first * CHECKSUM_SIZE as u64)
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file().write_all_at(bytes, offset)?;
        if bytes.len() < BULK {
            return Ok(());
        }
        let before = self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if before / WRITEBACK != before.saturating_add(bytes.len() as u64) / WRITEBACK {
            self.wake.1.notify_all();
        }
        Ok(())
    }

    pub(crate) fn error(&self, source: io::Error) -> Error {
        Error::output("write", self.path(), source)
    }

    /// Keeps the disk busy while pages are still being decoded, until [`Output::close_writeback`]. Calls `checkpoint` about
    /// `every` so often, or at most a tenth of the time.
    ///
    /// # Errors
    /// What the disk reports; the operating system reports it only once, so it must not be lost.
    pub(crate) fn run_writeback(
        &self,
        every: Duration,
        checkpoint: impl Fn() -> io::Result<()>,
    ) -> Result<()> {
        let (mut done, mut due) = (0, Instant::now() + every);
        let mut guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.closing.load(Ordering::Relaxed) {
            let written = self.written.load(Ordering::Relaxed);
            let (began, is_behind) = (Instant::now(), written / WRITEBACK != done / WRITEBACK);
            let patience = due.saturating_duration_since(began);
            if !is_behind && !patience.is_zero() {
                let woken = self.wake.1.wait_timeout(guard, patience);
                guard = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            drop(guard);
            if patience.is_zero() {
                checkpoint().map_err(|source| self.error(source))?;
                due = Instant::now() + every.max(began.elapsed() * 10);
            }
            if is_behind {
                self.sync_data().map_err(|source| self.error(source))?;
                done = written;
            }
            guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Makes the content durable.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.file().sync_data()
    }

    /// Lets [`Output::run_writeback`] return.
    pub(crate) fn close_writeback(&self) {
        let _guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.closing.store(true, Ordering::Relaxed);
        self.wake.1.notify_all();
    }

    /// Makes everything durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file().sync_all().map_err(|source| self.error(source))
    }

    /// A file for intermediate results: without a name, so that nothing is left whatever happens.
    pub(crate) fn create_scratch(&self) -> io::Result<File> {
        create_nameless(self.path(), "map")
    }
}

/// The checksums of pages, the first of which is number `first` from 0, as the file has them.
fn checksums(pages: &[u8], first: u64, page_size: PageSize) -> Vec<u8> {
    let numbers = (first + 1..).map_while(|number| Pgno::new(u32::try_from(number).ok()?));
    let pages = numbers.zip(pages.chunks_exact(page_size.bytes()));
    pages.flat_map(|(pgno, page)| ltx::page_checksum(pgno, page).get().to_be_bytes()).collect()
}
