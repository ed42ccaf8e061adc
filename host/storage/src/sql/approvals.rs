//! What has to be approved, and by whom: public keys, names and hashes, so in clear.

use super::writer::Unit;
use super::{Result, Sql, SqlStore, values};
use crate::rows::{self, JournalRow};
use async_trait::async_trait;
use portolan_domain::approval::Approvals;
use portolan_domain::commit::Act;
use portolan_domain::ports::{ApprovalBook, CommitError, ReadError};

/// A merchant's approvals as they are stored, with the act that says who changed them.
pub(crate) struct ApprovalsRow {
    owner: String,
    version: u32,
    body: String,
    pub(super) act: JournalRow,
}

/// Whether they are the next version of their owner's.
pub(super) fn is_next(connection: &dyn Sql, row: &ApprovalsRow) -> Result<bool> {
    let last: Option<u32> = connection.one(
        "SELECT version FROM approvals WHERE owner = ?",
        values![&row.owner],
        |row| row.get(0),
    )?;
    Ok(last.unwrap_or(0).checked_add(1) == Some(row.version))
}

pub(super) fn put(connection: &dyn Sql, row: &ApprovalsRow) -> Result<usize> {
    connection.execute(
        "INSERT INTO approvals (owner, version, body) VALUES (?,?,?)
         ON CONFLICT (owner) DO UPDATE SET version = excluded.version, body = excluded.body",
        values![&row.owner, row.version, &row.body],
    )
}

#[async_trait]
impl ApprovalBook for SqlStore {
    fn approvals(&self) -> std::result::Result<Vec<Approvals>, ReadError> {
        self.read(|connection| {
            connection.all("SELECT body FROM approvals", values![], |row| {
                Ok(serde_json::from_str(row.text(0)?)?)
            })
        })
    }

    async fn put_approvals(&self, approvals: Approvals, act: Act) -> std::result::Result<(), CommitError> {
        let row = ApprovalsRow {
            owner: rows::owner(approvals.mode, &approvals.merchant),
            version: approvals.version,
            body: serde_json::to_string(&approvals).map_err(|error| CommitError::Unavailable(error.to_string()))?,
            act: rows::act_row(&act)?,
        };
        self.writer.write(Unit::Approvals(Box::new(row))).await.map(drop)
    }
}
