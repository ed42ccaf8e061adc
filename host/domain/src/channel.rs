//! What the router needs to know of a channel: whose it is, what it can do. How it does it is the adapter's business.

use crate::ids::{ChannelId, MerchantId, Mode};
use crate::money::Money;
use crate::operation::Kind;
use serde::{Deserialize, Serialize};

/// What an adapter says of one of its capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capability {
    /// How long the provider honours an idempotency key; `None`: it has none.
    pub idempotent_for_ms: Option<u64>,
    /// Whether status finds an operation by key, before any reference is known.
    pub found_by_key: bool,
    /// After how long "not found" is final; `None`: never.
    pub not_found_final_after_ms: Option<u64>,
    /// Whether less than the whole may be captured or refunded.
    pub partial: bool,
    /// Whether it may be done more than once.
    pub multiple: bool,
}

/// A channel as routing sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelFacts {
    /// Its name.
    pub id: ChannelId,
    /// Test or live.
    pub mode: Mode,
    /// The one merchant that it belongs to; `None`: the operator's, for all.
    pub merchant: Option<MerchantId>,
    /// Payment methods, `card`.
    pub methods: Vec<String>,
    /// Currencies it takes; empty: any.
    pub currencies: Vec<String>,
    /// The adapter version that new operations use.
    pub adapter: String,
    /// Taken out by the operator.
    pub disabled: bool,
    /// One payout at a time, from its first read to its answer: the channel numbers them itself.
    pub has_lane: bool,
    /// Whether it can be told to authenticate a card's payer, whatever the issuer would let pass.
    pub authenticates: bool,
    /// The operation kinds that it can do.
    pub kinds: Vec<Kind>,
    /// The currencies' smallest steps, in minor units, where larger than one.
    pub steps: Vec<(String, i128)>,
    /// What it takes for a payment, as its contract says.
    pub costs: Vec<CostRule>,
    /// The amounts that it takes, by currency.
    pub limits: Vec<AmountLimit>,
    /// At most so many operations at once.
    pub in_flight_max: Option<usize>,
    /// From when to when it takes no new payments.
    pub maintenance: Vec<(u64, u64)>,
}

impl ChannelFacts {
    /// A channel that can do nothing yet.
    pub fn empty(id: ChannelId, mode: Mode) -> Self {
        Self {
            id,
            mode,
            merchant: None,
            methods: vec![],
            currencies: vec![],
            adapter: String::new(),
            disabled: false,
            has_lane: false,
            authenticates: false,
            kinds: vec![],
            steps: vec![],
            costs: vec![],
            limits: vec![],
            in_flight_max: None,
            maintenance: vec![],
        }
    }

    /// What it takes for that amount, in its minor units, rounded up; `None`: nobody told the router. The first rule that fits
    /// counts.
    pub fn cost_of(&self, amount: &Money, network: Option<&str>) -> Option<i128> {
        let fits = |rule: &&CostRule| {
            let is_currency = rule
                .currency
                .as_deref()
                .is_none_or(|code| code == amount.asset().code());
            is_currency && rule.network.as_deref().is_none_or(|name| Some(name) == network)
        };
        self.costs.iter().find(fits)?.of(amount.minor())
    }
}

/// A line of a channel's price list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CostRule {
    /// For this currency; `None`: for any.
    pub currency: Option<String>,
    /// For cards of this network; `None`: for all.
    pub network: Option<String>,
    /// For each payment, in minor units.
    pub fixed: i128,
    /// Of the amount, in basis points.
    pub bps: u32,
}

impl CostRule {
    /// What it makes of that amount, rounded up.
    pub fn of(&self, minor: i128) -> Option<i128> {
        let share = minor.checked_mul(i128::from(self.bps))?.checked_add(9_999)? / 10_000;
        share.checked_add(self.fixed)
    }
}

/// The amounts that a channel takes in one currency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AmountLimit {
    currency: String,
    min: Option<i128>,
    max: Option<i128>,
}

impl AmountLimit {
    /// From and up to so many minor units; `None`, if that is nothing or everything.
    pub fn new(currency: &str, min: Option<i128>, max: Option<i128>) -> Option<Self> {
        let is_empty = min.unwrap_or(0) > max.unwrap_or(i128::MAX) || max.is_some_and(|max| max < 1);
        let is_all = min.is_none() && max.is_none();
        (!is_empty && !is_all).then(|| Self {
            currency: currency.to_owned(),
            min,
            max,
        })
    }

    /// Whether the amount is in its currency and outside it.
    pub fn excludes(&self, amount: &Money) -> bool {
        let minor = amount.minor();
        let is_inside = self.min.is_none_or(|min| minor >= min) && self.max.is_none_or(|max| minor <= max);
        amount.asset().code() == self.currency && !is_inside
    }

    /// For whoever reads why a channel was left out.
    pub fn in_words(&self) -> String {
        let currency = &self.currency;
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("from {min} to {max} minor units of {currency}"),
            (Some(min), None) => format!("at least {min} minor units of {currency}"),
            (None, Some(max)) => format!("at most {max} minor units of {currency}"),
            (None, None) => format!("any amount of {currency}"),
        }
    }
}

/// What an operator stopped: a channel takes no new payments, whatever follows earlier ones goes on; an endpoint is sent
/// nothing at all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stop {
    /// The channel.
    pub channel: ChannelId,
    /// One of its endpoints; `None`: the channel.
    pub endpoint: Option<String>,
    /// Who stopped it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at_ms: u64,
}

impl Stop {
    /// Whether both are about the same thing.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.channel, &self.endpoint) == (&other.channel, &other.endpoint)
    }
}
