//! How the files of a replica join to one history.

use ltx::TxId;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use replica::{History, Obstacle, RestorePoint};

use crate::client::{Client, Name, Row, info, key, name, row};
use crate::errors::{IntoPython, detached};
use crate::gil;
use crate::restore::target;

/// Which files a restore would use.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
pub(crate) struct Plan {
    files: Vec<Row>,
    clamped: bool,
}

/// Which files a restore would use.
#[pyfunction]
#[pyo3(signature = (client, txid=None, timestamp_ms=None))]
pub(crate) fn restore_plan(
    py: Python<'_>,
    client: Client,
    txid: Option<u64>,
    timestamp_ms: Option<i64>,
) -> PyResult<Plan> {
    let target = target(txid, timestamp_ms)?;
    let plan = detached(py, || replica::plan(client.as_dyn(), &target))?;
    Ok(Plan { files: plan.files.iter().map(row).collect(), clamped: plan.clamped })
}

/// Every state that can be restored.
#[pyfunction]
pub(crate) fn restore_points(py: Python<'_>, client: Client) -> PyResult<Vec<(u64, i64)>> {
    let points = detached(py, || replica::restore_points(client.as_dyn()))?;
    let pair = |point: RestorePoint| (point.txid.get(), point.created_at.millis());
    Ok(points.into_iter().map(pair).collect())
}

/// The files that continue a database at a transaction.
#[pyfunction]
#[pyo3(signature = (client, txid, *, thorough=true))]
pub(crate) fn following(py: Python<'_>, client: Client, txid: u64, thorough: bool) -> PyResult<Vec<Row>> {
    let files = detached(py, || replica::following(client.as_dyn(), TxId::new(txid), thorough))?;
    Ok(files.iter().map(row).collect())
}

/// How far a restore of the newest state comes.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
pub(crate) struct Reach {
    chain: Vec<Name>,
    txid: u64,
    damaged: Option<Name>,
    missing: Option<Py<PyBaseException>>,
}

#[pymethods]
impl Reach {
    fn __repr__(&self) -> String {
        format!("<Reach {}>", TxId::new(self.txid))
    }
}

/// How far a restore of the newest state from these files comes.
#[pyfunction]
pub(crate) fn reach(py: Python<'_>, files: Vec<Row>, damaged: Vec<Name>) -> Reach {
    let damaged = damaged.into_iter().map(|name| key(name).key()).collect();
    let found = gil::detach(py, || History::new(files.into_iter().map(info)).reach(&damaged));
    let (damaged, missing) = match found.obstacle {
        None => (None, None),
        Some(Obstacle::Damaged(file)) => (Some(name(file)), None),
        Some(Obstacle::Missing(error)) => (None, Some(error.into_python(py).into_value(py))),
    };
    let chain = found.chain.iter().map(|file| name(file.key())).collect();
    Reach { chain, txid: found.txid.get(), damaged, missing }
}

/// Which transactions are in none of these files, but for snapshots.
#[pyfunction]
pub(crate) fn missing_txids(py: Python<'_>, files: Vec<Row>, txids: Vec<u64>) -> Vec<u64> {
    gil::detach(py, || {
        let txids: Vec<TxId> = txids.into_iter().map(TxId::new).collect();
        let missing = History::new(files.into_iter().map(info)).missing(&txids);
        missing.into_iter().map(TxId::get).collect()
    })
}
