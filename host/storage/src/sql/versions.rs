//! The versions of adapters, and what operators stopped: one row each, changed together with the act that says who did it.

use super::writer::Unit;
use super::{Result, Sql, SqlStore, values};
use crate::rows::{self, JournalRow};
use async_trait::async_trait;
use portolan_domain::channel::Stop;
use portolan_domain::commit::Act;
use portolan_domain::lifecycle::{Stage, Version};
use portolan_domain::ports::{CommitError, ReadError, Stops, Versions};

/// Rows as they must still be, rows as they are then, and the act.
pub(crate) struct VersionRows {
    before: Vec<VersionRow>,
    after: Vec<VersionRow>,
    act: JournalRow,
}

struct VersionRow {
    adapter: String,
    digest: String,
    stage: Stage,
    body: String,
}

fn row(version: &Version) -> Result<VersionRow, CommitError> {
    Ok(VersionRow {
        adapter: version.adapter.clone(),
        digest: version.digest.clone(),
        stage: version.stage,
        body: serde_json::to_string(version).map_err(|error| CommitError::Unavailable(error.to_string()))?,
    })
}

fn stored(connection: &dyn Sql, row: &VersionRow) -> Result<Option<String>> {
    connection.one(
        "SELECT body FROM adapter_version WHERE adapter = ? AND digest = ?",
        values![&row.adapter, &row.digest],
        |row| row.get(0),
    )
}

/// Whether the rows are as they were read: none that was not there, none that somebody changed.
pub(super) fn are_unchanged(connection: &dyn Sql, rows: &VersionRows) -> Result<bool> {
    for after in &rows.after {
        let before = rows
            .before
            .iter()
            .find(|it| (&it.adapter, &it.digest) == (&after.adapter, &after.digest));
        if stored(connection, after)?.as_deref() != before.map(|it| it.body.as_str()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the rows; whoever gives up being active first, so that there is never more than one.
pub(super) fn put(connection: &dyn Sql, rows: &VersionRows) -> Result<()> {
    let (active, others): (Vec<_>, Vec<_>) = rows.after.iter().partition(|it| it.stage == Stage::Active);
    for row in others.into_iter().chain(active) {
        connection.write(
            "INSERT INTO adapter_version (adapter, digest, stage, body) VALUES (?,?,?,?)
             ON CONFLICT (adapter, digest) DO UPDATE SET stage = excluded.stage, body = excluded.body",
            values![&row.adapter, &row.digest, row.stage.as_str(), &row.body],
        )?;
    }
    Ok(())
}

pub(super) fn act(rows: &VersionRows) -> &JournalRow {
    &rows.act
}

/// Every version of every adapter.
pub(crate) fn all(connection: &dyn Sql) -> Result<Vec<Version>> {
    let question = "SELECT body FROM adapter_version ORDER BY adapter, digest";
    connection.all(question, values![], |row| Ok(serde_json::from_str(row.text(0)?)?))
}

#[async_trait]
impl Versions for SqlStore {
    fn versions(&self) -> Result<Vec<Version>, ReadError> {
        self.read(all)
    }

    async fn put_versions(&self, before: &[Version], after: &[Version], act: Act) -> Result<(), CommitError> {
        let rows = VersionRows {
            before: before.iter().map(row).collect::<Result<_, _>>()?,
            after: after.iter().map(row).collect::<Result<_, _>>()?,
            act: rows::act_row(&act)?,
        };
        self.writer.write(Unit::Versions(Box::new(rows))).await.map(drop)
    }
}

/// Writes a stop, or takes it away.
pub(super) fn stop(connection: &dyn Sql, name: &str, body: Option<&str>) -> Result<usize> {
    match body {
        Some(body) => connection.execute(
            "INSERT INTO stop (name, body) VALUES (?,?) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
            values![name, body],
        ),
        None => connection.execute("DELETE FROM stop WHERE name = ?", values![name]),
    }
}

#[async_trait]
impl Stops for SqlStore {
    fn stops(&self) -> Result<Vec<Stop>, ReadError> {
        self.read(|connection| {
            connection.all("SELECT body FROM stop ORDER BY name", values![], |row| {
                Ok(serde_json::from_str(row.text(0)?)?)
            })
        })
    }

    async fn put_stop(&self, stop: Stop, is_on: bool, act: Act) -> Result<(), CommitError> {
        let endpoint = stop.endpoint.as_deref().map(|it| format!("/{it}")).unwrap_or_default();
        let name = format!("{}{endpoint}", stop.channel);
        let body = is_on.then(|| serde_json::to_string(&stop)).transpose();
        let body = body.map_err(|error| CommitError::Unavailable(error.to_string()))?;
        let act = rows::act_row(&act)?;
        self.writer.write(Unit::Stop(name, body, Box::new(act))).await.map(drop)
    }
}
