//! What the methods of a database share, and whose turn it is to work on it.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ltx::TxId;

use crate::connection::Conn;
use crate::emit::Written;
use crate::error::{Error, Result};
use crate::files::LiveFiles;
use crate::letting_go::Frames;
use crate::live::Live;
use crate::published::Published;

/// The pause between two looks whether a turn is over, where that is not waited for to the end.
const POLL: Duration = Duration::from_millis(1);

/// What the methods share.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) live: Option<Live>,
    /// The L0 file that is being written while following goes on.
    pub(crate) writing: Option<JoinHandle<Result<Written>>>,
    /// The newest transaction known, for opening again after a file was replaced; `None` while closed.
    pub(crate) resume_at: Option<TxId>,
    pub(crate) sums_flushed: Option<Instant>,
    /// The newest transaction that [`Database::follow`] told of.
    pub(crate) told: TxId,
    /// Keeps the database open until it is followed.
    pub(crate) attached: Option<Conn>,
    /// When a file was seen first that is waited for.
    pub(crate) appeared: Option<Instant>,
    /// There was no database file when it was to be opened.
    pub(crate) awaited: bool,
    /// Files that were let go because their names mean others now. Somebody may still use them.
    pub(crate) left: Option<LiveFiles>,
    /// What those files left behind.
    pub(crate) frames: Frames,
    /// How often the files were opened.
    pub(crate) opened: u64,
}

impl State {
    /// Lets the database go because something changed underneath; what it leaves is looked at when it is opened again.
    pub(crate) fn let_go(&mut self) {
        if let Some(mut live) = self.live.take() {
            self.frames = live.let_go();
            self.resume_at = Some(live.position.txid);
            self.left = Some(live.files.clone());
        }
    }

    /// Waits for the L0 file that is being written, if there is one.
    pub(crate) fn finish_writing(&mut self) -> Result<()> {
        let (Some(writing), Some(live)) = (self.writing.take(), &mut self.live) else { return Ok(()) };
        let written = writing.join().unwrap_or_else(|_| {
            let what = "the thread that writes an L0 file ended early";
            Err(Error::Changed { path: live.path().to_owned(), what })
        });
        live.finish_job(written).map(drop)
    }
}

/// The right to work on a database. What is true when it is given back is published.
pub(crate) struct Turn<'a> {
    state: MutexGuard<'a, State>,
    published: &'a Published,
}

impl Deref for Turn<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.published.set(self.state.live.as_ref().map(Live::facts));
    }
}

impl<'a> Turn<'a> {
    /// Waits for it, for as long as others have it.
    pub(crate) fn wait(state: &'a Mutex<State>, published: &'a Published) -> Self {
        // A panic in between leaves transactions that are only dropped, so the state is as good as any.
        Self { state: state.lock().unwrap_or_else(PoisonError::into_inner), published }
    }

    /// The same if that is possible after `looks`, a millisecond apart. A machine that is so busy that whoever has the turn takes
    /// longer makes the looks longer, too; a time would be over before that thread has run at all.
    pub(crate) fn after(looks: u32, state: &'a Mutex<State>, published: &'a Published) -> Option<Self> {
        let look = |left| match state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                if left > 0 {
                    thread::sleep(POLL);
                }
                None
            }
        };
        let state = (0..=looks).rev().find_map(look)?;
        Some(Self { state, published })
    }
}
