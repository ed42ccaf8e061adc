//! Where the store is, and whose: a file on this machine or a database, and the lock that makes it this router's.

use super::follow::Follower;
use crate::config::{Config, read_secret};
use anyhow::Context;
use portolan_storage::{Lease, PostgresConfig, SqlStore, SqliteConfig, StoreLock};
use portolan_vault::{KeyFile, LocalVault};
use std::path::PathBuf;
use std::sync::Arc;

/// How a router ends that cannot keep what it promised (EX_IOERR of sysexits.h).
const GIVEN_UP: i32 = 74;

/// The store is this router's as long as this is kept.
pub(super) enum Hold {
    File(StoreLock),
    Database(Box<Lease>),
}

/// The store's file, in a folder that is there.
fn file_of(config: &Config) -> anyhow::Result<PathBuf> {
    let folder = &config.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder.join("portolan.db"))
}

/// The database, where there is one.
fn database_of(config: &Config) -> anyhow::Result<Option<PostgresConfig>> {
    let Some(place) = &config.postgres else { return Ok(None) };
    let is_elsewhere = ["env:", "file:"].iter().any(|it| place.starts_with(it));
    let connection = match is_elsewhere {
        true => {
            let read = read_secret(place).map_err(|problem| anyhow::anyhow!("[store] postgres: {problem}"))?;
            String::from_utf8(read).context("[store] postgres: it is no text")?
        }
        false => place.clone(),
    };
    let authorities = match &config.postgres_ca {
        Some(file) => Some(std::fs::read(file).with_context(|| format!("[store] postgres_ca: {}", file.display()))?),
        None => None,
    };
    let database = PostgresConfig {
        connection,
        authorities,
        is_durable: config.is_durable,
        mark: config.folder.join("store.mark"),
    };
    let has_password = database
        .has_password()
        .map_err(|problem| anyhow::anyhow!("[store] postgres: {problem}"))?;
    anyhow::ensure!(
        is_elsewhere || !has_password,
        "[store] postgres: a password does not stand in a configuration; put the whole string into a file or a variable, \
         and say file:… or env:… here"
    );
    Ok(Some(database))
}

impl Hold {
    /// Takes it; an error if another router goes on having it.
    pub fn take(config: &Config) -> anyhow::Result<Self> {
        let file = file_of(config)?;
        match database_of(config)? {
            Some(database) => {
                let lease = Lease::take(&database)?;
                // Before keys are made that would be another store's.
                lease.check_keys(&Follower::new(config.folder.clone()))?;
                Ok(Self::Database(Box::new(lease)))
            }
            None => Ok(Self::File(StoreLock::take(&file)?)),
        }
    }

    /// Waits for it as long as another router has it.
    pub fn wait(config: &Config) -> anyhow::Result<Self> {
        let waiting = || tracing::info!("standing by: another router has the store");
        let file = file_of(config)?;
        let hold = match database_of(config)? {
            Some(database) => {
                check_what_it_will_need(config)?;
                let mut follower = Follower::new(config.folder.clone());
                Self::Database(Box::new(Lease::wait(&database, &mut follower)?))
            }
            None => Self::File(StoreLock::wait(&file, waiting)?),
        };
        tracing::info!("the store is this router's");
        Ok(hold)
    }

    /// Opens what it is held for. A router that cannot keep what it promised ends at once.
    pub fn open(self, config: &Config, vault: Arc<LocalVault>) -> anyhow::Result<SqlStore> {
        let file = file_of(config)?;
        match self {
            Self::File(lock) => {
                let sqlite = SqliteConfig {
                    file: file.clone(),
                    disk_floor_bytes: config.disk_floor_bytes,
                    is_durable: config.is_durable,
                };
                let end = move |why: &str| {
                    StoreLock::leave_in_doubt(&file);
                    stop(why);
                };
                Ok(SqlStore::open_file(&sqlite, lock, vault, Box::new(end))?)
            }
            Self::Database(lease) => Ok(SqlStore::open_postgres(*lease, vault, Arc::new(stop))?),
        }
    }
}

/// What a router reads once it has the store must be here before: nobody mends it in the middle of a failover.
fn check_what_it_will_need(config: &Config) -> anyhow::Result<()> {
    for (channel, name, place) in &config.secrets {
        read_secret(place).map_err(|problem| anyhow::anyhow!("channel {channel}: {name}: {problem}"))?;
    }
    for adapter in &config.adapters {
        let file = &adapter.file;
        anyhow::ensure!(
            file.exists(),
            "adapter {}: {} is not there",
            adapter.name,
            file.display()
        );
    }
    Ok(())
}

/// Ends the process, on a thread of its own: the end of the caller's, which carries connections, would take back what is in use.
fn stop(why: &str) {
    tracing::error!(why, "stopping at once: what was promised may not be in the store");
    let ending = std::thread::Builder::new().spawn(|| std::process::exit(GIVEN_UP));
    if ending.is_err() {
        std::process::exit(GIVEN_UP);
    }
    // Nothing of what the caller was at is done any more.
    loop {
        std::thread::park();
    }
}

/// Whether both say the same place.
pub(super) fn is_same(one: &Config, other: &Config) -> bool {
    (&one.folder, &one.postgres) == (&other.folder, &other.postgres)
}

/// Copies the store in the folder into the database, and leaves the file under another name; what was done, for people.
pub fn move_store(config: &Config) -> anyhow::Result<String> {
    let file = file_of(config)?;
    let database = database_of(config)?.context("[store] postgres: say there which database the store goes to")?;
    anyhow::ensure!(file.exists(), "there is no store at {}", file.display());
    let left = file.with_extension("moved");
    anyhow::ensure!(
        !left.exists(),
        "{} is there from another time: put it away first",
        left.display()
    );
    let keys = config.folder.join("keys.json");
    anyhow::ensure!(
        keys.exists(),
        "{} is not there: the store is sealed with it",
        keys.display()
    );
    let mut lock = StoreLock::take(&file)?;
    let keys = LocalVault::new(KeyFile::open_or_create(&keys)?)?;
    let sqlite = SqliteConfig {
        file: file.clone(),
        disk_floor_bytes: config.disk_floor_bytes,
        is_durable: config.is_durable,
    };
    let rows = portolan_storage::import(&sqlite, &mut lock, &Lease::take(&database)?, &keys)?;
    // Whoever starts it by mistake would promise things that the database knows nothing of.
    std::fs::rename(&file, &left).with_context(|| format!("renaming {}", file.display()))?;
    std::fs::File::open(&config.folder).and_then(|folder| folder.sync_all())?;
    let rows = rows.map_or_else(|| "all rows".to_owned(), |rows| format!("{rows} rows"));
    Ok(format!(
        "{rows} are in the database; the file is {} now and is not used any more",
        left.display()
    ))
}

/// Says that the database was put back in time; what that means, for people.
pub fn note_restored(config: &Config) -> anyhow::Result<String> {
    let database = database_of(config)?
        .context("[store] postgres: there is no database; `portolan restore` puts a backup in place")?;
    Lease::take(&database)?.note_restored()?;
    Ok("noted; the next start asks the providers about everything that was open in the database".into())
}
