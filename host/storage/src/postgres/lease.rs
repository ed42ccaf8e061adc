//! One router writes a database: the lock that says which, and waiting for it. It is held by the connection that writes, so
//! whoever loses it cannot write either; the system or the network takes both from a router that ends, however it ends.

use super::connector::{Connector, PostgresConfig};
use super::database::{Readers, WriteSession};
use super::mark::Mark;
use super::session::Session;
use super::{KeyProof, OpenError, migrations};
use crate::rows::RowError;
use crate::sql::{Sql, files, values, versions};
use portolan_domain::lifecycle::Version;
use portolan_domain::ports::ReadError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

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
/// The lock: one for each schema of a database that has a store, whatever a router's search path begins with.
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('portolan:' || coalesce( \
                    (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('portolan')), \
                    current_schema(), ''), 0))";
/// Who is told that the store cannot be written any more; it must end the process.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

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
    connector: Arc<Connector>,
    watch: Arc<Watch>,
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

impl Lease {
    /// Takes the database's lease; [`OpenError::InUse`] if another router goes on having it.
    pub fn take(config: &PostgresConfig) -> Result<Self, OpenError> {
        let connector = Connector::new(config)?;
        let name = connector.name.clone();
        let failed = |error: RowError| OpenError::Postgres(name.clone(), error.text);
        let lease = Self::connect(Arc::new(connector)).map_err(failed)?;
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
        let connector = Arc::new(Connector::new(config)?);
        let (mut was_there, mut has_stood) = (false, false);
        loop {
            match wait_once(&connector, stand_by, (&mut was_there, &mut has_stood)) {
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

    fn connect(connector: Arc<Connector>) -> Result<Self, RowError> {
        let watch = Arc::new(Watch::default());
        let session = connector.connect(Some(watch.clone()))?;
        Ok(Self {
            session,
            connector,
            watch,
        })
    }

    /// The database, for people.
    pub fn name(&self) -> &str {
        &self.connector.name
    }

    pub(super) fn mark(&self) -> Mark {
        Mark::new(self.connector.mark.clone())
    }

    pub(super) fn is_durable(&self) -> bool {
        self.connector.is_durable
    }

    /// The connections that read, and the one that writes.
    pub(super) fn into_parts(self, (epoch, cluster): (i64, String), on_fatal: OnFatal) -> (Readers, WriteSession) {
        // Nobody told it before.
        let _ = self.watch.told.set(on_fatal);
        let mark = self.mark();
        (
            Readers::new(self.connector.clone(), self.watch.clone(), (epoch, cluster)),
            WriteSession::new(self.session, epoch, mark, (self.watch, self.connector)),
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
            .map_err(|error| OpenError::Postgres(self.connector.name.clone(), error.text))
    }
}

/// Waits over one connection. Both are kept from one to the next: whether there was a store, whether all was well once.
fn wait_once(
    connector: &Arc<Connector>,
    stand_by: &mut dyn StandBy,
    (was_there, has_stood): (&mut bool, &mut bool),
) -> Result<Lease, OpenError> {
    let failed = |error: RowError| OpenError::Postgres(connector.name.clone(), error.text);
    let lease = Lease::connect(connector.clone()).map_err(|error| match error.is_fatal {
        true => failed(error),
        false => OpenError::Away(connector.name.clone(), error.text),
    })?;
    *was_there |= migrations(&lease.session, &connector.name)?.is_some();
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
        *was_there |= followed.is_none() && migrations(&lease.session, &connector.name)?.is_some();
        std::thread::park_timeout(TRIED_EVERY);
    }
    if *was_there && migrations(&lease.session, &connector.name)?.is_none() {
        // An empty one in its place would know nothing of what was promised: not this time, and not the next.
        *has_stood = false;
        return Err(OpenError::Gone(connector.name.clone()));
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
