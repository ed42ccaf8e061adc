//! The durable record: everything that the router knows, in SQLite for one machine, in PostgreSQL for several, in memory for
//! tests. The only crate with SQL. It decides nothing; it refuses what does not fit (version, claim, floor).

mod chain;
mod memory;
mod open_error;
mod postgres;
mod rows;
mod sql;
mod sqlite;

pub use memory::MemoryStore;
pub use open_error::OpenError;
pub use postgres::{Glance, KeyProof, Lease, OnFatal, PostgresConfig, StandBy, import};
pub use sql::SqlStore;
pub use sqlite::{SqliteConfig, StoreLock, restore};

#[cfg(test)]
mod conformance;
