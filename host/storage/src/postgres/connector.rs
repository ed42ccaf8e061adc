//! How connections to the database are made: where it is, what is checked of it, what both sides promise each other, and the
//! threads that carry them.

use super::lease::Watch;
use super::session::Session;
use crate::OpenError;
use crate::rows::RowError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a connection may take to be made, over all hosts that are named.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// After so long without a sign of life of the other side a connection is given up, by either side.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// After so long of silence either side asks for one, and again.
const ASKED_AFTER: (Duration, Duration, u32) = (Duration::from_secs(4), Duration::from_secs(2), 3);

/// What a connection asks of the database, whatever its owner has set for everybody. It gives up a router that is gone as soon as
/// the router gives up the database, and one that was stopped in the middle of a transaction.
const TERMS: &str = "SET client_min_messages = warning; SET idle_session_timeout = 0; SET statement_timeout = 0; \
                     SET lock_timeout = 0; SET idle_in_transaction_session_timeout = '15s'; \
                     SET default_transaction_isolation = 'read committed'; \
                     SELECT set_config('transaction_timeout', '0', false) \
                     WHERE current_setting('transaction_timeout', true) IS NOT NULL";

/// Where the database is.
#[derive(Clone)]
pub struct PostgresConfig {
    /// As libpq writes it: `host=… dbname=…` or `postgresql://…`, with the password.
    pub connection: String,
    /// PEM: the authorities that the database's certificate may be from; `None`: the public ones.
    pub authorities: Option<Vec<u8>>,
    /// Whether the database must sync each commit. Only a test says no.
    pub is_durable: bool,
    /// Where this machine notes how far it saw the journal.
    pub mark: PathBuf,
}

impl PostgresConfig {
    fn parse(&self) -> Result<tokio_postgres::Config, String> {
        // What is wrong is told without the string, which may have a password.
        self.connection
            .parse()
            .map_err(|error: tokio_postgres::Error| reason(&error))
    }

    /// Whether a password stands in the string; the text says what is wrong with it.
    pub fn has_password(&self) -> Result<bool, String> {
        let parsed = self.parse()?;
        if parsed.get_hosts().is_empty() {
            return Err("it names no host: host=… dbname=… user=…".into());
        }
        Ok(parsed.get_password().is_some())
    }
}

/// How connections are made, and the threads that carry them.
pub(super) struct Connector {
    runtime: Option<Runtime>,
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    /// The database, for people.
    pub name: String,
    pub is_durable: bool,
    pub mark: PathBuf,
}

impl Drop for Connector {
    fn drop(&mut self) {
        // Whoever drops it may be a thread that must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connector {
    pub fn new(config: &PostgresConfig) -> Result<Self, OpenError> {
        let bad = |problem: String| OpenError::Postgres("the database".into(), problem);
        let mut parsed = config.parse().map_err(bad)?;
        let (idle, interval, retries) = ASKED_AFTER;
        parsed
            .connect_timeout(CONNECT_WITHIN / 2)
            .tcp_user_timeout(SILENCE_MAX)
            .keepalives(true)
            .keepalives_idle(idle)
            .keepalives_interval(interval)
            .keepalives_retries(retries)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if parsed.get_application_name().is_none() {
            parsed.application_name("portolan");
        }
        let is_here = |host: &Host| match host {
            Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
            Host::Unix(_) => true,
        };
        // Over a network nothing goes in clear, whatever the other side offers.
        let is_all_here =
            parsed.get_hosts().iter().all(is_here) && parsed.get_hostaddrs().iter().all(IpAddr::is_loopback);
        if !is_all_here {
            parsed.ssl_mode(SslMode::Require);
        } else if parsed.get_ssl_mode() == SslMode::Prefer {
            parsed.ssl_mode(SslMode::Disable);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store-postgres")
            .enable_all()
            .build();
        let hosts: Vec<String> = parsed.get_hosts().iter().map(shown).collect();
        Ok(Self {
            runtime: Some(runtime.map_err(|error| bad(error.to_string()))?),
            tls: tls(config.authorities.as_deref()).map_err(bad)?,
            name: format!(
                "{} on {}",
                parsed.get_dbname().unwrap_or("the database"),
                hosts.join(", ")
            ),
            config: parsed,
            is_durable: config.is_durable,
            mark: config.mark.clone(),
        })
    }

    /// A new connection. `watch`: who is told when it ends.
    pub fn connect(&self, watch: Option<Arc<Watch>>) -> Result<Session, RowError> {
        let Some(runtime) = &self.runtime else {
            return Err(RowError::new("the store is closed".into()));
        };
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let connected = runtime.spawn(async move {
            let made = tokio::time::timeout(CONNECT_WITHIN, config.connect(tls)).await;
            let (client, connection) = made
                .map_err(|_| RowError::new("it does not answer".into()))?
                .map_err(denied)?;
            tokio::spawn(async move {
                let why = match connection.await {
                    Ok(()) => "the database closed the connection".to_owned(),
                    Err(error) => error.to_string(),
                };
                if let Some(watch) = watch {
                    watch.ended(&format!(
                        "the connection to the database is lost, and the store's lease with it: {why}"
                    ));
                }
            });
            Ok::<_, RowError>(client)
        });
        let client = pollster::block_on(connected).map_err(|error| RowError::new(error.to_string()))?;
        let session = Session::new(client?);
        let (idle, interval, retries) = ASKED_AFTER;
        session.run(&format!(
            "SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; SET tcp_keepalives_count = {retries}; \
             SET tcp_user_timeout = {}; {TERMS}",
            idle.as_secs(),
            interval.as_secs(),
            SILENCE_MAX.as_millis()
        ))?;
        Ok(session)
    }
}

/// A failure to connect, with its cause. What the database itself says no to, it says no to again.
fn denied(error: tokio_postgres::Error) -> RowError {
    let state = error.code();
    let is_away = state.is_some_and(|state| matches!(state.code().get(..2), Some("57" | "53" | "08")));
    RowError {
        text: reason(&error),
        is_fatal: state.is_some() && !is_away,
    }
}

fn shown(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

/// An error with its cause: "error connecting to server" alone helps nobody.
fn reason(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn tls(authorities: Option<&[u8]>) -> Result<MakeRustlsConnect, String> {
    let mut roots = rustls::RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            let bad = |error: &dyn std::fmt::Display| format!("[store] postgres_ca: {error}");
            for authority in CertificateDer::pem_slice_iter(pem) {
                let added = roots.add(authority.map_err(|error| bad(&error))?);
                added.map_err(|error| bad(&error))?;
            }
            if roots.is_empty() {
                return Err(bad(&"it has no certificate"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(MakeRustlsConnect::new(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}
