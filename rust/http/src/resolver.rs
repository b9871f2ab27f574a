//! Names of hosts. The library's own resolver starts threads that know nothing of forks.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;
use std::{io, thread};

use forks::between_forks;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

/// As many as the type of the library holds.
const MOST_ADDRESSES: usize = 16;

/// How long the system may take if nobody says.
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => look_up(host.to_owned(), port, (*timeout.after).min(LONGEST))?,
        };
        let mut found = self.empty();
        for address in addresses.into_iter().take(MOST_ADDRESSES) {
            found.push(address);
        }
        if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
    }
}

/// Asks the system in a thread of its own, since it may hang.
fn look_up(host: String, port: u16, longest: Duration) -> Result<Vec<SocketAddr>, Error> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let ask = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody waits any more: it took too long.
        let _ = sender.send(found);
    };
    between_forks(|| thread::Builder::new().name("ltxcore-resolver".to_owned()).spawn(ask))?;
    let found: io::Result<Vec<SocketAddr>> =
        receiver.recv_timeout(longest).map_err(|_| Error::Timeout(Timeout::Resolve))?;
    found.map_err(|_| Error::HostNotFound)
}
