//! Which channels may take a payment, in which order, and why the others may not. Pure; scores come later.

use crate::channel::ChannelFacts;
use crate::ids::{ChannelId, MerchantId, Mode};
use crate::money::Money;
use crate::operation::Kind;

/// What a payment is to routing.
#[derive(Clone, Debug)]
pub struct RouteFacts<'a> {
    /// Whose it is.
    pub merchant: &'a MerchantId,
    /// Test or live.
    pub mode: Mode,
    /// The payment method's kind, `card`.
    pub method: &'a str,
    /// The amount.
    pub amount: &'a Money,
    /// What is to be done: an authorization, or a payout.
    pub kind: Kind,
    /// Whether the capture comes later.
    pub manual_capture: bool,
}

/// The ordered choice of channels, with a reason for every one left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Eligible channels with their adapter versions, in configured order.
    pub channels: Vec<(ChannelId, String)>,
    /// The others, with the reason.
    pub excluded: Vec<(ChannelId, String)>,
}

/// Filters by hard eligibility and keeps the configured order.
pub fn rank(facts: &RouteFacts<'_>, channels: &[ChannelFacts]) -> Route {
    let mut route = Route::default();
    for channel in channels.iter().filter(|channel| channel.mode == facts.mode) {
        match exclusion(facts, channel) {
            None => route.channels.push((channel.id.clone(), channel.adapter.clone())),
            Some(reason) => route.excluded.push((channel.id.clone(), reason)),
        }
    }
    route
}

fn exclusion(facts: &RouteFacts<'_>, channel: &ChannelFacts) -> Option<String> {
    let currency = facts.amount.asset().code();
    let step = channel
        .steps
        .iter()
        .find(|(code, _)| code == currency)
        .map_or(1, |(_, step)| *step);
    if channel.disabled {
        Some("taken out by the operator".into())
    } else if channel.merchant.as_ref().is_some_and(|owner| owner != facts.merchant) {
        Some("belongs to another merchant".into())
    } else if !channel.methods.iter().any(|method| method == facts.method) {
        Some(format!("does not take {}", facts.method))
    } else if !channel.kinds.contains(&facts.kind) {
        Some(match facts.kind {
            Kind::Pay => "cannot pay out".into(),
            _ => "cannot take payments".into(),
        })
    } else if !channel.currencies.is_empty() && !channel.currencies.iter().any(|code| code == currency) {
        Some(format!("does not take {currency}"))
    } else if facts.amount.minor().checked_rem(step) != Some(0) {
        Some(format!("takes {currency} in steps of {step} minor units"))
    } else if facts.manual_capture && !channel.kinds.contains(&Kind::Capture) {
        Some("cannot capture later".into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use crate::money::Asset;

    #[test]
    fn each_reason_is_named() {
        let merchant = Name::parse("shop").unwrap();
        let amount = Money::new(1050, Asset::currency("EUR").unwrap()).unwrap();
        let facts = RouteFacts {
            merchant: &merchant,
            mode: Mode::Test,
            method: "card",
            amount: &amount,
            kind: Kind::Authorize,
            manual_capture: true,
        };
        let good = ChannelFacts {
            id: Name::parse("good").unwrap(),
            mode: Mode::Test,
            merchant: None,
            methods: vec!["card".into()],
            currencies: vec![],
            adapter: "d".into(),
            disabled: false,
            has_lane: false,
            kinds: vec![Kind::Authorize, Kind::Capture],
            steps: vec![],
        };
        let reason = |change: fn(&mut ChannelFacts)| {
            let mut channel = good.clone();
            change(&mut channel);
            rank(&facts, &[channel])
                .excluded
                .into_iter()
                .map(|(_, reason)| reason)
                .collect::<String>()
        };
        assert_eq!(rank(&facts, std::slice::from_ref(&good)).channels.len(), 1);
        assert_eq!(reason(|c| c.disabled = true), "taken out by the operator");
        assert_eq!(
            reason(|c| c.merchant = Name::parse("other")),
            "belongs to another merchant"
        );
        assert_eq!(reason(|c| c.methods = vec!["wallet".into()]), "does not take card");
        assert_eq!(reason(|c| c.currencies = vec!["USD".into()]), "does not take EUR");
        assert_eq!(
            reason(|c| c.steps = vec![("EUR".into(), 100)]),
            "takes EUR in steps of 100 minor units"
        );
        assert_eq!(reason(|c| c.kinds = vec![Kind::Authorize]), "cannot capture later");
        assert_eq!(
            rank(
                &facts,
                &[ChannelFacts {
                    mode: Mode::Live,
                    ..good
                }]
            ),
            Route::default()
        );
    }
}
