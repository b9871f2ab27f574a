//! Makes a database from the objects of a plan.
//!
//! Small segments are read ahead by several threads, since there may be tens of thousands of them, each of which is a request.
//! They are brought in one after the other, as each one's checksum continues that of the one before. Memory does not depend on the
//! size of anything: a large object is expanded while it is read.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use ltx::{PageCount, PageSize};

use crate::apply::Applier;
use crate::error::{Error, Result};
use crate::frame::FrameReader;
use crate::history::{Plan, Segment, Snapshot};
use crate::pos::Pos;
use crate::source::{ObjectReader, Source};

/// A segment of no more than so many bytes is read at once.
const SMALL: u64 = 1 << 20;
/// So many of them are read ahead for each thread.
const AHEAD: usize = 2;
/// Bytes of content after which progress is reported.
const REPORTED: usize = 1 << 20;
/// Bytes of a snapshot that are written together. ext4 caches what is written at once as one unit, and goes through all blocks of it
/// for each page that a segment changes there: with 1 MiB, that takes as long as all the rest.
const BLOCK: usize = 64 << 10;

/// How a restore is done.
pub struct Options<'a> {
    /// How many objects are read at once.
    pub parallelism: usize,
    /// Called with the bytes that were read, as they are stored, once for about each MiB and each object; false calls it off.
    pub progress: &'a mut dyn FnMut(u64) -> bool,
}

/// A database that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Its page size; `None` if it is empty.
    pub page_size: Option<PageSize>,
    /// Its size.
    pub commit: PageCount,
    /// How far in the history it is.
    pub pos: Pos,
}

/// Makes the database of `plan` in `file`, which is empty.
///
/// # Errors
/// - [`Error::Damaged`], [`Error::MissingSegment`]: the objects do not make a database.
/// - [`Error::Storage`], [`Error::Output`]: reading or writing failed.
/// - [`Error::Cancelled`].
pub fn restore(plan: &Plan, source: &dyn Source, file: &File, options: Options<'_>) -> Result<Restored> {
    let (parallelism, count) = (options.parallelism, AtomicU64::new(0));
    let mut report = Report { progress: options.progress, count: &count };
    report.now()?;
    let (key, size) = (plan.snapshot.key(), plan.snapshot.size);
    let object = ObjectReader::new(source, key.clone(), size, &count);
    expand(object, &key, file, &mut report)?;
    report.now()?;
    let mut applier = Applier::new(file, &key)?;
    bring_in(&plan.segments, source, parallelism, &mut applier, &mut report, &mut |_, _| Ok(()))?;
    let Snapshot { generation, index, .. } = plan.snapshot;
    let (index, offset) = applier.reached().unwrap_or((index, 0));
    let (page_size, commit) = applier.finish()?;
    Ok(Restored { page_size, commit, pos: Pos { generation, index, offset } })
}

/// Brings segments in, one after the other, and calls `done` with the number of each.
pub(crate) fn bring_in<F: Borrow<File>>(
    segments: &[Segment],
    source: &dyn Source,
    parallelism: usize,
    applier: &mut Applier<F>,
    report: &mut Report<'_>,
    done: &mut dyn FnMut(&mut Applier<F>, usize) -> Result<()>,
) -> Result<()> {
    for_each(segments, source, parallelism, report, &mut |number, segment, content| {
        applier.segment(segment, content?)?;
        done(applier, number)
    })
}

/// Is called with the number of a segment, the segment, and its content, or why there is none.
pub(crate) type Work<'a> = dyn FnMut(usize, &Segment, Result<&mut dyn Read>) -> Result<()> + 'a;

/// Reads segments, one after the other, and calls `work` with the number, the segment and its content, or why there is none.
pub(crate) fn for_each(
    segments: &[Segment],
    source: &dyn Source,
    parallelism: usize,
    report: &mut Report<'_>,
    work: &mut Work<'_>,
) -> Result<()> {
    let count = report.count;
    let ahead = Ahead {
        segments,
        source,
        most: parallelism.max(1) * AHEAD,
        count,
        state: Mutex::default(),
        ready: Condvar::new(),
        room: Condvar::new(),
    };
    thread::scope(|scope| {
        for _ in 0..parallelism.min(segments.len()) {
            forks::between_forks(|| scope.spawn(|| ahead.work()));
        }
        let _ended = Ended(&ahead);
        for (number, segment) in segments.iter().enumerate() {
            let of_read = |error| Error::of_read(&segment.key(), error);
            let data: io::Result<Box<dyn Read + Send>> = match ahead.take(number) {
                Some(read) => read.map(|bytes| Box::new(io::Cursor::new(bytes)) as Box<_>),
                None => Ok(Box::new(ObjectReader::new(source, segment.key(), segment.size, count))),
            };
            match data.and_then(FrameReader::new) {
                Ok(frame) => work(number, segment, Ok(&mut Reported::new(frame, report)))?,
                Err(error) => work(number, segment, Err(of_read(error)))?,
            }
            report.now()?;
        }
        Ok(())
    })
}

/// Tells how far a restore is.
pub(crate) struct Report<'a> {
    pub(crate) progress: &'a mut dyn FnMut(u64) -> bool,
    /// Bytes that were read of all objects.
    pub(crate) count: &'a AtomicU64,
}

impl Report<'_> {
    pub(crate) fn now(&mut self) -> Result<()> {
        if (self.progress)(self.count.load(Ordering::Relaxed)) { Ok(()) } else { Err(Error::Cancelled) }
    }
}

/// Content that is reported on while it is read.
pub(crate) struct Reported<'a, 'b, R: Read> {
    frame: FrameReader<R>,
    /// Bytes since the last report.
    unreported: usize,
    report: &'a mut Report<'b>,
}

impl<'a, 'b, R: Read> Reported<'a, 'b, R> {
    pub(crate) fn new(frame: FrameReader<R>, report: &'a mut Report<'b>) -> Self {
        Self { frame, unreported: 0, report }
    }
}

impl<R: Read> Read for Reported<'_, '_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.frame.read(buf)?;
        self.unreported += count;
        if self.unreported >= REPORTED {
            self.unreported = 0;
            self.report.now().map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

/// Expands a snapshot into a file.
pub(crate) fn expand(object: impl Read, key: &str, mut file: &File, report: &mut Report<'_>) -> Result<()> {
    let of_read = |error| Error::of_read(key, error);
    let frame = FrameReader::new(object).map_err(of_read)?;
    let mut content = Reported::new(frame, report);
    let mut block = vec![0; BLOCK];
    loop {
        let filled = read_block(&mut content, &mut block).map_err(of_read)?;
        file.write_all(&block[..filled]).map_err(Error::Output)?;
        if filled < block.len() {
            return Ok(());
        }
    }
}

/// Fills a block as far as there is content.
pub(crate) fn read_block(content: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match content.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Segments that are read before it is their turn.
struct Ahead<'a> {
    segments: &'a [Segment],
    source: &'a dyn Source,
    /// How far ahead.
    most: usize,
    count: &'a AtomicU64,
    state: Mutex<State>,
    /// The one whose turn it is was read.
    ready: Condvar,
    /// Half of what may be read ahead was used. Threads that wait for less would be woken for each segment, which takes longer than to
    /// read one from a disk.
    room: Condvar,
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
        self.0.room.notify_all();
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
        let mut state = self.ahead.lock();
        state.read.insert(self.number, read);
        if state.turn == self.number {
            self.ahead.ready.notify_one();
        }
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
            let mut object = ObjectReader::new(self.source, segment.key(), segment.size, self.count);
            claim.read = object.read_to_end(&mut bytes).map(|_| bytes);
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
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was read of a segment whose turn it is; `None` if it is too large for that.
    fn take(&self, number: usize) -> Option<io::Result<Vec<u8>>> {
        let mut state = self.lock();
        state.turn = number;
        if state.next <= number + self.most / 2 {
            self.room.notify_all();
        }
        while self.is_small(number) {
            if let Some(read) = state.read.remove(&number) {
                return Some(read);
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}
