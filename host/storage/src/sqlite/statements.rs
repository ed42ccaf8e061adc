//! The statements of the writer: what one unit writes, in which order, and what the writer keeps in memory of what it
//! wrote (the chain's end, balances). Guards come first: a refused unit has written nothing.

use crate::chain;
use crate::rows::{
    BatchLineRow, BeneficiaryRow, BreakRow, ClaimRow, JournalRow, PaymentRow, QuoteRow, Rows, mode_number,
};
use portolan_domain::commit::{News, Seen};
use portolan_domain::ids::{BeneficiaryId, Mode, QuoteId};
use portolan_domain::ledger::{Account, Balance, Balances};
use portolan_domain::money::Asset;
use portolan_domain::payment::conversion::Exposure;
use portolan_domain::ports::{ApiKey, CommitError, Method, NEWS_MAX, Older};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use std::collections::{BTreeSet, HashMap};

/// Balances kept in memory; when there are more, they are read again.
const BALANCES_KEPT: usize = 16_384;

/// Why one unit of a batch is not written.
pub(super) enum UnitError {
    Refused(CommitError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for UnitError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

type Place = (Mode, Account, Asset);

/// What the writer knows without reading: the end of the chain, and balances. Read anew after a transaction was taken
/// back.
pub(super) struct Books {
    last_seq: i64,
    hash: [u8; 32],
    balances: HashMap<Place, Balance>,
    changed: BTreeSet<Place>,
}

impl Books {
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let last = connection
            .query_row("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let (last_seq, hash) = last.unwrap_or((0, chain::START));
        Ok(Self {
            last_seq,
            hash,
            balances: HashMap::new(),
            changed: BTreeSet::new(),
        })
    }

    /// What an account holds, with what the transaction has changed so far.
    fn balance(&mut self, connection: &Connection, place: Place) -> rusqlite::Result<Balance> {
        if let Some(known) = self.balances.get(&place) {
            return Ok(*known);
        }
        let stored = stored_balance(connection, &place)?;
        Ok(*self.balances.entry(place).or_insert(stored))
    }

    fn add(&mut self, connection: &Connection, mode: Mode, changes: &Balances) -> rusqlite::Result<()> {
        for ((account, asset), change) in changes {
            let place = (mode, account.clone(), asset.clone());
            let balance = match self.balances.get_mut(&place) {
                Some(balance) => balance,
                None => {
                    let stored = stored_balance(connection, &place)?;
                    self.balances.entry(place.clone()).or_insert(stored)
                }
            };
            balance.merge(change).map_err(unstorable)?;
            self.changed.insert(place);
        }
        Ok(())
    }

    /// Writes every balance that the transaction changed.
    pub fn write_balances(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for place in std::mem::take(&mut self.changed) {
            let balance = self.balances.get(&place).copied().unwrap_or_default();
            let (mode, account, asset) = &place;
            let body = serde_json::to_string(&(account, asset)).map_err(unstorable)?;
            let mut upsert = connection.prepare_cached(
                "INSERT OR REPLACE INTO balance (mode, account, asset, body, debit, credit, pending_debit, pending_credit)
                 VALUES (?,?,?,?,?,?,?,?)",
            )?;
            upsert.execute(params![
                mode_number(*mode),
                account.to_string(),
                asset.code(),
                body,
                balance.debit.to_be_bytes(),
                balance.credit.to_be_bytes(),
                balance.pending_debit.to_be_bytes(),
                balance.pending_credit.to_be_bytes()
            ])?;
        }
        if self.balances.len() > BALANCES_KEPT {
            self.balances.clear();
        }
        Ok(())
    }
}

fn unstorable<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

fn stored_balance(connection: &Connection, (mode, account, asset): &Place) -> rusqlite::Result<Balance> {
    let mut select = connection.prepare_cached(
        "SELECT debit, credit, pending_debit, pending_credit FROM balance WHERE mode = ? AND account = ? AND asset = ?",
    )?;
    let key = params![mode_number(*mode), account.to_string(), asset.code()];
    let found = select.query_row(key, super::reader::balance).optional()?;
    Ok(found.unwrap_or_default())
}

/// A commit: guards, then the payment, then what it adds.
pub(super) fn commit(connection: &Connection, books: &mut Books, rows: &Rows) -> Result<(), UnitError> {
    if let Some(claim) = &rows.claim {
        refuse_taken(connection, claim)?;
    }
    if let Some(seen) = &rows.seen {
        refuse_seen(connection, seen)?;
    }
    if let Some(row) = &rows.batch_line {
        refuse_banked(connection, row)?;
    }
    if let Some(quote) = &rows.quote {
        refuse_used(connection, *quote)?;
    }
    if let (Some(most), Some(Some(exposure)), Some(mode)) = (rows.exposure_max, &rows.exposure, rows.mode) {
        refuse_exposed(connection, mode, exposure, most)?;
    }
    if let (Some((account, amount)), Some(mode)) = (&rows.covers, rows.mode) {
        let place = (mode, account.clone(), amount.asset().clone());
        if books.balance(connection, place)?.to_give() < amount.minor() {
            return Err(UnitError::Refused(CommitError::Uncovered));
        }
    }
    let opened = match &rows.tries {
        Some(guard) => super::routing::refuse_exceeded(connection, guard)?.then(|| guard.opened()),
        None => None,
    };
    let seq = books.last_seq.saturating_add(1);
    let listed = rows.journal.as_ref().map(|_| seq.to_be_bytes());
    if let Some(row) = &rows.payment {
        payment(connection, row, listed.as_ref().map_or(&[], |seq| seq.as_slice()))?;
    }
    if let Some(row) = &rows.journal {
        append(connection, books, row)?;
    }
    if let Some(claim) = &rows.claim {
        take(connection, claim)?;
    }
    if let Some(mode) = rows.mode {
        books.add(connection, mode, &rows.balances)?;
    }
    if let (Some(guard), Some(opened)) = (&rows.tries, &opened) {
        super::routing::put_try(connection, &guard.card.0, opened)?;
    }
    super::routing::change_tries(connection, &rows.try_changes)?;
    rest(connection, rows)?;
    Ok(())
}

fn refuse_taken(connection: &Connection, claim: &ClaimRow) -> Result<(), UnitError> {
    let mut select = connection.prepare_cached("SELECT 1 FROM claim WHERE name = ?")?;
    match select.exists([claim.name])? {
        true => Err(UnitError::Refused(CommitError::ClaimTaken)),
        false => Ok(()),
    }
}

fn refuse_used(connection: &Connection, quote: QuoteId) -> Result<(), UnitError> {
    let mut select = connection.prepare_cached("SELECT 1 FROM quote WHERE id = ? AND used_by IS NULL")?;
    match select.exists([quote.0.as_bytes().as_slice()])? {
        true => Ok(()),
        false => Err(UnitError::Refused(CommitError::QuoteUsed)),
    }
}

fn refuse_seen(connection: &Connection, seen: &Seen) -> Result<(), UnitError> {
    let mut insert = connection.prepare_cached("SELECT 1 FROM seen WHERE channel = ? AND event = ?")?;
    match insert.exists(params![seen.channel.as_str(), seen.event])? {
        true => Err(UnitError::Refused(CommitError::SeenBefore)),
        false => Ok(()),
    }
}

/// What lies at the bank already is not shown again.
fn refuse_banked(connection: &Connection, row: &BatchLineRow) -> Result<(), UnitError> {
    let mut select =
        connection.prepare_cached("SELECT 1 FROM batch_line WHERE channel = ? AND event = ? AND bank IS NOT NULL")?;
    match select.exists(params![row.line.channel.as_str(), row.line.event])? {
        true => Err(UnitError::Refused(CommitError::SeenBefore)),
        false => Ok(()),
    }
}

fn refuse_exposed(connection: &Connection, mode: Mode, exposure: &Exposure, most: i128) -> Result<(), UnitError> {
    let open = super::reader::exposure(connection, mode, exposure.sold.asset(), &exposure.bought)?;
    match open.checked_add(exposure.sold.minor()) {
        Some(sum) if sum <= most => Ok(()),
        _ => Err(UnitError::Refused(CommitError::ExposureFull)),
    }
}

fn expose(connection: &Connection, rows: &Rows, exposure: Option<&Exposure>) -> rusqlite::Result<()> {
    let Some(payment) = &rows.payment else { return Ok(()) };
    let id = payment.id.0.as_bytes().as_slice();
    match (exposure, rows.mode) {
        (Some(exposure), Some(mode)) => {
            let mut upsert = connection.prepare_cached(
                "INSERT OR REPLACE INTO exposure (payment, mode, sold, bought, minor) VALUES (?,?,?,?,?)",
            )?;
            upsert.execute(params![
                id,
                mode_number(mode),
                exposure.sold.asset().code(),
                exposure.bought.code(),
                exposure.sold.minor().to_be_bytes()
            ])?;
        }
        (None, _) | (_, None) => {
            let mut delete = connection.prepare_cached("DELETE FROM exposure WHERE payment = ?")?;
            delete.execute([id])?;
        }
    }
    Ok(())
}

fn payment(connection: &Connection, payment: &PaymentRow, listed: &[u8]) -> Result<(), UnitError> {
    let id = payment.id.0.as_bytes().as_slice();
    let changed = if payment.expect == 0 {
        let mut insert = connection.prepare_cached(
            "INSERT INTO payment (id, owner, version, status, journal, data_key, sealed) VALUES (?,?,1,?,?,?,?)
             ON CONFLICT DO NOTHING",
        )?;
        insert.execute(params![
            id,
            payment.owner,
            payment.status,
            listed,
            payment.data_key,
            payment.sealed
        ])?
    } else {
        let mut update = connection.prepare_cached(
            "UPDATE payment SET version = version + 1, status = ?, sealed = ?, journal = CAST(journal || ? AS BLOB)
             WHERE id = ? AND version = ?",
        )?;
        update.execute(params![payment.status, payment.sealed, listed, id, payment.expect])?
    };
    if changed == 1 {
        Ok(())
    } else {
        Err(UnitError::Refused(CommitError::VersionConflict))
    }
}

/// The next row of the journal, linked to the one before.
pub(super) fn append(connection: &Connection, books: &mut Books, row: &JournalRow) -> rusqlite::Result<()> {
    books.hash = chain::link(&books.hash, row.body.as_bytes());
    books.last_seq = books.last_seq.saturating_add(1);
    let mut insert = connection.prepare_cached(
        "INSERT INTO journal (seq, id, owner, body, hash, answer, operations) VALUES (?,?,?,?,?,?,?)",
    )?;
    insert.execute(params![
        books.last_seq,
        row.id.as_bytes().as_slice(),
        row.owner,
        row.body,
        books.hash,
        row.answer,
        row.operations
    ])?;
    Ok(())
}

fn take(connection: &Connection, claim: &ClaimRow) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare_cached("INSERT INTO claim (name, payment, operation, fingerprint, at_ms) VALUES (?,?,?,?,?)")?;
    insert.execute(params![
        claim.name,
        claim.payment.0.as_bytes().as_slice(),
        claim.operation.map(|id| id.0.into_bytes()),
        claim.fingerprint,
        claim.at_ms,
    ])?;
    Ok(())
}

fn rest(connection: &Connection, rows: &Rows) -> rusqlite::Result<()> {
    let timers = |statement: &str, timers: &[portolan_domain::commit::Timer]| -> rusqlite::Result<()> {
        for timer in timers {
            let mut statement: CachedStatement<'_> = connection.prepare_cached(statement)?;
            let operation = timer.operation.0.as_bytes().as_slice();
            statement.execute(params![timer.due_ms, operation, timer.kind.as_str()])?;
        }
        Ok(())
    };
    timers(
        "DELETE FROM timer WHERE due_ms = ? AND operation = ? AND kind = ?",
        &rows.timers_clear,
    )?;
    timers(
        "INSERT OR REPLACE INTO timer (due_ms, operation, kind) VALUES (?,?,?)",
        &rows.timers_set,
    )?;
    for (id, is_closed, body) in &rows.tasks {
        let mut upsert =
            connection.prepare_cached("INSERT OR REPLACE INTO task (id, is_closed, body) VALUES (?,?,?)")?;
        upsert.execute(params![id.as_bytes().as_slice(), is_closed, body])?;
    }
    if let Some(payment) = &rows.payment {
        for hash in &rows.references {
            let mut insert =
                connection.prepare_cached("INSERT OR IGNORE INTO reference (hash, payment) VALUES (?,?)")?;
            insert.execute(params![hash, payment.id.0.as_bytes().as_slice()])?;
        }
        if let Some(quote) = &rows.quote {
            let mut update = connection.prepare_cached("UPDATE quote SET used_by = ? WHERE id = ?")?;
            update.execute(params![
                payment.id.0.as_bytes().as_slice(),
                quote.0.as_bytes().as_slice()
            ])?;
        }
        for (dispute, at_ms) in &rows.disputes {
            let mut insert = connection.prepare_cached("INSERT INTO dispute (id, owner, at_ms) VALUES (?,?,?)")?;
            insert.execute(params![dispute.0.as_bytes().as_slice(), payment.owner, at_ms])?;
        }
        for (refund, at_ms) in &rows.refunds {
            let mut insert = connection.prepare_cached("INSERT INTO refund (id, owner, at_ms) VALUES (?,?,?)")?;
            insert.execute(params![refund.0.as_bytes().as_slice(), payment.owner, at_ms])?;
        }
    }
    if let Some(exposure) = &rows.exposure {
        expose(connection, rows, exposure.as_ref())?;
    }
    if let Some(BatchLineRow { line, net }) = &rows.batch_line {
        let mut upsert = connection.prepare_cached(
            "INSERT OR REPLACE INTO batch_line (channel, event, batch, operation, net, is_credit, at_ms, bank, entry)
             VALUES (?,?,?,?,?,?,?,?,?)",
        )?;
        upsert.execute(params![
            line.channel.as_str(),
            line.event,
            line.batch,
            line.operation.0.as_bytes().as_slice(),
            net,
            line.is_credit,
            line.at_ms,
            line.banked.as_ref().map(|it| it.bank.as_str()),
            line.banked.as_ref().map(|it| it.entry.as_str())
        ])?;
    }
    if let Some(seen) = &rows.seen {
        let mut insert = connection.prepare_cached("INSERT INTO seen (channel, event) VALUES (?,?)")?;
        insert.execute(params![seen.channel.as_str(), seen.event])?;
        let mut delete = connection.prepare_cached("DELETE FROM inbox WHERE channel = ? AND event = ?")?;
        delete.execute(params![seen.channel.as_str(), seen.event])?;
        let mut delete = connection.prepare_cached("DELETE FROM break WHERE channel = ? AND event = ?")?;
        delete.execute(params![seen.channel.as_str(), seen.event])?;
    }
    Ok(())
}

pub(super) fn method(connection: &Connection, method: &Method, key: &[u8], sealed: &[u8]) -> rusqlite::Result<usize> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO method (id, merchant, mode, created_ms, data_key, sealed, number) VALUES (?,?,?,?,?,?,?)",
    )?;
    insert.execute(params![
        method.id.0.as_bytes().as_slice(),
        method.merchant.as_str(),
        mode_number(method.mode),
        method.created_ms,
        key,
        sealed,
        method.sealed.0
    ])
}

pub(super) fn quote(connection: &Connection, row: &QuoteRow) -> rusqlite::Result<usize> {
    let mut insert =
        connection.prepare_cached("INSERT INTO quote (id, owner, expires_ms, data_key, sealed) VALUES (?,?,?,?,?)")?;
    insert.execute(params![
        row.id.0.as_bytes().as_slice(),
        row.owner,
        row.expires_ms,
        row.data_key,
        row.sealed
    ])
}

pub(super) fn beneficiary(connection: &Connection, row: &BeneficiaryRow) -> rusqlite::Result<usize> {
    let mut insert =
        connection.prepare_cached("INSERT INTO beneficiary (id, owner, at_ms, data_key, sealed) VALUES (?,?,?,?,?)")?;
    insert.execute(params![
        row.id.0.as_bytes().as_slice(),
        row.owner,
        row.at_ms,
        row.data_key,
        row.sealed
    ])
}

pub(super) fn remove_beneficiary(connection: &Connection, id: BeneficiaryId) -> rusqlite::Result<usize> {
    let mut delete = connection.prepare_cached("DELETE FROM beneficiary WHERE id = ?")?;
    delete.execute([id.0.as_bytes().as_slice()])
}

/// The next number of a name, from 1.
pub(super) fn count(connection: &Connection, name: &str) -> rusqlite::Result<usize> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO counter (name, value) VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value",
    )?;
    upsert.query_row([name], |row| row.get(0))
}

pub(super) fn cursor(connection: &Connection, channel: &str, cursor: &[u8]) -> rusqlite::Result<usize> {
    let mut upsert = connection.prepare_cached("INSERT OR REPLACE INTO feed (channel, cursor) VALUES (?, ?)")?;
    upsert.execute(params![channel, cursor])
}

/// Keeps news; how many of these there are then: one, or none if there are too many.
pub(super) fn news(connection: &Connection, news: &News) -> rusqlite::Result<usize> {
    let (channel, subject) = (news.channel.as_str(), &news.subject);
    let mut insert = connection.prepare_cached(
        "INSERT OR IGNORE INTO inbox (channel, event, key, reference, at_ms) SELECT ?,?,?,?,? \
         WHERE (SELECT count(*) FROM inbox WHERE channel = ?1) < ?",
    )?;
    insert.execute(params![
        channel,
        subject.event,
        subject.key,
        subject.reference,
        news.at_ms,
        NEWS_MAX
    ])?;
    let mut count = connection.prepare_cached("SELECT count(*) FROM inbox WHERE channel = ? AND event = ?")?;
    count.query_row(params![channel, subject.event], |row| row.get(0))
}

/// Found again, a break keeps its age and its owner.
pub(super) fn put_break(connection: &Connection, row: &BreakRow) -> rusqlite::Result<usize> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO break (channel, event, kind, why, line, opened_ms, owner) VALUES (?,?,?,?,?,?,?) \
         ON CONFLICT (channel, event) DO UPDATE SET kind = excluded.kind, why = excluded.why, line = excluded.line",
    )?;
    upsert.execute(params![
        row.channel,
        row.event,
        row.kind,
        row.why,
        row.line,
        row.opened_ms,
        row.owner
    ])
}

pub(super) fn give_break(connection: &Connection, number: u64, owner: &str) -> rusqlite::Result<usize> {
    let mut update = connection.prepare_cached("UPDATE break SET owner = ? WHERE number = ?")?;
    update.execute(params![owner, number])
}

pub(super) fn close_break(connection: &Connection, number: u64) -> rusqlite::Result<usize> {
    let mut delete = connection.prepare_cached("DELETE FROM break WHERE number = ?")?;
    delete.execute([number])
}

fn prune_news(connection: &Connection, before_ms: u64, limit: usize) -> rusqlite::Result<usize> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM inbox WHERE number IN (SELECT number FROM inbox WHERE at_ms < ? ORDER BY number LIMIT ?)",
    )?;
    delete.execute(params![before_ms, limit])
}

pub(super) fn api_key(connection: &Connection, key: &ApiKey) -> rusqlite::Result<usize> {
    let mut upsert = connection.prepare_cached(
        "INSERT OR REPLACE INTO api_key (hash, id, merchant, mode, scopes, created_ms, revoked_ms) VALUES (?,?,?,?,?,?,?)",
    )?;
    upsert.execute(params![
        key.hash,
        key.id,
        key.merchant.as_str(),
        mode_number(key.mode),
        key.scopes.join(" "),
        key.created_ms,
        key.revoked_ms
    ])
}

/// Forgets quotes whose time was up before `before_ms`: a payment that used one has its terms itself.
fn prune_quotes(connection: &Connection, before_ms: u64, limit: usize) -> rusqlite::Result<usize> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM quote WHERE id IN (SELECT id FROM quote WHERE expires_ms < ? ORDER BY expires_ms LIMIT ?)",
    )?;
    delete.execute(params![before_ms, limit])
}

/// Empties one column of the journal's oldest rows, in order, and remembers how far.
pub(super) fn prune(connection: &Connection, older: Older, limit: usize) -> rusqlite::Result<usize> {
    let mut touched = prune_quotes(connection, older.answers_ms, limit)?;
    touched += super::routing::prune_tries(connection, older.tries_ms, limit)?;
    touched += prune_news(connection, older.news_ms, limit)?;
    for (column, before_ms) in [("answer", older.answers_ms), ("operations", older.journals_ms)] {
        let from: Option<i64> = connection
            .query_row("SELECT seq FROM pruned WHERE what = ?", [column], |row| row.get(0))
            .optional()?;
        let from = from.unwrap_or(0);
        // A row's id begins with its time.
        let bound = super::reader::first_id_at(before_ms);
        // Only as far as all rows are old: one that is dated back by a clock waits for its neighbours.
        let mut rows =
            connection.prepare_cached("SELECT seq, id < ? FROM journal WHERE seq > ? ORDER BY seq LIMIT ?")?;
        let mut rows = rows.query(params![bound, from, limit])?;
        let mut to = from;
        while let Some(row) = rows.next()? {
            if !row.get::<_, bool>(1)? {
                break;
            }
            to = row.get(0)?;
        }
        drop(rows);
        if to == from {
            continue;
        }
        let emptied = format!("UPDATE journal SET {column} = NULL WHERE seq > ? AND seq <= ? AND {column} IS NOT NULL");
        connection.execute(&emptied, params![from, to])?;
        connection.execute(
            "INSERT OR REPLACE INTO pruned (what, seq) VALUES (?,?)",
            params![column, to],
        )?;
        touched += usize::try_from(to - from).unwrap_or(0);
    }
    Ok(touched)
}
