//! Makes a database from the objects of a plan.
//!
//! Small segments are read ahead by several threads, since there may be tens of thousands of them, each of which is a request.
//! They are brought in one after the other, as each one's checksum continues that of the one before. Memory does not depend on the
//! size of anything: a large object is expanded while it is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use ltx::PageSize;

use crate::apply::Applier;
use crate::error::{Error, Result};
use crate::frame::FrameReader;
use crate::history::{Plan, Segment};

/// A segment of no more than so many bytes is read at once.
const SMALL: u64 = 1 << 20;
/// So many of them are read ahead for each thread.
const AHEAD: usize = 2;
/// Bytes of a snapshot that are written together.
const BLOCK: usize = 1 << 20;

/// Opens an object by its name.
pub type Open<'a> = dyn Fn(&str) -> io::Result<Box<dyn Read + Send>> + Sync + 'a;

/// How a restore is done.
pub struct Options<'a> {
    /// How many objects are read at once.
    pub parallelism: usize,
    /// Called with the bytes of objects that are done, as they are stored; false calls it off.
    pub progress: &'a mut dyn FnMut(u64) -> bool,
}

/// Makes the database of `plan` in `file`, which is empty. Its page size; `None` if the database is empty.
///
/// # Errors
/// - [`Error::Damaged`], [`Error::MissingSegment`]: the objects do not make a database.
/// - [`Error::Storage`], [`Error::Output`]: reading or writing failed.
/// - [`Error::Cancelled`].
pub fn restore(plan: &Plan, open: &Open<'_>, file: &File, options: Options<'_>) -> Result<Option<PageSize>> {
    let Options { parallelism, progress } = options;
    let key = plan.snapshot.key();
    let mut done = 0;
    let mut report = |bytes: u64| {
        done += bytes;
        if progress(done) { Ok(()) } else { Err(Error::Cancelled) }
    };
    report(0)?;
    expand(open, &key, file)?;
    report(plan.snapshot.size)?;
    let mut applier = Applier::new(file, &key)?;
    let ahead = Ahead {
        segments: &plan.segments,
        open,
        most: parallelism.max(1) * AHEAD,
        state: Mutex::default(),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        let workers = parallelism.min(plan.segments.len());
        for _ in 0..workers {
            forks::between_forks(|| scope.spawn(|| ahead.work()));
        }
        let _ended = Ended(&ahead);
        for (number, segment) in plan.segments.iter().enumerate() {
            let data: Box<dyn Read + Send> = match ahead.take(number) {
                Some(read) => {
                    Box::new(io::Cursor::new(read.map_err(|error| Error::of_read(&segment.key(), error))?))
                }
                None => open(&segment.key()).map_err(|error| Error::of_read(&segment.key(), error))?,
            };
            let mut frame = FrameReader::new(data).map_err(|error| Error::of_read(&segment.key(), error))?;
            applier.segment(segment, &mut frame)?;
            report(segment.size)?;
        }
        Ok(())
    })?;
    applier.finish()
}

/// Expands a snapshot into a file.
fn expand(open: &Open<'_>, key: &str, file: &File) -> Result<()> {
    let of_read = |error| Error::of_read(key, error);
    let mut frame = FrameReader::new(open(key).map_err(of_read)?).map_err(of_read)?;
    let mut output = BufWriter::with_capacity(BLOCK, file);
    let mut block = vec![0; BLOCK];
    loop {
        let count = match frame.read(&mut block) {
            Ok(0) => return output.flush().map_err(Error::Output),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(of_read(error)),
        };
        output.write_all(&block[..count]).map_err(Error::Output)?;
    }
}

/// Segments that are read before it is their turn.
struct Ahead<'a> {
    segments: &'a [Segment],
    open: &'a Open<'a>,
    /// How far ahead.
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next segment that nobody has taken to read it.
    next: usize,
    /// The one whose turn it is.
    turn: usize,
    read: BTreeMap<usize, io::Result<Vec<u8>>>,
    has_ended: bool,
}

/// Lets the threads end, however the work has ended.
struct Ended<'a>(&'a Ahead<'a>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.changed.notify_all();
    }
}

/// A segment that a thread reads. Whatever becomes of the thread, who waits for it gets an answer.
struct Claim<'a> {
    ahead: &'a Ahead<'a>,
    number: usize,
    read: io::Result<Vec<u8>>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let read = mem::replace(&mut self.read, Ok(Vec::new()));
        self.ahead.lock().read.insert(self.number, read);
        self.ahead.changed.notify_all();
    }
}

impl Ahead<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_small(&self, number: usize) -> bool {
        self.segments.get(number).is_some_and(|segment| segment.size <= SMALL)
    }

    /// Reads what will be needed, until nothing is left.
    fn work(&self) {
        while let Some((number, segment)) = self.next() {
            let mut claim = Claim { ahead: self, number, read: Err(io::ErrorKind::BrokenPipe.into()) };
            let mut bytes = Vec::with_capacity(usize::try_from(segment.size).unwrap_or(0));
            let read = (self.open)(&segment.key()).and_then(|mut data| data.read_to_end(&mut bytes));
            claim.read = read.map(|_| bytes);
        }
    }

    fn next(&self) -> Option<(usize, &Segment)> {
        let mut state = self.lock();
        loop {
            while state.next < self.segments.len() && !self.is_small(state.next) {
                state.next += 1;
            }
            let number = state.next;
            let segment = self.segments.get(number)?;
            if state.has_ended {
                return None;
            }
            if number < state.turn + self.most {
                state.next += 1;
                return Some((number, segment));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was read of a segment whose turn it is; `None` if it is too large for that.
    fn take(&self, number: usize) -> Option<io::Result<Vec<u8>>> {
        let mut state = self.lock();
        state.turn = number;
        self.changed.notify_all();
        while self.is_small(number) {
            if let Some(read) = state.read.remove(&number) {
                return Some(read);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}
