//! Python clients that know where their files are, which Rust then reads without the interpreter.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_ranges::{Counter, Roots, Settings, Source};
use pyo3::prelude::*;
use pyo3::types::PyBool;
use replica::{Direct, FileInfo, FileKey, Locate, Result, Span, Spot};

use crate::errors::message;
use crate::gil;
use crate::python_client::{PyObjectClient, ask};
use crate::types;

/// Counts requests to URLs, and the bytes that came back.
#[pyclass(frozen, module = "ltxcore._ltxcore")]
#[derive(Default)]
pub(crate) struct RequestCounter(Arc<Counter>);

#[pymethods]
impl RequestCounter {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// How many requests were sent.
    #[getter]
    fn requests(&self) -> u64 {
        self.0.requests()
    }

    /// How many bytes came back, without headers.
    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn __repr__(&self) -> String {
        format!("RequestCounter(requests={}, bytes={})", self.0.requests(), self.0.bytes())
    }
}

/// A client in Python that is asked where its files are.
pub(crate) struct Located {
    pub(crate) client: PyObjectClient,
    /// Until it says that it never knows.
    may_know: AtomicBool,
}

/// Proxy, bundle of certificates, whether these are verified, seconds for connecting, seconds of silence.
pub(crate) type Options = (Option<String>, Option<PathBuf>, bool, f64, f64);

/// URL, headers, seconds that it is good for, how to connect, and who counts.
pub(crate) type Signed = (String, Vec<(String, String)>, f64, Options, Option<Py<RequestCounter>>);

impl Located {
    pub(crate) fn new(client: PyObjectClient) -> Arc<Direct<Self>> {
        Arc::new(Direct::new(Self { client, may_know: AtomicBool::new(true) }))
    }

    /// Whether it is worth while to ask.
    pub(crate) fn may_know(&self) -> bool {
        self.may_know.load(Ordering::Relaxed)
    }

    /// `False`: never ask again. `None`: this file is read by the client. A text: a path.
    fn spot(&self, answer: &Bound<'_, PyAny>) -> PyResult<Spot> {
        if answer.is_none() || answer.is_instance_of::<PyBool>() {
            self.may_know.fetch_and(answer.is_none(), Ordering::Relaxed);
            return Ok(Spot::Client);
        }
        if let Ok(path) = answer.extract::<PathBuf>() {
            return Ok(Spot::Path(path));
        }
        let signed = answer.extract::<Signed>()?;
        let life = seconds(signed.2);
        // A URL of another kind is one that the client may know how to read.
        Ok(source(signed).map_or(Spot::Client, |source| Spot::Url(Arc::new(source), life)))
    }
}

/// A URL and what belongs to it, as a source of bytes.
pub(crate) fn source((url, headers, _, options, counter): Signed) -> http_ranges::Result<Source> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let counter = counter.map(|counter| Arc::clone(&counter.get().0)).unwrap_or_default();
    Source::new(&url, headers, Arc::new(settings(options)), counter)
}

fn settings((proxy, bundle, verify, connect, stall): Options) -> Settings {
    let roots = match bundle {
        _ if !verify => Roots::Unverified,
        Some(path) => Roots::File(path),
        None => Roots::Mozilla,
    };
    Settings { roots, proxy, connect: seconds(connect), stall: seconds(stall) }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

impl Locate for Located {
    fn client_type(&self) -> &str {
        self.client.client_type()
    }

    fn locate(&self, file: FileKey) -> Result<Spot> {
        if !self.may_know() {
            return Ok(Spot::Client);
        }
        ask(|py| {
            let key = (file.level, types::txid(py, file.min_txid)?, types::txid(py, file.max_txid)?);
            let arguments = (self.client.bind(py), key.0, key.1, key.2);
            self.spot(&gil::call(types::locate(py)?, arguments, None)?)
        })
    }

    fn open(&self, info: &FileInfo, span: Span) -> Result<Box<dyn Read + Send>> {
        self.client.open(info, span.offset, span.size)
    }

    fn gave_up(&self, _: FileKey, reason: &http_ranges::Error) {
        let text = message(reason);
        // A log that cannot be written is no reason not to read.
        let _ = ask(|py| gil::call(types::gave_up(py)?, (self.client.bind(py), text), None).map(drop));
    }
}
