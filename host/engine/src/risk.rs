//! Measuring what a payment's limits count: whose uses those are, what was let through lately, and what follows. The rules of it
//! are the domain's; here are pseudonyms, time and the store.

use crate::Engine;
use portolan_domain::beneficiary::PayoutAccount;
use portolan_domain::ids::PaymentId;
use portolan_domain::payment::Payment;
use portolan_domain::ports::ReadError;
use portolan_domain::risk::{self, Counted, Effect, Flag, LimitGuard, Measured, Per, Use, UseKey};
use portolan_domain::routing::RouteFacts;
use portolan_domain::routing::rule::{Act, Rulings};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many flags there were of each effect, in the order of [`Effect::ALL`].
#[derive(Default)]
pub(crate) struct Flagged([AtomicU64; Effect::ALL.len()]);

impl Engine {
    /// How many payments and payouts were flagged since the start, by what followed.
    pub fn flagged(&self) -> [(Effect, u64); Effect::ALL.len()] {
        let mut counts = self.flagged.0.iter().map(|count| count.load(Ordering::Relaxed));
        Effect::ALL.map(|effect| (effect, counts.next().unwrap_or_default()))
    }

    /// Counts a flag and says so in the log, as it happens.
    pub(crate) fn tell_of(&self, payment: &Payment, flag: &Flag) {
        let all = Effect::ALL.iter().zip(&self.flagged.0);
        for (_, count) in all.filter(|(effect, _)| **effect == flag.effect) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let effect = flag.effect.as_str();
        tracing::warn!(payment = %payment.id, merchant = %payment.merchant, rule = flag.rule, effect, why = flag.why, "flagged");
    }

    /// The payment as a use, and the limits that apply to it.
    pub(crate) fn limit_guard(&self, facts: &RouteFacts<'_>, payment: PaymentId, rulings: &Rulings) -> LimitGuard {
        let counted = rulings.applied.iter().filter_map(|it| match &it.act {
            Act::Limit(limit) => Some(Counted {
                rule: it.rule.clone(),
                key: self.use_key(facts, &it.rule, limit.per),
                limit: limit.clone(),
            }),
            _ => None,
        });
        LimitGuard {
            this: Use {
                payment,
                at_ms: self.ports.ambient.now_ms(),
                minor: facts.amount.minor(),
                asset: facts.amount.asset().code().to_owned(),
                card: facts.card.unwrap_or_default().to_owned(),
                country: facts.place().to_owned(),
                is_over: false,
            },
            counted: counted.collect(),
        }
    }

    /// Whose uses the rule counts for this payment; `None`: it does not say.
    fn use_key(&self, facts: &RouteFacts<'_>, rule: &str, per: Per) -> Option<UseKey> {
        let subject = match per {
            Per::Card => facts.card.filter(|card| !card.is_empty()).map(str::to_owned),
            Per::Payer => facts.subjects.payer.map(str::to_lowercase),
            Per::Ip => facts.subjects.ip.map(|ip| source(ip).to_string()),
            Per::Beneficiary => facts.subjects.beneficiary.map(account),
        };
        let pseudonym = self.ports.vault.pseudonym(&format!("{}:{}", per.as_str(), subject?));
        Some(UseKey::new((facts.mode, facts.merchant), rule, (per, &pseudonym)))
    }

    /// Measures every limit, and says what follows.
    pub(crate) fn assess(&self, guard: &LimitGuard, rulings: Rulings) -> Result<Rulings, ReadError> {
        let measure = |counted: &Counted| {
            let others = match &counted.key {
                Some(key) => self.ports.store.uses(key, guard.since_ms(counted))?,
                None => vec![],
            };
            Ok(guard.measure(counted, &others))
        };
        let measured: Result<Vec<Measured>, ReadError> = guard.counted.iter().map(measure).collect();
        Ok(risk::assess(rulings, guard, measured?))
    }
}

/// Where a payer comes from: of IPv6 the network of 64 bits, for within it one device has as many addresses as it likes.
fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
    }
}

/// The account as one text, the same for the same account.
fn account(account: &PayoutAccount) -> String {
    match account {
        PayoutAccount::Iban(iban) => iban.clone(),
        PayoutAccount::Local(fields) => {
            let mut pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            pairs.sort_unstable();
            pairs.join(";")
        }
        // Addresses of some chains are the same in either case.
        PayoutAccount::Chain(network, address) => format!("{network}:{}", address.to_lowercase()),
    }
}

/// What came before a payment, of payments that are gone through once more in the order in which they were made.
#[derive(Default)]
pub struct Past(HashMap<UseKey, Vec<Use>>);

impl Past {
    /// Measures the limits over what came before, and keeps the payment for those after it, unless it is refused.
    pub(crate) fn assess(&mut self, guard: LimitGuard, rulings: Rulings) -> Rulings {
        let others = |counted: &Counted| counted.key.as_ref().and_then(|key| self.0.get(key));
        let measure = |counted: &Counted| guard.measure(counted, others(counted).map_or(&[], Vec::as_slice));
        let measured = guard.counted.iter().map(measure).collect();
        let rulings = risk::assess(rulings, &guard, measured);
        if rulings.flag(Effect::Refuse).is_none() {
            for key in guard.counted.into_iter().filter_map(|it| it.key) {
                self.0.entry(key).or_default().push(guard.this.clone());
            }
        }
        rulings
    }
}
