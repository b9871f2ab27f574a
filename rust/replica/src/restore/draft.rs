//! A database that is being made: its file, and what is kept of it should the restore end before it is whole.
//!
//! A restore that reads from afar, and much, makes it where the next one finds it, with a journal. That one goes on if the
//! replica is the same and files that were read are still in the plan. One that fails for what it was given, instead of what
//! happened to it, keeps nothing; and if it had gone on with what another one left, everything is read once afresh.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use durable::{create_new, open_left, parent, sibling, sync_dir};
use ltx::{Checksum, FileHasher, Header, PageSize};

use crate::client::FileInfo;
use crate::error::{Error, Result};
use crate::restore::journal::{Beginning, Head, Journal, RECORD, Saved};
use crate::restore::marks::{FileState, Mapping};
use crate::restore::options::Resume;
use crate::restore::output::{Content, MODE, Output};
use crate::restore::winners::Winners;
use crate::restore::workplace::{Workplace, remove_dead, remove_partial};

/// What a draft is made for.
pub(crate) struct Order<'a> {
    /// The path that the database will have.
    pub(crate) output: &'a Path,
    pub(crate) files: &'a [FileInfo],
    pub(crate) newest: &'a Header,
    /// The database that will be replaced.
    pub(crate) replaced: Option<Metadata>,
    /// How the draft may be left for the next restore, if it may.
    pub(crate) resume: Option<Resume<'a>>,
    /// What such a draft may begin with that another restore has left.
    pub(crate) may_resume: bool,
}

/// A database on its way. Dropped, it is removed, unless it is left for the next restore.
pub(crate) struct Draft {
    // In this order: the names are free when nothing is there any more.
    output: Output,
    journal: Option<Journal>,
    /// One for each file.
    marks: Vec<FileState>,
    /// Bytes that an earlier restore has read.
    resumed: u64,
    /// New space reads as zeros.
    is_fresh: bool,
    /// Somebody has found the database unsound.
    is_unsound: AtomicBool,
    /// Whose rights it will have.
    rights: Option<Metadata>,
    workplace: Workplace,
}

impl Draft {
    /// A draft of its own, that nobody goes on with.
    pub(crate) fn plain(
        output: &Path,
        content: Content,
        page_size: PageSize,
        replaced: Option<&Metadata>,
        files: usize,
    ) -> Result<Self> {
        let workplace = Workplace::unique(output);
        let file = Output::create(workplace.database(), output, content, page_size, replaced)?;
        replaced.map_or(Ok(()), |old| file.give_rights_of(old))?;
        Ok(Self::new(file, workplace, files))
    }

    fn new(output: Output, workplace: Workplace, files: usize) -> Self {
        Self {
            output,
            journal: None,
            marks: vec![FileState::Nothing; files],
            resumed: 0,
            is_fresh: true,
            is_unsound: AtomicBool::new(false),
            rights: None,
            workplace,
        }
    }

    /// A draft for pages, which goes on with what is there. `header` is the CRC of the newest header.
    pub(crate) fn open(order: &Order<'_>, header: u64) -> Result<Self> {
        let Order { output, newest, ref replaced, .. } = *order;
        remove_dead(output);
        let shared = order.resume.and_then(|resume| Some((resume.replica, Workplace::shared(output)?)));
        let Some((replica, workplace)) = shared else {
            let files = order.files.len();
            return Self::plain(output, Content::Pages, newest.page_size, replaced.as_ref(), files);
        };
        let replica = digest(replica);
        match order.may_resume.then(|| Left::find(&workplace, order, replica, header)).flatten() {
            Some(left) => left.go_on(workplace, order),
            None => Self::fresh(workplace, order, replica),
        }
    }

    /// A draft with nothing in it that the next restore can go on with.
    fn fresh(workplace: Workplace, order: &Order<'_>, replica: u64) -> Result<Self> {
        let Order { output, files, newest, ref replaced, .. } = *order;
        workplace.clear();
        // An old journal must not come back after a power failure, beside the new database.
        sync_dir(parent(output)).map_err(|source| Error::output("sync", parent(output), source))?;
        let database = workplace.database();
        let file = Output::create(database, output, Content::Pages, newest.page_size, replaced.as_ref())?;
        let mut draft = Self::new(file, workplace, files.len());
        draft.rights.clone_from(replaced);
        let head = draft.head(newest, replica)?;
        let beginning = Beginning { head, files, marks: &[], bytes: 0, before: None };
        // Without a journal it is a draft like any other.
        draft.journal = draft.begin(&beginning).ok();
        Ok(draft)
    }

    fn head(&self, newest: &Header, replica: u64) -> Result<Head> {
        let inode = self.output.inode()?;
        Ok(Head { page_size: newest.page_size, commit: newest.commit, replica, inode })
    }

    fn begin(&self, beginning: &Beginning<'_>) -> io::Result<Journal> {
        Journal::begin(&self.workplace.state(), &self.workplace.new_state(), beginning)
    }

    /// The database file.
    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// Where to write down what is done.
    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// What of each file is done already.
    pub(crate) fn marks(&self) -> &[FileState] {
        &self.marks
    }

    /// Bytes that an earlier restore has read.
    pub(crate) fn resumed(&self) -> u64 {
        self.resumed
    }

    /// The holders of pages.
    pub(crate) fn winners(&self, newest: &Header, is_sparse: bool) -> io::Result<Winners> {
        let (commit, page_size) = (newest.commit, newest.page_size);
        match &self.journal {
            Some(journal) => {
                let file = journal.file().try_clone()?;
                Winners::saved(commit, page_size, is_sparse && self.is_fresh, file, RECORD)
            }
            None => {
                Winners::new(commit, page_size, is_sparse && self.is_fresh, || self.output.create_scratch())
            }
        }
    }

    /// Makes what is done so far durable, and writes it down.
    pub(crate) fn checkpoint(&self, winners: &Winners) -> io::Result<()> {
        self.journal.as_ref().map_or(Ok(()), |journal| {
            journal.checkpoint(|| self.output.sync_data(), |file| winners.save(file, RECORD))
        })
    }

    /// The same when nobody writes any more.
    pub(crate) fn close(&self, winners: &Winners) -> io::Result<()> {
        self.journal.as_ref().map_or(Ok(()), |journal| {
            journal.close(|| self.output.sync_data(), |file| winners.save(file, RECORD))
        })
    }

    /// To be called before page 1, which has this checksum, is edited.
    pub(crate) fn before_edit(&self, page_1: Checksum, winners: &Winners) -> Result<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let recorded = journal.edit(page_1, || self.output.sync_data(), |file| winners.save(file, RECORD));
        if !recorded.map_err(|source| self.output.error(source))? {
            journal.remove();
        }
        Ok(())
    }

    /// Gives the database its rights, if that was put off: one that another user owns could not be gone on with.
    pub(crate) fn give_rights(&self) -> Result<()> {
        let Some(rights) = &self.rights else { return Ok(()) };
        self.output.give_rights_of(rights)?;
        self.output.sync()
    }

    /// The database is not what it should be, although every file was sound.
    pub(crate) fn doubt(&self) {
        self.is_unsound.store(true, Ordering::Relaxed);
    }

    /// The database has its name, and nothing is to be left.
    pub(crate) fn published(self, output: &Path) {
        if let Some(journal) = &self.journal {
            journal.remove();
        }
        drop(self);
        remove_partial(output);
    }

    /// The restore has failed. What is kept for the next one, in bytes, or that everything should be read once afresh. It is not
    /// the draft's fault if the error `is_of_source`.
    pub(crate) fn failed(mut self, error: &Error, is_of_source: bool) -> Failed {
        let is_about_content = error.is_about_content() && !is_of_source;
        let is_unsound = self.is_unsound.load(Ordering::Relaxed) || is_about_content;
        let kept = self.journal.as_ref().map_or(0, Journal::kept);
        if !is_unsound && kept > 0 {
            self.output.leave();
            return Failed::Keeps(kept);
        }
        if let Some(journal) = &self.journal {
            journal.remove();
        }
        if is_unsound && self.resumed > 0 { Failed::MustBeginAfresh } else { Failed::KeepsNothing }
    }
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The next restore goes on with so many bytes.
    Keeps(u64),
    /// Nothing is left.
    KeepsNothing,
    /// It may be because of what an earlier restore had left, of which nothing is left now.
    MustBeginAfresh,
}

/// What another restore has left that this one can go on with.
struct Left {
    saved: Saved,
    mapping: Mapping,
    output: Output,
    replica: u64,
}

impl Left {
    fn find(workplace: &Workplace, order: &Order<'_>, replica: u64, header: u64) -> Option<Self> {
        let page_size = order.newest.page_size;
        let saved = Saved::load(&workplace.state()).ok().flatten()?;
        let file = open_left(workplace.database()).ok().flatten()?;
        let output = Output::adopt(file, workplace.database(), order.output, Content::Pages, page_size);
        let left = Self { mapping: Mapping::new(&saved.done, order.files)?, saved, output, replica };
        left.holds(order, header).then_some(left)
    }

    fn holds(&self, order: &Order<'_>, header: u64) -> bool {
        let head = &self.saved.head;
        // The header of the newest file says what the database is like, and nothing else of that file may be read again.
        let is_sound = match self.mapping.marks.last() {
            Some(FileState::Whole(whole)) => whole.header == header,
            _ => true,
        };
        let is_same = head.replica == self.replica && head.page_size == order.newest.page_size;
        is_sound && is_same && self.output.inode().is_ok_and(|inode| inode == head.inode) && self.undo_edit()
    }

    /// Page 1 as it is in the replica again, if it was edited: on the disk, as the new journal knows of no edit. Until that
    /// is begun the old one counts, which is right with either page.
    fn undo_edit(&self) -> bool {
        let Some(page_1) = self.saved.page_1 else { return true };
        let is_so = || self.output.page_1_checksum().is_ok_and(|sum| sum == page_1);
        // It may be so in memory alone, if another restore was killed at this point.
        (is_so() || (self.output.use_wal().is_ok() && is_so())) && self.output.sync_data().is_ok()
    }

    fn go_on(self, workplace: Workplace, order: &Order<'_>) -> Result<Draft> {
        let Self { saved, mapping, output, replica } = self;
        let mut draft = Draft::new(output, workplace, 0);
        let head = draft.head(order.newest, replica)?;
        let beginning = Beginning {
            head,
            files: order.files,
            marks: &mapping.marks,
            bytes: mapping.bytes,
            before: Some((&saved, &mapping)),
        };
        let begun = draft.begin(&beginning).and_then(|journal| {
            draft.take_rights(order.replaced.is_some())?;
            Ok(journal)
        });
        match begun {
            Ok(journal) => draft.journal = Some(journal),
            Err(source) if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                // Everything stays as it was, for when there is room again.
                order.resume.inspect(|resume| resume.kept.store(mapping.bytes, Ordering::Relaxed));
                draft.output.leave();
                return Err(Error::output("write", &draft.workplace.new_state(), source));
            }
            Err(_) => {
                draft.output.leave();
                return Draft::fresh(draft.workplace, order, replica);
            }
        }
        draft.rights.clone_from(&order.replaced);
        draft.is_fresh = false;
        draft.resumed = mapping.bytes;
        draft.marks = mapping.marks;
        Ok(draft)
    }
}

impl Draft {
    /// The rights of a new database, or of one that will get those of another one.
    fn take_rights(&self, is_replacing: bool) -> io::Result<()> {
        let mode = if is_replacing {
            0o600
        } else {
            // Only a new file tells what the umask leaves of them.
            let probe = sibling(self.workplace.database(), ".map-0-0");
            let mode = create_new(&probe, MODE)?.metadata()?.permissions().mode();
            fs::remove_file(probe)?;
            mode
        };
        self.output.set_mode(mode & 0o777)
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = FileHasher::new();
    hasher.update(text.as_bytes());
    hasher.finish()
}
