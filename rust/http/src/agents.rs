//! The connections of this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use forks::ProcessLocal;
use ureq::config::Config;
use ureq::http::Request;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport};
use ureq::{Agent, Error as UreqError};

use crate::error::{Error, Result};
use crate::resolver::SystemResolver;
use crate::settings::Settings;

/// Idle connections that are kept, to one host and in all.
const MOST_IDLE: usize = 64;

/// Bytes for what comes, and for the head of a request, for each connection.
const INPUT: usize = 64 << 10;
const OUTPUT: usize = 16 << 10;

/// Different settings that are remembered; few programs have more than one.
const MOST_SETTINGS: usize = 32;

type Agents = HashMap<Settings, Agent>;

/// A forked child starts without any: those of its parent are the parent's.
static AGENTS: ProcessLocal<Mutex<Agents>> = ProcessLocal::new(Mutex::default);

/// What no setting changes.
static COMMON: OnceLock<Agent> = OnceLock::new();

/// Lets the library below look at the environment, which it does whenever it makes a configuration from nothing. It finds nothing
/// that is used. To be called before other threads may change the environment.
pub fn prepare() {
    common();
}

fn common() -> &'static Agent {
    COMMON.get_or_init(|| {
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            // Followed in `source`, which knows what not to send elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(MOST_IDLE)
            .max_idle_connections_per_host(MOST_IDLE)
            .input_buffer_size(INPUT)
            .output_buffer_size(OUTPUT)
            .user_agent(concat!("ltxcore/", env!("CARGO_PKG_VERSION")))
            .build();
        Agent::with_parts(config, Spy::default(), Nowhere)
    })
}

/// The agent of these settings, in this process.
pub(crate) fn agent(settings: &Settings) -> Result<Agent> {
    if let Some(agent) = agents().get(settings) {
        return Ok(agent.clone());
    }
    let new = Agent::with_parts(config(settings)?, DefaultConnector::new(), SystemResolver);
    let mut agents = agents();
    if agents.len() >= MOST_SETTINGS {
        agents.clear();
    }
    Ok(agents.entry(settings.clone()).or_insert(new).clone())
}

fn agents() -> MutexGuard<'static, Agents> {
    // The map is whole at any time.
    AGENTS.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// The configuration for settings, made from [`COMMON`]: for a request the library changes a copy, and hands it to the connector.
fn config(settings: &Settings) -> Result<Config> {
    let spy = Spy::default();
    let agent = Agent::with_parts(common().config().clone(), spy.clone(), Nowhere);
    let unused = Error::Setting { what: "settings", source: None };
    let Ok(request) = Request::get("http://nowhere.invalid/").body(()) else { return Err(unused) };
    let request = agent
        .configure_request(request)
        .proxy(settings.ureq_proxy()?)
        .tls_config(settings.ureq_tls()?)
        .timeout_resolve(Some(settings.connect))
        .timeout_connect(Some(settings.connect))
        .timeout_send_request(Some(settings.stall))
        .timeout_recv_response(Some(settings.stall.saturating_mul(2)))
        .timeout_per_read(Some(settings.stall))
        .timeout_per_write(Some(settings.stall))
        .build();
    // It fails, as nothing is connected to.
    drop(agent.run(request));
    let seen = spy.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    seen.ok_or(unused)
}

/// Takes the configuration that it should connect with, and connects to nothing.
#[derive(Clone, Debug, Default)]
struct Spy(Arc<Mutex<Option<Config>>>);

impl Connector for Spy {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> std::result::Result<Option<Self::Out>, UreqError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(details.config.clone());
        Ok(None)
    }
}

/// Knows no host, and needs none.
#[derive(Debug)]
struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &Config,
        _: NextTimeout,
    ) -> std::result::Result<ureq::unversioned::resolver::ResolvedSocketAddrs, UreqError> {
        Ok(self.empty())
    }
}
