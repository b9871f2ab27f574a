//! Pages as they are in the database file, which is how the chain holds them.
//!
//! A database with page checksums (`osvfs`, after SQLite's checksum VFS) gets them on the way into the database file; frames of
//! the WAL lack them. So pages that were taken from frames get theirs here: else a restored database could not be read, and the
//! same page would be two, before and after a checkpoint.

use ltx::Pgno;
use wal::PageSource;

use crate::error::{Context, Result};
use crate::live::Live;
use crate::scan::View;

/// Byte of the first page that says how many bytes each page reserves at its end (SQLite, "Database File Format", section 1.3).
const RESERVED_AT: usize = 20;
const CHECKSUM_BYTES: u8 = 8;

/// Whether pages have checksums: whether the newest first page reserves the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageForm {
    has_checksums: bool,
}

impl PageForm {
    fn of(page_1: &[u8]) -> Self {
        Self { has_checksums: page_1.get(RESERVED_AT) == Some(&CHECKSUM_BYTES) }
    }

    /// Gives a page that was taken from a frame the form it has in the database file.
    pub(crate) fn complete(self, page: &mut [u8]) {
        if self.has_checksums {
            osvfs::page_checksum::seal(page);
        }
    }

    /// Whether a page of the database file lacks the checksum of its content: a connection over another file layer has moved it there, or
    /// it is damaged.
    pub(crate) fn is_unsound(self, page: &[u8]) -> bool {
        self.has_checksums && !osvfs::page_checksum::is_sound(page)
    }
}

impl View {
    /// The form of the pages of this view.
    pub(crate) fn form(&self) -> Result<PageForm> {
        let path = self.files.path();
        if self.commit.get() == 0 {
            return Ok(PageForm::default());
        }
        let mut source =
            PageSource::new(&self.files.db, &self.files.wal, self.overlay.as_ref(), self.page_size)
                .context("read", path)?;
        Ok(PageForm::of(source.page(Pgno::FIRST).context("read", path)?))
    }
}

impl Live {
    /// Looks whether pages have checksums by now. Where that was switched on, all of them were written anew.
    pub(crate) fn see_form(&mut self) -> Result<()> {
        let mut page_1 = vec![0; self.page_size.bytes()];
        if self.pending.read(Pgno::FIRST, &mut page_1).context("read kept pages of", &self.options.path)? {
            self.form = PageForm::of(&page_1);
        }
        Ok(())
    }
}
