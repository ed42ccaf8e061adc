//! What a merchant's or an operator's rules ask of a route. How a rule's condition is written and judged is the business of
//! the crate `rules`; here is what it may ask for.

use crate::ids::{ChannelId, MerchantId, Mode};
use crate::risk::{Effect, Flag, Limit, Measured};
use serde::{Deserialize, Serialize};

/// What a rule asks for, where its condition holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// These first, in this order. The first rule about the order counts.
    Prefer(Vec<ChannelId>),
    /// Not these.
    Exclude(Vec<ChannelId>),
    /// One of these first, by weight.
    Split(Vec<(ChannelId, u32)>),
    /// The same one first for the same card, as long as the channels stay the same.
    Sticky,
    /// At most so many attempts.
    Attempts(usize),
    /// Only with the payer authenticated, where it is a card.
    Authenticate,
    /// Not at all.
    Refuse,
    /// It goes its way, and whoever listens is told.
    Warn,
    /// So much for one card, payer, address or beneficiary, and what follows beyond that.
    Limit(Limit),
}

impl Act {
    /// Whether it says which channel comes first.
    pub fn is_about_order(&self) -> bool {
        match self {
            Self::Prefer(_) | Self::Split(_) | Self::Sticky => true,
            Self::Exclude(_) | Self::Attempts(_) | Self::Authenticate | Self::Refuse | Self::Warn | Self::Limit(_) => {
                false
            }
        }
    }

    /// Whether it protects: where its condition cannot be judged, it holds.
    pub fn protects(&self) -> bool {
        match self {
            Self::Authenticate | Self::Refuse | Self::Warn | Self::Limit(_) => true,
            Self::Prefer(_) | Self::Exclude(_) | Self::Split(_) | Self::Sticky | Self::Attempts(_) => false,
        }
    }
}

/// A rule whose condition held.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Applied {
    /// Its name in its set.
    pub rule: String,
    /// What it asks for.
    pub act: Act,
}

/// A version of a set of rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetName {
    /// From 1, for each merchant and mode.
    pub version: u32,
    /// The version of the engine that judges its conditions.
    pub engine: String,
}

/// What the rules say of one payment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rulings {
    /// Of which set; `None`: there is none.
    pub set: Option<SetName>,
    /// The rules whose condition held, in order.
    pub applied: Vec<Applied>,
    /// Rules that could not be judged, with the reason. What they ask for stands in `applied` only where that is the safer way.
    pub broken: Vec<(String, String)>,
    /// What the limits among them count.
    pub measured: Vec<Measured>,
    /// What follows of the rules about risk.
    pub flags: Vec<Flag>,
}

impl Rulings {
    /// The first rule that has that effect on the payment.
    pub fn flag(&self, effect: Effect) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.effect == effect)
    }
}

/// A version of a merchant's rules, as it was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleSet {
    /// Whose.
    pub merchant: MerchantId,
    /// For test or live.
    pub mode: Mode,
    /// From 1.
    pub version: u32,
    /// The version of the engine that judges its conditions, as it was when the set was written.
    pub engine: String,
    /// The rules and their tests, as they were written: JSON.
    pub source: String,
    /// When.
    pub created_ms: u64,
    /// By whom: the id of a key, or an operator.
    pub by: String,
}
