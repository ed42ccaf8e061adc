//! Who routes in the simulation: the oracle that knows every probability, fixed orders, plain bandits, and the router itself,
//! by the very functions that route payments.

#![expect(clippy::float_arithmetic, reason = "probabilities; amounts are integers")]

use super::market::{Answer, CHANNELS, Market, Payment, STEP_MS};
use portolan_domain::channel::{ChannelFacts, CostRule};
use portolan_domain::ids::{ChannelId, MerchantId, Mode, Name};
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::Kind;
use portolan_domain::routing::explore::{ExploreLimit, Explored};
use portolan_domain::routing::health::{Health, Signal};
use portolan_domain::routing::learner::Learner;
use portolan_domain::routing::rule::Rulings;
use portolan_domain::routing::{ChannelState, Market as Seen, Places, RouteFacts, Subjects, plan};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Beta, Distribution};

/// What an approved payment is worth, in basis points of its amount.
pub const MARGIN_BPS: u32 = 2_000;

/// Somebody who routes.
pub trait Policy {
    /// The channels for a payment, the first one first.
    fn order(&mut self, payment: &Payment, market: &Market) -> Vec<usize>;
    /// What a channel answered, at once.
    fn met(&mut self, _payment: &Payment, _channel: usize, _answer: Answer) {}
    /// Whether it approved, as soon as that is known; of what was not reached, nothing is.
    fn learnt(&mut self, _payment: &Payment, _channel: usize, _approved: bool) {}
}

/// What an approval by the channel leaves, in minor units: the margin less its price.
pub fn left(payment: &Payment, (fixed, bps): (i128, u32)) -> i128 {
    payment.amount * i128::from(MARGIN_BPS) / 10_000 - fixed - (payment.amount * i128::from(bps) + 9_999) / 10_000
}

fn by_worth(mut worth: Vec<(usize, f64)>) -> Vec<usize> {
    worth.sort_by(|a, b| b.1.total_cmp(&a.1));
    worth.into_iter().map(|(channel, _)| channel).collect()
}

/// Knows every probability, every price and every breakdown.
pub struct Oracle;

impl Policy for Oracle {
    fn order(&mut self, payment: &Payment, market: &Market) -> Vec<usize> {
        let worth = |channel| {
            let left = left(payment, market.price(payment.at, channel)) as f64;
            (channel, market.likely(payment, channel) * left)
        };
        by_worth((0..CHANNELS).map(worth).collect())
    }
}

/// The same order for everybody.
pub struct Fixed(pub Vec<usize>);

impl Policy for Fixed {
    fn order(&mut self, _: &Payment, _: &Market) -> Vec<usize> {
        self.0.clone()
    }
}

/// Thompson sampling over channels alone, with counts that fade by that factor; worth as the others reckon it.
pub struct Bandit {
    fade: f64,
    counts: Vec<(f64, f64)>,
    random: ChaCha8Rng,
}

impl Bandit {
    /// A bandit with its own randomness.
    pub fn new(fade: f64, seed: u64) -> Self {
        Self {
            fade,
            counts: vec![(1.0, 1.0); CHANNELS],
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }
}

impl Policy for Bandit {
    fn order(&mut self, payment: &Payment, market: &Market) -> Vec<usize> {
        let mut worth = vec![];
        for (channel, (yes, no)) in self.counts.iter().enumerate() {
            let drawn = Beta::new(yes.max(0.01), no.max(0.01)).map_or(0.5, |beta| beta.sample(&mut self.random));
            worth.push((channel, drawn * left(payment, market.price(payment.at, channel)) as f64));
        }
        by_worth(worth)
    }
    fn met(&mut self, payment: &Payment, channel: usize, answer: Answer) {
        if answer == Answer::NotSent {
            self.learnt(payment, channel, false);
        }
    }
    fn learnt(&mut self, _: &Payment, channel: usize, approved: bool) {
        if let Some((yes, no)) = self.counts.get_mut(channel) {
            *yes = *yes * self.fade + if approved { 1.0 } else { 0.0 };
            *no = *no * self.fade + if approved { 0.0 } else { 1.0 };
        }
    }
}

/// The router.
pub struct Router {
    merchant: MerchantId,
    channels: Vec<ChannelFacts>,
    health: Vec<Health>,
    learner: Learner,
    limit: ExploreLimit,
    explored: Explored,
}

fn name(text: &str) -> Option<Name> {
    Name::parse(text)
}

impl Router {
    /// A router that knows nothing, and what it may spend on learning.
    pub fn new(limit: ExploreLimit) -> Option<Self> {
        let channel = |n: usize| {
            let id = name(&format!("channel-{n}"))?;
            Some(ChannelFacts {
                methods: vec!["card".into()],
                kinds: vec![Kind::Authorize],
                ..ChannelFacts::empty(id, Mode::Live)
            })
        };
        Some(Self {
            merchant: name("shop")?,
            channels: (0..CHANNELS).map(channel).collect::<Option<_>>()?,
            health: vec![Health::default(); CHANNELS],
            learner: Learner::default(),
            limit,
            explored: Explored::default(),
        })
    }

    fn index(&self, id: &ChannelId) -> usize {
        self.channels.iter().position(|it| it.id == *id).unwrap_or(0)
    }
}

fn money(payment: &Payment) -> Option<Money> {
    Money::new(payment.amount, Asset::currency(payment.currency)?)
}

fn facts<'a>(merchant: &'a MerchantId, payment: &'a Payment, amount: &'a Money) -> RouteFacts<'a> {
    RouteFacts {
        must_authenticate: false,
        merchant,
        mode: Mode::Live,
        method: "card",
        amount,
        kind: Kind::Authorize,
        manual_capture: false,
        network: Some(payment.network),
        issuer: Some(&payment.bin),
        card: None,
        country: None,
        places: Places::default(),
        subjects: Subjects::default(),
    }
}

impl Policy for Router {
    fn order(&mut self, payment: &Payment, market: &Market) -> Vec<usize> {
        let Some(amount) = money(payment) else { return vec![] };
        let now_ms = payment.at as u64 * STEP_MS;
        for (n, channel) in self.channels.iter_mut().enumerate() {
            let (fixed, bps) = market.price(payment.at, n);
            channel.costs = vec![CostRule {
                currency: None,
                network: None,
                fixed,
                bps,
            }];
        }
        let may_explore = self.explored.may(&self.limit, payment.amount, now_ms);
        let state = |id: &ChannelId| ChannelState {
            standing: self
                .health
                .get(self.index(id))
                .map_or(portolan_domain::routing::health::Standing::Well, |health| {
                    health.standing(now_ms)
                }),
            in_flight: 0,
        };
        let seen = Seen {
            now_ms,
            seed: payment.at as u64,
            rulings: Rulings::default(),
            state: &state,
            learner: &self.learner,
            margin_bps: MARGIN_BPS,
            may_explore,
            attempts_max: CHANNELS,
        };
        let route = plan(&facts(&self.merchant, payment, &amount), &self.channels, seen);
        if route.decision.is_exploring {
            self.explored.spend(payment.amount, now_ms);
        }
        let order: Vec<usize> = route.channels.iter().map(|(id, _)| self.index(id)).collect();
        if let Some(health) = order.first().and_then(|first| self.health.get_mut(*first)) {
            health.take_probe(now_ms);
        }
        order
    }

    fn met(&mut self, payment: &Payment, channel: usize, answer: Answer) {
        let now_ms = payment.at as u64 * STEP_MS;
        let signal = match answer {
            Answer::Approved | Answer::Declined(_) => Signal::Well,
            Answer::NotSent | Answer::Unknown(..) => Signal::Failing,
        };
        if let Some(health) = self.health.get_mut(channel) {
            health.note(signal, 300, now_ms);
        }
    }

    fn learnt(&mut self, payment: &Payment, channel: usize, approved: bool) {
        let (Some(amount), Some(it)) = (money(payment), self.channels.get(channel)) else {
            return;
        };
        let facts = facts(&self.merchant, payment, &amount);
        self.learner.learn(&it.id, &facts.segment(), approved);
    }
}
