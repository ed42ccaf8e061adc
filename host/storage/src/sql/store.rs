//! The Store: commits go to the writer, look-ups to the readers.

use super::reader::{Found, Journal, PAYMENT, batch_lines, journal_of};
use super::writer::Unit;
use super::{Result, Sql, SqlStore, values};
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
use portolan_domain::risk::{Use, UseKey};
use portolan_domain::routing::tries::CardKey;
use portolan_domain::settlement::{BatchLine, OpenBreak};
use portolan_domain::task::Task;
use std::collections::BTreeSet;
use uuid::Uuid;

impl SqlStore {
    fn data_key(&self, payment: PaymentId) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|connection| {
            connection.one(
                "SELECT data_key FROM payment WHERE id = ?",
                values![&payment.0],
                |row| row.get(0),
            )
        })
    }

    /// The concluded operations of a payment, the last written first.
    pub(super) fn concluded(&self, connection: &dyn Sql, found: &Found) -> Result<Vec<Journaled>> {
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
    fn answer(&self, connection: &dyn Sql, found: &Found, name: &ClaimName) -> Result<Option<StoredAnswer>> {
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

fn name(text: &str) -> Result<Name> {
    Name::parse(text).ok_or_else(|| RowError::new(format!("{text:?} is no name")))
}

#[async_trait]
impl Store for SqlStore {
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
            let found = connection.one(
                "SELECT payment, operation, fingerprint, at_ms FROM claim WHERE name = ?",
                values![&claim_hash(wanted)],
                |row| {
                    Ok(Claim {
                        name: wanted.clone(),
                        fingerprint: row.get(2)?,
                        payment: PaymentId(row.get(0)?),
                        operation: row.get::<Option<Uuid>>(1)?.map(OperationId),
                        at_ms: row.get(3)?,
                        answer: None,
                    })
                },
            )?;
            let Some(claim) = found else { return Ok(None) };
            let answer = match self.find(connection, claim.payment)? {
                Some(found) => self.answer(connection, &found, wanted)?,
                None => None,
            };
            Ok(Some(Claim { answer, ..claim }))
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
            let mut payments = BTreeSet::new();
            connection.scan(
                "SELECT operation FROM timer WHERE kind = ?",
                values![TimerKind::Check.as_str()],
                &mut |row| {
                    payments.insert(OperationId(row.get(0)?).payment());
                    Ok(true)
                },
            )?;
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
        Ok(self.database.was_restored()?)
    }

    fn unsettled_operations(&self) -> Result<Vec<OperationId>, ReadError> {
        self.read(|connection| {
            let question =
                format!("{PAYMENT} WHERE status IN ('processing', 'requires_action', 'requires_capture') ORDER BY seq");
            let mut operations = vec![];
            connection.scan(&question, values![], &mut |row| {
                let payment = self.found(row)?.versioned.payment;
                operations.extend(payment.open_attempt().map(|attempt| attempt.operation));
                Ok(true)
            })?;
            Ok(operations)
        })
    }

    async fn set_asked_after_restore(&self) -> Result<(), CommitError> {
        self.writer.write(Unit::AskedAfterRestore).await.map(drop)
    }

    fn due_timers(&self, now_ms: u64, limit: usize) -> Result<Vec<Timer>, ReadError> {
        self.read(|connection| {
            connection.all(
                "SELECT due_ms, operation, kind FROM timer WHERE due_ms <= ? ORDER BY due_ms, operation LIMIT ?",
                values![now_ms, limit],
                |row| {
                    let word = row.text(2)?;
                    Ok(Timer {
                        kind: TimerKind::parse(word).ok_or_else(|| RowError::new(format!("{word:?} is no timer")))?,
                        operation: OperationId(row.get(1)?),
                        due_ms: row.get(0)?,
                    })
                },
            )
        })
    }

    fn task(&self, task: TaskId) -> Result<Option<Task>, ReadError> {
        self.read(|connection| {
            connection.one("SELECT body FROM task WHERE id = ?", values![&task.0], |row| {
                Ok(serde_json::from_str(row.text(0)?)?)
            })
        })
    }

    fn method(&self, method: MethodId) -> Result<Option<Method>, ReadError> {
        if let Some(kept) = self.kept.methods.get(&method) {
            return Ok(Some(kept));
        }
        let found = self.read(|connection| {
            connection.one(
                "SELECT merchant, mode, created_ms, data_key, sealed, number FROM method WHERE id = ?",
                values![&method.0],
                |row| {
                    let (key, facts, number): (Vec<u8>, Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(4)?, row.get(5)?);
                    let (card, sealed) = rows::read_method(&*self.sealer, method, (&key, &facts, number))?;
                    Ok(Method {
                        id: method,
                        merchant: name(row.text(0)?)?,
                        mode: mode_from(row.get(1)?),
                        created_ms: row.get(2)?,
                        card,
                        sealed,
                    })
                },
            )
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
            connection.one(
                "SELECT data_key, sealed, used_by FROM quote WHERE id = ?",
                values![&quote.0],
                |row| {
                    let (key, sealed): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
                    let used_by = row.get::<Option<Uuid>>(2)?.map(PaymentId);
                    rows::read_quote(&*self.sealer, quote, (&key, &sealed), used_by)
                },
            )
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
            let question = "SELECT cursor FROM feed WHERE channel = ?";
            let found = connection.one(question, values![channel.as_str()], |row| row.get(0))?;
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

    fn uses(&self, key: &UseKey, since_ms: u64, limit: usize) -> Result<Vec<Use>, ReadError> {
        self.read(|connection| super::limits::uses(connection, key, since_ms, limit))
    }

    fn was_seen(&self, seen: &Seen) -> Result<bool, ReadError> {
        self.read(|connection| {
            connection.exists(
                "SELECT 1 FROM seen WHERE channel = ? AND event = ?",
                values![seen.channel.as_str(), &seen.event],
            )
        })
    }

    fn exposure(&self, mode: Mode, sold: &Asset, bought: &Asset) -> Result<i128, ReadError> {
        self.read(|connection| super::reader::exposure(connection, mode, sold, bought))
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
            connection.all(
                "SELECT number, channel, event, key, reference, at_ms FROM inbox WHERE number > ? ORDER BY number LIMIT ?",
                values![after, limit],
                |row| {
                    let news = News {
                        channel: name(row.text(1)?)?,
                        subject: Subject {
                            event: row.get(2)?,
                            key: row.get(3)?,
                            reference: row.get(4)?,
                        },
                        at_ms: row.get(5)?,
                    };
                    Ok((row.get(0)?, news))
                },
            )
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
            let candidates = connection.all(
                "SELECT payment FROM reference WHERE hash = ? ORDER BY payment",
                values![rows::reference_hash(channel, reference)],
                |row| row.get(0).map(PaymentId),
            )?;
            for candidate in candidates {
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
