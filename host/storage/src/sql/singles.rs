//! Units of one row, and what is forgotten in time.

use super::{Result, Sql, values};
use crate::rows::{BeneficiaryRow, BreakRow, QuoteRow, RowError, mode_number};
use portolan_domain::commit::News;
use portolan_domain::ids::BeneficiaryId;
use portolan_domain::ports::{ApiKey, Method, NEWS_MAX, Older};

pub(super) fn method(connection: &dyn Sql, method: &Method, key: &[u8], sealed: &[u8]) -> Result<usize> {
    connection.execute(
        "INSERT INTO method (id, merchant, mode, created_ms, data_key, sealed, number) VALUES (?,?,?,?,?,?,?)",
        values![
            &method.id.0,
            method.merchant.as_str(),
            mode_number(method.mode),
            method.created_ms,
            key,
            sealed,
            &method.sealed.0
        ],
    )
}

pub(super) fn quote(connection: &dyn Sql, row: &QuoteRow) -> Result<usize> {
    connection.execute(
        "INSERT INTO quote (id, owner, expires_ms, data_key, sealed) VALUES (?,?,?,?,?)",
        values![&row.id.0, &row.owner, row.expires_ms, &row.data_key, &row.sealed],
    )
}

pub(super) fn beneficiary(connection: &dyn Sql, row: &BeneficiaryRow) -> Result<usize> {
    connection.execute(
        "INSERT INTO beneficiary (id, owner, at_ms, data_key, sealed) VALUES (?,?,?,?,?)",
        values![&row.id.0, &row.owner, row.at_ms, &row.data_key, &row.sealed],
    )
}

pub(super) fn remove_beneficiary(connection: &dyn Sql, id: BeneficiaryId) -> Result<usize> {
    connection.execute("DELETE FROM beneficiary WHERE id = ?", values![&id.0])
}

/// The next number of a name, from 1.
pub(super) fn count(connection: &dyn Sql, name: &str) -> Result<usize> {
    let value = connection.one(
        "INSERT INTO counter (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = counter.value + 1
         RETURNING value",
        values![name],
        |row| row.get(0),
    )?;
    value.ok_or_else(|| RowError::new(format!("{name} was not counted")))
}

pub(super) fn cursor(connection: &dyn Sql, channel: &str, cursor: &[u8]) -> Result<usize> {
    connection.execute(
        "INSERT INTO feed (channel, cursor) VALUES (?, ?) ON CONFLICT (channel) DO UPDATE SET cursor = excluded.cursor",
        values![channel, cursor],
    )
}

/// Keeps news; how many of these there are then: one, or none if there are too many.
pub(super) fn news(connection: &dyn Sql, news: &News) -> Result<usize> {
    let (channel, subject) = (news.channel.as_str(), &news.subject);
    connection.write(
        "INSERT INTO inbox (channel, event, key, reference, at_ms) SELECT ?1, ?2, ?3, ?4, CAST(?5 AS BIGINT)
         WHERE (SELECT count(*) FROM inbox WHERE channel = ?1) < ?6 ON CONFLICT DO NOTHING",
        values![
            channel,
            &subject.event,
            subject.key.as_ref(),
            subject.reference.as_ref(),
            news.at_ms,
            NEWS_MAX
        ],
    )?;
    let kept = connection.one(
        "SELECT count(*) FROM inbox WHERE channel = ? AND event = ?",
        values![channel, &subject.event],
        |row| row.get(0),
    )?;
    Ok(kept.unwrap_or(0))
}

/// Found again, a break keeps its age and its owner.
pub(super) fn put_break(connection: &dyn Sql, row: &BreakRow) -> Result<usize> {
    connection.execute(
        "INSERT INTO break (channel, event, kind, why, line, opened_ms, owner) VALUES (?,?,?,?,?,?,?)
         ON CONFLICT (channel, event) DO UPDATE SET kind = excluded.kind, why = excluded.why, line = excluded.line",
        values![
            &row.channel,
            &row.event,
            row.kind,
            &row.why,
            &row.line,
            row.opened_ms,
            row.owner.as_ref()
        ],
    )
}

pub(super) fn give_break(connection: &dyn Sql, number: u64, owner: &str) -> Result<usize> {
    connection.execute("UPDATE break SET owner = ? WHERE number = ?", values![owner, number])
}

pub(super) fn close_break(connection: &dyn Sql, number: u64) -> Result<usize> {
    connection.execute("DELETE FROM break WHERE number = ?", values![number])
}

pub(super) fn api_key(connection: &dyn Sql, key: &ApiKey) -> Result<usize> {
    connection.execute(
        "INSERT INTO api_key (hash, id, merchant, mode, scopes, created_ms, revoked_ms, public_key) VALUES (?,?,?,?,?,?,?,?)
         ON CONFLICT (hash) DO UPDATE SET id = excluded.id, merchant = excluded.merchant, mode = excluded.mode,
         scopes = excluded.scopes, created_ms = excluded.created_ms, revoked_ms = excluded.revoked_ms, public_key = excluded.public_key",
        values![
            &key.hash,
            &key.id,
            key.merchant.as_str(),
            mode_number(key.mode),
            &key.scopes.join(" "),
            key.created_ms,
            key.revoked_ms,
            key.public_key.as_ref()
        ],
    )
}

fn prune_news(connection: &dyn Sql, before_ms: u64, limit: usize) -> Result<usize> {
    connection.execute(
        "DELETE FROM inbox WHERE number IN (SELECT number FROM inbox WHERE at_ms < ? ORDER BY number LIMIT ?)",
        values![before_ms, limit],
    )
}

/// Forgets quotes whose time was up before `before_ms`: a payment that used one has its terms itself.
fn prune_quotes(connection: &dyn Sql, before_ms: u64, limit: usize) -> Result<usize> {
    connection.execute(
        "DELETE FROM quote WHERE id IN (SELECT id FROM quote WHERE expires_ms < ? ORDER BY expires_ms LIMIT ?)",
        values![before_ms, limit],
    )
}

/// Empties one column of the journal's oldest rows, in order, and remembers how far.
pub(super) fn prune(connection: &dyn Sql, older: Older, limit: usize) -> Result<usize> {
    let mut touched = prune_quotes(connection, older.answers_ms, limit)?;
    touched += super::routing::prune_tries(connection, older.tries_ms, limit)?;
    touched += super::limits::prune(connection, older.uses_ms, limit)?;
    touched += prune_news(connection, older.news_ms, limit)?;
    for (column, before_ms) in [("answer", older.answers_ms), ("operations", older.journals_ms)] {
        let from: Option<i64> = connection.one("SELECT seq FROM pruned WHERE what = ?", values![column], |row| {
            row.get(0)
        })?;
        let from = from.unwrap_or(0);
        // A row's id begins with its time.
        let bound = super::reader::first_id_at(before_ms);
        // Only as far as all rows are old: one that is dated back by a clock waits for its neighbours.
        let mut to = from;
        connection.each(
            "SELECT seq, id < ? FROM journal WHERE seq > ? ORDER BY seq LIMIT ?",
            values![&bound, from, limit],
            &mut |row| {
                let is_old = row.get(1)?;
                if is_old {
                    to = row.get(0)?;
                }
                Ok(is_old)
            },
        )?;
        if to == from {
            continue;
        }
        let emptied = format!("UPDATE journal SET {column} = NULL WHERE seq > ? AND seq <= ? AND {column} IS NOT NULL");
        connection.write(&emptied, values![from, to])?;
        connection.write(
            "INSERT INTO pruned (what, seq) VALUES (?,?) ON CONFLICT (what) DO UPDATE SET seq = excluded.seq",
            values![column, to],
        )?;
        touched += usize::try_from(to - from).unwrap_or(0);
    }
    Ok(touched)
}
