//! The legs of a payment that is exchanged, one after the other: what to do next is the domain's word
//! ([`next_step`]); this does it, until there is nothing to do or somebody else has to act. A timer that the payment itself
//! carries brings it back after a kill.

use crate::follow_up::Ask;
use crate::{Engine, EngineError};
use portolan_domain::commit::{Change, Commit, Versioned};
use portolan_domain::ids::PaymentId;
use portolan_domain::operation::{Fixed, Inquiry, Kind};
use portolan_domain::payment::Payment;
use portolan_domain::payment::conversion::{Step, next_step};
use portolan_domain::payment::decide::{self, RATE_LOST, Refusal};
use portolan_domain::ports::CommitError;
use portolan_domain::quote::Terms;
use portolan_domain::task::{Resolution, Task};
use std::sync::Arc;

/// The most steps in one go: capture, fresh prices, exchange, and what undoes them.
const STEPS_MAX: usize = 12;
/// Why an exchange is held: the merchant no longer has what it takes.
const UNCOVERED: &str = "uncovered";
/// Why an exchange is held: a backup cannot know whether it was done.
const RESTORED: &str = "restored";

impl Engine {
    /// Does what is next, and again, until nothing is. Two who come at once (the merchant's request, and a notification that
    /// overtook it) go one after the other, so that neither tells of a payment in the middle of its legs.
    pub(crate) async fn advance(&self, base: Versioned) -> Result<Versioned, EngineError> {
        if next_step(&base.payment, self.ports.ambient.now_ms()) == Step::Rest {
            return Ok(base);
        }
        let id = base.payment.id;
        let lock = self.legs.entry(id).or_default().clone();
        let (base, _one_at_a_time) = match lock.try_lock() {
            Ok(first) => (Ok(base), first),
            Err(_) => {
                let second = lock.lock().await;
                (self.load(id), second)
            }
        };
        let done = match base {
            Ok(base) => self.leg_by_leg(base).await,
            Err(error) => Err(error),
        };
        // Two handles are this function's and the map's: nobody waits.
        self.legs
            .remove_if(&id, |_, kept| Arc::ptr_eq(kept, &lock) && Arc::strong_count(kept) <= 2);
        done
    }

    async fn leg_by_leg(&self, mut base: Versioned) -> Result<Versioned, EngineError> {
        for _ in 0..STEPS_MAX {
            let step = next_step(&base.payment, self.ports.ambient.now_ms());
            if step == Step::Rest {
                break;
            }
            let id = base.payment.id;
            tracing::debug!(payment = %id, ?step, "the next leg");
            if step == Step::Deliver {
                base = match Box::pin(self.deliver(base)).await {
                    Ok((written, true)) => written,
                    Ok((same, false)) => return Ok(same),
                    // What was collected is exchanged: that it does not go on now is no failure of the payment.
                    Err(error) => {
                        tracing::warn!(payment = %id, %error, "what was got goes on later");
                        return self.load(id);
                    }
                };
                continue;
            }
            base = match Box::pin(self.step_of(step, base)).await {
                // Somebody else did it meanwhile, or the payment changed: look again.
                Err(EngineError::Refused(refusal)) => {
                    tracing::info!(payment = %id, %refusal, "the next leg is done by somebody else");
                    return self.load(id);
                }
                Err(EngineError::Channel(fault)) => {
                    tracing::warn!(payment = %id, %fault, "the next leg cannot be begun now");
                    return self.load(id);
                }
                // What it takes was paid out meanwhile: asking again every few seconds does not bring it back.
                Err(EngineError::Store(CommitError::Uncovered)) => {
                    let base = self.load(id)?;
                    let expected = next_step(&base.payment, self.ports.ambient.now_ms());
                    match self.hold(base, UNCOVERED, expected).await {
                        Err(EngineError::Refused(_)) => return self.load(id),
                        held => held?,
                    }
                }
                done => done?,
            };
            self.ports.steps.reached("after_leg");
        }
        Ok(base)
    }

    async fn step_of(&self, step: Step, base: Versioned) -> Result<Versioned, EngineError> {
        match step {
            Step::Rest | Step::Deliver => Ok(base),
            Step::Capture => self.leg(base, Kind::Capture, None).await,
            Step::Void => self.leg(base, Kind::Cancel, Some(RATE_LOST)).await,
            Step::Convert => self.leg(base, Kind::Convert, None).await,
            Step::Requote => self.requote(base).await,
            Step::Refund => self.compensate(base).await,
            Step::Hold => self.hold(base, RATE_LOST, Step::Hold).await,
        }
    }

    async fn leg(&self, base: Versioned, kind: Kind, reason: Option<&str>) -> Result<Versioned, EngineError> {
        let ask = Ask {
            kind,
            amount: None,
            is_final: true,
            reason: reason.map(str::to_owned),
            at_current: None,
            deliver: None,
        };
        Ok(self.follow_up(base, ask, None).await?.0)
    }

    /// A fresh price for the same money, from whoever has one.
    async fn requote(&self, base: Versioned) -> Result<Versioned, EngineError> {
        let fresh = self.fresh_terms(&base.payment).await;
        let take = |payment: &mut Payment, change: &mut Change| {
            if next_step(payment, change.now_ms) != Step::Requote {
                return Err(Refusal::WrongStatus(payment.status.as_str()).into());
            }
            Ok(decide::requote(payment, change, fresh.clone())?)
        };
        Ok(self
            .update(&base, take, |_: &mut Commit, _: &Payment, (): &()| {})
            .await?
            .0)
    }

    async fn fresh_terms(&self, payment: &Payment) -> Option<Terms> {
        let lost = &payment.conversion.as_ref()?.terms;
        let taken = Some(&payment.captured).filter(|it| !it.is_zero());
        let inquiry = Inquiry {
            sell: lost.sold.asset().clone(),
            buy: lost.owed.asset().clone(),
            fixed: Fixed::Sell(taken.unwrap_or(&lost.sold).clone()),
            lock_s: self.pricing.requote_lock_s,
        };
        let (terms, _) = self.prices(&payment.merchant, payment.mode, &inquiry).await;
        terms.into_iter().next()
    }

    /// The payer gets the money back, in the payer's currency, whole: nothing was exchanged.
    async fn compensate(&self, base: Versioned) -> Result<Versioned, EngineError> {
        let begin = |payment: &mut Payment, change: &mut Change| {
            if next_step(payment, change.now_ms) != Step::Refund {
                return Err(Refusal::WrongStatus(payment.status.as_str()).into());
            }
            decide::begin_compensation(payment);
            Ok(())
        };
        let (base, ()) = self
            .update(&base, begin, |_: &mut Commit, _: &Payment, (): &()| {})
            .await?;
        self.leg(base, Kind::Refund, Some(RATE_LOST)).await
    }

    /// Asks a human, as long as `expected` is what would be done next.
    async fn hold(&self, base: Versioned, why: &str, expected: Step) -> Result<Versioned, EngineError> {
        let hold = |payment: &mut Payment, change: &mut Change| {
            if expected == Step::Rest || next_step(payment, change.now_ms) != expected {
                return Err(Refusal::WrongStatus(payment.status.as_str()).into());
            }
            Ok(decide::hold_conversion(payment, change, why)?)
        };
        Ok(self
            .update(&base, hold, |_: &mut Commit, _: &Payment, (): &()| {})
            .await?
            .0)
    }

    /// After a restore: an exchange that the backup does not know as begun was done since, perhaps. Only a human can
    /// tell, from the provider's console; until then nothing goes on.
    pub(crate) async fn hold_restored(&self, id: PaymentId) -> Result<(), EngineError> {
        self.hold_delivery(id).await?;
        let base = self.load(id)?;
        if !decide::may_hold_restored(&base.payment) {
            return Ok(());
        }
        let hold = |payment: &mut Payment, change: &mut Change| {
            if decide::may_hold_restored(payment) {
                decide::hold_conversion(payment, change, RESTORED)?;
            }
            Ok(())
        };
        self.update(&base, hold, |_: &mut Commit, _: &Payment, (): &()| {})
            .await
            .map(drop)
    }

    /// A human's word on an exchange that was held: today's price, or none.
    pub(crate) async fn decide_conversion(
        &self,
        task: Task,
        resolution: Resolution,
        by: &str,
        why: &str,
    ) -> Result<(), EngineError> {
        let base = self.load(task.payment)?;
        let fresh = match resolution {
            Resolution::ConvertNow => Some(
                self.fresh_terms(&base.payment)
                    .await
                    .ok_or(EngineError::NoPrice(vec![]))?,
            ),
            _ => None,
        };
        let how = format!("{}: {why}", resolution.as_str());
        let settle = |payment: &mut Payment, change: &mut Change| {
            decide::settle_held(payment, change, fresh.clone())?;
            change.close_task(task.clone(), by, &how);
            Ok(())
        };
        let (base, ()) = self
            .update(&base, settle, |_: &mut Commit, _: &Payment, (): &()| {})
            .await?;
        self.advance(base).await.map(drop)
    }
}
