//! Which postings a fact makes: the one table event → entries, and what each account's hold stands for. Where a payment's
//! money lies decides what moves: with the channel until it settles, then with the merchant; in another asset once it was
//! exchanged. Which accounts a movement touches is in [`crate::ledger::rules`].

mod disputed;

use super::conversion::Conversion;
use super::dispute::Funds;
use super::fact::Fact;
use super::status::FollowUpStatus;
use super::{FollowUp, Payment};
use crate::commit::Change;
use crate::ids::{AttemptId, ChannelId, EventId, OperationId};
use crate::ledger::rules::Movement;
use crate::ledger::{Account, Hold, Line};
use crate::money::Money;
use crate::operation::{Instrument, Kind};

impl Payment {
    /// The table event → postings. Facts without money post nothing, and say so here.
    pub(super) fn post(&mut self, change: &mut Change, event: EventId, fact: &Fact) {
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
                let is_at_hand = self.is_at_hand();
                if is_at_hand {
                    self.must_cover(change, amount);
                }
                let movement = Movement::sell(&self.merchant, is_at_hand);
                let entry = self.entry(change, event, None, movement.hold(amount));
                self.keep_hold(*operation, (entry, amount.clone()), is_at_hand);
            }
            Fact::Converted {
                operation,
                channel,
                sold,
                bought,
                owed,
            } => {
                let sell = self
                    .held_movement(*operation)
                    .unwrap_or_else(|| Movement::sell(&self.merchant, false));
                let hold = self.follow_up_mut(*operation).and_then(|it| it.hold.take());
                let mut lines = sell.post(sold);
                lines.extend(Movement::exchange(&self.merchant, channel, (sold, bought, owed)));
                if let Some(hold) = &hold {
                    lines.extend(sell.release(&hold.amount));
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
                operation,
                channel,
                gross,
                fee,
                is_refund,
                ..
            } => {
                let mut lines = Movement::settled(channel, (gross, fee), *is_refund);
                lines.extend(self.freed(*operation, gross, *is_refund));
                self.entry(change, event, None, lines);
                if !is_refund {
                    self.draw_on_available(change, event);
                }
            }
            Fact::DisputeOpened { dispute, .. } | Fact::DisputeMoved { dispute, .. } => {
                self.follow_dispute(change, event, *dispute);
            }
            Fact::DisputeSettled {
                dispute,
                channel,
                gross,
                fee,
                is_return,
                ..
            } => {
                let mut lines = Movement::settled(channel, (gross, fee), !is_return);
                lines.extend(self.freed_of_dispute(*dispute, gross, *is_return));
                self.entry(change, event, None, lines);
            }
            Fact::Banked {
                channel,
                bank,
                net,
                is_credit,
                ..
            } => {
                let comes = Movement::banked(channel, bank);
                let lines = if *is_credit { comes } else { comes.turned() }.post(net);
                self.entry(change, event, None, lines);
            }
            Fact::Booked {
                bank, fee, is_return, ..
            } => {
                let lines = self.fee_not_told(bank, fee, *is_return);
                if !lines.is_empty() {
                    self.entry(change, event, None, lines);
                }
            }
            Fact::FollowUpFailed { operation, .. } => self.release_follow_up(change, event, *operation),
            Fact::Refunded { operation, amount } => self.post_refund(change, event, *operation, amount),
            Fact::LateSuccess { attempt, amount } => {
                if let Some(late) = self.late_movement(*attempt) {
                    self.entry(change, event, None, late.post(amount));
                }
            }
            Fact::LateSettled { attempt, amount } => {
                if let Some(late) = self.late_movement(*attempt) {
                    self.entry(change, event, None, late.turned().post(amount));
                }
            }
            Fact::Created { .. }
            | Fact::RateLocked { .. }
            | Fact::Requoted { .. }
            | Fact::ConversionHeld { .. }
            | Fact::Flagged { .. }
            | Fact::MethodSet
            | Fact::ActionRequired { .. }
            | Fact::Resumed { .. }
            | Fact::AttemptPending { .. }
            | Fact::OutcomeUnknown { .. }
            | Fact::CodeRequired
            | Fact::DeliveryMoved { .. }
            | Fact::Failed { .. }
            | Fact::Canceled { .. }
            | Fact::RestReleased
            | Fact::Swept { .. }
            | Fact::FollowUpStarted { .. }
            | Fact::FollowUpPending { .. }
            | Fact::FollowUpUnknown { .. } => {}
        }
    }

    fn entry(&mut self, change: &mut Change, event: EventId, resolves: Option<u32>, lines: Vec<Line>) -> u32 {
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
    pub fn is_settled_at_once(&self) -> bool {
        matches!(self.instrument, Some(Instrument::Token(_)))
    }

    /// Whether what was taken is the merchant's to pay out: a token that came, or what its channel has settled.
    fn is_at_hand(&self) -> bool {
        self.is_settled_at_once() || self.settled.as_ref() == Some(&self.captured)
    }

    fn is_exchanged(&self) -> bool {
        self.conversion.as_ref().is_some_and(|it| it.given.is_some())
    }

    /// What is at hand may be gone when it is wanted back: it must be there in the commit that holds it.
    fn must_cover(&self, change: &mut Change, amount: &Money) {
        change.covers = Some((Account::MerchantAvailable(self.merchant.clone()), amount.clone()));
    }

    pub(super) fn refund_movement(&self, channel: &ChannelId, is_at_hand: bool) -> Movement {
        if self.is_settled_at_once() {
            Movement::pay(channel, &self.merchant)
        } else {
            Movement::refund(channel, &self.merchant, is_at_hand)
        }
    }

    /// Money that came, or went out, although nothing waited for it: the same way as what is waited for, but nobody's.
    fn late_movement(&self, attempt: AttemptId) -> Option<Movement> {
        let channel = &self.attempt(attempt)?.channel;
        Some(match self.payout {
            Some(_) => Movement::unmatched_payout(channel),
            None => Movement::unmatched(channel, self.is_settled_at_once()),
        })
    }

    /// What a settlement makes available, or takes back. What was exchanged is the merchant's already, in another asset.
    fn freed(&self, operation: OperationId, gross: &Money, is_refund: bool) -> Vec<Line> {
        if self.is_exchanged() {
            return vec![];
        }
        let free = Movement::free(&self.merchant);
        if is_refund {
            let is_drawn = self.follow_up(operation).is_some_and(|refund| refund.is_from_available);
            return if is_drawn { vec![] } else { free.turned().post(gross) };
        }
        // What was given back meanwhile came out of what is settled now: it never becomes available.
        let mut given = Money::zero(gross.asset().clone());
        for refund in self
            .drawn_on_pending()
            .filter(|it| it.status == FollowUpStatus::Succeeded)
        {
            given = given.plus(&refund.amount).unwrap_or(given);
        }
        for dispute in self.disputes.iter().filter(|it| it.is_drawn_on_pending()) {
            given = given.plus(&dispute.amount).unwrap_or(given);
        }
        match (gross.minus(&given), given.minus(gross)) {
            (Ok(rest), _) if rest.is_zero() => vec![],
            (Ok(rest), _) => free.post(&rest),
            (Err(_), Ok(more)) => free.turned().post(&more),
            (Err(_), Err(_)) => vec![],
        }
    }

    /// Refunds that came out of what its channel had not settled, and that no report has named yet.
    fn drawn_on_pending(&self) -> impl Iterator<Item = &FollowUp> {
        let is_open = |it: &&FollowUp| {
            it.kind == Kind::Refund
                && !it.is_from_available
                && it.settled.is_none()
                && it.status != FollowUpStatus::Failed
        };
        self.follow_ups.iter().filter(is_open)
    }

    /// Once the money is available, what is held for refunds is held there.
    fn draw_on_available(&mut self, change: &mut Change, event: EventId) {
        if self.is_exchanged() {
            return;
        }
        for dispute in self.disputes.iter_mut().filter(|it| it.is_drawn_on_pending()) {
            dispute.funds = Funds::Taken {
                from_available: true,
                share: None,
            };
        }
        let drawn: Vec<OperationId> = self.drawn_on_pending().map(|it| it.operation).collect();
        for operation in drawn {
            let before = self.held_movement(operation);
            let Some(refund) = self.follow_up_mut(operation) else {
                continue;
            };
            refund.is_from_available = true;
            let (channel, hold) = (refund.channel.clone(), refund.hold.take());
            if let (Some(before), Some(hold)) = (before, hold) {
                let after = Movement::refund(&channel, &self.merchant, true);
                self.entry(change, event, Some(hold.entry), before.release(&hold.amount));
                let entry = self.entry(change, event, None, after.hold(&hold.amount));
                self.keep_hold(operation, (entry, hold.amount), true);
            }
        }
    }

    /// Holds what a refund takes from the merchant: the payer's currency, or, once it was exchanged, the share of what the
    /// merchant got for it.
    fn hold_for_refund(
        &mut self,
        change: &mut Change,
        event: EventId,
        (operation, attempt): (OperationId, AttemptId),
        amount: &Money,
    ) {
        let Some(channel) = self.attempt(attempt).map(|attempt| attempt.channel.clone()) else {
            return;
        };
        let is_at_hand = self.is_exchanged() || self.is_at_hand();
        let share = self.share_of_refund(amount);
        let at_current = self.follow_up(operation).and_then(|it| it.at_current.clone());
        let (movement, held) = match &share {
            Some(share) => (
                Movement::give_up(&self.merchant),
                at_current.unwrap_or_else(|| share.clone()),
            ),
            None => (self.refund_movement(&channel, is_at_hand), amount.clone()),
        };
        if is_at_hand {
            self.must_cover(change, &held);
        }
        let entry = self.entry(change, event, None, movement.hold(&held));
        // At the current rate more or less is given up; what is left for later refunds is counted at the original one.
        if let (Some(conversion), Some(share)) = (&mut self.conversion, &share) {
            conversion.taken_back = conversion
                .taken_back
                .plus(share)
                .unwrap_or_else(|_| conversion.taken_back.clone());
        }
        self.keep_hold(operation, (entry, held), is_at_hand);
        if let Some(refund) = self.follow_up_mut(operation) {
            refund.share = share;
        }
    }

    /// The share of what the merchant got that belongs to one more refund; `None` where nothing was exchanged.
    fn share_of_refund(&self, amount: &Money) -> Option<Money> {
        let conversion = self.conversion.as_ref()?;
        let given = conversion.given.as_ref()?;
        // Where the exact share is out of range, the merchant gives up what is left: never another currency.
        let rest = || given.minus(&conversion.taken_back).ok();
        // Refunded and disputed besides: both are the merchant's loss.
        let plain = || given.share(amount, &self.captured).ok();
        self.exact_share(conversion, amount).or_else(plain).or_else(rest)
    }

    fn exact_share(&self, conversion: &Conversion, amount: &Money) -> Option<Money> {
        let mut in_flight = self.in_flight(Kind::Refund).filter(|it| it.hold.is_some());
        let before = in_flight.try_fold(self.refunded.clone(), |sum, it| sum.plus(&it.amount).ok())?;
        let before = before.plus(&self.disputed()).ok()?;
        conversion.share_of_refund(&before.plus(amount).ok()?, &self.captured)
    }

    fn keep_hold(&mut self, operation: OperationId, (entry, amount): (u32, Money), is_from_available: bool) {
        if let Some(follow_up) = self.follow_up_mut(operation) {
            follow_up.hold = Some(Hold { entry, amount });
            follow_up.is_from_available = is_from_available;
        }
    }

    fn hold_for_attempt(&mut self, change: &mut Change, event: EventId, id: AttemptId, amount: &Money) {
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

    fn release_attempt(&mut self, change: &mut Change, event: EventId, id: AttemptId) {
        let Some(movement) = self.collect_movement(id) else {
            return;
        };
        if let Some(hold) = self.attempt_mut(id).and_then(|attempt| attempt.hold.take()) {
            self.entry(change, event, Some(hold.entry), movement.release(&hold.amount));
        }
    }

    /// Posts a capture and lets the hold go; what may still be captured is held anew, linked in the same commit.
    fn post_capture(&mut self, change: &mut Change, event: EventId, id: AttemptId, amount: &Money, is_final: bool) {
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

    /// What a statement shows that the bank kept, beyond what it had told of.
    fn fee_not_told(&self, bank: &ChannelId, fee: &Money, is_return: bool) -> Vec<Line> {
        // A return costs by itself, and nothing was told of that.
        let told = self.payout.as_ref().and_then(|payout| payout.fee.as_ref());
        let told = told.filter(|told| told.asset() == fee.asset() && !is_return);
        let zero = Money::zero(fee.asset().clone());
        let told = told.unwrap_or(&zero);
        match (fee.minus(told), told.minus(fee)) {
            (Ok(more), _) if !more.is_zero() => Movement::fee(bank).post(&more),
            (Err(_), Ok(less)) => Movement::fee(bank).turned().post(&less),
            _ => vec![],
        }
    }

    /// The movement that a follow-up's hold stands for.
    fn held_movement(&self, operation: OperationId) -> Option<Movement> {
        let follow_up = self.follow_up(operation)?;
        let hold = follow_up.hold.as_ref()?;
        Some(match follow_up.kind {
            Kind::Convert => Movement::sell(&self.merchant, follow_up.is_from_available),
            _ if hold.amount.asset() != self.amount.asset() => Movement::give_up(&self.merchant),
            _ => self.refund_movement(&follow_up.channel, follow_up.is_from_available),
        })
    }

    /// A refund or an exchange that was certainly not done: what was held for it is free again.
    fn release_follow_up(&mut self, change: &mut Change, event: EventId, id: OperationId) {
        let Some(movement) = self.held_movement(id) else { return };
        let Some(hold) = self.follow_up_mut(id).and_then(|it| it.hold.take()) else {
            return;
        };
        let share = self.follow_up_mut(id).and_then(|it| it.share.take());
        self.entry(change, event, Some(hold.entry), movement.release(&hold.amount));
        // A payment from before shares were kept: what was held is what was counted.
        let is_refund = self.follow_up(id).is_some_and(|it| it.kind == Kind::Refund);
        let counted = share.unwrap_or(hold.amount);
        if let Some(conversion) = self.conversion.as_mut().filter(|it| it.given.is_some() && is_refund) {
            conversion.taken_back = conversion
                .taken_back
                .minus(&counted)
                .unwrap_or_else(|_| conversion.taken_back.clone());
        }
    }

    /// A refund that is done. At the original rate the merchant gives up the share that it got; the payer's currency comes
    /// out of the router's position.
    fn post_refund(&mut self, change: &mut Change, event: EventId, id: OperationId, amount: &Money) {
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
            lines.extend(Movement::refund_from_position(&channel, self.is_settled_at_once()).post(amount));
        }
        let fee = self.follow_up(id).and_then(|it| it.fee.as_ref());
        if let Some(fee) = fee.filter(|fee| !fee.is_zero()) {
            lines.extend(Movement::fee(&channel).post(fee));
        }
        self.entry(change, event, Some(hold.entry), lines);
    }
}
