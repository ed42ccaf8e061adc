//! Which channels may take a payment, in which order, and why: facts, hard eligibility, rules, health, capacity, what each is
//! worth, an ordered plan. Pure: everything that it looks at is given to it, so a decision can be made again from its trace.
//! What an attempt's outcome allows next is in [`decline`] and [`tries`].

mod candidate;
pub mod decision;
pub mod decline;
mod eligibility;
pub mod explore;
pub mod health;
pub mod learner;
mod order;
pub mod rule;
pub mod tries;

use crate::beneficiary::PayoutAccount;
use crate::channel::ChannelFacts;
use crate::ids::{ChannelId, MerchantId, Mode};
use crate::money::Money;
use crate::operation::{AskedBy, Kind};
use crate::risk::Effect;
use candidate::{Gathered, gather};
use core::net::IpAddr;
use decision::Decision;
use health::Standing;
use learner::{Learner, Segment, band};
use order::{first_by_rule, in_order, planned};
use rule::{Act, Rulings};

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
    /// The card's network.
    pub network: Option<&'a str>,
    /// The card's first digits.
    pub issuer: Option<&'a str>,
    /// The card, as its fingerprint names it.
    pub card: Option<&'a str>,
    /// Where the payer lives.
    pub country: Option<&'a str>,
    /// The other countries that it has to do with.
    pub places: Places<'a>,
    /// Who it is about, for limits.
    pub subjects: Subjects<'a>,
    /// Whether the merchant wants the payer authenticated.
    pub must_authenticate: bool,
}

/// Countries that a payment has to do with besides the payer's, as far as anybody says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// Where the payer's address is.
    pub ip: Option<&'a str>,
    /// Where goods are sent to.
    pub shipping: Option<&'a str>,
    /// Where the beneficiary of a payout is.
    pub beneficiary: Option<&'a str>,
}

/// Who a payment is about, as the merchant says it: only limits look at it, and they keep pseudonyms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subjects<'a> {
    /// The payer, by the merchant's own id …
    pub payer: Option<&'a str>,
    /// … or else by the e-mail.
    pub email: Option<&'a str>,
    /// The address that the payer comes from.
    pub ip: Option<IpAddr>,
    /// The account that is paid.
    pub beneficiary: Option<&'a PayoutAccount>,
}

impl<'a> RouteFacts<'a> {
    /// What of it an approval may depend on.
    pub fn segment(&self) -> Segment<'a> {
        Segment {
            mode: self.mode,
            method: self.method,
            network: self.network,
            issuer: self.issuer,
            country: self.country,
            currency: self.amount.asset().code(),
            band: band(self.amount.minor()),
        }
    }
}

/// A channel's state, as far as it decides about new payments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelState {
    /// Its breaker.
    pub standing: Standing,
    /// How many of its operations are under way.
    pub in_flight: usize,
}

/// What is known of the channels at the moment of a decision.
pub struct Market<'a> {
    /// When.
    pub now_ms: u64,
    /// From what draws come: the same seed, the same draws.
    pub seed: u64,
    /// What the rules say of this payment.
    pub rulings: Rulings,
    /// How each channel is.
    pub state: &'a dyn Fn(&ChannelId) -> ChannelState,
    /// How likely each approves.
    pub learner: &'a Learner,
    /// What an approved payment is worth to whoever sells, in basis points of its amount.
    pub margin_bps: u32,
    /// Whether this payment may go where more is to be learnt.
    pub may_explore: bool,
    /// At most so many attempts.
    pub attempts_max: usize,
}

/// The ordered choice of channels with their adapter versions, and the trace of how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// In the order in which they are tried; no more than may be tried.
    pub channels: Vec<(ChannelId, String)>,
    /// How it came about.
    pub decision: Decision,
    /// Whether no channel is well, so that they are tried all the same.
    pub all_sick: bool,
}

/// Who asks that the payer be authenticated: it is for cards, for others know their payers by themselves.
fn asked_by(facts: &RouteFacts<'_>, rulings: &Rulings) -> Option<AskedBy> {
    if facts.kind != Kind::Authorize || facts.method != "card" {
        return None;
    }
    if facts.must_authenticate {
        return Some(AskedBy::Merchant);
    }
    let rule = rulings.applied.iter().find(|it| it.act == Act::Authenticate);
    let rule = rule.map(|it| &it.rule);
    let by_limit = || rulings.flag(Effect::Authenticate).map(|flag| &flag.rule);
    Some(AskedBy::Rule(rule.or_else(by_limit)?.clone()))
}

/// The route of a payment.
pub fn plan(facts: &RouteFacts<'_>, channels: &[ChannelFacts], market: Market<'_>) -> Route {
    let Gathered {
        candidates,
        excluded,
        all_sick,
    } = gather(facts, channels, &market);
    let best_known = candidates.iter().map(|it| it.expected_micro).max();
    let first = first_by_rule(facts, &candidates, &market);
    let order = in_order(candidates, first.as_ref());
    let is_refused = market.rulings.flag(Effect::Refuse).is_some();
    let is_exploring = market.may_explore
        && !is_refused
        && first.is_none()
        && order
            .first()
            .is_some_and(|(_, it)| !it.is_probe && Some(it.expected_micro) < best_known);
    let by_rules = market.rulings.applied.iter().filter_map(|it| match it.act {
        Act::Attempts(most) => Some(most),
        _ => None,
    });
    let attempts_max = by_rules.min().unwrap_or(usize::MAX).min(market.attempts_max);
    // What is refused is planned all the same, so that the trace says where it would have gone.
    let tried = order.iter().take(if is_refused { 0 } else { attempts_max });
    let authenticate = asked_by(facts, &market.rulings);
    Route {
        channels: tried
            .map(|(_, it)| (it.facts.id.clone(), it.facts.adapter.clone()))
            .collect(),
        decision: Decision {
            at_ms: market.now_ms,
            rules: market.rulings.set,
            applied: market.rulings.applied,
            broken: market.rulings.broken,
            measured: market.rulings.measured,
            flags: market.rulings.flags,
            excluded,
            plan: order
                .into_iter()
                .map(|(rank, it)| planned(facts, it, (rank, first.as_ref()), all_sick))
                .collect(),
            attempts_max,
            authenticate,
            seed: market.seed,
            is_exploring,
        },
        all_sick,
    }
}

#[cfg(test)]
mod tests;
