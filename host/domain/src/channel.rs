//! What the router needs to know of a channel: whose it is, what it can do. How it does it is the adapter's business.

use crate::ids::{ChannelId, MerchantId, Mode};
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
    /// The operation kinds that it can do.
    pub kinds: Vec<Kind>,
    /// The currencies' smallest steps, in minor units, where larger than one.
    pub steps: Vec<(String, i128)>,
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
