//! One router writes a database: the lock that says which, and waiting for it. It is held by the connection that writes, so
//! whoever loses it cannot write either; the system or the network takes both from a router that ends, however it ends.

use super::database::{Readers, Scribe};
use super::session::Session;
use super::{KeyProof, OpenError, migrations};
use crate::rows::RowError;
use crate::sql::{Sql, files, values, versions};
use portolan_domain::lifecycle::Version;
use portolan_domain::ports::ReadError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a start waits for the lock: the database may not have noticed yet that the last router is gone.
const LOCK_WITHIN: Duration = Duration::from_secs(15);
/// How often it is tried: what a router that stands by is late by.
const TRIED_EVERY: Duration = Duration::from_millis(50);
/// How often a router that stands by looks whether it could read the store.
const LOOKED_EVERY: Duration = Duration::from_secs(10);
/// How often it looks for versions of adapters that it has not prepared.
const FOLLOWED_EVERY: Duration = Duration::from_secs(1);
/// How long a router that stands by waits before it looks for a database that is away.
const BACK_EVERY: Duration = Duration::from_secs(1);
/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// After so long without a sign of life of the other side a connection is given up, by either side.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// After so long of silence either side asks for one, and again.
const ASKED_AFTER: (Duration, Duration, u32) = (Duration::from_secs(4), Duration::from_secs(2), 3);

/// The lock: one for each schema of a database.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('portolan:' || current_schema(), 0))";

/// Who is told that the store cannot be written any more; it must end the process.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Where the database is.
#[derive(Clone)]
pub struct PostgresConfig {
    /// As libpq writes it: `host=… dbname=…` or `postgresql://…`, with the password.
    pub connection: String,
    /// PEM: the authorities that the database's certificate may be from; `None`: the public ones.
    pub authorities: Option<Vec<u8>>,
    /// Whether the database must sync each commit. Only a test says no.
    pub is_durable: bool,
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

/// What a router does while it stands by.
pub trait StandBy {
    /// Another router has the store; said again and again.
    fn waiting(&mut self);
    /// Whether it has the store's keys.
    fn has_keys(&self, proof: &KeyProof) -> bool;
    /// Prepares what it will need; said each second.
    fn follow(&mut self, store: &Glance<'_>) -> Result<(), ReadError>;
}

/// The store of another router, as far as one that stands by reads it.
pub struct Glance<'s>(&'s Session);

impl Glance<'_> {
    /// Every version of every adapter.
    pub fn versions(&self) -> Result<Vec<Version>, ReadError> {
        Ok(versions::all(self.0)?)
    }

    /// The names of what adapters are made of.
    pub fn file_names(&self) -> Result<Vec<String>, ReadError> {
        Ok(files::all_names(self.0)?)
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(files::one(self.0, name)?)
    }
}

/// The database is this router's as long as this is kept.
pub struct Lease {
    pub(super) session: Session,
    line: Arc<Line>,
    watch: Arc<Watch>,
}

/// How connections are made, and the threads that carry them.
pub(super) struct Line {
    runtime: Option<Runtime>,
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    name: String,
    is_durable: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        // Whoever drops it may be a thread that must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Who is told when the connection that holds the lock ends by itself.
#[derive(Default)]
pub(super) struct Watch {
    is_over: AtomicBool,
    told: OnceLock<OnFatal>,
}

impl Watch {
    /// The end that follows is meant.
    pub fn close(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn ended(&self, why: &str) {
        if let Some(told) = self.told.get()
            && !self.is_over.load(Ordering::SeqCst)
        {
            told(why);
        }
    }
}

impl Line {
    fn new(config: &PostgresConfig) -> Result<Self, OpenError> {
        let bad = |problem: String| OpenError::Postgres("the database".into(), problem);
        let mut parsed = config.parse().map_err(bad)?;

        let (idle, interval, retries) = ASKED_AFTER;
        parsed
            .connect_timeout(CONNECT_WITHIN)
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
        if !parsed.get_hosts().iter().all(is_here) {
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
        })
    }

    /// A new connection. `watch`: who is told when it ends.
    pub fn connect(&self, watch: Option<Arc<Watch>>) -> Result<Session, RowError> {
        let Some(runtime) = &self.runtime else {
            return Err(RowError::new("the store is closed".into()));
        };
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let connected = runtime.spawn(async move {
            let (client, connection) = config.connect(tls).await?;
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
            Ok::<_, tokio_postgres::Error>(client)
        });
        let client = pollster::block_on(connected).map_err(|error| RowError::new(error.to_string()))?;
        let client = client.map_err(|error| RowError::new(reason(&error)))?;
        let session = Session::new(client);
        // The database gives up a router that is gone as soon as the router gives up the database.
        let (idle, interval, retries) = ASKED_AFTER;
        session.run(&format!(
            "SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; SET tcp_keepalives_count = {retries}; \
             SET tcp_user_timeout = {}; SET client_min_messages = warning; SET idle_session_timeout = 0; \
             SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; SET lock_timeout = 0; \
             SET default_transaction_isolation = 'read committed'",
            idle.as_secs(),
            interval.as_secs(),
            SILENCE_MAX.as_millis()
        ))?;
        Ok(session)
    }
}

/// Waits over one connection.
fn wait_once(line: &Arc<Line>, stand_by: &mut dyn StandBy, was_there: &mut bool) -> Result<Lease, OpenError> {
    let failed = |error: RowError| OpenError::Postgres(line.name.clone(), error.text);
    let lease = Lease::connect(line.clone()).map_err(failed)?;
    *was_there |= migrations(&lease.session, &line.name)?.is_some();
    // Said at once, while there is somebody to mend it.
    look(&lease, stand_by)?;
    let (mut looked, mut followed) = (Instant::now(), None::<Instant>);
    while !lease.is_ours().map_err(failed)? {
        stand_by.waiting();
        if looked.elapsed() >= LOOKED_EVERY {
            looked = Instant::now();
            if let Err(OpenError::Keys(name)) = look(&lease, stand_by) {
                tracing::error!(
                    name,
                    "standing by in vain: copy keys.json of the router that has the store"
                );
            }
        }
        if *was_there && followed.is_none_or(|at| at.elapsed() >= FOLLOWED_EVERY) {
            if let Err(error) = stand_by.follow(&Glance(&lease.session)) {
                tracing::warn!(%error, "standing by: adapters are not prepared");
            }
            followed = Some(Instant::now());
        }
        *was_there |= followed.is_none() && migrations(&lease.session, &line.name)?.is_some();
        std::thread::park_timeout(TRIED_EVERY);
    }
    if *was_there && migrations(&lease.session, &line.name)?.is_none() {
        // An empty one in its place would know nothing of what was promised.
        return Err(OpenError::Gone(line.name.clone()));
    }
    Ok(lease)
}

/// Whether this router could read the store.
fn look(lease: &Lease, stand_by: &dyn StandBy) -> Result<(), OpenError> {
    if migrations(&lease.session, lease.name())?.is_none() {
        return Ok(());
    }
    match KeyProof::of(&lease.session, lease.name())? {
        Some(proof) if !stand_by.has_keys(&proof) => Err(OpenError::Keys(lease.name().to_owned())),
        _ => Ok(()),
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

impl Lease {
    /// Takes the database's lease; [`OpenError::InUse`] if another router goes on having it.
    pub fn take(config: &PostgresConfig) -> Result<Self, OpenError> {
        let line = Line::new(config)?;
        let name = line.name.clone();
        let failed = |error: RowError| OpenError::Postgres(name.clone(), error.text);
        let lease = Self::connect(Arc::new(line)).map_err(failed)?;
        let started = Instant::now();
        loop {
            if lease.is_ours().map_err(failed)? {
                return Ok(lease);
            }
            if started.elapsed() >= LOCK_WITHIN {
                return Err(OpenError::InUse(name));
            }
            std::thread::park_timeout(TRIED_EVERY);
        }
    }

    /// Waits for it as long as it takes, where another router has it or the database is away.
    pub fn wait(config: &PostgresConfig, stand_by: &mut dyn StandBy) -> Result<Self, OpenError> {
        let line = Arc::new(Line::new(config)?);
        let mut was_there = false;
        loop {
            match wait_once(&line, stand_by, &mut was_there) {
                Ok(lease) => return Ok(lease),
                Err(OpenError::Postgres(name, problem)) => {
                    tracing::warn!(name, problem, "standing by: the database is away");
                    std::thread::park_timeout(BACK_EVERY);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn is_ours(&self) -> Result<bool, RowError> {
        let connection: &dyn Sql = &self.session;
        Ok(connection.one(LOCK, values![], |row| row.get(0))? == Some(true))
    }

    fn connect(line: Arc<Line>) -> Result<Self, RowError> {
        let watch = Arc::new(Watch::default());
        let session = line.connect(Some(watch.clone()))?;
        Ok(Self { session, line, watch })
    }

    /// The database, for people.
    pub fn name(&self) -> &str {
        &self.line.name
    }

    pub(super) fn is_durable(&self) -> bool {
        self.line.is_durable
    }

    /// The connections that read, and the one that writes.
    pub(super) fn into_parts(self, epoch: i64, on_fatal: OnFatal) -> (Readers, Scribe) {
        // Nobody told it before.
        let _ = self.watch.told.set(on_fatal);
        (
            Readers::new(self.line.clone(), epoch),
            Scribe::new(self.session, epoch, self.watch, self.line),
        )
    }
}
