//! Reads everything that a history holds, and says what is wrong with it. Nothing is written.
//!
//! What cannot be seen is the loss of the last segments of a WAL that has a successor, and of whole generations.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::AtomicU64;

use ltx::{PageSize, Timestamp};

use crate::apply::whole_pages;
use crate::error::{Error, Result};
use crate::frame::FrameReader;
use crate::history::{Files, Segment, Snapshot};
use crate::restore::{Options, Report, Reported, for_each, read_block};
use crate::schedule::{Schedule, Step, start_of};
use crate::source::{ObjectReader, Source};
use crate::wal_files::{Wal, WalFiles};

/// Bytes of content that are looked at together.
const BLOCK: usize = 64 << 10;

/// A file that is damaged or missing, and the states that cannot be had because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The name of the object.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
    /// How many states.
    pub states: u64,
    /// The times of the first and the last of them.
    pub times: Option<(Timestamp, Timestamp)>,
}

impl Damage {
    pub(crate) fn new(error: &Error) -> Self {
        Self { key: error.key().unwrap_or_default(), what: error.what(), states: 0, times: None }
    }

    pub(crate) fn add(&mut self, step: &Step) {
        self.states += 1;
        self.times = Some((self.times.map_or(step.time, |(first, _)| first), step.time));
    }
}

/// Reads every object of a history, and says which are damaged or missing, in the order of generations and names.
///
/// `options.progress` is called with the bytes that were read.
///
/// # Errors
/// - [`Error::Storage`]: an object could not be read, for another reason than that it is not there.
/// - [`Error::Cancelled`].
pub fn verify(schedule: &Schedule, source: &dyn Source, options: Options<'_>) -> Result<Vec<Damage>> {
    let count = AtomicU64::new(0);
    let mut report = Report { progress: options.progress, count: &count };
    let mut found = Vec::new();
    for (generation, files) in &schedule.history().generations {
        let begun = found.len();
        let flaws = Flaws::of(files, source, options.parallelism, &mut report, &mut found)?;
        for step in schedule.steps().iter().filter(|step| step.generation == *generation) {
            let flaw = flaws.that_keeps_from(files, step);
            if let Some(damage) = flaw.and_then(|number| found.get_mut(begun + number)) {
                damage.add(step);
            }
        }
    }
    report.now()?;
    Ok(found)
}

/// Numbers of what is wrong in a generation.
#[derive(Default)]
struct Flaws {
    /// Of a snapshot, by its number.
    snapshots: BTreeMap<usize, usize>,
    /// Of a segment, or before it, by its number; with the WAL that is damaged.
    segments: Vec<(usize, u32, usize)>,
}

impl Flaws {
    fn of(
        files: &Files,
        source: &dyn Source,
        parallelism: usize,
        report: &mut Report<'_>,
        found: &mut Vec<Damage>,
    ) -> Result<Self> {
        let (mut flaws, begun) = (Self::default(), found.len());
        let mut page_size = None;
        for (number, snapshot) in files.snapshots.iter().enumerate() {
            match of_content(read_snapshot(snapshot, source, report))? {
                Ok(found) => page_size = page_size.or(found),
                Err(error) => {
                    flaws.snapshots.insert(number, found.len() - begun);
                    found.push(Damage::new(&error));
                }
            }
        }
        let mut segments = Segments::new(files, page_size);
        for_each(&files.segments, source, parallelism, report, &mut |number, segment, data| {
            segments.take(segment, data, &mut |error| {
                let index = match &error {
                    Error::MissingSegment { index, .. } => *index,
                    _ => segment.index,
                };
                flaws.segments.push((number, index, found.len() - begun));
                found.push(Damage::new(&error));
            })
        })?;
        Ok(flaws)
    }

    /// The first flaw on the way to a state.
    fn that_keeps_from(&self, files: &Files, step: &Step) -> Option<usize> {
        let snapshot = files.snapshots.get(step.snapshot)?;
        let start = start_of(files, snapshot);
        let first = self.segments.partition_point(|(number, ..)| *number < start);
        let on_the_way = self.segments.iter().skip(first).take_while(|(number, ..)| *number < step.end);
        // What is missing before the first segment may be of a WAL that is not needed.
        let segment =
            || on_the_way.clone().find(|(_, index, _)| *index >= snapshot.index).map(|(.., flaw)| *flaw);
        self.snapshots.get(&step.snapshot).copied().or_else(segment)
    }
}

/// What is wrong with an object is no failure.
fn of_content<T>(done: Result<T>) -> Result<Result<T>> {
    match done {
        Err(error) if error.is_of_content() => Ok(Err(error)),
        Err(error) => Err(error),
        Ok(done) => Ok(Ok(done)),
    }
}

/// Reads a snapshot; its page size, if it has pages.
fn read_snapshot(
    snapshot: &Snapshot,
    source: &dyn Source,
    report: &mut Report<'_>,
) -> Result<Option<PageSize>> {
    let key = snapshot.key();
    let of_read = |error| Error::of_read(&key, error);
    let object = ObjectReader::new(source, key.clone(), snapshot.size, report.count);
    let mut content = Reported::new(FrameReader::new(object).map_err(of_read)?, report);
    let (mut block, mut size, mut header) = (vec![0; BLOCK], 0, Vec::new());
    loop {
        let filled = read_block(&mut content, &mut block).map_err(of_read)?;
        let bytes = block.get(..filled).unwrap_or_default();
        if size == 0 {
            header = bytes.get(..wal::DbHeader::SIZE).unwrap_or_default().to_vec();
        }
        size += filled as u64;
        if filled < BLOCK {
            break;
        }
    }
    report.now()?;
    if size == 0 {
        return Ok(None);
    }
    let header = header.first_chunk().map(wal::DbHeader::parse).transpose();
    whole_pages(header.map_err(|error| Error::damaged(&key, error))?, size, &key).map(Some)
}

/// The segments of a generation, one after the other.
struct Segments {
    /// Where the WAL begins that the first snapshot needs. What is before leads to no state.
    first: u32,
    /// The WAL that has to come next.
    next: u32,
    wals: WalFiles,
    /// The WAL that is read; nothing, if its beginning is damaged or missing.
    wal: Option<Wal>,
    frame: Vec<u8>,
}

impl Segments {
    fn new(files: &Files, page_size: Option<PageSize>) -> Self {
        let first = files.snapshots.first().map_or(u32::MAX, |snapshot| snapshot.index);
        Self { first, next: first, wals: WalFiles::new(page_size), wal: None, frame: Vec::new() }
    }

    /// Looks at the next one. Its errors are handed to `wrong`: one about what is missing before it, and one about itself.
    fn take(
        &mut self,
        segment: &Segment,
        data: Result<&mut dyn Read>,
        wrong: &mut dyn FnMut(Error),
    ) -> Result<()> {
        if segment.offset == 0 {
            if segment.index > self.next {
                wrong(missing(segment, self.next, 0));
            }
            self.wal = None;
        } else if self.wal.as_ref().is_none_or(|wal| wal.index != segment.index) {
            // Of a WAL whose beginning is damaged that was said.
            if self.next <= segment.index && segment.index >= self.first {
                wrong(missing(segment, self.next, 0));
            }
            self.wal = None;
        } else if let Some(wal) = &mut self.wal
            && wal.offset != segment.offset
        {
            if wal.is_known() {
                wrong(missing(segment, wal.index, wal.offset));
            }
            wal.skip_to(segment.offset);
        }
        if segment.index >= self.first {
            self.next = segment.index + 1;
        }
        let read = data.and_then(|data| self.read(segment, data));
        match of_content(read)? {
            Ok(()) => {}
            Err(error) => {
                if let Some(wal) = &mut self.wal {
                    wal.skip_to(wal.offset);
                }
                wrong(error);
            }
        }
        Ok(())
    }

    fn read(&mut self, segment: &Segment, data: &mut dyn Read) -> Result<()> {
        let key = segment.key();
        if segment.offset == 0 {
            self.wal = Some(self.wals.begin(segment.index, &key, data)?);
        }
        match &mut self.wal {
            Some(wal) => wal.frames(&key, data, &mut self.frame, &mut |_, _| Ok(())),
            // Nothing is known of its frames.
            None => io::copy(data, &mut io::sink()).map(drop).map_err(|error| Error::of_read(&key, error)),
        }
    }
}

fn missing(segment: &Segment, index: u32, offset: u64) -> Error {
    let Segment { generation, index: found_index, offset: found_offset, .. } = *segment;
    Error::MissingSegment { generation, index, offset, found_index, found_offset }
}
