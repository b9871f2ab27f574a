//! How far a pass over all pages is, and the wish that it end: what other threads see of it, and tell it, without a lock.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ltx::PageCount;

use crate::error::{Error, Result};

/// Shared by the pass that is under way and by whoever asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    cancelled: Arc<AtomicBool>,
    /// Pages that are done in the upper half, all pages in the lower one: read together, they belong to one pass. 0: none.
    place: Arc<AtomicU64>,
}

/// A pass that is under way; it is over when this is dropped.
pub(crate) struct Pass<'a>(&'a Progress);

impl Progress {
    /// For a pass that is not shown, but ends with the others.
    pub(crate) fn hidden(&self) -> Self {
        Self { cancelled: Arc::clone(&self.cancelled), place: Arc::default() }
    }

    /// Ends the pass that is under way, and every later one at its beginning.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Begins a pass over `pages` pages.
    pub(crate) fn begin(&self, pages: PageCount) -> Pass<'_> {
        self.place.store(pages.get().into(), Ordering::Release);
        Pass(self)
    }

    /// How many pages the pass that is under way has done, and of how many; `None` while there is none.
    pub(crate) fn place(&self) -> Option<(u32, u32)> {
        let place = self.place.load(Ordering::Acquire);
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        (place != 0).then(|| (half(place >> 32), half(place)))
    }
}

impl Pass<'_> {
    /// So many more pages are done.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the pass is to end. `path` is the database, for the message.
    pub(crate) fn advance(&self, pages: u32, path: &Path) -> Result<()> {
        self.0.place.fetch_add(u64::from(pages) << 32, Ordering::AcqRel);
        if self.0.cancelled.load(Ordering::Acquire) {
            return Err(Error::Cancelled { path: path.to_owned() });
        }
        Ok(())
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.place.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_seen_while_it_lasts_and_ends_when_told_to() {
        let (progress, path) = (Progress::default(), Path::new("app.db"));
        assert_eq!(progress.place(), None);
        let pass = progress.begin(PageCount::new(u32::MAX));
        pass.advance(64, path).unwrap();
        pass.advance(u32::MAX - 64, path).unwrap();
        assert_eq!(progress.place(), Some((u32::MAX, u32::MAX)));
        let hidden = progress.hidden();
        assert_eq!(hidden.place(), None);
        progress.cancel();
        assert!(matches!(pass.advance(0, path), Err(Error::Cancelled { .. })));
        assert!(matches!(hidden.begin(PageCount::new(1)).advance(0, path), Err(Error::Cancelled { .. })));
        drop(pass);
        assert_eq!(progress.place(), None);
    }
}
