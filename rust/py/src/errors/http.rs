//! Errors of reading from URLs.

use http_ranges::{Error, Kind};
use pyo3::prelude::*;

use super::{
    IntoPython, ObjectNotFoundError, ReplicaError, ReplicaPermissionError, ReplicaTimeoutError, With, message,
};

impl IntoPython for Error {
    fn into_python(self, py: Python<'_>) -> PyErr {
        let text = message(&self);
        let (error, is_transient) = match self.kind() {
            Kind::NotFound => (ObjectNotFoundError::new_err(py, text), false),
            Kind::Refused => (ReplicaPermissionError::new_err(py, text), false),
            Kind::TimedOut => (ReplicaTimeoutError::new_err(py, text), true),
            Kind::Transient => (ReplicaError::new_err(py, text), true),
            Kind::Final => (ReplicaError::new_err(py, text), false),
        };
        let error = error.with(py, "transient", is_transient);
        match self {
            Self::Refused { .. } => error.hint(
                py,
                "check the user, the password and the parameters of the URL, and what they give access to",
            ),
            Self::Certificate { .. } => {
                error.hint(py, "set SSL_CERT_FILE to the certificate of the authority, in PEM")
            }
            Self::Proxy { .. } => error.hint(py, "check HTTPS_PROXY and NO_PROXY"),
            _ => error,
        }
    }
}
