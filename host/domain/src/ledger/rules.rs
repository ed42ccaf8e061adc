//! From where to where money moves: one function per movement, each of balanced lines. Which fact makes which is in
//! [`crate::payment`].

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

    /// A payer's money that lies at the channel as soon as it comes.
    pub fn collect_settled(channel: &ChannelId, merchant: &MerchantId) -> Self {
        Self::returned(channel, merchant)
    }

    /// A merchant's money through a channel back to the payer: of what the channel owes, or of what it has settled.
    pub fn refund(channel: &ChannelId, merchant: &MerchantId, is_settled: bool) -> Self {
        Self {
            debit: purse(merchant, is_settled),
            credit: Account::ChannelReceivable(channel.clone()),
        }
    }

    /// A merchant's money out to a beneficiary, from what lies at the channel.
    pub fn pay(channel: &ChannelId, merchant: &MerchantId) -> Self {
        Self {
            debit: Account::MerchantAvailable(merchant.clone()),
            credit: Account::ChannelPrefund(channel.clone()),
        }
    }

    /// A payout's money back.
    pub fn returned(channel: &ChannelId, merchant: &MerchantId) -> Self {
        Self {
            debit: Account::ChannelPrefund(channel.clone()),
            credit: Account::MerchantAvailable(merchant.clone()),
        }
    }

    /// A merchant's money that was paid out although its attempt was closed.
    pub fn unmatched_payout(channel: &ChannelId) -> Self {
        Self {
            debit: Account::SuspenseUnmatched,
            credit: Account::ChannelPrefund(channel.clone()),
        }
    }

    /// A merchant's money into the router's position: what an exchange takes, of what is collected or settled.
    pub fn sell(merchant: &MerchantId, is_settled: bool) -> Self {
        Self {
            debit: purse(merchant, is_settled),
            credit: Account::FxPosition,
        }
    }

    /// What a merchant got by an exchange, back into the router's position: a refund at the original rate.
    pub fn give_up(merchant: &MerchantId) -> Self {
        Self {
            debit: Account::MerchantAvailable(merchant.clone()),
            credit: Account::FxPosition,
        }
    }

    /// The payer's currency for such a refund, out of the router's position: of what the channel owes, or of what lies there.
    pub fn refund_from_position(channel: &ChannelId, is_settled: bool) -> Self {
        Self::between(Account::FxPosition, held_at(channel, is_settled))
    }

    fn between(debit: Account, credit: Account) -> Self {
        Self { debit, credit }
    }

    /// Money that came and belongs to nothing: the channel owes it, or it lies there.
    pub fn unmatched(channel: &ChannelId, is_settled: bool) -> Self {
        Self::between(held_at(channel, is_settled), Account::SuspenseUnmatched)
    }

    /// What of a merchant's money is settled: it can be paid out.
    pub fn free(merchant: &MerchantId) -> Self {
        Self::between(purse(merchant, false), purse(merchant, true))
    }

    /// The same the other way.
    pub fn turned(self) -> Self {
        Self::between(self.credit, self.debit)
    }

    /// An exchange, as linked transfers of the entry that sells into the position: what is sold goes on to the desk, what is
    /// bought comes through to the merchant, and what is left of it is the router's share, or its loss.
    pub fn exchange(
        merchant: &MerchantId,
        desk: &ChannelId,
        (sold, bought, owed): (&Money, &Money, &Money),
    ) -> Vec<Line> {
        let prefund = || Account::ChannelPrefund(desk.clone());
        let available = Account::MerchantAvailable(merchant.clone());
        let mut lines = Self::between(Account::FxPosition, prefund()).post(sold);
        lines.extend(Self::between(prefund(), Account::FxPosition).post(bought));
        lines.extend(Self::between(Account::FxPosition, available).post(owed));
        let share = bought.minus(owed).ok().filter(|share| !share.is_zero());
        let loss = owed.minus(bought).ok().filter(|loss| !loss.is_zero());
        if let Some(share) = share {
            lines.extend(Self::between(Account::FxPosition, Account::FxSpread).post(&share));
        }
        if let Some(loss) = loss {
            lines.extend(Self::between(Account::FxGainLoss, Account::FxPosition).post(&loss));
        }
        lines
    }

    /// A channel's settlement: what it owed is on its way to the bank, less its fee. Of a refund everything goes the other
    /// way, but the fee.
    pub fn settled(channel: &ChannelId, (gross, fee): (&Money, &Money), is_refund: bool) -> Vec<Line> {
        let transit = || Account::InTransit(channel.clone());
        let comes = Self::between(transit(), Account::ChannelReceivable(channel.clone()));
        let mut lines = if is_refund { comes.turned() } else { comes }.post(gross);
        if !fee.is_zero() {
            lines.extend(Self::between(Account::FeesChannel, transit()).post(fee));
        }
        lines
    }

    /// What a channel had settled lies at the bank now.
    pub fn banked(channel: &ChannelId, bank: &ChannelId) -> Self {
        Self::between(
            Account::ChannelPrefund(bank.clone()),
            Account::InTransit(channel.clone()),
        )
    }

    /// What a channel took for its work, out of what lies there.
    pub fn fee(channel: &ChannelId) -> Self {
        Self::between(Account::FeesChannel, Account::ChannelPrefund(channel.clone()))
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

/// Where a channel's money is: what it owes, or what lies there.
fn held_at(channel: &ChannelId, is_settled: bool) -> Account {
    match is_settled {
        true => Account::ChannelPrefund(channel.clone()),
        false => Account::ChannelReceivable(channel.clone()),
    }
}

/// Which of the merchant's accounts: what is settled can be paid out.
fn purse(merchant: &MerchantId, is_settled: bool) -> Account {
    match is_settled {
        true => Account::MerchantAvailable(merchant.clone()),
        false => Account::MerchantPending(merchant.clone()),
    }
}
