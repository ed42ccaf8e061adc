//! The Library: lists, and what operators and auditors read.

use super::books::balance;
use super::reader::{Journal, PAYMENT, batch_lines, first_id_at, journal_of};
use super::{Result, Sql, SqlStore, values};
use crate::chain;
use crate::rows::{self, Body, OPERATORS, RowError, approved_place, mode_number, open, order_place, owner, payouts_of};
use portolan_domain::approval::Approved;
use portolan_domain::beneficiary::StoredBeneficiary;
use portolan_domain::commit::{Act, Journaled, Versioned};
use portolan_domain::ids::{
    BeneficiaryId, ChannelId, DisputeId, EventId, MerchantId, Mode, OperationId, PaymentId, RefundId,
};
use portolan_domain::ledger::{Balances, Entry};
use portolan_domain::order::SignedOrder;
use portolan_domain::payment::fact::Event;
use portolan_domain::ports::{BookPart, History, Library, Page, ReadError};
use portolan_domain::routing::decision::Decision;
use portolan_domain::settlement::{BatchLine, OpenBreak};
use portolan_domain::task::Task;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// A page's bounds on ids, exclusive, and which way it is read.
struct Bounds {
    older_than: Uuid,
    newer_than: Uuid,
    is_backwards: bool,
}

impl Bounds {
    fn new(after: Option<Uuid>, before: Option<Uuid>, created_gte_ms: Option<u64>) -> Self {
        let since = created_gte_ms.map_or(Uuid::nil(), |ms| Uuid::from_bytes(first_id_at(ms)));
        Self {
            older_than: after.unwrap_or(Uuid::max()),
            newer_than: before.unwrap_or(Uuid::nil()).max(since),
            is_backwards: before.is_some() && after.is_none(),
        }
    }

    fn of<I>(page: &Page<I>, uuid: impl Fn(&I) -> Uuid) -> Self {
        let (after, before) = (page.after.as_ref().map(&uuid), page.before.as_ref().map(&uuid));
        Self::new(after, before, page.created_gte_ms)
    }

    fn order(&self) -> &'static str {
        if self.is_backwards { "ASC" } else { "DESC" }
    }

    fn holds(&self, id: Uuid) -> bool {
        id < self.older_than && id > self.newer_than
    }

    /// What was read, the newest first.
    fn newest_first<T>(&self, mut items: Vec<T>) -> Vec<T> {
        if self.is_backwards {
            items.reverse();
        }
        items
    }
}

/// The id of an event's row.
fn row_of(event: Uuid) -> [u8; 16] {
    let mut bytes = event.into_bytes();
    let [.., high, low] = &mut bytes;
    (*high, *low) = (0, 0);
    bytes
}

/// The number of the row that holds an event.
fn seq_of(connection: &dyn Sql, event: EventId) -> Result<Option<i64>> {
    connection.one(
        "SELECT seq FROM journal WHERE id = ?",
        values![&row_of(event.0)],
        |row| row.get(0),
    )
}

/// Rows may be this much younger than the time in them says: a commit waits for its turn.
const LATE_MS: u64 = 10 * 60 * 1_000;

/// A merchant's events in the order in which they were written, row by row until there are enough: who asks for what came
/// after an event misses none.
fn events_of(connection: &dyn Sql, page: &Page<EventId>, bounds: &Bounds) -> Result<Vec<Event>> {
    let question = format!(
        "SELECT id, body, NULL, NULL FROM journal WHERE owner = ? AND seq <= ? AND seq >= ? ORDER BY seq {}",
        bounds.order()
    );
    let (newest, oldest) = (
        page.after.map(|id| seq_of(connection, id)),
        page.before.map(|id| seq_of(connection, id)),
    );
    let owner = owner(page.mode, &page.merchant);
    let places = values![
        &owner,
        newest.transpose()?.flatten().unwrap_or(i64::MAX),
        oldest.transpose()?.flatten().unwrap_or(0)
    ];
    // Within its own row a cursor is passed by number, elsewhere the row's place decides.
    let is_past = |event: &Event, cursor: Option<EventId>, newer: bool| {
        cursor.is_none_or(|at| row_of(at.0) != row_of(event.id.0) || (event.id > at) == newer && event.id != at)
    };
    let since_ms = page.created_gte_ms.unwrap_or(0);
    let mut events = vec![];
    connection.scan(&question, places, &mut |row| {
        let mut of_row = Journal::read(row)?.body()?.events;
        let is_before_all = of_row
            .iter()
            .all(|event| event.at_ms.saturating_add(LATE_MS) < since_ms);
        if is_before_all && !of_row.is_empty() && !bounds.is_backwards {
            return Ok(false);
        }
        if !bounds.is_backwards {
            of_row.reverse();
        }
        let wanted = |event: &Event| {
            event.at_ms >= since_ms && is_past(event, page.after, false) && is_past(event, page.before, true)
        };
        events.extend(of_row.into_iter().filter(wanted));
        Ok(events.len() < page.limit)
    })?;
    events.truncate(page.limit);
    Ok(bounds.newest_first(events))
}

/// A page of the ids in a list by order of coming, the newest first. An id begins with its payment's time, so its place in the
/// list is its row's number.
fn listed<I>(connection: &dyn Sql, table: &str, page: &Page<I>, uuid: impl Fn(&I) -> Uuid) -> Result<Vec<Uuid>> {
    let is_backwards = page.before.is_some() && page.after.is_none();
    let place = |id: &Option<I>, or: i64| -> Result<i64> {
        let Some(id) = id else { return Ok(or) };
        let question = format!("SELECT seq FROM {table} WHERE id = ?");
        Ok(connection
            .one(&question, values![&uuid(id)], |row| row.get(0))?
            .unwrap_or(or))
    };
    let question = format!(
        "SELECT id FROM {table} WHERE owner = ? AND seq < ? AND seq > ? AND at_ms >= ? ORDER BY seq {} LIMIT ?",
        if is_backwards { "ASC" } else { "DESC" }
    );
    let owner = owner(page.mode, &page.merchant);
    let places = values![
        &owner,
        place(&page.after, i64::MAX)?,
        place(&page.before, 0)?,
        page.created_gte_ms.unwrap_or(0),
        page.limit
    ];
    let mut ids: Vec<Uuid> = connection.all(&question, places, |row| row.get(0))?;
    if is_backwards {
        ids.reverse();
    }
    Ok(ids)
}

fn balances_of(connection: &dyn Sql, mode: Mode, merchant: Option<&MerchantId>) -> Result<Balances> {
    let prefix = merchant
        .map(|merchant| format!("merchant:{merchant}:"))
        .unwrap_or_default();
    let found = connection.all(
        "SELECT debit, credit, pending_debit, pending_credit, body FROM balance
         WHERE mode = ? AND substr(account, 1, length(?2)) = ?2",
        values![mode_number(mode), &prefix],
        |row| Ok((serde_json::from_str(row.text(4)?)?, balance(row)?)),
    )?;
    Ok(found.into_iter().collect())
}

/// The entries on a merchant's accounts, back to that time, in order of writing; and whether there were more.
fn entries_since(
    connection: &dyn Sql,
    (mode, merchant): (Mode, &MerchantId),
    since_ms: u64,
    limit: usize,
) -> Result<(Vec<(Entry, Event)>, bool)> {
    let (mut entries, mut is_cut) = (vec![], false);
    connection.scan(
        "SELECT id, body, NULL, NULL FROM journal WHERE owner = ? ORDER BY seq DESC",
        values![&owner(mode, merchant)],
        &mut |row| {
            let body = Journal::read(row)?.body()?;
            let is_before = |event: &Event| event.at_ms.saturating_add(LATE_MS) < since_ms;
            if !body.events.is_empty() && body.events.iter().all(is_before) {
                return Ok(false);
            }
            let cause = |entry: &Entry| body.events.iter().find(|event| event.id == entry.event).cloned();
            let of_row = body.entries.iter().rev().filter(|entry| entry.touches(merchant));
            entries.extend(of_row.filter_map(|entry| Some((entry.clone(), cause(entry)?))));
            is_cut = entries.len() > limit;
            Ok(!is_cut)
        },
    )?;
    if is_cut {
        return Ok((vec![], true));
    }
    entries.reverse();
    Ok((entries, false))
}

impl SqlStore {
    /// The journal of one payment, the newest row first.
    fn journal(&self, payment: PaymentId) -> Result<Vec<Body>, ReadError> {
        self.read(|connection| {
            let Some(found) = self.find(connection, payment)? else {
                return Ok(vec![]);
            };
            journal_of(connection, &found).map(|row| row?.body()).collect()
        })
    }

    /// What the rows of a payment's journal keep sealed beside their facts, in order.
    fn sealed_of<T: DeserializeOwned>(
        &self,
        payment: PaymentId,
        part: fn(Body) -> Option<String>,
        place: fn(Uuid) -> Vec<u8>,
    ) -> Result<Vec<T>, ReadError> {
        self.read(|connection| {
            let Some(found) = self.find(connection, payment)? else {
                return Ok(vec![]);
            };
            let mut all = vec![];
            for row in journal_of(connection, &found) {
                let row = row?;
                let Some(sealed) = part(row.body()?) else { continue };
                let sealed = hex::decode(sealed).map_err(|error| RowError::new(error.to_string()))?;
                all.push(open(&*self.sealer, &found.data_key, &place(row.id), &sealed)?);
            }
            all.reverse();
            Ok(all)
        })
    }
}

impl SqlStore {
    fn list(&self, owner: &str, page: &Page<PaymentId>) -> Result<Vec<Versioned>, ReadError> {
        let bounds = Bounds::of(page, |id| id.0);
        self.read(|connection| {
            let question = format!(
                "{PAYMENT} WHERE owner = ? AND id < ? AND id > ? ORDER BY id {} LIMIT ?",
                bounds.order()
            );
            let places = values![owner, &bounds.older_than, &bounds.newer_than, page.limit];
            let payments = connection.all(&question, places, |row| Ok(self.found(row)?.versioned))?;
            Ok(bounds.newest_first(payments))
        })
    }
}

impl Library for SqlStore {
    fn payments(&self, page: &Page<PaymentId>) -> Result<Vec<Versioned>, ReadError> {
        self.list(&owner(page.mode, &page.merchant), page)
    }

    fn payouts(&self, page: &Page<PaymentId>) -> Result<Vec<Versioned>, ReadError> {
        self.list(&payouts_of(&owner(page.mode, &page.merchant)), page)
    }

    fn events(&self, page: &Page<EventId>, payment: Option<PaymentId>) -> Result<Vec<Event>, ReadError> {
        let bounds = Bounds::of(page, |id| id.0);
        let Some(payment) = payment else {
            return self.read(|connection| events_of(connection, page, &bounds));
        };
        let theirs =
            |event: &Event| event.merchant == page.merchant && event.mode == page.mode && bounds.holds(event.id.0);
        let mut events: Vec<Event> = self
            .journal(payment)?
            .into_iter()
            .flat_map(|body| body.events.into_iter().rev())
            .filter(theirs)
            .collect();
        if bounds.is_backwards {
            events.drain(..events.len().saturating_sub(page.limit));
        }
        events.truncate(page.limit);
        Ok(events)
    }

    fn refunds(&self, page: &Page<RefundId>) -> Result<Vec<(Versioned, OperationId)>, ReadError> {
        self.read(|connection| {
            let found = listed(connection, "refund", page, |id| id.0)?;
            let mut refunds = vec![];
            for refund in found.into_iter().map(OperationId) {
                let payment = self.find(connection, refund.payment())?;
                refunds.extend(payment.map(|found| (found.versioned, refund)));
            }
            Ok(refunds)
        })
    }

    fn disputes(&self, page: &Page<DisputeId>) -> Result<Vec<(Versioned, DisputeId)>, ReadError> {
        self.read(|connection| {
            let found = listed(connection, "dispute", page, |id| id.0)?;
            let mut disputes = vec![];
            for dispute in found.into_iter().map(DisputeId) {
                let payment = self.find(connection, dispute.payment())?;
                disputes.extend(payment.map(|found| (found.versioned, dispute)));
            }
            Ok(disputes)
        })
    }

    fn beneficiaries(&self, page: &Page<BeneficiaryId>) -> Result<Vec<StoredBeneficiary>, ReadError> {
        self.read(|connection| {
            let mut all = vec![];
            for id in listed(connection, "beneficiary", page, |id| id.0)? {
                all.extend(self.stored_beneficiary(connection, BeneficiaryId(id))?);
            }
            Ok(all)
        })
    }

    fn refund(&self, refund: RefundId) -> Result<Option<Versioned>, ReadError> {
        let is_refund = |found: &Versioned| found.payment.refund(refund).is_some();
        self.read(|connection| {
            let found = self.find(connection, refund.payment())?;
            Ok(found.map(|found| found.versioned).filter(is_refund))
        })
    }

    fn operations(&self, payment: PaymentId) -> Result<Vec<Journaled>, ReadError> {
        self.read(|connection| {
            let Some(found) = self.find(connection, payment)? else {
                return Ok(vec![]);
            };
            let mut operations: Vec<Journaled> = vec![];
            let in_flight = found.versioned.in_flight.iter().cloned();
            for operation in in_flight.chain(self.concluded(connection, &found)?) {
                // An operation that was concluded again stands twice: the last one counts.
                if !operations.iter().any(|known| known.0.id == operation.0.id) {
                    operations.push(operation);
                }
            }
            operations.sort_by_key(|operation| (operation.0.started_ms, operation.0.id));
            Ok(operations)
        })
    }

    fn recent_operations(
        &self,
        channels: &[ChannelId],
        since_ms: u64,
        limit: usize,
    ) -> Result<Vec<Journaled>, ReadError> {
        self.read(|connection| {
            let mut operations: Vec<Journaled> = vec![];
            let question =
                "SELECT id, body, NULL, operations FROM journal WHERE operations IS NOT NULL ORDER BY seq DESC";
            connection.scan(question, values![], &mut |row| {
                let row = Journal::read(row)?;
                let Some(event) = row.body()?.events.into_iter().next() else {
                    return Ok(true);
                };
                if event.at_ms.saturating_add(LATE_MS) < since_ms {
                    return Ok(false);
                }
                if let Some(found) = self.find(connection, event.payment)? {
                    let of_row = self.operations_in(&found, &row)?;
                    let wanted = |it: &Journaled| it.0.started_ms >= since_ms && channels.contains(&it.0.channel);
                    operations.extend(of_row.into_iter().filter(wanted));
                }
                Ok(operations.len() < limit)
            })?;
            operations.truncate(limit);
            Ok(operations)
        })
    }

    fn entries(&self, payment: PaymentId) -> Result<Vec<Entry>, ReadError> {
        let journal = self.journal(payment)?;
        Ok(journal.into_iter().rev().flat_map(|body| body.entries).collect())
    }

    fn decisions(&self, payment: PaymentId) -> Result<Vec<Decision>, ReadError> {
        let journal = self.journal(payment)?;
        Ok(journal.into_iter().rev().filter_map(|body| body.decision).collect())
    }

    fn orders(&self, payment: PaymentId) -> Result<Vec<SignedOrder>, ReadError> {
        self.sealed_of(payment, |body| body.order, order_place)
    }

    fn approved(&self, payment: PaymentId) -> Result<Vec<Approved>, ReadError> {
        self.sealed_of(payment, |body| body.approved, approved_place)
    }

    fn history(&self, mode: Mode, merchant: &MerchantId, since_ms: u64, limit: usize) -> Result<History, ReadError> {
        // One snapshot: what was written between the two questions would be in one of them only.
        self.snapshot(|connection| {
            let balances = balances_of(connection, mode, Some(merchant))?;
            let (entries, is_cut) = entries_since(connection, (mode, merchant), since_ms, limit)?;
            Ok(History {
                entries,
                balances,
                is_cut,
            })
        })
    }

    fn breaks(&self, from: u64, limit: usize) -> Result<Vec<(u64, OpenBreak)>, ReadError> {
        self.read(|connection| {
            connection.all(
                "SELECT number, channel, kind, why, line, opened_ms, owner FROM break WHERE number >= ? ORDER BY number LIMIT ?",
                values![from, limit],
                |row| {
                    let found = rows::read_break(row.text(1)?, (row.text(2)?, row.get(3)?), row.text(4)?)?;
                    let found = OpenBreak {
                        opened_ms: row.get(5)?,
                        owner: row.get(6)?,
                        ..found
                    };
                    Ok((row.get(0)?, found))
                },
            )
        })
    }

    fn in_transit(&self, limit: usize) -> Result<Vec<BatchLine>, ReadError> {
        self.read(|connection| batch_lines(connection, "bank IS NULL AND ?1 = '' ORDER BY at_ms", "", limit))
    }

    fn tasks(&self, also_closed: bool) -> Result<Vec<Task>, ReadError> {
        self.read(|connection| {
            let filter = if also_closed { "" } else { "WHERE is_closed = 0" };
            let question = format!("SELECT body FROM task {filter} ORDER BY id");
            connection.all(&question, values![], |row| Ok(serde_json::from_str(row.text(0)?)?))
        })
    }

    fn balances(&self, mode: Mode, merchant: Option<&MerchantId>) -> Result<Balances, ReadError> {
        self.read(|connection| balances_of(connection, mode, merchant))
    }

    fn books(&self, visit: &mut dyn FnMut(BookPart)) -> Result<(), ReadError> {
        self.snapshot(|connection| {
            let question = "SELECT id, body, NULL, NULL FROM journal ORDER BY seq";
            connection.scan(question, values![], &mut |row| {
                for entry in Journal::read(row)?.body()?.entries {
                    visit(BookPart::Entry(entry));
                }
                Ok(true)
            })?;
            for mode in [Mode::Test, Mode::Live] {
                visit(BookPart::Balances(mode, balances_of(connection, mode, None)?));
            }
            connection.scan(&format!("{PAYMENT} ORDER BY seq"), values![], &mut |row| {
                visit(BookPart::Payment(Box::new(self.found(row)?.versioned)));
                Ok(true)
            })
        })
    }

    fn each_payment(&self, visit: &mut dyn FnMut(Versioned)) -> Result<(), ReadError> {
        self.read(|connection| {
            connection.scan(&format!("{PAYMENT} ORDER BY seq"), values![], &mut |row| {
                visit(self.found(row)?.versioned);
                Ok(true)
            })
        })
    }

    fn acts(&self, limit: usize) -> Result<Vec<Act>, ReadError> {
        self.read(|connection| {
            let mut acts = vec![];
            connection.each(
                "SELECT id, body, NULL, NULL FROM journal WHERE owner = ? ORDER BY seq DESC LIMIT ?",
                values![OPERATORS, limit],
                &mut |row| {
                    acts.extend(Journal::read(row)?.body()?.acts);
                    Ok(true)
                },
            )?;
            Ok(acts)
        })
    }

    fn verify_chain(&self) -> Result<(u64, String), ReadError> {
        self.read(|connection| {
            let (mut hash, mut count, mut events) = (chain::START, 0_u64, 0_u64);
            connection.scan(
                "SELECT seq, body, hash FROM journal ORDER BY seq",
                values![],
                &mut |row| {
                    let (seq, body): (u64, &str) = (row.get(0)?, row.text(1)?);
                    hash = chain::link(&hash, body.as_bytes());
                    count = count.saturating_add(1);
                    if row.blob(2)? != hash || seq != count {
                        return Err(RowError::new(format!(
                            "the journal's chain breaks at number {seq}: it was changed, moved or removed"
                        )));
                    }
                    let body: Body = serde_json::from_str(body)?;
                    events = events.saturating_add(u64::try_from(body.events.len() + body.acts.len()).unwrap_or(0));
                    Ok(true)
                },
            )?;
            Ok((events, hex::encode(hash)))
        })
    }
}
