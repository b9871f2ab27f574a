//! Ranges of bytes, read over http and https. All calls block.
//!
//! * [`Settings`] say how to connect: through which proxy, whom to trust, how long to wait.
//! * A [`Source`] is a URL with the headers that its requests need. [`Source::read`] asks for a range, and the [`Body`] is what comes.
//! * A [`Counter`] counts requests and bytes.
//!
//! URLs and headers are secrets, since many are signed: whoever has them can read. Nothing here shows them; an [`enum@Error`] names the host.
//!
//! Connections are shared by all threads of the process that have the same settings, and used again. A forked child makes new ones.
//! Nothing reads the environment but [`prepare`].

#![forbid(unsafe_code)]

mod agents;
mod answer;
mod body;
mod error;
mod resolver;
mod settings;
mod source;

use std::sync::atomic::{AtomicU64, Ordering};

pub use agents::prepare;
pub use body::Body;
pub use error::{Error, Kind, Result};
pub use settings::{Roots, Settings};
pub use source::Source;

/// How many requests were sent, and how many bytes of bodies came back. Repetitions and redirects count.
#[derive(Debug, Default)]
pub struct Counter {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    /// A counter that stands at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { requests: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Requests that were sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of bodies that came.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
