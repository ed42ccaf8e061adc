//! The market of the simulation: channels whose approvals drift, jump and break down, prices that change, answers that come late
//! or never, thin groups of payments. It is frozen: it was written before anything was tuned on it, and its drift is none that
//! the router's learner assumes. The same seed gives the same market, whoever routes in it: whether a channel approves a payment
//! is drawn from seed, payment and channel alone.

#![expect(clippy::float_arithmetic, reason = "probabilities; amounts are integers")]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, LogNormal, Normal};

/// Channels.
pub const CHANNELS: usize = 6;
/// Between two payments.
pub const STEP_MS: u64 = 2_000;
const NETWORKS: [(&str, f64); 3] = [("visa", 0.6), ("mastercard", 0.3), ("amex", 0.1)];
const CURRENCIES: [(&str, f64); 4] = [("EUR", 0.6), ("USD", 0.25), ("HKD", 0.1), ("THB", 0.05)];
const ISSUERS: usize = 200;
/// Breakdowns of each channel in a run.
const BREAKDOWNS: usize = 2;

/// A payment.
#[derive(Clone, Debug)]
pub struct Payment {
    /// Its number, from 0.
    pub at: usize,
    /// Minor units.
    pub amount: i128,
    /// ISO 4217.
    pub currency: &'static str,
    /// The card's network.
    pub network: &'static str,
    /// Six digits.
    pub bin: String,
    issuer: usize,
}

/// How a channel answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The money is taken.
    Approved,
    /// Declined; whether another channel may be tried.
    Declined(bool),
    /// It was not reached: nothing happened.
    NotSent,
    /// Nobody knows; whether it was approved, and after how many payments that is found out, if ever.
    Unknown(bool, Option<usize>),
}

/// A breakdown.
#[derive(Clone, Copy, Debug)]
pub struct Breakdown {
    /// The first payment that meets it.
    pub from: usize,
    /// The first that does not.
    pub until: usize,
    /// Nothing is reached; otherwise most is declined.
    pub is_hard: bool,
}

struct Channel {
    base: f64,
    by_network: [f64; 3],
    by_currency: [f64; 4],
    by_issuer: Vec<f64>,
    /// A slow swing: how wide, how long, from where.
    swing: (f64, f64, f64),
    /// From a payment on, so much more or less.
    jumps: Vec<(usize, f64)>,
    /// From a payment on: fixed, basis points.
    prices: Vec<(usize, i128, u32)>,
    breakdowns: Vec<Breakdown>,
}

/// A market.
pub struct Market {
    seed: u64,
    channels: Vec<Channel>,
    /// How creditworthy an issuer's cards are, whoever acquires.
    issuers: Vec<f64>,
}

/// A number in 0..1 from these alone.
fn unit(seed: u64, parts: [u64; 3]) -> f64 {
    let mut x = seed ^ 0x9e37_79b9_7f4a_7c15;
    for part in parts {
        x ^= part.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
    }
    (x >> 11) as f64 / (1_u64 << 53) as f64
}

fn pick<T: Copy>(of: &[(T, f64)], at: f64) -> usize {
    let mut left = at;
    let hit = of.iter().position(|(_, share)| {
        left -= share;
        left < 0.0
    });
    hit.unwrap_or(0)
}

fn normal(random: &mut ChaCha8Rng, mean: f64, spread: f64) -> f64 {
    Normal::new(mean, spread).map_or(mean, |it| it.sample(random))
}

impl Market {
    /// A market for so many payments.
    pub fn new(seed: u64, payments: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let issuers = (0..ISSUERS).map(|_| normal(&mut random, 0.0, 0.5)).collect();
        let channels = (0..CHANNELS).map(|_| Channel::new(&mut random, payments)).collect();
        Self {
            seed,
            channels,
            issuers,
        }
    }

    /// The payment of that number.
    pub fn payment(&self, at: usize) -> Payment {
        let draw = |what| unit(self.seed, [at as u64, what, 0]);
        // Few issuers have many cards, most have few.
        let issuer = ((draw(1) * draw(1)) * ISSUERS as f64) as usize;
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ (at as u64).wrapping_mul(0x9e37_79b9));
        let amount = LogNormal::new(8.3, 0.9).map_or(4_000.0, |it| it.sample(&mut random));
        let network = NETWORKS.get(pick(&NETWORKS, draw(2))).map_or("visa", |it| it.0);
        let currency = CURRENCIES.get(pick(&CURRENCIES, draw(3))).map_or("EUR", |it| it.0);
        Payment {
            at,
            amount: (amount as i128).max(100),
            currency,
            network,
            bin: format!("4{:05}", issuer * 37),
            issuer,
        }
    }

    /// How likely the channel approves that payment: what only the oracle knows. Nothing is approved where nothing is reached.
    pub fn likely(&self, payment: &Payment, channel: usize) -> f64 {
        let Some(it) = self.channels.get(channel) else {
            return 0.0;
        };
        let at = |all: &[(&str, f64)], name: &str| all.iter().position(|(known, _)| *known == name).unwrap_or(0);
        let get = |all: &[f64], at: usize| all.get(at).copied().unwrap_or(0.0);
        let (wide, long, from) = it.swing;
        let swing = wide * ((payment.at as f64 / long + from) * std::f64::consts::TAU).sin();
        let jumped = it.jumps.iter().rfind(|(since, _)| *since <= payment.at);
        let logit = it.base
            + get(&it.by_network, at(&NETWORKS, payment.network))
            + get(&it.by_currency, at(&CURRENCIES, payment.currency))
            + get(&it.by_issuer, payment.issuer)
            + get(&self.issuers, payment.issuer)
            + swing
            + jumped.map_or(0.0, |(_, by)| *by);
        let p = 1.0 / (1.0 + (-logit).exp());
        match it.broken(payment.at) {
            Some(Breakdown { is_hard: true, .. }) => 0.0,
            Some(_) => p * 0.15,
            None => p,
        }
    }

    /// What the channel answers to that payment.
    pub fn answer(&self, payment: &Payment, channel: usize) -> Answer {
        let draw = |what| unit(self.seed, [payment.at as u64, channel as u64 + 1_000, what]);
        let is_hard = self.channels.get(channel).and_then(|it| it.broken(payment.at));
        if is_hard.is_some_and(|it| it.is_hard) {
            return Answer::NotSent;
        }
        let approved = draw(1) < self.likely(payment, channel);
        if draw(2) < 0.005 {
            // Found out after minutes to days; one of five never.
            let after = (10.0 * (draw(3) * 9.0).exp()) as usize;
            return Answer::Unknown(approved, (draw(4) < 0.8).then_some(after));
        }
        match approved {
            true => Answer::Approved,
            // What the payer's bank will not do now, no channel changes; whether it says so does not depend on the channel.
            false => Answer::Declined(unit(self.seed, [payment.at as u64, 7, 7]) < 0.4),
        }
    }

    /// Fixed and basis points, as they are then.
    pub fn price(&self, at: usize, channel: usize) -> (i128, u32) {
        let prices = self.channels.get(channel).map_or(&[][..], |it| it.prices.as_slice());
        let now = prices.iter().rfind(|(since, _, _)| *since <= at);
        now.map_or((0, 0), |(_, fixed, bps)| (*fixed, *bps))
    }

    /// When the channel breaks down.
    pub fn breakdowns(&self, channel: usize) -> &[Breakdown] {
        self.channels.get(channel).map_or(&[], |it| it.breakdowns.as_slice())
    }
}

impl Channel {
    fn new(random: &mut ChaCha8Rng, payments: usize) -> Self {
        let whole = |random: &mut ChaCha8Rng, most: usize| (random.next_u64() % most.max(1) as u64) as usize;
        let mut jumps = vec![];
        let mut at = 0;
        while at < payments {
            at += 2_000 + whole(random, 12_000);
            jumps.push((at, normal(random, 0.0, 0.5)));
        }
        let mut prices = vec![(0, 10 + whole(random, 25) as i128, 60 + whole(random, 190) as u32)];
        let later = payments / 3 + whole(random, payments / 3);
        prices.push((later, 10 + whole(random, 25) as i128, 60 + whole(random, 190) as u32));
        let breakdowns = (0..BREAKDOWNS).map(|n| {
            let from = payments / 10 + n * payments / 2 + whole(random, payments / 4);
            Breakdown {
                from,
                until: from + 300 + whole(random, 1_700),
                is_hard: whole(random, 2) == 0,
            }
        });
        let breakdowns = breakdowns.collect();
        Self {
            base: normal(random, 1.8, 0.3),
            by_network: std::array::from_fn(|_| normal(random, 0.0, 0.4)),
            by_currency: std::array::from_fn(|_| normal(random, 0.0, 0.6)),
            by_issuer: (0..ISSUERS).map(|_| normal(random, 0.0, 0.3)).collect(),
            swing: (
                normal(random, 0.2, 0.1).abs(),
                3_000.0 + whole(random, 20_000) as f64,
                unit(random.next_u64(), [0, 0, 0]),
            ),
            jumps,
            prices,
            breakdowns,
        }
    }

    fn broken(&self, at: usize) -> Option<Breakdown> {
        self.breakdowns
            .iter()
            .copied()
            .find(|it| (it.from..it.until).contains(&at))
    }
}
