//! The store's unit of writing: everything that belongs together, all or nothing.

use crate::approval::Approved;
use crate::exchange::Exchange;
use crate::ids::{EventId, MerchantId, Mode, OperationId, PaymentId, QuoteId, TaskId};
use crate::ledger::{Account, Entry, Line};
use crate::money::Money;
use crate::operation::{Operation, Progress, Subject};
use crate::order::SignedOrder;
use crate::payment::Payment;
use crate::payment::fact::{Event, Fact};
use crate::ports::Ambient;
use crate::risk::LimitGuard;
use crate::routing::decision::Decision;
use crate::routing::tries::TryGuard;
use crate::settlement::BatchLine;
use crate::task::{Closed, Task, TaskKind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// What must happen later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Hash)]
pub enum TimerKind {
    /// Ask what became of the operation.
    Check,
    /// The payer had enough time.
    ActionExpiry,
    /// The authorization lapses.
    AuthorizationExpiry,
    /// The payment's next leg is to be done, or its next attempt: by the payment's own id, not an operation's.
    Advance,
    /// Somebody told of news about the operation, and it could not be asked about then.
    Hint,
    /// What it brought is to be swept.
    Sweep,
}

impl TimerKind {
    /// The word in storage and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::ActionExpiry => "action_expiry",
            Self::AuthorizationExpiry => "authorization_expiry",
            Self::Advance => "advance",
            Self::Hint => "hint",
            Self::Sweep => "sweep",
        }
    }

    /// The kind of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Check,
            Self::ActionExpiry,
            Self::AuthorizationExpiry,
            Self::Advance,
            Self::Hint,
            Self::Sweep,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == word)
    }
}

/// A durable timer; one of each kind per operation. The payment knows its own; the store lists them by time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timer {
    /// What must happen.
    pub kind: TimerKind,
    /// To which operation.
    pub operation: OperationId,
    /// When.
    pub due_ms: u64,
}

/// An operation with its exchanges so far, shared: it is written once and read often.
pub type Journaled = Arc<(Operation, Vec<Exchange>)>;

/// What is in flight after a commit: what was, with what the commit brings, less what is concluded.
pub fn in_flight(before: &[Journaled], written: &[Journaled]) -> Vec<Journaled> {
    let is_rewritten = |known: &&Journaled| !written.iter().any(|it| it.0.id == known.0.id);
    let still_open = |it: &&Journaled| it.0.progress != Progress::Concluded;
    before
        .iter()
        .filter(is_rewritten)
        .chain(written.iter().filter(still_open))
        .cloned()
        .collect()
}

/// The name of an idempotency claim: merchant, mode, key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ClaimName {
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// The merchant's key.
    pub key: String,
}

/// An answer as it was given: status and body, byte for byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// One key, one effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Its name.
    pub name: ClaimName,
    /// A keyed hash over method, path and canonical body.
    pub fingerprint: Vec<u8>,
    /// The payment that it made or touched.
    pub payment: PaymentId,
    /// The operation that it started, where it did.
    pub operation: Option<OperationId>,
    /// When.
    pub at_ms: u64,
    /// The answer, once there is a final one.
    pub answer: Option<StoredAnswer>,
}

/// What a notification was already seen as.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Seen {
    /// The channel.
    pub channel: crate::ids::ChannelId,
    /// The provider's event id.
    pub event: String,
}

/// What a provider told of, verified, and nothing matches yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct News {
    /// The channel.
    pub channel: crate::ids::ChannelId,
    /// What it is about.
    pub subject: Subject,
    /// When it was told.
    pub at_ms: u64,
}

/// What an operator did: it stands in the same chain as the events.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Act {
    /// Its id.
    pub id: EventId,
    /// When.
    pub at_ms: u64,
    /// Who, as far as the router can know.
    pub by: String,
    /// `key.create`, `task.resolve`, …
    pub verb: String,
    /// About what: an id.
    pub about: String,
    /// Why, or with which result.
    pub note: String,
}

/// All or nothing; a failed guard is a typed refusal.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The id of what it adds to the journal; its events' ids begin with it.
    pub row: Uuid,
    /// A claim that must not exist yet.
    pub claim: Option<Claim>,
    /// The request as it was signed: it is kept with what it brings about.
    pub order: Option<Box<SignedOrder>>,
    /// What the merchant's people approved of it: kept likewise.
    pub approved: Option<Box<Approved>>,
    /// The payment as it is now, and the version that it must still have (0: none yet).
    pub payment: Option<(Payment, u64)>,
    /// The payment's operations in flight before this commit.
    pub in_flight: Vec<Journaled>,
    /// Facts.
    pub events: Vec<Event>,
    /// Postings.
    pub entries: Vec<Entry>,
    /// Operations as they are now, each with all its exchanges.
    pub operations: Vec<Journaled>,
    /// Timers that are there and must go, before any is set.
    pub timers_clear: Vec<Timer>,
    /// Timers to set.
    pub timers_set: Vec<Timer>,
    /// Tasks as they are now.
    pub tasks: Vec<Task>,
    /// The answer of a claim.
    pub answer: Option<(ClaimName, StoredAnswer)>,
    /// A quote that this payment uses: refused if another has.
    pub quote: Option<QuoteId>,
    /// The most, in minor units of what is sold, that may be promised for the payment's pair and not exchanged, with it.
    pub exposure_max: Option<i128>,
    /// What must lie on an account of the merchant's, besides what is held there already.
    pub covers: Option<(Account, Money)>,
    /// How often the payment's card may be tried: refused beyond that.
    pub tries: Option<TryGuard>,
    /// The limits of the merchant's rules that the payment counts for: refused beyond them.
    pub limits: Option<Box<LimitGuard>>,
    /// How the payment's route came about.
    pub decision: Option<Box<Decision>>,
    /// A notification or a report's line that is dealt with by this commit, and so no longer news or a break.
    pub seen: Option<Seen>,
    /// What a channel's report settled, or a bank's statement shows of it.
    pub batch_line: Option<BatchLine>,
    /// New money: refused when the disk is nearly full, so that outcomes of money in flight still fit.
    pub is_new_money: bool,
}

/// What a use case changes, collected while facts are recorded.
pub struct Change {
    /// The time of all of it.
    pub now_ms: u64,
    /// The events of one change have consecutive ids: this one, with their number in its last two bytes.
    row: Uuid,
    /// Facts.
    pub events: Vec<Event>,
    /// Postings.
    pub entries: Vec<Entry>,
    /// Timers to set.
    pub timers_set: Vec<Timer>,
    /// Timers to clear.
    pub timers_clear: Vec<(TimerKind, OperationId)>,
    /// Tasks opened or closed.
    pub tasks: Vec<Task>,
    /// A quote that is used.
    pub quote: Option<QuoteId>,
    /// What must lie on an account of the merchant's.
    pub covers: Option<(Account, Money)>,
    /// How often the payment's card may be tried.
    pub tries: Option<TryGuard>,
    /// The limits that the payment counts for.
    pub limits: Option<Box<LimitGuard>>,
}

impl Change {
    /// An empty change at that time.
    pub fn new(ambient: &dyn Ambient) -> Self {
        Self {
            now_ms: ambient.now_ms(),
            row: ambient.uuid_v7(),
            events: vec![],
            entries: vec![],
            timers_set: vec![],
            timers_clear: vec![],
            tasks: vec![],
            quote: None,
            covers: None,
            tries: None,
            limits: None,
        }
    }

    /// Takes in facts of an earlier change, before it records its own: they are written together, under its ids. No entry
    /// may name them yet.
    pub fn precede(&mut self, earlier: &[Event]) {
        let first = self.events.len();
        let renamed = earlier.iter().enumerate().map(|(at, event)| Event {
            id: EventId(event_uuid(self.row, first.saturating_add(at))),
            ..event.clone()
        });
        let renamed: Vec<Event> = renamed.collect();
        self.events.extend(renamed);
    }

    pub(crate) fn event(&mut self, payment: &Payment, fact: Fact) -> EventId {
        let id = EventId(event_uuid(self.row, self.events.len()));
        self.events.push(Event {
            id,
            payment: payment.id,
            number: payment.events,
            merchant: payment.merchant.clone(),
            mode: payment.mode,
            at_ms: self.now_ms,
            is_payout: payment.payout.is_some(),
            fact,
        });
        id
    }

    pub(crate) fn entry(&mut self, payment: &Payment, event: EventId, resolves: Option<u32>, lines: Vec<Line>) {
        let entry = Entry {
            payment: payment.id,
            number: payment.entries,
            event,
            mode: payment.mode,
            at_ms: self.now_ms,
            resolves,
            lines,
        };
        self.entries.push(entry);
    }

    /// Opens a task about an operation of the payment.
    pub fn open_task(
        &mut self,
        payment: &Payment,
        kind: TaskKind,
        operation: OperationId,
        exposure: crate::money::Money,
    ) {
        self.tasks.push(Task {
            id: TaskId(task_uuid(operation, kind)),
            kind,
            merchant: payment.merchant.clone(),
            mode: payment.mode,
            payment: payment.id,
            operation,
            exposure,
            opened_ms: self.now_ms,
            for_human: kind != TaskKind::UnknownOutcome,
            closed: None,
            proposed: None,
        });
    }

    /// Closes a task.
    pub fn close_task(&mut self, mut task: Task, by: &str, how: &str) {
        task.closed = Some(Closed {
            at_ms: self.now_ms,
            by: by.to_owned(),
            how: how.to_owned(),
        });
        self.tasks.push(task);
    }

    /// The commit that writes it, on the payment's version `expect`.
    pub fn into_commit(self, mut payment: Payment, expect: u64) -> Commit {
        let mut cleared = vec![];
        let set_again = self.timers_set.iter().map(|timer| (timer.kind, timer.operation));
        for (kind, operation) in self.timers_clear.into_iter().chain(set_again) {
            let is_it = |timer: &mut Timer| timer.kind == kind && timer.operation == operation;
            cleared.extend(payment.timers.extract_if(.., is_it));
        }
        payment.timers.extend(&self.timers_set);
        Commit {
            row: event_uuid(self.row, 0),
            payment: Some((payment, expect)),
            events: self.events,
            entries: self.entries,
            timers_set: self.timers_set,
            timers_clear: cleared,
            tasks: self.tasks,
            quote: self.quote,
            covers: self.covers,
            tries: self.tries,
            limits: self.limits,
            ..Commit::default()
        }
    }
}

/// The id of a change's event by its number, from 0: the ids of one change are consecutive.
fn event_uuid(row: Uuid, number: usize) -> Uuid {
    let mut bytes = row.into_bytes();
    let [.., high, low] = &mut bytes;
    [*high, *low] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    Uuid::from_bytes(bytes)
}

/// One task of a kind per operation: its id is the operation's with the kind where a UUID has its version, so that
/// opening it twice is opening it once.
pub fn task_uuid(operation: OperationId, kind: TaskKind) -> Uuid {
    let mut bytes = *operation.0.as_bytes();
    let [_, _, _, _, _, _, version, ..] = &mut bytes;
    *version = (*version & 0x0f) | ((8 + kind as u8) << 4);
    Uuid::from_bytes(bytes)
}

/// A payment with its version in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Versioned {
    /// The payment.
    pub payment: Payment,
    /// Counts its commits.
    pub version: u64,
    /// Its operations whose outcome is not on disk.
    pub in_flight: Vec<Journaled>,
}
