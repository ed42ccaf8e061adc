//! What the limits of merchants' rules count: a row for each payment and rule, written in the commit of the payment's intent.

use super::statements::UnitError;
use super::{Result, Sql, values};
use portolan_domain::ids::PaymentId;
use portolan_domain::ports::CommitError;
use portolan_domain::risk::{LimitGuard, Use, UseKey};

/// What a limit counts, since that time, the newest first.
pub(super) fn uses(connection: &dyn Sql, key: &UseKey, since_ms: u64, limit: usize) -> Result<Vec<Use>> {
    connection.all(
        "SELECT payment, at_ms, minor, asset, card, country, is_over FROM limit_use WHERE key = ? AND at_ms >= ?
         ORDER BY at_ms DESC LIMIT ?",
        values![&key.0, since_ms, limit],
        |row| {
            Ok(Use {
                payment: PaymentId(row.get(0)?),
                at_ms: row.get(1)?,
                minor: i128::from_be_bytes(row.get(2)?),
                asset: row.get(3)?,
                card: row.get(4)?,
                country: row.get(5)?,
                is_over: row.get(6)?,
            })
        },
    )
}

/// Refuses a payment that passes a limit, by what is written at this moment.
pub(super) fn refuse_passed(connection: &dyn Sql, guard: &LimitGuard) -> Result<(), UnitError> {
    for (counted, key) in guard.refusing() {
        let others = uses(connection, key, guard.since_ms(counted), counted.limit.uses_max())?;
        let passed = guard.check(counted, &others);
        passed.map_err(|passed| UnitError::Refused(CommitError::LimitPassed(passed)))?;
    }
    Ok(())
}

/// The payment counts from now on; one that is confirmed again counts anew.
pub(super) fn count(connection: &dyn Sql, guard: &LimitGuard) -> Result<()> {
    let this = &guard.this;
    for key in guard.counted.iter().filter_map(|it| it.key.as_ref()) {
        connection.write(
            "INSERT INTO limit_use (key, payment, at_ms, minor, asset, card, country, is_over) VALUES (?,?,?,?,?,?,?,0)
             ON CONFLICT (key, payment) DO UPDATE SET at_ms = excluded.at_ms, card = excluded.card,
             country = excluded.country, is_over = 0",
            values![
                &key.0,
                &this.payment.0,
                this.at_ms,
                &this.minor.to_be_bytes(),
                &this.asset,
                &this.card,
                &this.country
            ],
        )?;
    }
    Ok(())
}

/// The payment brought no money, so that it is no part of a total any more; or it did after all.
pub(super) fn end(connection: &dyn Sql, (payment, is_over): (PaymentId, bool)) -> Result<()> {
    connection.write(
        "UPDATE limit_use SET is_over = ? WHERE payment = ?",
        values![u32::from(is_over), &payment.0],
    )
}

pub(super) fn prune(connection: &dyn Sql, before_ms: u64, limit: usize) -> Result<usize> {
    connection.execute(
        "DELETE FROM limit_use WHERE (key, payment) IN
         (SELECT key, payment FROM limit_use WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
        values![before_ms, limit],
    )
}
