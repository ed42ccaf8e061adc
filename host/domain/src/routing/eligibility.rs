//! Hard eligibility: what no rule and no score can overrule.

use super::RouteFacts;
use crate::channel::ChannelFacts;
use crate::operation::Kind;

/// Why the channel cannot take the payment; `None`: it can.
pub(super) fn exclusion(
    facts: &RouteFacts<'_>,
    channel: &ChannelFacts,
    (must_authenticate, now_ms): (bool, u64),
) -> Option<String> {
    let currency = facts.amount.asset().code();
    let step = channel
        .steps
        .iter()
        .find(|(code, _)| code == currency)
        .map_or(1, |(_, step)| *step);
    let is_off = |(from, until): &&(u64, u64)| (*from..*until).contains(&now_ms);
    if channel.disabled {
        Some("taken out by the operator".into())
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
    } else if must_authenticate && !channel.authenticates {
        Some("cannot be told to authenticate the payer".into())
    } else if let Some(limit) = channel.limits.iter().find(|limit| limit.excludes(facts.amount)) {
        Some(format!("takes {} only", limit.in_words()))
    } else {
        let until = channel.maintenance.iter().find(is_off).map(|(_, until)| *until)?;
        let minutes = until.saturating_sub(now_ms).div_ceil(60_000);
        Some(format!("in maintenance for {minutes} more minutes"))
    }
}
