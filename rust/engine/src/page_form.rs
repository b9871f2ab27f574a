//! Pages as they are in the database file, which is how the chain holds them.
//!
//! A database with page checksums (`osvfs`, after SQLite's checksum VFS) gets them on the way into the database file; frames of
//! the WAL lack them. So pages that were taken from frames get theirs here: else a restored database could not be read, and the
//! same page would be two, before and after a checkpoint.

use ltx::{Pgno, ReadAt};
use wal::PageSource;

use crate::error::{Context, Result};
use crate::live::Live;
use crate::scan::View;

/// Byte of the first page that says how many bytes each page reserves at its end (SQLite, "Database File Format", section 1.3).
const RESERVED_AT: usize = 20;
const CHECKSUM_BYTES: u8 = 8;

/// Whether pages have checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageForm {
    /// The newest first page reserves the bytes.
    reserves: bool,
    /// So does the one in the database file, and it has a checksum.
    has_checksums: bool,
}

impl PageForm {
    /// Gives a page that was taken from a frame the form it has in the database file.
    pub(crate) fn complete(self, page: &mut [u8]) {
        if self.reserves && self.has_checksums {
            osvfs::page_checksum::seal(page);
        }
    }
}

impl View {
    /// The form of the pages of this view.
    pub(crate) fn form(&self) -> Result<PageForm> {
        let path = self.files.path();
        if self.commit.get() == 0 {
            return Ok(PageForm::default());
        }
        let mut in_file = vec![0; self.page_size.bytes()];
        let read = self.files.db.read_at(&mut in_file, 0).context("read", path)?;
        let has_checksums = read == in_file.len() && osvfs::page_checksum::has_page_checksums(&in_file);
        let mut source =
            PageSource::new(&self.files.db, &self.files.wal, self.overlay.as_ref(), self.page_size)
                .context("read", path)?;
        let reserves = reserves(source.page(Pgno::FIRST).context("read", path)?);
        Ok(PageForm { reserves, has_checksums })
    }
}

impl Live {
    /// Looks whether pages have checksums by now. When that was switched on, those uploaded before have none.
    pub(crate) fn see_form(&mut self) -> Result<()> {
        let mut page_1 = vec![0; self.page_size.bytes()];
        let before = self.form;
        if self.pending.read(Pgno::FIRST, &mut page_1).context("read kept pages of", &self.options.path)? {
            self.form.reserves = reserves(&page_1);
        }
        let read = self.files.db.read_at(&mut page_1, 0).context("read", &self.options.path)?;
        self.form.has_checksums = read == page_1.len() && osvfs::page_checksum::has_page_checksums(&page_1);
        if self.form.reserves && self.form.has_checksums && !before.has_checksums {
            self.lose("page checksums were switched on");
        }
        Ok(())
    }
}

fn reserves(page_1: &[u8]) -> bool {
    page_1.get(RESERVED_AT) == Some(&CHECKSUM_BYTES)
}
