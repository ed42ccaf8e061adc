//! What disputes move: out of the merchant's purse while the channel keeps the money, back once it is won, and from what is settled
//! to what is not, and on, as the channel's report names it.

use crate::commit::Change;
use crate::ids::{ChannelId, DisputeId, EventId};
use crate::ledger::rules::Movement;
use crate::ledger::{Line, Side};
use crate::money::Money;
use crate::payment::Payment;
use crate::payment::dispute::{Dispute, DisputeState, Funds};

impl Payment {
    /// A dispute takes the money from the merchant, or gives it back: at the original rate, once it was exchanged. No balance
    /// stands in its way, for the channel has taken it already.
    pub(super) fn follow_dispute(&mut self, change: &mut Change, event: EventId, id: DisputeId) {
        let Some(dispute) = self.dispute(id).cloned() else {
            return;
        };
        let is_at_hand = self.is_at_hand();
        let (lines, funds) = match (dispute.state.keeps_money(), dispute.funds) {
            (true, Funds::Untouched | Funds::Back { .. }) => {
                let share = self.share_of_refund(&dispute.amount);
                let lines = self.disputed_lines(&dispute.channel, (&dispute.amount, share.as_ref()), is_at_hand);
                let from_available = is_at_hand || share.is_some();
                (lines, Funds::Taken { from_available, share })
            }
            // Only what is won is given back: an inquiry after a dispute moves nothing.
            (false, Funds::Taken { .. }) if dispute.state != DisputeState::Won => return,
            (false, Funds::Taken { share, .. }) => {
                let was_pending = self.dispute(id).is_some_and(Dispute::is_drawn_on_pending);
                let lines = self.disputed_lines(&dispute.channel, (&dispute.amount, share.as_ref()), is_at_hand);
                let to_available = is_at_hand || share.is_some();
                let funds = Funds::Back {
                    to_available,
                    was_pending,
                };
                (turned(lines), funds)
            }
            (true, Funds::Taken { .. }) | (false, Funds::Untouched | Funds::Back { .. }) => return,
        };
        self.entry(change, event, None, lines);
        let share = |funds: &Funds| match funds {
            Funds::Taken { share, .. } => share.clone(),
            Funds::Untouched | Funds::Back { .. } => None,
        };
        let (before, after) = (self.dispute(id).and_then(|it| share(&it.funds)), share(&funds));
        if let Some(conversion) = &mut self.conversion {
            let taken = match (before, after) {
                (_, Some(more)) => conversion.taken_back.plus(&more),
                (Some(less), None) => conversion.taken_back.minus(&less),
                (None, None) => Ok(conversion.taken_back.clone()),
            };
            conversion.taken_back = taken.unwrap_or_else(|_| conversion.taken_back.clone());
        }
        if let Some(dispute) = self.dispute_mut(id) {
            dispute.funds = funds;
        }
    }

    fn disputed_lines(
        &self,
        channel: &ChannelId,
        (amount, share): (&Money, Option<&Money>),
        is_at_hand: bool,
    ) -> Vec<Line> {
        match share {
            Some(share) => {
                let mut lines = match share.is_zero() {
                    true => vec![],
                    false => Movement::give_up(&self.merchant).post(share),
                };
                lines.extend(Movement::refund_from_position(channel, self.is_settled_at_once()).post(amount));
                lines
            }
            None => self.refund_movement(channel, is_at_hand).post(amount),
        }
    }

    /// What a report's line about a dispute moves between what is settled and what is not.
    pub(super) fn freed_of_dispute(&mut self, id: DisputeId, gross: &Money, is_return: bool) -> Vec<Line> {
        let is_exchanged = self.is_exchanged();
        let Some(dispute) = self.dispute_mut(id) else {
            return vec![];
        };
        let is_pending = match (is_return, &dispute.funds) {
            // Taken and given back before any line came: this line and the one that gives it back cancel.
            (false, Funds::Back { was_pending, .. }) => *was_pending,
            (false, Funds::Untouched | Funds::Taken { .. }) => dispute.is_drawn_on_pending(),
            (true, Funds::Back { to_available, .. }) => !to_available,
            (true, Funds::Untouched | Funds::Taken { .. }) => false,
        };
        match is_return {
            true => dispute.settled_back = true,
            false => dispute.settled_out = true,
        }
        let free = Movement::free(&self.merchant);
        match (is_pending && !is_exchanged, is_return) {
            (true, true) => free.post(gross),
            (true, false) => free.turned().post(gross),
            (false, _) => vec![],
        }
    }
}

/// The same lines the other way.
fn turned(lines: Vec<Line>) -> Vec<Line> {
    let other = |side| match side {
        Side::Debit => Side::Credit,
        Side::Credit => Side::Debit,
    };
    lines
        .into_iter()
        .map(|line| Line {
            side: other(line.side),
            ..line
        })
        .collect()
}
