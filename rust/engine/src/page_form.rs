//! Pages as they are in the database file, which is how the chain holds them.
//!
//! A database with page checksums (`osvfs`, after SQLite's checksum VFS) gets them on the way into the database file; frames of
//! the WAL lack them. So pages that were taken from frames get theirs here: else a restored database could not be read, and the
//! same page would be two, before and after a checkpoint.

use dbfile::page_checksum;

/// Whether pages have checksums: whether the newest first page reserves the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageForm {
    has_checksums: bool,
}

impl PageForm {
    pub(crate) fn of(page_1: &[u8]) -> Self {
        Self { has_checksums: page_checksum::has_checksums(page_1) }
    }

    /// Gives a page that was taken from a frame the form it has in the database file.
    pub(crate) fn complete(self, page: &mut [u8]) {
        if self.has_checksums {
            page_checksum::seal(page);
        }
    }

    /// Whether a page of the database file lacks the checksum of its content: a connection over another file layer has moved it there, or
    /// it is damaged.
    pub(crate) fn is_unsound(self, page: &[u8]) -> bool {
        self.has_checksums && !page_checksum::is_sound(page)
    }
}
