//! One database, as its owner sees it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ltx::{PageSize, Pos, TxId};

use crate::connection::{CheckpointMode, CheckpointResult};
use crate::error::{Context, Error, Result};
use crate::files::{LiveFiles, has_content};
use crate::level0::{Level0, LocalFile};
use crate::live::Live;
use crate::notices::Notices;
use crate::options::Options;
use crate::published::Published;
use crate::seal::Sealed;
use crate::state::{State, Turn};
use crate::status::Status;
use crate::watch::Watch;

/// How often something is tried that finds the files changed underneath.
const ATTEMPTS: u32 = 3;

/// One database that is replicated: its WAL becomes L0 files in its meta directory.
///
/// All methods may be called from any thread. Those that work on the database take turns: whoever comes while another one works
/// waits for it, for as long as a pass over all pages may take. [`Database::follow`] works only while there is something to do.
/// Those that ask what is known, such as [`Database::status`], and those that end something, never wait for that.
pub struct Database {
    pub(crate) options: Arc<Options>,
    pub(crate) state: Mutex<State>,
    pub(crate) published: Arc<Published>,
    notices: Notices,
    pub(crate) watch: Watch,
    /// The last [`Database::follow`] ended with nothing to do and the watch armed.
    pub(crate) at_rest: AtomicBool,
}

impl Database {
    /// A database that is not open yet; no file is touched.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new(options: Options) -> Result<Self> {
        let watch = Watch::new().context("watch", &options.path)?;
        Ok(Self {
            options: Arc::new(options),
            state: Mutex::default(),
            published: Arc::default(),
            notices: Notices::default(),
            watch,
            at_rest: AtomicBool::new(false),
        })
    }

    /// Opens the database. `remote` is the newest transaction that the replica has, on any level, or `TxId::NONE`.
    ///
    /// False when the database file does not exist yet: [`Database::follow`] waits for it, and then it is to be opened again,
    /// with what the replica has by then.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::NotWal`], [`Error::Busy`], or what files and SQLite answer.
    pub fn open(&self, remote: TxId) -> Result<bool> {
        let mut state = self.state();
        // A file that could not be written is found again by what comes next.
        let _ = state.finish_writing();
        state.live = None;
        state.resume_at = Some(remote);
        self.at_rest.store(false, Ordering::Release);
        state.told = TxId::NONE;
        state.awaited = false;
        let is_open = self.live(&mut state).map(|live| live.is_some());
        state.awaited = matches!(is_open, Ok(false));
        if is_open.is_err() {
            // No other call may open it instead: it would know nothing of what the caller asks for after this one.
            state.resume_at = None;
        }
        is_open
    }

    /// Puts everything that is committed now into L0 files.
    ///
    /// # Errors
    /// [`Error::NotReady`] when there is no database file, [`Error::NotOpen`], [`Error::LocalStateLost`] (open again), or
    /// what files and SQLite answer.
    pub fn sync(&self) -> Result<Pos> {
        let mut state = self.state();
        self.on_live(&mut state, |live| {
            live.verify_files()?;
            live.verify_chain()?;
            live.leap()?;
            // Once more: until the transaction had begun, what was there could still be exchanged.
            live.verify_files()?;
            live.emit()?;
            live.save_nameless_wal()?;
            // Not at once: who waits for each commit would have all pages compared after each checkpoint of others.
            live.settle_doubt()?;
            Ok(live.pos())
        })
    }

    /// Looks whether the files are still those that were opened, and lets go of others, as every other call does first; for who
    /// waits before trying again: the next application would believe a wal-index that is kept.
    ///
    /// # Errors
    /// As [`Database::sync`].
    pub fn verify(&self) -> Result<()> {
        let mut state = self.state();
        match state.live {
            Some(_) => self.on_live(&mut state, Live::verify_files),
            None => Ok(()),
        }
    }

    /// Ends [`Database::follow`] in whichever thread it waits.
    pub fn interrupt(&self) {
        self.watch.wake();
    }

    /// Ends whatever takes as long as the database is large, in whichever thread, and all that would from now on: it fails with
    /// [`Error::Cancelled`]. For who is about to close a database and cannot wait.
    pub fn cancel(&self) {
        self.published.progress.cancel();
        self.watch.wake();
    }

    /// Runs a checkpoint. Modes other than PASSIVE first let the WAL go, so that only the application can be in the way. A WAL that
    /// may belong to another database file is left alone, and said to be busy.
    ///
    /// # Errors
    /// As [`Database::sync`].
    pub fn checkpoint(&self, mode: CheckpointMode) -> Result<CheckpointResult> {
        let mut state = self.state();
        let patience = self.options.busy_timeout;
        self.on_live(&mut state, |live| {
            live.verify_files()?;
            live.leap()?;
            live.settle_doubt_at_once()?;
            if !live.frames_are_trusted() || live.doubt_forbids_moving() {
                return Ok(CheckpointResult::BUSY);
            }
            if mode != CheckpointMode::Passive && live.seal(patience)? != Sealed::Drained {
                return Ok(CheckpointResult::BUSY);
            }
            live.counters.checkpoints += 1;
            live.verify_files()?;
            let done = live.turns.idle().checkpoint(mode, patience, &live.observed.stamp)?;
            live.observe_own_checkpoint(&done)?;
            Ok(done.result)
        })
    }

    /// Says that a snapshot up to `txid` is durable in the replica. It ends [`Status::snapshot_wanted`] if it reaches as far.
    ///
    /// # Errors
    /// When the meta directory cannot be written.
    pub fn snapshot_stored(&self, txid: TxId) -> Result<()> {
        self.state().live.as_mut().map_or(Ok(()), |live| live.snapshot_stored(txid))
    }

    /// What the owner should be told and has not been told yet, one sentence each, oldest first.
    #[must_use]
    pub fn take_notices(&self) -> Vec<String> {
        self.notices.take()
    }

    /// The newest position, or none.
    #[must_use]
    pub fn pos(&self) -> Pos {
        self.published.get(|status| status.pos)
    }

    /// The page size; `None` while no database is open.
    #[must_use]
    pub fn page_size(&self) -> Option<PageSize> {
        self.published.get(|status| status.page_size)
    }

    /// The first transaction that only a snapshot makes restorable, as in [`Status::snapshot_wanted`].
    #[must_use]
    pub fn snapshot_wanted(&self) -> Option<TxId> {
        self.published.get(|status| status.snapshot_wanted)
    }

    /// The state of the database.
    ///
    /// # Errors
    /// When the WAL cannot be looked at.
    pub fn status(&self) -> Result<Status> {
        self.published.status(&self.options)
    }

    /// The L0 files of the meta directory, oldest first.
    ///
    /// # Errors
    /// [`Error::NotOpen`], or what the file system answers.
    pub fn local_files(&self) -> Result<Vec<LocalFile>> {
        self.level0()?.list()
    }

    /// Path of the L0 file of `txid`, whether it is there or not.
    ///
    /// # Errors
    /// [`Error::NotOpen`].
    pub fn local_path(&self, txid: TxId) -> Result<PathBuf> {
        Ok(self.level0()?.path(txid))
    }

    /// Whether the L0 file of `txid` is here and whole. One that is damaged goes: uploaded, it would keep the replica from being
    /// restored, and its pages are found again without it.
    ///
    /// # Errors
    /// As [`Database::sync`].
    pub fn check_local(&self, txid: TxId) -> Result<bool> {
        // The first file of a database is as large as that: nobody has to wait while it is read.
        if self.level0()?.is_sound(txid)? {
            return Ok(true);
        }
        self.on_live(&mut self.state(), |live| live.remove_damaged_l0(txid)).map(|()| false)
    }

    /// Deletes L0 files that are uploaded (up to `uploaded`) and older than the retention; the newest stays. How many went.
    ///
    /// # Errors
    /// As [`Database::sync`].
    pub fn enforce_l0_retention(&self, uploaded: TxId) -> Result<usize> {
        let (retention, now) = (self.options.l0_retention, (self.options.clock)());
        let oldest_kept =
            now.millis().saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
        self.on_live(&mut self.state(), |live| live.remove_old_l0(uploaded, oldest_kept))
    }

    /// Syncs once more and lets the database go. The WAL stays as it is.
    ///
    /// # Errors
    /// As [`Database::sync`]; the database is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.interrupt();
        let mut state = self.state();
        state.resume_at = None;
        state.detach();
        let written = state.finish_writing();
        let Some(mut live) = state.live.take() else { return Ok(()) };
        written?;
        live.verify_files()?;
        live.leap()?;
        live.emit()?;
        live.settle_doubt_at_once()?;
        live.close()
    }

    /// Closes without a last sync, as a crash would; for when a last sync failed.
    pub fn abandon(&self) {
        self.interrupt();
        let mut state = self.state();
        let _ = state.finish_writing();
        // A snapshot that is being written tells by the count that it began with other files.
        *state = State { opened: state.opened, ..State::default() };
    }

    fn level0(&self) -> Result<Level0> {
        self.published.level0().ok_or_else(|| Error::NotOpen { path: self.options.path.clone() })
    }

    /// The open database; opens it anew when its file was gone for a while.
    fn live<'a>(&self, state: &'a mut State) -> Result<Option<&'a mut Live>> {
        let Some(remote) = state.resume_at else {
            return Err(Error::NotOpen { path: self.options.path.clone() });
        };
        if state.live.is_none() && !state.awaited && has_content(&self.options.path)? {
            if state.left.as_ref().map_or(Ok(false), LiveFiles::is_left_in_use)? {
                return Err(Error::LeftInUse { path: self.options.path.clone() });
            }
            let open = || Live::open(&self.options, remote, state.frames, &self.notices, &self.published);
            // Files that were exchanged while they were opened are opened once more.
            let live = match open() {
                Err(Error::Changed { .. }) => open(),
                opened => opened,
            };
            // In this order: at no moment is the database closed.
            let opened = live.map(|live| state.live = Some(live));
            state.detach();
            opened?;
            state.left = None;
            state.opened += 1;
            // What comes next may take long.
            self.published.set(state.live.as_ref().map(Live::facts));
        }
        Ok(state.live.as_mut())
    }

    /// Does `work`; when a file was replaced underneath, lets everything go, opens what is there now, and does it again. Of what makes
    /// no sense nothing is held any longer: who opens the database next would believe a wal-index that is kept.
    pub(crate) fn on_live<T>(
        &self,
        state: &mut State,
        mut work: impl FnMut(&mut Live) -> Result<T>,
    ) -> Result<T> {
        for attempt in 1.. {
            state.finish_writing()?;
            let Some(live) = self.live(state)? else { break };
            let error = match work(live).map_err(|error| live.explain(error)) {
                Err(error) if error.asks_for_opening_anew() => error,
                done => return done,
            };
            if let Error::Changed { what, .. } = &error {
                self.notices.say_changed(&self.options.path, what);
            }
            state.let_go();
            if attempt == ATTEMPTS {
                return Err(error);
            }
        }
        Err(Error::NotReady { path: self.options.path.clone() })
    }

    /// Waits for the right to work on the database, for as long as others have it.
    pub(crate) fn state(&self) -> Turn<'_> {
        Turn::wait(&self.state, &self.published)
    }
}

impl Live {
    fn remove_old_l0(&mut self, uploaded: TxId, oldest_kept: i64) -> Result<usize> {
        let files = self.meta.level0.list()?;
        let old = |file: &&LocalFile| file.max_txid <= uploaded && file.created_at.millis() < oldest_kept;
        let old: Vec<_> =
            files.iter().filter(|file| file.max_txid < self.position.txid).take_while(old).collect();
        if old
            .last()
            .is_some_and(|file| self.sums.as_ref().is_some_and(|sums| sums.durable() < file.max_txid))
        {
            // The side file must be able to do without what is deleted.
            self.flush_sums()?;
        }
        old.iter().try_for_each(|file| self.meta.remove_l0(file))?;
        Ok(old.len())
    }

    /// Lets the database go as SQLite's last connection would, if we are the last one.
    fn close(mut self) -> Result<()> {
        let is_unchanged = self.verify_files().is_ok();
        self.flush_sums()?;
        let tidy = is_unchanged && self.frames_are_trusted() && !self.doubt_forbids_moving();
        if tidy { self.turns.tidy_on_close(&self.observed.stamp) } else { Ok(()) }
    }
}
