//! What differs between operating systems, one file each, all with the same names in them.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::*;

#[cfg(target_vendor = "apple")]
mod macos;
#[cfg(target_vendor = "apple")]
pub(crate) use macos::*;

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
mod bsd;
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(crate) use bsd::*;

/// The `fcntl` commands for locks of an open file description.
#[derive(Clone, Copy)]
pub(crate) struct OfdCommands {
    pub(crate) get: i32,
    pub(crate) set: i32,
}

/// How strong a sync is, where there is more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    /// To the disk.
    Normal,
    /// In order, on the disk.
    Barrier,
    /// Out of the disk's own cache, too.
    Full,
}
