//! What the engine answers, as frozen objects with the names that they have in Rust.

use pyo3::prelude::*;

/// A checkpoint that was run.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
pub(crate) struct Checkpoint {
    busy: bool,
    wal_frames: u32,
    checkpointed_frames: u32,
}

impl From<engine::CheckpointResult> for Checkpoint {
    fn from(done: engine::CheckpointResult) -> Self {
        Self { busy: done.busy, wal_frames: done.wal_frames, checkpointed_frames: done.checkpointed }
    }
}

/// One L0 file of the meta directory.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
pub(crate) struct LocalFile {
    min_txid: u64,
    max_txid: u64,
    size: u64,
    created_ms: i64,
}

impl From<engine::LocalFile> for LocalFile {
    fn from(file: engine::LocalFile) -> Self {
        Self {
            min_txid: file.min_txid.get(),
            max_txid: file.max_txid.get(),
            size: file.size,
            created_ms: file.created_at.millis(),
        }
    }
}

/// Pages of a replica beside those of the database.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
pub(crate) struct ChainComparison {
    differing: u64,
    compared: u64,
}

impl From<(u64, u64)> for ChainComparison {
    fn from((differing, compared): (u64, u64)) -> Self {
        Self { differing, compared }
    }
}

/// A pass over all pages that is under way.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
#[derive(Clone)]
pub(crate) struct Scan {
    pages_done: u32,
    pages: u32,
    reason: Option<&'static str>,
}

/// The state of one database.
#[pyclass(frozen, get_all, module = "ltxcore._ltxcore")]
pub(crate) struct Status {
    txid: u64,
    checksum: u64,
    wal_size: u64,
    page_size: Option<u32>,
    last_sync_ms: Option<i64>,
    reason: Option<&'static str>,
    scan: Option<Scan>,
    incremental_syncs: u64,
    diff_syncs: u64,
    full_syncs: u64,
    restarts: u64,
    checkpoints: u64,
}

impl From<engine::Status> for Status {
    fn from(status: engine::Status) -> Self {
        let counters = status.counters;
        Self {
            txid: status.pos.txid.get(),
            checksum: status.pos.post_apply_checksum.get(),
            wal_size: status.wal_size,
            page_size: status.page_size.map(ltx::PageSize::get),
            last_sync_ms: status.last_sync.map(ltx::Timestamp::millis),
            reason: status.reason,
            scan: status.scan.map(|scan| Scan {
                pages_done: scan.pages_done,
                pages: scan.pages,
                reason: scan.reason,
            }),
            incremental_syncs: counters.incremental_syncs,
            diff_syncs: counters.diff_syncs,
            full_syncs: counters.full_syncs,
            restarts: counters.restarts,
            checkpoints: counters.checkpoints,
        }
    }
}
