//! Whole LTX files: merge, apply, encode; and their names.

use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use ltx::{Checksum, CompactOptions, HeaderFlags, PageCount, PageSize, Pos, ReadAt, TxId};
use pyo3::prelude::*;

use crate::errors::{NotReadyError, OrRaise, detached};
use crate::header::{Header, Trailer};
use crate::pyio::{BLOCK, PyWriter, Source, open, open_for_apply};
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
    let work = || -> ltx::Result<Pos> {
        let decoder = ltx::Decoder::new(reader)?;
        let header = *decoder.header();
        let database = open_for_apply(&database, header.is_snapshot())?;
        let trailer = ltx::apply(decoder, &database)?;
        database.sync_all()?;
        Ok(Pos { txid: header.max_txid, post_apply_checksum: trailer.post_apply_checksum })
    };
    let pos = detached(py, work)?;
    Ok((pos.txid.get(), pos.post_apply_checksum.get()))
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
    let database = open(&database).or_raise(py)?;
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
    let database = open(&database).or_raise(py)?;
    let (page_size, _) = shape(py, &database)?;
    detached(py, || ltx::checksum_database(&database, page_size)).map(Checksum::get)
}

/// Page size and number of pages of a database file, from its header and its length.
fn shape(py: Python<'_>, database: &impl ReadAt) -> PyResult<(PageSize, PageCount)> {
    let Some(header) = wal::DbHeader::read(database).or_raise(py)? else {
        return Err(NotReadyError::new_err("the database is empty"));
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
