//! A channel as the operator configures it: one account at a provider through an adapter. What is not named here is not
//! granted.

use portolan_domain::channel::{AmountLimit, CostRule};
use portolan_domain::ids::{ChannelId, MerchantId, Mode};

/// Where an endpoint is.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// The name that the adapter asks for.
    pub name: String,
    /// Scheme, host and port.
    pub url: String,
    /// Whether addresses that are not public may be connected to.
    pub allow_private: bool,
}

/// A channel.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// Its name.
    pub id: ChannelId,
    /// Test or live.
    pub mode: Mode,
    /// The one merchant that it belongs to; `None`: the operator's.
    pub merchant: Option<MerchantId>,
    /// The adapter's configured name.
    pub adapter: String,
    /// Where the granted endpoints are.
    pub endpoints: Vec<EndpointConfig>,
    /// Names of the secrets that the vault has for it.
    pub secrets: Vec<String>,
    /// Names of the keys that the vault has for it.
    pub keys: Vec<String>,
    /// Requests that the operator grants as harmless: `POST /v1/sessions`.
    pub harmless: Vec<String>,
    /// Whether card data may be filled in where the adapter asks.
    pub card_data: bool,
    /// Currencies it takes; empty: any.
    pub currencies: Vec<String>,
    /// The adapter's settings, JSON.
    pub settings: String,
    /// Taken out by the operator.
    pub disabled: bool,
    /// What routing has to know of it.
    pub routing: ChannelRouting,
}

/// What an operator says of a channel for those who choose among several.
#[derive(Clone, Debug, Default)]
pub struct ChannelRouting {
    /// Its price list.
    pub costs: Vec<CostRule>,
    /// The amounts that it takes, by currency.
    pub limits: Vec<AmountLimit>,
    /// At most so many operations at once.
    pub in_flight_max: Option<usize>,
    /// From when to when it takes no new payments.
    pub maintenance: Vec<(u64, u64)>,
}
