//! Reading: the shapes that the Store's look-ups and the Library's lists share.

use super::{Columns, Result, Sql, SqlStore, values};
use crate::rows::{self, Body, RowError, mode_number, open, payment_place};
use portolan_domain::beneficiary::StoredBeneficiary;
use portolan_domain::commit::{Journaled, Versioned};
use portolan_domain::ids::{BeneficiaryId, Mode, PaymentId};
use portolan_domain::money::Asset;
use portolan_domain::payment::Payment;
use portolan_domain::ports::ReadError;
use portolan_domain::settlement::BatchLine;
use uuid::Uuid;

/// The least id made at that time or later: a version 7 UUID begins with its 48-bit time.
pub(super) fn first_id_at(ms: u64) -> [u8; 16] {
    let mut least = [0; 16];
    for (byte, value) in least.iter_mut().zip(ms.to_be_bytes().into_iter().skip(2)) {
        *byte = value;
    }
    least
}

/// The columns that [`SqlStore::found`] reads.
pub(super) const PAYMENT: &str = "SELECT id, version, data_key, sealed, journal FROM payment";

/// A payment as its row has it.
pub(super) struct Found {
    pub versioned: Versioned,
    pub data_key: Vec<u8>,
    /// Its journal rows, the oldest first.
    pub journal: Vec<i64>,
}

/// A row of the journal.
pub(super) struct Journal {
    pub id: Uuid,
    pub body: String,
    pub answer: Option<Vec<u8>>,
    pub operations: Option<Vec<u8>>,
}

impl Journal {
    pub fn read(row: &dyn Columns) -> Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            body: row.get(1)?,
            answer: row.get(2)?,
            operations: row.get(3)?,
        })
    }

    pub fn body(&self) -> Result<Body> {
        Ok(serde_json::from_str(&self.body)?)
    }
}

impl SqlStore {
    pub(super) fn read<T>(&self, query: impl FnOnce(&dyn Sql) -> Result<T>) -> Result<T, ReadError> {
        self.ask(false, query)
    }

    /// All of it as of one moment.
    pub(super) fn snapshot<T>(&self, query: impl FnOnce(&dyn Sql) -> Result<T>) -> Result<T, ReadError> {
        self.ask(true, query)
    }

    fn ask<T>(&self, is_snapshot: bool, query: impl FnOnce(&dyn Sql) -> Result<T>) -> Result<T, ReadError> {
        let (mut query, mut answer) = (Some(query), None);
        self.database.with(is_snapshot, &mut |connection| {
            answer = query.take().map(|query| query(connection));
        })?;
        Ok(answer.ok_or_else(|| RowError::new("the database lent no connection".into()))??)
    }

    pub(super) fn found(&self, row: &dyn Columns) -> Result<Found> {
        let payment = PaymentId(row.get(0)?);
        let (version, data_key, sealed): (u64, Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let place = payment_place(payment);
        let (payment, in_flight): (Payment, Vec<Journaled>) = open(&*self.sealer, &data_key, &place, &sealed)?;
        let listed: Vec<u8> = row.get(4)?;
        Ok(Found {
            versioned: Versioned {
                payment,
                version,
                in_flight,
            },
            data_key,
            journal: listed
                .as_chunks()
                .0
                .iter()
                .map(|seq| i64::from_be_bytes(*seq))
                .collect(),
        })
    }

    pub(super) fn stored_beneficiary(
        &self,
        connection: &dyn Sql,
        id: BeneficiaryId,
    ) -> Result<Option<StoredBeneficiary>> {
        connection.one(
            "SELECT data_key, sealed FROM beneficiary WHERE id = ?",
            values![&id.0],
            |row| {
                let (key, sealed): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
                rows::read_beneficiary(&*self.sealer, id, (&key, &sealed))
            },
        )
    }

    pub(super) fn find(&self, connection: &dyn Sql, payment: PaymentId) -> Result<Option<Found>> {
        connection.one(&format!("{PAYMENT} WHERE id = ?"), values![&payment.0], |row| {
            self.found(row)
        })
    }
}

/// A payment's rows of the journal, the newest first.
pub(super) fn journal_of<'a>(
    connection: &'a dyn Sql,
    found: &'a Found,
) -> impl DoubleEndedIterator<Item = Result<Journal>> + 'a {
    found.journal.iter().rev().map(move |seq| {
        let row = connection.one(
            "SELECT id, body, answer, operations FROM journal WHERE seq = ?",
            values![*seq],
            Journal::read,
        )?;
        row.ok_or_else(|| RowError::new(format!("the journal has no row {seq}")))
    })
}

/// Lines of batches, by a condition on one text.
pub(super) fn batch_lines(connection: &dyn Sql, which: &str, text: &str, limit: usize) -> Result<Vec<BatchLine>> {
    let question = format!(
        "SELECT channel, event, batch, operation, net, is_credit, at_ms, bank, entry FROM batch_line WHERE {which} LIMIT ?2"
    );
    connection.all(&question, values![text, limit], |row| {
        let (channel, operation, net): (String, Vec<u8>, String) = (row.get(0)?, row.get(3)?, row.get(4)?);
        let (bank, entry): (Option<String>, Option<String>) = (row.get(7)?, row.get(8)?);
        let banked = bank.as_deref().map(|bank| (bank, entry.unwrap_or_default()));
        let read = rows::read_batch_line((&channel, banked), &operation, &net)?;
        Ok(BatchLine {
            event: row.get(1)?,
            batch: row.get(2)?,
            is_credit: row.get(5)?,
            at_ms: row.get(6)?,
            ..read
        })
    })
}

/// What is promised for a pair and not exchanged, in minor units of what is sold.
pub(super) fn exposure(connection: &dyn Sql, mode: Mode, sold: &Asset, bought: &Asset) -> Result<i128> {
    let mut sum = 0_i128;
    connection.each(
        "SELECT minor FROM exposure WHERE mode = ? AND sold = ? AND bought = ?",
        values![mode_number(mode), sold.code(), bought.code()],
        &mut |row| {
            sum = sum.saturating_add(i128::from_be_bytes(row.get(0)?));
            Ok(true)
        },
    )?;
    Ok(sum)
}
