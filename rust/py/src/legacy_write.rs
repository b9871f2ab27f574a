//! Objects of the v0.3 layout, made from LTX files.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use legacy::{Appended, Generation, WalState, WriteError, wal_salt, write_snapshot};
use ltx::PageSize;
use osvfs::NamedFile;
use pyo3::prelude::*;
use wal::WalChecksum;

use crate::engine::private_file;
use crate::errors::{IntoPython, OrRaise, detached, of_file};
use crate::header::Header;
use crate::pyio::{BLOCK, open_named};

impl IntoPython for WriteError {
    fn into_python(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Ltx(error) => error.into_python(py),
            Self::Output(error) => error.into_python(py),
            error => ltx::Error::from(io::Error::other(error)).into_python(py),
        }
    }
}

/// A WAL segment that was written, and where its WAL goes on.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
pub(crate) struct LegacySegment {
    /// The header of the LTX file.
    header: Header,
    /// Bytes of the WAL up to the end of the segment.
    end: u64,
    /// The checksum of its last frame.
    checksum: (u32, u32),
    /// It has every page of the database.
    is_whole: bool,
}

/// Writes an LTX file as the next segment of a WAL to `output`; `None` if no WAL with this page size can hold it.
#[pyfunction]
#[pyo3(signature = (file, output, *, generation, index, offset, checksum, page_size))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments, one for each part of a place in a WAL")]
pub(crate) fn legacy_segment(
    py: Python<'_>,
    file: PathBuf,
    output: PathBuf,
    generation: u64,
    index: u32,
    offset: u64,
    checksum: (u32, u32),
    page_size: u32,
) -> PyResult<Option<LegacySegment>> {
    let new =
        WalState::new(PageSize::new(page_size).or_raise(py)?, wal_salt(Generation::new(generation), index));
    let wal = WalState { offset, checksum: WalChecksum { s1: checksum.0, s2: checksum.1 }, ..new };
    let made = detached(py, || unless_unfit(write_to(&file, &output, |input, out| wal.append(input, out))))?;
    Ok(made.map(|Appended { wal, header, is_whole }| LegacySegment {
        header: Header(header),
        end: wal.offset,
        checksum: (wal.checksum.s1, wal.checksum.s2),
        is_whole,
    }))
}

/// Writes the database that an LTX file with all of its pages holds as a snapshot to `output`; the header of that file.
#[pyfunction]
pub(crate) fn legacy_snapshot(py: Python<'_>, file: PathBuf, output: PathBuf) -> PyResult<Header> {
    detached(py, || write_to(&file, &output, |input, out| write_snapshot(input, out))).map(Header)
}

fn unless_unfit<T>(done: Result<T, WriteError>) -> Result<Option<T>, WriteError> {
    match done {
        Err(WriteError::Unfit) => Ok(None),
        done => done.map(Some),
    }
}

/// Has `write` make a file, which nobody but its owner may read.
fn write_to<T>(
    file: &Path,
    output: &Path,
    write: impl FnOnce(BufReader<NamedFile>, &mut BufWriter<File>) -> Result<T, WriteError>,
) -> Result<T, WriteError> {
    let input = BufReader::with_capacity(BLOCK, open_named(file)?);
    let mut out = BufWriter::with_capacity(BLOCK, private_file(output).map_err(of_file(output))?);
    let written = write(input, &mut out)?;
    out.flush().map_err(of_file(output))?;
    Ok(written)
}
