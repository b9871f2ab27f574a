//! Which page may follow which: one rule for the encoder and the decoder.

use crate::error::{Error, Result};
use crate::header::Header;
use crate::types::{PageCount, Pgno};

/// Checks that page numbers ascend, stay within the database, leave out the lock page, and in a snapshot
/// leave out nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    snapshot: bool,
    commit: PageCount,
    lock: Pgno,
    last: Option<Pgno>,
}

impl Sequence {
    pub(crate) fn new(header: &Header) -> Self {
        let (snapshot, commit, lock) = (header.is_snapshot(), header.commit, header.lock_pgno());
        Self { snapshot, commit, lock, last: None }
    }

    /// Takes the next page.
    pub(crate) fn push(&mut self, pgno: Pgno) -> Result<()> {
        if pgno.get() > self.commit.get() {
            return Err(Error::PageAboveCommit { pgno, commit: self.commit });
        }
        if pgno == self.lock {
            return Err(Error::LockPage { pgno });
        }
        if let Some(previous) = self.last.filter(|last| pgno <= *last) {
            return Err(Error::PageOrder { previous, pgno });
        }
        if let Some(expected) = self.due().filter(|due| *due != pgno) {
            return Err(Error::SnapshotGap { expected, actual: pgno });
        }
        self.last = Some(pgno);
        Ok(())
    }

    /// Checks that no page is missing.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.due() {
            Some(expected) => Err(Error::SnapshotIncomplete { expected }),
            None => Ok(()),
        }
    }

    /// The page that has to come next: in a snapshot, until all have come.
    fn due(&self) -> Option<Pgno> {
        let next = self.last.map_or(Some(Pgno::FIRST), Pgno::next);
        let due = if next == Some(self.lock) { self.lock.next() } else { next };
        due.filter(|pgno| self.snapshot && pgno.get() <= self.commit.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{PageSize, TxId};

    fn sequence(min: u64, commit: u32, page_size: PageSize) -> Sequence {
        Sequence::new(&Header::new(page_size, PageCount::new(commit), TxId::new(min), TxId::new(9)))
    }

    fn push(sequence: &mut Sequence, pgno: u32) -> Result<()> {
        sequence.push(Pgno::new(pgno).unwrap())
    }

    #[test]
    fn snapshots_have_every_page() {
        let mut pages = sequence(1, 3, PageSize::MIN);
        assert!(matches!(push(&mut pages, 2), Err(Error::SnapshotGap { expected: Pgno::FIRST, .. })));
        push(&mut pages, 1).unwrap();
        assert!(matches!(push(&mut pages, 3), Err(Error::SnapshotGap { .. })));
        push(&mut pages, 2).unwrap();
        assert!(matches!(pages.finish(), Err(Error::SnapshotIncomplete { expected }) if expected.get() == 3));
        push(&mut pages, 3).unwrap();
        pages.finish().unwrap();
        assert!(matches!(push(&mut pages, 4), Err(Error::PageAboveCommit { .. })));
    }

    #[test]
    fn increments_only_ascend() {
        let mut pages = sequence(2, 10, PageSize::MIN);
        pages.finish().unwrap();
        push(&mut pages, 4).unwrap();
        push(&mut pages, 9).unwrap();
        assert!(matches!(push(&mut pages, 9), Err(Error::PageOrder { .. })));
        assert!(matches!(push(&mut pages, 4), Err(Error::PageOrder { .. })));
        assert!(matches!(push(&mut pages, 11), Err(Error::PageAboveCommit { .. })));
        pages.finish().unwrap();
    }

    #[test]
    fn the_lock_page_is_left_out() {
        let lock = PageSize::MAX.lock_pgno().get();
        for (min, commit) in [(1, lock), (1, lock + 2), (2, lock + 2)] {
            let mut pages = sequence(min, commit, PageSize::MAX);
            for pgno in 1..lock {
                push(&mut pages, pgno).unwrap();
            }
            assert!(matches!(push(&mut pages, lock), Err(Error::LockPage { .. })));
            assert_eq!(push(&mut pages, lock + 1).is_ok(), commit > lock);
            assert_eq!(push(&mut pages, lock + 2).is_ok(), commit > lock);
            pages.finish().unwrap();
        }
    }

    #[test]
    fn an_empty_database_has_no_pages() {
        let mut pages = sequence(1, 0, PageSize::MIN);
        pages.finish().unwrap();
        assert!(push(&mut pages, 1).is_err());
    }
}
