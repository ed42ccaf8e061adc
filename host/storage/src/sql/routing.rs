//! What routing keeps: the attempts that count against a card, and the merchants' rules.

use super::statements::UnitError;
use super::writer::Unit;
use super::{Result, Sql, SqlStore, values};
use crate::rows::{self, JournalRow};
use async_trait::async_trait;
use portolan_domain::commit::Act;
use portolan_domain::ids::{AttemptId, MerchantId, Mode};
use portolan_domain::ports::{CommitError, ReadError, RuleSets};
use portolan_domain::routing::rule::RuleSet;
use portolan_domain::routing::tries::{Try, TryChange, TryGuard, TryState};

fn word(state: TryState) -> &'static str {
    match state {
        TryState::Open => "open",
        TryState::Declined => "declined",
        TryState::Never => "never",
    }
}

/// Refuses an attempt that exceeds a limit. `true`: the card was declined lately, so the attempt counts while it is open.
pub(super) fn refuse_exceeded(connection: &dyn Sql, guard: &TryGuard) -> Result<bool, UnitError> {
    let tries = connection.all(
        "SELECT attempt, at_ms, amount, state FROM card_try WHERE card = ? AND at_ms >= ?",
        values![&guard.card.0, guard.since_ms()],
        |row| {
            Ok(Try {
                attempt: AttemptId(row.get(0)?),
                at_ms: row.get(1)?,
                amount: row.get(2)?,
                state: match row.text(3)? {
                    "never" => TryState::Never,
                    "declined" => TryState::Declined,
                    _ => TryState::Open,
                },
            })
        },
    )?;
    guard
        .check(&tries)
        .map_err(|refusal| UnitError::Refused(CommitError::CardRefused(refusal)))?;
    Ok(!tries.is_empty())
}

pub(super) fn put_try(connection: &dyn Sql, card: &str, tried: &Try) -> Result<()> {
    connection.write(
        "INSERT INTO card_try (attempt, card, at_ms, amount, state) VALUES (?,?,?,?,?) ON CONFLICT (attempt)
         DO UPDATE SET card = excluded.card, at_ms = excluded.at_ms, amount = excluded.amount, state = excluded.state",
        values![&tried.attempt.0, card, tried.at_ms, &tried.amount, word(tried.state)],
    )
}

pub(super) fn change_tries(connection: &dyn Sql, changes: &[TryChange]) -> Result<()> {
    for change in changes {
        match change {
            TryChange::Declined(card, tried) => put_try(connection, &card.0, tried)?,
            TryChange::Gone(attempt) => {
                connection.write("DELETE FROM card_try WHERE attempt = ?", values![&attempt.0])?;
            }
        }
    }
    Ok(())
}

pub(super) fn forget_tries(connection: &dyn Sql, card: &str) -> Result<usize> {
    connection.execute("DELETE FROM card_try WHERE card = ?", values![card])
}

pub(super) fn prune_tries(connection: &dyn Sql, before_ms: u64, limit: usize) -> Result<usize> {
    connection.execute(
        "DELETE FROM card_try WHERE attempt IN (SELECT attempt FROM card_try WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
        values![before_ms, limit],
    )
}

/// A version of a set as it is stored, with the act that says who made it.
pub(crate) struct RuleSetRow {
    owner: String,
    version: u32,
    body: String,
    act: JournalRow,
}

/// Whether the version is the next of its owner's.
pub(super) fn is_next(connection: &dyn Sql, row: &RuleSetRow) -> Result<bool> {
    let last: Option<u32> = connection.one(
        "SELECT coalesce(max(version), 0) FROM rule_set WHERE owner = ?",
        values![&row.owner],
        |row| row.get(0),
    )?;
    Ok(last.unwrap_or(0).checked_add(1) == Some(row.version))
}

pub(super) fn put_rule_set(connection: &dyn Sql, row: &RuleSetRow) -> Result<()> {
    connection.write(
        "INSERT INTO rule_set (owner, version, body) VALUES (?,?,?)",
        values![&row.owner, row.version, &row.body],
    )
}

pub(super) fn act(row: &RuleSetRow) -> &JournalRow {
    &row.act
}

#[async_trait]
impl RuleSets for SqlStore {
    fn rule_sets_in_force(&self) -> Result<Vec<RuleSet>, ReadError> {
        self.read(|connection| {
            connection.all(
                "SELECT body FROM rule_set AS it WHERE version = (SELECT max(version) FROM rule_set WHERE owner = it.owner)",
                values![],
                |row| Ok(serde_json::from_str(row.text(0)?)?),
            )
        })
    }

    fn rule_sets(&self, mode: Mode, merchant: &MerchantId, limit: usize) -> Result<Vec<RuleSet>, ReadError> {
        self.read(|connection| {
            connection.all(
                "SELECT body FROM rule_set WHERE owner = ? ORDER BY version DESC LIMIT ?",
                values![&rows::owner(mode, merchant), limit],
                |row| Ok(serde_json::from_str(row.text(0)?)?),
            )
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
