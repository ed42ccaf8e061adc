//! Reading: connections of their own, and the shapes that the Store's look-ups and the Library's lists share.

use super::SqliteStore;
use crate::rows::{self, Body, RowError, mode_number, open, payment_place};
use portolan_domain::beneficiary::StoredBeneficiary;
use portolan_domain::commit::{Journaled, Versioned};
use portolan_domain::ids::{BeneficiaryId, Mode, PaymentId};
use portolan_domain::ledger::Balance;
use portolan_domain::money::Asset;
use portolan_domain::payment::Payment;
use portolan_domain::ports::ReadError;
use portolan_domain::settlement::BatchLine;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

/// Read connections kept open.
const READERS_MAX: usize = 8;

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

pub(super) type Result<T, E = RowError> = std::result::Result<T, E>;

pub(super) fn balance(row: &Row<'_>) -> rusqlite::Result<Balance> {
    let number = |at: usize| row.get::<_, [u8; 16]>(at).map(i128::from_be_bytes);
    Ok(Balance {
        debit: number(0)?,
        credit: number(1)?,
        pending_debit: number(2)?,
        pending_credit: number(3)?,
    })
}

pub(super) fn id(row: &Row<'_>, at: usize) -> rusqlite::Result<Uuid> {
    row.get::<_, [u8; 16]>(at).map(Uuid::from_bytes)
}

/// The least id made at that time or later: a version 7 UUID begins with its 48-bit time.
pub(super) fn first_id_at(ms: u64) -> [u8; 16] {
    let mut least = [0; 16];
    for (byte, value) in least.iter_mut().zip(ms.to_be_bytes().into_iter().skip(2)) {
        *byte = value;
    }
    least
}

/// The columns that [`SqliteStore::found`] reads.
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
    pub fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: id(row, 0)?,
            body: row.get(1)?,
            answer: row.get(2)?,
            operations: row.get(3)?,
        })
    }

    pub fn body(&self) -> Result<Body> {
        Ok(serde_json::from_str(&self.body)?)
    }
}

impl SqliteStore {
    pub(super) fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T, ReadError> {
        let kept = self
            .readers
            .lock()
            .map_err(|_| ReadError("a reader panicked".into()))?
            .pop();
        let connection = match kept {
            Some(connection) => connection,
            None => self.open_reader().map_err(|error| ReadError(error.to_string()))?,
        };
        let result = query(&connection);
        let mut readers = self.readers.lock().map_err(|_| ReadError("a reader panicked".into()))?;
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        Ok(result?)
    }

    pub(super) fn found(&self, row: &Row<'_>) -> Result<Found> {
        let payment = PaymentId(id(row, 0)?);
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
        connection: &Connection,
        id: BeneficiaryId,
    ) -> Result<Option<StoredBeneficiary>> {
        let mut select = connection.prepare_cached("SELECT data_key, sealed FROM beneficiary WHERE id = ?")?;
        let mut rows = select.query([id.0.as_bytes().as_slice()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (key, sealed): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        Ok(Some(rows::read_beneficiary(&*self.sealer, id, (&key, &sealed))?))
    }

    pub(super) fn find(&self, connection: &Connection, payment: PaymentId) -> Result<Option<Found>> {
        let mut select = connection.prepare_cached(&format!("{PAYMENT} WHERE id = ?"))?;
        let mut rows = select.query([payment.0.as_bytes().as_slice()])?;
        rows.next()?.map(|row| self.found(row)).transpose()
    }
}

/// A payment's rows of the journal, the newest first.
pub(super) fn journal_of<'a>(
    connection: &'a Connection,
    found: &'a Found,
) -> impl DoubleEndedIterator<Item = Result<Journal>> + 'a {
    found.journal.iter().rev().map(move |seq| {
        let mut select = connection.prepare_cached("SELECT id, body, answer, operations FROM journal WHERE seq = ?")?;
        Ok(select.query_row([seq], Journal::read)?)
    })
}

/// Lines of batches, by a condition on one text.
pub(super) fn batch_lines(connection: &Connection, which: &str, text: &str, limit: usize) -> Result<Vec<BatchLine>> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT channel, event, batch, operation, net, is_credit, at_ms, bank, entry FROM batch_line WHERE {which} LIMIT ?2"
    ))?;
    let mut rows = select.query(params![text, limit])?;
    let mut all = vec![];
    while let Some(row) = rows.next()? {
        let (channel, operation, net): (String, Vec<u8>, String) = (row.get(0)?, row.get(3)?, row.get(4)?);
        let (bank, entry): (Option<String>, Option<String>) = (row.get(7)?, row.get(8)?);
        let banked = bank.as_deref().map(|bank| (bank, entry.unwrap_or_default()));
        let read = rows::read_batch_line((&channel, banked), &operation, &net)?;
        all.push(BatchLine {
            event: row.get(1)?,
            batch: row.get(2)?,
            is_credit: row.get(5)?,
            at_ms: row.get(6)?,
            ..read
        });
    }
    Ok(all)
}

/// What is promised for a pair and not exchanged, in minor units of what is sold.
pub(super) fn exposure(connection: &Connection, mode: Mode, sold: &Asset, bought: &Asset) -> rusqlite::Result<i128> {
    let mut select =
        connection.prepare_cached("SELECT minor FROM exposure WHERE mode = ? AND sold = ? AND bought = ?")?;
    let mut rows = select.query(params![mode_number(mode), sold.code(), bought.code()])?;
    let mut sum = 0_i128;
    while let Some(row) = rows.next()? {
        let minor: [u8; 16] = row.get(0)?;
        sum = sum.saturating_add(i128::from_be_bytes(minor));
    }
    Ok(sum)
}
