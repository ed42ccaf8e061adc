//! At start: operations whose intent is on disk and whose outcome is not. The disk cannot know that no byte left, so
//! each is unknown, and its check is due at once.

use crate::run::{Ran, owned};
use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Journaled};
use portolan_domain::exchange::{Answer, Exchange, RUN_OF_CHECKS, Reply};
use portolan_domain::ids::{OperationId, PaymentId};
use portolan_domain::operation::{Doubt, Operation, Outcome, Progress, Verdict};
use portolan_domain::payment::Payment;
use portolan_domain::ports::Step;
use std::collections::BTreeSet;
use std::sync::Arc;

/// After every timer; stores count in signed milliseconds.
const END_OF_TIME_MS: u64 = i64::MAX as u64;
/// More timers than a store has.
const TIMERS_MAX: usize = 10_000_000;

impl Engine {
    /// Takes up what the last run left; returns how many operations became unknown.
    pub async fn recover(&self) -> Result<usize, EngineError> {
        let is_restored = self.ports.store.was_restored()?;
        if is_restored {
            self.hold_exchanges().await?;
        }
        let mut found = 0;
        for id in self.ports.store.open_operations()? {
            match self.recover_one(id).await {
                Ok(is_new) => found += usize::from(is_new),
                // One operation must not keep all others from being served; its timer brings it back.
                Err(error) => tracing::error!(%id, %error, "an operation could not be taken up"),
            }
        }
        if is_restored {
            self.ask_after_restore().await?;
        }
        Ok(found)
    }

    /// Before anything else may go on by itself: every exchange that the backup does not know as done.
    async fn hold_exchanges(&self) -> Result<(), EngineError> {
        // Whatever is not over has a timer.
        let timers = self.ports.store.due_timers(END_OF_TIME_MS, TIMERS_MAX)?;
        let payments: BTreeSet<PaymentId> = timers.iter().map(|timer| timer.operation.payment()).collect();
        for payment in payments {
            self.hold_restored(payment).await?;
            self.mark_restored(payment).await?;
        }
        Ok(())
    }

    /// What is under way in a lane may have been written again since the backup: that its number is taken says no longer that
    /// nothing was done.
    async fn mark_restored(&self, id: PaymentId) -> Result<(), EngineError> {
        let base = self.load(id)?;
        let is_unmarked = |it: &&Journaled| self.is_in_a_lane(&it.0) && !it.0.is_restored;
        let in_lanes: Vec<Journaled> = base.in_flight.iter().filter(is_unmarked).cloned().collect();
        if in_lanes.is_empty() {
            return Ok(());
        }
        let mark = |it: &Journaled| {
            let operation = Operation {
                is_restored: true,
                ..it.0.clone()
            };
            Arc::new((operation, it.1.clone()))
        };
        let nothing = |_: &mut Payment, _: &mut Change| Ok(());
        let marked = |commit: &mut Commit, _: &Payment, (): &()| commit.operations.extend(in_lanes.iter().map(mark));
        self.update(&base, nothing, marked).await.map(drop)
    }

    /// A restored backup lost every later outcome. Whatever it knows as not final is asked about before anything else is
    /// written; what the provider cannot say now keeps its timer.
    async fn ask_after_restore(&self) -> Result<(), EngineError> {
        let unsettled = self.ports.store.unsettled_operations()?;
        tracing::warn!(
            operations = unsettled.len(),
            "restored from a backup: asking what became of what it knows as open"
        );
        for id in unsettled {
            if let Err(error) = self.check(id).await {
                tracing::warn!(%id, %error, "could not ask after a restore");
            }
        }
        Ok(self.ports.store.set_asked_after_restore().await?)
    }

    async fn recover_one(&self, id: OperationId) -> Result<bool, EngineError> {
        let Some((operation, exchanges)) = self.ports.store.operation(id)?.map(owned) else {
            return Ok(false);
        };
        if operation.progress != Progress::Open {
            return Ok(false);
        }
        let base = self.load(operation.payment)?;
        let exchanges = stamped(exchanges, self.ports.ambient.now_ms());
        let verdict = Verdict::Unknown(self.doubt(&operation, &exchanges), None);
        self.apply(base, operation, Ran { verdict, exchanges }).await?;
        self.ports.steps.reached("after_recovery");
        Ok(true)
    }

    /// Runs the adapter to its conclusion over the answers that are on disk: it may know a reference from an earlier
    /// one. Whatever it says, the outcome stays unknown.
    fn doubt(&self, operation: &Operation, exchanges: &[Exchange]) -> Doubt {
        let why = "the router stopped while the request was on its way".to_owned();
        let last_run = exchanges
            .iter()
            .map(|exchange| exchange.run)
            .filter(|run| *run != RUN_OF_CHECKS)
            .max();
        let lost = Answer {
            at_ms: self.ports.ambient.now_ms(),
            reply: Reply::Unknown(why.clone()),
        };
        let of_run = exchanges.iter().filter(|exchange| Some(exchange.run) == last_run);
        let answers: Vec<Answer> = of_run
            .map(|it| it.answer.clone().unwrap_or_else(|| lost.clone()))
            .collect();
        match self.ports.channels.step(operation, &operation.input, &answers) {
            Ok(Step::Done(Outcome::Unknown(doubt))) => Doubt { why, ..doubt },
            Ok(_) | Err(_) => why.into(),
        }
    }
}

/// Every write without an answer gets one: nobody knows, as of now. From now on its age counts.
fn stamped(exchanges: Vec<Exchange>, now_ms: u64) -> Vec<Exchange> {
    let stamp = |exchange: Exchange| match exchange.answer {
        Some(_) => exchange,
        None => {
            let reply = Reply::Unknown("the router stopped while the request was on its way".into());
            Exchange {
                answer: Some(Answer { at_ms: now_ms, reply }),
                ..exchange
            }
        }
    };
    exchanges.into_iter().map(stamp).collect()
}
