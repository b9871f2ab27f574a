//! One live SQLite database: its WAL is followed and turned into LTX files.
//!
//! [`Database`] is what its owner sees. Inside, [`turns`] holds the WAL so that nothing disappears unread, [`live`] reads what
//! is committed, [`emit`] writes it as an L0 file, [`repair`] compares all pages where continuity cannot be proved, [`resume`]
//! decides which of the two it is when a database is opened, and [`seal`] lets the WAL begin anew in time, as [`pace`] says.
//! [`attach`] keeps a database open before all that. Of all this one thread does one thing at a time, in turns ([`state`]); what
//! others ask meanwhile is answered from what was [`published`].

#![forbid(unsafe_code)]

mod attach;
mod connection;
mod continuity;
mod database;
mod door;
mod emit;
mod error;
mod files;
mod follow;
mod integrity;
mod letting_go;
mod level0;
mod live;
mod meta_dir;
mod notices;
mod observed;
mod options;
mod pace;
mod page_form;
mod page_sums;
mod pending;
mod progress;
mod published;
mod repair;
mod replica_sums;
mod resume;
mod running;
mod scan;
mod seal;
mod snapshot;
mod state;
mod status;
mod turns;
mod watch;

pub use connection::{CheckpointMode, CheckpointResult};
pub use database::Database;
pub use error::{Error, Result};
pub use integrity::{IntegrityCheck, check_integrity, sqlite_version};
pub use level0::LocalFile;
pub use options::Options;
pub use status::{Counters, Scan, Status};
