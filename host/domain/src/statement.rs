//! A merchant's statement of account: what was booked in one asset in a time, and the balances before and after. Pure sums
//! over the books; how it is written is the API's.

use crate::ids::{EventId, MerchantId, PaymentId};
use crate::ledger::{Account, Balances, Entry, Layer, LedgerError, Line, Side};
use crate::money::Asset;
use crate::payment::fact::Event;
use crate::ports::History;
use std::borrow::Cow;

/// Which of a merchant's accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purse {
    /// Taken, and neither settled nor exchanged yet.
    Pending,
    /// To be paid out.
    Available,
}

impl Purse {
    /// Both, in the order in which money goes through them.
    pub const ALL: [Self; 2] = [Self::Pending, Self::Available];

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
        }
    }

    fn account(self, merchant: &MerchantId) -> Account {
        match self {
            Self::Pending => Account::MerchantPending(merchant.clone()),
            Self::Available => Account::MerchantAvailable(merchant.clone()),
        }
    }
}

/// What is in each purse, in minor units; below zero where more was given back than was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Purses {
    /// Pending.
    pub pending: i128,
    /// Available.
    pub available: i128,
}

impl Purses {
    /// One of them.
    pub fn of(&self, purse: Purse) -> i128 {
        match purse {
            Purse::Pending => self.pending,
            Purse::Available => self.available,
        }
    }

    fn add(&mut self, purse: Purse, minor: i128) -> Result<(), LedgerError> {
        let field = match purse {
            Purse::Pending => &mut self.pending,
            Purse::Available => &mut self.available,
        };
        *field = field.checked_add(minor).ok_or(LedgerError::OutOfRange)?;
        Ok(())
    }

    fn kept(balances: &Balances, merchant: &MerchantId, asset: &Asset) -> Result<Self, LedgerError> {
        let mut purses = Self::default();
        for purse in Purse::ALL {
            let kept = balances.get(&(purse.account(merchant), asset.clone())).copied();
            let kept = kept.unwrap_or_default();
            let net = kept.credit.checked_sub(kept.debit).ok_or(LedgerError::OutOfRange)?;
            purses.add(purse, net)?;
        }
        Ok(purses)
    }
}

/// One line on one of the merchant's accounts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Posting {
    /// The payment, or the payout.
    pub payment: PaymentId,
    /// Whether it goes out.
    pub is_payout: bool,
    /// The event that caused it.
    pub event: EventId,
    /// That event's name.
    pub name: Cow<'static, str>,
    /// When.
    pub at_ms: u64,
    /// Where.
    pub purse: Purse,
    /// Held, let go, or moved.
    pub layer: Layer,
    /// Minor units: above zero in the merchant's favour.
    pub minor: i128,
    /// Of what.
    pub asset: Asset,
}

/// What was booked for a merchant in one asset from one time until another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The asset.
    pub asset: Asset,
    /// From when, in milliseconds since 1970.
    pub from_ms: u64,
    /// Until when, that moment excluded.
    pub until_ms: u64,
    /// What was there at first.
    pub opening: Purses,
    /// What was there at the end.
    pub closing: Purses,
    /// What moved, in order of writing, with what its account held after it.
    pub postings: Vec<(Posting, i128)>,
}

/// The lines of an entry that stand on the merchant's accounts.
pub fn postings<'a>(
    entry: &'a Entry,
    event: &'a Event,
    merchant: &'a MerchantId,
) -> impl Iterator<Item = Posting> + 'a {
    let on = |line: &Line| {
        Purse::ALL
            .into_iter()
            .find(|purse| line.account == purse.account(merchant))
    };
    let all = entry.lines.iter().filter_map(move |line| Some((line, on(line)?)));
    all.map(move |(line, purse)| Posting {
        payment: entry.payment,
        is_payout: event.is_payout,
        event: event.id,
        name: event.name(),
        at_ms: entry.at_ms,
        purse,
        layer: line.layer,
        minor: match line.side {
            Side::Credit => line.amount.minor(),
            Side::Debit => -line.amount.minor(),
        },
        asset: line.amount.asset().clone(),
    })
}

/// The statement of a history that goes back to `from_ms`. The opening balance is what the books hold less what came since, so
/// a statement joins on to the one before it to the last unit.
pub fn statement(
    history: &History,
    (merchant, asset): (&MerchantId, &Asset),
    (from_ms, until_ms): (u64, u64),
) -> Result<Statement, LedgerError> {
    let since: Vec<Posting> = history
        .entries
        .iter()
        .flat_map(|(entry, event)| postings(entry, event, merchant))
        .filter(|it| it.layer == Layer::Posted && it.asset == *asset && it.at_ms >= from_ms)
        .collect();
    let mut opening = Purses::kept(&history.balances, merchant, asset)?;
    for posting in &since {
        opening.add(posting.purse, -posting.minor)?;
    }
    let mut closing = opening;
    let mut postings = vec![];
    for posting in since.into_iter().filter(|it| it.at_ms < until_ms) {
        closing.add(posting.purse, posting.minor)?;
        let after = closing.of(posting.purse);
        postings.push((posting, after));
    }
    Ok(Statement {
        asset: asset.clone(),
        from_ms,
        until_ms,
        opening,
        closing,
        postings,
    })
}
