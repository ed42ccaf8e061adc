//! What the provider never saw: the same request with the same key, as long as that is safe; else the operation ends without
//! effect. What it once knew is never ended because it is not found. And what waits for too low a price: a dearer one in its place.

use crate::check::{is_open, writes};
use crate::progress::{LOOK_AFTER_MS, journaled};
use crate::run::{Intent, Ran, owned, sent};
use crate::{Engine, EngineError};
use async_trait::async_trait;
use portolan_domain::certainty::was_known;
use portolan_domain::commit::{Change, Commit, TimerKind, Versioned};
use portolan_domain::exchange::{Effect, Exchange, RUN_OF_CHECKS};
use portolan_domain::ids::OperationId;
use portolan_domain::operation::{Fault, FaultKind, Input, Operation, Outcome, Progress, Verdict};
use portolan_domain::payment::Payment;
use portolan_domain::payment::decide::Refusal;
use portolan_domain::payment::fact::Fact;
use portolan_domain::ports::Method;
use std::sync::Arc;

/// How often a request that never got there goes out again.
const SENT_AGAIN_MAX: usize = 3;
/// How many writes of a payout there may be before nothing takes their place, the same ones counted as often as they left. How
/// many different ones its status can ask after is the adapter's to know.
const WRITES_MAX: usize = 12;

/// The intent of sending once more: the same operation, the same keys, and on disk before it leaves, like every write.
struct SendAgain {
    base: Versioned,
    before: Vec<Exchange>,
    first_run: u8,
    /// The operation as it is kept, where this is another request than its first one.
    replaces: Option<Operation>,
}

impl SendAgain {
    /// Whether what is about to leave is, to the letter, the write that may have left before: an adapter that was asked twice may
    /// have answered twice.
    fn is_the_same(&self, exchanges: &[Exchange]) -> Result<(), Fault> {
        let first = |it: &&Exchange| it.run == 0 && it.request.effect == Effect::Write;
        let mut earlier = self.before.iter().filter(first).map(|it| &it.request);
        let mut writes = exchanges.iter().filter(|it| it.request.effect == Effect::Write);
        match writes.all(|it| earlier.next().is_none_or(|earlier| *earlier == it.request)) {
            true => Ok(()),
            false => Err(Fault {
                kind: FaultKind::NotPure,
                text: "it would not be the same request again".into(),
            }),
        }
    }
}

#[async_trait]
impl Intent for SendAgain {
    async fn write(
        &mut self,
        engine: &Engine,
        operation: &Operation,
        exchanges: &[Exchange],
    ) -> Result<(), EngineError> {
        if self.replaces.is_none() {
            self.is_the_same(exchanges).map_err(EngineError::Channel)?;
        }
        let again = |payment: &mut Payment, change: &mut Change| {
            if is_open(payment, operation) {
                // Whoever is in flight is looked after, whatever became of earlier timers.
                let due = change.now_ms.saturating_add(LOOK_AFTER_MS);
                change
                    .timers_set
                    .push(payment.timer(TimerKind::Check, operation.id, due));
                Ok(())
            } else {
                Err(Refusal::WrongStatus(payment.status.as_str()).into())
            }
        };
        let all = self.with(exchanges.to_vec());
        // Open again: a restart takes it up as one whose request may be on its way.
        let open = Operation {
            progress: Progress::Open,
            ..self.replaces.as_ref().unwrap_or(operation).clone()
        };
        let open = Arc::new((open, all));
        let complete = |commit: &mut Commit, _: &Payment, (): &()| commit.operations.push(open.clone());
        self.base = engine.update(&self.base, again, complete).await?.0;
        Ok(())
    }
}

impl SendAgain {
    fn new(base: Versioned, before: Vec<Exchange>, replaces: Option<Operation>) -> Self {
        let own = before.iter().map(|it| it.run).filter(|run| *run != RUN_OF_CHECKS);
        let first_run = own.max().map_or(0, |run| run / 2 * 2 + 2);
        Self {
            base,
            before,
            first_run,
            replaces,
        }
    }

    /// What was there before, and the new exchanges under their own run.
    fn with(&self, exchanges: Vec<Exchange>) -> Vec<Exchange> {
        let renumbered = exchanges.into_iter().map(|it| Exchange {
            run: it.run.saturating_add(self.first_run),
            ..it
        });
        self.before.iter().cloned().chain(renumbered).collect()
    }
}

impl Engine {
    /// The provider never saw it. Inside the key's lifetime the same request goes out again with the same key; else the
    /// operation ends without effect.
    pub(crate) async fn send_again_or_close(
        &self,
        base: Versioned,
        operation: Operation,
        exchanges: Vec<Exchange>,
    ) -> Result<(), EngineError> {
        let method = match &operation.input {
            Input::Authorize(authorization) => match authorization.instrument.method() {
                Some(method) => self.ports.store.method(method)?,
                None => None,
            },
            _ => None,
        };
        let now_ms = self.ports.ambient.now_ms();
        let capability = self
            .ports
            .channels
            .capability(&operation.channel, operation.function())
            .unwrap_or_default();
        let is_young = capability
            .idempotent_for_ms
            .is_some_and(|lives_ms| now_ms.saturating_sub(operation.started_ms) < lives_ms);
        let lacks_code = operation.context.card_code.is_some()
            && method
                .as_ref()
                .is_none_or(|method| !self.ports.vault.has_code(method.id, now_ms));
        let again = writes(&exchanges).filter(|exchange| exchange.run % 2 == 0).count() <= SENT_AGAIN_MAX;
        // The provider knew it once: that it cannot find it now does not make it undone.
        let was_known = operation.progress == Progress::Waiting || was_known(&exchanges);
        if lacks_code && !was_known {
            self.require_code(base, operation, exchanges).await
        } else if is_young && again && !lacks_code && self.compare_with_journal(&operation, &exchanges, 0).is_ok() {
            self.send_again(base, operation, (method, exchanges)).await
        } else if was_known || self.is_in_a_lane(&operation) {
            self.still_unknown(base, operation, exchanges).await.map(drop)
        } else {
            let verdict = Verdict::Proven(Outcome::NotFound);
            self.apply(base, operation, Ran { verdict, exchanges }).await.map(drop)
        }
    }

    async fn send_again(
        &self,
        base: Versioned,
        operation: Operation,
        (method, before): (Option<Method>, Vec<Exchange>),
    ) -> Result<(), EngineError> {
        tracing::info!(operation = %operation.id, "the provider never saw it: the same request with the same key");
        let operation = Operation {
            checks: operation.checks.saturating_add(1),
            ..operation
        };
        let mut intent = SendAgain::new(base, before, None);
        let prefix = until_write(&intent.before);
        let ran = self.run_on(&operation, method.as_ref(), &mut intent, prefix).await?;
        let exchanges = intent.with(ran.exchanges);
        if let Some(why) = proves_nothing(&ran.verdict, self.is_in_a_lane(&operation)) {
            tracing::info!(operation = %operation.id, why, "what became of the copy does not settle the first one");
            return self.still_unknown(intent.base, operation, exchanges).await.map(drop);
        }
        self.apply(
            intent.base,
            operation,
            Ran {
                verdict: ran.verdict,
                exchanges,
            },
        )
        .await
        .map(drop)
    }

    /// A payout waits for too low a price, and `version` of its adapter says that another write may take its place: either of
    /// them concludes it, for they share a number and the provider executes one. Or what left is one of several writes, and the
    /// next is due: all of a sweep's go to the same wallet. That version makes it: an older one may
    /// not know what it is asked for. What became of the second says nothing of the first.
    pub(crate) async fn replace(&self, id: OperationId, version: String) -> Result<(), EngineError> {
        let Some((operation, exchanges)) = self.ports.store.operation(id)?.map(owned) else {
            return Ok(());
        };
        let base = self.load(operation.payment)?;
        // Whoever walks it is about to write what came of it.
        let may =
            is_open(&base.payment, &operation) && self.is_in_a_lane(&operation) && !self.walking.contains_key(&id);
        let left = sent(&exchanges);
        let count = left.len();
        let Some(input) = operation.input.in_place_of(left).filter(|_| may && count < WRITES_MAX) else {
            return Ok(());
        };
        tracing::info!(operation = %id, left = count, "it waits: another write goes out in its place, or after it");
        let dearer = Operation {
            input,
            adapter: version,
            ..operation.clone()
        };
        let mut intent = SendAgain::new(base, exchanges, Some(operation.clone()));
        let ran = self.run_on(&dearer, None, &mut intent, vec![]).await?;
        if writes(&ran.exchanges).next().is_none() {
            tracing::info!(operation = %id, verdict = ?ran.verdict, "nothing took its place");
            return Ok(());
        }
        let exchanges = intent.with(ran.exchanges);
        match ran.verdict {
            verdict @ Verdict::Proven(Outcome::Sent { .. }) => {
                let ran = Ran { verdict, exchanges };
                self.apply(intent.base, operation, ran).await.map(drop)
            }
            verdict @ (Verdict::Proven(_) | Verdict::NoEffect(_) | Verdict::Unknown(..)) => {
                tracing::info!(operation = %id, ?verdict, "that says nothing of what waits");
                self.waits_on(intent.base, operation, exchanges).await
            }
        }
    }

    /// It stands where it stood, and is asked about as before; what was tried stays on record.
    async fn waits_on(
        &self,
        base: Versioned,
        operation: Operation,
        exchanges: Vec<Exchange>,
    ) -> Result<(), EngineError> {
        let wait = |payment: &mut Payment, change: &mut Change| {
            if is_open(payment, &operation) {
                let due = change.now_ms.saturating_add(self.policy.backoff_ms(operation.checks));
                change
                    .timers_set
                    .push(payment.timer(TimerKind::Check, operation.id, due));
            }
            Ok(())
        };
        let complete = |commit: &mut Commit, payment: &Payment, (): &()| {
            if is_open(payment, &operation) {
                commit
                    .operations
                    .push(journaled(&operation, operation.progress, &exchanges));
            }
        };
        self.update(&base, wait, complete).await.map(drop)
    }

    /// The request would have to go out again, but its security code was never written down and is gone.
    async fn require_code(
        &self,
        base: Versioned,
        operation: Operation,
        exchanges: Vec<Exchange>,
    ) -> Result<(), EngineError> {
        let task = self.open_task(operation.id)?;
        let require = |payment: &mut Payment, change: &mut Change| {
            if !is_open(payment, &operation) {
                return Ok(());
            }
            change.timers_clear.push((TimerKind::Check, operation.id));
            if let Some(task) = task.clone() {
                change.close_task(task, "router", "not found, finally; the security code is gone");
            }
            payment.record(
                change,
                Fact::AttemptNoEffect {
                    attempt: operation.attempt,
                    why: "not_found".into(),
                },
            )?;
            payment.last_error = Some(portolan_domain::payment::LastError {
                code: "security_code_required".into(),
                message: "nothing was charged; confirm again with the security code".into(),
                ..Default::default()
            });
            Ok(payment.record(change, Fact::CodeRequired)?)
        };
        let complete = |commit: &mut Commit, _: &Payment, (): &()| {
            let concluded = journaled(&operation, Progress::Concluded, &exchanges);
            commit.operations.push(concluded);
        };
        self.update(&base, require, complete).await.map(drop)
    }
}

/// Why what became of a copy says nothing of what left before it: it did not get there, or it was refused where the first
/// one stays good.
fn proves_nothing(verdict: &Verdict, lives_on: bool) -> Option<&str> {
    match verdict {
        Verdict::NoEffect(fault) => Some(&fault.text),
        Verdict::Proven(Outcome::NotFound) => Some("not found"),
        Verdict::Proven(Outcome::Declined(decline)) if lives_on => Some(&decline.reason),
        Verdict::Proven(_) | Verdict::Unknown(..) => None,
    }
}

/// The first run's exchanges up to its first write: what the adapter knew when it made that request.
fn until_write(exchanges: &[Exchange]) -> Vec<Exchange> {
    let of_first_run = exchanges.iter().filter(|it| it.run == 0);
    let before = of_first_run.take_while(|it| it.request.effect != Effect::Write);
    before.filter(|it| it.answer.is_some()).cloned().collect()
}
