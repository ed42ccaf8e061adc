//! Double entry: accounts, balanced entries with a pending and a posted layer, balances as sums of entries. From
//! where to where money moves is in [`rules`], which fact posts what in [`crate::payment`].

pub mod rules;

use crate::ids::{ChannelId, EventId, MerchantId, Mode, PaymentId};
use crate::money::{Asset, Money};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// An account of the chart, in one asset and mode.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Account {
    /// What the merchant is owed and the channel has not settled yet.
    MerchantPending(MerchantId),
    /// What the merchant may have paid out now.
    MerchantAvailable(MerchantId),
    /// What the channel owes.
    ChannelReceivable(ChannelId),
    /// What the channel has settled and a bank statement has not shown yet.
    InTransit(ChannelId),
    /// What lies at the channel for the router to dispose of: an exchange's or a bank's account.
    ChannelPrefund(ChannelId),
    /// What the router has bought and not passed on, or sold and not yet got: nothing, once every exchange is closed.
    FxPosition,
    /// What the router earns on exchanges.
    FxSpread,
    /// What the router won or lost where it kept a promise at another rate.
    FxGainLoss,
    /// What channels take for their work.
    FeesChannel,
    /// Money that came and belongs to nothing yet.
    SuspenseUnmatched,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MerchantPending(merchant) => write!(f, "merchant:{merchant}:pending"),
            Self::MerchantAvailable(merchant) => write!(f, "merchant:{merchant}:available"),
            Self::ChannelReceivable(channel) => write!(f, "channel:{channel}:receivable"),
            Self::InTransit(channel) => write!(f, "channel:{channel}:in_transit"),
            Self::ChannelPrefund(channel) => write!(f, "channel:{channel}:prefund"),
            Self::FxPosition => f.write_str("fx:position"),
            Self::FxSpread => f.write_str("fx:spread"),
            Self::FxGainLoss => f.write_str("fx:gain_loss"),
            Self::FeesChannel => f.write_str("fees:channel"),
            Self::SuspenseUnmatched => f.write_str("suspense:unmatched"),
        }
    }
}

/// Debit or credit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Side {
    /// Debit.
    Debit,
    /// Credit.
    Credit,
}

/// Which layer of the books a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Layer {
    /// Held, not yet moved.
    Pending,
    /// A held amount let go: undoes a pending line.
    Released,
    /// Moved.
    Posted,
}

/// One line of an entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The account.
    pub account: Account,
    /// Debit or credit.
    pub side: Side,
    /// The layer.
    pub layer: Layer,
    /// How much.
    pub amount: Money,
}

/// A balanced set of lines for one event. Immutable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The payment.
    pub payment: PaymentId,
    /// Counts the payment's entries from 1.
    pub number: u32,
    /// The event that caused it.
    pub event: EventId,
    /// Test or live.
    pub mode: Mode,
    /// When.
    pub at_ms: u64,
    /// The pending entry of the same payment that this one resolves.
    pub resolves: Option<u32>,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Entry {
    /// Whether a line of it stands on an account of that merchant.
    pub fn touches(&self, merchant: &MerchantId) -> bool {
        self.lines.iter().any(|line| line.account.merchant() == Some(merchant))
    }
}

/// What an account holds in one asset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Balance {
    /// Posted debits.
    pub debit: i128,
    /// Posted credits.
    pub credit: i128,
    /// Held debits.
    pub pending_debit: i128,
    /// Held credits.
    pub pending_credit: i128,
}

/// The books do not add up.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LedgerError {
    /// Debits and credits of an entry differ.
    #[error("entry {1} of {0} is not balanced in {2}")]
    Unbalanced(PaymentId, u32, String),
    /// Outside 128 bits.
    #[error("a balance is out of range")]
    OutOfRange,
}

impl Account {
    /// The merchant whose account it is.
    pub fn merchant(&self) -> Option<&MerchantId> {
        match self {
            Self::MerchantPending(merchant) | Self::MerchantAvailable(merchant) => Some(merchant),
            Self::ChannelReceivable(_)
            | Self::InTransit(_)
            | Self::ChannelPrefund(_)
            | Self::FxPosition
            | Self::FxSpread
            | Self::FxGainLoss
            | Self::FeesChannel
            | Self::SuspenseUnmatched => None,
        }
    }
}

impl Balance {
    /// What an account of a merchant still has to give: posted, less what is held for what is on its way.
    pub fn to_give(&self) -> i128 {
        self.credit
            .saturating_sub(self.debit)
            .saturating_sub(self.pending_debit)
    }

    /// Adds one line.
    pub fn add(&mut self, line: &Line) -> Result<(), LedgerError> {
        let (field, amount) = match (line.layer, line.side) {
            (Layer::Posted, Side::Debit) => (&mut self.debit, line.amount.minor()),
            (Layer::Posted, Side::Credit) => (&mut self.credit, line.amount.minor()),
            (Layer::Pending, Side::Debit) => (&mut self.pending_debit, line.amount.minor()),
            (Layer::Pending, Side::Credit) => (&mut self.pending_credit, line.amount.minor()),
            (Layer::Released, Side::Debit) => (&mut self.pending_debit, -line.amount.minor()),
            (Layer::Released, Side::Credit) => (&mut self.pending_credit, -line.amount.minor()),
        };
        *field = field.checked_add(amount).ok_or(LedgerError::OutOfRange)?;
        Ok(())
    }

    /// Adds another balance.
    pub fn merge(&mut self, other: &Self) -> Result<(), LedgerError> {
        let sum = |a: i128, b: i128| a.checked_add(b).ok_or(LedgerError::OutOfRange);
        *self = Self {
            debit: sum(self.debit, other.debit)?,
            credit: sum(self.credit, other.credit)?,
            pending_debit: sum(self.pending_debit, other.pending_debit)?,
            pending_credit: sum(self.pending_credit, other.pending_credit)?,
        };
        Ok(())
    }
}

/// Balances by account and asset.
pub type Balances = BTreeMap<(Account, Asset), Balance>;

impl Entry {
    /// Debits equal credits, per asset and layer.
    pub fn check_balanced(&self) -> Result<(), LedgerError> {
        let mut sums: BTreeMap<(&Asset, u8), (i128, i128)> = BTreeMap::new();
        for line in &self.lines {
            let sum = sums.entry((line.amount.asset(), line.layer as u8)).or_default();
            let field = if line.side == Side::Debit {
                &mut sum.0
            } else {
                &mut sum.1
            };
            *field = field.checked_add(line.amount.minor()).ok_or(LedgerError::OutOfRange)?;
        }
        match sums.iter().find(|(_, (debit, credit))| debit != credit) {
            Some(((asset, _), _)) => Err(LedgerError::Unbalanced(
                self.payment,
                self.number,
                asset.code().to_owned(),
            )),
            None => Ok(()),
        }
    }

    /// Adds its lines to the balances.
    pub fn add_to(&self, balances: &mut Balances) -> Result<(), LedgerError> {
        self.check_balanced()?;
        for line in &self.lines {
            balances
                .entry((line.account.clone(), line.amount.asset().clone()))
                .or_default()
                .add(line)?;
        }
        Ok(())
    }
}

/// A held amount that is not resolved yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// The number of the pending entry.
    pub entry: u32,
    /// How much is held.
    pub amount: Money,
}
