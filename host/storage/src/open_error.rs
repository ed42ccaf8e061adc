//! Why a store does not open.

/// Why the store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite says no.
    #[error("opening {0}: {1}")]
    Sqlite(String, rusqlite::Error),
    /// Made by a newer version.
    #[error("{0} was written by a newer version of the router (schema {1}, this one knows {2}): start that version")]
    Newer(String, usize, usize),
    /// It is damaged.
    #[error("{0} is damaged: {1}; restore a backup with `portolan restore`")]
    Damaged(String, String),
    /// Another process has it.
    #[error("{0} is in use by another router: one process writes one store")]
    InUse(String),
    /// Something of another store stands where a backup is to be put.
    #[error(
        "{0} exists: move the store away first, its .db, .db-wal and .db-shm together; they may be the better copy"
    )]
    Occupied(String),
    /// The store that another router had is not there any more.
    #[error("{0} was there when this router began to stand by, and is gone: put it back, or start without --standby")]
    Gone(String),
    /// A store is copied into an empty database.
    #[error("{0} has a store already: copy into an empty database")]
    Filled(String),
    /// PostgreSQL says no.
    #[error("{0}: {1}")]
    Postgres(String, String),
    /// The database cannot be reached now.
    #[error("{0} is away: {1}")]
    Away(String, String),
    /// The store was written under other keys.
    #[error(
        "{0} was sealed with keys that this router does not have: copy keys.json of the router that wrote it into [store] folder"
    )]
    Keys(String),
    /// The database's own tools copy it.
    #[error("the store is in PostgreSQL: back it up with PostgreSQL's own tools, and keep a copy of keys.json")]
    NoBackup,
    /// The file system says no.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
}
