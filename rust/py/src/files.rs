//! Whole LTX files: merge, apply, encode; and their names.

use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use ltx::{Checksum, CompactOptions, HeaderFlags, PageCount, PageSize, Pos, ReadAt, TxId};
use osvfs::{Exclusive, PooledFile};
use pyo3::prelude::*;

use crate::errors::{IntoPython, NotReadyError, OrRaise, detached, in_use, of_file};
use crate::header::{Header, Trailer};
use crate::pyio::{BLOCK, Database, PyWriter, Source};
use crate::types;

/// Merges LTX files into one.
#[pyfunction]
#[pyo3(signature = (inputs, output, *, allow_gaps=false))]
pub(crate) fn compact(
    py: Python<'_>,
    inputs: Vec<Source>,
    output: Py<PyAny>,
    allow_gaps: bool,
) -> PyResult<(Header, Trailer)> {
    let inputs: Vec<Box<dyn Read + Send>> =
        inputs.into_iter().map(Source::reader).collect::<Result<_, _>>().or_raise(py)?;
    let merge = || -> ltx::Result<(ltx::Header, ltx::Trailer)> {
        let mut out = BufWriter::with_capacity(BLOCK, PyWriter(output));
        let merged = ltx::compact(inputs, &mut out, CompactOptions { allow_gaps }, &mut |_| {})?;
        out.flush()?;
        Ok(merged)
    };
    let (header, trailer) = detached(py, merge)?;
    Ok((Header(header), Trailer(trailer)))
}

/// Writes the pages of an LTX file into a database file that is not in use.
#[pyfunction]
pub(crate) fn apply(py: Python<'_>, file: Source, database: PathBuf) -> PyResult<(u64, u64)> {
    let reader = file.reader().or_raise(py)?;
    let work = || -> Result<Pos, ApplyError> {
        let decoder = ltx::Decoder::new(reader)?;
        let header = *decoder.header();
        let real = resolve(&database, header.is_snapshot()).map_err(of_file(&database))?;
        let open = || PooledFile::open_for_writing(&real, header.is_snapshot()).map_err(of_file(&real));
        // It has to be there to be locked; what is open meanwhile counts as in use where locks of open files do not work.
        drop(open()?);
        let held = lock(&real)?;
        // Of two descriptors of its own this process could close neither at once.
        let unheld;
        let file = if let Some(held) = &held {
            held.file().map_err(of_file(&real))?
        } else {
            unheld = open()?;
            unheld.file()
        };
        let trailer = ltx::apply(decoder, file)?;
        file.sync_all()?;
        Ok(Pos { txid: header.max_txid, post_apply_checksum: trailer.post_apply_checksum })
    };
    let pos = detached(py, work)?;
    Ok((pos.txid.get(), pos.post_apply_checksum.get()))
}

/// Why a file was not applied.
enum ApplyError {
    Ltx(ltx::Error),
    InUse(PathBuf),
}

impl<E: Into<ltx::Error>> From<E> for ApplyError {
    fn from(error: E) -> Self {
        Self::Ltx(error.into())
    }
}

impl IntoPython for ApplyError {
    fn into_python(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Ltx(error) => error.into_python(py),
            Self::InUse(path) => in_use(py, &path),
        }
    }
}

/// The path without links. A new file has none; where it will be may.
fn resolve(path: &Path, create: bool) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(error), Some(dir), Some(name)) if create && error.kind() == io::ErrorKind::NotFound => {
            let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
            fs::canonicalize(dir).map(|dir| dir.join(name))
        }
        (found, ..) => found,
    }
}

/// Every lock of the database; none where the file system has no locks, and so nobody can have one.
fn lock(path: &Path) -> Result<Option<Exclusive>, ApplyError> {
    match Exclusive::try_lock(path) {
        Ok(None) => Err(ApplyError::InUse(path.to_owned())),
        Ok(held) => Ok(held),
        Err(error) if osvfs::is_unsupported(&error) => Ok(None),
        Err(error) => Err(of_file(path)(error).into()),
    }
}

/// Writes a whole database file that is not in use as one snapshot.
#[pyfunction]
#[pyo3(signature = (database, file, *, txid, timestamp, checksums))]
pub(crate) fn encode_database(
    py: Python<'_>,
    database: PathBuf,
    file: Py<PyAny>,
    txid: u64,
    timestamp: &Bound<'_, PyAny>,
    checksums: bool,
) -> PyResult<Trailer> {
    let database = detached(py, || Database::open(&database))?;
    let (page_size, commit) = shape(py, &database)?;
    let mut header = ltx::Header::new(page_size, commit, TxId::new(1), TxId::new(txid));
    header.timestamp = types::timestamp(timestamp)?;
    header.flags = HeaderFlags { no_checksum: !checksums };
    let encode = || -> ltx::Result<ltx::Trailer> {
        let mut out = BufWriter::with_capacity(BLOCK, PyWriter(file));
        let trailer = ltx::encode_database(&database, &header, &mut out)?;
        out.flush()?;
        Ok(trailer)
    };
    detached(py, encode).map(Trailer)
}

/// The checksum of a whole database file that is not in use.
#[pyfunction]
pub(crate) fn checksum_database(py: Python<'_>, database: PathBuf) -> PyResult<u64> {
    let database = detached(py, || Database::open(&database))?;
    let (page_size, _) = shape(py, &database)?;
    detached(py, || ltx::checksum_database(&database, page_size)).map(Checksum::get)
}

/// Page size and number of pages of a database file, from its header and its length.
fn shape(py: Python<'_>, database: &impl ReadAt) -> PyResult<(PageSize, PageCount)> {
    let Some(header) = wal::DbHeader::read(database).or_raise(py)? else {
        return Err(NotReadyError::new_err(py, "the database is empty"));
    };
    let pages = database.len().or_raise(py)? / u64::from(header.page_size.get());
    Ok((header.page_size, PageCount::new(u32::try_from(pages).unwrap_or(u32::MAX))))
}

/// The name of the LTX file of a TXID range.
#[pyfunction]
pub(crate) fn format_filename(min_txid: u64, max_txid: u64) -> String {
    ltx::format_file_name(TxId::new(min_txid), TxId::new(max_txid))
}

/// The TXID range that a file name stands for.
#[pyfunction]
pub(crate) fn parse_filename(py: Python<'_>, name: &str) -> PyResult<(u64, u64)> {
    let (min, max) = ltx::parse_file_name(name).or_raise(py)?;
    Ok((min.get(), max.get()))
}
