//! The record in SQL: the same tables and the same statements over SQLite and PostgreSQL. Here is what they ask of a database;
//! `sqlite` and `postgres` answer. Placeholders are `?` or `?N`; ids, hashes and amounts are bytes that sort as they should.

mod approvals;
mod books;
mod column;
pub(crate) mod files;
mod kept;
mod key_ring;
mod library;
mod limits;
mod reader;
mod routing;
mod singles;
mod statements;
mod store;
pub(crate) mod versions;
mod webhooks;
mod writer;

use crate::OpenError;
use crate::rows::RowError;
pub(crate) use column::Columns;

use portolan_domain::ports::Sealer;
use std::path::Path;
use std::sync::Arc;

pub(crate) type Result<T, E = RowError> = std::result::Result<T, E>;

/// What a statement is told.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// A library may log what it is told: numbers and lengths are enough to see what happens.
impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => write!(f, "Null"),
            Self::Int(number) => write!(f, "Int({number})"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Blob(bytes) => write!(f, "Blob({} bytes)", bytes.len()),
        }
    }
}

/// The values of a statement, in the order of its placeholders.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::Value::from($value)),*][..] };
}
pub(crate) use values;

/// Whoever is asked about a row: `false` once it has read enough.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&dyn Columns) -> Result<bool>;

/// A connection that statements are sent over.
pub(crate) trait Sql {
    /// Calls `visit` for each row of an answer that fits in memory.
    fn each(&self, question: &str, values: &[Value<'_>], visit: Visit<'_>) -> Result<()>;
    /// The same for an answer of any length: no more is read than `visit` wants.
    fn scan(&self, question: &str, values: &[Value<'_>], visit: Visit<'_>) -> Result<()>;
    /// Writes; how many rows it touched.
    fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<usize>;
    /// Writes, whatever it touches. A failure may show at any later statement, at the commit at last.
    fn write(&self, statement: &str, values: &[Value<'_>]) -> Result<()> {
        self.execute(statement, values).map(drop)
    }
}

impl dyn Sql + '_ {
    /// The first row, if there is one.
    pub fn one<T>(
        &self,
        question: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&dyn Columns) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut found = None;
        self.each(question, values, &mut |row| {
            found = Some(read(row)?);
            Ok(false)
        })?;
        Ok(found)
    }

    /// All rows, of which there are few.
    pub fn all<T>(
        &self,
        question: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&dyn Columns) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = vec![];
        self.each(question, values, &mut |row| {
            all.push(read(row)?);
            Ok(true)
        })?;
        Ok(all)
    }

    /// Whether there is such a row.
    pub fn exists(&self, question: &str, values: &[Value<'_>]) -> Result<bool> {
        self.one(question, values, |_| Ok(())).map(|found| found.is_some())
    }
}

/// The connections that read.
pub(crate) trait Database: Send + Sync {
    /// Lends a connection. `is_snapshot`: all that is asked over it is answered as of one moment.
    fn with(&self, is_snapshot: bool, ask: &mut dyn FnMut(&dyn Sql)) -> Result<()>;
    /// Whether this is a restored copy whose lost outcomes were not asked for yet.
    fn was_restored(&self) -> Result<bool>;
    /// Lends a connection that writes what no commit depends on, while this router has the store; `None`: the database is this
    /// machine's alone, and its files are enough.
    fn aside(&self, write: &mut dyn FnMut(&dyn Sql) -> Result<()>) -> Option<Result<()>>;
    /// Copies all of it into a new file, as of one moment.
    fn backup(&self, to: &Path) -> Result<(), OpenError>;
}

/// The one connection that writes.
pub(crate) trait Desk: Send {
    /// What units are written over.
    fn sql(&self) -> &dyn Sql;
    /// Begins a transaction.
    fn begin(&self) -> Result<()>;
    /// Ends it: what was written is on disk.
    fn commit(&self) -> Result<()>;
    /// Takes it back.
    fn roll_back(&self) -> Result<()>;
    /// Notes that the lost outcomes were asked for.
    fn note_asked(&self) -> Result<()>;
    /// Whether there is room for outcomes only.
    fn is_low(&self) -> bool {
        false
    }
    /// What is to be done between transactions.
    fn tidy(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The store of one router.
pub struct SqlStore {
    database: Box<dyn Database>,
    writer: writer::Writer,
    sealer: Arc<dyn Sealer>,
    kept: kept::Kept,
}

impl SqlStore {
    /// Starts the writer. `on_fatal` is called when what was promised may not be on disk; it must end the process.
    pub(crate) fn start(
        database: Box<dyn Database>,
        desk: Box<dyn Desk>,
        sealer: Arc<dyn Sealer>,
        on_fatal: Box<dyn Fn(&str) + Send>,
    ) -> Result<Self> {
        Ok(Self {
            database,
            writer: writer::Writer::start(desk, on_fatal)?,
            sealer,
            kept: kept::Kept::default(),
        })
    }

    /// Copies the running store into a new file, consistently.
    pub fn backup(&self, to: &Path) -> Result<(), OpenError> {
        self.database.backup(to)
    }
}
