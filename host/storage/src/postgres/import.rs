//! From a file to a database: every row of every table, once, into a database that has no rows yet. The tables have the same
//! columns, so a row is what it was.

use super::{Lease, check_keys, migrate};
use crate::rows::RowError;
use crate::sql::{Result, Sql, Value, values};
use crate::{OpenError, SqliteConfig, StoreLock};
use portolan_domain::ports::Sealer;
use rusqlite::types::ValueRef;

/// A router that has done anything has a row in one of these.
const FIRST_WRITTEN: [&str; 6] = ["journal", "payment", "method", "api_key", "adapter_version", "counter"];
/// Rows that are sent before it is looked whether they were taken.
const AT_ONCE: usize = 500;

/// Copies a stopped store into an empty database; how many rows there were. Nothing of it is there if it fails. `None`: it was
/// copied before, by one that was killed before it could say so.
pub fn import(
    from: &SqliteConfig,
    lock: &mut StoreLock,
    lease: &Lease,
    sealer: &dyn Sealer,
) -> std::result::Result<Option<usize>, OpenError> {
    let source = crate::sqlite::open_to_copy(from, lock)?;
    let name = lease.name();
    let failed = |error: RowError| OpenError::Postgres(name.to_owned(), error.text);
    migrate(&lease.session, name)?;
    let target: &dyn Sql = &lease.session;
    if let Some(end) = last_row(&source).map_err(failed)?
        && last_row(target).map_err(failed)? == Some(end)
    {
        return Ok(None);
    }
    for table in FIRST_WRITTEN {
        let question = format!("SELECT 1 FROM {table} LIMIT 1");
        if target.exists(&question, values![]).map_err(failed)? {
            return Err(OpenError::Filled(name.to_owned()));
        }
    }
    check_keys(&lease.session, sealer, name)?;
    lease.session.begin("").map_err(failed)?;
    // All of it was taken before it is said to stay.
    let copied = copy(&source, lease).and_then(|rows| lease.session.settle().map(|()| rows));
    match copied {
        Ok(rows) => lease.session.commit().map(|()| Some(rows)).map_err(failed),
        Err(error) => {
            // It ends with the connection in any case.
            let _ = lease.session.roll_back();
            Err(failed(error))
        }
    }
}

/// Where the chain ends: it says all that was before.
fn last_row(connection: &dyn Sql) -> Result<Option<(i64, Vec<u8>)>> {
    let last = "SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1";
    connection.one(last, values![], |row| Ok((row.get(0)?, row.get(1)?)))
}

fn copy(source: &rusqlite::Connection, lease: &Lease) -> Result<usize> {
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let source_sql: &dyn Sql = source;
    let names: Vec<String> = source_sql.all(tables, values![], |row| row.get(0))?;
    let mut rows = 0_usize;
    for table in names {
        rows = rows.saturating_add(copy_table(source, lease, &table)?);
    }
    let mark: Option<i64> = source_sql.one("PRAGMA application_id", values![], |row| row.get(0))?;
    if mark.is_some_and(|mark| mark == crate::sqlite::RESTORED) {
        let target: &dyn Sql = &lease.session;
        target.write("UPDATE portolan SET is_restored = TRUE", values![])?;
    }
    Ok(rows)
}

fn copy_table(source: &rusqlite::Connection, lease: &Lease, table: &str) -> Result<usize> {
    let mut select = source.prepare(&format!("SELECT * FROM {table}"))?;
    let columns: Vec<String> = select.column_names().map(str::to_owned).collect();
    let places = vec!["?"; columns.len()].join(", ");
    let insert = format!(
        "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE VALUES ({places})",
        columns.join(", ")
    );
    let mut rows = select.query([])?;
    let mut copied = 0_usize;
    while let Some(row) = rows.next()? {
        let mut values = Vec::with_capacity(columns.len());
        for at in 0..columns.len() {
            values.push(value(row.get_ref(at)?)?);
        }
        let target: &dyn Sql = &lease.session;
        target.write(&insert, &values)?;
        copied = copied.saturating_add(1);
        if copied.is_multiple_of(AT_ONCE) {
            lease.session.settle()?;
        }
    }
    drop(rows);
    count_on(source, lease, table)?;
    Ok(copied)
}

/// Numbers that the database gives go on after the last one that was given: of a row that is gone by now, perhaps.
fn count_on(source: &rusqlite::Connection, lease: &Lease, table: &str) -> Result<()> {
    let (source, target): (&dyn Sql, &dyn Sql) = (source, &lease.session);
    let numbered: Vec<String> = target.all(
        "SELECT column_name FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = ? AND is_identity = 'YES'",
        values![table],
        |row| row.get(0),
    )?;
    for column in numbered {
        let given = source.one(
            "SELECT seq FROM sqlite_sequence WHERE name = ?",
            values![table],
            |row| row.get(0),
        )?;
        let question = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), last) FROM
             (SELECT greatest(max({column}), ?1) AS last FROM {table}) AS it WHERE last > 0"
        );
        target.exists(&question, values![given.unwrap_or(0_i64)])?;
    }
    Ok(())
}

fn value(stored: ValueRef<'_>) -> Result<Value<'_>> {
    Ok(match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(text) => {
            Value::Text(std::str::from_utf8(text).map_err(|error| RowError::new(error.to_string()))?)
        }
        ValueRef::Blob(bytes) => Value::Blob(bytes),
        ValueRef::Real(_) => return Err(RowError::new("a number with a point: there is none in a store".into())),
    })
}
