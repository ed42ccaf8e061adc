//! The store in memory: the second implementation, for tests of the engine. It keeps the same promises but the one
//! about the disk; the conformance suite holds both to them.

use crate::chain;
use async_trait::async_trait;
use portolan_domain::commit::{Claim, ClaimName, Commit, Seen, Timer, TimerKind, Versioned};
use portolan_domain::exchange::Exchange;
use portolan_domain::ids::{ChannelId, EventId, MerchantId, MethodId, Mode, OperationId, PaymentId, RefundId, TaskId};
use portolan_domain::ledger::{Account, Balances, Entry};
use portolan_domain::operation::{Kind, Operation, Progress};
use portolan_domain::payment::fact::{Event, Fact};
use portolan_domain::ports::{ApiKey, CommitError, KeyRing, Library, Method, Page, ReadError, Store};
use portolan_domain::task::Task;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

#[derive(Default)]
struct State {
    payments: BTreeMap<Uuid, Versioned>,
    claims: HashMap<ClaimName, Claim>,
    operations: BTreeMap<Uuid, (Operation, Vec<Exchange>)>,
    events: Vec<Event>,
    entries: Vec<Entry>,
    timers: HashMap<(TimerKind, OperationId), Timer>,
    tasks: BTreeMap<Uuid, Task>,
    refunds: BTreeMap<Uuid, PaymentId>,
    methods: HashMap<MethodId, Method>,
    seen: HashSet<Seen>,
    keys: Vec<ApiKey>,
}

/// The store in memory.
#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refuse(&self, commit: &Commit) -> Result<(), CommitError> {
        if commit
            .claim
            .as_ref()
            .is_some_and(|claim| self.claims.contains_key(&claim.name))
        {
            return Err(CommitError::ClaimTaken);
        }
        if commit.seen.as_ref().is_some_and(|seen| self.seen.contains(seen)) {
            return Err(CommitError::SeenBefore);
        }
        match &commit.payment {
            Some((payment, expect)) if self.payments.get(&payment.id.0).map_or(0, |it| it.version) != *expect => {
                Err(CommitError::VersionConflict)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn apply(&mut self, commit: Commit) {
        if let Some(claim) = commit.claim {
            self.claims.insert(claim.name.clone(), claim);
        }
        self.seen.extend(commit.seen);
        for (operation, exchanges) in commit.operations {
            self.operations.insert(operation.id.0, (operation, exchanges));
        }
        for event in &commit.events {
            if let Fact::FollowUpStarted {
                kind: Kind::Refund,
                operation,
                ..
            } = &event.fact
            {
                self.refunds.insert(operation.0, event.payment);
            }
        }
        self.events.extend(commit.events);
        self.entries.extend(commit.entries);
        for key in commit.timers_clear {
            self.timers.remove(&key);
        }
        for timer in commit.timers_set {
            self.timers.insert((timer.kind, timer.operation), timer);
        }
        for task in commit.tasks {
            self.tasks.insert(task.id.0, task);
        }
        let answered = commit
            .answer
            .and_then(|(name, answer)| Some((self.claims.get_mut(&name)?, answer)));
        if let Some((claim, answer)) = answered {
            claim.answer = Some(answer);
        }
        if let Some((payment, expect)) = commit.payment {
            self.payments.insert(
                payment.id.0,
                Versioned {
                    payment,
                    version: expect.saturating_add(1),
                },
            );
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let mut state = self.state();
        state.refuse(&commit)?;
        state.apply(commit);
        Ok(())
    }

    fn payment(&self, id: PaymentId) -> Result<Option<Versioned>, ReadError> {
        Ok(self.state().payments.get(&id.0).cloned())
    }

    fn claim(&self, name: &ClaimName) -> Result<Option<Claim>, ReadError> {
        Ok(self.state().claims.get(name).cloned())
    }

    fn operation(&self, id: OperationId) -> Result<Option<(Operation, Vec<Exchange>)>, ReadError> {
        Ok(self.state().operations.get(&id.0).cloned())
    }

    fn open_operations(&self) -> Result<Vec<OperationId>, ReadError> {
        let state = self.state();
        let open = state
            .operations
            .values()
            .filter(|(operation, _)| operation.progress != Progress::Concluded);
        Ok(open.map(|(operation, _)| operation.id).collect())
    }

    fn was_restored(&self) -> Result<bool, ReadError> {
        Ok(false)
    }

    fn unsettled_operations(&self) -> Result<Vec<OperationId>, ReadError> {
        let state = self.state();
        let open = state.payments.values().filter(|found| !found.payment.status.is_final());
        Ok(open
            .filter_map(|found| found.payment.open_attempt().map(|attempt| attempt.operation))
            .collect())
    }

    async fn set_asked_after_restore(&self) -> Result<(), CommitError> {
        Ok(())
    }

    fn due_timers(&self, now_ms: u64, limit: usize) -> Result<Vec<Timer>, ReadError> {
        let mut due: Vec<Timer> = self
            .state()
            .timers
            .values()
            .filter(|timer| timer.due_ms <= now_ms)
            .copied()
            .collect();
        due.sort_by_key(|timer| timer.due_ms);
        due.truncate(limit);
        Ok(due)
    }

    fn task(&self, id: TaskId) -> Result<Option<Task>, ReadError> {
        Ok(self.state().tasks.get(&id.0).cloned())
    }

    fn method(&self, id: MethodId) -> Result<Option<Method>, ReadError> {
        Ok(self.state().methods.get(&id).cloned())
    }

    async fn put_method(&self, method: Method) -> Result<(), CommitError> {
        self.state().methods.insert(method.id, method);
        Ok(())
    }

    fn find_operation(
        &self,
        channel: &ChannelId,
        key: Option<&str>,
        reference: Option<&str>,
    ) -> Result<Option<OperationId>, ReadError> {
        let state = self.state();
        let of_channel = || {
            state
                .operations
                .values()
                .map(|(it, _)| it)
                .filter(|it| it.channel == *channel)
        };
        let by_key =
            key.and_then(|key| of_channel().find(|it| it.context.keys.first().is_some_and(|known| known == key)));
        let has_reference = |operation: &&Operation| {
            let payment = state.payments.get(&operation.payment.0).map(|found| &found.payment);
            let known = payment.and_then(|payment| match operation.kind {
                Kind::Authorize | Kind::Resume => payment.attempt(operation.attempt)?.reference.clone(),
                Kind::Capture | Kind::Cancel | Kind::Refund | Kind::Reverse => {
                    payment.follow_up(operation.id)?.reference.clone()
                }
            });
            known.is_some() && known.as_deref() == reference
        };
        Ok(by_key
            .or_else(|| of_channel().find(has_reference))
            .map(|operation| operation.id))
    }
}

/// The ids of a page, newest first.
fn page<I>(page: &Page<I>, uuid: impl Fn(&I) -> Uuid, all: impl DoubleEndedIterator<Item = Uuid>) -> Vec<Uuid> {
    let (after, before) = (page.after.as_ref().map(&uuid), page.before.as_ref().map(&uuid));
    let created = |id: &Uuid| u64::try_from(id.as_u128() >> 80).unwrap_or(0);
    let fits = |id: &Uuid| {
        after.is_none_or(|after| *id < after)
            && before.is_none_or(|before| *id > before)
            && page.created_gte_ms.is_none_or(|ms| created(id) >= ms)
    };
    let fitting = all.filter(fits);
    if before.is_some() && after.is_none() {
        let mut nearest: Vec<Uuid> = fitting.take(page.limit).collect();
        nearest.reverse();
        nearest
    } else {
        fitting.rev().take(page.limit).collect()
    }
}

impl Library for MemoryStore {
    fn payments(&self, wanted: &Page<PaymentId>) -> Result<Vec<Versioned>, ReadError> {
        let state = self.state();
        let theirs =
            |found: &&Versioned| found.payment.merchant == wanted.merchant && found.payment.mode == wanted.mode;
        let ids: Vec<Uuid> = state
            .payments
            .values()
            .filter(theirs)
            .map(|found| found.payment.id.0)
            .collect();
        let ids = page(wanted, |id| id.0, ids.into_iter());
        Ok(ids.iter().filter_map(|id| state.payments.get(id).cloned()).collect())
    }

    fn events(&self, wanted: &Page<EventId>, payment: Option<PaymentId>) -> Result<Vec<Event>, ReadError> {
        let state = self.state();
        let theirs = |event: &&Event| {
            event.merchant == wanted.merchant
                && event.mode == wanted.mode
                && payment.is_none_or(|id| id == event.payment)
        };
        let by_id: BTreeMap<Uuid, &Event> = state
            .events
            .iter()
            .filter(theirs)
            .map(|event| (event.id.0, event))
            .collect();
        let ids = page(wanted, |id| id.0, by_id.keys().copied());
        Ok(ids
            .iter()
            .filter_map(|id| by_id.get(id).map(|event| (*event).clone()))
            .collect())
    }

    fn refunds(&self, wanted: &Page<RefundId>) -> Result<Vec<(Versioned, OperationId)>, ReadError> {
        let state = self.state();
        let payment_of = |id: &Uuid| state.payments.get(&state.refunds.get(id)?.0);
        let theirs = |id: &&Uuid| {
            payment_of(id).is_some_and(|it| it.payment.merchant == wanted.merchant && it.payment.mode == wanted.mode)
        };
        let ids: Vec<Uuid> = state.refunds.keys().filter(theirs).copied().collect();
        let ids = page(wanted, |id| id.0, ids.into_iter());
        Ok(ids
            .iter()
            .filter_map(|id| Some((payment_of(id)?.clone(), OperationId(*id))))
            .collect())
    }

    fn refund(&self, id: RefundId) -> Result<Option<Versioned>, ReadError> {
        let state = self.state();
        Ok(state
            .refunds
            .get(&id.0)
            .and_then(|payment| state.payments.get(&payment.0))
            .cloned())
    }

    fn operations(&self, payment: PaymentId) -> Result<Vec<(Operation, Vec<Exchange>)>, ReadError> {
        Ok(self
            .state()
            .operations
            .values()
            .filter(|(operation, _)| operation.payment == payment)
            .cloned()
            .collect())
    }

    fn entries(&self, payment: PaymentId) -> Result<Vec<Entry>, ReadError> {
        Ok(self
            .state()
            .entries
            .iter()
            .filter(|entry| entry.payment == payment)
            .cloned()
            .collect())
    }

    fn tasks(&self, also_closed: bool) -> Result<Vec<Task>, ReadError> {
        Ok(self
            .state()
            .tasks
            .values()
            .filter(|task| also_closed || task.closed.is_none())
            .cloned()
            .collect())
    }

    fn balances(&self, mode: Mode, merchant: Option<&MerchantId>) -> Result<Balances, ReadError> {
        let mut balances = Balances::new();
        for entry in self.state().entries.iter().filter(|entry| entry.mode == mode) {
            entry
                .add_to(&mut balances)
                .map_err(|error| ReadError(error.to_string()))?;
        }
        let theirs = |account: &Account| match (account, merchant) {
            (_, None) => true,
            (Account::MerchantPending(owner), Some(merchant)) => owner == merchant,
            (Account::ChannelReceivable(_) | Account::SuspenseUnmatched, Some(_)) => false,
        };
        balances.retain(|(account, _), _| theirs(account));
        Ok(balances)
    }

    fn each_entry(&self, visit: &mut dyn FnMut(Entry)) -> Result<(), ReadError> {
        self.state().entries.iter().cloned().for_each(visit);
        Ok(())
    }

    fn each_payment(&self, visit: &mut dyn FnMut(Versioned)) -> Result<(), ReadError> {
        self.state().payments.values().cloned().for_each(visit);
        Ok(())
    }

    fn verify_chain(&self) -> Result<(u64, String), ReadError> {
        let (mut hash, mut count) = (chain::START, 0_u64);
        for event in &self.state().events {
            let body = serde_json::to_string(event).map_err(|error| ReadError(error.to_string()))?;
            hash = chain::link(&hash, body.as_bytes());
            count = count.saturating_add(1);
        }
        Ok((count, hex::encode(hash)))
    }
}

#[async_trait]
impl KeyRing for MemoryStore {
    fn api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, ReadError> {
        Ok(self.state().keys.iter().find(|key| key.hash == *hash).cloned())
    }

    fn api_keys(&self) -> Result<Vec<ApiKey>, ReadError> {
        Ok(self.state().keys.clone())
    }

    async fn put_api_key(&self, key: ApiKey) -> Result<(), CommitError> {
        let mut state = self.state();
        state.keys.retain(|known| known.hash != key.hash);
        state.keys.push(key);
        Ok(())
    }
}
