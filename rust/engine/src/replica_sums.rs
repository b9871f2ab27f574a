//! The page checksums of the replica, computed from its files: what the chain holds, where nothing here tells it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use ltx::{Checksum, Decoder, PageSize, Pgno, TxId};

use crate::database::Database;
use crate::error::{Context, Result};
use crate::live::Live;
use crate::page_sums::NewSums;

impl Database {
    /// The transaction of the replica whose page checksums [`Database::adopt`] could use: nothing is known of the pages at the
    /// position, and without them the next L0 file holds every page.
    #[must_use]
    pub fn chain_wanted(&self) -> Option<TxId> {
        self.state().live.as_ref().and_then(|live| live.chain_wanted)
    }

    /// Takes over the checksums of all pages of the replica at `txid` from the file at `path`: one 8-byte big-endian LTX page
    /// checksum a page, 0 for the lock page. Does nothing if they are not wanted any more, or of another page size.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn adopt(&self, path: &Path, page_size: PageSize, txid: TxId) -> Result<()> {
        let mut state = self.state();
        state.finish_writing()?;
        state.live.as_mut().map_or(Ok(()), |live| live.adopt(path, page_size, txid))
    }

    /// Compares the page checksums of the replica at `txid`, in a file as [`Database::adopt`] takes it, with those that the pages had
    /// then by what is known here: how many differ, of how many. `None` where that is not known.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn compare_chain(&self, path: &Path, page_size: PageSize, txid: TxId) -> Result<Option<(u64, u64)>> {
        let mut state = self.state();
        state.finish_writing()?;
        state.live.as_ref().map_or(Ok(None), |live| live.compare_chain(path, page_size, txid))
    }
}

impl Live {
    /// Takes over the page checksums of the chain at `txid`, one big-endian word a page, so that what is uploaded next are the
    /// pages that differ. The L0 files since are applied to them.
    pub(crate) fn adopt(&mut self, path: &Path, page_size: PageSize, txid: TxId) -> Result<()> {
        if self.chain_wanted != Some(txid) || self.position.lost.is_none() || page_size != self.page_size {
            return Ok(());
        }
        let mut sums = NewSums::create(&self.meta, self.page_size)?;
        let mut file = BufReader::new(open_sums(path).context("open", path)?);
        let mut word = [0; 8];
        while read_word(&mut file, &mut word).context("read", path)? {
            sums.push(Checksum::new(u64::from_be_bytes(word)))?;
        }
        let mut sums = sums.install(txid)?;
        if sums.repeat_to(&self.meta, self.position.txid)? {
            self.position.commit = sums.pages();
            self.sums = Some(sums);
            self.chain_wanted = None;
        }
        Ok(())
    }

    /// Compares the page checksums of the replica at `txid`, as [`Live::adopt`] takes them, with those that the pages had then by
    /// what is known here: how many differ, of how many. `None` where that is not known.
    pub(crate) fn compare_chain(
        &self,
        path: &Path,
        page_size: PageSize,
        txid: TxId,
    ) -> Result<Option<(u64, u64)>> {
        let Some(sums) = self.sums.as_ref().filter(|_| self.position.lost.is_none()) else { return Ok(None) };
        if page_size != self.page_size || txid > self.position.txid {
            return Ok(None);
        }
        let Some(changed) = self.changed_after(txid)? else { return Ok(None) };
        let mut file = BufReader::new(open_sums(path).context("open", path)?);
        let (mut word, mut theirs, mut differing, mut compared) = ([0; 8], 0, 0, 0);
        while read_word(&mut file, &mut word).context("read", path)? {
            theirs += 1;
            let Some(pgno) = Pgno::new(theirs).filter(|_| theirs <= sums.pages().get()) else { continue };
            if !changed.contains(&theirs) {
                compared += 1;
                differing += u64::from(sums.get(pgno)? != Checksum::new(u64::from_be_bytes(word)));
            }
        }
        // A page that came later came in a file.
        let missing = (theirs + 1..=sums.pages().get()).filter(|pgno| !changed.contains(pgno)).count() as u64;
        Ok(Some((differing + missing, compared + missing)))
    }

    /// The pages in the L0 files after `txid`; `None` when one of these is not here, or damaged.
    fn changed_after(&self, txid: TxId) -> Result<Option<HashSet<u32>>> {
        let mut changed = HashSet::new();
        for number in txid.get() + 1..=self.position.txid.get() {
            let Some(file) = self.meta.level0.open(TxId::new(number))? else { return Ok(None) };
            let Ok(mut decoder) = Decoder::new(BufReader::new(file)) else { return Ok(None) };
            let mut page = vec![0; decoder.header().page_size.bytes()];
            loop {
                match decoder.next_page(&mut page) {
                    Ok(Some(pgno)) => changed.insert(pgno.get()),
                    Ok(None) => break,
                    Err(_) => return Ok(None),
                };
            }
        }
        Ok(Some(changed))
    }
}

#[expect(clippy::disallowed_methods, reason = "a file of checksums, which SQLite never opens")]
fn open_sums(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Fills `word`; false at the end of the file.
fn read_word(file: &mut impl Read, word: &mut [u8; 8]) -> io::Result<bool> {
    match file.read_exact(word) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        done => done.map(|()| true),
    }
}
