//! Statements over a connection to PostgreSQL. What only writes is sent and not waited for: it costs no round trip, and what came
//! of it is read before the commit is believed.

use crate::rows::RowError;
use crate::sql::{Columns, Result, Sql, Value, Visit};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row, Statement};

/// Rows that the first look of a scan reads, and the most that a later one does: each reads twice as many as the one before.
const FETCH: (usize, usize) = (32, 512);

type Sent = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// What a failure of something that was sent means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sense {
    /// What was written is taken back.
    Write,
    /// The store is another router's.
    Fence,
    /// Whether all of it is in the store is not known, unless the database says no.
    End,
}

/// One connection and what it knows.
pub(super) struct Session {
    client: Arc<Client>,
    prepared: RefCell<HashMap<String, Statement>>,
    /// What was sent and not looked at, with what its failure means.
    sent: RefCell<Vec<(Sent, Sense)>>,
    is_in_transaction: Cell<bool>,
    scans: Cell<u32>,
}

/// What was sent is the connection's own; the caller's thread only waits.
fn wait<F: Future>(future: F) -> F::Output {
    pollster::block_on(future)
}

impl Session {
    pub fn new(client: Client) -> Self {
        Self {
            client: Arc::new(client),
            prepared: RefCell::default(),
            sent: RefCell::default(),
            is_in_transaction: Cell::new(false),
            scans: Cell::new(0),
        }
    }

    /// Whether somebody else can use it after this.
    pub fn is_sound(&self) -> bool {
        !self.client.is_closed() && !self.is_in_transaction.get()
    }

    /// Statements without values, waited for.
    pub fn run(&self, statements: &str) -> Result<()> {
        wait(self.client.batch_execute(statements)).map_err(|error| self.failed(&error))
    }

    pub fn begin(&self, how: &str) -> Result<()> {
        let (client, how) = (self.client.clone(), format!("BEGIN {how}"));
        self.is_in_transaction.set(true);
        self.post(async move { client.batch_execute(&how).await }, Sense::Write)
    }

    /// Ends the transaction, and says whether all of it was taken. One in which a statement failed is taken back by this too, and
    /// that statement says why.
    pub fn commit(&self) -> Result<()> {
        let client = self.client.clone();
        self.post(async move { client.batch_execute("COMMIT").await }, Sense::End)?;
        self.settle()?;
        self.is_in_transaction.set(false);
        Ok(())
    }

    pub fn roll_back(&self) -> Result<()> {
        // What failed is known already.
        drop(self.settle());
        self.run("ROLLBACK")?;
        self.is_in_transaction.set(false);
        Ok(())
    }

    /// Sends a question that fails where the store is not this router's any more: nothing after it is written then.
    pub fn fence(&self, question: &str, values: &[Value<'_>]) -> Result<()> {
        self.post_statement(question, values, Sense::Fence)
    }

    fn post_statement(&self, statement: &str, values: &[Value<'_>], sense: Sense) -> Result<()> {
        let (prepared, client) = (self.prepare(statement)?, self.client.clone());
        let values: Vec<Owned> = values.iter().map(Owned::from).collect();
        let sent = async move { client.execute_raw(&prepared, values).await.map(drop) };
        self.post(sent, sense)
    }

    fn post<F>(&self, future: F, sense: Sense) -> Result<()>
    where
        F: Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
    {
        let mut sent: Sent = Box::pin(future);
        // The first look sends it.
        match sent.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.sent.borrow_mut().push((sent, sense)),
            // It did not leave, so nothing after it may.
            Poll::Ready(Err(error)) => return Err(self.failed_after(&error)),
            Poll::Ready(Ok(())) => {}
        }
        Ok(())
    }

    /// Looks at all that was sent; the first failure counts, for the others follow from it.
    pub fn settle(&self) -> Result<()> {
        let mut first = Ok(());
        for (sent, sense) in self.sent.take() {
            let done = wait(sent).map_err(|error| self.failed_as(&error, sense));
            if first.is_ok() {
                first = done;
            }
        }
        first
    }

    fn failed_as(&self, error: &tokio_postgres::Error, sense: Sense) -> RowError {
        let failed = self.failed(error);
        match sense {
            Sense::Write => failed,
            Sense::Fence if error.code() == Some(&SqlState::DIVISION_BY_ZERO) => RowError {
                text: "another router has taken over the store".into(),
                is_fatal: true,
            },
            Sense::Fence => failed,
            Sense::End => RowError {
                is_fatal: failed.is_fatal || error.as_db_error().is_none(),
                ..failed
            },
        }
    }

    /// Why an answer failed: what was sent before and failed is the reason, if there is such.
    fn failed_after(&self, error: &tokio_postgres::Error) -> RowError {
        match self.settle() {
            Err(earlier) => earlier,
            Ok(()) => self.failed(error),
        }
    }

    /// What the database says no to is taken back; where it says nothing any more, nothing is known of what it took.
    fn failed(&self, error: &tokio_postgres::Error) -> RowError {
        let text = match error.as_db_error() {
            Some(said) => format!("{} ({})", said.message(), said.code().code()),
            None => error.to_string(),
        };
        let severity = error.as_db_error().and_then(DbError::parsed_severity);
        let is_lost = matches!(severity, Some(Severity::Fatal | Severity::Panic));
        RowError {
            text,
            is_fatal: is_lost || error.is_closed() || self.client.is_closed(),
        }
    }

    fn prepare(&self, statement: &str) -> Result<Statement> {
        if let Some(prepared) = self.prepared.borrow().get(statement) {
            return Ok(prepared.clone());
        }
        let prepared = wait(self.client.prepare(&numbered(statement))).map_err(|error| self.failed_after(&error))?;
        self.prepared
            .borrow_mut()
            .insert(statement.to_owned(), prepared.clone());
        Ok(prepared)
    }

    fn scan_in_transaction(&self, question: &str, values: &[Value<'_>], visit: Visit<'_>) -> Result<()> {
        // One in another has a name of its own.
        let name = format!("scan_{}", self.scans.get());
        let declare = format!("DECLARE {name} NO SCROLL CURSOR FOR {}", numbered(question));
        wait(self.client.execute(&declare, &parameters(values))).map_err(|error| self.failed_after(&error))?;
        self.scans.set(self.scans.get().saturating_add(1));
        let read = self.fetch(&name, visit);
        self.scans.set(self.scans.get().saturating_sub(1));
        let closed = self.run(&format!("CLOSE {name}"));
        read.and(closed)
    }

    fn fetch(&self, name: &str, visit: Visit<'_>) -> Result<()> {
        let (mut many, most) = FETCH;
        loop {
            let question = format!("FETCH FORWARD {many} FROM {name}");
            let rows = wait(self.client.query(&question, &[])).map_err(|error| self.failed(&error))?;
            for row in &rows {
                if !visit(row)? {
                    return Ok(());
                }
            }
            if rows.len() < many {
                return Ok(());
            }
            many = many.saturating_mul(2).min(most);
        }
    }
}

impl Sql for Session {
    fn each(&self, question: &str, values: &[Value<'_>], visit: Visit<'_>) -> Result<()> {
        let prepared = self.prepare(question)?;
        let rows = wait(self.client.query(&prepared, &parameters(values)));
        for row in &rows.map_err(|error| self.failed_after(&error))? {
            if !visit(row)? {
                break;
            }
        }
        Ok(())
    }

    fn scan(&self, question: &str, values: &[Value<'_>], visit: Visit<'_>) -> Result<()> {
        if self.is_in_transaction.get() {
            return self.scan_in_transaction(question, values, visit);
        }
        self.begin("READ ONLY")?;
        let read = self.scan_in_transaction(question, values, visit);
        let ended = match read {
            Ok(()) => self.commit(),
            Err(_) => self.roll_back(),
        };
        read.and(ended)
    }

    fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<usize> {
        let prepared = self.prepare(statement)?;
        let done = wait(self.client.execute(&prepared, &parameters(values)));
        let touched = done.map_err(|error| self.failed_after(&error))?;
        Ok(usize::try_from(touched).unwrap_or(usize::MAX))
    }

    fn write(&self, statement: &str, values: &[Value<'_>]) -> Result<()> {
        match self.is_in_transaction.get() {
            true => self.post_statement(statement, values, Sense::Write),
            false => self.execute(statement, values).map(drop),
        }
    }
}

/// `?N` is a placeholder with its number, `?` the next one: PostgreSQL says `$N`. No text in a statement has a `?`.
fn numbered(statement: &str) -> String {
    let mut out = String::with_capacity(statement.len().saturating_add(16));
    let mut next = 0_u32;
    for (at, part) in statement.split('?').enumerate() {
        if at > 0 {
            out.push('$');
            let digits = part.find(|it: char| !it.is_ascii_digit()).unwrap_or(part.len());
            match part.get(..digits).and_then(|number| number.parse::<u32>().ok()) {
                Some(number) => next = next.max(number),
                None => {
                    next = next.saturating_add(1);
                    // Writing to a string does not fail.
                    let _ = write!(out, "{next}");
                }
            }
        }
        out.push_str(part);
    }
    out
}

fn parameters<'v>(values: &'v [Value<'_>]) -> Vec<&'v (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// A value that outlives whoever sends it.
enum Owned {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<&Value<'_>> for Owned {
    fn from(value: &Value<'_>) -> Self {
        match *value {
            Value::Null => Self::Null,
            Value::Int(number) => Self::Int(number),
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

type Written = std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>>;

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Written {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) if *kind == Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
            Self::Int(number) => number.to_sql(kind, out),
            // It takes no such character; whoever looks for the text asks for the same.
            Self::Text(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
            Self::Blob(bytes) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Owned {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => Value::Int(*number),
            Self::Text(text) => Value::Text(text),
            Self::Blob(bytes) => Value::Blob(bytes),
        }
    }
}

impl std::fmt::Debug for Owned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value().fmt(f)
    }
}

impl ToSql for Owned {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Written {
        self.value().to_sql(kind, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Whatever stands in a column that is not null.
struct Something;

impl FromSql<'_> for Something {
    fn from_sql(_: &Type, _: &[u8]) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn column<'r, T: FromSql<'r>>(row: &'r Row, at: usize) -> Result<T> {
    row.try_get(at)
        .map_err(|error| RowError::new(format!("column {at}: {error}")))
}

impl Columns for Row {
    fn int(&self, at: usize) -> Result<i64> {
        match self.columns().get(at).map(|column| column.type_().clone()) {
            Some(Type::BOOL) => column(self, at).map(i64::from as fn(bool) -> i64),
            Some(Type::INT4) => column(self, at).map(i64::from as fn(i32) -> i64),
            _ => column(self, at),
        }
    }

    fn text(&self, at: usize) -> Result<&str> {
        column(self, at)
    }

    fn blob(&self, at: usize) -> Result<&[u8]> {
        column(self, at)
    }

    fn is_null(&self, at: usize) -> Result<bool> {
        column::<Option<Something>>(self, at).map(|found| found.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn placeholders_are_numbered() {
        assert_eq!(numbered("a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(numbered("?1, ?2 WHERE ?1 < ?"), "$1, $2 WHERE $1 < $3");
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
    }
}
