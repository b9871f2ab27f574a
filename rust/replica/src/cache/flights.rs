//! Blocks that are being read from the storage: of several threads that need one, one reads it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::FileInfo;

/// A block of a file. Files of one name that differ in size or time have different blocks, as they have on the disk.
type BlockKey = (FileInfo, u64);

/// How long one thread waits for another. Whoever has begun to read a file may leave it lying.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is being read now.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<BlockKey, Arc<Flight>>>>);

/// One block.
#[derive(Default)]
pub(crate) struct Flight {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Clone, Default)]
enum State {
    #[default]
    Flying,
    Landed(Arc<Vec<u8>>),
    Lost,
}

/// What became of waiting for a block.
pub(crate) enum Waited {
    Landed(Arc<Vec<u8>>),
    /// Who read it failed, or did not go on.
    Lost,
    TooLong,
}

/// The promise to read one block. Who drops it has not kept it, which is no harm.
pub(crate) struct Claim {
    flights: Flights,
    key: BlockKey,
    flight: Arc<Flight>,
}

/// Who reads a block.
pub(crate) enum Claimed {
    /// The caller: this one and those that follow.
    Mine(Vec<Claim>),
    /// Another thread.
    Others(Arc<Flight>),
    /// Nobody has to: it was read meanwhile.
    There,
}

impl Flights {
    /// Claims the block `first` and those after it, up to `most` of them and before `end`, as far as nobody reads them and
    /// `is_missing` says that they have to be read.
    pub(crate) fn claim(
        &self,
        file: FileInfo,
        first: u64,
        end: u64,
        most: usize,
        is_missing: impl Fn(u64) -> bool,
    ) -> Claimed {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&(file, first)) {
            return Claimed::Others(Arc::clone(flight));
        }
        let mut claims = Vec::new();
        for number in (first..end).take(most) {
            let key = (file, number);
            if flights.contains_key(&key) || !is_missing(number) {
                break;
            }
            let flight = Arc::new(Flight::default());
            flights.insert(key, Arc::clone(&flight));
            claims.push(Claim { flights: self.clone(), key, flight });
        }
        drop(flights);
        if claims.is_empty() { Claimed::There } else { Claimed::Mine(claims) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BlockKey, Arc<Flight>>> {
        // Whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Waits until the block has been read.
    pub(crate) fn wait(&self) -> Waited {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ended.wait_timeout_while(state, PATIENCE, |state| matches!(state, State::Flying));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Landed(block) => Waited::Landed(Arc::clone(block)),
            State::Lost => Waited::Lost,
            State::Flying => Waited::TooLong,
        }
    }

    fn end(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.ended.notify_all();
    }
}

impl Claim {
    /// Which block it is.
    pub(crate) fn number(&self) -> u64 {
        self.key.1
    }

    /// Hands the block to all that wait for it. It must be in the cache by now, if it can be.
    pub(crate) fn land(self, block: Arc<Vec<u8>>) {
        self.flight.end(State::Landed(block));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
        let is_flying =
            matches!(*self.flight.state.lock().unwrap_or_else(PoisonError::into_inner), State::Flying);
        if is_flying {
            self.flight.end(State::Lost);
        }
    }
}
