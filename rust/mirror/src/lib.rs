//! A restored database that is kept up to date while others read it.
//!
//! New files are merged first, into one file without a name ([`Followed::merge`]): that is where every byte is verified, and
//! where waiting for a remote replica happens. Then the caller keeps all others out ([`Followed::try_exclude`]), and the database is changed as
//! SQLite itself would: the old pages go to a rollback journal ([`Followed::save`]), the new ones to the database
//! ([`Followed::write`]), each made durable, and deleting the journal is the commit ([`Followed::commit`]). Whatever dies in between leaves a hot
//! journal, which the next reader rolls back before it sees a single page. SQLite finds it by its name alone, so it goes
//! wherever the database's directory is moved or copied to.
//!
//! Litestream knows of no journal. It would write its pages under one that was left, and the next reader would take them back.
//! So the journal has a second name, the one under which Litestream stages its sidecar: Litestream truncates that file when it
//! has applied something, and what SQLite then finds is too short to be a journal.
//!
//! Page 1 is given a new change counter each time. A transaction in WAL mode need not contain page 1, and without a new
//! counter readers would keep what they have cached. It is also put into rollback mode: a reader in WAL mode keeps its
//! lock for as long as its connection is open.

#![forbid(unsafe_code)]

mod compare;
mod journal;

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dbfile::{header, page_checksum};
use durable::{Commit, Rights, Staged, create_nameless, sibling, sync_parent};
use ltx::{Checksum, Decoder, Header, PageCount, PageIndex, PageSize, Pgno, ReadAt, TxId, WriteAt};
use osvfs::{Excluded, HeldBytes, OwnFile};
use replica::{Error, FileInfo, ReplicaClient, Result, RetryPolicy, merge_into};

use journal::Journal;

/// What is read of a database header: all up to the change counter.
const HEAD: usize = header::CHANGE_COUNTER.end;

/// The file of a database that follows a replica.
#[derive(Clone, Debug)]
pub struct Followed {
    file: Arc<OwnFile>,
    path: PathBuf,
}

/// New files, merged and verified, ready to be applied at once.
#[derive(Debug)]
pub struct Step {
    header: Header,
    pages: PageIndex,
    merged: File,
}

impl Step {
    /// The transaction that the database will be at.
    pub fn txid(&self) -> TxId {
        self.header.max_txid
    }

    /// Page 1 as the replica has it, if it is one of the pages: its checksum, and the database header in it.
    ///
    /// # Errors
    /// What the operating system says, and what is wrong with what it gives back.
    pub fn page_1(&self) -> io::Result<Option<(Checksum, Vec<u8>)>> {
        if self.pages.get(Pgno::FIRST).is_none() {
            return Ok(None);
        }
        let mut merged = &self.merged;
        merged.seek(SeekFrom::Start(0))?;
        let mut decoder = Decoder::new(io::BufReader::new(merged)).map_err(io::Error::other)?;
        let mut page = vec![0; self.header.page_size.bytes()];
        // Pages come in order.
        decoder.next_page(&mut page).map_err(io::Error::other)?;
        let checksum = ltx::page_checksum(Pgno::FIRST, &page);
        page.truncate(header::SIZE);
        Ok(Some((checksum, page)))
    }

    /// Whether it has every page of the database, so that nothing of what was there stays. Only then the page size may change.
    pub fn is_whole(&self) -> bool {
        let commit = self.header.commit.get();
        let lock = u32::from(commit >= self.header.lock_pgno().get());
        u32::try_from(self.pages.len()) == Ok(commit - lock)
    }
}

/// What the database is like before a step.
struct Shape {
    page_size: PageSize,
    pages: PageCount,
    counter: u32,
}

impl Followed {
    /// The database at `path`, an absolute path.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OwnFile::open(path).map_err(|source| Error::output("open", path, source))?;
        Ok(Self { file: Arc::new(file), path: path.to_owned() })
    }

    /// The file. Whoever closes its descriptor takes the locks of others away.
    pub fn file(&self) -> &File {
        self.file.file()
    }

    /// Becomes the only one who follows with this database; `None` if somebody else does.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn try_claim(&self) -> Result<Option<HeldBytes>> {
        self.file.try_claim().map_err(|source| self.error("lock", source))
    }

    /// Keeps others from keeping everybody out; see [`OwnFile::try_share`].
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn try_share(&self) -> Result<Option<HeldBytes>> {
        self.file.try_share().map_err(|source| self.error("lock", source))
    }

    /// Keeps readers and writers out; see [`OwnFile::try_exclude`].
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn try_exclude(&self, patience: Duration) -> Result<Option<Excluded>> {
        self.file.try_exclude(patience).map_err(|source| self.error("lock", source))
    }

    /// Merges `files`, each of which continues the one before, into a file without a name beside the database.
    ///
    /// # Errors
    /// [`Error::Format`] for a damaged file, [`Error::Output`], and what the client reports.
    pub fn merge(&self, client: &dyn ReplicaClient, files: &[FileInfo]) -> Result<Step> {
        let mut merged =
            create_nameless(&self.path, "merge").map_err(|source| self.error("create", source))?;
        merge_into(client, files, RetryPolicy::default(), &mut |input| {
            io::copy(input, &mut merged).map(drop).map_err(|source| self.error("write", source))
        })?;
        let mut bytes = [0; Header::SIZE];
        merged.read_exact_at(&mut bytes, 0).map_err(|source| self.error("read", source))?;
        let header = Header::parse(&bytes).map_err(|error| self.format(error))?;
        let pages = ltx::read_page_index(&merged).map_err(|error| self.format(error))?;
        Ok(Step { header, pages, merged })
    }

    /// Saves the old version of every page that the step changes or cuts off, durably. `twin` is the journal's second name;
    /// whatever has it is removed. The first of three calls that apply a step.
    ///
    /// The caller keeps all others out from here until [`Followed::commit`], by [`Followed::try_exclude`]. If it never comes to
    /// that, the database is as it was as soon as somebody rolls the journal back.
    ///
    /// # Errors
    /// [`Error::PageSizeChanged`], unless the step is a whole database; [`Error::Output`], with `AlreadyExists` if somebody left
    /// a journal.
    pub fn save(&self, step: &Step, twin: &Path) -> Result<()> {
        let shape = self.shape(step.header.page_size)?;
        if shape.page_size != step.header.page_size && !step.is_whole() {
            let (expected, actual) = (shape.page_size.get(), step.header.page_size.get());
            return Err(Error::PageSizeChanged { expected, actual });
        }
        let saved = doomed(&shape, step);
        let journal = Journal { page_size: shape.page_size, pages: shape.pages, nonce: shape.counter, saved };
        let path = journal::path(&self.path);
        journal.write(&path, twin, self.file()).map_err(|source| Error::output("write", &path, source))?;
        self.sync_names()
    }

    /// Writes the pages and the fields of page 1 that are ours, durably.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn write(&self, step: &Step) -> Result<()> {
        let counter = self.shape(step.header.page_size)?.counter.wrapping_add(1);
        let mut merged = &step.merged;
        merged.seek(SeekFrom::Start(0)).map_err(|source| self.error("read", source))?;
        let pages =
            Decoder::new(io::BufReader::new(merged)).and_then(|decoder| ltx::apply(decoder, self.file()));
        pages.map_err(|error| self.format(error))?;
        if step.header.commit.get() > 0 {
            let own = |page: &mut [u8]| {
                header::use_rollback_journal(page);
                if let Some(field) = page.get_mut(header::CHANGE_COUNTER) {
                    field.copy_from_slice(&counter.to_be_bytes());
                }
            };
            self.edit_page_1(step.header.page_size, own).map_err(|source| self.error("write", source))?;
        }
        self.file().sync_all().map_err(|source| self.error("sync", source))
    }

    /// Makes it final, by deleting the journal.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn commit(&self) -> Result<()> {
        fs::remove_file(journal::path(&self.path)).map_err(|source| self.error("commit", source))?;
        self.sync_names()
    }

    fn edit_page_1(&self, page_size: PageSize, edit: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let mut page = vec![0; page_size.bytes()];
        self.file().read_exact_at(&mut page, 0)?;
        page_checksum::edit_page_1(&mut page, edit);
        self.file().write_all_at(&page, 0)
    }

    /// An empty database takes any page size, `otherwise` so.
    fn shape(&self, otherwise: PageSize) -> Result<Shape> {
        let len = ReadAt::len(self.file()).map_err(|source| self.error("read", source))?;
        if len < HEAD as u64 {
            return Ok(Shape { page_size: otherwise, pages: PageCount::new(0), counter: 0 });
        }
        let mut head = [0; HEAD];
        self.file().read_exact_at(&mut head, 0).map_err(|source| self.error("read", source))?;
        let page_size = header::stored_page_size(&head).unwrap_or(0);
        let page_size = PageSize::new(page_size).map_err(|error| self.format(error))?;
        let pages = u32::try_from(len / u64::from(page_size.get())).unwrap_or(u32::MAX);
        let counter = header::word(&head, header::CHANGE_COUNTER).unwrap_or(0);
        Ok(Shape { page_size, pages: PageCount::new(pages), counter })
    }

    fn sync_names(&self) -> Result<()> {
        sync_parent(&self.path).map_err(|source| self.error("sync", source))
    }

    fn error(&self, op: &'static str, source: io::Error) -> Error {
        Error::output(op, &self.path, source)
    }

    /// What the codec says about files of our own making, or about the database.
    fn format(&self, error: ltx::Error) -> Error {
        let source = match error {
            ltx::Error::Io(source) => source,
            other => io::Error::other(other),
        };
        self.error("write", source)
    }
}

/// Gives a file beside a followed database a new content, durably, whole or not at all.
///
/// # Errors
/// [`Error::Output`].
pub fn write_sidecar(path: &Path, content: &[u8]) -> Result<()> {
    let rights = Rights::PRIVATE.with_file_mode(0o666);
    // Only the follower writes there.
    let written = Staged::at(sibling(path, ".new"), path, rights)
        .and_then(|mut staged| staged.write_all(content).map(|()| staged))
        .and_then(|staged| staged.commit(Commit::Replace).map_err(|failed| failed.source));
    written.map(drop).map_err(|source| Error::output("write", path, source))
}

/// The pages of the database that will change or be cut off; page 1 always does, and with another page size all do.
fn doomed(shape: &Shape, step: &Step) -> Vec<Pgno> {
    let resized = shape.page_size != step.header.page_size;
    let changed = step.pages.iter().filter(|_| !resized).map(|elem| elem.pgno);
    let kept = if resized { 0 } else { step.header.commit.get() };
    let cut = (kept.saturating_add(1)..=shape.pages.get()).filter_map(Pgno::new);
    let lock = shape.page_size.lock_pgno();
    let others = changed.chain(cut).filter(|pgno| *pgno != Pgno::FIRST && *pgno != lock);
    let all = std::iter::once(Pgno::FIRST).chain(others);
    all.filter(|pgno| pgno.get() <= shape.pages.get()).collect()
}

#[cfg(test)]
mod tests;
