//! SQLite's rollback journal (SQLite file format, section "The Rollback Journal"), written whole before a page changes.
//!
//! ```text
//! header(512): magic(8)  records(4)  nonce(4)  pages before(4)  sector size(4)  page size(4)  zeros
//! records:     pgno(4)  old page  checksum(4)
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use dbfile::JOURNAL_MAGIC;
use durable::{create_new, give_rights_of, sibling};
use ltx::{PageCount, PageSize, Pgno, ReadAt};

const SECTOR: u32 = 512;
/// Every so many bytes of a page, counted from its end, are in its checksum.
const STRIDE: usize = 200;
const BLOCK: usize = 256 << 10;

/// The journal of the database at `database`.
pub(super) fn path(database: &Path) -> PathBuf {
    sibling(database, "-journal")
}

/// What a journal says, but for the pages themselves.
pub(super) struct Journal {
    pub(super) page_size: PageSize,
    /// Size of the database before.
    pub(super) pages: PageCount,
    /// Start of the checksums.
    pub(super) nonce: u32,
    /// The pages whose old versions it keeps.
    pub(super) saved: Vec<Pgno>,
}

impl Journal {
    /// Writes it to a new file at `path`, the pages out of `database`, and makes its content durable. Whoever truncates the
    /// file `twin` puts it out of force, where the file system has hard links.
    pub(super) fn write(&self, path: &Path, twin: &Path, database: &File) -> io::Result<()> {
        let like = database.metadata()?;
        let file = create_new(path, 0o600)?;
        // Before there is content: an empty journal is none, and one with content never lacks its second name.
        let _ = fs::remove_file(twin);
        let _ = fs::hard_link(path, twin);
        // For readers that run as the owner, or in the group.
        give_rights_of(&like, &file)?;
        let mut out = BufWriter::with_capacity(BLOCK, &file);
        out.write_all(&self.header())?;
        let mut page = vec![0; self.page_size.bytes()];
        for pgno in &self.saved {
            database.read_exact_at(&mut page, pgno.offset(self.page_size))?;
            out.write_all(&pgno.get().to_be_bytes())?;
            out.write_all(&page)?;
            out.write_all(&self.checksum(&page).to_be_bytes())?;
        }
        out.flush()?;
        drop(out);
        file.sync_all()
    }

    fn header(&self) -> Vec<u8> {
        let records = u32::try_from(self.saved.len()).unwrap_or(u32::MAX);
        let words = [records, self.nonce, self.pages.get(), SECTOR, self.page_size.get()];
        let mut header = JOURNAL_MAGIC.to_vec();
        header.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        header.resize(SECTOR as usize, 0);
        header
    }

    fn checksum(&self, page: &[u8]) -> u32 {
        let places =
            (1..).map(|n| page.len().checked_sub(n * STRIDE)).map_while(|at| at.filter(|at| *at > 0));
        places.fold(self.nonce, |sum, at| sum.wrapping_add(page.get(at).copied().unwrap_or(0).into()))
    }
}
