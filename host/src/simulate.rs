//! `portolan routes simulate`: the router's own decisions in a market that drifts, breaks down and answers late, beside fixed
//! orders, plain bandits and an oracle; over many seeds, with confidence intervals. What it shows depends on the seeds alone.

#![expect(clippy::float_arithmetic, reason = "statistics; amounts are integers")]

mod market;
mod policies;

use market::{Answer, CHANNELS, Market, Payment};
use policies::{Bandit, Fixed, Oracle, Policy, Router, left};
use portolan_domain::routing::explore::ExploreLimit;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Attempts of one payment.
const ATTEMPTS: usize = 3;
/// What the router may spend on learning: of payments up to 200.00 some 4 % of what goes through it in a day.
const EXPLORE: ExploreLimit = ExploreLimit {
    payment_max: 20_000,
    day_max: 10_000_000,
};
/// A confidence of 95 %.
const Z95: f64 = 1.96;
/// A share is that of so many payments.
const WINDOW: usize = 50;
/// Who is not back after so many payments is counted as back then.
const RETURN_MAX: usize = 3_000;

/// How much is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Markets.
    pub seeds: u64,
    /// Payments in each.
    pub payments: usize,
}

/// What one policy made of one market.
#[derive(Clone, Default, Debug)]
struct Made {
    approved: usize,
    /// What approvals left after prices, minor units.
    left: i128,
    attempts: usize,
    /// Payments in doubt.
    unknown: usize,
    /// Payments that went to a broken channel first, and breakdowns.
    hurt: (usize, usize),
    /// The first channel of each payment.
    firsts: Vec<u8>,
}

/// The policies, by name.
fn policies(seed: u64) -> Vec<(&'static str, Box<dyn Policy>)> {
    let mut all: Vec<(&'static str, Box<dyn Policy>)> = vec![
        ("oracle", Box::new(Oracle)),
        ("bandit", Box::new(Bandit::new(1.0, seed))),
        ("fading bandit", Box::new(Bandit::new(0.99, seed))),
    ];
    if let Some(router) = Router::new(EXPLORE) {
        all.push(("portolan", Box::new(router)));
    }
    all
}

/// Runs everything and says what came of it.
pub fn run(size: Size) -> Value {
    let mut by_policy: BTreeMap<&'static str, Vec<Made>> = BTreeMap::new();
    let mut back: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
    for seed in 0..size.seeds {
        let market = Market::new(seed, size.payments);
        let oracle = route_all(&market, size.payments, &mut Oracle);
        for (name, mut policy) in policies(seed) {
            let made = route_all(&market, size.payments, &mut *policy);
            back.entry(name).or_default().extend(returns(&market, &made, &oracle));
            by_policy.entry(name).or_default().push(Made { firsts: vec![], ..made });
        }
        by_policy
            .entry("best fixed order")
            .or_default()
            .push(best_fixed(&market, size.payments));
    }
    report(size, &by_policy, back)
}

/// The best of all fixed orders: known only afterwards. The first channel decides nearly everything; the others follow by what
/// they leave alone.
fn best_fixed(market: &Market, payments: usize) -> Made {
    let alone = |channel: usize| route_all(market, payments, &mut Fixed(vec![channel]));
    let mut single: Vec<(usize, i128)> = (0..CHANNELS).map(|it| (it, alone(it).left)).collect();
    single.sort_by_key(|(_, left)| std::cmp::Reverse(*left));
    let order: Vec<usize> = single.into_iter().map(|(channel, _)| channel).collect();
    route_all(market, payments, &mut Fixed(order))
}

fn route_all(market: &Market, payments: usize, policy: &mut dyn Policy) -> Made {
    let mut made = Made::default();
    let mut later: BTreeMap<usize, Vec<(Payment, usize, bool)>> = BTreeMap::new();
    for at in 0..payments {
        for (payment, channel, approved) in later.remove(&at).unwrap_or_default() {
            policy.learnt(&payment, channel, approved);
        }
        let payment = market.payment(at);
        let order = policy.order(&payment, market);
        made.firsts
            .push(order.first().and_then(|it| u8::try_from(*it).ok()).unwrap_or(u8::MAX));
        if let Some(first) = order.first() {
            let is_broken = market
                .breakdowns(*first)
                .iter()
                .any(|it| (it.from..it.until).contains(&at));
            made.hurt.0 += usize::from(is_broken);
        }
        // As the router learns: not from whoever comes after a decline.
        let mut teaches = true;
        for channel in order.into_iter().take(ATTEMPTS) {
            made.attempts += 1;
            let answer = market.answer(&payment, channel);
            policy.met(&payment, channel, answer);
            let taken = match answer {
                Answer::Approved => {
                    if teaches {
                        policy.learnt(&payment, channel, true);
                    }
                    true
                }
                Answer::Declined(goes_on) => {
                    if teaches {
                        policy.learnt(&payment, channel, false);
                    }
                    teaches = false;
                    if goes_on {
                        continue;
                    }
                    false
                }
                Answer::NotSent => continue,
                Answer::Unknown(approved, told) => {
                    made.unknown += 1;
                    if let Some(after) = told.filter(|_| teaches) {
                        later
                            .entry(at + 1 + after)
                            .or_default()
                            .push((payment.clone(), channel, approved));
                    }
                    approved
                }
            };
            if taken {
                made.approved += 1;
                made.left += left(&payment, market.price(at, channel));
            }
            break;
        }
    }
    made.hurt.1 = (0..CHANNELS).map(|it| market.breakdowns(it).len()).sum();
    made
}

/// For each breakdown after which the oracle goes back at once: after how many payments the policy sends at least half as many
/// there as the oracle.
fn returns(market: &Market, made: &Made, oracle: &Made) -> Vec<usize> {
    let share = |of: &Made, channel: usize, from: usize| {
        let window = of.firsts.get(from..from + WINDOW).unwrap_or_default();
        window.iter().filter(|it| usize::from(**it) == channel).count()
    };
    let mut all = vec![];
    for channel in 0..CHANNELS {
        for breakdown in market.breakdowns(channel) {
            let wanted = share(oracle, channel, breakdown.until);
            if wanted * 5 < WINDOW {
                continue;
            }
            let is_back = |after: &usize| {
                let from = breakdown.until + after;
                2 * share(made, channel, from) >= share(oracle, channel, from).max(1)
            };
            all.push((0..RETURN_MAX).step_by(10).find(is_back).unwrap_or(RETURN_MAX));
        }
    }
    all
}

/// A mean with its half interval of 95 %.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, Z95 * (variance / n).sqrt())
}

fn shown((mean, half): (f64, f64), digits: i32) -> String {
    let digits = usize::try_from(digits).unwrap_or(0);
    format!("{mean:.digits$} ± {half:.digits$}")
}

/// The median, and the share of those within 200.
fn median(mut values: Vec<usize>) -> Value {
    values.sort_unstable();
    let within = values.iter().filter(|it| **it <= 200).count();
    let middle = values.get(values.len() / 2);
    json!({ "breakdowns": values.len(), "median_payments": middle, "within_200": within })
}

fn report(
    size: Size,
    by_policy: &BTreeMap<&'static str, Vec<Made>>,
    mut back: BTreeMap<&'static str, Vec<usize>>,
) -> Value {
    let payments = size.payments as f64;
    let none = vec![];
    let ours = by_policy.get("portolan").unwrap_or(&none);
    let rows = by_policy.iter().map(|(name, made)| {
        let each = |of: &dyn Fn(&Made) -> f64| -> Vec<f64> { made.iter().map(of).collect() };
        // Market by market: what differs between markets is not what is asked.
        let beside = |of: &dyn Fn(&Made) -> f64| -> Vec<f64> {
            ours.iter().zip(made).map(|(ours, other)| of(ours) - of(other)).collect()
        };
        let approval = |it: &Made| 100.0 * it.approved as f64 / payments;
        let left = |it: &Made| it.left as f64 / payments;
        let row = json!({
            "approved_percent": shown(mean(&each(&approval)), 2),
            "left_per_payment_minor": shown(mean(&each(&left)), 1),
            "attempts_per_payment": shown(mean(&each(&|it| it.attempts as f64 / payments)), 3),
            "first_tries_at_a_broken_channel_per_breakdown": shown(mean(&each(&|it| it.hurt.0 as f64 / it.hurt.1 as f64)), 0),
            "back_after_a_breakdown": back.remove(name).map(median),
            "portolan_approves_more_by_points": shown(mean(&beside(&approval)), 2),
            "portolan_leaves_more_minor": shown(mean(&beside(&left)), 1),
        });
        ((*name).to_owned(), row)
    });
    json!({
        "seeds": size.seeds, "payments_each": size.payments, "channels": CHANNELS,
        "policies": rows.collect::<serde_json::Map<String, Value>>(),
    })
}
