//! Making a payment's route: gathers facts, rules and what this node has seen, and lets the domain decide. The same is done
//! without a payment, for whoever asks what would happen.

use crate::Engine;
use crate::risk::Past;
use crate::run::Ran;
use crate::traffic::{ChannelHealth, seed_of};
use crate::walk::{REFUSED, Walk};
use portolan_domain::exchange::Effect;
use portolan_domain::ids::{ChannelId, PaymentId};
use portolan_domain::operation::{
    AskedBy, CardFacts, Decline, Fault, Instrument, Kind, Operation, Outcome, Retry, Verdict,
};
use portolan_domain::payment::status::{AttemptStatus, PaymentStatus};
use portolan_domain::payment::{Attempt, Payment};
use portolan_domain::ports::{Method, ReadError};
use portolan_domain::risk::{self, LimitGuard};
use portolan_domain::routing::decision::Decision;
use portolan_domain::routing::rule::Rulings;
use portolan_domain::routing::tries::{CardKey, TryGuard};
use portolan_domain::routing::{Market, Places, Route, RouteFacts, Subjects, plan};

/// What an attempt of the payment does.
pub(crate) fn kind_of(payment: &Payment) -> Kind {
    match payment.payout {
        Some(_) => Kind::Pay,
        None => Kind::Authorize,
    }
}

/// The word by which channels know what the payment is paid with, or paid to.
pub fn word_of(payment: &Payment) -> String {
    match (&payment.payout, &payment.instrument) {
        (Some(payout), _) => payout.terms.beneficiary.account.word(payment.amount.asset().code()),
        (None, Some(instrument)) => instrument.word(),
        (None, None) => "card".to_owned(),
    }
}

/// What the payment is to routing. `method` is the card that it is about to be paid with.
pub fn facts_of<'a>(payment: &'a Payment, word: &'a str, method: Option<&'a Method>) -> RouteFacts<'a> {
    let stored = match &payment.instrument {
        Some(Instrument::Card(_, card)) => Some(card),
        Some(Instrument::Wallet(_) | Instrument::Token(_)) | None => None,
    };
    let beneficiary = payment.payout.as_ref().map(|payout| &payout.terms.beneficiary);
    let card: Option<&CardFacts> = method.map(|method| &method.card).or(stored);
    RouteFacts {
        merchant: &payment.merchant,
        mode: payment.mode,
        method: word,
        amount: &payment.amount,
        kind: kind_of(payment),
        manual_capture: payment.manual_capture,
        network: card.map(|card| card.brand.as_str()),
        issuer: card.map(|card| card.bin.as_str()),
        card: card.map(|card| card.fingerprint.as_str()),
        country: payment.payer_country.as_deref(),
        places: Places {
            ip: payment.ip_country.as_deref(),
            shipping: payment.shipping_country.as_deref(),
            beneficiary: beneficiary.map(|it| it.country.as_str()),
        },
        subjects: Subjects {
            payer: payment.payer_id.as_deref(),
            email: payment.payer_email.as_deref(),
            ip: payment.payer_ip,
            beneficiary: beneficiary.map(|it| &it.account),
        },
        must_authenticate: payment.must_authenticate,
    }
}

/// Where a payment goes on after a decline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoesOn {
    /// On the next channel.
    Elsewhere,
    /// On the same channel, with the payer authenticated: the issuer asked for it.
    Authenticating,
}

impl Engine {
    /// The payment's route, and what guards its intent where a limit counts it.
    pub(crate) fn route(
        &self,
        payment: &Payment,
        method: Option<&Method>,
    ) -> Result<(Route, Option<Box<LimitGuard>>), ReadError> {
        // What it is about to be paid with counts, whatever it was begun with.
        let word = method.map_or_else(|| word_of(payment), |_| "card".to_owned());
        let facts = facts_of(payment, &word, method);
        let (guard, rulings) = self.assess(&facts, payment.id, self.ports.rules.rulings(&facts))?;
        let route = self.route_of(&facts, seed_of(payment.id), rulings);
        if route.decision.is_exploring {
            self.traffic.explored(&payment.amount, route.decision.at_ms);
        }
        tracing::debug!(payment = %payment.id, ?route, "routed");
        Ok((route, Some(guard).filter(|it| it.counts_anything()).map(Box::new)))
    }

    /// What would be decided about such a payment now, by these rulings or by the rules in force. Nothing is done, and nothing is
    /// spent.
    pub fn evaluate(&self, facts: &RouteFacts<'_>, rulings: Option<Rulings>) -> Result<Decision, ReadError> {
        let id = PaymentId::new(self.ports.ambient.uuid_v7());
        let rulings = rulings.unwrap_or_else(|| self.ports.rules.rulings(facts));
        let (_, rulings) = self.assess(facts, id, rulings)?;
        Ok(self.route_of(facts, seed_of(id), rulings).decision)
    }

    /// The same where nobody is known yet: limits have nothing to count.
    pub(crate) fn evaluate_for_anybody(&self, facts: &RouteFacts<'_>) -> Decision {
        let id = PaymentId::new(self.ports.ambient.uuid_v7());
        let rulings = self.ports.rules.rulings(facts);
        let guard = self.limit_guard(facts, id, &rulings);
        let rulings = risk::assess(rulings, &guard, vec![]);
        self.route_of(facts, seed_of(id), rulings).decision
    }

    /// What would be decided about a payment that was made, with its draws, and with what came before it as its limits see it.
    pub fn evaluate_as(
        &self,
        (facts, payment): (&RouteFacts<'_>, &Payment),
        rulings: Option<Rulings>,
        past: &mut Past,
    ) -> Decision {
        let rulings = rulings.unwrap_or_else(|| self.ports.rules.rulings(facts));
        let mut guard = self.limit_guard(facts, payment.id, &rulings);
        guard.this.at_ms = payment.created_ms;
        // One that a rule refused then would have gone its way under others: how that had ended nobody knows.
        let was_refused = payment.last_error.as_ref().is_some_and(|error| error.code == REFUSED);
        let ended = matches!(payment.status, PaymentStatus::Failed | PaymentStatus::Canceled);
        let kept = (was_refused || !payment.attempts.is_empty()).then_some(ended && !was_refused);
        let rulings = past.assess(guard, rulings, kept);
        self.route_of(facts, seed_of(payment.id), rulings).decision
    }

    fn route_of(&self, facts: &RouteFacts<'_>, seed: u64, rulings: Rulings) -> Route {
        let now_ms = self.ports.ambient.now_ms();
        let state = |channel: &ChannelId| self.traffic.state(channel, facts.kind, now_ms);
        let may_explore = self.traffic.may_explore(facts, &self.routing, now_ms);
        let channels = self.ports.channels.facts();
        let learner = self.traffic.learner();
        let market = Market {
            now_ms,
            seed,
            rulings,
            state: &state,
            learner: &learner,
            margin_bps: self.routing.margin_bps,
            may_explore,
            attempts_max: self.policy.attempts_max,
        };
        plan(facts, &channels, market)
    }

    /// How each channel is, as this node has seen it.
    pub fn health(&self) -> Vec<ChannelHealth> {
        let facts = self.ports.channels.facts();
        self.traffic.all(&facts, self.ports.ambient.now_ms())
    }

    /// The guard of an attempt with a card: how often it may be tried.
    pub(crate) fn try_guard(&self, payment: &Payment, operation: &Operation) -> Option<TryGuard> {
        let card = CardKey::of(payment)?;
        let Some(Instrument::Card(_, facts)) = &payment.instrument else {
            return None;
        };
        let now_ms = self.ports.ambient.now_ms();
        // The attempt itself is one of them.
        let under_way = self.traffic.with_card(&card).saturating_sub(1);
        Some(TryGuard::new(
            (card, payment.mode),
            (operation.attempt, payment.amount.clone()),
            now_ms,
            (
                self.routing.declines.limits_for(&facts.brand, now_ms),
                self.routing.blocked_ms,
                under_way,
            ),
        ))
    }

    /// Puts what card networks say of a decline beside what the adapter made of it: the stricter binds.
    pub(crate) fn by_network(&self, operation: &Operation, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Proven(Outcome::Declined(decline)) => {
                Verdict::Proven(Outcome::Declined(self.judged(operation, decline)))
            }
            Verdict::Proven(Outcome::Standing(mut standing)) => {
                standing.declined = standing.declined.map(|decline| self.judged(operation, decline));
                Verdict::Proven(Outcome::Standing(standing))
            }
            other => other,
        }
    }

    fn judged(&self, operation: &Operation, decline: Decline) -> Decline {
        let network = operation.card().map(|card| card.brand.as_str());
        let now_ms = self.ports.ambient.now_ms();
        let judged = self.routing.declines.judge(network, &decline, now_ms);
        Decline {
            retry: judged.retry,
            wait_ms: judged.wait_ms,
            blocks_card: judged.blocks_card,
            ..decline
        }
    }

    /// A channel that could not even be prepared is failing as much as one that does not answer.
    pub(crate) fn cannot_be_used(&self, channel: &ChannelId, kind: Kind, fault: &Fault) {
        let now_ms = self.ports.ambient.now_ms();
        self.traffic
            .heard((channel, kind), &Verdict::NoEffect(fault.clone()), (0, now_ms));
    }

    /// Whether and where another attempt is made at once after this: only after a decline that allows it, while a channel and the
    /// budget allow it too. What was signed in a lane can still be executed, whoever refused it: nothing is tried beside it.
    pub(crate) fn goes_on_after(&self, operation: &Operation, ran: &Ran, walk: &Walk) -> Option<(Decline, GoesOn)> {
        let Verdict::Proven(Outcome::Declined(decline)) = &ran.verdict else {
            return None;
        };
        let left_in_a_lane = || {
            let mut writes = ran.exchanges.iter();
            self.is_in_a_lane(operation) && writes.any(|it| it.request.effect == Effect::Write)
        };
        let to = match decline.retry {
            // What an issuer's wish added is one of the attempts that the plan had for other channels.
            Retry::OtherChannel if walk.authenticate == Some(AskedBy::Issuer) && !walk.may_add_to(operation) => {
                return None;
            }
            Retry::OtherChannel if walk.channels_left > 0 && !left_in_a_lane() => GoesOn::Elsewhere,
            Retry::AfterAuthentication
                if is_a_wish(decline) && walk.may_add_to(operation) && self.may_step_up(operation, walk) =>
            {
                GoesOn::Authenticating
            }
            Retry::OtherChannel | Retry::AfterAuthentication | Retry::Never | Retry::Later | Retry::AfterCorrection => {
                return None;
            }
        };
        let has_budget = self.traffic.spend_cascade(operation.mode, &operation.merchant);
        has_budget.then(|| (decline.clone(), to))
    }

    /// Whether the payer can be authenticated now, as the issuer asks: once in a walk, with a card, where the payer is there to be
    /// sent somewhere and the channel can be told to.
    fn may_step_up(&self, operation: &Operation, walk: &Walk) -> bool {
        let is_there = walk.base.payment.return_url.is_some();
        let can = self.version_that_authenticates(&operation.channel, &operation.adapter);
        walk.authenticate.is_none() && operation.card().is_some() && is_there && can.is_some()
    }

    /// The version of a channel's adapter that can be told to authenticate a payer: that one, or the active one behind it.
    pub(crate) fn version_that_authenticates(&self, channel: &ChannelId, chosen: &str) -> Option<String> {
        let facts = self.ports.channels.facts();
        let active = facts.iter().find(|it| it.id == *channel).map(|it| it.adapter.as_str());
        let can = |version: &&str| self.ports.channels.authenticates(channel, version);
        [Some(chosen), active]
            .into_iter()
            .flatten()
            .find(can)
            .map(str::to_owned)
    }

    /// Takes in how an attempt ended, for what is expected of its channel; once, when it is known.
    pub(crate) fn learn_from(&self, before: Option<AttemptStatus>, payment: &Payment, operation: &Operation) {
        use AttemptStatus as S;
        let Some(attempt) = payment.attempt(operation.attempt) else {
            return;
        };
        if matches!(before, None | Some(S::Started | S::ActionRequired | S::Unknown)) {
            self.learn_attempt(payment, attempt);
        }
    }

    /// Takes in attempts that ended before this process began, in the order in which they began: what was learnt is in memory
    /// only. How a channel is now is found out anew.
    pub fn relearn(&self, payments: &[Payment]) {
        let all = payments
            .iter()
            .flat_map(|payment| payment.attempts.iter().map(move |it| (payment, it)));
        let mut attempts: Vec<(&Payment, &Attempt)> = all.collect();
        attempts.sort_by_key(|(_, attempt)| attempt.started_ms);
        attempts
            .into_iter()
            .for_each(|(payment, attempt)| self.learn_attempt(payment, attempt));
    }

    fn learn_attempt(&self, payment: &Payment, attempt: &Attempt) {
        use AttemptStatus as S;
        // Whoever comes after a decline sees only what was declined before: that says little of the channel. What its issuer
        // wanted to know first is no decline.
        let mut before = with_next(&payment.attempts).take_while(|(it, _)| it.id != attempt.id);
        let mut at = with_next(&payment.attempts).skip_while(|(it, _)| it.id != attempt.id);
        let is_open = at.next().is_some_and(|(it, next)| is_asked_for_by(it, next));
        if is_open || before.any(|(it, next)| it.status == S::Declined && !is_asked_for_by(it, next)) {
            return;
        }
        let approved = match attempt.status {
            S::Authorized | S::Captured => true,
            // Voided after it was approved.
            S::Released if !payment.authorized.is_zero() => true,
            S::Declined => false,
            S::Started | S::ActionRequired | S::Unknown | S::NoEffect | S::Released => return,
        };
        let word = word_of(payment);
        let facts = facts_of(payment, &word, None);
        self.traffic.learn(&attempt.channel, &facts.segment(), approved);
    }
}

/// Whether it is an issuer's wish that can be granted now: not to wait, nor about a payer who has just failed to prove anything.
fn is_a_wish(decline: &Decline) -> bool {
    decline.wait_ms.is_none() && decline.reason != "authentication-failed"
}

/// Each attempt with the one that came after it.
fn with_next(attempts: &[Attempt]) -> impl Iterator<Item = (&Attempt, Option<&Attempt>)> {
    let next = attempts.iter().skip(1).map(Some).chain([None]);
    attempts.iter().zip(next)
}

/// Whether an attempt ended with its issuer's wish to know the payer, which the next one grants.
fn is_asked_for_by(attempt: &Attempt, next: Option<&Attempt>) -> bool {
    next.is_some_and(|next| next.authenticate == Some(AskedBy::Issuer) && next.channel == attempt.channel)
}
