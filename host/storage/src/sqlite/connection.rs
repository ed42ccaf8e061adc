//! Statements over a connection of SQLite, the readers, and the one that writes.

use super::{MAPPED_BYTES, RESTORED, SqliteConfig, StoreLock};
use crate::OpenError;
use crate::rows::RowError;
use crate::sql::{Columns, Database, Desk, Result, Sql, Value, Visit};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, ToSql, params_from_iter};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Read connections kept open.
const READERS_MAX: usize = 8;
/// Pages in the write-ahead log after which the writer copies them back.
const CHECKPOINT_PAGES: i64 = 16_000;
/// How many transactions pass between two looks at the log's length.
const CHECKPOINT_LOOK: u32 = 16;

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            text: error.to_string(),
            is_fatal: is_fatal(&error),
        }
    }
}

/// After an I/O error nothing is known of what is on disk; a full disk or a lock is an ordinary refusal.
fn is_fatal(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn unreadable(at: usize, error: &dyn std::fmt::Display) -> RowError {
    RowError::new(format!("column {at}: {error}"))
}

impl Columns for Row<'_> {
    fn int(&self, at: usize) -> Result<i64> {
        self.get_ref(at)?.as_i64().map_err(|error| unreadable(at, &error))
    }

    fn text(&self, at: usize) -> Result<&str> {
        self.get_ref(at)?.as_str().map_err(|error| unreadable(at, &error))
    }

    fn blob(&self, at: usize) -> Result<&[u8]> {
        self.get_ref(at)?.as_blob().map_err(|error| unreadable(at, &error))
    }

    fn is_null(&self, at: usize) -> Result<bool> {
        Ok(self.get_ref(at)? == ValueRef::Null)
    }
}

impl Sql for Connection {
    fn each(&self, question: &str, values: &[Value<'_>], visit: Visit<'_>) -> Result<()> {
        let mut select = self.prepare_cached(question)?;
        let mut rows = select.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if !visit(row)? {
                break;
            }
        }
        Ok(())
    }

    fn scan(&self, question: &str, values: &[Value<'_>], visit: Visit<'_>) -> Result<()> {
        self.each(question, values, visit)
    }

    fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<usize> {
        Ok(self.prepare_cached(statement)?.execute(params_from_iter(values))?)
    }
}

/// The file, read over connections of their own.
pub(super) struct Readers {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// Held as long as the store is open: one process writes one store.
    _lock: StoreLock,
}

impl Readers {
    pub const fn new(file: PathBuf, lock: StoreLock) -> Self {
        Self {
            file,
            idle: Mutex::new(vec![]),
            _lock: lock,
        }
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.file, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "mmap_size", MAPPED_BYTES)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }
}

impl Database for Readers {
    fn with(&self, is_snapshot: bool, ask: &mut dyn FnMut(&dyn Sql)) -> Result<()> {
        let panicked = |_| RowError::new("a reader panicked".into());
        let kept = self.idle.lock().map_err(panicked)?.pop();
        let connection = match kept {
            Some(connection) => connection,
            None => self.open()?,
        };
        if is_snapshot {
            let snapshot = connection.unchecked_transaction()?;
            ask(&*snapshot);
            snapshot.finish()?;
        } else {
            ask(&connection);
        }
        let mut idle = self
            .idle
            .lock()
            .map_err(|_| RowError::new("a reader panicked".into()))?;
        if idle.len() < READERS_MAX {
            idle.push(connection);
        }
        Ok(())
    }

    fn was_restored(&self) -> Result<bool> {
        let mut mark = 0;
        self.with(false, &mut |connection| {
            let read = connection.one("PRAGMA application_id", &[], |row| row.get::<i64>(0));
            mark = read.ok().flatten().unwrap_or(RESTORED);
        })?;
        Ok(mark == RESTORED)
    }

    fn aside(&self, _: &mut dyn FnMut(&dyn Sql) -> Result<()>) -> Option<Result<()>> {
        None
    }

    fn backup(&self, to: &Path) -> Result<(), OpenError> {
        super::backup::backup_file(&self.file, to)
    }
}

/// The connection that writes, and its disk.
pub(super) struct Disk {
    pub connection: Connection,
    pub config: SqliteConfig,
    pub since_look: u32,
}

impl Desk for Disk {
    fn sql(&self) -> &dyn Sql {
        &self.connection
    }

    fn begin(&self) -> Result<()> {
        self.connection.write("BEGIN IMMEDIATE", &[])
    }

    fn commit(&self) -> Result<()> {
        self.connection.write("COMMIT", &[])
    }

    fn roll_back(&self) -> Result<()> {
        self.connection.write("ROLLBACK", &[])
    }

    fn note_asked(&self) -> Result<()> {
        Ok(self.connection.pragma_update(None, "application_id", 0)?)
    }

    fn is_low(&self) -> bool {
        let folder = self.config.file.parent().unwrap_or(Path::new("."));
        match rustix::fs::statvfs(folder) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize) < self.config.disk_floor_bytes,
            Err(_) => false,
        }
    }

    /// Copies the log back once it is long, and reads what came of it.
    fn tidy(&mut self) -> Result<()> {
        self.since_look += 1;
        if self.since_look < CHECKPOINT_LOOK {
            return Ok(());
        }
        self.since_look = 0;
        let pages = self
            .connection
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1));
        if pages.is_ok_and(|pages| (0..CHECKPOINT_PAGES).contains(&pages)) {
            return Ok(());
        }
        self.connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(0))?;
        Ok(())
    }
}
