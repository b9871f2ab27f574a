//! How a descriptor is closed so that nobody in this process loses a lock.
//!
//! * Under a lease for writing (`fcntl(2)`, "Leases"): it is granted only while nobody at all, in any process, has the file open
//!   through another descriptor; and whoever opens it meanwhile waits for the few microseconds until it is closed.
//! * Under a write lock of its own open file description on every byte: while that is held nobody has a lock there, in this process
//!   either, and nobody can get one; and it goes only after the kernel has dropped the locks of the process. A reader of
//!   another process that comes at this very moment is told that the database is locked, and for longer if another thread is
//!   just starting a program. So this is for descriptors that must not stay, of files without a name, or when there are too many;
//!   and for those that could stay for ever.
//! * If neither can be had, for those that must not stay, and no other descriptor of this process is open on the file: then the locks that
//!   are in the way are those of other processes.

use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use forks::UnsharedFile;

use super::{FileId, OpenFile, open_above_stderr};
use crate::fcntl::{self, Kind, Owner, Range};

/// How much it matters that descriptors are closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// They do no harm.
    Tidy,
    /// There are too many.
    Urgent,
}

/// What became of descriptors that were to be closed.
pub(super) enum Closing {
    /// They may be dropped, the one in here last.
    Granted(Arc<OpenFile>),
    /// They must stay open for now, maybe with one that was opened to find out.
    Refused(Option<Arc<OpenFile>>),
}

/// Whether `files`, all descriptors of one file that are parked or about to be, can be closed. There is at least one.
pub(super) fn prepare(files: &[Arc<OpenFile>], need: Need) -> Closing {
    let refused = Closing::Refused(None);
    let Some(last) = files.last() else { return refused };
    // A lease or a lock would stay with a child until it first runs, and others would have to wait for that.
    if need == Need::Tidy && forks::is_forking() {
        return refused;
    }
    if files.len() == 1 && !last.file.is_shared() && fcntl::lease(last.file.as_fd()).is_ok() {
        return Closing::Granted(Arc::clone(last));
    }
    let is_urgent = need == Need::Urgent || is_nameless(last);
    if !is_urgent && !are_of_no_more_use(files) {
        return refused;
    }
    match guard(files) {
        Closing::Refused(another) if is_urgent => {
            let all: Vec<_> = files.iter().cloned().chain(another.clone()).collect();
            if is_all_of_this_process(&all) {
                Closing::Granted(Arc::clone(last))
            } else {
                Closing::Refused(another)
            }
        }
        guarded => guarded,
    }
}

/// Whether some could stay for ever: what a child may share is never used again; and several get no lease beside each other, though
/// one is enough for whoever opens the file next.
fn are_of_no_more_use(files: &[Arc<OpenFile>]) -> bool {
    files.len() > 1 || files.iter().any(|file| file.file.is_shared())
}

/// A file without a name keeps its space for as long as it is open.
fn is_nameless(file: &OpenFile) -> bool {
    file.file.file().metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// A write lock on every byte of the file, by one of its descriptors or by another one.
fn guard(files: &[Arc<OpenFile>]) -> Closing {
    let lock = |file: &OpenFile| {
        file.is_writable
            && !file.file.is_shared()
            && fcntl::set(file.file.as_fd(), Owner::Description, Kind::Write, Range::ALL).is_ok()
    };
    if let Some(guard) = files.iter().find(|file| lock(file)) {
        return Closing::Granted(Arc::clone(guard));
    }
    // A lock through a description that a child may share would stay with the child. Another one is opened if there is no other, and
    // is then there for the next time.
    let (shared, own): (Vec<_>, Vec<_>) =
        files.iter().filter(|file| file.is_writable).partition(|file| file.file.is_shared());
    let (Some(shared), []) = (shared.first(), own.as_slice()) else { return Closing::Refused(None) };
    let again = format!("/proc/self/fd/{}", shared.file.as_fd().as_raw_fd());
    let open = || open_above_stderr(OpenOptions::new().read(true).write(true), Path::new(&again));
    let Ok(file) = UnsharedFile::open(open) else { return Closing::Refused(None) };
    let file = Arc::new(OpenFile::new(file, true));
    if lock(&file) { Closing::Granted(file) } else { Closing::Refused(Some(file)) }
}

/// Whether no other descriptor of this process is open on their file, so that nobody here has a lock on it. Somebody who opens the
/// file, and locks it, between this look and the close would lose that lock: it is the last resort.
pub(super) fn is_all_of_this_process(files: &[Arc<OpenFile>]) -> bool {
    let (Some(first), Ok(open)) = (files.first(), fs::read_dir("/proc/self/fd")) else { return false };
    let id = first.id();
    let is_same = |metadata: fs::Metadata| FileId::from_metadata(&metadata) == id;
    open.flatten().filter(|entry| fs::metadata(entry.path()).is_ok_and(is_same)).count() == files.len()
}
