//! How likely a channel approves a payment: counts that fade, kept for ever narrower segments, each shrunk towards the wider one
//! that it is part of, so that a thin segment says little and a well-known one is believed. A drop or a rise that is too sudden
//! to be chance makes a channel's counts fade at once.
//!
//! Sources: discounted Thompson sampling (Raj and Kalyani 2017), empirical-Bayes shrinkage, CUSUM (Page 1954). Probabilities are
//! no money: they are floats here, and leave as millionths. The mathematics is `libm`'s, the same on every machine.

#![expect(
    clippy::float_arithmetic,
    reason = "probabilities; amounts are integers and stay outside"
)]

use crate::ids::ChannelId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Beta, Distribution};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What is expected of a channel that nobody knows yet.
const PRIOR: f64 = 0.85;
/// A wider segment counts like at most so many attempts in the narrower one.
const PARENT: f64 = 30.0;
/// A channel with fewer attempts is expected to do as any other.
const ATTEMPTS_MIN: f64 = 20.0;
/// With each attempt what is older counts so much less: some 300 count.
const FADE: f64 = 0.9967;
/// Evidence of a change that makes a channel's counts fade at once: chance alone reaches it about once in 3,000 attempts.
const SUDDEN: f64 = 8.0;
/// What of the counts is left then.
const LEFT: f64 = 0.1;
/// Segments that are kept; past that the ones that were not used for longest go.
pub const SEGMENTS_MAX: usize = 100_000;
const MILLION: f64 = 1_000_000.0;

/// What of a payment its approval may depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// `card`, `wallet:…`.
    pub method: &'a str,
    /// The card network.
    pub network: Option<&'a str>,
    /// Who issued the card, by its first digits.
    pub issuer: Option<&'a str>,
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

/// How narrow the segment is that an estimate rests on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is known yet.
    Nothing,
    /// The channel.
    Channel,
    /// The channel with this method and network.
    Method,
    /// With this currency too.
    Currency,
    /// With this issuer and amount too.
    Issuer,
}

impl Level {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Channel => "channel",
            Self::Method => "method",
            Self::Currency => "currency",
            Self::Issuer => "issuer",
        }
    }
}

const LEVELS: [Level; 4] = [Level::Channel, Level::Method, Level::Currency, Level::Issuer];

/// How likely a channel approves, and what that rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Estimate {
    /// In millionths.
    pub ppm: u32,
    /// Attempts that count, in thousandths: of the narrowest segment and what it takes from the wider ones.
    pub weight_milli: u64,
    /// The narrowest segment that was ever seen.
    pub level: Level,
}

impl Estimate {
    /// A probability drawn from what is known: the less is known, the further from the estimate it may be. The same seed gives
    /// the same draw.
    pub fn draw_ppm(&self, seed: u64) -> u32 {
        let (p, n) = (f64::from(self.ppm) / MILLION, milli(self.weight_milli));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // A little of either outcome is always possible.
        let drawn = Beta::new(p * n + 0.5, (1.0 - p) * n + 0.5).map(|beta| beta.sample(&mut random));
        ppm(drawn.unwrap_or(p))
    }
}

#[derive(Clone, Copy, Default)]
struct Cell {
    approved: f32,
    tried: f32,
    /// The attempt that counted last here, by number.
    last: u64,
}

#[derive(Clone, Copy, Default)]
struct Watch {
    /// Evidence that it does worse, and better, than it did.
    worse: f64,
    better: f64,
}

/// The counts of all segments.
#[derive(Default)]
pub struct Learner {
    cells: HashMap<u64, Cell>,
    watches: HashMap<ChannelId, Watch>,
    /// Every key below a channel, to let them fade together.
    by_channel: HashMap<ChannelId, Vec<u64>>,
    attempts: u64,
}

impl Learner {
    /// How likely the channel approves a payment of that segment.
    pub fn estimate(&self, channel: &ChannelId, segment: &Segment<'_>) -> Estimate {
        let mut estimate = (PRIOR, 2.0, Level::Nothing);
        for (key, level) in keys(channel, segment).into_iter().zip(LEVELS) {
            let Some(cell) = self.cells.get(&key) else { break };
            let (approved, tried) = (f64::from(cell.approved), f64::from(cell.tried));
            if level == Level::Channel && tried < ATTEMPTS_MIN {
                break;
            }
            let (parent, weight, _) = estimate;
            let prior = f64::min(weight, PARENT);
            estimate = ((approved + parent * prior) / (tried + prior), tried + prior, level);
        }
        let (p, weight, level) = estimate;
        Estimate {
            ppm: ppm(p),
            weight_milli: thousandths(weight),
            level,
        }
    }

    /// Takes in how an attempt ended: approved, or declined. What nobody knows is taken in once somebody does.
    pub fn learn(&mut self, channel: &ChannelId, segment: &Segment<'_>, approved: bool) {
        self.watch(channel, segment, approved);
        self.attempts = self.attempts.saturating_add(1);
        let keys = keys(channel, segment);
        let known = self.by_channel.entry(channel.clone()).or_default();
        for key in keys {
            let cell = self.cells.entry(key).or_insert_with(|| {
                known.push(key);
                Cell::default()
            });
            cell.approved = cell.approved * FADE as f32 + if approved { 1.0 } else { 0.0 };
            cell.tried = cell.tried * FADE as f32 + 1.0;
            cell.last = self.attempts;
        }
        if self.cells.len() > SEGMENTS_MAX {
            self.forget();
        }
    }

    /// How many segments are known.
    pub fn segments(&self) -> usize {
        self.cells.len()
    }

    /// Compares the outcome with what was expected; evidence that is too strong for chance lets the channel's counts fade.
    fn watch(&mut self, channel: &ChannelId, segment: &Segment<'_>, approved: bool) {
        let expected = self.estimate(channel, segment);
        if expected.level == Level::Nothing {
            return;
        }
        let p = (f64::from(expected.ppm) / MILLION).clamp(0.02, 0.98);
        let evidence = |other: f64| match approved {
            true => libm::log(other / p),
            false => libm::log((1.0 - other) / (1.0 - p)),
        };
        let watch = self.watches.entry(channel.clone()).or_default();
        watch.worse = f64::max(0.0, watch.worse + evidence(p / 2.0));
        watch.better = f64::max(0.0, watch.better + evidence(1.0 - (1.0 - p) / 2.0));
        if watch.worse > SUDDEN || watch.better > SUDDEN {
            *watch = Watch::default();
            for key in self.by_channel.get(channel).into_iter().flatten() {
                if let Some(cell) = self.cells.get_mut(key) {
                    cell.approved *= LEFT as f32;
                    cell.tried *= LEFT as f32;
                }
            }
        }
    }

    /// Drops the half of the segments that was not used for longest.
    fn forget(&mut self) {
        let mut uses: Vec<u64> = self.cells.values().map(|cell| cell.last).collect();
        let half = uses.len() / 2;
        let (_, oldest, _) = uses.select_nth_unstable(half);
        let oldest = *oldest;
        self.cells.retain(|_, cell| cell.last > oldest);
        for keys in self.by_channel.values_mut() {
            keys.retain(|key| self.cells.contains_key(key));
        }
    }
}

/// The keys of the levels, the widest first.
fn keys(channel: &ChannelId, segment: &Segment<'_>) -> [u64; 4] {
    let none = "";
    let channel = hash(FNV_OFFSET, channel.as_str());
    let method = hash(hash(channel, segment.method), segment.network.unwrap_or(none));
    let currency = hash(method, segment.currency);
    let issuer = hash(currency, segment.issuer.unwrap_or(none));
    let issuer = hash_bytes(issuer, &[segment.band]);
    [channel, method, currency, issuer]
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, the same on every machine; a byte between two texts keeps them apart.
pub(crate) fn hash(start: u64, text: &str) -> u64 {
    hash_bytes(hash_bytes(start, text.as_bytes()), &[0xff])
}

fn hash_bytes(start: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(start, step)
}

fn ppm(p: f64) -> u32 {
    (p.clamp(0.0, 1.0) * MILLION) as u32
}

fn thousandths(n: f64) -> u64 {
    (n * 1_000.0) as u64
}

fn milli(n: u64) -> f64 {
    n as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;

    fn channel(name: &str) -> ChannelId {
        Name::parse(name).unwrap()
    }

    fn segment(currency: &str) -> Segment<'_> {
        Segment {
            method: "card",
            network: Some("visa"),
            issuer: Some("424242"),
            currency,
            band: band(1_000),
        }
    }

    #[test]
    fn nothing_known_is_the_same_for_all_and_thin_segments_follow_wide_ones() {
        let mut learner = Learner::default();
        let (a, b) = (channel("a"), channel("b"));
        let expected = learner.estimate(&a, &segment("EUR"));
        assert_eq!(expected, learner.estimate(&b, &segment("EUR")));
        assert_eq!((expected.ppm, expected.level), (850_000, Level::Nothing));
        for n in 0..300 {
            learner.learn(&a, &segment("EUR"), n % 2 == 0);
        }
        let known = learner.estimate(&a, &segment("EUR"));
        assert_eq!(known.level, Level::Issuer);
        assert!((470_000..560_000).contains(&known.ppm), "{known:?}");
        // A currency that was never seen is expected to do as the channel does with the network.
        let other = learner.estimate(&a, &segment("USD"));
        assert_eq!(other.level, Level::Method);
        assert!((470_000..560_000).contains(&other.ppm), "{other:?}");
        assert_eq!(learner.estimate(&b, &segment("EUR")).level, Level::Nothing);
    }

    #[test]
    fn a_sudden_drop_is_seen_within_some_attempts() {
        let mut learner = Learner::default();
        let a = channel("a");
        for n in 0..1_000 {
            learner.learn(&a, &segment("EUR"), n % 10 != 0);
        }
        assert!(learner.estimate(&a, &segment("EUR")).ppm > 850_000);
        for _ in 0..30 {
            learner.learn(&a, &segment("EUR"), false);
        }
        assert!(learner.estimate(&a, &segment("EUR")).ppm < 450_000);
    }

    #[test]
    fn a_draw_repeats_and_is_narrow_where_much_is_known() {
        let thin = Estimate {
            ppm: 800_000,
            weight_milli: 4_000,
            level: Level::Channel,
        };
        let rich = Estimate {
            weight_milli: 400_000,
            ..thin
        };
        let spread = |estimate: Estimate| {
            let drawn: Vec<u32> = (0..200).map(|seed| estimate.draw_ppm(seed)).collect();
            drawn.iter().max().unwrap() - drawn.iter().min().unwrap()
        };
        assert_eq!(thin.draw_ppm(7), thin.draw_ppm(7));
        assert!(spread(rich) < spread(thin) / 3, "{} {}", spread(rich), spread(thin));
    }

    #[test]
    fn memory_is_bounded() {
        let mut learner = Learner::default();
        let a = channel("a");
        for n in 0..120_000_u32 {
            let issuer = format!("{n:06}");
            let one = Segment {
                issuer: Some(&issuer),
                ..segment("EUR")
            };
            learner.learn(&a, &one, true);
        }
        assert!(learner.segments() <= SEGMENTS_MAX);
        assert_eq!(learner.estimate(&a, &segment("EUR")).level, Level::Currency);
    }
}
