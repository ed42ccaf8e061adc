//! The one writer: takes every waiting unit, writes them as one transaction, syncs once, then answers all of them. A unit
//! is refused before any of it is written; one that fails against expectation takes the transaction back, and each is
//! then written alone. A reported sync failure ends the process: nothing is known of the disk any more.

use super::approvals::{self, ApprovalsRow};
use super::books::Books;
use super::routing::{self, RuleSetRow};
use super::singles;
use super::statements::{self, UnitError};
use super::versions::{self, VersionRows};
use super::{Desk, Result, webhooks};
use crate::rows::{BeneficiaryRow, BreakRow, JournalRow, QuoteRow, RowError, Rows, WebhookRow};
use portolan_domain::commit::News;
use portolan_domain::ids::{BeneficiaryId, WebhookId};
use portolan_domain::ports::{ApiKey, CommitError, Method, Older};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Units that may wait for the disk. At 10,000 units a second this is less than half a second.
const QUEUE: usize = 4_096;
/// Units in one transaction.
const BATCH: usize = 256;
/// The longest that the writer gathers units before it writes.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// Something to write.
pub(crate) enum Unit {
    Commit(Box<Rows>),
    Method(Box<Method>, Vec<u8>, Vec<u8>),
    Quote(Box<QuoteRow>),
    Beneficiary(Box<BeneficiaryRow>),
    RemoveBeneficiary(BeneficiaryId),
    Webhook(Box<WebhookRow>),
    RemoveWebhook(WebhookId),
    Count(String),
    Cursor(String, Vec<u8>),
    News(Box<News>),
    Break(Box<BreakRow>),
    GiveBreak(u64, String, Box<JournalRow>),
    CloseBreak(u64, Box<JournalRow>),
    ApiKey(Box<ApiKey>),
    Act(Box<JournalRow>),
    Versions(Box<VersionRows>),
    Stop(String, Option<String>, Box<JournalRow>),
    RuleSet(Box<RuleSetRow>),
    Approvals(Box<ApprovalsRow>),
    ForgetTries(String, Box<JournalRow>),
    AskedAfterRestore,
    Prune(Older, usize),
}

type Reply = oneshot::Sender<Result<usize, CommitError>>;

pub(crate) struct Writer {
    queue: SyncSender<(Unit, Reply)>,
}

impl Writer {
    pub fn start(desk: Box<dyn Desk>, on_fatal: Box<dyn Fn(&str) + Send>) -> Result<Self> {
        let books = Books::read(desk.sql())?;
        let (queue, waiting) = sync_channel(QUEUE);
        let mut scribe = Scribe {
            desk,
            books,
            last: (0, Duration::ZERO),
            on_fatal,
        };
        let spawned = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || scribe.run(&waiting));
        spawned.map_err(|error| RowError::new(error.to_string()))?;
        Ok(Self { queue })
    }

    /// Queues a unit and waits until it is on disk; how many rows it touched, where it says.
    pub async fn write(&self, unit: Unit) -> Result<usize, CommitError> {
        let (reply, written) = oneshot::channel();
        match self.queue.try_send((unit, reply)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(CommitError::Unavailable("too many writes are waiting".into())),
            Err(TrySendError::Disconnected(_)) => return Err(CommitError::Unavailable("the store is closed".into())),
        }
        written
            .await
            .unwrap_or_else(|_| Err(CommitError::Unavailable("the store is closed".into())))
    }
}

struct Scribe {
    desk: Box<dyn Desk>,
    books: Books,
    /// How many units the last transaction had, and how long it took.
    last: (usize, Duration),
    on_fatal: Box<dyn Fn(&str) + Send>,
}

impl Scribe {
    fn run(&mut self, waiting: &Receiver<(Unit, Reply)>) {
        while let Ok(first) = waiting.recv() {
            let (units, replies): (Vec<_>, Vec<_>) = self.gather(first, waiting).into_iter().unzip();
            let started = Instant::now();
            let results = self.write_batch(&units);
            self.last = (units.len(), started.elapsed());
            for (reply, result) in replies.into_iter().zip(results) {
                // A caller that is gone does not need the answer; the unit is written all the same.
                let _ = reply.send(result);
            }
            match self.desk.tidy() {
                Err(error) if error.is_fatal => {
                    (self.on_fatal)(&format!("the store is not to be tidied up: {}", error.text));
                }
                Err(error) => tracing::warn!(error = error.text, "the store is tidied up later"),
                Ok(()) => {}
            }
        }
    }

    /// The units of the next transaction. A unit that comes alone is written at once; where several came together last
    /// time, the writer waits for more, at most as long as that transaction took: a sync costs the same for all.
    fn gather(&self, first: (Unit, Reply), waiting: &Receiver<(Unit, Reply)>) -> Vec<(Unit, Reply)> {
        let mut batch = vec![first];
        let (units, took) = self.last;
        let until = Instant::now()
            + if units > 1 {
                took.min(GATHER_MAX)
            } else {
                Duration::ZERO
            };
        while batch.len() < BATCH {
            let next = match waiting.try_recv() {
                Ok(next) => Some(next),
                Err(_) => waiting
                    .recv_timeout(until.saturating_duration_since(Instant::now()))
                    .ok(),
            };
            match next {
                Some(next) => batch.push(next),
                None => break,
            }
        }
        batch
    }

    fn write_batch(&mut self, units: &[Unit]) -> Vec<Result<usize, CommitError>> {
        match self.try_batch(units) {
            Ok(results) => results,
            Err(error) => {
                self.take_back(&error);
                if units.len() > 1 && !error.is_fatal {
                    return units
                        .iter()
                        .flat_map(|unit| self.write_batch(std::slice::from_ref(unit)))
                        .collect();
                }
                units
                    .iter()
                    .map(|_| Err(CommitError::Unavailable(error.text.clone())))
                    .collect()
            }
        }
    }

    fn take_back(&mut self, error: &RowError) {
        if error.is_fatal {
            (self.on_fatal)(&format!("the store did not take a commit: {}", error.text));
        }
        if let Err(rollback) = self.desk.roll_back() {
            tracing::debug!(rollback = rollback.text, "the transaction was rolled back already");
        }
        match Books::read(self.desk.sql()) {
            Ok(books) => self.books = books,
            Err(error) => (self.on_fatal)(&format!("the store cannot be read any more: {}", error.text)),
        }
    }

    fn try_batch(&mut self, units: &[Unit]) -> Result<Vec<Result<usize, CommitError>>> {
        let is_low = self.desk.is_low();
        let mut results = Vec::with_capacity(units.len());
        self.desk.begin()?;
        for unit in units {
            results.push(match self.write_unit(unit, is_low) {
                Ok(rows) => Ok(rows),
                Err(UnitError::Refused(refusal)) => Err(refusal),
                Err(UnitError::Failed(error)) => return Err(error),
            });
        }
        self.books.write_balances(self.desk.sql())?;
        self.desk.commit()?;
        Ok(results)
    }

    /// One unit: written whole, or refused with nothing of it written.
    fn write_unit(&mut self, unit: &Unit, is_low: bool) -> Result<usize, UnitError> {
        let connection = self.desk.sql();
        match unit {
            Unit::Commit(rows) if rows.is_new_money && is_low => Err(UnitError::Refused(CommitError::DiskFloor)),
            Unit::Commit(rows) => statements::commit(connection, &mut self.books, rows).map(|()| 1),
            Unit::Method(method, key, sealed) => Ok(singles::method(connection, method, key, sealed)?),
            Unit::Count(name) => Ok(singles::count(connection, name)?),
            Unit::Cursor(channel, cursor) => Ok(singles::cursor(connection, channel, cursor)?),
            Unit::News(_) if is_low => Ok(0),
            Unit::News(news) => Ok(singles::news(connection, news)?),
            Unit::Break(row) => Ok(singles::put_break(connection, row)?),
            Unit::GiveBreak(number, owner, act) => {
                let given = singles::give_break(connection, *number, owner)?;
                if given > 0 {
                    self.books.append(connection, act)?;
                }
                Ok(given)
            }
            Unit::CloseBreak(number, act) => {
                let closed = singles::close_break(connection, *number)?;
                if closed > 0 {
                    self.books.append(connection, act)?;
                }
                Ok(closed)
            }
            // A price leads to nothing but new money.
            Unit::Quote(_) if is_low => Err(UnitError::Refused(CommitError::DiskFloor)),
            Unit::Quote(row) => Ok(singles::quote(connection, row)?),
            Unit::Beneficiary(row) => Ok(singles::beneficiary(connection, row)?),
            Unit::RemoveBeneficiary(id) => Ok(singles::remove_beneficiary(connection, *id)?),
            Unit::Webhook(row) => Ok(webhooks::put(connection, row)?),
            Unit::RemoveWebhook(id) => Ok(webhooks::remove(connection, *id)?),
            Unit::Act(row) => Ok(self.books.append(connection, row)?).map(|()| 1),
            Unit::Versions(rows) if !versions::are_unchanged(connection, rows)? => {
                Err(UnitError::Refused(CommitError::VersionConflict))
            }
            Unit::Versions(rows) => {
                versions::put(connection, rows)?;
                self.books.append(connection, versions::act(rows))?;
                Ok(1)
            }
            Unit::Stop(name, body, act) => {
                versions::stop(connection, name, body.as_deref())?;
                self.books.append(connection, act)?;
                Ok(1)
            }
            Unit::RuleSet(row) if !routing::is_next(connection, row)? => {
                Err(UnitError::Refused(CommitError::VersionConflict))
            }
            Unit::RuleSet(row) => {
                routing::put_rule_set(connection, row)?;
                self.books.append(connection, routing::act(row))?;
                Ok(1)
            }
            Unit::Approvals(row) if !approvals::is_next(connection, row)? => {
                Err(UnitError::Refused(CommitError::VersionConflict))
            }
            Unit::Approvals(row) => {
                let written = approvals::put(connection, row)?;
                self.books.append(connection, &row.act)?;
                Ok(written)
            }
            Unit::ForgetTries(card, act) => {
                let gone = routing::forget_tries(connection, card)?;
                self.books.append(connection, act)?;
                Ok(gone)
            }
            Unit::ApiKey(key) => Ok(singles::api_key(connection, key)?),
            Unit::Prune(older, limit) => Ok(singles::prune(connection, *older, *limit)?),
            Unit::AskedAfterRestore => {
                self.desk.note_asked()?;
                Ok(1)
            }
        }
    }
}
