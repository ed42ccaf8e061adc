//! The store in memory: the second implementation, for tests of the engine. It keeps the same promises but the one
//! about the disk; the conformance suite holds both to them.

use crate::chain;
use async_trait::async_trait;
use portolan_domain::approval::{Approvals, Approved};
use portolan_domain::beneficiary::StoredBeneficiary;
use portolan_domain::channel::Stop;
use portolan_domain::commit::{Act, Claim, ClaimName, Commit, Journaled, News, Seen, Timer, Versioned, in_flight};
use portolan_domain::ids::{
    BeneficiaryId, ChannelId, DisputeId, EventId, MerchantId, MethodId, Mode, OperationId, PaymentId, QuoteId,
    RefundId, TaskId, WebhookId,
};
use portolan_domain::ledger::{Account, Balances, Entry};
use portolan_domain::lifecycle::Version;
use portolan_domain::money::Asset;
use portolan_domain::operation::{Kind, Progress};
use portolan_domain::order::SignedOrder;
use portolan_domain::payment::conversion::exposure_of;
use portolan_domain::payment::fact::{Event, Fact};
use portolan_domain::ports::{
    ApiKey, ApprovalBook, BookPart, CommitError, History, KeyRing, Library, Method, NEWS_MAX, Older, Page, ReadError,
    RuleSets, Stops, Store, Versions, Webhooks,
};
use portolan_domain::quote::Quote;
use portolan_domain::risk::{self, Use, UseKey};
use portolan_domain::routing::decision::Decision;
use portolan_domain::routing::rule::RuleSet;
use portolan_domain::routing::tries::{self, CardKey, Try, TryChange, TryGuard};
use portolan_domain::settlement::{BatchLine, OpenBreak};
use portolan_domain::task::Task;
use portolan_domain::webhook::WebhookEndpoint;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

#[derive(Default)]
struct State {
    payments: BTreeMap<Uuid, Versioned>,
    claims: HashMap<ClaimName, Claim>,
    operations: BTreeMap<Uuid, Journaled>,
    events: Vec<Event>,
    entries: Vec<Entry>,
    timers: Vec<Timer>,
    tasks: BTreeMap<Uuid, Task>,
    /// In order of their making.
    refunds: Vec<(OperationId, u64)>,
    methods: HashMap<MethodId, Method>,
    seen: HashSet<Seen>,
    quotes: HashMap<QuoteId, Quote>,
    counters: HashMap<ChannelId, u64>,
    cursors: HashMap<ChannelId, Vec<u8>>,
    news: Vec<(u64, News)>,
    last_news: u64,
    disputes: Vec<(DisputeId, u64)>,
    beneficiaries: Vec<StoredBeneficiary>,
    webhooks: Vec<WebhookEndpoint>,
    batch_lines: Vec<BatchLine>,
    breaks: Vec<(u64, OpenBreak)>,
    last_break: u64,
    keys: Vec<ApiKey>,
    versions: Vec<Version>,
    stops: Vec<Stop>,
    tries: Vec<(CardKey, Try)>,
    uses: Vec<(UseKey, Use)>,
    decisions: Vec<(PaymentId, Decision)>,
    orders: Vec<(PaymentId, SignedOrder)>,
    approved: Vec<(PaymentId, Approved)>,
    approvals: Vec<Approvals>,
    rule_sets: Vec<RuleSet>,
    acts: Vec<Act>,
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
        let is_same = |it: &BatchLine, line: &BatchLine| {
            (&it.channel, &it.event, true) == (&line.channel, &line.event, it.banked.is_some())
        };
        if let Some(line) = &commit.batch_line
            && self.batch_lines.iter().any(|it| is_same(it, line))
        {
            return Err(CommitError::SeenBefore);
        }
        if let Some(quote) = &commit.quote
            && self.quotes.get(quote).is_none_or(|quote| quote.used_by.is_some())
        {
            return Err(CommitError::QuoteUsed);
        }
        if let (Some(most), Some((payment, _))) = (commit.exposure_max, &commit.payment)
            && let Some(exposure) = exposure_of(payment)
        {
            let open = self.exposure(payment.mode, exposure.sold.asset(), &exposure.bought);
            if open.saturating_add(exposure.sold.minor()) > most {
                return Err(CommitError::ExposureFull);
            }
        }
        if let (Some((account, amount)), Some((payment, _))) = (&commit.covers, &commit.payment) {
            let balances = self
                .balances(payment.mode)
                .map_err(|error| CommitError::Unavailable(error.0))?;
            let held = balances.get(&(account.clone(), amount.asset().clone())).copied();
            if held.unwrap_or_default().to_give() < amount.minor() {
                return Err(CommitError::Uncovered);
            }
        }
        if let Some(guard) = &commit.tries {
            guard.check(&self.tries_of(guard))?;
        }
        if let Some(guard) = &commit.limits {
            for (counted, key) in guard.refusing() {
                let others = self.uses_of(key, guard.since_ms(counted), counted.limit.uses_max());
                guard.check(counted, &others)?;
            }
        }
        match &commit.payment {
            Some((payment, expect)) if self.payments.get(&payment.id.0).map_or(0, |it| it.version) != *expect => {
                Err(CommitError::VersionConflict)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn balances(&self, mode: Mode) -> Result<Balances, ReadError> {
        let mut balances = Balances::new();
        for entry in self.entries.iter().filter(|entry| entry.mode == mode) {
            entry
                .add_to(&mut balances)
                .map_err(|error| ReadError(error.to_string()))?;
        }
        Ok(balances)
    }

    fn exposure(&self, mode: Mode, sold: &Asset, bought: &Asset) -> i128 {
        let open = self.payments.values().filter(|it| it.payment.mode == mode);
        let open = open.filter_map(|it| exposure_of(&it.payment));
        let of_pair = open.filter(|it| it.sold.asset() == sold && it.bought == *bought);
        of_pair.fold(0, |sum, it| sum.saturating_add(it.sold.minor()))
    }

    /// A page of a list by order of coming, the newest first, with the payments.
    fn listed<I>(
        &self,
        all: impl Iterator<Item = (Uuid, u64)>,
        wanted: &Page<I>,
        uuid: impl Fn(&I) -> Uuid,
    ) -> Vec<(Versioned, Uuid)> {
        let payment_of = |id: Uuid| self.payments.get(&OperationId(id).payment().0);
        let theirs = |(id, at_ms): &(Uuid, u64)| {
            wanted.created_gte_ms.is_none_or(|since| *at_ms >= since)
                && payment_of(*id)
                    .is_some_and(|it| it.payment.merchant == wanted.merchant && it.payment.mode == wanted.mode)
        };
        let ids: Vec<Uuid> = all.filter(theirs).map(|(id, _)| id).collect();
        let place = |id: &Option<I>| {
            id.as_ref()
                .and_then(|id| ids.iter().position(|known| *known == uuid(id)))
        };
        let (older_than, newer_than) = (place(&wanted.after), place(&wanted.before));
        let from = newer_than.map_or(0, |at| at + 1);
        let until = older_than.unwrap_or(ids.len());
        let mut shown: Vec<Uuid> = ids.iter().take(until).skip(from).copied().collect();
        if newer_than.is_some() && older_than.is_none() {
            shown.truncate(wanted.limit);
        }
        shown.reverse();
        shown.truncate(wanted.limit);
        let with_payment = |id: Uuid| Some((payment_of(id)?.clone(), id));
        shown.into_iter().filter_map(with_payment).collect()
    }

    /// What counts against the card.
    fn tries_of(&self, guard: &TryGuard) -> Vec<Try> {
        let of_card = |(card, it): &&(CardKey, Try)| *card == guard.card && it.at_ms >= guard.since_ms();
        self.tries.iter().filter(of_card).map(|(_, it)| it.clone()).collect()
    }

    /// What a limit counts, since that time.
    fn uses_of(&self, key: &UseKey, since_ms: u64, limit: usize) -> Vec<Use> {
        let counts = |(of, it): &&(UseKey, Use)| of == key && it.at_ms >= since_ms;
        let newest = self.uses.iter().rev().filter(counts);
        newest.map(|(_, it)| it.clone()).take(limit).collect()
    }

    fn count_uses(&mut self, commit: &Commit) {
        if let Some(guard) = &commit.limits {
            for key in guard.counted.iter().filter_map(|it| it.key.as_ref()) {
                let is_same = |(of, it): &(UseKey, Use)| of == key && it.payment == guard.this.payment;
                self.uses.retain(|it| !is_same(it));
                self.uses.push((key.clone(), guard.this.clone()));
            }
        }
        if let (Some((payment, _)), Some(is_over)) = (&commit.payment, risk::is_over(&commit.events)) {
            let of_it = self.uses.iter_mut().filter(|(_, it)| it.payment == payment.id);
            of_it.for_each(|(_, it)| it.is_over = is_over);
        }
    }

    fn count_tries(&mut self, commit: &Commit) {
        if let Some(guard) = commit.tries.as_ref().filter(|guard| !self.tries_of(guard).is_empty()) {
            self.tries.retain(|(_, it)| it.attempt != guard.attempt);
            self.tries.push((guard.card.clone(), guard.opened()));
        }
        let changes = commit
            .payment
            .as_ref()
            .map(|(payment, _)| tries::changes(payment, &commit.events));
        for change in changes.into_iter().flatten() {
            let (attempt, kept) = match change {
                TryChange::Declined(card, it) => (it.attempt, Some((card, it))),
                TryChange::Gone(attempt) => (attempt, None),
            };
            self.tries.retain(|(_, it)| it.attempt != attempt);
            self.tries.extend(kept);
        }
    }

    fn apply(&mut self, commit: Commit) {
        self.count_tries(&commit);
        self.count_uses(&commit);
        if let (Some(decision), Some((payment, _))) = (&commit.decision, &commit.payment) {
            self.decisions.push((payment.id, (**decision).clone()));
        }
        if let (Some(order), Some((payment, _))) = (&commit.order, &commit.payment) {
            self.orders.push((payment.id, (**order).clone()));
        }
        if let (Some(approved), Some((payment, _))) = (&commit.approved, &commit.payment) {
            self.approved.push((payment.id, (**approved).clone()));
        }
        let used = commit.quote.and_then(|id| self.quotes.get_mut(&id));
        if let (Some(quote), Some((payment, _))) = (used, &commit.payment) {
            quote.used_by = Some(payment.id);
        }
        let in_flight = in_flight(&commit.in_flight, &commit.operations);
        if let Some(claim) = commit.claim {
            self.claims.insert(claim.name.clone(), claim);
        }
        if let Some(seen) = &commit.seen {
            self.news
                .retain(|(_, it)| it.channel != seen.channel || it.subject.event != seen.event);
            self.breaks
                .retain(|(_, it)| it.channel != seen.channel || it.line.event() != seen.event);
        }
        self.seen.extend(commit.seen);
        if let Some(line) = commit.batch_line {
            let is_other = |it: &BatchLine| it.channel != line.channel || it.event != line.event;
            self.batch_lines.retain(is_other);
            self.batch_lines.push(line);
        }
        for operation in commit.operations {
            self.operations.insert(operation.0.id.0, operation);
        }
        for event in &commit.events {
            if let Fact::FollowUpStarted {
                kind: Kind::Refund,
                operation,
                ..
            } = &event.fact
            {
                self.refunds.push((*operation, event.at_ms));
            }
        }
        self.disputes.extend(crate::rows::disputes(&commit.events));
        self.events.extend(commit.events);
        self.entries.extend(commit.entries);
        self.timers.retain(|timer| !commit.timers_clear.contains(timer));
        self.timers.extend(commit.timers_set);
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
                    in_flight,
                },
            );
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let mut state = self.state();
        state.refuse(commit)?;
        state.apply(commit.clone());
        Ok(())
    }

    fn payment(&self, id: PaymentId) -> Result<Option<Versioned>, ReadError> {
        Ok(self.state().payments.get(&id.0).cloned())
    }

    fn claim(&self, name: &ClaimName) -> Result<Option<Claim>, ReadError> {
        Ok(self.state().claims.get(name).cloned())
    }

    fn operation(&self, id: OperationId) -> Result<Option<Journaled>, ReadError> {
        Ok(self.state().operations.get(&id.0).cloned())
    }

    fn open_operations(&self) -> Result<Vec<OperationId>, ReadError> {
        let state = self.state();
        let in_flight = state.payments.values().flat_map(|found| &found.in_flight);
        let open = in_flight.filter(|it| it.0.progress != Progress::Waiting);
        Ok(open.map(|operation| operation.0.id).collect())
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
            .iter()
            .filter(|timer| timer.due_ms <= now_ms)
            .copied()
            .collect();
        due.sort_by_key(|timer| (timer.due_ms, timer.operation));
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

    fn beneficiary(&self, id: BeneficiaryId) -> Result<Option<StoredBeneficiary>, ReadError> {
        Ok(self.state().beneficiaries.iter().find(|it| it.id == id).cloned())
    }

    async fn put_beneficiary(&self, beneficiary: StoredBeneficiary) -> Result<(), CommitError> {
        self.state().beneficiaries.push(beneficiary);
        Ok(())
    }

    async fn remove_beneficiary(&self, id: BeneficiaryId) -> Result<bool, CommitError> {
        let removed = self.state().beneficiaries.extract_if(.., |it| it.id == id).count();
        Ok(removed > 0)
    }

    fn quote(&self, id: QuoteId) -> Result<Option<Quote>, ReadError> {
        Ok(self.state().quotes.get(&id).cloned())
    }

    async fn put_quote(&self, quote: Quote) -> Result<(), CommitError> {
        self.state().quotes.insert(quote.id, quote);
        Ok(())
    }

    async fn next_index(&self, channel: &ChannelId) -> Result<u64, CommitError> {
        let mut state = self.state();
        let counter = state.counters.entry(channel.clone()).or_default();
        *counter = counter.saturating_add(1);
        Ok(*counter)
    }

    fn cursor(&self, channel: &ChannelId) -> Result<Vec<u8>, ReadError> {
        Ok(self.state().cursors.get(channel).cloned().unwrap_or_default())
    }

    async fn put_cursor(&self, channel: &ChannelId, cursor: Vec<u8>) -> Result<(), CommitError> {
        self.state().cursors.insert(channel.clone(), cursor);
        Ok(())
    }

    async fn forget_tries(&self, card: &CardKey, act: Act) -> Result<usize, CommitError> {
        let mut state = self.state();
        let before = state.tries.len();
        state.tries.retain(|(of, _)| of != card);
        let gone = before - state.tries.len();
        state.acts.push(act);
        Ok(gone)
    }

    fn uses(&self, key: &UseKey, since_ms: u64, limit: usize) -> Result<Vec<Use>, ReadError> {
        Ok(self.state().uses_of(key, since_ms, limit))
    }

    fn was_seen(&self, seen: &Seen) -> Result<bool, ReadError> {
        Ok(self.state().seen.contains(seen))
    }

    fn exposure(&self, mode: Mode, sold: &Asset, bought: &Asset) -> Result<i128, ReadError> {
        Ok(self.state().exposure(mode, sold, bought))
    }

    fn batch(&self, name: &str, limit: usize) -> Result<Vec<BatchLine>, ReadError> {
        let state = self.state();
        let mut lines: Vec<BatchLine> = state
            .batch_lines
            .iter()
            .filter(|it| it.batch == name)
            .cloned()
            .collect();
        lines.sort_by(|a, b| (&a.channel, &a.event).cmp(&(&b.channel, &b.event)));
        lines.truncate(limit);
        Ok(lines)
    }

    async fn put_news(&self, news: News) -> Result<bool, CommitError> {
        let mut state = self.state();
        let is_same = |(_, it): &(u64, News)| it.channel == news.channel && it.subject.event == news.subject.event;
        if state.news.iter().any(is_same) {
            return Ok(true);
        }
        let of_channel = state.news.iter().filter(|(_, it)| it.channel == news.channel);
        if of_channel.count() >= NEWS_MAX {
            return Ok(false);
        }
        state.last_news += 1;
        let number = state.last_news;
        state.news.push((number, news));
        Ok(true)
    }

    fn news(&self, after: u64, limit: usize) -> Result<Vec<(u64, News)>, ReadError> {
        let state = self.state();
        let later = state.news.iter().filter(|(number, _)| *number > after);
        Ok(later.take(limit).cloned().collect())
    }

    async fn put_break(&self, found: OpenBreak) -> Result<(), CommitError> {
        let mut state = self.state();
        let is_same =
            |(_, it): &&mut (u64, OpenBreak)| it.channel == found.channel && it.line.event() == found.line.event();
        if let Some((_, known)) = state.breaks.iter_mut().find(is_same) {
            (known.line, known.found) = (found.line, found.found);
            return Ok(());
        }
        state.last_break += 1;
        let number = state.last_break;
        state.breaks.push((number, found));
        Ok(())
    }

    async fn give_break(&self, number: u64, owner: &str, act: Act) -> Result<bool, CommitError> {
        let mut state = self.state();
        let Some((_, found)) = state.breaks.iter_mut().find(|(known, _)| *known == number) else {
            return Ok(false);
        };
        found.owner = Some(owner.to_owned());
        state.acts.push(act);
        Ok(true)
    }

    async fn close_break(&self, number: u64, act: Act) -> Result<bool, CommitError> {
        let mut state = self.state();
        let Some(at) = state.breaks.iter().position(|(known, _)| *known == number) else {
            return Ok(false);
        };
        state.breaks.remove(at);
        state.acts.push(act);
        Ok(true)
    }

    fn find_operation(&self, channel: &ChannelId, reference: &str) -> Result<Option<OperationId>, ReadError> {
        let state = self.state();
        let mut payments = state.payments.values();
        Ok(payments.find_map(|found| found.payment.operation_of(channel, reference)))
    }

    async fn record(&self, act: Act) -> Result<(), CommitError> {
        self.state().acts.push(act);
        Ok(())
    }

    async fn prune(&self, older: Older, limit: usize) -> Result<usize, CommitError> {
        let mut state = self.state();
        state.news.retain(|(_, it)| it.at_ms >= older.news_ms);
        state.tries.retain(|(_, it)| it.at_ms >= older.tries_ms);
        state.uses.retain(|(_, it)| it.at_ms >= older.uses_ms);
        let is_old = |claim: &&mut Claim| claim.at_ms < older.answers_ms && claim.answer.is_some();
        let claims = state.claims.values_mut().filter(is_old).take(limit);
        let mut touched = claims.map(|claim| claim.answer = None).count();
        let concluded = |it: &Journaled| it.0.progress == Progress::Concluded && it.0.started_ms < older.journals_ms;
        let old: Vec<Uuid> = state
            .operations
            .iter()
            .filter(|(_, it)| concluded(it))
            .map(|(id, _)| *id)
            .take(limit)
            .collect();
        touched += old.len();
        old.iter().for_each(|id| drop(state.operations.remove(id)));
        Ok(touched)
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

impl MemoryStore {
    fn list(&self, wanted: &Page<PaymentId>, payouts: bool) -> Result<Vec<Versioned>, ReadError> {
        let state = self.state();
        let theirs = |found: &&Versioned| {
            found.payment.merchant == wanted.merchant
                && found.payment.mode == wanted.mode
                && found.payment.payout.is_some() == payouts
        };
        let ids: Vec<Uuid> = state
            .payments
            .values()
            .filter(theirs)
            .map(|found| found.payment.id.0)
            .collect();
        let ids = page(wanted, |id| id.0, ids.into_iter());
        Ok(ids.iter().filter_map(|id| state.payments.get(id).cloned()).collect())
    }
}

impl Library for MemoryStore {
    fn payments(&self, wanted: &Page<PaymentId>) -> Result<Vec<Versioned>, ReadError> {
        self.list(wanted, false)
    }

    fn payouts(&self, wanted: &Page<PaymentId>) -> Result<Vec<Versioned>, ReadError> {
        self.list(wanted, true)
    }

    fn events(&self, wanted: &Page<EventId>, payment: Option<PaymentId>) -> Result<Vec<Event>, ReadError> {
        let state = self.state();
        let theirs = |event: &&Event| {
            event.merchant == wanted.merchant
                && event.mode == wanted.mode
                && payment.is_none_or(|id| id == event.payment)
        };
        let written: Vec<&Event> = state.events.iter().filter(theirs).collect();
        let place = |id: Option<EventId>| id.and_then(|id| written.iter().position(|event| event.id == id));
        let (end, start) = (place(wanted.after), place(wanted.before).map(|at| at + 1));
        let since_ms = wanted.created_gte_ms.unwrap_or(0);
        let mut shown: Vec<Event> = written
            .iter()
            .take(end.unwrap_or(written.len()))
            .skip(start.unwrap_or(0))
            .filter(|event| event.at_ms >= since_ms)
            .map(|event| (*event).clone())
            .collect();
        if wanted.before.is_some() && wanted.after.is_none() {
            shown.truncate(wanted.limit);
        }
        shown.reverse();
        shown.truncate(wanted.limit);
        Ok(shown)
    }

    fn refunds(&self, wanted: &Page<RefundId>) -> Result<Vec<(Versioned, OperationId)>, ReadError> {
        let state = self.state();
        let all = state.refunds.iter().map(|(id, at_ms)| (id.0, *at_ms));
        let found = state.listed(all, wanted, |id| id.0);
        let with_payment = |(payment, id)| (payment, OperationId(id));
        Ok(found.into_iter().map(with_payment).collect())
    }

    fn disputes(&self, wanted: &Page<DisputeId>) -> Result<Vec<(Versioned, DisputeId)>, ReadError> {
        let state = self.state();
        let all = state.disputes.iter().map(|(id, at_ms)| (id.0, *at_ms));
        let found = state.listed(all, wanted, |id| id.0);
        let with_payment = |(payment, id)| (payment, DisputeId(id));
        Ok(found.into_iter().map(with_payment).collect())
    }

    fn beneficiaries(&self, wanted: &Page<BeneficiaryId>) -> Result<Vec<StoredBeneficiary>, ReadError> {
        let state = self.state();
        let theirs = |it: &&StoredBeneficiary| {
            let is_since = wanted.created_gte_ms.is_none_or(|since| it.created_ms >= since);
            is_since && it.merchant == wanted.merchant && it.mode == wanted.mode
        };
        let all: Vec<&StoredBeneficiary> = state.beneficiaries.iter().filter(theirs).collect();
        let place = |id: Option<BeneficiaryId>| id.and_then(|id| all.iter().position(|it| it.id == id));
        let (older_than, newer_than) = (place(wanted.after), place(wanted.before));
        let from = newer_than.map_or(0, |at| at + 1);
        let until = older_than.unwrap_or(all.len());
        let mut shown: Vec<StoredBeneficiary> = all.into_iter().take(until).skip(from).cloned().collect();
        if newer_than.is_some() && older_than.is_none() {
            shown.truncate(wanted.limit);
        }
        shown.reverse();
        shown.truncate(wanted.limit);
        Ok(shown)
    }

    fn refund(&self, id: RefundId) -> Result<Option<Versioned>, ReadError> {
        let state = self.state();
        let is_refund = |found: &&Versioned| found.payment.refund(id).is_some();
        Ok(state.payments.get(&id.payment().0).filter(is_refund).cloned())
    }

    fn operations(&self, payment: PaymentId) -> Result<Vec<Journaled>, ReadError> {
        let state = self.state();
        let theirs = state.operations.values().filter(|it| it.0.payment == payment);
        let mut operations: Vec<Journaled> = theirs.cloned().collect();
        operations.sort_by_key(|operation| (operation.0.started_ms, operation.0.id));
        Ok(operations)
    }

    fn recent_operations(
        &self,
        channels: &[ChannelId],
        since_ms: u64,
        limit: usize,
    ) -> Result<Vec<Journaled>, ReadError> {
        let state = self.state();
        let wanted = |it: &&Journaled| {
            it.0.progress == Progress::Concluded && it.0.started_ms >= since_ms && channels.contains(&it.0.channel)
        };
        let mut operations: Vec<Journaled> = state.operations.values().filter(wanted).cloned().collect();
        operations.sort_by_key(|it| std::cmp::Reverse((it.0.started_ms, it.0.id)));
        operations.truncate(limit);
        Ok(operations)
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

    fn decisions(&self, payment: PaymentId) -> Result<Vec<Decision>, ReadError> {
        let state = self.state();
        let of_payment = state.decisions.iter().filter(|(id, _)| *id == payment);
        Ok(of_payment.map(|(_, decision)| decision.clone()).collect())
    }

    fn approved(&self, payment: PaymentId) -> Result<Vec<Approved>, ReadError> {
        let state = self.state();
        let of_payment = state.approved.iter().filter(|(id, _)| *id == payment);
        Ok(of_payment.map(|(_, approved)| approved.clone()).collect())
    }

    fn orders(&self, payment: PaymentId) -> Result<Vec<SignedOrder>, ReadError> {
        let state = self.state();
        let of_payment = state.orders.iter().filter(|(id, _)| *id == payment);
        Ok(of_payment.map(|(_, order)| order.clone()).collect())
    }

    fn history(&self, mode: Mode, merchant: &MerchantId, since_ms: u64, limit: usize) -> Result<History, ReadError> {
        let balances = self.balances(mode, Some(merchant))?;
        let state = self.state();
        let cause = |entry: &Entry| state.events.iter().find(|event| event.id == entry.event).cloned();
        let of_owner = state.entries.iter().filter(|entry| entry.mode == mode);
        let mut entries: Vec<(Entry, Event)> = of_owner
            .filter(|entry| entry.at_ms >= since_ms && entry.touches(merchant))
            .filter_map(|entry| Some((entry.clone(), cause(entry)?)))
            .collect();
        let is_cut = entries.len() > limit;
        entries.truncate(limit);
        Ok(History {
            entries,
            balances,
            is_cut,
        })
    }

    fn breaks(&self, from: u64, limit: usize) -> Result<Vec<(u64, OpenBreak)>, ReadError> {
        let state = self.state();
        let later = state.breaks.iter().filter(|(number, _)| *number >= from);
        Ok(later.take(limit).cloned().collect())
    }

    fn in_transit(&self, limit: usize) -> Result<Vec<BatchLine>, ReadError> {
        let state = self.state();
        let mut lines: Vec<BatchLine> = state
            .batch_lines
            .iter()
            .filter(|it| it.banked.is_none())
            .cloned()
            .collect();
        lines.sort_by_key(|it| it.at_ms);
        lines.truncate(limit);
        Ok(lines)
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
        let mut balances = self.state().balances(mode)?;
        let theirs = |account: &Account| merchant.is_none_or(|merchant| account.merchant() == Some(merchant));
        balances.retain(|(account, _), _| theirs(account));
        Ok(balances)
    }

    fn books(&self, visit: &mut dyn FnMut(BookPart)) -> Result<(), ReadError> {
        let state = self.state();
        for entry in &state.entries {
            visit(BookPart::Entry(entry.clone()));
        }
        for mode in [Mode::Test, Mode::Live] {
            visit(BookPart::Balances(mode, state.balances(mode)?));
        }
        for payment in state.payments.values() {
            visit(BookPart::Payment(Box::new(payment.clone())));
        }
        Ok(())
    }

    fn each_payment(&self, visit: &mut dyn FnMut(Versioned)) -> Result<(), ReadError> {
        self.state().payments.values().cloned().for_each(visit);
        Ok(())
    }

    fn acts(&self, limit: usize) -> Result<Vec<Act>, ReadError> {
        Ok(self.state().acts.iter().rev().take(limit).cloned().collect())
    }

    fn verify_chain(&self) -> Result<(u64, String), ReadError> {
        let (mut hash, mut count) = (chain::START, 0_u64);
        for event in &self.state().events {
            let body = serde_json::to_string(event).map_err(|error| ReadError(error.to_string()))?;
            hash = chain::link(&hash, body.as_bytes());
            count = count.saturating_add(1);
        }
        for act in &self.state().acts {
            let body = serde_json::to_string(act).map_err(|error| ReadError(error.to_string()))?;
            hash = chain::link(&hash, body.as_bytes());
            count = count.saturating_add(1);
        }
        Ok((count, hex::encode(hash)))
    }
}

#[async_trait]
impl Stops for MemoryStore {
    fn stops(&self) -> Result<Vec<Stop>, ReadError> {
        Ok(self.state().stops.clone())
    }

    async fn put_stop(&self, stop: Stop, is_on: bool, act: Act) -> Result<(), CommitError> {
        let mut state = self.state();
        state.stops.retain(|known| !known.is_same(&stop));
        if is_on {
            state.stops.push(stop);
        }
        state.acts.push(act);
        Ok(())
    }
}

#[async_trait]
impl RuleSets for MemoryStore {
    fn rule_sets_in_force(&self) -> Result<Vec<RuleSet>, ReadError> {
        let state = self.state();
        let is_last = |set: &&RuleSet| {
            let newer = |it: &RuleSet| (it.mode, &it.merchant) == (set.mode, &set.merchant) && it.version > set.version;
            !state.rule_sets.iter().any(newer)
        };
        Ok(state.rule_sets.iter().filter(is_last).cloned().collect())
    }

    fn rule_sets(&self, mode: Mode, merchant: &MerchantId, limit: usize) -> Result<Vec<RuleSet>, ReadError> {
        let state = self.state();
        let theirs = state.rule_sets.iter().rev();
        let theirs = theirs.filter(|set| set.mode == mode && set.merchant == *merchant);
        Ok(theirs.take(limit).cloned().collect())
    }

    async fn put_rule_set(&self, set: RuleSet, act: Act) -> Result<(), CommitError> {
        let last = self
            .rule_sets(set.mode, &set.merchant, 1)
            .map_err(|error| CommitError::Unavailable(error.0))?;
        let last = last.first().map_or(0, |set| set.version);
        if last.checked_add(1) != Some(set.version) {
            return Err(CommitError::VersionConflict);
        }
        let mut state = self.state();
        state.rule_sets.push(set);
        state.acts.push(act);
        Ok(())
    }
}

#[async_trait]
impl ApprovalBook for MemoryStore {
    fn approvals(&self) -> Result<Vec<Approvals>, ReadError> {
        Ok(self.state().approvals.clone())
    }

    async fn put_approvals(&self, approvals: Approvals, act: Act) -> Result<(), CommitError> {
        let mut state = self.state();
        let is_theirs = |it: &Approvals| (it.mode, &it.merchant) == (approvals.mode, &approvals.merchant);
        let last = state
            .approvals
            .iter()
            .find(|it| is_theirs(it))
            .map_or(0, |it| it.version);
        if last.checked_add(1) != Some(approvals.version) {
            return Err(CommitError::VersionConflict);
        }
        state.approvals.retain(|it| !is_theirs(it));
        state.approvals.push(approvals);
        state.acts.push(act);
        Ok(())
    }
}

#[async_trait]
impl Versions for MemoryStore {
    fn versions(&self) -> Result<Vec<Version>, ReadError> {
        Ok(self.state().versions.clone())
    }

    async fn put_versions(&self, before: &[Version], after: &[Version], act: Act) -> Result<(), CommitError> {
        let mut state = self.state();
        let is_same = |a: &Version, b: &Version| (&a.adapter, &a.digest) == (&b.adapter, &b.digest);
        let find = |all: &[Version], of: &Version| all.iter().find(|it| is_same(it, of)).cloned();
        if after.iter().any(|it| find(before, it) != find(&state.versions, it)) {
            return Err(CommitError::VersionConflict);
        }
        for version in after {
            state.versions.retain(|it| !is_same(it, version));
            state.versions.push(version.clone());
        }
        state
            .versions
            .sort_by(|a, b| (&a.adapter, &a.digest).cmp(&(&b.adapter, &b.digest)));
        state.acts.push(act);
        Ok(())
    }
}

#[async_trait]
impl Webhooks for MemoryStore {
    fn webhook_endpoints(&self) -> Result<Vec<WebhookEndpoint>, ReadError> {
        Ok(self.state().webhooks.clone())
    }

    async fn put_webhook_endpoint(&self, endpoint: WebhookEndpoint) -> Result<(), CommitError> {
        let mut state = self.state();
        state.webhooks.retain(|known| known.id != endpoint.id);
        state.webhooks.push(endpoint);
        Ok(())
    }

    async fn remove_webhook_endpoint(&self, id: WebhookId) -> Result<bool, CommitError> {
        let removed = self.state().webhooks.extract_if(.., |it| it.id == id).count();
        Ok(removed > 0)
    }

    fn wrote_since(&self, place: Option<u64>) -> Result<(u64, Vec<(Mode, MerchantId)>), ReadError> {
        let state = self.state();
        let now = state.events.len();
        let from = place.map_or(now, |place| usize::try_from(place).unwrap_or(now));
        let mut owners: Vec<(Mode, MerchantId)> = vec![];
        for event in state.events.iter().skip(from) {
            let owner = (event.mode, event.merchant.clone());
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        Ok((u64::try_from(now).unwrap_or(u64::MAX), owners))
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
