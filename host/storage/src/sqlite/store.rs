//! The Store: commits go to the writer, look-ups to the readers.

use super::SqliteStore;
use super::reader::{Found, Journal, PAYMENT, Result, batch_lines, id, journal_of};
use super::writer::Unit;
use crate::rows::{self, RowError, answer_place, claim_hash, mode_from, open, operations_place, unpack_answer};
use async_trait::async_trait;
use portolan_domain::beneficiary::StoredBeneficiary;
use portolan_domain::commit::{
    Act, Claim, ClaimName, Commit, Journaled, News, Seen, StoredAnswer, Timer, TimerKind, Versioned,
};
use portolan_domain::ids::{BeneficiaryId, ChannelId, MethodId, Mode, Name, OperationId, PaymentId, QuoteId, TaskId};
use portolan_domain::money::Asset;
use portolan_domain::operation::{Progress, Subject};
use portolan_domain::ports::{CommitError, Method, Older, ReadError, Store};
use portolan_domain::quote::Quote;
use portolan_domain::routing::tries::CardKey;
use portolan_domain::settlement::{BatchLine, OpenBreak};
use portolan_domain::task::Task;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;
use uuid::Uuid;

impl SqliteStore {
    fn data_key(&self, payment: PaymentId) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT data_key FROM payment WHERE id = ?")?;
            Ok(select
                .query_row([payment.0.as_bytes().as_slice()], |row| row.get(0))
                .optional()?)
        })
    }

    /// The concluded operations of a payment, the last written first.
    pub(super) fn concluded(&self, connection: &Connection, found: &Found) -> Result<Vec<Journaled>> {
        let mut concluded = vec![];
        for row in journal_of(connection, found) {
            concluded.extend(self.operations_in(found, &row?)?);
        }
        Ok(concluded)
    }

    /// The operations that a row of the payment's journal concluded.
    pub(super) fn operations_in(&self, found: &Found, row: &Journal) -> Result<Vec<Journaled>> {
        match &row.operations {
            Some(sealed) => open(&*self.sealer, &found.data_key, &operations_place(row.id), sealed),
            None => Ok(vec![]),
        }
    }

    /// The stored answer of a claim, if there is one that was not pruned.
    fn answer(&self, connection: &Connection, found: &Found, name: &ClaimName) -> Result<Option<StoredAnswer>> {
        let hash = claim_hash(name);
        for row in journal_of(connection, found) {
            let row = row?;
            let Some(sealed) = &row.answer else { continue };
            let packed = self.sealer.open(&found.data_key, &answer_place(row.id), sealed)?;
            if let Some(answer) = unpack_answer(&hash, &packed) {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let payment = commit.payment.as_ref().map(|(payment, expect)| (payment.id, *expect));
        let data_key = match payment {
            None => None,
            Some((id, 0)) => {
                let key = self.sealer.new_data_key().map_err(CommitError::Unavailable)?;
                self.kept.data_keys.put(id, key.clone());
                Some(key)
            }
            Some((id, _)) => match self.kept.data_keys.get(&id) {
                Some(key) => Some(key),
                None => self.data_key(id).map_err(|error| CommitError::Unavailable(error.0))?,
            },
        };
        let is_new = payment.is_some_and(|(_, expect)| expect == 0);
        let rows = rows::make(commit, data_key, &*self.sealer)?;
        let written = self.writer.write(Unit::Commit(Box::new(rows))).await;
        if let (Err(_), Some((id, _)), true) = (&written, payment, is_new) {
            // Nothing of it is on disk, so its key is nobody's.
            self.kept.data_keys.forget(&id);
        }
        written.map(drop)
    }

    fn payment(&self, payment: PaymentId) -> Result<Option<Versioned>, ReadError> {
        self.read(|connection| Ok(self.find(connection, payment)?.map(|found| found.versioned)))
    }

    fn claim(&self, wanted: &ClaimName) -> Result<Option<Claim>, ReadError> {
        self.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT payment, operation, fingerprint, at_ms FROM claim WHERE name = ?")?;
            let mut rows = select.query([claim_hash(wanted)])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let payment = PaymentId(id(row, 0)?);
            let answer = match self.find(connection, payment)? {
                Some(found) => self.answer(connection, &found, wanted)?,
                None => None,
            };
            let operation = row.get::<_, Option<[u8; 16]>>(1)?;
            Ok(Some(Claim {
                name: wanted.clone(),
                fingerprint: row.get(2)?,
                payment,
                operation: operation.map(|bytes| OperationId(Uuid::from_bytes(bytes))),
                at_ms: row.get(3)?,
                answer,
            }))
        })
    }

    fn operation(&self, operation: OperationId) -> Result<Option<Journaled>, ReadError> {
        self.read(|connection| {
            let Some(found) = self.find(connection, operation.payment())? else {
                return Ok(None);
            };
            let is_it = |it: &&Journaled| it.0.id == operation;
            if let Some(open) = found.versioned.in_flight.iter().find(is_it) {
                return Ok(Some(open.clone()));
            }
            Ok(self.concluded(connection, &found)?.iter().find(is_it).cloned())
        })
    }

    fn open_operations(&self) -> Result<Vec<OperationId>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare("SELECT operation FROM timer WHERE kind = ?")?;
            let timers = select.query_map([TimerKind::Check.as_str()], |row| id(row, 0).map(OperationId))?;
            let payments: BTreeSet<PaymentId> = timers
                .map(|operation| operation.map(OperationId::payment))
                .collect::<rusqlite::Result<_>>()?;
            let mut open = vec![];
            for payment in payments {
                let found = self.find(connection, payment)?;
                let in_flight = found.into_iter().flat_map(|found| found.versioned.in_flight);
                let unanswered = in_flight.filter(|it| it.0.progress != Progress::Waiting);
                open.extend(unanswered.map(|it| it.0.id));
            }
            Ok(open)
        })
    }

    fn was_restored(&self) -> Result<bool, ReadError> {
        self.read(|connection| {
            let mark: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
            Ok(mark == super::RESTORED)
        })
    }

    fn unsettled_operations(&self) -> Result<Vec<OperationId>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare(&format!(
                "{PAYMENT} WHERE status IN ('processing', 'requires_action', 'requires_capture') ORDER BY seq"
            ))?;
            let mut rows = select.query([])?;
            let mut operations = vec![];
            while let Some(row) = rows.next()? {
                let payment = self.found(row)?.versioned.payment;
                operations.extend(payment.open_attempt().map(|attempt| attempt.operation));
            }
            Ok(operations)
        })
    }

    async fn set_asked_after_restore(&self) -> Result<(), CommitError> {
        self.writer.write(Unit::AskedAfterRestore).await.map(drop)
    }

    fn due_timers(&self, now_ms: u64, limit: usize) -> Result<Vec<Timer>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT due_ms, operation, kind FROM timer WHERE due_ms <= ? ORDER BY due_ms, operation LIMIT ?",
            )?;
            let mut rows = select.query(params![now_ms, limit])?;
            let mut timers = vec![];
            while let Some(row) = rows.next()? {
                let word: String = row.get(2)?;
                let kind = TimerKind::parse(&word).ok_or_else(|| RowError(format!("{word:?} is no timer")))?;
                timers.push(Timer {
                    kind,
                    operation: OperationId(id(row, 1)?),
                    due_ms: row.get(0)?,
                });
            }
            Ok(timers)
        })
    }

    fn task(&self, task: TaskId) -> Result<Option<Task>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT body FROM task WHERE id = ?")?;
            let body = select
                .query_row([task.0.as_bytes().as_slice()], |row| row.get::<_, String>(0))
                .optional()?;
            Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
        })
    }

    fn method(&self, method: MethodId) -> Result<Option<Method>, ReadError> {
        if let Some(kept) = self.kept.methods.get(&method) {
            return Ok(Some(kept));
        }
        let found = self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT merchant, mode, created_ms, data_key, sealed, number FROM method WHERE id = ?",
            )?;
            let mut rows = select.query([method.0.as_bytes().as_slice()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let (key, facts, number): (Vec<u8>, Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(4)?, row.get(5)?);
            let (card, sealed) = rows::read_method(&*self.sealer, method, (&key, &facts, number))?;
            let merchant: String = row.get(0)?;
            Ok(Some(Method {
                id: method,
                merchant: Name::parse(&merchant).ok_or_else(|| RowError(format!("{merchant:?} is no name")))?,
                mode: mode_from(row.get(1)?),
                created_ms: row.get(2)?,
                card,
                sealed,
            }))
        })?;
        if let Some(found) = &found {
            self.kept.methods.put_read(method, found.clone());
        }
        Ok(found)
    }

    async fn put_method(&self, method: Method) -> Result<(), CommitError> {
        let (key, sealed) = rows::method_row(&method, &*self.sealer)?;
        let unit = Unit::Method(Box::new(method.clone()), key, sealed);
        self.writer.write(unit).await?;
        self.kept.methods.put(method.id, method);
        Ok(())
    }

    fn beneficiary(&self, id: BeneficiaryId) -> Result<Option<StoredBeneficiary>, ReadError> {
        self.read(|connection| self.stored_beneficiary(connection, id))
    }

    async fn put_beneficiary(&self, beneficiary: StoredBeneficiary) -> Result<(), CommitError> {
        let row = rows::beneficiary_row(&beneficiary, &*self.sealer)?;
        self.writer.write(Unit::Beneficiary(Box::new(row))).await.map(drop)
    }

    async fn remove_beneficiary(&self, id: BeneficiaryId) -> Result<bool, CommitError> {
        let removed = self.writer.write(Unit::RemoveBeneficiary(id)).await?;
        Ok(removed > 0)
    }

    fn quote(&self, quote: QuoteId) -> Result<Option<Quote>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT data_key, sealed, used_by FROM quote WHERE id = ?")?;
            let mut rows = select.query([quote.0.as_bytes().as_slice()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let (key, sealed): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let used_by = row.get::<_, Option<[u8; 16]>>(2)?;
            let used_by = used_by.map(|bytes| PaymentId(Uuid::from_bytes(bytes)));
            rows::read_quote(&*self.sealer, quote, (&key, &sealed), used_by).map(Some)
        })
    }

    async fn put_quote(&self, quote: Quote) -> Result<(), CommitError> {
        let row = rows::quote_row(&quote, &*self.sealer)?;
        self.writer.write(Unit::Quote(Box::new(row))).await.map(drop)
    }

    async fn next_index(&self, channel: &ChannelId) -> Result<u64, CommitError> {
        let number = self.writer.write(Unit::Count(format!("index:{channel}"))).await?;
        u64::try_from(number).map_err(|error| CommitError::Unavailable(error.to_string()))
    }

    fn cursor(&self, channel: &ChannelId) -> Result<Vec<u8>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT cursor FROM feed WHERE channel = ?")?;
            let found = select.query_row([channel.as_str()], |row| row.get(0)).optional()?;
            Ok(found.unwrap_or_default())
        })
    }

    async fn put_cursor(&self, channel: &ChannelId, cursor: Vec<u8>) -> Result<(), CommitError> {
        let unit = Unit::Cursor(channel.to_string(), cursor);
        self.writer.write(unit).await.map(drop)
    }

    async fn forget_tries(&self, card: &CardKey, act: Act) -> Result<usize, CommitError> {
        let act = rows::act_row(&act)?;
        self.writer
            .write(Unit::ForgetTries(card.0.clone(), Box::new(act)))
            .await
    }

    fn was_seen(&self, seen: &Seen) -> Result<bool, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT 1 FROM seen WHERE channel = ? AND event = ?")?;
            Ok(select.exists(params![seen.channel.as_str(), seen.event])?)
        })
    }

    fn exposure(&self, mode: Mode, sold: &Asset, bought: &Asset) -> Result<i128, ReadError> {
        self.read(|connection| Ok(super::reader::exposure(connection, mode, sold, bought)?))
    }

    fn batch(&self, name: &str, limit: usize) -> Result<Vec<BatchLine>, ReadError> {
        self.read(|connection| batch_lines(connection, "batch = ?1 ORDER BY channel, event", name, limit))
    }

    async fn put_news(&self, news: News) -> Result<bool, CommitError> {
        let kept = self.writer.write(Unit::News(Box::new(news))).await?;
        Ok(kept > 0)
    }

    fn news(&self, after: u64, limit: usize) -> Result<Vec<(u64, News)>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT number, channel, event, key, reference, at_ms FROM inbox WHERE number > ? ORDER BY number LIMIT ?",
            )?;
            let mut rows = select.query(params![after, limit])?;
            let mut all = vec![];
            while let Some(row) = rows.next()? {
                let channel: String = row.get(1)?;
                let news = News {
                    channel: Name::parse(&channel).ok_or_else(|| RowError(format!("{channel:?} is no name")))?,
                    subject: Subject {
                        event: row.get(2)?,
                        key: row.get(3)?,
                        reference: row.get(4)?,
                    },
                    at_ms: row.get(5)?,
                };
                all.push((row.get(0)?, news));
            }
            Ok(all)
        })
    }

    async fn put_break(&self, found: OpenBreak) -> Result<(), CommitError> {
        let row = rows::break_row(found)?;
        self.writer.write(Unit::Break(Box::new(row))).await.map(drop)
    }

    async fn give_break(&self, number: u64, owner: &str, act: Act) -> Result<bool, CommitError> {
        let unit = Unit::GiveBreak(number, owner.to_owned(), Box::new(rows::act_row(&act)?));
        Ok(self.writer.write(unit).await? > 0)
    }

    async fn close_break(&self, number: u64, act: Act) -> Result<bool, CommitError> {
        let unit = Unit::CloseBreak(number, Box::new(rows::act_row(&act)?));
        Ok(self.writer.write(unit).await? > 0)
    }

    fn find_operation(&self, channel: &ChannelId, reference: &str) -> Result<Option<OperationId>, ReadError> {
        self.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT payment FROM reference WHERE hash = ? ORDER BY payment")?;
            let hash = rows::reference_hash(channel, reference);
            let candidates = select.query_map([hash], |row| id(row, 0).map(PaymentId))?;
            for candidate in candidates.collect::<rusqlite::Result<Vec<_>>>()? {
                let found = self.find(connection, candidate)?;
                let operation = found.and_then(|found| found.versioned.payment.operation_of(channel, reference));
                if operation.is_some() {
                    return Ok(operation);
                }
            }
            Ok(None)
        })
    }

    async fn record(&self, act: Act) -> Result<(), CommitError> {
        let row = rows::act_row(&act)?;
        self.writer.write(Unit::Act(Box::new(row))).await.map(drop)
    }

    async fn prune(&self, older: Older, limit: usize) -> Result<usize, CommitError> {
        self.writer.write(Unit::Prune(older, limit)).await
    }
}
