//! Pages of commits that are read but not yet in an L0 file.
//!
//! They are copies, so the WAL they came from may begin anew at any time. A page that is written again takes the place of its
//! older version, so what is kept grows with the pages touched, not with the commits. Beyond a fixed amount of memory the
//! copies go to an unnamed file in the meta directory, which is gone with the process whatever ends it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ltx::{PageCount, PageSize, Pgno};

/// Bytes of pages kept in memory.
const MEMORY_BYTES: usize = 12 << 20;
/// Memory is taken in pieces of this size: a growing vector would hold one and a half times what it keeps.
const CHUNK_BYTES: usize = 1 << 20;

/// The newest version of every page that was committed since the last L0 file.
pub(crate) struct Pending {
    page_size: PageSize,
    slots: HashMap<Pgno, u32>,
    chunks: Vec<Vec<u8>>,
    spill: Option<File>,
    spill_dir: PathBuf,
}

impl Pending {
    /// An empty set; `spill_dir` is where pages go that memory has no room for.
    pub(crate) fn new(page_size: PageSize, spill_dir: &Path) -> Self {
        Self {
            page_size,
            slots: HashMap::new(),
            chunks: Vec::new(),
            spill: None,
            spill_dir: spill_dir.to_owned(),
        }
    }

    /// Keeps `page` as the newest version of `pgno`.
    pub(crate) fn put(&mut self, pgno: Pgno, page: &[u8]) -> io::Result<()> {
        let next = u32::try_from(self.slots.len()).map_err(io::Error::other)?;
        let slot = *self.slots.entry(pgno).or_insert(next);
        if slot < self.memory_slots() {
            self.memory_slot(slot).copy_from_slice(page);
            return Ok(());
        }
        let offset = self.spill_offset(slot);
        self.spill_file()?.write_all_at(page, offset)
    }

    /// Copies the newest version of `pgno` into `page`; false when there is none.
    pub(crate) fn read(&self, pgno: Pgno, page: &mut [u8]) -> io::Result<bool> {
        let Some(&slot) = self.slots.get(&pgno) else { return Ok(false) };
        if slot >= self.memory_slots() {
            let Some(spill) = &self.spill else { return Err(io::ErrorKind::NotFound.into()) };
            spill.read_exact_at(page, self.spill_offset(slot))?;
            return Ok(true);
        }
        let (chunk, start) = self.place(slot);
        page.copy_from_slice(&self.chunks[chunk][start..start + self.page_size.bytes()]);
        Ok(true)
    }

    /// Whether there is a version of `pgno`.
    pub(crate) fn has(&self, pgno: Pgno) -> bool {
        self.slots.contains_key(&pgno)
    }

    /// Numbers of the pages up to `commit`, ascending.
    pub(crate) fn pgnos(&self, commit: PageCount) -> Vec<Pgno> {
        let mut pgnos: Vec<_> =
            self.slots.keys().copied().filter(|pgno| pgno.get() <= commit.get()).collect();
        pgnos.sort_unstable();
        pgnos
    }

    /// Whether nothing was committed since the last L0 file.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of pages kept, in memory and spilled.
    pub(crate) fn bytes(&self) -> u64 {
        self.slots.len() as u64 * u64::from(self.page_size.get())
    }

    /// Forgets everything; the memory stays for the next round, the spilled file does not.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.spill = None;
    }

    fn memory_slots(&self) -> u32 {
        u32::try_from(MEMORY_BYTES / self.page_size.bytes()).unwrap_or(u32::MAX)
    }

    fn place(&self, slot: u32) -> (usize, usize) {
        let per_chunk = CHUNK_BYTES / self.page_size.bytes();
        (slot as usize / per_chunk, slot as usize % per_chunk * self.page_size.bytes())
    }

    fn memory_slot(&mut self, slot: u32) -> &mut [u8] {
        let (chunk, start) = self.place(slot);
        if chunk == self.chunks.len() {
            self.chunks.push(vec![0; CHUNK_BYTES]);
        }
        &mut self.chunks[chunk][start..start + self.page_size.bytes()]
    }

    fn spill_offset(&self, slot: u32) -> u64 {
        u64::from(slot - self.memory_slots()) * u64::from(self.page_size.get())
    }

    fn spill_file(&mut self) -> io::Result<&File> {
        if self.spill.is_none() {
            self.spill = Some(tempfile::tempfile_in(&self.spill_dir)?);
        }
        self.spill.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pgno(n: u32) -> Pgno {
        Pgno::new(n).unwrap()
    }

    fn pending(page_size: u32) -> Pending {
        Pending::new(PageSize::new(page_size).unwrap(), Path::new("/tmp"))
    }

    #[test]
    fn the_newest_version_of_a_page_wins_and_takes_no_more_room() {
        let mut pending = pending(512);
        pending.put(pgno(7), &[1; 512]).unwrap();
        pending.put(pgno(3), &[2; 512]).unwrap();
        pending.put(pgno(7), &[3; 512]).unwrap();
        let mut page = [0; 512];
        assert!(pending.read(pgno(7), &mut page).unwrap());
        assert_eq!(page, [3; 512]);
        assert!(!pending.read(pgno(4), &mut page).unwrap());
        assert_eq!(pending.pgnos(PageCount::new(100)), [pgno(3), pgno(7)]);
        assert_eq!(pending.pgnos(PageCount::new(6)), [pgno(3)]);
        assert_eq!(pending.bytes(), 1024);
    }

    #[test]
    fn what_memory_has_no_room_for_is_spilled_and_read_back() {
        let mut pending = pending(65536);
        let pages = u32::try_from(MEMORY_BYTES / 65536).unwrap() + 20;
        for n in 1..=pages {
            pending.put(pgno(n), &vec![n.to_be_bytes()[3]; 65536]).unwrap();
        }
        pending.put(pgno(pages), &vec![0xee; 65536]).unwrap();
        let mut page = vec![0; 65536];
        for n in 1..pages {
            assert!(pending.read(pgno(n), &mut page).unwrap());
            assert_eq!(page, vec![n.to_be_bytes()[3]; 65536], "page {n}");
        }
        assert!(pending.read(pgno(pages), &mut page).unwrap());
        assert_eq!(page, vec![0xee; 65536]);
        pending.clear();
        assert!(pending.is_empty());
        pending.put(pgno(9), &vec![5; 65536]).unwrap();
        assert!(pending.read(pgno(9), &mut page).unwrap());
        assert_eq!(page, vec![5; 65536]);
    }
}
