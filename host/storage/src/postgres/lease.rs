//! One router writes a database: the lock that says which, and waiting for it. It is held by the connection that writes, so
//! whoever loses it cannot write either; the system or the network takes both from a router that ends, however it ends.

use super::database::{Readers, Scribe};
use super::mark::Mark;
use super::session::Session;
use super::{KeyProof, OpenError, migrations};
use crate::rows::RowError;
use crate::sql::{Sql, files, values, versions};
use portolan_domain::lifecycle::Version;
use portolan_domain::ports::ReadError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use std::path::PathBuf;
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
/// How long a connection may take to be made, over all hosts that are named.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// After so long without a sign of life of the other side a connection is given up, by either side.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// After so long of silence either side asks for one, and again.
const ASKED_AFTER: (Duration, Duration, u32) = (Duration::from_secs(4), Duration::from_secs(2), 3);

/// The lock: one for each schema of a database that has a store, whatever a router's search path begins with.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('portolan:' || coalesce( \
                    (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('portolan')), \
                    current_schema(), ''), 0))";
/// What a connection asks of the database, whatever its owner has set for everybody. It gives up a router that is gone as soon as
/// the router gives up the database, and one that was stopped in the middle of a transaction.
const TERMS: &str = "SET client_min_messages = warning; SET idle_session_timeout = 0; SET statement_timeout = 0; \
                     SET lock_timeout = 0; SET idle_in_transaction_session_timeout = '15s'; \
                     SET default_transaction_isolation = 'read committed'; \
                     SELECT set_config('transaction_timeout', '0', false) \
                     WHERE current_setting('transaction_timeout', true) IS NOT NULL";

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
    mark: PathBuf,
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

    pub fn ended(&self, why: &str) {
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

/// Waits over one connection. Both are kept from one to the next: whether there was a store, whether all was well once.
fn wait_once(
    line: &Arc<Line>,
    stand_by: &mut dyn StandBy,
    (was_there, has_stood): (&mut bool, &mut bool),
) -> Result<Lease, OpenError> {
    let failed = |error: RowError| OpenError::Postgres(line.name.clone(), error.text);
    let lease = Lease::connect(line.clone()).map_err(|error| match error.is_fatal {
        true => failed(error),
        false => OpenError::Away(line.name.clone(), error.text),
    })?;
    *was_there |= migrations(&lease.session, &line.name)?.is_some();
    look(&lease, stand_by)?;
    let (mut looked, mut followed) = (Instant::now(), None::<Instant>);
    while !lease.is_ours().map_err(failed)? {
        *has_stood = true;
        stand_by.waiting();
        if looked.elapsed() >= LOOKED_EVERY {
            looked = Instant::now();
            if let Err(error) = look(&lease, stand_by) {
                tracing::error!(%error, "standing by in vain");
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
        // An empty one in its place would know nothing of what was promised: not this time, and not the next.
        *has_stood = false;
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

    /// Waits for it as long as it takes, where another router has it or the database is away. What would be in its way for ever is
    /// said at once.
    pub fn wait(config: &PostgresConfig, stand_by: &mut dyn StandBy) -> Result<Self, OpenError> {
        let line = Arc::new(Line::new(config)?);
        let (mut was_there, mut has_stood) = (false, false);
        loop {
            match wait_once(&line, stand_by, (&mut was_there, &mut has_stood)) {
                Err(error) if has_stood => tracing::warn!(%error, "standing by: it goes on as soon as this is mended"),
                Err(OpenError::Away(name, problem)) => {
                    tracing::warn!(name, problem, "standing by: the database is away");
                }
                done => return done,
            }
            std::thread::park_timeout(BACK_EVERY);
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

    pub(super) fn mark(&self) -> Mark {
        Mark::new(self.line.mark.clone())
    }

    pub(super) fn is_durable(&self) -> bool {
        self.line.is_durable
    }

    /// The connections that read, and the one that writes.
    pub(super) fn into_parts(self, (epoch, cluster): (i64, String), on_fatal: OnFatal) -> (Readers, Scribe) {
        // Nobody told it before.
        let _ = self.watch.told.set(on_fatal);
        let mark = self.mark();
        (
            Readers::new(self.line.clone(), self.watch.clone(), (epoch, cluster)),
            Scribe::new(self.session, epoch, mark, (self.watch, self.line)),
        )
    }

    /// Whether there is no store yet, or `stand_by` has its keys.
    pub fn check_keys(&self, stand_by: &dyn StandBy) -> Result<(), OpenError> {
        look(self, stand_by)
    }

    /// Notes that the database was put back in time, where it does not show: what was open is asked for at the next start.
    pub fn note_restored(&self) -> Result<(), OpenError> {
        let connection: &dyn Sql = &self.session;
        let noted = connection.execute("UPDATE portolan SET is_restored = TRUE", values![]);
        noted
            .map(drop)
            .map_err(|error| OpenError::Postgres(self.line.name.clone(), error.text))
    }
}
