//! Which lines an event posts. One function per movement of money; each returns balanced lines or none.

use super::{Account, Layer, Line, Side};
use crate::ids::{ChannelId, MerchantId};
use crate::money::Money;

/// From where to where money moves: the debited and the credited account.
#[derive(Clone, Debug)]
pub struct Movement {
    debit: Account,
    credit: Account,
}

impl Movement {
    /// A payer's money through a channel to a merchant.
    pub fn collect(channel: &ChannelId, merchant: &MerchantId) -> Self {
        Self {
            debit: Account::ChannelReceivable(channel.clone()),
            credit: Account::MerchantPending(merchant.clone()),
        }
    }

    /// A merchant's money through a channel back to the payer.
    pub fn refund(channel: &ChannelId, merchant: &MerchantId) -> Self {
        Self {
            debit: Account::MerchantPending(merchant.clone()),
            credit: Account::ChannelReceivable(channel.clone()),
        }
    }

    /// Money that came and belongs to nothing.
    pub fn unmatched(channel: &ChannelId) -> Self {
        Self {
            debit: Account::ChannelReceivable(channel.clone()),
            credit: Account::SuspenseUnmatched,
        }
    }

    /// Such money gone back.
    pub fn unmatched_gone(channel: &ChannelId) -> Self {
        Self {
            debit: Account::SuspenseUnmatched,
            credit: Account::ChannelReceivable(channel.clone()),
        }
    }

    /// Holds the amount.
    pub fn hold(&self, amount: &Money) -> Vec<Line> {
        self.lines(Layer::Pending, amount)
    }

    /// Moves the amount.
    pub fn post(&self, amount: &Money) -> Vec<Line> {
        self.lines(Layer::Posted, amount)
    }

    /// Lets a held amount go.
    pub fn release(&self, held: &Money) -> Vec<Line> {
        self.lines(Layer::Released, held)
    }

    fn lines(&self, layer: Layer, amount: &Money) -> Vec<Line> {
        let line = |account: &Account, side| Line {
            account: account.clone(),
            side,
            layer,
            amount: amount.clone(),
        };
        vec![line(&self.debit, Side::Debit), line(&self.credit, Side::Credit)]
    }
}
