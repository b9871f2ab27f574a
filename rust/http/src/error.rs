//! Why a range could not be read.

use std::io;
use std::time::Duration;

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong. No text has a URL, a header or a password in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing under this URL.
    #[error("{host} has no such object (status {status})")]
    NotFound {
        /// Who answered.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// The server does not let us, perhaps no longer: a signed URL may have expired. S3 answers 400 to a token that has.
    #[error("{host} refused the request (status {status})")]
    Refused {
        /// Who answered.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// The server cannot answer now.
    #[error("{host} is busy or failing (status {status})")]
    Busy {
        /// Who answered.
        host: String,
        /// HTTP status.
        status: u16,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Another answer that is none to the question.
    #[error("{host} answered with status {status}")]
    Status {
        /// Who answered.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// The server sends whole objects only.
    #[error("{host} ignores byte ranges")]
    RangesIgnored {
        /// Who answered.
        host: String,
    },
    /// The server changes the bytes on their way, by compressing them.
    #[error("{host} sends an encoded body")]
    Encoded {
        /// Who answered.
        host: String,
    },
    /// The answer is about other bytes than were asked for, or does not say about which.
    #[error("{host} sent another range than the one asked for")]
    WrongRange {
        /// Who answered.
        host: String,
    },
    /// The body ended too early.
    #[error("{host} ended the answer {missing} bytes too early")]
    CutOff {
        /// Who answered.
        host: String,
        /// How many bytes are missing.
        missing: u64,
    },
    /// Redirected too often, or to where we do not go.
    #[error("{host} redirects the request to where it cannot go")]
    Redirected {
        /// Who answered last.
        host: String,
    },
    /// Nothing came for too long, or far too little.
    #[error("{host} did not answer in time ({what})")]
    TimedOut {
        /// Who was asked.
        host: String,
        /// What was waited for.
        what: &'static str,
    },
    /// No connection, or not for long enough.
    #[error("the connection to {host} failed")]
    Connection {
        /// Who was asked.
        host: String,
        /// What the operating system, or the TLS library, said.
        source: io::Error,
    },
    /// What came is no HTTP.
    #[error("{host} does not speak HTTP: {reason}")]
    Protocol {
        /// Who was asked.
        host: String,
        /// What is wrong with the answer.
        reason: &'static str,
    },
    /// The server's certificate is not to be trusted.
    #[error("the certificate of {host} is not trusted: {reason}")]
    Certificate {
        /// Who was asked.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The proxy does not let us through.
    #[error("the proxy refused to connect to {host}: {reason}")]
    Proxy {
        /// Who was to be asked.
        host: String,
        /// What the proxy said.
        reason: String,
    },
    /// A connection that was begun before this process was forked.
    #[error("the connection to {host} belongs to the parent process")]
    Forked {
        /// Who was asked.
        host: String,
    },
    /// A setting, a URL or a header that cannot be used.
    #[error("cannot use the {what}")]
    Setting {
        /// Which one.
        what: &'static str,
        /// Why not, if somebody said.
        source: Option<io::Error>,
    },
}

/// What an error means for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such object.
    NotFound,
    /// Refused: another URL may do.
    Refused,
    /// The same request may succeed when it is made again.
    Transient,
    /// The same, and it took too long.
    TimedOut,
    /// It will not succeed like this.
    Final,
}

impl Error {
    /// What it means.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } => Kind::NotFound,
            Self::Refused { .. } => Kind::Refused,
            Self::TimedOut { .. } => Kind::TimedOut,
            Self::Busy { .. }
            | Self::WrongRange { .. }
            | Self::CutOff { .. }
            | Self::Connection { .. }
            | Self::Protocol { .. }
            | Self::Forked { .. } => Kind::Transient,
            Self::Status { .. }
            | Self::RangesIgnored { .. }
            | Self::Encoded { .. }
            | Self::Redirected { .. }
            | Self::Certificate { .. }
            | Self::Proxy { .. }
            | Self::Setting { .. } => Kind::Final,
        }
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Takes this crate's error out of one that a [`Body`](crate::Body) has returned.
    ///
    /// # Errors
    /// Any other error, unchanged.
    pub fn from_io(error: io::Error) -> std::result::Result<Self, io::Error> {
        error.downcast::<Self>()
    }

    /// Whether the connection ended. One that was used before may have been closed by the server while it was idle.
    pub(crate) fn is_disconnect(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
        let Self::Connection { source, .. } = self else { return false };
        matches!(
            source.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
        )
    }

    /// What the library below says, without those of its texts that have a URL in them.
    pub(crate) fn from_ureq(host: &str, error: ureq::Error) -> Self {
        use ureq::Error as E;
        let host = host.to_owned();
        match error {
            E::Io(source) => Self::from_connection(host, source),
            E::Rustls(source) => {
                Self::from_connection(host, io::Error::new(io::ErrorKind::InvalidData, source))
            }
            E::Timeout(what) => Self::TimedOut { host, what: waited_for(what) },
            E::HostNotFound => {
                let source = io::Error::new(io::ErrorKind::NotFound, "the name of the host is not known");
                Self::Connection { host, source }
            }
            E::ConnectProxyFailed(reason) => Self::from_proxy(host, reason),
            E::InvalidProxyUrl => Self::Setting { what: "URL of the proxy", source: None },
            E::LargeResponseHeader(..) => Self::Protocol { host, reason: "the header is too long" },
            E::Http(_) | E::BadUri(_) => Self::Setting { what: "URL", source: None },
            // Not in its words: they may repeat what was sent.
            _ => Self::Protocol { host, reason: "the answer cannot be understood" },
        }
    }

    fn from_connection(host: String, source: io::Error) -> Self {
        let text = source.to_string();
        // Other faults in TLS may be those of the line.
        if source.kind() == io::ErrorKind::InvalidData && text.contains("certificate") {
            return Self::Certificate { host, reason: text };
        }
        Self::Connection { host, source }
    }

    /// Behind a proxy that answers with 502 or the like, it is the server that cannot be reached.
    fn from_proxy(host: String, reason: String) -> Self {
        if reason.contains(" 50") || reason.contains("not respond") {
            return Self::Connection { host, source: io::Error::other(reason) };
        }
        Self::Proxy { host, reason }
    }
}

fn waited_for(what: ureq::Timeout) -> &'static str {
    match what {
        ureq::Timeout::Connect | ureq::Timeout::Resolve => "connecting",
        ureq::Timeout::PerWrite | ureq::Timeout::SendRequest => "sending the request",
        ureq::Timeout::RecvResponse => "waiting for the answer",
        _ => "receiving",
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            Kind::NotFound => io::ErrorKind::NotFound,
            Kind::Refused => io::ErrorKind::PermissionDenied,
            Kind::TimedOut => io::ErrorKind::TimedOut,
            Kind::Transient => io::ErrorKind::ConnectionAborted,
            Kind::Final => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}
