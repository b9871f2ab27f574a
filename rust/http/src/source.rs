//! Where an object is, and how it is asked for.

use std::fmt;
use std::sync::Arc;

use ureq::http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, LOCATION, RANGE, TRANSFER_ENCODING};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};

use crate::answer::{self, Asked};
use crate::body::Body;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::{Counter, agents};

/// How often a request may be sent elsewhere.
const MOST_REDIRECTS: usize = 3;

/// A URL, and the headers that its requests need.
#[derive(Clone)]
pub struct Source {
    uri: Uri,
    headers: HeaderMap,
    settings: Arc<Settings>,
    counter: Arc<Counter>,
}

impl fmt::Debug for Source {
    /// The host alone: the rest is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&host(&self.uri)).finish_non_exhaustive()
    }
}

impl Source {
    /// An object at `url`. Headers that say which bytes are wanted, or how a connection is used, are left out: those are ours.
    ///
    /// # Errors
    /// [`Error::Setting`] if the URL is none of `http` or `https`, or if a header cannot be sent.
    pub fn new<'a>(
        url: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        settings: Arc<Settings>,
        counter: Arc<Counter>,
    ) -> Result<Self> {
        let uri = parsed(url).ok_or(Error::Setting { what: "URL", source: None })?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let pair = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            let (name, value) = pair.ok_or(Error::Setting { what: "headers", source: None })?;
            if ![ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, RANGE, TRANSFER_ENCODING].contains(&name) {
                map.append(name, value);
            }
        }
        Ok(Self { uri, headers: map, settings, counter })
    }

    /// Asks for `size` bytes from `offset` on, or for all to the end. The body has fewer only where the object ends, and none beyond.
    ///
    /// # Errors
    /// Any [`enum@Error`]. One that [`Error::kind`] calls transient may be gone by the next call.
    pub fn read(&self, offset: u64, size: Option<u64>) -> Result<Body> {
        let asked = Asked { offset, size };
        if size == Some(0) {
            return Ok(Body::empty());
        }
        let (response, host) = self.follow(&asked.header())?;
        let (expected, total) = answer::check(&asked, &host, &response)?;
        let body =
            Body::new(response.into_body(), host, expected, self.settings.stall, Arc::clone(&self.counter));
        Ok(body.of(total))
    }

    /// Sends the request, and again to where it is redirected. Who answered comes with the answer.
    fn follow(&self, range: &str) -> Result<(Response<ureq::Body>, String)> {
        let mut uri = self.uri.clone();
        for _ in 0..=MOST_REDIRECTS {
            let host = host(&uri);
            let response = self.send(&uri, &host, range)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, host));
            }
            uri = redirected(&uri, &response).ok_or(Error::Redirected { host })?;
        }
        Err(Error::Redirected { host: host(&uri) })
    }

    fn send(&self, uri: &Uri, host: &str, range: &str) -> Result<Response<ureq::Body>> {
        let agent = agents::agent(&self.settings)?;
        let run = || {
            self.counter.add_request();
            agent.run(self.request(uri, range)?).map_err(|error| Error::from_ureq(host, error))
        };
        match run() {
            // A connection that was used before may have been closed while it was idle.
            Err(error) if error.is_disconnect() => run(),
            done => done,
        }
    }

    fn request(&self, uri: &Uri, range: &str) -> Result<Request<()>> {
        let refused = |_| Error::Setting { what: "URL", source: None };
        let mut request = Request::get(uri.clone())
            .header(RANGE, range)
            .header(ACCEPT_ENCODING, "identity")
            .body(())
            .map_err(refused)?;
        // Headers are secrets for one server: they are sent to no other.
        if is_same_server(&self.uri, uri) {
            request.headers_mut().extend(self.headers.clone());
        }
        Ok(request)
    }
}

/// A URL of http or https with a host in it.
fn parsed(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    (is_http && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

/// The host for messages, with the port if there is one, and without a password.
fn host(uri: &Uri) -> String {
    let name = uri.host().unwrap_or_default();
    uri.port_u16().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

fn is_same_server(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().or(if is_https(uri) { Some(443) } else { Some(80) });
    is_https(one) == is_https(other) && one.host() == other.host() && port(one) == port(other)
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// Where a redirect leads: to a URL, or to a path on the same server; never from https to http.
fn redirected(from: &Uri, response: &Response<ureq::Body>) -> Option<Uri> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let to = if location.starts_with('/') && !location.starts_with("//") {
        parsed(&format!("{}://{}{location}", from.scheme_str()?, from.authority()?))?
    } else {
        parsed(location)?
    };
    (is_https(&to) || !is_https(from)).then_some(to)
}
