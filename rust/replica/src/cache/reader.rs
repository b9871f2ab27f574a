//! Reads a part of a file, block by block: from the cache, from another thread that is reading it, or from the storage.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use crate::cache::blocks::{BLOCK, length};
use crate::cache::flights::{Claim, Claimed, Waited};
use crate::cache::shared::Shared;
use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::source::read_full;

/// Blocks that are asked for with one request at most. More would keep others waiting for the last of them.
const MOST_BLOCKS: usize = 8;

/// A part of a file.
pub(super) struct CachedReader<C> {
    shared: Arc<Shared<C>>,
    info: FileInfo,
    /// Where the next byte is, and where the part ends.
    at: u64,
    end: u64,
    block: Block,
    run: Option<Run>,
    failed: Option<Failed>,
}

/// Why a block has fewer bytes than it should.
enum Failed {
    Ended,
    Error(io::Error),
}

/// Bytes of the file, from `start` on.
#[derive(Default)]
struct Block {
    start: u64,
    bytes: Arc<Vec<u8>>,
}

/// Blocks that are being read from the storage.
struct Run {
    source: Box<dyn Read + Send>,
    claims: VecDeque<Claim>,
}

impl<C: ReplicaClient + 'static> CachedReader<C> {
    pub(super) fn new(shared: Arc<Shared<C>>, info: FileInfo, offset: u64, end: u64) -> Self {
        Self { shared, info, at: offset, end, block: Block::default(), run: None, failed: None }
    }

    /// Gets the first block, or begins to.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.find(self.at / BLOCK)
    }

    /// Makes the block `number` the present one, or the next one of the run.
    fn find(&mut self, number: u64) -> Result<()> {
        let mut was_there = false;
        loop {
            if let Some(bytes) = self.shared.cached(&self.info, number) {
                self.block = Block { start: number * BLOCK, bytes: Arc::new(bytes) };
                return Ok(());
            }
            let (file, end) = (self.info, self.end.div_ceil(BLOCK));
            let is_missing = |number| self.shared.is_missing(&self.info, number);
            match self.shared.flights.claim(file, number, end, MOST_BLOCKS, is_missing) {
                Claimed::Mine(claims) => return self.ask(number, claims),
                // It is there, and cannot be read, nor removed.
                Claimed::There if was_there => return self.ask(number, Vec::new()),
                Claimed::There => was_there = true,
                Claimed::Others(flight) => match flight.wait() {
                    Waited::Landed(bytes) => {
                        self.block = Block { start: number * BLOCK, bytes };
                        return Ok(());
                    }
                    Waited::Lost => {}
                    Waited::TooLong => return self.ask(number, Vec::new()),
                },
            }
        }
    }

    /// Asks the storage for blocks: for those that were claimed, or for this one alone.
    fn ask(&mut self, number: u64, claims: Vec<Claim>) -> Result<()> {
        let offset = number * BLOCK;
        let size = (claims.len().max(1) as u64 * BLOCK).min(self.info.size - offset);
        let source = self.shared.client.open_ltx_file(&self.info, offset, Some(size))?;
        self.run = Some(Run { source, claims: claims.into() });
        Ok(())
    }

    /// Reads the next block of a run. What comes before a failure is handed on, too.
    fn receive(&mut self, number: u64, mut run: Run) {
        let claim = run.claims.pop_front().filter(|claim| claim.number() == number);
        let mut bytes = vec![0; length(&self.info, number)];
        let (filled, read) = read_full(&mut *run.source, &mut bytes);
        let is_whole = filled == bytes.len();
        bytes.truncate(filled);
        let bytes = Arc::new(bytes);
        self.block = Block { start: number * BLOCK, bytes: Arc::clone(&bytes) };
        if !is_whole {
            // The claims go with the run, so that others try themselves.
            self.failed = Some(read.err().map_or(Failed::Ended, Failed::Error));
            return;
        }
        self.shared.blocks.put(&self.info, number, &bytes);
        if let Some(claim) = claim {
            claim.land(bytes);
        }
        if !run.claims.is_empty() {
            self.run = Some(run);
        }
    }

    /// Bytes that are at hand.
    fn present(&self) -> Option<&[u8]> {
        let start = usize::try_from(self.at.checked_sub(self.block.start)?).ok()?;
        self.block.bytes.get(start..).filter(|bytes| !bytes.is_empty())
    }
}

impl<C: ReplicaClient + 'static> Read for CachedReader<C> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.end || buf.is_empty() {
            return Ok(0);
        }
        while self.present().is_none() {
            let number = self.at / BLOCK;
            match (self.failed.take(), self.run.take()) {
                // A body that ended too early is the end, as it is without a cache: who reads asks for the rest.
                (Some(Failed::Ended), _) => {
                    self.end = self.at;
                    return Ok(0);
                }
                (Some(Failed::Error(error)), _) => return Err(error),
                (None, Some(run)) => self.receive(number, run),
                (None, None) => self.find(number).map_err(Error::into_io)?,
            }
        }
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buf.len());
        let bytes = self.present().unwrap_or_default();
        let n = bytes.len().min(most);
        buf[..n].copy_from_slice(&bytes[..n]);
        self.at += n as u64;
        Ok(n)
    }
}
