//! Whether the files are still those that were opened, and whether only SQLite has written to the database file.
//!
//! A name can come to mean another file (`mv`), and a file can be written by something else under its name (`cp` keeps the
//! inode). While a read transaction of ours is held, SQLite changes the database file by checkpoints alone, and a checkpoint shows
//! in the wal-index: it notes there how far it means to go before it writes the first page, and how far it came after the last
//! one (SQLite, "WAL-mode File Format", section 2.2, `nBackfill` and `nBackfillAttempted`). So a change of the file's times or
//! size without a trace of a checkpoint was made by something else, and what is known of its pages is void. While our transaction
//! is on read-lock slot 0 no checkpoint can write at all, and no trace excuses a change.
//!
//! A checkpoint of the application may hide what was written right after it: an application that is stopped moves its WAL, and a
//! backup comes over the file a moment later. So after such a change the pages are compared as well, at once in a small database,
//! else when that takes a small part of the time, or enough was written to be worth it. Until then no frame is moved into the file.

use std::time::{Duration, Instant};

use osvfs::Stamp;
use wal::Salt;

use crate::connection::Checkpointed;
use crate::error::{Error, Result};
use crate::files::{Name, Names};
use crate::live::Live;
use crate::observed::{Checkpoints, Doubt, Observed, Wal, has_moved_as_far};
use crate::scan::Wanted;

/// How often a wal-index that is being written is read again, and after which pause.
const INDEX_TRIES: u32 = 20;
const INDEX_WAIT: Duration = Duration::from_micros(50);
/// A database of so many pages is compared at once,
const FEW_PAGES: u64 = 4096;
/// one of so many if that takes no more than one part of the time in
const MANY_PAGES: u64 = 65536;
const SHARE: u32 = 100;
/// and a larger one when so many pages have to be read for each frame that was read since the last time.
const PAGES_PER_FRAME: u64 = 8;

const WRITTEN: &str = "the database file was written by something other than SQLite";
const UNCLEAR: &str =
    "the database file was written by an unfinished checkpoint, or by something other than SQLite";

impl Live {
    /// Compares the database with the newest L0 file, if its file may hold what no checkpoint has written. To be called when
    /// nothing that was read is waiting, in a transaction that began no later than that.
    ///
    /// # Errors
    /// [`Error::Changed`] when a page differs.
    pub(crate) fn settle_doubt(&mut self) -> Result<()> {
        let (pages, now) = (u64::from(self.position.commit.get()), Instant::now());
        let may_rest = self.doubt.not_before.is_some_and(|at| now < at);
        let affordable = if may_rest { FEW_PAGES } else { MANY_PAGES };
        let is_worth_it = pages <= affordable.max(self.doubt.frames.saturating_mul(PAGES_PER_FRAME));
        if !self.doubt.is_open || !is_worth_it || self.position.lost.is_some() || !self.pending.is_empty() {
            return Ok(());
        }
        let Some(sums) = &self.sums else { return Ok(()) };
        let mut differs = self.files.has_other_page_size(self.page_size);
        self.scan(&self.view_at_position()?, Wanted::Differing(sums), |batch| {
            differs |= batch.pages().next().is_some();
            Ok(())
        })?;
        self.doubt = Doubt { not_before: Some(now + now.elapsed() * SHARE), ..Doubt::default() };
        if differs { Err(self.written_by_others()) } else { Ok(()) }
    }

    /// The same for who asks once: what it costs is no reason to put it off.
    ///
    /// # Errors
    /// As [`Live::settle_doubt`].
    pub(crate) fn settle_doubt_at_once(&mut self) -> Result<()> {
        self.doubt.not_before = None;
        self.settle_doubt()
    }

    /// A file that another one was copied over may make no sense before its pages are compared: that settles the doubt as well.
    pub(crate) fn explain(&mut self, error: Error) -> Error {
        if self.doubt.is_open && error.is_corrupt() { self.written_by_others() } else { error }
    }

    fn written_by_others(&mut self) -> Error {
        // What was seen last is not the file that was followed.
        self.observed.stamp = Stamp::default();
        Error::Changed { path: self.path().to_owned(), what: WRITTEN }
    }

    /// Right after a checkpoint of ours: what it has written is no matter of doubt, what was written besides is. Where somebody was
    /// in the way, the next look finds who.
    pub(crate) fn observe_own_checkpoint(&mut self, done: &Checkpointed) -> Result<()> {
        let before = self.observed;
        if done.is_refused() {
            // How far it meant to go excuses nothing. What others have moved since the last look does.
            let now = self.checkpoints_now()?;
            let marked = before.checkpoints.zip(now);
            self.observed.checkpoints =
                marked.map_or(now, |(before, now)| Some(Checkpoints { attempted: now.attempted, ..before }));
        }
        if done.result.busy {
            return Ok(());
        }
        let now = self.observe()?;
        let is_ours = done.left(&now.stamp);
        // Another checkpoint may have moved everything before ours began.
        let moved_nothing = done.left(&before.stamp);
        let expected = before.checkpoints.map(|before| Checkpoints {
            backfilled: if moved_nothing { before.backfilled } else { done.result.checkpointed },
            ..before
        });
        // In this order: one that ends in between is seen by the last.
        let by_another = || {
            let runs = !has_moved_as_far(now.checkpoints, expected) || self.files.checkpoint_runs()?;
            Ok::<_, Error>(runs || !has_moved_as_far(self.checkpoints_now()?, expected))
        };
        if is_ours {
            self.observed = now;
        } else if by_another()? {
            self.observed = now;
            self.doubt = Doubt { is_open: true, end: self.look_at_wal()?.end, ..self.doubt };
        } else {
            // No trace excuses that, so the next look says so.
            self.observed = Observed { stamp: Stamp::default(), ..now };
        }
        Ok(())
    }

    /// The state to compare later ones with.
    pub(crate) fn observe(&self) -> Result<Observed> {
        // In this order: a checkpoint that comes in between will be seen as one.
        let checkpoints = self.checkpoints_now()?;
        Ok(Observed { stamp: self.files.stamp()?, checkpoints, quiet_turn: None, ..self.observed })
    }

    /// Whether everything is still what it was: the names, and the content of the database file but for checkpoints.
    ///
    /// # Errors
    /// [`Error::Changed`] says what is not.
    pub(crate) fn verify_files(&mut self) -> Result<()> {
        let changed = |what| Error::Changed { path: self.path().to_owned(), what };
        let checkpoints = self.files.checkpoints()?;
        let names = self.files.names()?;
        match (names.db, names.wal, names.shm) {
            (Name::Gone, ..) => return Err(changed("the database file is gone")),
            (Name::Other, ..) => return Err(changed("the database file was replaced")),
            (_, Name::Other, _) => return Err(changed("the wal was replaced")),
            (_, _, Name::Other) => return Err(changed("the wal-index was replaced")),
            _ => {}
        }
        if self.files.has_commits_beyond_index(self.page_size)? {
            // One of the two was removed, and another one made.
            return Err(changed("commits were made with another wal-index"));
        }
        if (names.wal, names.shm) == (Name::Gone, Name::Gone) {
            // Who opens the database now makes new ones, and would not know of a checkpoint of ours, nor we of theirs.
            return Err(changed("the wal and the wal-index were removed"));
        }
        let wal = self.look_at_wal()?;
        if self.files.wal_was_written(self.page_size)? || wal.is_copy && self.files.is_wal_left_behind()? {
            return Err(changed("the wal was written by something other than SQLite"));
        }
        let stamp = self.files.stamp()?;
        if stamp != self.observed.stamp && self.is_by_checkpoint(checkpoints)? == Some(false) {
            // Whoever tries again to move as many frames leaves no further trace. That is proof of nothing.
            let may_be_sqlite = self.checkpoints_now()?.is_some_and(|now| now.attempted > now.backfilled);
            return Err(changed(if may_be_sqlite { UNCLEAR } else { WRITTEN }));
        }
        if (wal.stamp.size == 0 || names.wal == Name::Gone) && !self.files.says_wal_mode() {
            // File systems tell times apart by some milliseconds only: it was written right after it was switched to WAL mode. Or
            // there was a WAL that has no name any more: who opens the database now has none, and would wait for our locks.
            return Err(changed(WRITTEN));
        }
        if stamp != self.observed.stamp {
            self.doubt = Doubt { is_open: true, end: wal.end, ..self.doubt };
        }
        self.tell_of_removed(names);
        self.observed = Observed {
            stamp,
            checkpoints: checkpoints.or(self.observed.checkpoints),
            quiet_turn: self.quiet_turn(),
            wal_is_gone: names.wal == Name::Gone,
            shm_is_gone: names.shm == Name::Gone,
            wal,
        };
        if self.observed.wal_is_gone && (self.doubt_forbids_moving() || !self.frames_are_trusted()) {
            // Nobody has used its frames beside this file, and they may hide what was copied over it: only what has names counts.
            let what = "the wal was removed after the database file was written";
            return Err(Error::Changed { path: self.path().to_owned(), what });
        }
        Ok(())
    }

    pub(crate) fn look_at_wal(&self) -> Result<Wal> {
        let (before, stamp) = (self.observed.wal, self.files.wal_stamp()?);
        let Some(index) = self.files.wal_index()? else { return Ok(before) };
        if stamp != self.files.wal_stamp()? {
            return Ok(before); // whether what was just written is in the index nobody can tell
        }
        let end = Some((index.salt, index.mx_frame));
        // What a transaction has written and not committed lies beyond the end.
        let is_copy = end == before.end
            && (before.is_copy
                || stamp != before.stamp && self.files.is_end_of_wal(&index, self.page_size)?);
        Ok(Wal { stamp, end, is_copy })
    }

    /// A WAL or wal-index without a name is used on, by the application as by us: to open another beside it would tear the
    /// database. Once they have new files, the next look finds that.
    fn tell_of_removed(&self, names: Names) {
        let Observed { wal_is_gone, shm_is_gone, .. } = self.observed;
        for (name, was_gone, what) in [(names.wal, wal_is_gone, "-wal"), (names.shm, shm_is_gone, "-shm")] {
            if name == Name::Gone && !was_gone {
                let path = self.path().display();
                self.notices.say(format!(
                    "{path}{what} was deleted while in use; replication goes on with the open file until the application closes it"
                ));
            }
        }
    }

    /// Whether a checkpoint explains that the database file changed since the last look, before which `seen` was read. `None` when
    /// the wal-index is being written for so long that nobody can tell.
    pub(crate) fn is_by_checkpoint(&self, seen: Option<Checkpoints>) -> Result<Option<bool>> {
        if self.observed.quiet_turn.is_some() && self.observed.quiet_turn == self.quiet_turn() {
            return Ok(Some(false));
        }
        let before = self.observed.checkpoints;
        if seen.is_some() && seen != before || self.files.checkpoint_runs()? {
            return Ok(Some(true));
        }
        // It may have ended between the two looks.
        Ok(self.checkpoints_now()?.map(|again| Some(again) != before))
    }

    /// The turn in which no checkpoint can write: its transaction began when the whole WAL was in the database file, so that it
    /// is on slot 0.
    fn quiet_turn(&self) -> Option<u64> {
        self.pace.is_surely_on_slot_0().then(|| self.turns.number())
    }

    fn checkpoints_now(&self) -> Result<Option<Checkpoints>> {
        for _ in 0..INDEX_TRIES {
            if let Some(checkpoints) = self.files.checkpoints()? {
                return Ok(Some(checkpoints));
            }
            std::thread::sleep(INDEX_WAIT);
        }
        Ok(None)
    }

    /// The generation of the WAL, if its frames are not all in the database file. Whether they belong to another one only the
    /// application can decide, by using them.
    pub(crate) fn unproved_frames(&self) -> Option<Salt> {
        let index = self.files.wal_index().ok().flatten()?;
        (index.backfilled < index.mx_frame).then_some(index.salt)
    }

    /// Whether the pages will be compared without a further commit.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt.is_open && u64::from(self.position.commit.get()) <= MANY_PAGES && self.sums.is_some()
    }

    /// Whether nothing may be moved before the pages are compared: somebody else may have written the file, and nobody has used it
    /// since. Where comparing is not cheap that is not waited for.
    pub(crate) fn doubt_forbids_moving(&self) -> bool {
        self.is_in_doubt() && self.doubt.end == self.observed.wal.end
    }

    /// Moves what a WAL without a name holds into the database file, as its last connection would.
    pub(crate) fn save_nameless_wal(&mut self) -> Result<()> {
        let may_move = self.frames_are_trusted() && !self.doubt_forbids_moving();
        if self.observed.wal_is_gone && !self.pace.wal_is_drained() && may_move {
            self.move_frames()?;
        }
        Ok(())
    }

    /// Whether the frames of the WAL belong to the database file that we have open.
    pub(crate) fn frames_are_trusted(&self) -> bool {
        let Some(distrusted) = self.distrusted else { return true };
        self.position.cursor.is_some_and(|cursor| cursor.header.salt != distrusted)
    }
}

#[cfg(test)]
#[path = "continuity_tests.rs"]
mod tests;
