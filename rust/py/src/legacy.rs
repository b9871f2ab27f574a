//! Replicas in the layout of Litestream 0.3: what they hold, and restores from them.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use http_ranges::Kind;
use legacy::{Error, Generation, History, Options, Plan, Segment, Snapshot, Source, Target};
use ltx::Timestamp;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use replica::{Object, Progress, RestoreOptions};

use crate::errors::{FormatError, OrRaise, detached};
use crate::gil::{self, Owned};
use crate::located::{Signed, source};
use crate::pyio::PyReader;
use crate::python_client::{ask, foreign};
use crate::restore::{Watcher, lock_database};
use crate::types;

/// An object as a listing shows it: key without the prefix, size in bytes, milliseconds.
type ObjectRow = (String, u64, i64);
/// Index, size in bytes, milliseconds.
type SnapshotRow = (u32, u64, i64);
/// Index, offset and size in bytes, milliseconds.
type SegmentRow = (u32, u64, u64, i64);

fn snapshot_row(each: &Snapshot) -> SnapshotRow {
    (each.index, each.size, each.created_at.millis())
}

fn segment_row(each: &Segment) -> SegmentRow {
    (each.index, each.offset, each.size, each.created_at.millis())
}

/// A text of 16 hexadecimal digits, as a generation.
pub(crate) fn generation(py: Python<'_>, text: &str) -> PyResult<Generation> {
    text.parse().map_err(|error: legacy::NameError| FormatError::new_err(py, error.to_string()))
}

/// Everything that a replica holds.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct LegacyHistory(pub(crate) History);

#[pymethods]
impl LegacyHistory {
    #[new]
    fn new(objects: Vec<ObjectRow>) -> Self {
        Self(History::of(objects.into_iter().map(|(key, size, millis)| Object {
            key,
            size,
            modified: Timestamp::from_millis(millis),
        })))
    }

    /// Of each generation, its snapshots and its segments.
    fn generations(&self) -> Vec<(String, Vec<SnapshotRow>, Vec<SegmentRow>)> {
        let of = |(id, files): (&Generation, &legacy::Files)| {
            let snapshots = files.snapshots.iter().map(snapshot_row).collect();
            (id.to_string(), snapshots, files.segments.iter().map(segment_row).collect())
        };
        self.0.generations.iter().map(of).collect()
    }

    /// The objects that lead to a state.
    #[pyo3(signature = (generation=None, until_ms=None, index=None))]
    fn plan(
        &self,
        py: Python<'_>,
        generation: Option<&str>,
        until_ms: Option<i64>,
        index: Option<u32>,
    ) -> PyResult<LegacyPlan> {
        let generation = generation.map(|text| self::generation(py, text)).transpose()?;
        let target = Target { generation, until: until_ms.map(Timestamp::from_millis), index };
        self.0.plan(&target).map(LegacyPlan).or_raise(py)
    }
}

/// What a restore reads.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct LegacyPlan(Plan);

#[pymethods]
impl LegacyPlan {
    #[getter]
    fn generation(&self) -> String {
        self.0.snapshot.generation.to_string()
    }

    #[getter]
    fn snapshot(&self) -> SnapshotRow {
        snapshot_row(&self.0.snapshot)
    }

    #[getter]
    fn segments(&self) -> Vec<SegmentRow> {
        self.0.segments.iter().map(segment_row).collect()
    }

    /// Bytes of all objects, as they are stored.
    #[getter]
    fn size(&self) -> u64 {
        self.0.size()
    }

    /// When the newest object was stored.
    #[getter]
    fn created_ms(&self) -> i64 {
        self.0.created_at().millis()
    }
}

/// Makes the database of a plan. Its page size and page count, and the index and offset up to which the history was used.
#[pyfunction]
#[pyo3(signature = (plan, store, prefix, output, *, parallelism=8, overwrite=false, rollback_journal=false, progress=None, verify=None, prepare=None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments, one for each option")]
pub(crate) fn legacy_restore(
    py: Python<'_>,
    plan: &LegacyPlan,
    store: Py<PyAny>,
    prefix: String,
    output: PathBuf,
    parallelism: usize,
    overwrite: bool,
    rollback_journal: bool,
    progress: Option<Py<PyAny>>,
    verify: Option<Py<PyAny>>,
    prepare: Option<Py<PyAny>>,
) -> PyResult<(u32, u32, u32, u64)> {
    let watcher = Watcher::new(progress, verify, prepare);
    let (plan, objects) = (&plan.0, PyObjects::new(store, prefix));
    let done = detached(py, || {
        let verify = |path: &Path| watcher.verify(path);
        let prepare = |path: &Path| watcher.prepare(path);
        let place = RestoreOptions {
            overwrite,
            lock: Some(&lock_database),
            rollback_journal,
            verify: Some(&verify),
            prepare: Some(&prepare),
            cancel: Some(&watcher.cancel),
            ..Default::default()
        };
        replica::publish_made(&output, &place, |file| {
            let mut report = |bytes_done| watcher.goes_on(plan, bytes_done);
            let options = Options { parallelism, progress: &mut report };
            let restored = legacy::restore(plan, &objects, file, options)?;
            Ok::<_, Error>((restored.page_size, restored))
        })
    });
    let legacy::Restored { page_size, commit, pos } = watcher.outcome(done)?;
    Ok((page_size.map_or(0, ltx::PageSize::get), commit.get(), pos.index, pos.offset))
}

impl Watcher {
    /// Reports how far a restore is; whether it goes on.
    fn goes_on(&self, plan: &Plan, bytes_done: u64) -> bool {
        let (bytes_total, files_total) = (plan.size(), plan.segments.len() as u64 + 1);
        let files_done = if bytes_done == bytes_total { files_total } else { 0 };
        self.report(Progress { bytes_done, bytes_total, files_done, files_total });
        !self.cancel.load(Ordering::Relaxed)
    }
}

/// The objects of a store in Python below a prefix. They are read where the store says that they are, or by its methods.
pub(crate) struct PyObjects {
    store: Owned<Py<PyAny>>,
    prefix: String,
}

/// Where an object is.
enum Spot {
    Store,
    Path(PathBuf),
    Url(http_ranges::Source),
}

impl PyObjects {
    pub(crate) fn new(store: Py<PyAny>, prefix: String) -> Self {
        Self { store: Owned::new(store), prefix }
    }

    fn locate(&self, key: &str) -> io::Result<Spot> {
        let spot = ask(|py| {
            let answer = gil::call(types::locate_object(py)?, (self.store.bind(py), key), None)?;
            if answer.is_none() {
                return Ok(Spot::Store);
            }
            if let Ok(path) = answer.extract::<PathBuf>() {
                return Ok(Spot::Path(path));
            }
            // A URL of another kind is one that the store may know how to read.
            Ok(source(answer.extract::<Signed>()?).map_or(Spot::Store, Spot::Url))
        });
        spot.map_err(replica::Error::into_io)
    }

    fn open_in_store(&self, key: &str, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let file = ask(|py| {
            let range = PyDict::new(py);
            range.set_item(intern!(py, "offset"), offset)?;
            let open = gil::getattr(self.store.bind(py), intern!(py, "open"))?;
            Ok(gil::call(&open, (key,), Some(&range))?.unbind())
        });
        let file = file.map_err(replica::Error::into_io)?;
        Ok(Box::new(PyReader::owning(file, |error| foreign(error).into_io())))
    }
}

impl Source for PyObjects {
    fn open(&self, key: &str, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let key = format!("{}{key}", self.prefix);
        match self.locate(&key)? {
            Spot::Store => self.open_in_store(&key, offset),
            Spot::Path(path) => {
                #[expect(clippy::disallowed_methods, reason = "objects of a replica carry no SQLite locks")]
                let mut file = std::fs::File::open(path)?;
                file.seek(SeekFrom::Start(offset))?;
                Ok(Box::new(file))
            }
            Spot::Url(source) => match source.read(offset, None) {
                // The store may know another way, and its error says more.
                Err(error) if matches!(error.kind(), Kind::Refused | Kind::Final) => {
                    self.open_in_store(&key, offset)
                }
                opened => Ok(Box::new(opened?)),
            },
        }
    }

    fn is_transient(&self, error: &io::Error) -> bool {
        let Some(inner) = error.get_ref() else { return false };
        if let Some(error) = inner.downcast_ref::<http_ranges::Error>() {
            return matches!(error.kind(), Kind::Transient | Kind::TimedOut);
        }
        inner.downcast_ref::<replica::Error>().is_some_and(replica::Error::is_transient)
    }
}
