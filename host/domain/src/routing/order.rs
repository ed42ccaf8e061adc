//! The order of the candidates: what a rule puts first, then a probe, then what each is worth; and that in words.

use super::candidate::Candidate;
use super::decision::{Planned, Score};
use super::learner::{hash, mix};
use super::rule::Act;
use super::{Market, RouteFacts};
use crate::ids::ChannelId;
use crate::money::Money;

/// The channels that a rule puts first, and the rule.
pub(super) struct First {
    rule: String,
    channels: Vec<ChannelId>,
    how: &'static str,
}

pub(super) fn first_by_rule(
    facts: &RouteFacts<'_>,
    candidates: &[Candidate<'_>],
    market: &Market<'_>,
) -> Option<First> {
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
        Act::Exclude(_) | Act::Attempts(_) | Act::Authenticate | Act::Refuse | Act::Warn | Act::Limit(_) => {
            return None;
        }
    };
    Some(First {
        rule: applied.rule.clone(),
        channels,
        how,
    })
}

/// The candidates in order, each with its place in the rule's list.
pub(super) fn in_order<'a>(candidates: Vec<Candidate<'a>>, first: Option<&First>) -> Vec<(usize, Candidate<'a>)> {
    let rank = |it: &Candidate<'_>| {
        let place = first.and_then(|first| first.channels.iter().position(|id| *id == it.facts.id));
        place.unwrap_or(usize::MAX)
    };
    let mut order: Vec<(usize, Candidate<'a>)> = candidates.into_iter().map(|it| (rank(&it), it)).collect();
    // Stable: what is worth the same stays as configured.
    order.sort_by(|(one, a), (other, b)| {
        (one, !a.is_probe)
            .cmp(&(other, !b.is_probe))
            .then_with(|| b.score.worth_micro.cmp(&a.score.worth_micro))
            .then_with(|| a.score.cost.unwrap_or(0).cmp(&b.score.cost.unwrap_or(0)))
    });
    order
}

pub(super) fn planned(
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
        false if score.estimate.attempts == 0 => "nothing is known of it yet".to_owned(),
        false => format!("only {} attempts are known", score.estimate.attempts),
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
