//! SQLite: the store of one machine, in a file. Opening and migrating.

mod backup;
mod connection;
mod lock;

use crate::OpenError;
use crate::sql::SqlStore;
pub use backup::restore;
pub use lock::StoreLock;
use portolan_domain::ports::Sealer;
use rusqlite::Connection;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The migrations, in order. A released one never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/sqlite/0001_spine.sql"),
    include_str!("../migrations/sqlite/0002_quotes.sql"),
    include_str!("../migrations/sqlite/0003_channels.sql"),
    include_str!("../migrations/sqlite/0004_inbox.sql"),
    include_str!("../migrations/sqlite/0005_breaks.sql"),
    include_str!("../migrations/sqlite/0006_batches.sql"),
    include_str!("../migrations/sqlite/0007_disputes.sql"),
    include_str!("../migrations/sqlite/0008_beneficiaries.sql"),
    include_str!("../migrations/sqlite/0009_exposure.sql"),
    include_str!("../migrations/sqlite/0010_versions.sql"),
    include_str!("../migrations/sqlite/0011_stops.sql"),
    include_str!("../migrations/sqlite/0012_routing.sql"),
    include_str!("../migrations/sqlite/0013_webhooks.sql"),
    include_str!("../migrations/sqlite/0014_limits.sql"),
    include_str!("../migrations/sqlite/0015_orders.sql"),
    include_str!("../migrations/sqlite/0016_approvals.sql"),
];

/// How much of the database file is read through a mapping instead of copies.
const MAPPED_BYTES: i64 = 64 << 20;

/// What a restored database carries as its application id until the lost outcomes were asked for.
pub(crate) const RESTORED: i64 = 0x5245_5354;

/// How to open the store.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// The database file.
    pub file: PathBuf,
    /// Below so many free bytes no new money is taken, so that outcomes of money in flight still fit.
    pub disk_floor_bytes: u64,
    /// Whether each commit is synced. Only a test that shows what happens otherwise says no.
    pub is_durable: bool,
}

impl SqlStore {
    /// Opens or makes the store whose lock is held, migrates it, checks it, starts its writer. `on_fatal` is called when the
    /// disk no longer takes what was promised; it must end the process.
    pub fn open_file(
        config: &SqliteConfig,
        mut lock: StoreLock,
        sealer: Arc<dyn Sealer>,
        on_fatal: Box<dyn Fn(&str) + Send>,
    ) -> Result<Self, OpenError> {
        let name = config.file.display().to_string();
        let failed = |error| OpenError::Sqlite(name.clone(), error);
        create(&config.file)?;
        if !lock.take_file(&config.file)? {
            return Err(OpenError::InUse(name));
        }
        let mut connection = Connection::open(&config.file).map_err(failed)?;
        prepare(&connection, config.is_durable).map_err(failed)?;
        if !lock.is_checked {
            check(&connection, &name)?;
            lock.note_sound();
        }
        migrate(&mut connection, &name)?;
        let readers = connection::Readers::new(config.file.clone(), lock);
        let disk = connection::Disk {
            connection,
            config: config.clone(),
            since_look: 0,
        };
        let started = Self::start(Box::new(readers), Box::new(disk), sealer, on_fatal);
        started.map_err(|error| OpenError::Damaged(name, error.text))
    }
}

/// A store that no router has, to be copied: sound, and in the form that this version writes.
pub(crate) fn open_to_copy(config: &SqliteConfig, lock: &mut StoreLock) -> Result<Connection, OpenError> {
    let name = config.file.display().to_string();
    if !lock.take_file(&config.file)? {
        return Err(OpenError::InUse(name));
    }
    let mut connection = Connection::open(&config.file).map_err(|error| OpenError::Sqlite(name.clone(), error))?;
    prepare(&connection, config.is_durable).map_err(|error| OpenError::Sqlite(name.clone(), error))?;
    check(&connection, &name)?;
    migrate(&mut connection, &name)?;
    Ok(connection)
}

/// A new store is its owner's alone; its log and its shared memory are made with the same rights.
fn create(file: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::File(file.display().to_string(), error);
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options.open(file).map(drop).map_err(failed)
}

fn prepare(connection: &Connection, is_durable: bool) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", if is_durable { "FULL" } else { "NORMAL" })?;
    // Checkpoints are the writer's own, because their result has to be read.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // The whole table of cached pages is walked at each commit: a larger one costs more than it saves.
    connection.pragma_update(None, "cache_size", -4_096)?;
    connection.pragma_update(None, "mmap_size", MAPPED_BYTES)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn check(connection: &Connection, name: &str) -> Result<(), OpenError> {
    let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match verdict {
        Ok(ok) if ok == "ok" => Ok(()),
        Ok(problem) => Err(OpenError::Damaged(name.to_owned(), problem)),
        Err(error) => Err(OpenError::Damaged(name.to_owned(), error.to_string())),
    }
}

/// The schema's version, if it is known.
fn check_version(connection: &Connection, name: &str) -> Result<usize, OpenError> {
    let at: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| OpenError::Sqlite(name.to_owned(), error))?;
    if at > MIGRATIONS.len() {
        return Err(OpenError::Newer(name.to_owned(), at, MIGRATIONS.len()));
    }
    Ok(at)
}

fn migrate(connection: &mut Connection, name: &str) -> Result<(), OpenError> {
    let failed = |error| OpenError::Sqlite(name.to_owned(), error);
    let at = check_version(connection, name)?;
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(at) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(migration).map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", number + 1)
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
