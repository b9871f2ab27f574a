//! Reads ranges of a replica's files, and goes on where a connection broke.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ltx::Header;

use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::head::read_header;
use crate::place::Place;
use crate::source::read_full;

/// The pauses before a broken read is taken up again; as many repetitions as there are pauses.
///
/// Applies to clients that are not local. What has been read is kept: the next attempt asks for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// One pause for each repetition.
    pub delays: &'static [Duration],
}

impl Default for RetryPolicy {
    /// Three repetitions, after 250 ms, 500 ms and 1 s, as Litestream has them.
    fn default() -> Self {
        const DELAYS: [Duration; 3] =
            [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];
        Self { delays: &DELAYS }
    }
}

/// How many reads in a row may bring less than was asked for.
const MOST_SHORT: usize = 32;

/// How long a pause goes on without looking at the cancel flag.
const NAP: Duration = Duration::from_millis(50);

/// Reads exact ranges from a client, with repetition and cancellation.
#[derive(Clone, Copy)]
pub(crate) struct RangeReader<'a> {
    pub(crate) client: &'a dyn ReplicaClient,
    pub(crate) retry: RetryPolicy,
    pub(crate) cancel: &'a AtomicBool,
}

impl RangeReader<'_> {
    /// Fills `buf` from `offset` (bytes) of a file.
    ///
    /// # Errors
    /// [`Error::ShortFile`] if it ends before; [`Error::Cancelled`]; what the client reports once it has reported it
    /// often enough.
    pub(crate) fn read_exact(&self, info: &FileInfo, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut delays = if self.client.is_local() { [].iter() } else { self.retry.delays.iter() };
        let (mut filled, mut short) = (0, 0);
        while filled < buf.len() {
            self.check_cancel()?;
            let at = offset.saturating_add(filled as u64);
            let (n, read) = self.read_once(info, at, &mut buf[filled..]);
            filled += n;
            let error = match read {
                Ok(()) if filled == buf.len() => break,
                // A body that was cut off: the rest is asked for at once, as long as something comes.
                Ok(()) if n > 0 && delays.len() > 0 && short < MOST_SHORT => {
                    short += 1;
                    continue;
                }
                Ok(()) => None,
                Err(error) if error.is_transient() => Some(error),
                Err(error) => return Err(error),
            };
            let Some(delay) = delays.next() else {
                return Err(error.unwrap_or_else(|| self.short(info, offset.saturating_add(filled as u64))));
            };
            self.pause(*delay)?;
        }
        Ok(())
    }

    /// Reads the header of a file, which must hold what its name says.
    ///
    /// # Errors
    /// As [`RangeReader::read_exact`], [`Error::FileTooShort`], [`Error::Format`], [`Error::WrongTransactions`].
    pub(crate) fn header(&self, info: &FileInfo) -> Result<Header> {
        read_header(info, &mut |offset, buf| self.read_exact(info, offset, buf)).map(|(header, _)| header)
    }

    /// Reading has ended at `end`, again and again: where the file ends, as far as a new listing or the read itself tells.
    fn short(&self, info: &FileInfo, end: u64) -> Error {
        let listed = self.client.ltx_files(info.level, info.min_txid, false).unwrap_or_default();
        let found = listed.iter().find(|file| file.key() == info.key()).map(|file| file.size);
        let actual = found.filter(|size| *size < info.size).unwrap_or(end);
        Error::ShortFile { file: info.key(), expected: info.size, actual }
    }

    fn read_once(&self, info: &FileInfo, offset: u64, buf: &mut [u8]) -> (usize, Result<()>) {
        match self.client.open_ltx_file(info, offset, Some(buf.len() as u64)) {
            Ok(mut reader) => {
                let (n, read) = read_full(&mut *reader, buf);
                let place = || Place::file(self.client.client_type(), info.key());
                (n, read.map_err(|source| Error::from_io(place(), source)))
            }
            Err(error) => (0, Err(error)),
        }
    }

    pub(crate) fn check_cancel(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn pause(&self, mut delay: Duration) -> Result<()> {
        while !delay.is_zero() {
            self.check_cancel()?;
            let nap = delay.min(NAP);
            thread::sleep(nap);
            delay = delay.saturating_sub(nap);
        }
        Ok(())
    }
}
