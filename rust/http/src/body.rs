//! The bytes of an answer.

use std::fmt;
use std::io::{self, Read};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forks::fork_generation;
use ureq::BodyReader;

use crate::Counter;
use crate::answer::Expected;
use crate::error::Error;

/// The slowest server that is waited for, in bytes per second, once it had the time that it may be silent for, twice. A byte now
/// and then is no progress.
const SLOWEST: u64 = 1024;

/// The bytes of an answer. An error of reading is an [`enum@Error`], which [`Error::from_io`] takes out.
pub struct Body {
    reading: Option<Reading>,
    total: Option<u64>,
}

struct Reading {
    reader: BodyReader<'static>,
    host: String,
    /// Bytes that may still come.
    left: u64,
    /// Whether all of them have to.
    is_exact: bool,
    /// Whether the body ends after them, if it is as long as it says.
    is_end: bool,
    got: u64,
    begun: Instant,
    stall: Duration,
    counter: Arc<Counter>,
    /// The process that it belongs to.
    forks: u64,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.reading.as_ref().map_or(0, |reading| reading.left);
        f.debug_struct("Body").field("left", &left).finish_non_exhaustive()
    }
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { reading: None, total: None }
    }

    /// Notes how large the object is.
    pub(crate) fn of(self, total: Option<u64>) -> Self {
        let mut body = self;
        body.total = total;
        body
    }

    /// How many bytes the whole object has, if the server has said.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    pub(crate) fn new(
        body: ureq::Body,
        host: String,
        expected: Expected,
        stall: Duration,
        counter: Arc<Counter>,
    ) -> Self {
        let (left, is_exact, is_end) = match expected {
            Expected::Nothing => return Self::empty(),
            Expected::Bytes(bytes) => (bytes, true, true),
            Expected::First(bytes) => (bytes, true, false),
            Expected::UpTo(bytes) => (bytes, false, false),
        };
        let (begun, forks) = (Instant::now(), fork_generation());
        let reading = Reading {
            reader: body.into_reader(),
            host,
            left,
            is_exact,
            is_end,
            got: 0,
            begun,
            stall,
            counter,
            forks,
        };
        Self { reading: Some(reading), total: None }
    }
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(reading) = &mut self.reading else { return Ok(0) };
        if buf.is_empty() {
            return Ok(0);
        }
        let read = reading.read(buf);
        match &read {
            Ok(n) if *n > 0 && reading.left > 0 => {}
            Ok(_) => {
                if let Some(reading) = self.reading.take() {
                    reading.finish();
                }
            }
            // It stays, so that the next call fails as well: this is not the end.
            Err(_) => {}
        }
        read.map_err(io::Error::from)
    }
}

impl Reading {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        if self.forks != fork_generation() {
            return Err(Error::Forked { host: self.host.clone() });
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let n = self.reader.read(&mut buf[..most]).map_err(|error| self.failed(error))?;
        self.left -= n as u64;
        self.got += n as u64;
        self.counter.add_bytes(n as u64);
        if n == 0 && self.is_exact {
            return Err(Error::CutOff { host: self.host.clone(), missing: self.left });
        }
        if self.left > 0 && self.begun.elapsed() > self.patience() {
            return Err(Error::TimedOut { host: self.host.clone(), what: "receiving, far too slowly" });
        }
        Ok(n)
    }

    fn failed(&self, error: io::Error) -> Error {
        match Error::from_ureq(&self.host, ureq::Error::from(error)) {
            error if error.is_disconnect() && self.is_exact => {
                Error::CutOff { host: self.host.clone(), missing: self.left }
            }
            error => error,
        }
    }

    /// How long it may have taken to get this far.
    fn patience(&self) -> Duration {
        self.stall.saturating_mul(2).saturating_add(Duration::from_secs(self.got / SLOWEST))
    }

    /// The connection can be used again once the end of the body has been seen, which is looked for where it must be.
    fn finish(mut self) {
        if self.is_end {
            let _ = self.reader.read(&mut [0]);
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        if reading.forks != fork_generation() {
            // It is the parent's, with locks that may be held there.
            mem::forget(reading);
        }
    }
}
