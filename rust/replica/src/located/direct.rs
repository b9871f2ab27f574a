//! Reads files where they are.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http_ranges::{Body, Kind};

use crate::client::FileInfo;
use crate::error::{Error, Result};
use crate::located::cache::Cache;
use crate::located::spot::{Locate, Spot};
use crate::object_store::Span;
use crate::place::{FileKey, Place};
use crate::source::FileSpan;

/// The longest pause that a server gets before it is asked again, in place of the one that it wants.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How often one reader connects again. As long as something comes each time, it goes on at once.
const MOST_RESUMPTIONS: u32 = 32;

/// Reads the files of a client. Where each is, is asked once; a URL is renewed at half its life, and once when it is refused.
/// What cannot be read there is left to the client, whose error says more.
pub struct Direct<L> {
    client: L,
    cache: Cache,
}

/// A file that was opened.
enum Opened {
    /// It has to be opened by the client.
    Not,
    File(FileSpan),
    Body(Box<Body>),
}

impl<L: Locate> Direct<L> {
    /// Nothing is known yet.
    pub fn new(client: L) -> Self {
        Self { client, cache: Cache::default() }
    }

    /// The client.
    pub fn client(&self) -> &L {
        &self.client
    }

    /// Opens a file where it is; `None` if the client has to.
    ///
    /// # Errors
    /// As [`ReplicaClient::open_ltx_file`](crate::ReplicaClient::open_ltx_file).
    pub fn open(self: &Arc<Self>, info: &FileInfo, span: Span) -> Result<Option<Box<dyn Read + Send>>> {
        Ok(match self.begin(info, span)? {
            Opened::Not => None,
            Opened::File(file) => Some(Box::new(file)),
            Opened::Body(body) => Some(Box::new(LocatedReader::new(Arc::clone(self), *info, span, body))),
        })
    }

    fn begin(&self, info: &FileInfo, span: Span) -> Result<Opened> {
        let file = info.key();
        for is_last in [false, true] {
            let spot = self.cache.get(file, |file| self.client.locate(file))?;
            match &spot {
                Spot::Client => return Ok(Opened::Not),
                Spot::Path(path) => match FileSpan::open(path, span) {
                    // Perhaps it was moved, out of a cache for one.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && !is_last => {}
                    opened => {
                        return opened.map(Opened::File).map_err(|error| self.path_error(file, path, error));
                    }
                },
                Spot::Url(source, _) => match source.read(span.offset, span.size) {
                    Err(error) if error.kind() == Kind::Refused && !is_last => {}
                    Err(error) => return self.refused(file, error),
                    Ok(body) => return Ok(Opened::Body(Box::new(body))),
                },
            }
            self.cache.forget(file, &spot);
        }
        Ok(Opened::Not)
    }

    /// What to do when a server does not give a file: an error, or another way to it.
    fn refused(&self, file: FileKey, error: http_ranges::Error) -> Result<Opened> {
        match error.kind() {
            Kind::Refused | Kind::Final => {
                self.cache.put(file, Spot::Client);
                self.client.gave_up(file, &error);
                Ok(Opened::Not)
            }
            _ => {
                thread::sleep(error.retry_after().unwrap_or_default().min(LONGEST_PAUSE));
                Err(self.error(file, error))
            }
        }
    }

    fn error(&self, file: FileKey, error: http_ranges::Error) -> Error {
        let (place, kind) = (Box::new(Place::file(self.client.client_type(), file)), error.kind());
        let source = io::Error::from(error);
        match kind {
            Kind::NotFound => Error::NotFound { place, source },
            Kind::Refused => Error::Permission { place, source },
            Kind::TimedOut => Error::Timeout { place, source },
            _ => Error::Io { place, source },
        }
    }

    /// What a reader says.
    fn io_error(&self, file: FileKey, error: io::Error) -> Error {
        match http_ranges::Error::from_io(error) {
            Ok(error) => self.error(file, error),
            Err(error) => Error::from_io(Place::file(self.client.client_type(), file), error),
        }
    }

    fn path_error(&self, file: FileKey, path: &Path, error: io::Error) -> Error {
        Error::from_io(Place::file(self.client.client_type(), file).with_path(path), error)
    }
}

/// Goes on at the byte that was reached when a connection breaks.
struct LocatedReader<L> {
    direct: Arc<Direct<L>>,
    info: FileInfo,
    /// What is still to come.
    span: Span,
    from: Box<dyn Read + Send>,
    has_progressed: bool,
    resumptions: u32,
}

impl<L: Locate> LocatedReader<L> {
    fn new(direct: Arc<Direct<L>>, info: FileInfo, span: Span, body: Box<Body>) -> Self {
        Self { direct, info, span, from: body, has_progressed: false, resumptions: 0 }
    }

    fn resume(&mut self) -> Result<()> {
        self.resumptions += 1;
        self.has_progressed = false;
        self.from = match self.direct.begin(&self.info, self.span)? {
            Opened::Not => self.direct.client.open(&self.info, self.span)?,
            Opened::File(file) => Box::new(file),
            Opened::Body(body) => body,
        };
        Ok(())
    }
}

impl<L: Locate> Read for LocatedReader<L> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let error = match self.from.read(buf) {
                Ok(n) => {
                    let Span { offset, size } = self.span;
                    let size = size.map(|size| size.saturating_sub(n as u64));
                    self.span = Span { offset: offset.saturating_add(n as u64), size };
                    self.has_progressed |= n > 0;
                    return Ok(n);
                }
                Err(error) => self.direct.io_error(self.info.key(), error),
            };
            let may_go_on = self.has_progressed && self.resumptions < MOST_RESUMPTIONS;
            // What took long enough already is for the caller to go on with.
            if !may_go_on || !error.is_transient() || matches!(error, Error::Timeout { .. }) {
                return Err(error.into_io());
            }
            self.resume().map_err(Error::into_io)?;
        }
    }
}
