//! PostgreSQL: one store for several machines, of which one writes. Opening, migrating, and what a router that takes over must
//! know of the one before: whether it wrote in this database, and under which keys.

mod connector;
mod database;
mod import;
mod lease;
mod mark;
mod session;

use crate::OpenError;
use crate::rows::RowError;
use crate::sql::{Sql, SqlStore, values};
pub use connector::PostgresConfig;
pub use import::import;
pub use lease::{Glance, Lease, OnFatal, StandBy};
use portolan_domain::ports::Sealer;
use session::Session;
use std::sync::Arc;

/// The migrations, in order. A released one never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/postgres/0001_store.sql"),
    include_str!("../migrations/postgres/0002_limits.sql"),
    include_str!("../migrations/postgres/0003_orders.sql"),
    include_str!("../migrations/postgres/0004_approvals.sql"),
];

/// The oldest server that this was tried with, as it says its version.
const OLDEST: i64 = 150_000;

/// What the keys of a store are tried on.
const SEALED: &[u8] = b"portolan";
/// Where it belongs.
const PLACE: &[u8] = b"store";

/// Where the tables say which they are. A cluster has an identifier, and another timeline once a replica was promoted or it was
/// put back in time; a table that a dump made anew has another number.
const CLUSTER: &str = "SELECT (SELECT system_identifier FROM pg_control_system()) || '/' \
                       || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '/' || 'portolan'::regclass::oid";

impl SqlStore {
    /// Opens or makes the store whose lease is held. `on_fatal` is called when what was promised may not be in the database, or
    /// the lease is lost; it must end the process.
    pub fn open_postgres(lease: Lease, sealer: Arc<dyn Sealer>, on_fatal: OnFatal) -> Result<Self, OpenError> {
        let name = lease.name().to_owned();
        let failed = |error: RowError| OpenError::Postgres(name.clone(), error.text);
        check_server(&lease)?;
        migrate(&lease.session, &name)?;
        check_keys(&lease.session, &*sealer, &name)?;
        if lease.mark().is_missed(&lease.session).map_err(failed)? {
            tracing::warn!(name, "the database was put back in time: what was open is asked for");
            lease.note_restored()?;
        }
        let term = take_over(&lease.session).map_err(failed)?;
        let (database, desk) = lease.into_parts(term, on_fatal.clone());
        let told = Box::new(move |why: &str| on_fatal(why));
        Self::start(Box::new(database), Box::new(desk), sealer, told).map_err(failed)
    }
}

/// What a database must be: new enough, able to write every text, and true about what it says is on disk.
fn check_server(lease: &Lease) -> Result<(), OpenError> {
    let failed = |error: RowError| OpenError::Postgres(lease.name().to_owned(), error.text);
    let session: &dyn Sql = &lease.session;
    let version = "SELECT current_setting('server_version_num')::bigint";
    let version: Option<i64> = session.one(version, values![], |row| row.get(0)).map_err(failed)?;
    if version.is_none_or(|version| version < OLDEST) {
        let (oldest, version) = (OLDEST / 10_000, version.unwrap_or_default() / 10_000);
        let problem = format!("PostgreSQL {oldest} or newer is needed; it is {version}");
        return Err(OpenError::Postgres(lease.name().to_owned(), problem));
    }
    let encoding: Option<String> = session
        .one("SELECT current_setting('server_encoding')", values![], |row| row.get(0))
        .map_err(failed)?;
    if encoding.as_deref() != Some("UTF8") {
        let problem = "its encoding is not UTF8: a name that it cannot write would stop a payment".to_owned();
        return Err(OpenError::Postgres(lease.name().to_owned(), problem));
    }
    let fsync: Option<String> = session
        .one("SELECT current_setting('fsync')", values![], |row| row.get(0))
        .map_err(failed)?;
    if lease.is_durable() && fsync.as_deref() != Some("on") {
        return Err(OpenError::Postgres(
            lease.name().to_owned(),
            "its fsync is off, so what it says is on disk may not be: turn it on, or set [store] durable = false"
                .into(),
        ));
    }
    // A session's own setting stands over what somebody set for the user or the database.
    let waits = match lease.is_durable() {
        true => {
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')"
        }
        false => "SET synchronous_commit = off",
    };
    lease.session.run(waits).map_err(failed)
}

/// How many migrations the database has, if they are all known; `None`: it is not there.
fn migrations(session: &Session, name: &str) -> Result<Option<usize>, OpenError> {
    let failed = |error: RowError| OpenError::Postgres(name.to_owned(), error.text);
    let session: &dyn Sql = session;
    let is_there = "SELECT 1 WHERE to_regclass('portolan') IS NOT NULL";
    if !session.exists(is_there, values![]).map_err(failed)? {
        return Ok(None);
    }
    let at = session
        .one("SELECT migrations FROM portolan", values![], |row| row.get(0))
        .map_err(failed)?;
    match at {
        Some(at) if at > MIGRATIONS.len() => Err(OpenError::Newer(name.to_owned(), at, MIGRATIONS.len())),
        at => Ok(at),
    }
}

fn migrate(session: &Session, name: &str) -> Result<(), OpenError> {
    let at = migrations(session, name)?.unwrap_or(0);
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(at) {
        let done = number.saturating_add(1);
        let all = format!("BEGIN; {migration}; UPDATE portolan SET migrations = {done}; COMMIT");
        if let Err(error) = session.run(&all) {
            // It ends with the connection in any case.
            let _ = session.run("ROLLBACK");
            return Err(OpenError::Postgres(name.to_owned(), error.text));
        }
    }
    Ok(())
}

/// What the store's keys are tried on.
pub struct KeyProof {
    data_key: Vec<u8>,
    sealed: Vec<u8>,
}

impl KeyProof {
    /// The store's; `None`: nobody has written to it yet.
    fn of(session: &Session, name: &str) -> Result<Option<Self>, OpenError> {
        let connection: &dyn Sql = session;
        let question = "SELECT data_key, sealed FROM portolan WHERE sealed IS NOT NULL";
        let found = connection.one(question, values![], |row| {
            Ok(Self {
                data_key: row.get(0)?,
                sealed: row.get(1)?,
            })
        });
        found.map_err(|error| OpenError::Postgres(name.to_owned(), error.text))
    }

    /// Whether a sealer has the keys that the store was last written under.
    pub fn is_opened_by(&self, sealer: &dyn Sealer) -> bool {
        let opened = sealer.open(&self.data_key, PLACE, &self.sealed);
        opened.is_ok_and(|plain| plain == SEALED)
    }
}

/// Whoever has other keys than the router before could read nothing of it, and what it wrote would be lost to the others. What
/// follows is sealed under the newest key.
fn check_keys(session: &Session, sealer: &dyn Sealer, name: &str) -> Result<(), OpenError> {
    let failed = |error: RowError| OpenError::Postgres(name.to_owned(), error.text);
    if KeyProof::of(session, name)?.is_some_and(|proof| !proof.is_opened_by(sealer)) {
        return Err(OpenError::Keys(name.to_owned()));
    }
    let key = sealer.new_data_key().map_err(|error| failed(RowError::new(error)))?;
    let sealed = sealer
        .seal(&key, PLACE, SEALED.to_vec())
        .map_err(|error| failed(RowError::new(error)))?;
    let connection: &dyn Sql = session;
    connection
        .write("UPDATE portolan SET data_key = ?, sealed = ?", values![&key, &sealed])
        .map_err(failed)
}

/// From now on only this router's writes are taken. A database that is not the one that the last router wrote to may have lost
/// some of what it promised: what was open is asked for, as after a restored backup.
fn take_over(session: &Session) -> Result<(i64, String), RowError> {
    let session: &dyn Sql = session;
    let cluster: Option<String> = session.one(CLUSTER, values![], |row| row.get(0))?;
    let epoch = session.one(
        "UPDATE portolan SET epoch = epoch + 1, cluster = ?1, is_restored = is_restored OR coalesce(cluster <> ?1, FALSE) RETURNING epoch",
        values![cluster.as_ref()],
        |row| row.get(0),
    )?;
    epoch
        .zip(cluster)
        .ok_or_else(|| RowError::new("the table portolan has no row".into()))
}
