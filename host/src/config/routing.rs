//! What the configuration says about routes: the router's policy, and each channel's price list, amounts and maintenance.

use super::DAY_MS;
use portolan_channels::ChannelRouting;
use portolan_domain::channel::{AmountLimit, CostRule};
use portolan_domain::routing::explore::ExploreLimit;
use portolan_engine::RoutingPolicy;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCost {
    currency: Option<String>,
    network: Option<String>,
    #[serde(default)]
    fixed: u64,
    #[serde(default)]
    bps: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAmounts {
    min: Option<u64>,
    max: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWindow {
    from: String,
    until: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRouting {
    margin_bps: u32,
    blocked_days: u64,
    explore: BTreeMap<String, RawExplore>,
}

impl Default for RawRouting {
    fn default() -> Self {
        Self {
            margin_bps: 2_000,
            blocked_days: 365,
            explore: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExplore {
    payment_max: u64,
    day_max: u64,
}

/// How payments are routed.
pub(super) fn policy(raw: RawRouting, known: &dyn Fn(&str) -> bool) -> Result<RoutingPolicy, String> {
    if !(1..=10_000).contains(&raw.margin_bps) {
        return Err(format!("routing.margin_bps = {}: from 1 to 10000", raw.margin_bps));
    }
    if !(1..=3_650).contains(&raw.blocked_days) {
        return Err(format!("routing.blocked_days = {}: from 1 to 3650", raw.blocked_days));
    }
    for currency in raw.explore.keys() {
        check_currency("routing.explore", currency, known)?;
    }
    let explore = |(currency, it): (String, RawExplore)| {
        let limit = ExploreLimit {
            payment_max: i128::from(it.payment_max),
            day_max: i128::from(it.day_max),
        };
        (currency, limit)
    };
    Ok(RoutingPolicy {
        declines: crate::declines::load().map_err(|error| format!("the table of declines: {error:#}"))?,
        blocked_ms: raw.blocked_days.saturating_mul(DAY_MS),
        margin_bps: raw.margin_bps,
        explore: raw.explore.into_iter().map(explore).collect(),
    })
}

/// What routing has to know of a channel: price list, amounts, operations at once, maintenance.
pub(super) fn channel(
    (costs, amounts, in_flight_max, maintenance): (
        Vec<RawCost>,
        BTreeMap<String, RawAmounts>,
        Option<usize>,
        Vec<RawWindow>,
    ),
    known: &dyn Fn(&str) -> bool,
) -> Result<ChannelRouting, String> {
    if in_flight_max == Some(0) {
        return Err("in_flight_max = 0: from 1; `disabled = true` takes it out".into());
    }
    for it in &costs {
        if it.bps > 10_000 {
            return Err(format!("cost: bps = {}: at most 10000", it.bps));
        }
        if let Some(currency) = &it.currency {
            check_currency("cost", currency, known)?;
        }
    }
    for currency in amounts.keys() {
        check_currency("amounts", currency, known)?;
    }
    Ok(ChannelRouting {
        costs: costs.into_iter().map(cost).collect(),
        limits: limits(amounts)?,
        in_flight_max,
        maintenance: windows(maintenance)?,
    })
}

fn check_currency(place: &str, code: &str, known: &dyn Fn(&str) -> bool) -> Result<(), String> {
    match known(code) {
        true => Ok(()),
        false => Err(format!("{place}: {code:?} is no ISO 4217 currency and no [[token]]")),
    }
}

fn cost(raw: RawCost) -> CostRule {
    CostRule {
        currency: raw.currency,
        network: raw.network,
        fixed: i128::from(raw.fixed),
        bps: raw.bps,
    }
}

/// `EUR = { min = 100, max = 500000 }`: minor units.
fn limits(raw: BTreeMap<String, RawAmounts>) -> Result<Vec<AmountLimit>, String> {
    let limit = |(currency, it): (String, RawAmounts)| {
        AmountLimit::new(&currency, it.min.map(i128::from), it.max.map(i128::from))
            .ok_or_else(|| format!("amounts.{currency}: a min, a max above it, or both"))
    };
    raw.into_iter().map(limit).collect()
}

fn windows(raw: Vec<RawWindow>) -> Result<Vec<(u64, u64)>, String> {
    let window = |it: RawWindow| {
        let time = |name: &str, text: &str| time_ms(text).map_err(|error| format!("maintenance.{name}: {error}"));
        let (from, until) = (time("from", &it.from)?, time("until", &it.until)?);
        if from < until {
            Ok((from, until))
        } else {
            Err(format!("maintenance: {} is not before {}", it.from, it.until))
        }
    };
    raw.into_iter().map(window).collect()
}

/// Milliseconds since 1970 of a time as RFC 3339 writes it.
pub fn time_ms(text: &str) -> Result<u64, String> {
    let parsed = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    let parsed = parsed.map_err(|_| format!("{text:?} is no time such as 2026-12-01T02:00:00Z"))?;
    u64::try_from(parsed.unix_timestamp_nanos() / 1_000_000).map_err(|_| format!("{text:?} is before 1970"))
}
