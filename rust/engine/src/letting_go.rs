//! What is done with a WAL when its database is let go because something changed underneath.

use wal::Salt;

use crate::error::Result;
use crate::files::Name;
use crate::live::Live;

/// What is known of the frames beside a database that was let go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Frames {
    /// Nothing against them.
    #[default]
    Sound,
    /// Those of this generation may belong to another database file.
    Unproved(Salt),
    /// Somebody has written the WAL, and may still be at it.
    Foreign,
}

impl Live {
    /// Before everything is let go because something changed underneath. Nothing is written into the database file unless it is
    /// proved to be the one that the frames belong to.
    pub(crate) fn let_go(&mut self) -> Frames {
        let is_foreign = self.wal_is_foreign().unwrap_or(true);
        let is_ours = self.has_own_content().unwrap_or(false) && !self.doubt_forbids_moving();
        let is_gone = self.files.names().is_ok_and(|names| names.db == Name::Gone);
        if self.position.lost.is_none() && (is_ours || is_gone) {
            // What was committed can still be read from the WAL that is open here, if nobody has written it. Beside another database
            // file its frames may be those of that one already.
            let read = if is_foreign { Ok(0) } else { self.catch_up() };
            let saved = read.and_then(|_| self.emit_read());
            self.tell_of_failure("its last commits could not be saved", saved);
        }
        let left = if is_ours { self.save_replaced_wal() } else { self.empty_stale_wal() };
        self.tell_of_failure("its wal could not be left as it should be", left);
        let unproved = if is_ours { self.distrusted } else { self.unproved_frames() };
        if is_foreign { Frames::Foreign } else { unproved.map_or(Frames::Sound, Frames::Unproved) }
    }

    /// What fails while everything is let go is not tried again, and keeps nobody from going on.
    fn tell_of_failure<T>(&self, what: &str, done: Result<T>) {
        if let Err(error) = done {
            self.notices.say(format!("{}: {what}: {error}", self.path().display()));
        }
    }

    /// Whether the WAL was written by somebody else, be it with the same content.
    fn wal_is_foreign(&self) -> Result<bool> {
        Ok(self.files.wal_was_written(self.page_size)? || self.look_at_wal()?.is_copy)
    }

    /// Whether the name still means the file that is open here, with nothing in it that SQLite has not written.
    fn has_own_content(&self) -> Result<bool> {
        let checkpoints = self.files.checkpoints()?;
        if self.files.names()?.db != Name::Same {
            return Ok(false);
        }
        Ok(self.files.stamp()? == self.observed.stamp || self.is_by_checkpoint(checkpoints)? == Some(true))
    }

    /// The WAL that we have open has lost its name. If the wal-index has not, who opens the database now is told of frames that only
    /// we can read: once they are in the database file nobody needs them. If it has as well, they are moved by whoever closes last,
    /// which SQLite does only while nobody else has the database open.
    fn save_replaced_wal(&mut self) -> Result<()> {
        let names = self.files.names()?;
        let index = self.files.wal_index()?;
        let has_read_all = self.position.cursor.zip(index).is_some_and(|(cursor, index)| {
            cursor.header.salt == index.salt && cursor.frames() == u64::from(index.mx_frame)
        });
        let is_proved = self.position.lost.is_none() && self.frames_are_trusted();
        if !has_read_all || !is_proved {
            return Ok(());
        }
        match (names.wal, names.shm) {
            (Name::Gone | Name::Other, Name::Same) => {
                self.turns.rollback()?;
                self.turns.move_frames(&self.observed.stamp)
            }
            (Name::Gone, Name::Gone) if !self.files.has_commits_beyond_index(self.page_size)? => {
                self.turns.tidy_on_close(&self.observed.stamp)
            }
            _ => Ok(()),
        }
    }

    /// Frames that are in the database file already would be applied once more, to whatever has its name by then, when the
    /// next connection rebuilds the wal-index. Emptying such a WAL writes to nothing else.
    fn empty_stale_wal(&mut self) -> Result<()> {
        let names = self.files.names()?;
        if names.wal != Name::Same || names.shm != Name::Same || self.files.is_elsewhere() {
            return Ok(());
        }
        self.turns.rollback()?;
        // A frame that has come since may be of the database that has the name now, and must not be moved into ours.
        let is_as_before =
            self.files.checkpoints()?.is_some_and(|now| Some(now) == self.observed.checkpoints);
        let Some(index) = self.files.wal_index()? else { return Ok(()) };
        let is_drained = index.mx_frame > 0 && index.backfilled >= index.mx_frame;
        // An operator may have put another WAL there under the same inode, or the same one together with an older database file.
        let is_ours = !self.look_at_wal()?.is_copy && self.files.is_end_of_wal(&index, self.page_size)?;
        if is_as_before && is_drained && is_ours && !self.is_opened_anew() {
            self.turns.empty_wal(&self.observed.stamp)?;
        }
        Ok(())
    }

    /// Whether somebody uses the database that has taken the place of ours. Then the WAL may be theirs already.
    fn is_opened_anew(&self) -> bool {
        self.files.names().is_ok_and(|names| names.db != Name::Same) && self.files.is_successor_in_use()
    }
}
