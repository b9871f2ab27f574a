//! The database that a file without content is shown as.
//!
//! SQLite takes the number of reserved bytes of a new database from a header that it finds, so it is shown one. With that it
//! believes the page size and `auto_vacuum` to be settled: while nothing is written, setting them shows it another database.

use dbfile::header::{self, MAGIC};
use dbfile::page_checksum::SIZE;
use dbfile::{LARGEST_PAGE, SMALLEST_PAGE};
use vfs::Reply;

use super::Form;

/// SQLite's own default.
const PAGE_SIZE: usize = 4096;

/// A database in which nothing was made yet.
pub(super) struct NewDatabase {
    page_size: usize,
    auto_vacuum: AutoVacuum,
    /// How often it became another one: SQLite reads a database anew when its change counter is another one.
    changes: u32,
    /// SQLite has not read the first page since.
    is_unread: bool,
}

/// As `PRAGMA auto_vacuum` numbers them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AutoVacuum {
    None = 0,
    Full = 1,
    Incremental = 2,
}

impl AutoVacuum {
    /// What SQLite understands; everything else means none.
    fn parse(value: &str) -> Self {
        match value.to_ascii_lowercase().as_str() {
            "full" | "1" => Self::Full,
            "incremental" | "2" => Self::Incremental,
            _ => Self::None,
        }
    }
}

impl Default for NewDatabase {
    fn default() -> Self {
        Self { page_size: PAGE_SIZE, auto_vacuum: AutoVacuum::None, changes: 0, is_unread: false }
    }
}

impl NewDatabase {
    /// Bytes of a page.
    pub(super) fn page_size(&self) -> usize {
        self.page_size
    }

    pub(super) fn form(&self) -> Form {
        Form { page_size: self.page_size, has_checksums: true }
    }

    /// Copies what is shown at `offset`, which is below the page size; how many bytes.
    pub(super) fn read(&mut self, buf: &mut [u8], offset: u64) -> usize {
        let page = self.page();
        let from = usize::try_from(offset).unwrap_or(page.len()).min(page.len());
        let len = buf.len().min(page.len() - from);
        buf[..len].copy_from_slice(&page[from..from + len]);
        if from == 0 && len >= super::HEADER {
            self.is_unread = false;
        }
        len
    }

    /// Takes note of a setting; answers for SQLite while that does not know of it yet.
    pub(super) fn pragma(&mut self, name: &str, value: Option<&str>) -> Reply {
        let is_page_size = name.eq_ignore_ascii_case("page_size");
        if !is_page_size && !name.eq_ignore_ascii_case("auto_vacuum") {
            return Reply::NotFound;
        }
        let Some(value) = value else {
            let number = if is_page_size { self.page_size } else { self.auto_vacuum as usize };
            return if self.is_unread { Reply::Text(number.to_string()) } else { Reply::NotFound };
        };
        if is_page_size {
            let size = value.parse().ok().filter(|size: &usize| size.is_power_of_two());
            self.page_size =
                size.filter(|size| (SMALLEST_PAGE..=LARGEST_PAGE).contains(size)).unwrap_or(self.page_size);
        } else {
            self.auto_vacuum = AutoVacuum::parse(value);
        }
        self.changes = self.changes.wrapping_add(1);
        self.is_unread = true;
        // SQLite takes note of it for the next VACUUM.
        Reply::NotFound
    }

    /// Its one page (SQLite, "Database File Format", sections 1.3 and 1.6).
    pub(super) fn page(&self) -> Vec<u8> {
        let mut page = vec![0; self.page_size];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        // 1 stands for 65536.
        put(header::PAGE_SIZE.start, &u16::try_from(self.page_size).unwrap_or(1).to_be_bytes());
        put(header::VERSIONS.start, &header::ROLLBACK_VERSIONS);
        put(header::RESERVED_BYTES, &[SIZE as u8]);
        put(header::FRACTIONS.start, &header::FRACTION_VALUES);
        // The change counter, and for which of its values the next number is right: one page.
        put(header::CHANGE_COUNTER.start, &self.changes.to_be_bytes());
        put(header::PAGE_COUNT.start, &1u32.to_be_bytes());
        put(header::VERSION_VALID_FOR.start, &self.changes.to_be_bytes());
        if self.auto_vacuum != AutoVacuum::None {
            // The largest root page so far; then whether it is incremental.
            put(header::LARGEST_ROOT.start, &1u32.to_be_bytes());
            put(
                header::INCREMENTAL_VACUUM.start,
                &u32::from(self.auto_vacuum == AutoVacuum::Incremental).to_be_bytes(),
            );
        }
        // A leaf of a table without cells, whose content would end before the checksum.
        put(header::SIZE, &[13]);
        put(header::SIZE + 5, &u16::try_from(self.page_size - SIZE).unwrap_or(0).to_be_bytes());
        page
    }
}
