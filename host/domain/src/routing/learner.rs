//! How likely a channel approves a payment: an online Bayesian probit regression. Each thing that an approval may depend on (the
//! channel, its network, its currency, the card's issuer, the amount's order of magnitude) has a weight with its uncertainty, so
//! that a thin group of payments borrows from the wider ones, and a draw is as wide as what is not known. Weights wander with
//! every attempt; a drop or a rise that is too sudden to be chance makes a channel's own weight uncertain at once.
//!
//! Sources: Graepel, Candela, Borchert and Herbrich, "Web-scale Bayesian click-through rate prediction" (ICML 2010); Thompson
//! sampling (Thompson 1933); CUSUM (Page 1954). Probabilities are no money: they are floats here, and leave as millionths. The
//! mathematics is `libm`'s, the same on every machine.

#![expect(
    clippy::float_arithmetic,
    reason = "probabilities; amounts are integers and stay outside"
)]

mod keys;

use crate::ids::{ChannelId, Mode};
use keys::{Hashed, Parts};
pub(crate) use keys::{hash, mix};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// The score of a channel that nobody knows yet: 85 of 100 are approved.
const PRIOR: f64 = 1.036;
/// A channel with fewer attempts is expected to do as any other.
const ATTEMPTS_MIN: u64 = 20;
/// What one payment's outcome tells by itself.
const NOISE: f64 = 1.0;
/// Evidence of a change that makes a channel uncertain at once: chance alone reaches it about once in 3,000 attempts.
const SUDDEN: f64 = 8.0;
/// How uncertain it is then.
const UNCERTAIN: f64 = 1.0;
/// Of so many payments one goes to a channel that fell suddenly, to find out whether it is as it was …
const PROBE_EACH: u64 = 25;
/// … for so many attempts; then that is how it is now.
const PROBE_FOR: u64 = 10_000;
/// Weights that are kept; past that those that were not used for longest go.
pub const WEIGHTS_MAX: usize = 200_000;
const MILLION: f64 = 1_000_000.0;

/// What of a payment its approval may depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Test or live: neither teaches the other.
    pub mode: Mode,
    /// `card`, `wallet:…`.
    pub method: &'a str,
    /// The card network.
    pub network: Option<&'a str>,
    /// Who issued the card, by its first digits.
    pub issuer: Option<&'a str>,
    /// Where the payer lives.
    pub country: Option<&'a str>,
    /// The currency.
    pub currency: &'a str,
    /// The amount's order of magnitude, see [`band`].
    pub band: u8,
}

/// An amount's order of magnitude: how often it can be halved, by twos.
pub fn band(minor: i128) -> u8 {
    let bits = i128::BITS.saturating_sub(minor.max(1).leading_zeros());
    u8::try_from(bits / 2).unwrap_or(u8::MAX)
}

/// How likely a channel approves, and what that rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Estimate {
    /// In millionths.
    pub ppm: u32,
    /// The score's mean, and how uncertain what is the channel's own in it is (a standard deviation), in millionths.
    pub mean_micro: i64,
    /// See `mean_micro`.
    pub spread_micro: u64,
    /// Attempts of the channel that it rests on; fewer than 20 say nothing yet.
    pub attempts: u64,
}

impl Estimate {
    /// Whether the channel is known at all.
    pub fn is_known(&self) -> bool {
        self.attempts >= ATTEMPTS_MIN
    }

    /// A probability drawn from what is known: the less is known, the further from the estimate it may be. The same seed gives
    /// the same draw.
    pub fn draw_ppm(&self, seed: u64) -> u32 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let drawn: f64 = StandardNormal.sample(&mut random);
        let score = self.mean_micro as f64 / MILLION + drawn * self.spread_micro as f64 / MILLION;
        ppm(likely(score, 0.0))
    }
}

/// How likely a score is an approval.
fn likely(mean: f64, variance: f64) -> f64 {
    let x = mean / libm::sqrt(NOISE + variance);
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

#[derive(Clone, Copy)]
struct Weight {
    mean: f32,
    variance: f32,
    /// The attempt that it was learnt at last, by number.
    last: u64,
}

/// What a weight is before anything is known of it, and how far it wanders with each attempt.
#[derive(Clone, Copy)]
struct Kind {
    variance: f64,
    wander: f64,
    /// Whether it is the channel's own, or the same for all channels.
    is_own: bool,
}

const fn kind(variance: f64, wander: f64, is_own: bool) -> Kind {
    Kind {
        variance,
        wander,
        is_own,
    }
}

const KINDS: [Kind; 9] = [
    // The channel; with its network; with its currency; with both; with the issuer; with the amount; with the country.
    kind(0.25, 1e-5, true),
    kind(0.06, 1e-6, true),
    kind(0.10, 1e-6, true),
    kind(0.02, 1e-6, true),
    kind(0.03, 1e-6, true),
    kind(0.01, 1e-6, true),
    kind(0.05, 1e-6, true),
    // The issuer, whoever acquires; the amount in its currency.
    kind(0.10, 1e-6, false),
    kind(0.03, 1e-6, false),
];

#[derive(Clone, Copy, Default)]
struct Watch {
    attempts: u64,
    /// Evidence that it does worse, and better, than it did.
    worse: f64,
    better: f64,
    /// When it fell, by number of attempts.
    fell: Option<u64>,
}

/// What was learnt of all channels.
#[derive(Default)]
pub struct Learner {
    weights: HashMap<u64, Weight, BuildHasherDefault<Hashed>>,
    watches: HashMap<ChannelId, Watch>,
    attempts: u64,
}

impl Learner {
    /// What is expected of every channel for payments of that segment.
    pub fn expecting(&self, segment: &Segment<'_>) -> Expecting<'_> {
        Expecting(self, Parts::of(segment))
    }

    /// How likely the channel approves a payment of that segment.
    pub fn estimate(&self, channel: &ChannelId, segment: &Segment<'_>) -> Estimate {
        self.expecting(segment).of(channel)
    }

    fn estimate_by(&self, channel: &ChannelId, parts: &Parts) -> Estimate {
        let attempts = self.watches.get(channel).map_or(0, |watch| watch.attempts);
        let (mut mean, mut own, mut shared) = (PRIOR, 0.0, 0.0);
        for (key, kind) in parts.keys(channel).into_iter().zip(KINDS) {
            let weight = self.weight(key, kind);
            match kind.is_own {
                true if attempts >= ATTEMPTS_MIN => {
                    mean += f64::from(weight.mean);
                    own += f64::from(weight.variance);
                }
                true => own += kind.variance,
                false => {
                    mean += f64::from(weight.mean);
                    shared += f64::from(weight.variance);
                }
            }
        }
        // What is not known yet of one channel and known of another must not make the other one less likely.
        let counted = if attempts >= ATTEMPTS_MIN { own } else { 0.0 };
        Estimate {
            ppm: ppm(likely(mean, counted + shared)),
            mean_micro: (mean * MILLION) as i64,
            spread_micro: (libm::sqrt(own) * MILLION) as u64,
            attempts,
        }
    }

    /// Whether a payment with that seed should find out if the channel is still as bad as it suddenly became.
    pub fn is_to_be_probed(&self, channel: &ChannelId, seed: u64) -> bool {
        let fell = self.watches.get(channel).and_then(|watch| watch.fell);
        fell.is_some() && mix(hash(seed, channel.as_str())).is_multiple_of(PROBE_EACH)
    }

    /// Takes in how an attempt ended: approved, or declined. What nobody knows is taken in once somebody does.
    pub fn learn(&mut self, channel: &ChannelId, segment: &Segment<'_>, approved: bool) {
        self.attempts = self.attempts.saturating_add(1);
        self.watch(channel, segment, approved);
        let keys = Parts::of(segment).keys(channel).into_iter().zip(KINDS);
        let features: Vec<(u64, Weight)> = keys.map(|(key, kind)| (key, self.weight(key, kind))).collect();
        let mean = PRIOR + features.iter().map(|(_, it)| f64::from(it.mean)).sum::<f64>();
        let variance = NOISE + features.iter().map(|(_, it)| f64::from(it.variance)).sum::<f64>();
        let deviation = libm::sqrt(variance);
        let sign = if approved { 1.0 } else { -1.0 };
        let t = sign * mean / deviation;
        let v = hazard(t);
        let w = (v * (v + t)).clamp(0.0, 1.0);
        for (key, weight) in features {
            let share = f64::from(weight.variance);
            let learnt = Weight {
                mean: (f64::from(weight.mean) + sign * share / deviation * v) as f32,
                variance: (share * (1.0 - share / variance * w)).max(1e-6) as f32,
                last: self.attempts,
            };
            self.weights.insert(key, learnt);
        }
        if self.weights.len() > WEIGHTS_MAX {
            self.forget();
        }
    }

    /// How many weights are known.
    pub fn weights(&self) -> usize {
        self.weights.len()
    }

    /// A weight as it is now: what it was, more uncertain by what has passed since.
    fn weight(&self, key: u64, kind: Kind) -> Weight {
        match self.weights.get(&key) {
            Some(known) => {
                let wandered = kind.wander * self.attempts.saturating_sub(known.last) as f64;
                let variance = f64::from(known.variance) + wandered;
                // A channel that changed suddenly may be more uncertain than one that nobody knows.
                let most = f64::max(kind.variance, f64::from(known.variance));
                Weight {
                    variance: variance.min(most) as f32,
                    ..*known
                }
            }
            None => Weight {
                mean: 0.0,
                variance: kind.variance as f32,
                last: self.attempts,
            },
        }
    }

    /// Compares the outcome with what was expected; evidence that is too strong for chance makes the channel uncertain.
    fn watch(&mut self, channel: &ChannelId, segment: &Segment<'_>, approved: bool) {
        let expected = self.estimate(channel, segment);
        let attempts = self.attempts;
        let watch = self.watches.entry(channel.clone()).or_default();
        watch.attempts = watch.attempts.saturating_add(1);
        if watch
            .fell
            .is_some_and(|since| attempts.saturating_sub(since) > PROBE_FOR)
        {
            watch.fell = None;
        }
        if !expected.is_known() {
            return;
        }
        let p = (f64::from(expected.ppm) / MILLION).clamp(0.02, 0.98);
        let evidence = |other: f64| match approved {
            true => libm::log(other / p),
            false => libm::log((1.0 - other) / (1.0 - p)),
        };
        watch.worse = f64::max(0.0, watch.worse + evidence(p / 2.0));
        watch.better = f64::max(0.0, watch.better + evidence(1.0 - (1.0 - p) / 2.0));
        let (fell, rose) = (watch.worse > SUDDEN, watch.better > SUDDEN);
        if !fell && !rose {
            return;
        }
        (watch.worse, watch.better) = (0.0, 0.0);
        watch.fell = fell.then_some(attempts);
        let [own, ..] = Parts::of(segment).keys(channel);
        if let Some(weight) = self.weights.get_mut(&own) {
            weight.variance = weight.variance.max(UNCERTAIN as f32);
        }
    }

    /// Drops the half of the weights that was not used for longest.
    fn forget(&mut self) {
        let mut uses: Vec<u64> = self.weights.values().map(|weight| weight.last).collect();
        let half = uses.len() / 2;
        let (_, oldest, _) = uses.select_nth_unstable(half);
        let oldest = *oldest;
        self.weights.retain(|_, weight| weight.last > oldest);
    }
}

/// What is expected of the channels for one kind of payment.
pub struct Expecting<'a>(&'a Learner, Parts);

impl Expecting<'_> {
    /// How likely that one approves it.
    pub fn of(&self, channel: &ChannelId) -> Estimate {
        self.0.estimate_by(channel, &self.1)
    }
}

/// The density of the normal distribution over its integral, up to `t`: how surprising the outcome is.
fn hazard(t: f64) -> f64 {
    let density = libm::exp(-t * t / 2.0) / libm::sqrt(std::f64::consts::TAU);
    let below = 0.5 * libm::erfc(-t / std::f64::consts::SQRT_2);
    // Far out the quotient tends to the distance.
    if below > 1e-12 { density / below } else { -t }
}

fn ppm(p: f64) -> u32 {
    (p.clamp(0.0, 1.0) * MILLION) as u32
}

#[cfg(test)]
mod tests;
