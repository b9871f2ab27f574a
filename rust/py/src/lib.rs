//! The native half of ltxcore: `ltxcore._ltxcore`.
//!
//! Bindings only. Each takes its arguments out, lets go of the interpreter while a lower crate works, and wraps what
//! comes back. Errors cross in `errors.rs`, Python values in `types.rs`.

mod cache;
mod client;
mod codec;
mod engine;
mod engine_results;
mod errors;
mod files;
mod follow;
mod gil;
mod header;
mod history;
mod index;
mod legacy;
mod legacy_convert;
mod legacy_write;
mod locate;
mod located;
mod pyio;
mod python_client;
mod reader;
mod restore;
mod types;
mod url;
mod verify;
mod vfs;

/// Lets everything look at the environment that does so once. While a module is imported, the interpreter's lock keeps other threads
/// from changing it; later `getenv` could read what `setenv` is moving.
fn read_environment() {
    // Where temporary files go: the SQLite of the engine uses our file layer. What fails here fails again when it is needed.
    let _ = osvfs::register_linked();
    // A proxy, which is not used: Python says which one is.
    http_ranges::prepare();
    // How large the stacks of threads are, which is looked up when the first one is started.
    if let Ok(thread) = std::thread::Builder::new().spawn(|| {}) {
        let _ = thread.join();
    }
}

/// What `python/ltxcore/_ltxcore.pyi` describes.
#[pyo3::pymodule(gil_used = false)]
mod _ltxcore {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::cache::Cache;
    #[pymodule_export]
    use crate::client::FileClient;
    #[pymodule_export]
    use crate::codec::{Decoder, Encoder};
    #[pymodule_export]
    use crate::engine::{Database, integrity_check};
    #[pymodule_export]
    use crate::engine_results::{ChainComparison, Checkpoint, LocalFile, Scan, Status};
    #[pymodule_export]
    use crate::files::{apply, checksum_database, compact, encode_database, format_filename, parse_filename};
    #[pymodule_export]
    use crate::follow::{FileLock, Followed, Step, write_sidecar};
    #[pymodule_export]
    use crate::gil::begin_shutdown;
    #[pymodule_export]
    use crate::header::{Header, Trailer};
    #[pymodule_export]
    use crate::history::{Plan, Reach, following, missing_txids, reach, restore_plan, restore_points};
    #[pymodule_export]
    use crate::index::{PageIndex, PageIndexElem, read_page_index};
    #[pymodule_export]
    use crate::legacy::{LegacyHistory, LegacyPlan, legacy_restore};
    #[pymodule_export]
    use crate::legacy_convert::{LegacyConversion, legacy_verify};
    #[pymodule_export]
    use crate::legacy_write::{LegacySegment, legacy_segment, legacy_snapshot};
    #[pymodule_export]
    use crate::located::RequestCounter;
    #[pymodule_export]
    use crate::pyio::{FileReader, read_file};
    #[pymodule_export]
    use crate::reader::ReaderSource;
    #[pymodule_export]
    use crate::restore::{Restored, chain_checksums, compact_level, partial_path, restore};
    #[pymodule_export]
    use crate::url::{URLReader, open_url};
    #[pymodule_export]
    use crate::verify::{Verified, verify};
    #[pymodule_export]
    use crate::vfs::{Probed, SQLiteHandle, break_lock, probe_directory, take_refusal, write_checksums};

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python expects")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
    /// Whether this is an unoptimised build.
    #[pymodule_export]
    const DEBUG_BUILD: bool = cfg!(debug_assertions);
    #[pymodule_export]
    const HEADER_SIZE: usize = ltx::Header::SIZE;
    #[pymodule_export]
    const PAGE_HEADER_SIZE: usize = ltx::PAGE_HEADER_SIZE;
    #[pymodule_export]
    const TRAILER_SIZE: usize = ltx::Trailer::SIZE;
    #[pymodule_export]
    const PENDING_BYTE: u32 = ltx::PENDING_BYTE;
    #[pymodule_export]
    const SQLITE_MAGIC: &[u8] = dbfile::header::MAGIC;
    #[pymodule_export]
    const CHANGE_COUNTER_AT: usize = dbfile::header::CHANGE_COUNTER.start;
    #[pymodule_export]
    const VERSIONS_AT: usize = dbfile::header::VERSIONS.start;
    #[pymodule_export]
    const SNAPSHOT_LEVEL: u8 = ltx::SNAPSHOT_LEVEL;
    #[pymodule_export]
    const MAX_PARALLELISM: usize = replica::MOST_WORKERS;
    /// LTX format generation.
    #[pymodule_export]
    const VERSION: u32 = 3;
    #[pymodule_export]
    const MAGIC: &[u8] = b"LTX1";

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::gil::check_interpreter(module.py())?;
        crate::read_environment();
        module.add("SQLITE_VERSION", engine::sqlite_version())
    }
}
