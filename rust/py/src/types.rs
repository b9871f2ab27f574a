//! Every Python object that Rust needs, imported when it is first asked for, and the values made with them.

use ltx::{Checksum, Pos, Timestamp, TxId};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::gil;

/// A Python object by module and name.
struct Lazy {
    cell: PyOnceLock<Py<PyAny>>,
    module: &'static str,
    name: &'static str,
}

impl Lazy {
    const fn new(module: &'static str, name: &'static str) -> Self {
        Self { cell: PyOnceLock::new(), module, name }
    }

    fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        self.cell.import(py, self.module, self.name)
    }
}

static TXID: Lazy = Lazy::new("ltxcore.ltx", "TXID");
static CHECKSUM: Lazy = Lazy::new("ltxcore.ltx", "Checksum");
static POS: Lazy = Lazy::new("ltxcore.ltx", "Pos");
static TO_MILLIS: Lazy = Lazy::new("ltxcore._process.times", "to_millis");
static FROM_MILLIS: Lazy = Lazy::new("ltxcore._process.times", "from_millis");
static LOCATE: Lazy = Lazy::new("ltxcore.clients._located", "locate");
static LOCATE_OBJECT: Lazy = Lazy::new("ltxcore.clients._located", "locate_object");
static GAVE_UP: Lazy = Lazy::new("ltxcore.clients._located", "gave_up");

/// `ltxcore.clients._located.locate`
pub(crate) fn locate(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    LOCATE.get(py)
}

/// `ltxcore.clients._located.locate_object`
pub(crate) fn locate_object(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    LOCATE_OBJECT.get(py)
}

/// `ltxcore.clients._located.gave_up`
pub(crate) fn gave_up(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    GAVE_UP.get(py)
}

/// `ltxcore.ltx.TXID`
pub(crate) fn txid(py: Python<'_>, value: TxId) -> PyResult<Bound<'_, PyAny>> {
    gil::call(TXID.get(py)?, (value.get(),), None)
}

/// `ltxcore.ltx.Checksum`
pub(crate) fn checksum(py: Python<'_>, value: Checksum) -> PyResult<Bound<'_, PyAny>> {
    gil::call(CHECKSUM.get(py)?, (value.get(),), None)
}

/// `ltxcore.ltx.Pos`
pub(crate) fn pos(py: Python<'_>, value: Pos) -> PyResult<Bound<'_, PyAny>> {
    gil::call(POS.get(py)?, (txid(py, value.txid)?, checksum(py, value.post_apply_checksum)?), None)
}

/// An aware `datetime`
pub(crate) fn datetime(py: Python<'_>, value: Timestamp) -> PyResult<Bound<'_, PyAny>> {
    gil::call(FROM_MILLIS.get(py)?, (value.millis(),), None)
}

/// What an aware `datetime` stands for; a naive one is an error.
pub(crate) fn timestamp(value: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    let millis = gil::call(TO_MILLIS.get(value.py())?, (value,), None)?.extract()?;
    Ok(Timestamp::from_millis(millis))
}
