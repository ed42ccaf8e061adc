//! Which channels may take a payment, in which order, and why: facts, hard eligibility, rules, health, capacity, what each is
//! worth, an ordered plan. Pure: everything that it looks at is given to it, so a decision can be made again from its trace.
//! What an attempt's outcome allows next is in [`decline`] and [`tries`].

pub mod decision;
pub mod decline;
mod eligibility;
pub mod health;
pub mod learner;
pub mod rule;
pub mod tries;

use crate::channel::ChannelFacts;
use crate::ids::{ChannelId, MerchantId, Mode};
use crate::money::Money;
use crate::operation::Kind;
use decision::{Decision, Excluded, Planned, Score, Stage};
use health::Standing;
use learner::{Expecting, Learner, Segment, band, hash, mix};
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

/// A channel that is not ruled out.
struct Candidate<'a> {
    facts: &'a ChannelFacts,
    is_probe: bool,
    score: Score,
    /// What the estimate alone makes it worth.
    expected_micro: i128,
}

/// The route of a payment.
pub fn plan(facts: &RouteFacts<'_>, channels: &[ChannelFacts], market: Market<'_>) -> Route {
    let expecting = market.learner.expecting(&facts.segment());
    let mut excluded = vec![];
    let mut sick = vec![];
    let mut candidates: Vec<Candidate<'_>> = vec![];
    for channel in channels.iter().filter(|channel| is_theirs(facts, channel)) {
        match look_at(facts, channel, &market) {
            Ok(is_probe) => candidates.push(candidate(facts, (channel, is_probe), (&market, &expecting))),
            Err(why) if why.stage == Stage::Health => sick.push((channel, why)),
            Err(why) => excluded.push(why),
        }
    }
    // Refusing everybody is worse than trying a channel that is sick: it may be well again.
    let all_sick = candidates.is_empty() && !sick.is_empty();
    for (channel, why) in sick {
        if all_sick {
            candidates.push(candidate(facts, (channel, false), (&market, &expecting)));
        } else {
            excluded.push(why);
        }
    }
    price_the_unpriced(facts, &mut candidates, market.margin_bps);
    let first = first_by_rule(facts, &candidates, &market);
    let best_known = candidates.iter().map(|it| it.expected_micro).max();
    let mut order: Vec<(usize, Candidate<'_>)> = candidates.into_iter().map(|it| (rank_of(&first, &it), it)).collect();
    // Stable: what is worth the same stays as configured.
    order.sort_by(|(one, a), (other, b)| {
        (one, !a.is_probe)
            .cmp(&(other, !b.is_probe))
            .then_with(|| b.score.worth_micro.cmp(&a.score.worth_micro))
            .then_with(|| a.score.cost.unwrap_or(0).cmp(&b.score.cost.unwrap_or(0)))
    });
    let is_exploring = market.may_explore
        && first.is_none()
        && order
            .first()
            .is_some_and(|(_, it)| !it.is_probe && Some(it.expected_micro) < best_known);
    let by_rules = market.rulings.applied.iter().filter_map(|it| match it.act {
        Act::Attempts(most) => Some(most),
        _ => None,
    });
    let attempts_max = by_rules.min().unwrap_or(usize::MAX).min(market.attempts_max);
    Route {
        channels: order
            .iter()
            .take(attempts_max)
            .map(|(_, it)| (it.facts.id.clone(), it.facts.adapter.clone()))
            .collect(),
        decision: Decision {
            at_ms: market.now_ms,
            rules: market.rulings.set,
            applied: market.rulings.applied,
            broken: market.rulings.broken,
            excluded,
            plan: order
                .into_iter()
                .map(|(rank, it)| planned(facts, it, (rank, first.as_ref()), all_sick))
                .collect(),
            attempts_max,
            seed: market.seed,
            is_exploring,
        },
        all_sick,
    }
}

/// Of other merchants' channels nobody is told, not even that they are left out.
fn is_theirs(facts: &RouteFacts<'_>, channel: &ChannelFacts) -> bool {
    let owner = channel.merchant.as_ref();
    channel.mode == facts.mode && owner.is_none_or(|owner| owner == facts.merchant)
}

/// Whether the channel is to be probed, or why it is left out.
fn look_at(facts: &RouteFacts<'_>, channel: &ChannelFacts, market: &Market<'_>) -> Result<bool, Excluded> {
    let out = |stage, why: String| Excluded {
        channel: channel.id.clone(),
        stage,
        why,
    };
    if let Some(why) = eligibility::exclusion(facts, channel, market.now_ms) {
        return Err(out(Stage::Eligibility, why));
    }
    let excludes = |act: &Act| matches!(act, Act::Exclude(names) if names.contains(&channel.id));
    if let Some(it) = market.rulings.applied.iter().find(|it| excludes(&it.act)) {
        return Err(out(Stage::Rules, format!("excluded by the rule {:?}", it.rule)));
    }
    let state = (market.state)(&channel.id);
    if channel.in_flight_max.is_some_and(|most| state.in_flight >= most) {
        let why = format!("has {} operations under way, as many as it may", state.in_flight);
        return Err(out(Stage::Capacity, why));
    }
    match state.standing {
        Standing::Well => Ok(false),
        Standing::Probe => Ok(true),
        Standing::Sick { until_ms } => {
            let seconds = until_ms.saturating_sub(market.now_ms).div_ceil(1_000);
            Err(out(Stage::Health, format!("failing; tried again in {seconds} s")))
        }
        Standing::BeingProbed => Err(out(
            Stage::Health,
            "failing; another payment finds out at this moment".into(),
        )),
    }
}

fn candidate<'a>(
    facts: &RouteFacts<'_>,
    (channel, is_probe): (&'a ChannelFacts, bool),
    (market, expecting): (&Market<'_>, &Expecting<'_>),
) -> Candidate<'a> {
    let estimate = expecting.of(&channel.id);
    let used_ppm = match market.may_explore {
        // What fell suddenly is tried now and then as if it were well, to find out whether it is.
        true if market.learner.is_to_be_probed(&channel.id, market.seed) => 1_000_000,
        true => estimate.draw_ppm(hash(market.seed, channel.id.as_str())),
        false => estimate.ppm,
    };
    let cost = channel.cost_of(facts.amount, facts.network);
    let worth = |ppm| worth_micro(facts.amount.minor(), (ppm, cost), market.margin_bps);
    Candidate {
        facts: channel,
        is_probe,
        expected_micro: worth(estimate.ppm),
        score: Score {
            worth_micro: worth(used_ppm),
            estimate,
            used_ppm,
            cost,
        },
    }
}

/// What nobody has priced is taken to cost as much as the dearest that is priced.
fn price_the_unpriced(facts: &RouteFacts<'_>, candidates: &mut [Candidate<'_>], margin_bps: u32) {
    let dearest = candidates.iter().filter_map(|it| it.score.cost).max();
    for it in candidates.iter_mut().filter(|it| it.score.cost.is_none()) {
        let worth = |ppm| worth_micro(facts.amount.minor(), (ppm, dearest), margin_bps);
        it.expected_micro = worth(it.score.estimate.ppm);
        it.score.worth_micro = worth(it.score.used_ppm);
    }
}

/// What trying a channel is worth: how likely it approves, times what an approved payment leaves after the channel's share.
fn worth_micro(amount: i128, (ppm, cost): (u32, Option<i128>), margin_bps: u32) -> i128 {
    let margin = amount.checked_mul(i128::from(margin_bps)).map(|it| it / 10_000);
    // Where nothing is left, the likelier one is still the better one; the cheaper one among equals.
    let left = margin.and_then(|margin| margin.checked_sub(cost.unwrap_or(0)));
    left.and_then(|left| left.max(1).checked_mul(i128::from(ppm)))
        .unwrap_or(0)
}

/// The channels that a rule puts first, and the rule.
struct First {
    rule: String,
    channels: Vec<ChannelId>,
    how: &'static str,
}

fn first_by_rule(facts: &RouteFacts<'_>, candidates: &[Candidate<'_>], market: &Market<'_>) -> Option<First> {
    let applied = market.rulings.applied.iter().find(|it| it.act.is_about_order())?;
    let is_there = |id: &ChannelId| candidates.iter().any(|it| it.facts.id == *id);
    let (channels, how) = match &applied.act {
        Act::Prefer(names) => (names.clone(), "preferred by"),
        Act::Split(weights) => {
            let there: Vec<&(ChannelId, u32)> = weights.iter().filter(|(id, _)| is_there(id)).collect();
            let whole: u64 = there.iter().map(|(_, weight)| u64::from(*weight)).sum();
            let mut at = mix(hash(market.seed, "split")).checked_rem(whole)?;
            let hit = there.into_iter().find(|(_, weight)| {
                let is_hit = at < u64::from(*weight);
                at = at.saturating_sub(u64::from(*weight));
                is_hit
            });
            (hit.into_iter().map(|(id, _)| id.clone()).collect(), "its turn by")
        }
        Act::Sticky => {
            let card = facts.card?;
            let place = |it: &&Candidate<'_>| mix(hash(hash(0, card), it.facts.id.as_str()));
            let kept = candidates.iter().max_by_key(place)?;
            (vec![kept.facts.id.clone()], "kept for this card by")
        }
        Act::Exclude(_) | Act::Attempts(_) => return None,
    };
    Some(First {
        rule: applied.rule.clone(),
        channels,
        how,
    })
}

fn rank_of(first: &Option<First>, candidate: &Candidate<'_>) -> usize {
    let place = |first: &First| first.channels.iter().position(|id| *id == candidate.facts.id);
    first.as_ref().and_then(place).unwrap_or(usize::MAX)
}

fn planned(
    facts: &RouteFacts<'_>,
    candidate: Candidate<'_>,
    (rank, first): (usize, Option<&First>),
    all_sick: bool,
) -> Planned {
    let why = match first {
        _ if all_sick => "no channel is well: tried all the same".to_owned(),
        Some(first) if rank != usize::MAX => format!("{} the rule {:?}", first.how, first.rule),
        _ if candidate.is_probe => "it was failing: this payment finds out whether it is well again".to_owned(),
        _ => worth_in_words(facts, &candidate.score),
    };
    Planned {
        channel: candidate.facts.id.clone(),
        why,
        score: candidate.score,
    }
}

fn worth_in_words(facts: &RouteFacts<'_>, score: &Score) -> String {
    let likely = match score.estimate.is_known() {
        false => "nothing is known of it yet".to_owned(),
        true => format!(
            "approves {}.{} % of these",
            score.estimate.ppm / 10_000,
            score.estimate.ppm / 1_000 % 10
        ),
    };
    let cost = score
        .cost
        .and_then(|cost| Money::new(cost, facts.amount.asset().clone()));
    match cost {
        Some(cost) => format!("{likely}, takes {cost}"),
        None => likely,
    }
}

#[cfg(test)]
mod tests;
