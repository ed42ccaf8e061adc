//! The store's unit of writing: everything that belongs together, all or nothing.

use crate::exchange::Exchange;
use crate::ids::{EventId, MerchantId, Mode, OperationId, PaymentId, TaskId};
use crate::ledger::{Entry, Line};
use crate::operation::Operation;
use crate::payment::Payment;
use crate::payment::fact::{Event, Fact};
use crate::ports::Ambient;
use crate::task::{Closed, Task, TaskKind};
use serde::{Deserialize, Serialize};

/// What must happen later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, Hash)]
pub enum TimerKind {
    /// Ask what became of the operation.
    Check,
    /// The payer had enough time.
    ActionExpiry,
    /// The authorization lapses.
    AuthorizationExpiry,
}

impl TimerKind {
    /// The word in storage and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::ActionExpiry => "action_expiry",
            Self::AuthorizationExpiry => "authorization_expiry",
        }
    }
}

/// A durable timer; one of each kind per operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timer {
    /// What must happen.
    pub kind: TimerKind,
    /// To which operation.
    pub operation: OperationId,
    /// Of which payment.
    pub payment: PaymentId,
    /// Test or live.
    pub mode: Mode,
    /// When.
    pub due_ms: u64,
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

/// All or nothing; a failed guard is a typed refusal.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// A claim that must not exist yet.
    pub claim: Option<Claim>,
    /// The payment as it is now, and the version that it must still have (0: none yet).
    pub payment: Option<(Payment, u64)>,
    /// Facts.
    pub events: Vec<Event>,
    /// Postings.
    pub entries: Vec<Entry>,
    /// Operations as they are now, each with all its exchanges.
    pub operations: Vec<(Operation, Vec<Exchange>)>,
    /// Timers to clear, before any is set.
    pub timers_clear: Vec<(TimerKind, OperationId)>,
    /// Timers to set (again).
    pub timers_set: Vec<Timer>,
    /// Tasks as they are now.
    pub tasks: Vec<Task>,
    /// The answer of a claim.
    pub answer: Option<(ClaimName, StoredAnswer)>,
    /// A notification that is dealt with by this commit.
    pub seen: Option<Seen>,
    /// New money: refused when the disk is nearly full, so that outcomes of money in flight still fit.
    pub is_new_money: bool,
}

/// What a use case changes, collected while facts are recorded.
pub struct Change<'a> {
    /// The time of all of it.
    pub now_ms: u64,
    ambient: &'a dyn Ambient,
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
}

impl<'a> Change<'a> {
    /// An empty change at that time.
    pub fn new(ambient: &'a dyn Ambient) -> Self {
        Self {
            now_ms: ambient.now_ms(),
            ambient,
            events: vec![],
            entries: vec![],
            timers_set: vec![],
            timers_clear: vec![],
            tasks: vec![],
        }
    }

    pub(crate) fn event(&mut self, payment: &Payment, fact: Fact) -> EventId {
        let id = EventId(self.ambient.uuid_v7());
        self.events.push(Event {
            id,
            payment: payment.id,
            number: payment.events,
            merchant: payment.merchant.clone(),
            mode: payment.mode,
            at_ms: self.now_ms,
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
    pub fn into_commit(self, payment: Payment, expect: u64) -> Commit {
        Commit {
            payment: Some((payment, expect)),
            events: self.events,
            entries: self.entries,
            timers_set: self.timers_set,
            timers_clear: self.timers_clear,
            tasks: self.tasks,
            ..Commit::default()
        }
    }
}

/// One task of a kind per operation: its id is the operation's with the kind in the last byte, so that opening it twice
/// is opening it once.
pub fn task_uuid(operation: OperationId, kind: TaskKind) -> uuid::Uuid {
    let mut bytes = *operation.0.as_bytes();
    let [.., last] = &mut bytes;
    *last ^= kind as u8 + 1;
    uuid::Uuid::from_bytes(bytes)
}

/// A payment with its version in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Versioned {
    /// The payment.
    pub payment: Payment,
    /// Counts its commits.
    pub version: u64,
}
