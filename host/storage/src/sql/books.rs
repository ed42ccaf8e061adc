//! What the writer knows without reading: the chain's end, and balances. Read anew after a transaction was taken back.

use super::{Columns, Result, Sql, values};
use crate::chain;
use crate::rows::{JournalRow, RowError, mode_number};
use portolan_domain::ids::Mode;
use portolan_domain::ledger::{Account, Balance, Balances};
use portolan_domain::money::Asset;
use std::collections::{BTreeSet, HashMap};

/// Balances kept in memory; when there are more, they are read again.
const BALANCES_KEPT: usize = 16_384;

type Place = (Mode, Account, Asset);

pub(super) struct Books {
    last_seq: i64,
    hash: [u8; 32],
    balances: HashMap<Place, Balance>,
    changed: BTreeSet<Place>,
}

impl Books {
    pub fn read(connection: &dyn Sql) -> Result<Self> {
        let last = connection.one(
            "SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1",
            values![],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let (last_seq, hash) = last.unwrap_or((0, chain::START));
        Ok(Self {
            last_seq,
            hash,
            balances: HashMap::new(),
            changed: BTreeSet::new(),
        })
    }

    /// The number of the next row of the journal.
    pub const fn next_seq(&self) -> i64 {
        self.last_seq.saturating_add(1)
    }

    /// The next row of the journal, linked to the one before.
    pub fn append(&mut self, connection: &dyn Sql, row: &JournalRow) -> Result<()> {
        self.hash = chain::link(&self.hash, row.body.as_bytes());
        self.last_seq = self.next_seq();
        connection.write(
            "INSERT INTO journal (seq, id, owner, body, hash, answer, operations) VALUES (?,?,?,?,?,?,?)",
            values![
                self.last_seq,
                &row.id,
                &row.owner,
                &row.body,
                &self.hash,
                row.answer.as_ref(),
                row.operations.as_ref()
            ],
        )
    }

    /// What an account holds, with what the transaction has changed so far.
    pub fn balance(&mut self, connection: &dyn Sql, place: Place) -> Result<Balance> {
        if let Some(known) = self.balances.get(&place) {
            return Ok(*known);
        }
        let stored = stored_balance(connection, &place)?;
        Ok(*self.balances.entry(place).or_insert(stored))
    }

    pub fn add(&mut self, connection: &dyn Sql, mode: Mode, changes: &Balances) -> Result<()> {
        for ((account, asset), change) in changes {
            let place = (mode, account.clone(), asset.clone());
            let balance = match self.balances.get_mut(&place) {
                Some(balance) => balance,
                None => {
                    let stored = stored_balance(connection, &place)?;
                    self.balances.entry(place.clone()).or_insert(stored)
                }
            };
            balance
                .merge(change)
                .map_err(|error| RowError::new(error.to_string()))?;
            self.changed.insert(place);
        }
        Ok(())
    }

    /// Writes every balance that the transaction changed.
    pub fn write_balances(&mut self, connection: &dyn Sql) -> Result<()> {
        for place in std::mem::take(&mut self.changed) {
            let balance = self.balances.get(&place).copied().unwrap_or_default();
            let (mode, account, asset) = &place;
            connection.write(
                "INSERT INTO balance (mode, account, asset, body, debit, credit, pending_debit, pending_credit)
                 VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (mode, account, asset) DO UPDATE SET body = excluded.body,
                 debit = excluded.debit, credit = excluded.credit, pending_debit = excluded.pending_debit,
                 pending_credit = excluded.pending_credit",
                values![
                    mode_number(*mode),
                    &account.to_string(),
                    asset.code(),
                    &serde_json::to_string(&(account, asset))?,
                    &balance.debit.to_be_bytes(),
                    &balance.credit.to_be_bytes(),
                    &balance.pending_debit.to_be_bytes(),
                    &balance.pending_credit.to_be_bytes()
                ],
            )?;
        }
        if self.balances.len() > BALANCES_KEPT {
            self.balances.clear();
        }
        Ok(())
    }
}

/// A balance in the first four columns.
pub(super) fn balance(row: &dyn Columns) -> Result<Balance> {
    let number = |at: usize| row.get::<[u8; 16]>(at).map(i128::from_be_bytes);
    Ok(Balance {
        debit: number(0)?,
        credit: number(1)?,
        pending_debit: number(2)?,
        pending_credit: number(3)?,
    })
}

fn stored_balance(connection: &dyn Sql, (mode, account, asset): &Place) -> Result<Balance> {
    let found = connection.one(
        "SELECT debit, credit, pending_debit, pending_credit FROM balance WHERE mode = ? AND account = ? AND asset = ?",
        values![mode_number(*mode), &account.to_string(), asset.code()],
        balance,
    )?;
    Ok(found.unwrap_or_default())
}
