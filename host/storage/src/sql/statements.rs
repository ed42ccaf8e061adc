//! What a commit writes, in which order. Guards come first: a refused unit has written nothing.

use super::books::Books;
use super::{Result, Sql, values};
use crate::rows::{BatchLineRow, ClaimRow, PaymentRow, RowError, Rows, mode_number};
use portolan_domain::commit::{Seen, Timer};
use portolan_domain::ids::{Mode, QuoteId};
use portolan_domain::payment::conversion::Exposure;
use portolan_domain::ports::CommitError;

/// Why one unit of a batch is not written.
pub(super) enum UnitError {
    Refused(CommitError),
    Failed(RowError),
}

impl From<RowError> for UnitError {
    fn from(error: RowError) -> Self {
        Self::Failed(error)
    }
}

/// A commit: guards, then the payment, then what it adds.
pub(super) fn commit(connection: &dyn Sql, books: &mut Books, rows: &Rows) -> Result<(), UnitError> {
    refuse(connection, rows)?;
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
    if let Some(guard) = &rows.limits {
        super::limits::refuse_passed(connection, guard)?;
    }
    let listed = rows.journal.as_ref().map(|_| books.next_seq().to_be_bytes());
    if let Some(row) = &rows.payment {
        payment(connection, row, listed.as_ref().map_or(&[], |seq| seq.as_slice()))?;
    }
    if let Some(row) = &rows.journal {
        books.append(connection, row)?;
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
    if let Some(guard) = &rows.limits {
        super::limits::count(connection, guard)?;
    }
    if let Some(ended) = rows.is_over {
        super::limits::end(connection, ended)?;
    }
    rest(connection, rows)?;
    Ok(())
}

/// The guards that look at a row of their own.
fn refuse(connection: &dyn Sql, rows: &Rows) -> Result<(), UnitError> {
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
    Ok(())
}

fn refuse_taken(connection: &dyn Sql, claim: &ClaimRow) -> Result<(), UnitError> {
    match connection.exists("SELECT 1 FROM claim WHERE name = ?", values![&claim.name])? {
        true => Err(UnitError::Refused(CommitError::ClaimTaken)),
        false => Ok(()),
    }
}

fn refuse_used(connection: &dyn Sql, quote: QuoteId) -> Result<(), UnitError> {
    match connection.exists(
        "SELECT 1 FROM quote WHERE id = ? AND used_by IS NULL",
        values![&quote.0],
    )? {
        true => Ok(()),
        false => Err(UnitError::Refused(CommitError::QuoteUsed)),
    }
}

fn refuse_seen(connection: &dyn Sql, seen: &Seen) -> Result<(), UnitError> {
    match connection.exists(
        "SELECT 1 FROM seen WHERE channel = ? AND event = ?",
        values![seen.channel.as_str(), &seen.event],
    )? {
        true => Err(UnitError::Refused(CommitError::SeenBefore)),
        false => Ok(()),
    }
}

/// What lies at the bank already is not shown again.
fn refuse_banked(connection: &dyn Sql, row: &BatchLineRow) -> Result<(), UnitError> {
    match connection.exists(
        "SELECT 1 FROM batch_line WHERE channel = ? AND event = ? AND bank IS NOT NULL",
        values![row.line.channel.as_str(), &row.line.event],
    )? {
        true => Err(UnitError::Refused(CommitError::SeenBefore)),
        false => Ok(()),
    }
}

fn refuse_exposed(connection: &dyn Sql, mode: Mode, exposure: &Exposure, most: i128) -> Result<(), UnitError> {
    let open = super::reader::exposure(connection, mode, exposure.sold.asset(), &exposure.bought)?;
    match open.checked_add(exposure.sold.minor()) {
        Some(sum) if sum <= most => Ok(()),
        _ => Err(UnitError::Refused(CommitError::ExposureFull)),
    }
}

fn expose(connection: &dyn Sql, rows: &Rows, exposure: Option<&Exposure>) -> Result<()> {
    let Some(payment) = &rows.payment else { return Ok(()) };
    match (exposure, rows.mode) {
        (Some(exposure), Some(mode)) => connection.write(
            "INSERT INTO exposure (payment, mode, sold, bought, minor) VALUES (?,?,?,?,?) ON CONFLICT (payment)
             DO UPDATE SET mode = excluded.mode, sold = excluded.sold, bought = excluded.bought, minor = excluded.minor",
            values![
                &payment.id.0,
                mode_number(mode),
                exposure.sold.asset().code(),
                exposure.bought.code(),
                &exposure.sold.minor().to_be_bytes()
            ],
        ),
        (None, _) | (_, None) => connection.write("DELETE FROM exposure WHERE payment = ?", values![&payment.id.0]),
    }
}

fn payment(connection: &dyn Sql, payment: &PaymentRow, listed: &[u8]) -> Result<(), UnitError> {
    let changed = if payment.expect == 0 {
        connection.execute(
            "INSERT INTO payment (id, owner, version, status, journal, data_key, sealed) VALUES (?,?,1,?,?,?,?)
             ON CONFLICT DO NOTHING",
            values![
                &payment.id.0,
                &payment.owner,
                payment.status,
                listed,
                &payment.data_key,
                &payment.sealed
            ],
        )?
    } else {
        connection.execute(
            "UPDATE payment SET version = version + 1, status = ?, sealed = ?, journal = CAST(journal || ? AS BLOB)
             WHERE id = ? AND version = ?",
            values![payment.status, &payment.sealed, listed, &payment.id.0, payment.expect],
        )?
    };
    if changed == 1 {
        Ok(())
    } else {
        Err(UnitError::Refused(CommitError::VersionConflict))
    }
}

fn take(connection: &dyn Sql, claim: &ClaimRow) -> Result<()> {
    connection.write(
        "INSERT INTO claim (name, payment, operation, fingerprint, at_ms) VALUES (?,?,?,?,?)",
        values![
            &claim.name,
            &claim.payment.0,
            claim.operation.as_ref().map(|id| &id.0),
            &claim.fingerprint,
            claim.at_ms
        ],
    )
}

fn timers(connection: &dyn Sql, statement: &str, timers: &[Timer]) -> Result<()> {
    for timer in timers {
        let place = values![timer.due_ms, &timer.operation.0, timer.kind.as_str()];
        connection.write(statement, place)?;
    }
    Ok(())
}

fn rest(connection: &dyn Sql, rows: &Rows) -> Result<()> {
    timers(
        connection,
        "DELETE FROM timer WHERE due_ms = ? AND operation = ? AND kind = ?",
        &rows.timers_clear,
    )?;
    timers(
        connection,
        "INSERT INTO timer (due_ms, operation, kind) VALUES (?,?,?) ON CONFLICT DO NOTHING",
        &rows.timers_set,
    )?;
    for (id, is_closed, body) in &rows.tasks {
        connection.write(
            "INSERT INTO task (id, is_closed, body) VALUES (?,?,?)
             ON CONFLICT (id) DO UPDATE SET is_closed = excluded.is_closed, body = excluded.body",
            values![id, *is_closed, body],
        )?;
    }
    if let Some(payment) = &rows.payment {
        of_payment(connection, payment, rows)?;
    }
    if let Some(exposure) = &rows.exposure {
        expose(connection, rows, exposure.as_ref())?;
    }
    if let Some(row) = &rows.batch_line {
        batch_line(connection, row)?;
    }
    if let Some(seen) = &rows.seen {
        let place = values![seen.channel.as_str(), &seen.event];
        connection.write("INSERT INTO seen (channel, event) VALUES (?,?)", place)?;
        connection.write("DELETE FROM inbox WHERE channel = ? AND event = ?", place)?;
        connection.write("DELETE FROM break WHERE channel = ? AND event = ?", place)?;
    }
    Ok(())
}

/// What stands beside a payment so that it is found.
fn of_payment(connection: &dyn Sql, payment: &PaymentRow, rows: &Rows) -> Result<()> {
    let id = &payment.id.0;
    for hash in &rows.references {
        connection.write(
            "INSERT INTO reference (hash, payment) VALUES (?,?) ON CONFLICT DO NOTHING",
            values![*hash, id],
        )?;
    }
    if let Some(quote) = &rows.quote {
        connection.write("UPDATE quote SET used_by = ? WHERE id = ?", values![id, &quote.0])?;
    }
    for (dispute, at_ms) in &rows.disputes {
        connection.write(
            "INSERT INTO dispute (id, owner, at_ms) VALUES (?,?,?)",
            values![&dispute.0, &payment.owner, *at_ms],
        )?;
    }
    for (refund, at_ms) in &rows.refunds {
        connection.write(
            "INSERT INTO refund (id, owner, at_ms) VALUES (?,?,?)",
            values![&refund.0, &payment.owner, *at_ms],
        )?;
    }
    Ok(())
}

fn batch_line(connection: &dyn Sql, BatchLineRow { line, net }: &BatchLineRow) -> Result<()> {
    connection.write(
        "INSERT INTO batch_line (channel, event, batch, operation, net, is_credit, at_ms, bank, entry)
         VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (channel, event) DO UPDATE SET batch = excluded.batch,
         operation = excluded.operation, net = excluded.net, is_credit = excluded.is_credit, at_ms = excluded.at_ms,
         bank = excluded.bank, entry = excluded.entry",
        values![
            line.channel.as_str(),
            &line.event,
            &line.batch,
            &line.operation.0,
            net,
            line.is_credit,
            line.at_ms,
            line.banked.as_ref().map(|it| it.bank.as_str()),
            line.banked.as_ref().map(|it| it.entry.as_str())
        ],
    )
}
