//! Files that appear under their names whole, and are still there after a power failure.
//!
//! A file is written under a name that nobody looks at ([`Staged`]), synced, renamed to its own name, and then the directory is
//! synced. What a crash leaves depends on when it comes:
//!
//! | Crash | A process that dies | A machine that loses power |
//! |---|---|---|
//! | before [`Staged::commit`] renames | the old file; the staged one stays until it is cleaned up | the same, or no staged file |
//! | between the rename and the sync of the directory | the new file | the old file or the new one, whole |
//! | after [`Staged::commit`] has returned | the new file | the new file |
//!
//! Readers never see part of a file, since the content is durable before the name is. Where a rename cannot refuse to replace,
//! a hard link does: a process that dies in the middle of that leaves the file under both names.
//!
//! * [`Staged`] is a file on its way; [`remove_stale`] removes what dead processes left, and [`open_left`] goes on with it.
//! * [`create_dirs`] makes directories whose names are durable; [`sync_dir`] and [`sync_parent`] do so for other changes of names.
//! * [`rename_new`] and [`rename_no_replace`] rename without replacing, for those who have several names to change.
//! * [`Rights`], [`give_rights_of`]: who may use what is made. [`allocate`]: room for it.
//!
//! The crate opens no file that SQLite has locks on.

#![forbid(unsafe_code)]

mod dirs;
mod names;
mod rights;
mod space;
mod staged;
mod time;

pub use dirs::{check_private, create_dirs, sync_dir, sync_parent};
pub use names::{
    create_nameless, create_new, open_left, open_plain, parent, rename_new, rename_no_replace, sibling,
};
pub use rights::{Rights, give_rights_of};
pub use space::allocate;
pub use staged::{Commit, NotCommitted, Staged, create_or_empty, remove_stale};
pub use time::{modified_millis, set_time};
