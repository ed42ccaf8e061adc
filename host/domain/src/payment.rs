//! The payment: built only by applying facts. It owns the aggregate and the step from a fact to status, ledger entries
//! and timers ([`Payment::record`]); what to do next is decided in [`decide`].

pub mod conversion;
pub mod decide;
pub mod delivery;
pub mod dispute;
pub mod fact;
mod postings;
pub mod request;
pub mod status;

use crate::beneficiary::PayoutTerms;
use crate::commit::{Change, Timer, TimerKind};
use crate::ids::{AttemptId, ChannelId, MerchantId, MethodId, Mode, OperationId, PaymentId, RefundId};
use crate::ledger::Hold;
use crate::money::Money;
use crate::operation::{Action, AskedBy, Authentication, Instrument, Kind, Memo};
use crate::risk::Flag;
use conversion::{Conversion, LegState, Step, next_step};
use core::net::IpAddr;
use delivery::Delivery;
use dispute::Dispute;
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
    /// Where the payer lives, ISO 3166-1 alpha-2.
    #[serde(default)]
    pub payer_country: Option<String>,
    /// The merchant's own id of the payer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer_id: Option<String>,
    /// The address that the payer comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer_ip: Option<IpAddr>,
    /// Where that address is, ISO 3166-1 alpha-2, as the merchant knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_country: Option<String>,
    /// Where goods are sent to, ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_country: Option<String>,
    /// What the payer pays with.
    pub instrument: Option<Instrument>,
    /// Whether the merchant wants the payer authenticated, whatever the issuer would let pass.
    #[serde(default)]
    pub must_authenticate: bool,
    /// What the merchant is owed in another asset, where the payment uses a quote.
    pub conversion: Option<Box<Conversion>>,
    /// To whom what was got in the other asset goes on.
    #[serde(default)]
    pub delivery: Option<Box<Delivery>>,
    /// Who is paid, where the money goes out.
    pub payout: Option<Box<Payout>>,
    /// Derived from the facts.
    pub status: PaymentStatus,
    /// The tries, in order; at most one succeeds.
    pub attempts: Vec<Attempt>,
    /// Captures, cancels, refunds, reversals and exchanges, in order.
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
    /// What rules of the merchant's brought about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
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
    /// What payers' banks want back of it, in order of hearing.
    #[serde(default)]
    pub disputes: Vec<Dispute>,
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
    /// What of it the bank's statement shows.
    #[serde(default)]
    pub booked: Option<Money>,
    /// What of its return the statement shows.
    #[serde(default)]
    pub return_booked: Option<Money>,
    /// The payment whose deliver leg it is.
    #[serde(default)]
    pub leg_of: Option<PaymentId>,
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
    /// What it brought that nothing waited for: after it was closed, or more than was asked.
    #[serde(default)]
    pub late: Option<Money>,
    /// What of that was given back outside.
    #[serde(default)]
    pub late_gone: Option<Money>,
    /// When its money was taken first.
    #[serde(default)]
    pub captured_ms: Option<u64>,
    /// Who asked that the payer be authenticated.
    #[serde(default)]
    pub authenticate: Option<AskedBy>,
    /// What came of it; a provider may authenticate unasked.
    #[serde(default)]
    pub authentication: Option<Authentication>,
}

/// A capture, cancel, refund, reversal or exchange: one operation each, by its id.
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
    /// Whether it takes from what the merchant has available: what was taken is settled, or was exchanged.
    #[serde(default)]
    pub is_from_available: bool,
    /// What the books hold for it.
    pub hold: Option<Hold>,
    /// What the merchant gives up for a refund at the current rate, in the asset that was got; `None`: the original rate.
    #[serde(default)]
    pub at_current: Option<Money>,
    /// The share of what the merchant got that a refund counts for, whatever is given up.
    #[serde(default)]
    pub share: Option<Money>,
    /// To whom a refund goes, where it is paid out: the channel gives nothing back by itself.
    #[serde(default)]
    pub delivered_to: Option<Box<PayoutTerms>>,
    /// What the channel took for paying it out.
    #[serde(default)]
    pub fee: Option<Money>,
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
    /// Before this time another attempt is of no use.
    #[serde(default)]
    pub not_before_ms: Option<u64>,
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

    /// What the merchant got in another asset, where it was exchanged.
    pub fn exchanged(&self) -> Option<&Money> {
        self.conversion.as_ref()?.given.as_ref()
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
        let disputed = || {
            let dispute = self.disputes.iter().find(|it| it.is_of(channel, reference))?;
            self.attempt(dispute.attempt).map(|attempt| attempt.operation)
        };
        attempt
            .map(|attempt| attempt.operation)
            .or_else(|| follow_up().map(|it| it.operation))
            .or_else(disputed)
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

    /// What may still be refunded: captured, less what is given back, what channels keep for disputes, and what is reserved for
    /// refunds in flight.
    pub fn refundable(&self) -> Option<Money> {
        let zero = Money::zero(self.captured.asset().clone());
        let mut rest = self.captured.minus(&self.refunded).ok()?;
        // A refund and a dispute of the same money are both the merchant's loss: nothing is left then.
        rest = rest.minus(&self.disputed()).unwrap_or(zero);
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
        self.status.is_final()
            && self.conversion.as_ref().is_none_or(|it| it.is_over())
            && self.delivery.as_ref().is_none_or(|it| it.is_over())
    }

    /// Applies a fact: statuses by their tables, amounts, ledger entries, and the event itself. On an error nothing in
    /// `change` counts: the caller drops payment and change together.
    pub fn record(&mut self, change: &mut Change, fact: Fact) -> Result<(), IllegalEvent> {
        self.status = self.status.next(&fact)?;
        if let Some(attempt) = fact.attempt().and_then(|id| self.attempt_mut(id)) {
            attempt.status = attempt.status.next(&fact)?;
            if matches!(fact, Fact::Captured { .. }) {
                attempt.captured_ms.get_or_insert(change.now_ms);
            }
        }
        if let Some(follow_up) = fact.follow_up().and_then(|id| self.follow_up_mut(id)) {
            follow_up.status = follow_up.status.next(&fact)?;
        }
        if let Fact::DisputeMoved { dispute, state, due_ms } = &fact
            && let Some(dispute) = self.dispute_mut(*dispute)
        {
            (dispute.state, dispute.due_ms) = (*state, *due_ms);
        }
        self.events += 1;
        let event = change.event(self, fact.clone());
        self.post(change, event, &fact);
        self.add_up(&fact);
        self.follow_legs(&fact);
        self.wake(change);
        Ok(())
    }

    /// What a fact means for the convert leg.
    fn follow_legs(&mut self, fact: &Fact) {
        let follow_up = fact.follow_up().and_then(|id| self.follow_up(id));
        let now = follow_up.map(|it| (it.kind, it.status));
        let is_back = self.refunded == self.captured;
        if let (
            Fact::DeliveryMoved {
                payout,
                amount,
                state,
                why,
            },
            Some(delivery),
        ) = (fact, &mut self.delivery)
        {
            delivery.payout = payout.or(delivery.payout);
            delivery.amount = Some(amount.clone());
            (delivery.state, delivery.why) = (*state, why.clone());
        }
        let Some(conversion) = &mut self.conversion else { return };
        let state = now.and_then(|(kind, status)| conversion::after(kind, status));
        conversion.state = state.unwrap_or(conversion.state);
        if matches!(
            fact,
            Fact::Captured { .. } | Fact::Converted { .. } | Fact::Refunded { .. }
        ) {
            (conversion.vain, conversion.not_before_ms) = (0, 0);
        }
        match (fact, now) {
            (Fact::Converted { operation, owed, .. }, _) => {
                conversion.operation = Some(*operation);
                conversion.given = Some(owed.clone());
            }
            (Fact::FollowUpFailed { .. }, Some((Kind::Convert, _))) => conversion.is_refused = true,
            (Fact::ConversionHeld { .. }, _) => conversion.state = LegState::Manual,
            (Fact::Failed { .. } | Fact::Canceled { .. }, _) => conversion.state = LegState::Compensated,
            (Fact::FollowUpFailed { .. }, Some((Kind::Capture | Kind::Cancel, _))) => conversion.refusals += 1,
            (Fact::Refunded { .. }, _) if conversion.state == LegState::Compensating => {
                conversion.state = if is_back {
                    LegState::Compensated
                } else {
                    LegState::Planned
                };
                // Given back once, and not all of it: not again by itself.
                conversion.is_stuck = !is_back;
            }
            (Fact::FollowUpFailed { .. }, Some((Kind::Refund, _))) if conversion.state == LegState::Compensating => {
                conversion.state = LegState::Planned;
                conversion.is_stuck = true;
            }
            _ => {}
        }
        // What is given up brings nothing that could go on.
        let is_given_up = matches!(conversion.state, LegState::Compensated | LegState::Failed);
        if let Some(delivery) = self.delivery.as_mut().filter(|it| is_given_up && !it.is_over()) {
            (delivery.state, delivery.why) = (LegState::Failed, Some("not_exchanged".into()));
        }
    }

    /// While something is to be done next, a timer says so: a kill between two legs forgets none.
    fn wake(&self, change: &mut Change) {
        if self.conversion.is_none() {
            return;
        }
        let id = OperationId::of(self.id, 0);
        change.timers_set.retain(|timer| timer.kind != TimerKind::Advance);
        let not_before_ms = self.conversion.as_ref().map_or(0, |it| it.not_before_ms);
        if next_step(self, change.now_ms.max(not_before_ms)) == Step::Rest {
            change.timers_clear.push((TimerKind::Advance, id));
        } else {
            let due = match not_before_ms > change.now_ms {
                true => not_before_ms,
                false => change.now_ms.saturating_add(ADVANCE_MS),
            };
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
            Fact::Booked {
                amount, fee, is_return, ..
            } => {
                if let Some(payout) = &mut self.payout {
                    let shown = if *is_return {
                        &mut payout.return_booked
                    } else {
                        &mut payout.booked
                    };
                    *shown = Some(amount.clone());
                    if !*is_return && (payout.fee.is_some() || !fee.is_zero()) {
                        payout.fee = Some(fee.clone());
                    }
                }
            }
            Fact::Settled { gross, .. } => {
                self.settled = sum_of(self.settled.take(), gross);
            }
            Fact::LateSuccess { attempt, amount } => {
                if let Some(attempt) = self.attempt_mut(*attempt) {
                    attempt.late = sum_of(attempt.late.take(), amount);
                }
            }
            Fact::LateSettled { attempt, amount } => {
                if let Some(attempt) = self.attempt_mut(*attempt) {
                    attempt.late_gone = sum_of(attempt.late_gone.take(), amount);
                }
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

/// One more, or the same where the sum is out of range.
fn sum_of(before: Option<Money>, more: &Money) -> Option<Money> {
    match before {
        Some(before) => Some(before.plus(more).unwrap_or(before)),
        None => Some(more.clone()),
    }
}
