//! Durable timers: what must happen later, happens from here, also after a restart.

use crate::follow_up::Ask;
use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Timer, TimerKind};
use portolan_domain::operation::{Kind, Operation};
use portolan_domain::payment::Payment;
use portolan_domain::payment::status::{AttemptStatus, PaymentStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How often the store is asked for due timers.
const TICK: Duration = Duration::from_millis(100);
/// Timers handled at once.
const AT_ONCE: usize = 32;
/// A timer whose handling failed is tried again after this.
const AGAIN_MS: u64 = 2_000;
/// An expiry whose void did not go through is tried again after this.
const EXPIRE_AGAIN_MS: u64 = 60_000;

impl Engine {
    /// Handles due timers until `stop` says so.
    pub async fn run_timers(self: Arc<Self>, mut stop: tokio::sync::watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        while !*stop.borrow() {
            tokio::select! {
                _ = tokio::time::sleep(TICK) => {}
                _ = stop.changed() => break,
            }
            let due = self.ports.store.due_timers(self.ports.ambient.now_ms(), AT_ONCE * 2);
            for timer in due.unwrap_or_default() {
                let Ok(slot) = slots.clone().try_acquire_owned() else {
                    break;
                };
                if self.busy.insert(timer.operation, ()).is_some() {
                    continue;
                }
                let engine = self.clone();
                tokio::spawn(async move {
                    engine.handle(timer).await;
                    engine.busy.remove(&timer.operation);
                    drop(slot);
                });
            }
        }
        // What is being handled may finish.
        let _ = slots.acquire_many(u32::try_from(AT_ONCE).unwrap_or(1)).await;
    }

    async fn handle(&self, timer: Timer) {
        let handled = match timer.kind {
            TimerKind::Check => self.check(timer.operation).await,
            TimerKind::ActionExpiry => self.expire(timer, "action_expired").await,
            TimerKind::AuthorizationExpiry => self.expire(timer, "authorization_expired").await,
        };
        if let Err(error) = handled {
            tracing::warn!(%error, operation = %timer.operation, kind = timer.kind.as_str(), "a timer is tried again");
            if let Err(error) = self.postpone(timer, AGAIN_MS).await {
                tracing::warn!(%error, "a timer could not be postponed");
            }
        }
    }

    /// Query, void, close: an action or an authorization that nobody completed in time.
    async fn expire(&self, timer: Timer, reason: &str) -> Result<(), EngineError> {
        let Some((operation, _)) = self.ports.store.operation(timer.operation)? else {
            return self.clear(timer).await;
        };
        if !waits(&self.load(timer.payment)?.payment, &operation, timer.kind) {
            return self.clear(timer).await;
        }
        if timer.kind == TimerKind::ActionExpiry {
            self.check(operation.id).await?;
        }
        let base = self.load(timer.payment)?;
        if !waits(&base.payment, &operation, timer.kind) {
            return self.clear(timer).await;
        }
        let ask = Ask {
            kind: Kind::Cancel,
            amount: None,
            is_final: true,
            reason: Some(reason.to_owned()),
        };
        let (written, _) = self.follow_up(base, ask, None).await?;
        if waits(&written.payment, &operation, timer.kind) {
            return self.postpone(timer, EXPIRE_AGAIN_MS).await;
        }
        self.clear(timer).await
    }

    async fn clear(&self, timer: Timer) -> Result<(), EngineError> {
        let commit = Commit {
            timers_clear: vec![(timer.kind, timer.operation)],
            ..Commit::default()
        };
        Ok(self.ports.store.commit(commit).await?)
    }

    async fn postpone(&self, timer: Timer, after_ms: u64) -> Result<(), EngineError> {
        let due_ms = Change::new(&*self.ports.ambient).now_ms.saturating_add(after_ms);
        let commit = Commit {
            timers_set: vec![Timer { due_ms, ..timer }],
            ..Commit::default()
        };
        Ok(self.ports.store.commit(commit).await?)
    }
}

fn waits(payment: &Payment, operation: &Operation, kind: TimerKind) -> bool {
    let status = payment.attempt(operation.attempt).map(|attempt| attempt.status);
    match kind {
        TimerKind::ActionExpiry => status == Some(AttemptStatus::ActionRequired),
        TimerKind::AuthorizationExpiry => {
            status == Some(AttemptStatus::Authorized) && payment.status == PaymentStatus::RequiresCapture
        }
        TimerKind::Check => false,
    }
}
