//! How to connect.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Proxy, ProxyProtocol};

use crate::error::{Error, Result};

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Roots {
    /// The authorities that Mozilla trusts, compiled in: the same on every machine, and there where an image has no bundle.
    Mozilla,
    /// Those in a file, in PEM. It is read when the first connection is made.
    File(PathBuf),
    /// Everybody: nothing is verified.
    Unverified,
}

/// How to connect. Equal settings share connections.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Whom to trust.
    pub roots: Roots,
    /// URL of an HTTP proxy that makes tunnels (`CONNECT`), with name and password if it wants them.
    pub proxy: Option<String>,
    /// How long connecting may take, with the proxy's tunnel and the TLS handshake.
    pub connect: Duration,
    /// How long the server may be silent.
    pub stall: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            roots: Roots::Mozilla,
            proxy: None,
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for Settings {
    /// Without the proxy: its URL may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { roots, proxy, connect, stall } = self;
        f.debug_struct("Settings")
            .field("roots", roots)
            .field("has_proxy", &proxy.is_some())
            .field("connect", connect)
            .field("stall", stall)
            .finish()
    }
}

impl Settings {
    /// The proxy, which has to be one that makes tunnels.
    pub(crate) fn ureq_proxy(&self) -> Result<Option<Proxy>> {
        let refused = |_| Error::Setting { what: "URL of the proxy", source: None };
        let Some(url) = &self.proxy else { return Ok(None) };
        let proxy = Proxy::new(url).map_err(refused)?;
        match proxy.protocol() {
            ProxyProtocol::Http | ProxyProtocol::Https => Ok(Some(proxy)),
            _ => Err(Error::Setting { what: "proxy: it is not an HTTP proxy", source: None }),
        }
    }

    pub(crate) fn ureq_tls(&self) -> Result<TlsConfig> {
        let builder = TlsConfig::builder();
        Ok(match &self.roots {
            Roots::Mozilla => builder.root_certs(RootCerts::WebPki).build(),
            Roots::File(path) => builder.root_certs(read_bundle(path)?).build(),
            Roots::Unverified => builder.disable_verification(true).build(),
        })
    }
}

/// The certificates in a file. What else is in it is passed over.
#[expect(clippy::disallowed_methods, reason = "a file of certificates")]
fn read_bundle(path: &Path) -> Result<RootCerts> {
    let refused = |source| Error::Setting { what: "bundle of certificates", source: Some(source) };
    let pem = fs::read(path).map_err(refused)?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let text = format!("no certificate in {}", path.display());
        return Err(refused(io::Error::new(io::ErrorKind::InvalidData, text)));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
