//! The payment: built only by applying facts. It owns the aggregate and the step from a fact to status, ledger entries
//! and timers ([`Payment::record`]); what to do next is decided in [`decide`].

pub mod conversion;
pub mod decide;
pub mod fact;
pub mod request;
pub mod status;

use crate::beneficiary::PayoutTerms;
use crate::commit::{Change, Timer, TimerKind};
use crate::ids::{AttemptId, ChannelId, MerchantId, MethodId, Mode, OperationId, PaymentId, RefundId};
use crate::ledger::rules::Movement;
use crate::ledger::{Account, Hold, Line};
use crate::money::Money;
use crate::operation::{Action, Instrument, Kind, Memo};
use conversion::{Conversion, LegState, Step, next_step};
use fact::Fact;
use serde::{Deserialize, Serialize};
use status::{AttemptStatus, FollowUpStatus, IllegalEvent, PaymentStatus};
use uuid::Uuid;

/// What is to be done next is looked after this much later, should whoever began it be gone.
const ADVANCE_MS: u64 = 15_000;

/// A merchant's instruction to move money, in or out: one id, one outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// Unique end-to-end transaction reference, the same on every hop.
    pub uetr: Uuid,
    /// Whose.
    pub merchant: MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// When it was made.
    pub created_ms: u64,
    /// How much.
    pub amount: Money,
    /// Whether the merchant captures later.
    pub manual_capture: bool,
    /// The merchant's text.
    pub description: Option<String>,
    /// For the payer's statement.
    pub statement_descriptor: Option<String>,
    /// Where the payer goes after an action.
    pub return_url: Option<String>,
    /// The merchant's own pairs.
    pub metadata: Vec<(String, String)>,
    /// Who pays.
    pub payer_name: Option<String>,
    /// The payer's e-mail.
    pub payer_email: Option<String>,
    /// What the payer pays with.
    pub instrument: Option<Instrument>,
    /// What the merchant is owed in another asset, where the payment uses a quote.
    pub conversion: Option<Conversion>,
    /// Who is paid, where the money goes out.
    pub payout: Option<Payout>,
    /// Derived from the facts.
    pub status: PaymentStatus,
    /// The tries, in order; at most one succeeds.
    pub attempts: Vec<Attempt>,
    /// Captures, cancels, refunds and reversals, in order.
    pub follow_ups: Vec<FollowUp>,
    /// Authorized by the attempt that counts.
    pub authorized: Money,
    /// Taken.
    pub captured: Money,
    /// Given back.
    pub refunded: Money,
    /// What of the captured the channel has settled.
    #[serde(default)]
    pub settled: Option<Money>,
    /// What the payer has to do.
    pub action: Option<Action>,
    /// Why it failed.
    pub last_error: Option<LastError>,
    /// Since when an outcome is unknown, and when the router asks again.
    pub unknown: Option<UnknownSince>,
    /// Why it was given up.
    pub cancel_reason: Option<String>,
    /// How many events it has.
    pub events: u32,
    /// How many ledger entries it has.
    pub entries: u32,
    /// Its timers that are set.
    pub timers: Vec<Timer>,
}

/// A payment that goes out: to whom, and what the rail says of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payout {
    /// To whom, and what for.
    pub terms: PayoutTerms,
    /// ISO 20022's external status code, as the channel last said.
    pub iso_status: Option<String>,
    /// What came back of it, and why.
    pub returned: Option<(Money, String)>,
    /// What the channel took for it.
    pub fee: Option<Money>,
}

/// One try to execute a payment through one channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// The channel.
    pub channel: ChannelId,
    /// The authorization's operation.
    pub operation: OperationId,
    /// The adapter version, by digest.
    pub adapter: String,
    /// When it started.
    pub started_ms: u64,
    /// Derived from the facts.
    pub status: AttemptStatus,
    /// The provider's reference.
    pub reference: Option<String>,
    /// The card network's reference.
    pub network_reference: Option<String>,
    /// What the adapter left.
    pub memo: Option<Memo>,
    /// What the books hold for it.
    pub hold: Option<Hold>,
    /// Whether it brought money after it was closed.
    pub is_late: bool,
}

/// A capture, cancel, refund or reversal: one operation each, by its id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FollowUp {
    /// The operation.
    pub operation: OperationId,
    /// The attempt.
    pub attempt: AttemptId,
    /// The channel: the attempt's, or the exchange's.
    pub channel: ChannelId,
    /// What it does.
    pub kind: Kind,
    /// When it was asked for.
    pub created_ms: u64,
    /// How much was asked; once done, how much was done.
    pub amount: Money,
    /// A capture after which nothing more will be captured.
    pub is_final: bool,
    /// The merchant's reason.
    pub reason: Option<String>,
    /// Derived from the facts.
    pub status: FollowUpStatus,
    /// The provider's reference.
    pub reference: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
    /// What of a refund the channel has settled.
    #[serde(default)]
    pub settled: Option<Money>,
    /// What the books hold for it.
    pub hold: Option<Hold>,
}

/// Why a payment failed, for the merchant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Default)]
pub struct LastError {
    /// `card_declined`, `channel_unavailable`, `plugin_fault`, …
    pub code: String,
    /// The router's decline reason.
    pub decline_reason: Option<String>,
    /// The card network's code.
    pub network_code: Option<String>,
    /// What may be done next.
    pub advice: Option<String>,
    /// For a human.
    pub message: String,
}

/// An unknown outcome, as the merchant sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnknownSince {
    /// Since when.
    pub since_ms: u64,
    /// When the router asks again.
    pub next_check_ms: u64,
}

impl Payment {
    /// The attempt of that id.
    pub fn attempt(&self, id: AttemptId) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.id == id)
    }

    /// The attempt of that id, to be written to.
    pub fn attempt_mut(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|attempt| attempt.id == id)
    }

    /// The follow-up of that operation.
    pub fn follow_up(&self, id: OperationId) -> Option<&FollowUp> {
        self.follow_ups.iter().find(|follow_up| follow_up.operation == id)
    }

    /// The refund of that id.
    pub fn refund(&self, id: RefundId) -> Option<&FollowUp> {
        self.follow_up(OperationId(id.0)).filter(|it| it.kind == Kind::Refund)
    }

    /// The follow-up of that operation, to be written to.
    pub fn follow_up_mut(&mut self, id: OperationId) -> Option<&mut FollowUp> {
        self.follow_ups.iter_mut().find(|follow_up| follow_up.operation == id)
    }

    /// The operation behind a provider's reference on a channel.
    pub fn operation_of(&self, channel: &ChannelId, reference: &str) -> Option<OperationId> {
        let is_reference = |known: &Option<String>| known.as_deref() == Some(reference);
        let attempt = self
            .attempts
            .iter()
            .find(|attempt| attempt.channel == *channel && is_reference(&attempt.reference));
        let follow_up = || {
            self.follow_ups
                .iter()
                .find(|it| is_reference(&it.reference) && it.channel == *channel)
        };
        attempt
            .map(|attempt| attempt.operation)
            .or_else(|| follow_up().map(|it| it.operation))
    }

    /// The attempt whose money this payment has or waits for: the last one that is not closed.
    pub fn open_attempt(&self) -> Option<&Attempt> {
        self.attempts.iter().rev().find(|attempt| !attempt.status.is_closed())
    }

    /// Follow-ups of a kind that are not concluded.
    pub fn in_flight(&self, kind: Kind) -> impl Iterator<Item = &FollowUp> {
        self.follow_ups.iter().filter(move |follow_up| {
            follow_up.kind == kind && matches!(follow_up.status, FollowUpStatus::Pending | FollowUpStatus::Unknown)
        })
    }

    /// What may still be refunded: captured, less what is given back and what is reserved for refunds in flight.
    pub fn refundable(&self) -> Option<Money> {
        let mut rest = self.captured.minus(&self.refunded).ok()?;
        for refund in self.in_flight(Kind::Refund) {
            rest = rest.minus(&refund.amount).ok()?;
        }
        Some(rest)
    }

    /// The vault's token of the card that it is paid with.
    pub fn method(&self) -> Option<MethodId> {
        self.instrument.as_ref().and_then(Instrument::method)
    }

    /// Whether nothing more happens to it by itself.
    pub fn is_over(&self) -> bool {
        self.status.is_final() && self.conversion.as_ref().is_none_or(Conversion::is_over)
    }

    /// Applies a fact: statuses by their tables, amounts, ledger entries, and the event itself. On an error nothing in
    /// `change` counts: the caller drops payment and change together.
    pub fn record(&mut self, change: &mut Change, fact: Fact) -> Result<(), IllegalEvent> {
        self.status = self.status.next(&fact)?;
        if let Some(attempt) = fact.attempt().and_then(|id| self.attempt_mut(id)) {
            attempt.status = attempt.status.next(&fact)?;
        }
        if let Some(follow_up) = fact.follow_up().and_then(|id| self.follow_up_mut(id)) {
            follow_up.status = follow_up.status.next(&fact)?;
        }
        self.events += 1;
        let event = change.event(self, fact.clone());
        self.post(change, event, &fact);
        self.add_up(&fact);
        self.follow_legs(&fact);
        self.wake(change);
        Ok(())
    }

    /// The table event → postings. Facts without money post nothing, and say so here.
    fn post(&mut self, change: &mut Change, event: crate::ids::EventId, fact: &Fact) {
        match fact {
            Fact::AttemptStarted { attempt, .. } => {
                let amount = self.amount.clone();
                self.hold_for_attempt(change, event, *attempt, &amount);
            }
            Fact::AttemptDeclined { attempt, .. }
            | Fact::AttemptNoEffect { attempt, .. }
            | Fact::AttemptReleased { attempt, .. } => self.release_attempt(change, event, *attempt),
            Fact::Authorized { attempt, amount } => {
                let held = self.attempt(*attempt).and_then(|attempt| attempt.hold.as_ref());
                if held.is_some_and(|hold| hold.amount != *amount) {
                    self.release_attempt(change, event, *attempt);
                    self.hold_for_attempt(change, event, *attempt, amount);
                }
            }
            Fact::Captured {
                attempt,
                amount,
                is_final,
                ..
            } => {
                self.post_capture(change, event, *attempt, amount, *is_final);
            }
            Fact::FollowUpStarted {
                operation,
                kind: Kind::Refund,
                amount,
                attempt,
                ..
            } => self.hold_for_refund(change, event, (*operation, *attempt), amount),
            Fact::FollowUpStarted {
                operation,
                kind: Kind::Convert,
                amount,
                ..
            } => {
                let lines = Movement::sell(&self.merchant).hold(amount);
                let entry = self.entry(change, event, None, lines);
                self.keep_hold(*operation, entry, amount.clone());
            }
            Fact::Converted {
                operation,
                channel,
                sold,
                bought,
                owed,
            } => {
                let hold = self.follow_up_mut(*operation).and_then(|it| it.hold.take());
                let mut lines = Movement::exchange(&self.merchant, channel, (sold, bought, owed));
                if let Some(hold) = &hold {
                    lines.extend(Movement::sell(&self.merchant).release(&hold.amount));
                }
                self.entry(change, event, hold.map(|hold| hold.entry), lines);
            }
            Fact::Returned { attempt, amount, .. } => {
                let Some(channel) = self.attempt(*attempt).map(|attempt| attempt.channel.clone()) else {
                    return;
                };
                let lines = Movement::returned(&channel, &self.merchant).post(amount);
                self.entry(change, event, None, lines);
            }
            Fact::Settled {
                channel,
                gross,
                fee,
                is_refund,
                ..
            } => {
                // What was exchanged is the merchant's already, in another asset.
                let is_exchanged = self.conversion.as_ref().is_some_and(|it| it.given.is_some());
                let owner = Some(&self.merchant).filter(|_| !is_exchanged);
                let lines = Movement::settled(channel, owner, (gross, fee), *is_refund);
                self.entry(change, event, None, lines);
            }
            Fact::FollowUpFailed { operation, .. } => self.release_follow_up(change, event, *operation),
            Fact::Refunded { operation, amount } => self.post_refund(change, event, *operation, amount),
            Fact::LateSuccess { attempt, amount } => {
                let Some(channel) = self.attempt(*attempt).map(|attempt| attempt.channel.clone()) else {
                    return;
                };
                let movement = match self.payout {
                    Some(_) => Movement::unmatched_payout(&channel),
                    None => Movement::unmatched(&channel),
                };
                self.entry(change, event, None, movement.post(amount));
            }
            Fact::LateSettled { attempt, amount } => {
                let Some(channel) = self.attempt(*attempt).map(|attempt| attempt.channel.clone()) else {
                    return;
                };
                self.entry(change, event, None, Movement::unmatched_gone(&channel).post(amount));
            }
            Fact::Created { .. }
            | Fact::RateLocked { .. }
            | Fact::Requoted { .. }
            | Fact::ConversionHeld { .. }
            | Fact::MethodSet
            | Fact::ActionRequired { .. }
            | Fact::Resumed { .. }
            | Fact::AttemptPending { .. }
            | Fact::OutcomeUnknown { .. }
            | Fact::CodeRequired
            | Fact::Failed { .. }
            | Fact::Canceled { .. }
            | Fact::RestReleased
            | Fact::FollowUpStarted { .. }
            | Fact::FollowUpUnknown { .. } => {}
        }
    }

    fn entry(
        &mut self,
        change: &mut Change,
        event: crate::ids::EventId,
        resolves: Option<u32>,
        lines: Vec<Line>,
    ) -> u32 {
        self.entries += 1;
        change.entry(self, event, resolves, lines);
        self.entries
    }

    fn collect_movement(&self, attempt: AttemptId) -> Option<Movement> {
        let channel = &self.attempt(attempt)?.channel;
        Some(match self.payout {
            Some(_) => Movement::pay(channel, &self.merchant),
            None if self.is_settled_at_once() => Movement::collect_settled(channel, &self.merchant),
            None => Movement::collect(channel, &self.merchant),
        })
    }

    /// A token that arrived is there: nobody has to settle it.
    fn is_settled_at_once(&self) -> bool {
        matches!(self.instrument, Some(Instrument::Token(_)))
    }

    fn refund_movement(&self, channel: &ChannelId) -> Movement {
        if self.is_settled_at_once() {
            Movement::pay(channel, &self.merchant)
        } else {
            Movement::refund(channel, &self.merchant)
        }
    }

    /// Holds what a refund takes from the merchant: the payer's currency, or, once it was exchanged, the share of what the
    /// merchant got for it. It must be there.
    fn hold_for_refund(
        &mut self,
        change: &mut Change,
        event: crate::ids::EventId,
        (operation, attempt): (OperationId, AttemptId),
        amount: &Money,
    ) {
        let Some(channel) = self.attempt(attempt).map(|attempt| attempt.channel.clone()) else {
            return;
        };
        let (movement, held) = match self.share_of_refund(amount) {
            Some(share) => (Movement::give_up(&self.merchant), share),
            None => (self.refund_movement(&channel), amount.clone()),
        };
        // What was exchanged, or came as a token, is the merchant's to pay out: a refund may find it gone.
        if held.asset() != amount.asset() || self.is_settled_at_once() {
            change.covers = Some((Account::MerchantAvailable(self.merchant.clone()), held.clone()));
        }
        let entry = self.entry(change, event, None, movement.hold(&held));
        if let Some(conversion) = self.conversion.as_mut().filter(|it| it.given.is_some()) {
            conversion.taken_back = conversion
                .taken_back
                .plus(&held)
                .unwrap_or_else(|_| conversion.taken_back.clone());
        }
        self.keep_hold(operation, entry, held);
    }

    /// The share of what the merchant got that belongs to one more refund; `None` where nothing was exchanged.
    fn share_of_refund(&self, amount: &Money) -> Option<Money> {
        let conversion = self.conversion.as_ref()?;
        let given = conversion.given.as_ref()?;
        // Where the exact share is out of range, the merchant gives up what is left: never another currency.
        let rest = || given.minus(&conversion.taken_back).ok();
        self.exact_share(conversion, amount).or_else(rest)
    }

    fn exact_share(&self, conversion: &Conversion, amount: &Money) -> Option<Money> {
        let mut in_flight = self.in_flight(Kind::Refund).filter(|it| it.hold.is_some());
        let before = in_flight.try_fold(self.refunded.clone(), |sum, it| sum.plus(&it.amount).ok())?;
        conversion.share_of_refund(&before.plus(amount).ok()?, &self.captured)
    }

    fn keep_hold(&mut self, operation: OperationId, entry: u32, amount: Money) {
        if let Some(follow_up) = self.follow_up_mut(operation) {
            follow_up.hold = Some(Hold { entry, amount });
        }
    }

    fn hold_for_attempt(&mut self, change: &mut Change, event: crate::ids::EventId, id: AttemptId, amount: &Money) {
        let Some(movement) = self.collect_movement(id) else {
            return;
        };
        let entry = self.entry(change, event, None, movement.hold(amount));
        if let Some(attempt) = self.attempt_mut(id) {
            attempt.hold = Some(Hold {
                entry,
                amount: amount.clone(),
            });
        }
    }

    fn release_attempt(&mut self, change: &mut Change, event: crate::ids::EventId, id: AttemptId) {
        let Some(movement) = self.collect_movement(id) else {
            return;
        };
        if let Some(hold) = self.attempt_mut(id).and_then(|attempt| attempt.hold.take()) {
            self.entry(change, event, Some(hold.entry), movement.release(&hold.amount));
        }
    }

    /// Posts a capture and lets the hold go; what may still be captured is held anew, linked in the same commit.
    fn post_capture(
        &mut self,
        change: &mut Change,
        event: crate::ids::EventId,
        id: AttemptId,
        amount: &Money,
        is_final: bool,
    ) {
        let Some(movement) = self.collect_movement(id) else {
            return;
        };
        let hold = self.attempt_mut(id).and_then(|attempt| attempt.hold.take());
        let mut lines = movement.post(amount);
        let resolves = hold.as_ref().map(|hold| hold.entry);
        if let Some(hold) = &hold {
            lines.extend(movement.release(&hold.amount));
        }
        lines.extend(self.fee_of_payout(id));
        self.entry(change, event, resolves, lines);
        let rest = hold
            .and_then(|hold| hold.amount.minus(amount).ok())
            .filter(|rest| !rest.is_zero());
        if let Some(rest) = rest.filter(|_| !is_final) {
            self.hold_for_attempt(change, event, id, &rest);
        }
    }

    /// What the channel took for a payout comes out of what lies there, at the router's cost.
    fn fee_of_payout(&self, id: AttemptId) -> Vec<Line> {
        let channel = self.attempt(id).map(|attempt| &attempt.channel);
        let fee = self.payout.as_ref().and_then(|payout| payout.fee.as_ref());
        match (channel, fee.filter(|fee| !fee.is_zero())) {
            (Some(channel), Some(fee)) => Movement::fee(channel).post(fee),
            _ => vec![],
        }
    }

    /// The movement that a follow-up's hold stands for.
    fn held_movement(&self, operation: OperationId) -> Option<Movement> {
        let follow_up = self.follow_up(operation)?;
        let hold = follow_up.hold.as_ref()?;
        Some(match follow_up.kind {
            Kind::Convert => Movement::sell(&self.merchant),
            _ if hold.amount.asset() != self.amount.asset() => Movement::give_up(&self.merchant),
            _ => self.refund_movement(&follow_up.channel),
        })
    }

    /// A refund or an exchange that was certainly not done: what was held for it is free again.
    fn release_follow_up(&mut self, change: &mut Change, event: crate::ids::EventId, id: OperationId) {
        let Some(movement) = self.held_movement(id) else { return };
        let Some(hold) = self.follow_up_mut(id).and_then(|it| it.hold.take()) else {
            return;
        };
        self.entry(change, event, Some(hold.entry), movement.release(&hold.amount));
        if let Some(conversion) = self.conversion.as_mut().filter(|it| it.given.is_some()) {
            conversion.taken_back = conversion
                .taken_back
                .minus(&hold.amount)
                .unwrap_or_else(|_| conversion.taken_back.clone());
        }
    }

    /// A refund that is done. At the original rate the merchant gives up the share that it got; the payer's currency comes
    /// out of the router's position.
    fn post_refund(&mut self, change: &mut Change, event: crate::ids::EventId, id: OperationId, amount: &Money) {
        let Some(movement) = self.held_movement(id) else { return };
        let found = self
            .follow_up_mut(id)
            .and_then(|it| Some((it.channel.clone(), it.hold.take()?)));
        let Some((channel, hold)) = found else { return };
        let mut lines = movement.release(&hold.amount);
        if hold.amount.asset() == amount.asset() {
            lines.extend(movement.post(amount));
        } else {
            lines.extend(movement.post(&hold.amount));
            lines.extend(Movement::refund_from_position(&channel).post(amount));
        }
        self.entry(change, event, Some(hold.entry), lines);
    }

    /// What a fact means for the convert leg.
    fn follow_legs(&mut self, fact: &Fact) {
        let follow_up = fact.follow_up().and_then(|id| self.follow_up(id));
        let now = follow_up.map(|it| (it.kind, it.status));
        let is_back = self.refunded == self.captured;
        let Some(conversion) = &mut self.conversion else { return };
        let state = now.and_then(|(kind, status)| conversion::after(kind, status));
        conversion.state = state.unwrap_or(conversion.state);
        match (fact, now) {
            (Fact::Converted { operation, owed, .. }, _) => {
                conversion.operation = Some(*operation);
                conversion.given = Some(owed.clone());
            }
            (Fact::FollowUpFailed { .. }, Some((Kind::Convert, _))) => conversion.is_refused = true,
            (Fact::ConversionHeld { .. }, _) => conversion.state = LegState::Manual,
            (Fact::Failed { .. } | Fact::Canceled { .. }, _) => conversion.state = LegState::Compensated,
            (Fact::FollowUpFailed { .. }, Some((Kind::Capture | Kind::Cancel, _))) => conversion.refusals += 1,
            (Fact::Refunded { .. }, _) if conversion.state == LegState::Compensating && is_back => {
                conversion.state = LegState::Compensated;
            }
            (Fact::FollowUpFailed { .. }, Some((Kind::Refund, _))) if conversion.state == LegState::Compensating => {
                conversion.state = LegState::Planned;
                conversion.is_stuck = true;
            }
            _ => {}
        }
    }

    /// While something is to be done next, a timer says so: a kill between two legs forgets none.
    fn wake(&self, change: &mut Change) {
        if self.conversion.is_none() {
            return;
        }
        let id = OperationId::of(self.id, 0);
        change.timers_set.retain(|timer| timer.kind != TimerKind::Advance);
        if next_step(self, change.now_ms) == Step::Rest {
            change.timers_clear.push((TimerKind::Advance, id));
        } else {
            let due = change.now_ms.saturating_add(ADVANCE_MS);
            change.timers_set.push(self.timer(TimerKind::Advance, id, due));
        }
    }

    fn add_up(&mut self, fact: &Fact) {
        match fact {
            Fact::Settled {
                operation,
                gross,
                is_refund: true,
                ..
            } => {
                if let Some(refund) = self.follow_up_mut(*operation) {
                    refund.settled = Some(gross.clone());
                }
            }
            Fact::Settled { gross, .. } => {
                let before = self
                    .settled
                    .take()
                    .unwrap_or_else(|| Money::zero(gross.asset().clone()));
                self.settled = Some(before.plus(gross).unwrap_or(before));
            }
            Fact::Authorized { amount, .. } => self.authorized = amount.clone(),
            Fact::Captured { amount, operation, .. } => {
                if operation.is_none() {
                    self.authorized = amount.clone();
                }
                self.captured = self.captured.plus(amount).unwrap_or_else(|_| self.captured.clone());
            }
            Fact::Refunded { amount, .. } => {
                self.refunded = self.refunded.plus(amount).unwrap_or_else(|_| self.refunded.clone());
            }
            _ => {}
        }
        if !matches!(self.status, PaymentStatus::RequiresAction) {
            self.action = None;
        }
        let waits = self
            .attempts
            .iter()
            .any(|attempt| attempt.status == AttemptStatus::Unknown)
            || self
                .follow_ups
                .iter()
                .any(|follow_up| follow_up.status == FollowUpStatus::Unknown);
        if !waits {
            self.unknown = None;
        }
    }

    /// A timer of one of this payment's operations.
    pub fn timer(&self, kind: TimerKind, operation: OperationId, due_ms: u64) -> Timer {
        Timer {
            kind,
            operation,
            due_ms,
        }
    }
}
