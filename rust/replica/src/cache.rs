//! A cache of files of remote replicas in a local directory.
//!
//! LTX files never change, so what was read once need not be read again. The unit is a block of a file. Blocks are files of their own,
//! which any number of processes read and write at the same time ([`Blocks`]). Within one [`Cached`], of several threads that need
//! the same block at the same time one reads it ([`flights`]). No lock is held while the storage is read.
//!
//! A directory is used only if it is marked as a cache and nobody else may change it ([`place`]), and in it only files that have names
//! of ours ([`names`]).
//!
//! Nothing fails because of the cache: where it cannot be used, the storage is read, and [`Blocks::trouble`] says why.

mod blocks;
mod cached;
mod flights;
mod names;
mod place;
mod reader;
mod room;
mod shared;

pub use blocks::Blocks;
pub use cached::Cached;

#[cfg(test)]
mod tests;
