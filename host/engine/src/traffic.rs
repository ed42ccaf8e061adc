//! What this node has seen of its channels: how well each is, how much each has to do, how often each approves, and what was
//! spent on learning more. It is in memory: a start learns again from what is stored, and forgets nothing that must hold (limits
//! of repetition are in the store).

use dashmap::DashMap;
use dashmap::mapref::one::RefMut;
use portolan_domain::channel::ChannelFacts;
use portolan_domain::ids::{ChannelId, MerchantId, Mode, PaymentId};
use portolan_domain::money::Money;
use portolan_domain::operation::{FaultKind, Kind, Verdict};
use portolan_domain::routing::decline::DeclineTable;
use portolan_domain::routing::explore::{ExploreLimit, Explored};
use portolan_domain::routing::health::{Health, Signal, Standing};
use portolan_domain::routing::learner::{Learner, Segment};
use portolan_domain::routing::tries::CardKey;
use portolan_domain::routing::{ChannelState, RouteFacts};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// What this node may try on other channels after declines, for each merchant and mode: one for each four attempts, and so many
/// in store.
const CASCADE_EACH: u32 = 4;
const CASCADES_SAVED: u32 = 100;

/// How payments are routed.
#[derive(Clone, Debug)]
pub struct RoutingPolicy {
    /// What declines allow.
    pub declines: DeclineTable,
    /// How long a card that was declined for good is refused.
    pub blocked_ms: u64,
    /// What an approved payment is worth to whoever sells, in basis points of its amount.
    pub margin_bps: u32,
    /// What may be spent on learning, by currency; none: nothing.
    pub explore: BTreeMap<String, ExploreLimit>,
}

impl Default for RoutingPolicy {
    fn default() -> Self {
        Self {
            declines: DeclineTable::default(),
            blocked_ms: 365 * DAY_MS,
            margin_bps: 2_000,
            explore: BTreeMap::new(),
        }
    }
}

/// A channel as operators see it.
#[derive(Clone, Debug)]
pub struct ChannelHealth {
    /// Which.
    pub channel: ChannelId,
    /// What it does.
    pub kind: Kind,
    /// Whether an operator took it out.
    pub is_stopped: bool,
    /// How well it is.
    pub standing: Standing,
    /// How much of it failed lately, in millionths.
    pub failing_ppm: u32,
    /// How long it took lately.
    pub latency_ms: u64,
    /// Attempts under way.
    pub in_flight: usize,
}

/// What this node has seen.
#[derive(Default)]
pub(crate) struct Traffic {
    health: DashMap<(ChannelId, Kind), Health>,
    in_flight: DashMap<ChannelId, usize>,
    cards: DashMap<CardKey, usize>,
    learner: Mutex<Learner>,
    explored: Mutex<HashMap<String, Explored>>,
    /// Attempts since the last cascade was earned, and cascades that are left.
    cascades: DashMap<(Mode, MerchantId), (u32, u32)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An attempt under way; it counts until it is dropped.
pub(crate) struct UnderWay<'a>(&'a Traffic, ChannelId, Option<CardKey>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(mut count) = self.0.in_flight.get_mut(&self.1) {
            *count = count.saturating_sub(1);
        }
        let Some(card) = &self.2 else { return };
        if let Some(mut count) = self.0.cards.get_mut(card) {
            *count = count.saturating_sub(1);
        }
        self.0.cards.remove_if(card, |_, count| *count == 0);
    }
}

impl Traffic {
    /// How a channel is, for an operation of that kind.
    pub fn state(&self, channel: &ChannelId, kind: Kind, now_ms: u64) -> ChannelState {
        let health = self.health.get(&(channel.clone(), kind));
        ChannelState {
            standing: health.map_or(Standing::Well, |it| it.standing(now_ms)),
            in_flight: self.in_flight.get(channel).map_or(0, |count| *count),
        }
    }

    /// Every channel, for each kind that is routed.
    pub fn all(&self, channels: &[ChannelFacts], now_ms: u64) -> Vec<ChannelHealth> {
        let routed = |it: &ChannelFacts| {
            let kinds = [Kind::Authorize, Kind::Pay]
                .into_iter()
                .filter(|kind| it.kinds.contains(kind));
            kinds.collect::<Vec<_>>()
        };
        let all = channels
            .iter()
            .flat_map(|it| routed(it).into_iter().map(move |kind| (it, kind)));
        all.map(|(it, kind)| {
            let known = self.health.get(&(it.id.clone(), kind));
            let health = known.map_or_else(Health::default, |it| it.clone());
            ChannelHealth {
                channel: it.id.clone(),
                kind,
                is_stopped: it.disabled,
                standing: health.standing(now_ms),
                failing_ppm: health.failing_ppm(),
                latency_ms: health.latency_ms(),
                in_flight: self.in_flight.get(&it.id).map_or(0, |count| *count),
            }
        })
        .collect()
    }

    /// What is known of approvals, as long as the guard lives.
    pub fn learner(&self) -> MutexGuard<'_, Learner> {
        lock(&self.learner)
    }

    /// Takes in how an attempt ended.
    pub fn learn(&self, channel: &ChannelId, segment: &Segment<'_>, approved: bool) {
        lock(&self.learner).learn(channel, segment, approved);
    }

    /// An attempt begins on the channel, if it still may: of several payments that were planned while it is to be probed one goes
    /// there, and no more than it may have. `is_forced`: no channel is well.
    pub fn begin(
        &self,
        (channel, kind, card): (&ChannelFacts, Kind, Option<CardKey>),
        is_forced: bool,
        now_ms: u64,
    ) -> Option<UnderWay<'_>> {
        let mut count = self.in_flight.entry(channel.id.clone()).or_default();
        if channel.in_flight_max.is_some_and(|most| *count >= most) {
            return None;
        }
        if let Some(mut health) = self.health.get_mut(&(channel.id.clone(), kind)) {
            let is_probe = health.standing(now_ms) != Standing::Well;
            if is_probe && !health.take_probe(now_ms) && !is_forced {
                return None;
            }
        }
        *count = count.saturating_add(1);
        drop(count);
        if let Some(card) = &card {
            let mut count = self.cards.entry(card.clone()).or_default();
            *count = count.saturating_add(1);
        }
        Some(UnderWay(self, channel.id.clone(), card))
    }

    /// Attempts with the card that are under way.
    pub fn with_card(&self, card: &CardKey) -> usize {
        self.cards.get(card).map_or(0, |count| *count)
    }

    /// An attempt earns its part of a further one.
    pub fn earn_cascade(&self, mode: Mode, merchant: &MerchantId) {
        let mut budget = self.budget(mode, merchant);
        budget.0 = budget.0.saturating_add(1);
        if budget.0 >= CASCADE_EACH {
            *budget = (0, budget.1.saturating_add(1).min(CASCADES_SAVED));
        }
    }

    /// Whether one more attempt after a decline is within this node's budget; it is spent.
    pub fn spend_cascade(&self, mode: Mode, merchant: &MerchantId) -> bool {
        let mut budget = self.budget(mode, merchant);
        let is_left = budget.1 > 0;
        budget.1 = budget.1.saturating_sub(1);
        drop(budget);
        if !is_left {
            tracing::warn!(%merchant, mode = mode.as_str(), "too many declines: no other channel is tried for now");
        }
        is_left
    }

    fn budget(&self, mode: Mode, merchant: &MerchantId) -> RefMut<'_, (Mode, MerchantId), (u32, u32)> {
        let entry = self.cascades.entry((mode, merchant.clone()));
        entry.or_insert((0, CASCADES_SAVED))
    }

    /// Takes in what an operation met.
    pub fn heard(&self, (channel, kind): (&ChannelId, Kind), verdict: &Verdict, (took_ms, now_ms): (u64, u64)) {
        // Only what is routed has a breaker: nothing else is ever probed.
        let Some(signal) = signal(verdict).filter(|_| matches!(kind, Kind::Authorize | Kind::Pay)) else {
            return;
        };
        let before = self.state(channel, kind, now_ms).standing;
        let mut health = self.health.entry((channel.clone(), kind)).or_default();
        health.note(signal, took_ms, now_ms);
        let after = health.standing(now_ms);
        drop(health);
        match (before, after) {
            (Standing::Well, Standing::Sick { .. }) => {
                tracing::warn!(%channel, kind = kind.as_str(), "a channel is failing: it is left out until it is well again");
            }
            (before, Standing::Well) if before != Standing::Well => {
                tracing::info!(%channel, kind = kind.as_str(), "a channel is well again");
            }
            _ => {}
        }
    }

    /// Whether the payment may go where more is to be learnt, as far as its amount goes. What is paid out is not played with.
    pub fn may_explore(&self, facts: &RouteFacts<'_>, policy: &RoutingPolicy, now_ms: u64) -> bool {
        let code = facts.amount.asset().code();
        let explored = lock(&self.explored).get(code).copied().unwrap_or_default();
        let limit = policy.explore.get(code).filter(|_| facts.kind == Kind::Authorize);
        limit.is_some_and(|limit| explored.may(limit, facts.amount.minor(), now_ms))
    }

    /// Notes that a payment went where more is to be learnt.
    pub fn explored(&self, amount: &Money, now_ms: u64) {
        let mut explored = lock(&self.explored);
        let of_currency = explored.entry(amount.asset().code().to_owned()).or_default();
        of_currency.spend(amount.minor(), now_ms);
    }
}

/// A number for draws from a payment's own id: the random part of it.
pub(crate) fn seed_of(payment: PaymentId) -> u64 {
    let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *payment.0.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, 0, 0])
}

/// What a verdict says of the channel's health; `None`: nothing, the merchant's input was at fault.
fn signal(verdict: &Verdict) -> Option<Signal> {
    match verdict {
        Verdict::Proven(_) => Some(Signal::Well),
        Verdict::NoEffect(fault) => match fault.kind {
            FaultKind::Invalid | FaultKind::Unsupported => None,
            FaultKind::Protocol
            | FaultKind::Misconfigured
            | FaultKind::StaleSession
            | FaultKind::Other
            | FaultKind::Trap
            | FaultKind::Timeout
            | FaultKind::Memory
            | FaultKind::TooLarge
            | FaultKind::NotPure
            | FaultKind::Rounds
            | FaultKind::NotGranted
            | FaultKind::HandleMisplaced
            | FaultKind::ClaimsMore
            | FaultKind::ClaimsUnheard => Some(Signal::Failing),
        },
        Verdict::Unknown(..) => Some(Signal::Failing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_domain::ids::Name;
    use portolan_domain::operation::Fault;

    fn channel(in_flight_max: Option<usize>) -> ChannelFacts {
        ChannelFacts {
            in_flight_max,
            ..ChannelFacts::empty(Name::parse("a").unwrap(), Mode::Live)
        }
    }

    #[test]
    fn of_many_that_were_planned_one_probes_and_no_more_go_than_may() {
        let traffic = Traffic::default();
        let bounded = channel(Some(2));
        let begin = |it| traffic.begin((it, Kind::Authorize, None), false, 10_000);
        let (first, second) = (begin(&bounded), begin(&bounded));
        assert!(first.is_some() && second.is_some() && begin(&bounded).is_none());
        drop(first);
        assert!(begin(&bounded).is_some());
        drop(second);
        let failing = Verdict::NoEffect(Fault {
            kind: FaultKind::Other,
            text: String::new(),
        });
        let free = channel(None);
        for _ in 0..6 {
            traffic.heard((&free.id, Kind::Authorize), &failing, (1, 0));
        }
        // It was opened at 0 for five seconds: now one finds out, and nobody else, unless there is nobody else to ask.
        let probe = begin(&free);
        assert!(probe.is_some() && begin(&free).is_none());
        assert!(traffic.begin((&free, Kind::Authorize, None), true, 10_000).is_some());
        // What follows a payment is not routed: it opens nothing that nobody would ever probe.
        for _ in 0..9 {
            traffic.heard((&free.id, Kind::Capture), &failing, (1, 0));
        }
        assert_eq!(traffic.state(&free.id, Kind::Capture, 0).standing, Standing::Well);
    }

    #[test]
    fn a_cascade_is_earned_and_each_merchant_has_a_budget_of_its_own() {
        let traffic = Traffic::default();
        let (shop, other) = (Name::parse("shop").unwrap(), Name::parse("other").unwrap());
        let spent = (0..200).filter(|_| traffic.spend_cascade(Mode::Live, &shop)).count();
        assert_eq!(spent, usize::try_from(CASCADES_SAVED).unwrap());
        assert!(traffic.spend_cascade(Mode::Live, &other) && traffic.spend_cascade(Mode::Test, &shop));
        (0..CASCADE_EACH).for_each(|_| traffic.earn_cascade(Mode::Live, &shop));
        assert!(traffic.spend_cascade(Mode::Live, &shop) && !traffic.spend_cascade(Mode::Live, &shop));
    }
}
