//! The payment: built only by applying facts. It owns the aggregate and the step from a fact to status, ledger entries
//! and timers ([`Payment::record`]); what to do next is decided in [`decide`].

pub mod decide;
pub mod fact;
pub mod request;
pub mod status;

use crate::commit::{Change, Timer, TimerKind};
use crate::ids::{AttemptId, ChannelId, MerchantId, MethodId, Mode, OperationId, PaymentId, RefundId};
use crate::ledger::rules::Movement;
use crate::ledger::{Hold, Line};
use crate::money::Money;
use crate::operation::{Action, CardFacts, Kind, Memo};
use fact::Fact;
use serde::{Deserialize, Serialize};
use status::{AttemptStatus, FollowUpStatus, IllegalEvent, PaymentStatus};
use uuid::Uuid;

/// A merchant's instruction to move money: one id, one outcome.
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
    /// The vault's token.
    pub method: Option<MethodId>,
    /// What the token stands for.
    pub card: Option<CardFacts>,
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
        let on_channel = |id: AttemptId| self.attempt(id).is_some_and(|attempt| attempt.channel == *channel);
        let attempt = self
            .attempts
            .iter()
            .find(|attempt| attempt.channel == *channel && is_reference(&attempt.reference));
        let follow_up = || {
            self.follow_ups
                .iter()
                .find(|it| is_reference(&it.reference) && on_channel(it.attempt))
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
            } => {
                let Some(movement) = self.refund_movement(*attempt) else {
                    return;
                };
                let entry = self.entry(change, event, None, movement.hold(amount));
                if let Some(refund) = self.follow_up_mut(*operation) {
                    refund.hold = Some(Hold {
                        entry,
                        amount: amount.clone(),
                    });
                }
            }
            Fact::FollowUpFailed { operation, .. } => self.resolve_refund(change, event, *operation, None),
            Fact::Refunded { operation, amount } => self.resolve_refund(change, event, *operation, Some(amount)),
            Fact::LateSuccess { attempt, amount } => {
                let Some(channel) = self.attempt(*attempt).map(|attempt| attempt.channel.clone()) else {
                    return;
                };
                self.entry(change, event, None, Movement::unmatched(&channel).post(amount));
            }
            Fact::LateSettled { attempt, amount } => {
                let Some(channel) = self.attempt(*attempt).map(|attempt| attempt.channel.clone()) else {
                    return;
                };
                self.entry(change, event, None, Movement::unmatched_gone(&channel).post(amount));
            }
            Fact::Created { .. }
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
        Some(Movement::collect(&self.attempt(attempt)?.channel, &self.merchant))
    }

    fn refund_movement(&self, attempt: AttemptId) -> Option<Movement> {
        Some(Movement::refund(&self.attempt(attempt)?.channel, &self.merchant))
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
        self.entry(change, event, resolves, lines);
        let rest = hold
            .and_then(|hold| hold.amount.minus(amount).ok())
            .filter(|rest| !rest.is_zero());
        if let Some(rest) = rest.filter(|_| !is_final) {
            self.hold_for_attempt(change, event, id, &rest);
        }
    }

    fn resolve_refund(
        &mut self,
        change: &mut Change,
        event: crate::ids::EventId,
        id: OperationId,
        refunded: Option<&Money>,
    ) {
        let found = self
            .follow_up_mut(id)
            .and_then(|refund| Some((refund.attempt, refund.hold.take()?)));
        let Some((attempt, hold)) = found else { return };
        let Some(movement) = self.refund_movement(attempt) else {
            return;
        };
        let mut lines = movement.release(&hold.amount);
        lines.extend(refunded.map(|amount| movement.post(amount)).unwrap_or_default());
        self.entry(change, event, Some(hold.entry), lines);
    }

    fn add_up(&mut self, fact: &Fact) {
        match fact {
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
