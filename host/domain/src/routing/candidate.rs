//! Which channels are candidates for a payment, and what each is worth; why the others are none.

use super::decision::{Excluded, Score, Stage};
use super::health::Standing;
use super::learner::{Expecting, hash};
use super::rule::Act;
use super::{Market, RouteFacts, asked_by, eligibility};
use crate::channel::ChannelFacts;

/// A channel that is not ruled out.
pub(super) struct Candidate<'a> {
    pub facts: &'a ChannelFacts,
    /// Whether the payment finds out if the channel is well again.
    pub is_probe: bool,
    pub score: Score,
    /// What the estimate alone makes it worth.
    pub expected_micro: i128,
}

/// The channels, looked at.
pub(super) struct Gathered<'a> {
    /// In configured order.
    pub candidates: Vec<Candidate<'a>>,
    /// The others, with the reason.
    pub excluded: Vec<Excluded>,
    /// Whether none is well, so that the sick ones are candidates all the same.
    pub all_sick: bool,
}

/// Looks at every channel that the merchant may use.
pub(super) fn gather<'a>(facts: &RouteFacts<'_>, channels: &'a [ChannelFacts], market: &Market<'_>) -> Gathered<'a> {
    let expecting = market.learner.expecting(&facts.segment());
    let (mut candidates, mut excluded, mut sick) = (vec![], vec![], vec![]);
    for channel in channels.iter().filter(|channel| is_theirs(facts, channel)) {
        match look_at(facts, channel, market) {
            Ok(is_probe) => candidates.push(candidate(facts, (channel, is_probe), (market, &expecting))),
            Err(why) if why.stage == Stage::Health => sick.push((channel, why)),
            Err(why) => excluded.push(why),
        }
    }
    // Refusing everybody is worse than trying a channel that is sick: it may be well again.
    let all_sick = candidates.is_empty() && !sick.is_empty();
    for (channel, why) in sick {
        match all_sick {
            true => candidates.push(candidate(facts, (channel, false), (market, &expecting))),
            false => excluded.push(why),
        }
    }
    price_the_unpriced(facts, &mut candidates, market.margin_bps);
    Gathered {
        candidates,
        excluded,
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
    let must_authenticate = asked_by(facts, &market.rulings).is_some();
    if let Some(why) = eligibility::exclusion(facts, channel, (must_authenticate, market.now_ms)) {
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
