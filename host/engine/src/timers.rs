//! Durable timers: what must happen later, happens from here, also after a restart.

use crate::follow_up::Ask;
use crate::notify::HINT_AGAIN_MS;
use crate::{Engine, EngineError};
use dashmap::DashMap;
use portolan_domain::commit::{Change, Commit, Timer, TimerKind, Versioned};
use portolan_domain::ids::ChannelId;
use portolan_domain::operation::Kind;
use portolan_domain::payment::Payment;
use portolan_domain::payment::conversion::{Step, next_step};
use portolan_domain::payment::decide;
use portolan_domain::payment::dispute::{Dispute, DisputeState};
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
/// News that cannot be asked about are asked about again after that part of the payment's age.
const HINT_PART: u64 = 16;
/// And after so long at most: a bank's question has its date.
const HINT_AGAIN_MAX_MS: u64 = 600_000;
/// What could not be swept now is swept after this; where another is swept at this moment, after that.
const SWEEP_AGAIN_MS: u64 = 600_000;
const SWEEP_SOON_MS: u64 = 10_000;
/// An expiry whose void did not go through is tried again after this.
const EXPIRE_AGAIN_MS: u64 = 60_000;

/// Whoever sweeps a channel, until dropped.
struct Alone<'a> {
    sweeping: &'a DashMap<ChannelId, ()>,
    channel: ChannelId,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.sweeping.remove(&self.channel);
    }
}

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
            let due = due.unwrap_or_else(|error| {
                tracing::error!(%error, "what is due cannot be read");
                vec![]
            });
            for timer in due {
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
            TimerKind::Advance => self.advance_later(timer).await,
            TimerKind::Hint => self.ask_hinted(timer).await,
            TimerKind::Sweep => self.sweep_later(timer).await,
            TimerKind::ActionExpiry => self.expire(timer, "action_expired").await,
            TimerKind::AuthorizationExpiry => self.expire(timer, "authorization_expired").await,
        };
        if let Err(error) = handled {
            tracing::warn!(%error, operation = %timer.operation, kind = timer.kind.as_str(), "a timer is tried again");
            let after_ms = match timer.kind {
                TimerKind::Hint => HINT_AGAIN_MS,
                TimerKind::Sweep => SWEEP_AGAIN_MS,
                TimerKind::Check | TimerKind::Advance | TimerKind::ActionExpiry | TimerKind::AuthorizationExpiry => {
                    AGAIN_MS
                }
            };
            if let Err(error) = self.postpone(timer, after_ms).await {
                tracing::warn!(%error, "a timer could not be postponed");
            }
        }
    }

    /// Query, void, close: an action or an authorization that nobody completed in time.
    async fn expire(&self, timer: Timer, reason: &str) -> Result<(), EngineError> {
        let payment = timer.operation.payment();
        if !waits(&self.load(payment)?.payment, timer) {
            return self.clear(timer).await;
        }
        if timer.kind == TimerKind::ActionExpiry {
            self.check(timer.operation).await?;
        }
        let base = self.load(payment)?;
        if !waits(&base.payment, timer) {
            return self.clear(timer).await;
        }
        let ask = Ask {
            kind: Kind::Cancel,
            amount: None,
            is_final: true,
            reason: Some(reason.to_owned()),
            at_current: None,
            deliver: None,
        };
        let (written, _) = self.follow_up(base, ask, None).await?;
        if waits(&written.payment, timer) {
            return self.postpone(timer, EXPIRE_AGAIN_MS).await;
        }
        self.clear(timer).await
    }

    /// The next leg, taken up again: whoever began it is gone, or it did not go through.
    async fn advance_later(&self, timer: Timer) -> Result<(), EngineError> {
        let base = self.load(timer.operation.payment())?;
        if decide::is_between_attempts(&base.payment) {
            return self.give_up_between(base).await;
        }
        let written = self.advance(base).await?;
        // A clock that went back does not make a leg that waits one that is over.
        let not_before_ms = written.payment.conversion.as_ref().map_or(0, |it| it.not_before_ms);
        let now_ms = self.ports.ambient.now_ms();
        let is_rest = next_step(&written.payment, now_ms.max(not_before_ms)) == Step::Rest;
        match written.payment.timers.contains(&timer) {
            true if is_rest => self.clear(timer).await,
            true => {
                self.postpone(timer, AGAIN_MS.max(not_before_ms.saturating_sub(now_ms)))
                    .await
            }
            false => Ok(()),
        }
    }

    /// News that somebody told of, and that could not be asked about then.
    async fn ask_hinted(&self, timer: Timer) -> Result<(), EngineError> {
        match self.check_hinted(timer.operation, true).await {
            // Its journal was pruned: there is nothing left that could be asked.
            Ok(()) | Err(EngineError::NotFound(_)) => self.clear(timer).await,
            Err(error) => {
                tracing::warn!(%error, operation = %timer.operation, "cannot be asked about now");
                // The older it is, the less can come of it.
                let base = self.load(timer.operation.payment())?;
                let age_ms = self.ports.ambient.now_ms().saturating_sub(base.payment.created_ms);
                self.postpone(timer, (age_ms / HINT_PART).clamp(HINT_AGAIN_MS, HINT_AGAIN_MAX_MS))
                    .await
            }
        }
    }

    /// What came is there for so long that it stays. While somebody wants it back it stays where it is.
    async fn sweep_later(&self, timer: Timer) -> Result<(), EngineError> {
        let payment = self.load(timer.operation.payment())?.payment;
        if decide::may_sweep(&payment).is_err() {
            return self.clear(timer).await;
        }
        let may_come = |it: &Dispute| it.is_taken() && it.state != DisputeState::Lost;
        if payment.disputes.iter().any(may_come) {
            return self.postpone(timer, SWEEP_AGAIN_MS).await;
        }
        // One at a time: a lane that hangs must not hold up the timers of other channels, nor a merchant's payout for long.
        let channel = payment.attempts.last().map(|it| it.channel.clone());
        let Some(_alone) = channel.and_then(|channel| self.sweep_alone(channel)) else {
            return self.postpone(timer, SWEEP_SOON_MS).await;
        };
        match self.sweep(payment.id).await {
            Ok(_) | Err(EngineError::Refused(_)) => self.clear(timer).await,
            Err(error) => Err(error),
        }
    }

    /// `None`: something is swept there at this moment, or paid.
    fn sweep_alone(&self, channel: ChannelId) -> Option<Alone<'_>> {
        let is_busy = self.lanes.get(&channel).is_some_and(|lane| lane.try_lock().is_err());
        if is_busy || self.sweeping.insert(channel.clone(), ()).is_some() {
            return None;
        }
        Some(Alone {
            sweeping: &self.sweeping,
            channel,
        })
    }

    /// An attempt had no effect, and whoever was to try the next channel is gone.
    async fn give_up_between(&self, base: Versioned) -> Result<(), EngineError> {
        let fail = |payment: &mut Payment, change: &mut Change| {
            if decide::is_between_attempts(payment) {
                decide::fail(payment, change)?;
            }
            Ok(())
        };
        self.update(&base, fail, |_: &mut Commit, _: &Payment, (): &()| {})
            .await
            .map(drop)
    }

    async fn clear(&self, timer: Timer) -> Result<(), EngineError> {
        self.set_timer(timer, |change| change.timers_clear.push((timer.kind, timer.operation)))
            .await
    }

    async fn postpone(&self, timer: Timer, after_ms: u64) -> Result<(), EngineError> {
        let later = |change: &mut Change| {
            let due_ms = change.now_ms.saturating_add(after_ms);
            change.timers_set.push(Timer { due_ms, ..timer });
        };
        self.set_timer(timer, later).await
    }

    /// Changes a timer, if the payment still has exactly this one: another hand may have set or cleared it meanwhile.
    async fn set_timer(&self, timer: Timer, set: impl Fn(&mut Change) + Send + Sync) -> Result<(), EngineError> {
        let base = self.load(timer.operation.payment())?;
        if !base.payment.timers.contains(&timer) {
            return Ok(());
        }
        let change = |payment: &mut Payment, change: &mut Change| {
            if payment.timers.contains(&timer) {
                set(change);
            }
            Ok(())
        };
        let nothing_else = |_: &mut Commit, _: &Payment, (): &()| {};
        self.update(&base, change, nothing_else).await.map(drop)
    }
}

fn waits(payment: &Payment, timer: Timer) -> bool {
    let mut attempts = payment.attempts.iter();
    let status = attempts
        .find(|attempt| attempt.operation == timer.operation)
        .map(|attempt| attempt.status);
    match timer.kind {
        TimerKind::ActionExpiry => status == Some(AttemptStatus::ActionRequired),
        TimerKind::AuthorizationExpiry => {
            status == Some(AttemptStatus::Authorized) && payment.status == PaymentStatus::RequiresCapture
        }
        TimerKind::Check | TimerKind::Advance | TimerKind::Hint | TimerKind::Sweep => false,
    }
}
