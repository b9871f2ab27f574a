//! What the wal-index says of page 1 (SQLite, "WAL-mode File Format", section 2).

use std::sync::atomic::{AtomicU32, Ordering};

use vfs::{Code, Result, SharedMemory};

use super::Shm;

/// Bytes of a region of the wal-index.
const REGION: u32 = 32768;

/// Frames that a region has page numbers of; the header takes some of those of the first one.
const FRAMES: u32 = 4096;

/// Where things are in the first region, in words of four bytes.
mod word {
    /// How many frames are valid.
    pub(super) const MAX_FRAME: u32 = 4;
    /// The salts of the WAL, byte for byte.
    pub(super) const SALTS: u32 = 8;
    /// How many frames are in the database as well.
    pub(super) const BACKFILLED: u32 = 24;
    /// The page number of the first frame.
    pub(super) const PAGES: u32 = 34;
}

/// A frame of the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The first one is 1.
    pub(crate) number: u32,
    /// What its header has as well.
    pub(crate) salts: [u8; 8],
}

impl Shm {
    /// The newest committed frame of page 1 that no checkpoint has moved into the database yet. `None` as well if this connection
    /// uses no wal-index: then it has the database alone, and a checkpoint leaves nothing behind.
    ///
    /// # Errors
    /// What mapping the wal-index answers.
    pub(crate) fn newest_frame_of_page_1(&mut self) -> Result<Option<Frame>> {
        if self.open.is_none() {
            return Ok(None);
        }
        let newest = self.word(word::MAX_FRAME)?;
        let oldest = self.word(word::BACKFILLED)?.saturating_add(1);
        for number in (oldest..=newest).rev() {
            if self.word(word::PAGES + number - 1)? == 1 {
                let salts = [self.word(word::SALTS)?, self.word(word::SALTS + 1)?].map(u32::to_ne_bytes);
                let salts = salts.as_flattened().try_into().unwrap_or_default();
                return Ok(Some(Frame { number, salts }));
            }
        }
        Ok(None)
    }

    /// One word of those that frames are counted in: there are as many in each region.
    fn word(&mut self, at: u32) -> Result<u32> {
        let region = self.map(at / FRAMES, REGION, false)?.address;
        if region.is_null() {
            return Err(Code::IOERR_SHMMAP.into());
        }
        // SAFETY: `map` gives the address of `REGION` bytes, and keeps them until `unmap`, for which it takes `self`, too. The word
        // lies in them, since `at % FRAMES` words of four bytes come before it, and is aligned, since a region begins at a multiple
        // of its size in a mapping that begins at a page. Others write to it meanwhile, which an atomic allows.
        #[expect(unsafe_code, reason = "memory that other processes share")]
        let word = unsafe { AtomicU32::from_ptr(region.cast::<u32>().add((at % FRAMES) as usize)) };
        Ok(word.load(Ordering::Acquire))
    }
}
