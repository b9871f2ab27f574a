//! The cache of a restore.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use replica::{Blocks, Cached, Error, FileInfo, ReplicaClient, Result};

use crate::client::{Client, PyClient};
use crate::errors::detached;

/// Blocks of the files of one replica, in a directory.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
pub(crate) struct Cache(Arc<Blocks>);

#[pymethods]
impl Cache {
    #[new]
    fn new(py: Python<'_>, path: PathBuf, limit: u64, replica: String) -> PyResult<Self> {
        detached(py, || Ok::<_, Error>(Self(Arc::new(Blocks::new(&path, limit, &replica)))))
    }

    /// Why the directory cannot be used, if it cannot; once.
    fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }
}

/// A client, with a cache if there is one and the client can do with one.
pub(crate) enum Source<'a> {
    Plain(&'a dyn ReplicaClient),
    Cached(Cached<PyClient>),
}

impl<'a> Source<'a> {
    pub(crate) fn new(client: &'a Client, cache: Option<&Cache>) -> Self {
        match (client, cache) {
            (Client::Python(client), Some(cache)) => {
                Self::Cached(Cached::new(client.clone(), Arc::clone(&cache.0)))
            }
            _ => Self::Plain(client.as_dyn()),
        }
    }

    pub(crate) fn as_dyn(&self) -> &dyn ReplicaClient {
        match self {
            Self::Plain(client) => *client,
            Self::Cached(client) => client,
        }
    }

    /// To be called before these files are read.
    pub(crate) fn check(&self, files: &[FileInfo]) {
        if let Self::Cached(client) = self {
            client.check(files);
        }
    }

    /// Whether an error may be the fault of what came from the cache, which is not used again then.
    pub(crate) fn distrust(&self, error: &Error) -> bool {
        matches!(self, Self::Cached(client) if client.distrust(error))
    }

    /// Does `work`, and does it again without what came from the cache if that may have been wrong.
    pub(crate) fn trying<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match work() {
                Err(error) if self.distrust(&error) => {}
                done => return done,
            }
        }
    }
}
