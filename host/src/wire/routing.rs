//! How a payment's route came about, as its merchant sees it.

use super::authentication::asking;
use super::seconds;
use super::{FlagView, Minor};
use portolan_domain::ids::Mode;
use portolan_domain::payment::{Attempt, Payment};
use portolan_domain::risk::{Limit, Measured, Most};
use portolan_domain::routing::decision::{Decision, Planned};
use portolan_domain::routing::rule::{Act, RuleSet};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// The decision about a payment's route.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Routing")]
pub struct RoutingView<'a> {
    decided_at: u64,
    /// The version of the merchant's rules that was in force; null: there are none.
    rules_version: Option<u32>,
    /// The rules whose condition held, in order.
    applied: Vec<AppliedView<'a>>,
    /// What the limits among them count, with this payment.
    measured: Vec<MeasuredView<'a>>,
    /// What follows of the rules about risk. Where one refuses, nothing of the plan is tried.
    flags: Vec<FlagView<'a>>,
    /// Rules that could not be judged: they asked for nothing, but for those that protect (`authenticate`, `refuse`, `warn`,
    /// `limit`), which apply then.
    broken: Vec<BrokenView<'a>>,
    /// The channels that could take it, in the order in which they are tried.
    plan: Vec<PlannedView<'a>>,
    /// The others, with the reason.
    excluded: Vec<ExcludedView<'a>>,
    attempts_max: usize,
    /// `merchant` or `rule`: every channel of the plan authenticates the payer.
    authentication_asked_by: Option<&'static str>,
    /// Whether the first channel is one that more was to be learnt of.
    exploring: bool,
    /// From what the draws came: the same seed and counts give the same order.
    seed: String,
}

#[derive(Serialize, JsonSchema)]
struct AppliedView<'a> {
    rule: &'a str,
    asks: Value,
}

#[derive(Serialize, JsonSchema)]
struct MeasuredView<'a> {
    rule: &'a str,
    /// Payments, cards, countries, or minor units; null: the payment does not say what to count it by, or its currency has no limit.
    seen: Option<Minor>,
    most: Option<Minor>,
    passed: bool,
    /// Whether there are more uses than are counted: then it is passed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    too_many: bool,
}

impl<'a> MeasuredView<'a> {
    fn of(measured: &'a Measured) -> Self {
        Self {
            rule: &measured.rule,
            seen: measured.seen.map(Minor),
            most: measured.most.map(Minor),
            passed: measured.is_passed(),
            too_many: measured.is_cut,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct BrokenView<'a> {
    rule: &'a str,
    why: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct PlannedView<'a> {
    channel: &'a str,
    why: &'a str,
    /// What is expected of it.
    score: ScoreView,
    /// What became of it: null, if it was not tried.
    attempt: Option<&'static str>,
}

#[derive(Serialize, JsonSchema)]
struct ScoreView {
    /// How likely it approves, in millionths.
    approval_ppm: u32,
    /// The probability that was used, in millionths: another one only while exploring.
    used_ppm: u32,
    /// The score behind it (of a normal distribution) and how uncertain the channel's own part of it is, in millionths.
    score_micro: i64,
    spread_micro: u64,
    /// Attempts of the channel that this rests on; fewer than 20 say nothing yet.
    attempts: u64,
    /// What it takes if it approves, in minor units; null: the operator named no price.
    cost: Option<Minor>,
    /// What trying it first is worth, in millionths of a minor unit.
    worth_micro: Minor,
}

#[derive(Serialize, JsonSchema)]
struct ExcludedView<'a> {
    channel: &'a str,
    /// `eligibility`, `rules`, `health` or `capacity`.
    stage: &'static str,
    why: &'a str,
}

impl<'a> RoutingView<'a> {
    /// The decision, with what became of each channel in the payment, where there is one.
    /// `until_ms`: the next decision about the same payment.
    pub fn of(decision: &'a Decision, payment: Option<&'a Payment>, until_ms: Option<u64>) -> Self {
        let tried = |it: &Planned| {
            let attempts = payment.map_or(&[][..], |payment| payment.attempts.as_slice());
            let is_of_it = |attempt: &&Attempt| {
                attempt.channel == it.channel
                    && attempt.started_ms >= decision.at_ms
                    && until_ms.is_none_or(|until| attempt.started_ms < until)
            };
            attempts.iter().rfind(is_of_it).map(|attempt| attempt.status.as_str())
        };
        Self {
            decided_at: seconds(decision.at_ms),
            rules_version: decision.rules.as_ref().map(|set| set.version),
            applied: decision
                .applied
                .iter()
                .map(|it| AppliedView {
                    rule: &it.rule,
                    asks: asks(&it.act),
                })
                .collect(),
            measured: decision.measured.iter().map(MeasuredView::of).collect(),
            flags: decision.flags.iter().map(FlagView::of).collect(),
            broken: decision
                .broken
                .iter()
                .map(|(rule, why)| BrokenView { rule, why })
                .collect(),
            plan: decision
                .plan
                .iter()
                .map(|it| PlannedView {
                    channel: it.channel.as_str(),
                    why: &it.why,
                    score: ScoreView {
                        approval_ppm: it.score.estimate.ppm,
                        used_ppm: it.score.used_ppm,
                        score_micro: it.score.estimate.mean_micro,
                        spread_micro: it.score.estimate.spread_micro,
                        attempts: it.score.estimate.attempts,
                        cost: it.score.cost.map(Minor),
                        worth_micro: Minor(it.score.worth_micro),
                    },
                    attempt: tried(it),
                })
                .collect(),
            excluded: decision
                .excluded
                .iter()
                .map(|it| ExcludedView {
                    channel: it.channel.as_str(),
                    stage: it.stage.as_str(),
                    why: &it.why,
                })
                .collect(),
            attempts_max: decision.attempts_max,
            authentication_asked_by: decision.authenticate.as_ref().map(asking),
            exploring: decision.is_exploring,
            seed: format!("{:016x}", decision.seed),
        }
    }
}

fn limit_as_written(limit: &Limit) -> Value {
    let mut written = json!({
        "per": limit.per.as_str(), "within": within_as_written(limit.within_ms), "then": limit.then.as_str(),
    });
    let (what, most) = match &limit.most {
        Most::Payments(most) => ("payments", json!(most)),
        Most::Cards(most) => ("cards", json!(most)),
        Most::Countries(most) => ("countries", json!(most)),
        Most::Total(limits) => {
            let pairs = limits.iter().map(|(code, most)| (code.clone(), json!(Minor(*most))));
            ("total", Value::Object(pairs.collect()))
        }
    };
    if let Some(fields) = written.as_object_mut() {
        fields.insert(what.into(), most);
    }
    written
}

/// `24h`.
fn within_as_written(ms: u64) -> String {
    let units = [(86_400_000, 'd'), (3_600_000, 'h'), (60_000, 'm')];
    let fits = units.into_iter().find(|(unit, _)| ms.is_multiple_of(*unit));
    let (unit, letter) = fits.unwrap_or((1_000, 's'));
    format!("{}{letter}", ms / unit)
}

/// What a rule asks for, as it is written in a set.
fn asks(act: &Act) -> Value {
    match act {
        Act::Prefer(channels) => json!({ "prefer": channels }),
        Act::Exclude(channels) => json!({ "exclude": channels }),
        Act::Split(weights) => {
            let weights: serde_json::Map<String, Value> = weights
                .iter()
                .map(|(channel, weight)| (channel.to_string(), json!(weight)))
                .collect();
            json!({ "split": weights })
        }
        Act::Sticky => json!({ "sticky": true }),
        Act::Attempts(most) => json!({ "attempts": most }),
        Act::Authenticate => json!({ "authenticate": true }),
        Act::Refuse => json!({ "refuse": true }),
        Act::Warn => json!({ "warn": true }),
        Act::Limit(limit) => json!({ "limit": limit_as_written(limit) }),
    }
}

/// A version of a merchant's rules.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "RuleSet")]
pub struct RuleSetView<'a> {
    object: &'static str,
    version: u32,
    /// What judges its conditions.
    engine: &'a str,
    created: u64,
    by: &'a str,
    livemode: bool,
    /// The set as it was written.
    set: Value,
}

impl<'a> RuleSetView<'a> {
    /// As its merchant sees it.
    pub fn of(set: &'a RuleSet) -> Self {
        Self {
            object: "rule_set",
            version: set.version,
            engine: &set.engine,
            created: seconds(set.created_ms),
            by: &set.by,
            livemode: set.mode == Mode::Live,
            set: serde_json::from_str(&set.source).unwrap_or_default(),
        }
    }
}
