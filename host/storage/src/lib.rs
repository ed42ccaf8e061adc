//! The durable record: everything that the router knows, in SQLite for one node, in memory for tests. The only crate
//! with SQL. It decides nothing; it refuses what does not fit (version, claim, floor).

mod chain;
mod memory;
mod rows;
mod sqlite;

pub use memory::MemoryStore;
pub use sqlite::{OpenError, SqliteConfig, SqliteStore, StoreLock};

#[cfg(test)]
mod conformance;
