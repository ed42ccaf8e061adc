//! Reading: the Store's look-ups and the Library's lists, on connections of their own.

use super::SqliteStore;
use super::writer::Unit;
use crate::chain;
use crate::rows::{self, RowError, answer_place, mode_from, mode_number, open, operation_place, payment_place};
use async_trait::async_trait;
use portolan_domain::commit::{Claim, ClaimName, Commit, StoredAnswer, Timer, Versioned};
use portolan_domain::exchange::Exchange;
use portolan_domain::ids::{
    ChannelId, EventId, MerchantId, MethodId, Mode, Name, OperationId, PaymentId, RefundId, TaskId,
};
use portolan_domain::ledger::{Balance, Balances, Entry};
use portolan_domain::operation::Operation;
use portolan_domain::payment::fact::Event;
use portolan_domain::ports::{ApiKey, CommitError, KeyRing, Library, Method, Page, ReadError, Store};
use portolan_domain::task::Task;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

/// Read connections kept open.
const READERS_MAX: usize = 8;

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

type Result<T, E = RowError> = std::result::Result<T, E>;

pub(super) fn balance(row: &Row<'_>) -> rusqlite::Result<Balance> {
    let number = |at: usize| row.get::<_, [u8; 16]>(at).map(i128::from_be_bytes);
    Ok(Balance {
        debit: number(0)?,
        credit: number(1)?,
        pending_debit: number(2)?,
        pending_credit: number(3)?,
    })
}

fn id(row: &Row<'_>, at: usize) -> rusqlite::Result<Uuid> {
    row.get::<_, [u8; 16]>(at).map(Uuid::from_bytes)
}

fn name(text: &str) -> Result<Name> {
    Name::parse(text).ok_or_else(|| RowError(format!("{text:?} is no name")))
}

const PAYMENT: &str = "SELECT id, version, data_key, sealed FROM payment";

impl SqliteStore {
    fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T, ReadError> {
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

    fn versioned(&self, row: &Row<'_>) -> Result<Versioned> {
        let payment = PaymentId(id(row, 0)?);
        let (version, key, sealed): (u64, Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let payment = open(&*self.sealer, &key, &payment_place(payment), &sealed)?;
        Ok(Versioned { payment, version })
    }

    fn data_key(&self, payment: PaymentId) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT data_key FROM payment WHERE id = ?")?;
            Ok(select
                .query_row([payment.0.as_bytes().as_slice()], |row| row.get(0))
                .optional()?)
        })
    }

    fn open_operation(&self, row: &Row<'_>) -> Result<(Operation, Vec<Exchange>)> {
        let operation = OperationId(id(row, 0)?);
        let (key, sealed): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
        open(&*self.sealer, &key, &operation_place(operation), &sealed)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
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
        written
    }

    fn payment(&self, payment: PaymentId) -> Result<Option<Versioned>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{PAYMENT} WHERE id = ?"))?;
            let mut found = select.query([payment.0.as_bytes().as_slice()])?;
            found.next()?.map(|row| self.versioned(row)).transpose()
        })
    }

    fn claim(&self, wanted: &ClaimName) -> Result<Option<Claim>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT c.fingerprint, c.payment, c.operation, c.at_ms, c.status, c.sealed, p.data_key
                 FROM claim c JOIN payment p ON p.id = c.payment WHERE c.merchant = ? AND c.mode = ? AND c.key = ?",
            )?;
            let mut found = select.query(params![wanted.merchant.as_str(), mode_number(wanted.mode), wanted.key])?;
            let Some(row) = found.next()? else { return Ok(None) };
            let (status, sealed): (Option<u16>, Option<Vec<u8>>) = (row.get(4)?, row.get(5)?);
            let answer = match (status, sealed) {
                (Some(status), Some(sealed)) => {
                    let key: Vec<u8> = row.get(6)?;
                    let body = self.sealer.open(&key, &answer_place(&wanted.key), &sealed)?;
                    Some(StoredAnswer { status, body })
                }
                (Some(_) | None, _) => None,
            };
            Ok(Some(Claim {
                name: wanted.clone(),
                fingerprint: row.get(0)?,
                payment: PaymentId(id(row, 1)?),
                operation: row
                    .get::<_, Option<[u8; 16]>>(2)?
                    .map(|bytes| OperationId(Uuid::from_bytes(bytes))),
                at_ms: row.get(3)?,
                answer,
            }))
        })
    }

    fn operation(&self, operation: OperationId) -> Result<Option<(Operation, Vec<Exchange>)>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT o.id, p.data_key, o.sealed FROM operation o JOIN payment p ON p.id = o.payment WHERE o.id = ?",
            )?;
            let mut found = select.query([operation.0.as_bytes().as_slice()])?;
            found.next()?.map(|row| self.open_operation(row)).transpose()
        })
    }

    fn open_operations(&self) -> Result<Vec<OperationId>, ReadError> {
        self.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT id FROM operation WHERE progress <> 'concluded' ORDER BY id")?;
            let found = select.query_map([], |row| id(row, 0).map(OperationId))?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
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
                "{PAYMENT} WHERE status IN ('processing', 'requires_action', 'requires_capture') ORDER BY id"
            ))?;
            let mut found = select.query([])?;
            let mut operations = vec![];
            while let Some(row) = found.next()? {
                let payment = self.versioned(row)?.payment;
                operations.extend(payment.open_attempt().map(|attempt| attempt.operation));
            }
            Ok(operations)
        })
    }

    async fn set_asked_after_restore(&self) -> Result<(), CommitError> {
        self.writer.write(Unit::AskedAfterRestore).await
    }

    fn due_timers(&self, now_ms: u64, limit: usize) -> Result<Vec<Timer>, ReadError> {
        self.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT body FROM timer WHERE due_ms <= ? ORDER BY due_ms LIMIT ?")?;
            let found = select.query_map(params![now_ms, limit], |row| row.get::<_, String>(0))?;
            found.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
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
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT merchant, mode, created_ms, data_key, sealed, number FROM method WHERE id = ?",
            )?;
            let mut found = select.query([method.0.as_bytes().as_slice()])?;
            let Some(row) = found.next()? else { return Ok(None) };
            let (key, facts, number): (Vec<u8>, Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(4)?, row.get(5)?);
            let (card, sealed) = rows::read_method(&*self.sealer, method, (&key, &facts, number))?;
            let merchant = name(&row.get::<_, String>(0)?)?;
            Ok(Some(Method {
                id: method,
                merchant,
                mode: mode_from(row.get(1)?),
                created_ms: row.get(2)?,
                card,
                sealed,
            }))
        })
    }

    async fn put_method(&self, method: Method) -> Result<(), CommitError> {
        let (key, sealed) = rows::method_row(&method, &*self.sealer)?;
        self.writer.write(Unit::Method(Box::new(method), key, sealed)).await
    }

    fn find_operation(
        &self,
        channel: &ChannelId,
        key: Option<&str>,
        reference: Option<&str>,
    ) -> Result<Option<OperationId>, ReadError> {
        self.read(|connection| {
            for (column, value) in [("provider_key", key), ("reference", reference)] {
                let Some(value) = value else { continue };
                let query = format!("SELECT id FROM operation WHERE channel = ? AND {column} = ? ORDER BY id LIMIT 1");
                let mut select = connection.prepare_cached(&query)?;
                let found = select
                    .query_row(params![channel.as_str(), value], |row| id(row, 0))
                    .optional()?;
                if let Some(found) = found {
                    return Ok(Some(OperationId(found)));
                }
            }
            Ok(None)
        })
    }
}

/// The part of a page's query that every list shares: bounds on the id, newest first.
fn page_bounds(
    after: Option<Uuid>,
    before: Option<Uuid>,
    created_gte_ms: Option<u64>,
) -> (Vec<u8>, Vec<u8>, &'static str) {
    let older_than = after.map_or_else(|| vec![0xff; 16], |id| id.as_bytes().to_vec());
    let mut newer_than = before.map_or_else(|| vec![0; 16], |id| id.as_bytes().to_vec());
    if let Some(ms) = created_gte_ms {
        // A version 7 UUID begins with its 48-bit time, so the time bounds the id.
        let mut least = ms.to_be_bytes().get(2..).unwrap_or_default().to_vec();
        least.resize(16, 0);
        newer_than = newer_than.max(least);
    }
    (
        older_than,
        newer_than,
        if before.is_some() && after.is_none() {
            "ASC"
        } else {
            "DESC"
        },
    )
}

fn newest_first<T>(mut items: Vec<T>, order: &str) -> Vec<T> {
    if order == "ASC" {
        items.reverse();
    }
    items
}

impl Library for SqliteStore {
    fn payments(&self, page: &Page<PaymentId>) -> Result<Vec<Versioned>, ReadError> {
        let (older, newer, order) = page_bounds(
            page.after.map(|id| id.0),
            page.before.map(|id| id.0),
            page.created_gte_ms,
        );
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "{PAYMENT} WHERE merchant = ? AND mode = ? AND id < ? AND id > ? ORDER BY id {order} LIMIT ?"
            ))?;
            let mut found = select.query(params![
                page.merchant.as_str(),
                mode_number(page.mode),
                older,
                newer,
                page.limit
            ])?;
            let mut payments = vec![];
            while let Some(row) = found.next()? {
                payments.push(self.versioned(row)?);
            }
            Ok(newest_first(payments, order))
        })
    }

    fn events(&self, page: &Page<EventId>, payment: Option<PaymentId>) -> Result<Vec<Event>, ReadError> {
        let (older, newer, order) = page_bounds(
            page.after.map(|id| id.0),
            page.before.map(|id| id.0),
            page.created_gte_ms,
        );
        let narrowed = payment.map_or_else(Vec::new, |id| id.0.as_bytes().to_vec());
        let filter = if payment.is_some() { "payment = ?5" } else { "?5 = x''" };
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT body FROM event WHERE merchant = ?1 AND mode = ?2 AND id < ?3 AND id > ?4 AND {filter}
                 ORDER BY id {order} LIMIT ?6"
            ))?;
            let parameters = params![
                page.merchant.as_str(),
                mode_number(page.mode),
                older,
                newer,
                narrowed,
                page.limit
            ];
            let found = select.query_map(parameters, |row| row.get::<_, String>(0))?;
            let events = found
                .map(|body| Ok(serde_json::from_str(&body?)?))
                .collect::<Result<Vec<Event>>>()?;
            Ok(newest_first(events, order))
        })
    }

    fn refunds(&self, page: &Page<RefundId>) -> Result<Vec<(Versioned, OperationId)>, ReadError> {
        let (older, newer, order) = page_bounds(
            page.after.map(|id| id.0),
            page.before.map(|id| id.0),
            page.created_gte_ms,
        );
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT p.id, p.version, p.data_key, p.sealed, r.id FROM refund r JOIN payment p ON p.id = r.payment
                 WHERE r.merchant = ? AND r.mode = ? AND r.id < ? AND r.id > ? ORDER BY r.id {order} LIMIT ?"
            ))?;
            let mut found = select.query(params![
                page.merchant.as_str(),
                mode_number(page.mode),
                older,
                newer,
                page.limit
            ])?;
            let mut refunds = vec![];
            while let Some(row) = found.next()? {
                refunds.push((self.versioned(row)?, OperationId(id(row, 4)?)));
            }
            Ok(newest_first(refunds, order))
        })
    }

    fn refund(&self, refund: RefundId) -> Result<Option<Versioned>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT p.id, p.version, p.data_key, p.sealed FROM refund r JOIN payment p ON p.id = r.payment WHERE r.id = ?",
            )?;
            let mut found = select.query([refund.0.as_bytes().as_slice()])?;
            found.next()?.map(|row| self.versioned(row)).transpose()
        })
    }

    fn operations(&self, payment: PaymentId) -> Result<Vec<(Operation, Vec<Exchange>)>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT o.id, p.data_key, o.sealed FROM operation o JOIN payment p ON p.id = o.payment
                 WHERE o.payment = ? ORDER BY o.id",
            )?;
            let mut found = select.query([payment.0.as_bytes().as_slice()])?;
            let mut operations = vec![];
            while let Some(row) = found.next()? {
                operations.push(self.open_operation(row)?);
            }
            Ok(operations)
        })
    }

    fn entries(&self, payment: PaymentId) -> Result<Vec<Entry>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT body FROM entry WHERE payment = ? ORDER BY number")?;
            let found = select.query_map([payment.0.as_bytes().as_slice()], |row| row.get::<_, String>(0))?;
            found.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
        })
    }

    fn tasks(&self, also_closed: bool) -> Result<Vec<Task>, ReadError> {
        self.read(|connection| {
            let filter = if also_closed { "" } else { "WHERE is_closed = 0" };
            let mut select = connection.prepare_cached(&format!("SELECT body FROM task {filter} ORDER BY id"))?;
            let found = select.query_map([], |row| row.get::<_, String>(0))?;
            found.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
        })
    }

    fn balances(&self, mode: Mode, merchant: Option<&MerchantId>) -> Result<Balances, ReadError> {
        let prefix = merchant
            .map(|merchant| format!("merchant:{merchant}:"))
            .unwrap_or_default();
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT debit, credit, pending_debit, pending_credit, body FROM balance
                 WHERE mode = ? AND substr(account, 1, length(?2)) = ?2",
            )?;
            let mut found = select.query(params![mode_number(mode), prefix])?;
            let mut balances = Balances::new();
            while let Some(row) = found.next()? {
                balances.insert(serde_json::from_str(&row.get::<_, String>(4)?)?, balance(row)?);
            }
            Ok(balances)
        })
    }

    fn each_entry(&self, visit: &mut dyn FnMut(Entry)) -> Result<(), ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare("SELECT body FROM entry ORDER BY seq")?;
            let mut found = select.query([])?;
            while let Some(row) = found.next()? {
                visit(serde_json::from_str(&row.get::<_, String>(0)?)?);
            }
            Ok(())
        })
    }

    fn each_payment(&self, visit: &mut dyn FnMut(Versioned)) -> Result<(), ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare(&format!("{PAYMENT} ORDER BY id"))?;
            let mut found = select.query([])?;
            while let Some(row) = found.next()? {
                visit(self.versioned(row)?);
            }
            Ok(())
        })
    }

    fn verify_chain(&self) -> Result<(u64, String), ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare("SELECT seq, body, hash FROM event ORDER BY seq")?;
            let mut found = select.query([])?;
            let (mut hash, mut count) = (chain::START, 0_u64);
            while let Some(row) = found.next()? {
                let (seq, body, stored): (u64, String, [u8; 32]) = (row.get(0)?, row.get(1)?, row.get(2)?);
                hash = chain::link(&hash, body.as_bytes());
                count = count.saturating_add(1);
                if stored != hash || seq != count {
                    return Err(RowError(format!(
                        "the chain of events breaks at number {seq}: it was changed, moved or removed"
                    )));
                }
            }
            Ok((count, hex::encode(hash)))
        })
    }
}

fn api_key(row: &Row<'_>) -> Result<ApiKey> {
    Ok(ApiKey {
        hash: row.get(0)?,
        id: row.get(1)?,
        merchant: name(&row.get::<_, String>(2)?)?,
        mode: mode_from(row.get(3)?),
        scopes: row.get::<_, String>(4)?.split_whitespace().map(str::to_owned).collect(),
        created_ms: row.get(5)?,
        revoked_ms: row.get(6)?,
    })
}

const API_KEY: &str = "SELECT hash, id, merchant, mode, scopes, created_ms, revoked_ms FROM api_key";

#[async_trait]
impl KeyRing for SqliteStore {
    fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, ReadError> {
        if let Some(key) = self.kept.api_keys.get(hash) {
            return Ok(Some(key));
        }
        let found = self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{API_KEY} WHERE hash = ?"))?;
            let mut found = select.query([hash.as_slice()])?;
            found.next()?.map(api_key).transpose()
        })?;
        if let Some(key) = &found {
            self.kept.api_keys.put_read(*hash, key.clone());
        }
        Ok(found)
    }

    fn api_keys(&self) -> Result<Vec<ApiKey>, ReadError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{API_KEY} ORDER BY created_ms"))?;
            let mut found = select.query([])?;
            let mut keys = vec![];
            while let Some(row) = found.next()? {
                keys.push(api_key(row)?);
            }
            Ok(keys)
        })
    }

    async fn put_api_key(&self, key: ApiKey) -> Result<(), CommitError> {
        self.writer.write(Unit::ApiKey(Box::new(key.clone()))).await?;
        self.kept.api_keys.put(key.hash, key);
        Ok(())
    }
}
