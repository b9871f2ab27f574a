//! The database as of a state of a history, in a file of its own.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::apply::{Applier, Changes};
use crate::convert::Database;
use crate::error::{Error, Result};
use crate::history::Names;
use crate::names::Generation;
use crate::restore::{Options, Report, bring_in, expand};
use crate::schedule::{Schedule, start_of};
use crate::source::{ObjectReader, Source};

/// A snapshot, and the segments of its generation up to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) generation: Generation,
    pub(crate) snapshot: usize,
    pub(crate) end: usize,
}

impl State {
    /// Whether it follows from another one by segments alone.
    fn continues(&self, before: &Self) -> bool {
        (self.generation, self.snapshot) == (before.generation, before.snapshot) && self.end >= before.end
    }
}

/// What objects are read with.
pub(crate) struct Reading<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) parallelism: usize,
    progress: &'a mut dyn FnMut(u64) -> bool,
    /// Bytes of all objects before.
    pub(crate) begun: u64,
    /// Bytes that count of what is read now: some of it may have been read before.
    pub(crate) most: u64,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(source: &'a dyn Source, options: Options<'a>, begun: u64) -> Self {
        let Options { parallelism, progress } = options;
        Self { source, parallelism: parallelism.max(1), progress, begun, most: 0 }
    }
}

/// Is called with the number of a segment that was brought in, what it has changed, and the file.
pub(crate) type Done<'a> = dyn FnMut(usize, Option<Changes>, &File) -> Result<()> + 'a;

/// The file.
pub(crate) struct Work {
    file: Arc<File>,
    /// Nothing, if its content is that of no state.
    built: Option<Built>,
}

struct Built {
    state: State,
    names: Names,
    applier: Applier<Arc<File>>,
}

impl Work {
    /// A file without a name in a directory.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let file = durable::create_nameless(&directory.join("ltxcore"), "convert").map_err(Error::Output)?;
        Ok(Self { file: Arc::new(file), built: None })
    }

    /// Which state it holds.
    pub(crate) fn state(&self) -> Option<State> {
        self.built.as_ref().map(|built| built.state)
    }

    /// The database; nothing, if it has no page.
    pub(crate) fn database(&mut self) -> Result<Option<Database<'_>>> {
        let Some(built) = &mut self.built else { return Ok(None) };
        let (page_size, commit) = (built.applier.page_size(), built.applier.commit());
        let file = built.applier.flushed()?;
        let database = page_size.map(|page_size| Database { file, page_size, commit });
        Ok(database.filter(|database| database.commit.get() > 0))
    }

    /// Makes it hold a state. If this fails, it holds none.
    pub(crate) fn build(
        &mut self,
        schedule: &Schedule,
        state: State,
        reading: &mut Reading<'_>,
    ) -> Result<()> {
        if !self.state().is_some_and(|before| state.continues(&before)) {
            self.begin(schedule, state, reading)?;
        }
        self.extend(schedule, state.end, reading, &mut |_, _, _| Ok(()))
    }

    /// Brings in the segments of its generation before number `end`, and calls `done` after each, with its number and what it has changed
    /// in the file. If this fails, it holds no state.
    pub(crate) fn extend(
        &mut self,
        schedule: &Schedule,
        end: usize,
        reading: &mut Reading<'_>,
        done: &mut Done<'_>,
    ) -> Result<()> {
        let Some(mut built) = self.built.take() else { return Ok(()) };
        let (from, files) = (built.state.end, schedule.files(built.state.generation));
        let segments = files.segments.get(from..end).unwrap_or_default();
        let named = segments.iter().map(|segment| built.names.take(segment));
        let (fitting, missing) = named.fold((0, None), |(count, missing), taken| match (missing, taken) {
            (None, Ok(())) => (count + 1, None),
            (None, Err(error)) => (count, Some(error)),
            (missing, _) => (count, missing),
        });
        let segments = segments.get(..fitting).unwrap_or_default();
        let (count, Reading { source, parallelism, progress, begun, most }) = (AtomicU64::new(0), reading);
        let mut progress = |bytes: u64| progress(*begun + bytes.min(*most));
        let mut report = Report { progress: &mut progress, count: &count };
        bring_in(
            segments,
            *source,
            *parallelism,
            &mut built.applier,
            &mut report,
            &mut |applier, number| {
                let changes = applier.changes()?;
                done(from + number, changes, applier.flushed()?)
            },
        )?;
        if let Some(error) = missing {
            return Err(error);
        }
        built.state.end = end;
        self.built = Some(built);
        Ok(())
    }

    /// Makes it hold a snapshot.
    fn begin(&mut self, schedule: &Schedule, state: State, reading: &mut Reading<'_>) -> Result<()> {
        self.built = None;
        let files = schedule.files(state.generation);
        let Some(snapshot) = files.snapshots.get(state.snapshot) else {
            return Err(Error::NoGeneration { generation: Some(state.generation) });
        };
        self.file.set_len(0).map_err(Error::Output)?;
        (&*self.file).seek(SeekFrom::Start(0)).map_err(Error::Output)?;
        let (key, count) = (snapshot.key(), AtomicU64::new(0));
        let Reading { source, progress, begun, most, .. } = reading;
        let mut progress = |bytes: u64| progress(*begun + bytes.min(*most));
        let mut report = Report { progress: &mut progress, count: &count };
        let object = ObjectReader::new(*source, key.clone(), snapshot.size, &count);
        expand(object, &key, &self.file, &mut report)?;
        let applier = Applier::with_changes(Arc::clone(&self.file), &key)?;
        let state = State { end: start_of(files, snapshot), ..state };
        self.built = Some(Built { state, names: Names::new(snapshot), applier });
        Ok(())
    }
}
