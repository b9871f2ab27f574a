//! Header and trailer of an LTX file as Python values.

use ltx::{Checksum, HeaderFlags, PageCount, PageSize, TxId};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::OrRaise;
use crate::types;

/// The first 100 bytes of an LTX file.
#[pyclass(frozen, eq, hash, from_py_object, module = "ltxcore.ltx")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Header(pub(crate) ltx::Header);

#[pymethods]
impl Header {
    #[new]
    #[pyo3(signature = (*, page_size, commit, min_txid, max_txid, timestamp, pre_apply_checksum=0, no_checksum=true,
                        wal_offset=0, wal_size=0, wal_salt1=0, wal_salt2=0, node_id=0))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments, one for each field of the format")]
    fn new(
        py: Python<'_>,
        page_size: u32,
        commit: u32,
        min_txid: u64,
        max_txid: u64,
        timestamp: &Bound<'_, PyAny>,
        pre_apply_checksum: u64,
        no_checksum: bool,
        wal_offset: u64,
        wal_size: u64,
        wal_salt1: u32,
        wal_salt2: u32,
        node_id: u64,
    ) -> PyResult<Self> {
        let header = ltx::Header {
            flags: HeaderFlags { no_checksum },
            page_size: PageSize::new(page_size).or_raise(py)?,
            commit: PageCount::new(commit),
            min_txid: TxId::new(min_txid),
            max_txid: TxId::new(max_txid),
            timestamp: types::timestamp(timestamp)?,
            pre_apply_checksum: Checksum::new(pre_apply_checksum),
            wal_offset,
            wal_size,
            wal_salt1,
            wal_salt2,
            node_id,
        };
        header.validate().or_raise(py)?;
        Ok(Self(header))
    }

    #[staticmethod]
    fn parse(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        ltx::Header::parse(data).or_raise(py).map(Self)
    }

    fn encode<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.encode())
    }

    #[getter]
    fn no_checksum(&self) -> bool {
        self.0.flags.no_checksum
    }

    #[getter]
    fn page_size(&self) -> u32 {
        self.0.page_size.get()
    }

    #[getter]
    fn commit(&self) -> u32 {
        self.0.commit.get()
    }

    #[getter]
    fn min_txid<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        types::txid(py, self.0.min_txid)
    }

    #[getter]
    fn max_txid<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        types::txid(py, self.0.max_txid)
    }

    #[getter]
    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        types::datetime(py, self.0.timestamp)
    }

    #[getter]
    fn timestamp_ms(&self) -> i64 {
        self.0.timestamp.millis()
    }

    #[getter]
    fn pre_apply_checksum<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        types::checksum(py, self.0.pre_apply_checksum)
    }

    #[getter]
    fn wal_offset(&self) -> u64 {
        self.0.wal_offset
    }

    #[getter]
    fn wal_size(&self) -> u64 {
        self.0.wal_size
    }

    #[getter]
    fn wal_salt1(&self) -> u32 {
        self.0.wal_salt1
    }

    #[getter]
    fn wal_salt2(&self) -> u32 {
        self.0.wal_salt2
    }

    #[getter]
    fn node_id(&self) -> u64 {
        self.0.node_id
    }

    #[getter]
    fn is_snapshot(&self) -> bool {
        self.0.is_snapshot()
    }

    #[getter]
    fn lock_pgno(&self) -> u32 {
        self.0.lock_pgno().get()
    }

    #[getter]
    fn pre_apply_pos<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        types::pos(py, self.0.pre_apply_pos())
    }

    pub(crate) fn __repr__(&self) -> String {
        let ltx::Header { page_size, commit, min_txid, max_txid, .. } = self.0;
        let (page_size, min, max) = (page_size.get(), min_txid.get(), max_txid.get());
        format!(
            "Header(page_size={page_size}, commit={commit}, min_txid=TXID({min:#x}), max_txid=TXID({max:#x}))"
        )
    }
}

/// The last 16 bytes of an LTX file.
#[pyclass(frozen, eq, hash, module = "ltxcore.ltx")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Trailer(pub(crate) ltx::Trailer);

#[pymethods]
impl Trailer {
    #[getter]
    fn post_apply_checksum<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        types::checksum(py, self.0.post_apply_checksum)
    }

    #[getter]
    fn file_checksum<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        types::checksum(py, self.0.file_checksum)
    }

    fn __repr__(&self) -> String {
        let (post, file) = (self.0.post_apply_checksum.get(), self.0.file_checksum.get());
        format!("Trailer(post_apply_checksum=Checksum({post:#x}), file_checksum=Checksum({file:#x}))")
    }
}
