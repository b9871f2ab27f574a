//! A cache of files of remote replicas in a local directory.
//!
//! LTX files never change, so what was read once need not be read again. The unit is a block of a file. Blocks are files of their own,
//! which any number of processes read and write at the same time ([`Blocks`]). Within one [`Cached`], of several threads that need
//! the same block at the same time one reads it ([`flights`]). No lock is held while the storage is read.
//!
//! Nothing fails because of the cache: where it cannot be used, the storage is read, and [`Blocks::trouble`] says why.

mod blocks;
mod cached;
mod flights;
mod reader;
mod room;
mod shared;

pub use blocks::Blocks;
pub use cached::Cached;

#[cfg(test)]
mod tests;
