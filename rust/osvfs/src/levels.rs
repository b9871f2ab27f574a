//! What connections of this process hold through one descriptor.

use vfs::LockLevel;

/// What connections hold together.
#[derive(Debug)]
pub(crate) struct Levels {
    /// The highest level of any of them.
    pub(crate) highest: LockLevel,
    /// How many of them hold SHARED or more.
    pub(crate) holders: usize,
}

impl Levels {
    /// Who of them has SHARED.
    pub(crate) fn locked_by(&self) -> Option<LockedBy> {
        match self.highest {
            LockLevel::None => None,
            LockLevel::Exclusive => Some(LockedBy::Writer),
            _ => Some(LockedBy::Readers),
        }
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self { highest: LockLevel::None, holders: 0 }
    }
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockedBy {
    /// One or more that share it.
    Readers,
    /// One that has it alone.
    Writer,
}
