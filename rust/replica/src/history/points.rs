//! Every state that a replica can restore.

use ltx::TxId;

use super::{History, can_be_planned};
use crate::client::{FileInfo, ReplicaClient};
use crate::error::Result;
use crate::place::RestorePoint;

/// Lists every transaction that [`plan`](crate::plan()) can restore, in ascending order.
///
/// # Errors
/// What the client reports.
pub fn restore_points(client: &dyn ReplicaClient) -> Result<Vec<RestorePoint>> {
    Ok(collect(&History::read(client, true)?))
}

/// The transactions of [`restore_points`].
pub(crate) fn reachable(history: &History) -> Vec<TxId> {
    collect(history).into_iter().map(|point| point.txid).collect()
}

pub(crate) fn collect(history: &History) -> Vec<RestorePoint> {
    let mut files: Vec<&FileInfo> = history.files().filter(|file| can_be_planned(file)).collect();
    files.sort_unstable_by_key(|file| (file.max_txid, file.min_txid));
    let mut points: Vec<RestorePoint> = Vec::new();
    // By ascending end, so that everything a file may continue has been seen when its turn comes. The highest
    // state below its end is the one to try: whatever continues a lower one continues that one as well.
    for group in files.chunk_by(|a, b| a.max_txid == b.max_txid) {
        let reached = points.last().map_or(TxId::NONE, |point| point.txid);
        let continuing = group.iter().filter(|file| file.continues(reached));
        if let Some(created_at) = continuing.map(|file| file.created_at).min()
            && let Some(file) = group.first()
        {
            points.push(RestorePoint { txid: file.max_txid, created_at });
        }
    }
    points
}
