//! Files that are read where they are, without the client that knows where that is.

mod cache;
mod direct;
mod spot;

pub use direct::Direct;
pub use spot::{Locate, Spot};

#[cfg(test)]
mod tests;
