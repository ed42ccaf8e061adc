//! What routing keeps: the attempts that count against a card, and the merchants' rules.

use super::SqliteStore;
use super::statements::UnitError;
use super::writer::Unit;
use crate::rows::{self, JournalRow};
use async_trait::async_trait;
use portolan_domain::commit::Act;
use portolan_domain::ids::{AttemptId, MerchantId, Mode};
use portolan_domain::ports::{CommitError, ReadError, RuleSets};
use portolan_domain::routing::rule::RuleSet;
use portolan_domain::routing::tries::{Try, TryChange, TryGuard, TryState};
use rusqlite::{Connection, params};
use uuid::Uuid;

fn word(state: TryState) -> &'static str {
    match state {
        TryState::Open => "open",
        TryState::Declined => "declined",
        TryState::Never => "never",
    }
}

/// Refuses an attempt that exceeds a limit. `true`: the card was declined lately, so the attempt counts while it is open.
pub(super) fn refuse_exceeded(connection: &Connection, guard: &TryGuard) -> Result<bool, UnitError> {
    let mut select = connection
        .prepare_cached("SELECT attempt, at_ms, amount, state FROM card_try WHERE card = ? AND at_ms >= ?")?;
    let tried = |row: &rusqlite::Row<'_>| {
        let state = match row.get_ref(3)?.as_str()? {
            "never" => TryState::Never,
            "declined" => TryState::Declined,
            _ => TryState::Open,
        };
        Ok(Try {
            attempt: AttemptId(Uuid::from_slice(row.get_ref(0)?.as_blob()?).unwrap_or_default()),
            at_ms: row.get(1)?,
            amount: row.get(2)?,
            state,
        })
    };
    let found = select.query_map(params![guard.card.0, guard.since_ms()], tried)?;
    let tries = found.collect::<rusqlite::Result<Vec<Try>>>()?;
    guard
        .check(&tries)
        .map_err(|refusal| UnitError::Refused(CommitError::CardRefused(refusal)))?;
    Ok(!tries.is_empty())
}

pub(super) fn put_try(connection: &Connection, card: &str, tried: &Try) -> rusqlite::Result<()> {
    let mut upsert = connection
        .prepare_cached("INSERT OR REPLACE INTO card_try (attempt, card, at_ms, amount, state) VALUES (?,?,?,?,?)")?;
    upsert.execute(params![
        tried.attempt.0.as_bytes().as_slice(),
        card,
        tried.at_ms,
        tried.amount,
        word(tried.state)
    ])?;
    Ok(())
}

pub(super) fn change_tries(connection: &Connection, changes: &[TryChange]) -> rusqlite::Result<()> {
    for change in changes {
        match change {
            TryChange::Declined(card, tried) => put_try(connection, &card.0, tried)?,
            TryChange::Gone(attempt) => {
                let mut delete = connection.prepare_cached("DELETE FROM card_try WHERE attempt = ?")?;
                delete.execute([attempt.0.as_bytes().as_slice()])?;
            }
        }
    }
    Ok(())
}

pub(super) fn forget_tries(connection: &Connection, card: &str) -> rusqlite::Result<usize> {
    let mut delete = connection.prepare_cached("DELETE FROM card_try WHERE card = ?")?;
    delete.execute([card])
}

pub(super) fn prune_tries(connection: &Connection, before_ms: u64, limit: usize) -> rusqlite::Result<usize> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM card_try WHERE attempt IN (SELECT attempt FROM card_try WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
    )?;
    delete.execute(params![before_ms, limit])
}

/// A version of a set as it is stored, with the act that says who made it.
pub(crate) struct RuleSetRow {
    owner: String,
    version: u32,
    body: String,
    act: JournalRow,
}

/// Whether the version is the next of its owner's.
pub(super) fn is_next(connection: &Connection, row: &RuleSetRow) -> rusqlite::Result<bool> {
    let mut select = connection.prepare_cached("SELECT coalesce(max(version), 0) FROM rule_set WHERE owner = ?")?;
    let last: u32 = select.query_row([&row.owner], |row| row.get(0))?;
    Ok(last.checked_add(1) == Some(row.version))
}

pub(super) fn put_rule_set(connection: &Connection, row: &RuleSetRow) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached("INSERT INTO rule_set (owner, version, body) VALUES (?,?,?)")?;
    insert.execute(params![row.owner, row.version, row.body])?;
    Ok(())
}

pub(super) fn act(row: &RuleSetRow) -> &JournalRow {
    &row.act
}

#[async_trait]
impl RuleSets for SqliteStore {
    fn rule_sets_in_force(&self) -> Result<Vec<RuleSet>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT body FROM rule_set AS it WHERE version = (SELECT max(version) FROM rule_set WHERE owner = it.owner)",
            )?;
            let found = select.query_map([], |row| row.get::<_, String>(0))?;
            found.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
        })
    }

    fn rule_sets(&self, mode: Mode, merchant: &MerchantId, limit: usize) -> Result<Vec<RuleSet>, ReadError> {
        self.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT body FROM rule_set WHERE owner = ? ORDER BY version DESC LIMIT ?")?;
            let owner = rows::owner(mode, merchant);
            let found = select.query_map(params![owner, limit], |row| row.get::<_, String>(0))?;
            found.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
        })
    }

    async fn put_rule_set(&self, set: RuleSet, act: Act) -> Result<(), CommitError> {
        let row = RuleSetRow {
            owner: rows::owner(set.mode, &set.merchant),
            version: set.version,
            body: serde_json::to_string(&set).map_err(|error| CommitError::Unavailable(error.to_string()))?,
            act: rows::act_row(&act)?,
        };
        self.writer.write(Unit::RuleSet(Box::new(row))).await.map(drop)
    }
}
