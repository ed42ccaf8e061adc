//! Measuring what a payment's limits count: whose uses those are, what was let through lately, and what follows. The rules of it
//! are the domain's; here are pseudonyms, time and the store.

use crate::Engine;
use portolan_domain::beneficiary::PayoutAccount;
use portolan_domain::ids::PaymentId;
use portolan_domain::operation::Kind;
use portolan_domain::payment::Payment;
use portolan_domain::ports::ReadError;
use portolan_domain::risk::{self, Counted, Effect, Flag, LimitGuard, Measured, Per, Use, UseKey};
use portolan_domain::routing::rule::{Act, Rulings};
use portolan_domain::routing::{RouteFacts, Subjects};
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

    /// Counts a flag that is on disk now, and says so in the log.
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
                country: facts.places.ip.unwrap_or_default().to_owned(),
                is_over: false,
            },
            can_authenticate: facts.method == "card" && facts.kind == Kind::Authorize,
            counted: counted.collect(),
        }
    }

    /// Whose uses the rule counts for this payment; `None`: it does not say.
    fn use_key(&self, facts: &RouteFacts<'_>, rule: &str, per: Per) -> Option<UseKey> {
        let subject = match per {
            Per::Card => facts.card.filter(|card| !card.is_empty()).map(str::to_owned),
            Per::Payer => payer_of(&facts.subjects),
            Per::Ip => facts.subjects.ip.map(|ip| source(ip).to_string()),
            Per::Beneficiary => facts.subjects.beneficiary.map(account),
        };
        // Of its own for each merchant: nobody's payers can be found among another's.
        let whose = format!("{}:{}:{}", facts.mode.as_str(), facts.merchant, per.as_str());
        let pseudonym = self.ports.vault.pseudonym(&format!("{whose}:{}", subject?));
        Some(UseKey::new((facts.mode, facts.merchant), rule, (per, &pseudonym)))
    }

    /// Measures every limit that applies, and says what follows; with the guard that measures them once more as the intent is written.
    pub(crate) fn assess(
        &self,
        facts: &RouteFacts<'_>,
        payment: PaymentId,
        rulings: Rulings,
    ) -> Result<(LimitGuard, Rulings), ReadError> {
        let guard = self.limit_guard(facts, payment, &rulings);
        let is_refused = rulings.applied.iter().any(|it| it.act == Act::Refuse);
        let measure = |counted: &Counted| {
            let others = match &counted.key {
                // It is refused as it is.
                _ if is_refused => vec![],
                Some(key) => self
                    .ports
                    .store
                    .uses(key, guard.since_ms(counted), counted.limit.uses_max())?,
                None => vec![],
            };
            Ok(guard.measure(counted, &others))
        };
        let measured: Result<Vec<Measured>, ReadError> = guard.counted.iter().map(measure).collect();
        let rulings = risk::assess(rulings, &guard, measured?);
        Ok((guard, rulings))
    }
}

/// Where a payer comes from: of IPv6 the network of 64 bits, for within it one device has as many addresses as it likes.
fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
    }
}

/// The fields of a local account that say which it is.
const ACCOUNT: [&str; 5] = ["account_number", "bank_code", "cnaps", "routing_number", "sort_code"];

/// The payer as one text: an id as the merchant writes it, an e-mail whatever its case.
fn payer_of(subjects: &Subjects<'_>) -> Option<String> {
    let said = |text: &&str| !text.trim().is_empty();
    let email = || {
        subjects
            .email
            .filter(said)
            .map(|it| format!("email:{}", it.trim().to_lowercase()))
    };
    subjects.payer.filter(said).map(|it| format!("id:{it}")).or_else(email)
}

/// The account as one text, the same for the same account.
fn account(account: &PayoutAccount) -> String {
    match account {
        PayoutAccount::Iban(iban) => iban.clone(),
        PayoutAccount::Local(fields) => {
            // What it is called besides (its type, for one) makes no other account of it.
            let names = fields.iter().filter(|(name, _)| ACCOUNT.contains(&name.as_str()));
            let mut pairs: Vec<String> = names.map(|(name, value)| format!("{name}={value}")).collect();
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
    /// Measures the limits over what came before. `kept`: the payment counts for those after it, unless it is refused; as one that is
    /// over, or not. `None`: nothing was ever to be sent for it.
    pub(crate) fn assess(&mut self, guard: LimitGuard, rulings: Rulings, kept: Option<bool>) -> Rulings {
        let others = |counted: &Counted| counted.key.as_ref().and_then(|key| self.0.get(key));
        let measure = |counted: &Counted| guard.measure(counted, others(counted).map_or(&[], Vec::as_slice));
        let measured = guard.counted.iter().map(measure).collect();
        let rulings = risk::assess(rulings, &guard, measured);
        if let Some(is_over) = kept.filter(|_| rulings.flag(Effect::Refuse).is_none()) {
            let this = Use { is_over, ..guard.this };
            for key in guard.counted.into_iter().filter_map(|it| it.key) {
                self.0.entry(key).or_default().push(this.clone());
            }
        }
        rulings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(fields: &[(&str, &str)]) -> String {
        let owned = fields.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        account(&PayoutAccount::Local(owned.collect()))
    }

    #[test]
    fn an_account_is_one_account_however_it_is_written() {
        let bare = local(&[("routing_number", "021000021"), ("account_number", "123")]);
        let typed = [
            ("account_number", "123"),
            ("routing_number", "021000021"),
            ("account_type", "savings"),
        ];
        assert_eq!(local(&typed), bare);
        assert_ne!(
            local(&[("routing_number", "021000021"), ("account_number", "124")]),
            bare
        );
        let chain = |address: &str| account(&PayoutAccount::Chain("eip155:1".into(), address.into()));
        assert_eq!(chain("0xAbC"), chain("0xabc"));
    }

    #[test]
    fn an_id_is_as_written_and_an_email_in_any_case() {
        let of = |payer, email| {
            payer_of(&Subjects {
                payer,
                email,
                ..Subjects::default()
            })
        };
        assert_eq!(
            of(None, Some(" Ann@Example.org ")),
            of(Some(""), Some("ann@example.org"))
        );
        assert_ne!(of(Some("Ann"), None), of(Some("ann"), None));
        assert_eq!(of(None, Some(" ")), None);
        assert_eq!(
            source("2001:db8:1:2:3::4".parse().unwrap()),
            source("2001:db8:1:2::".parse().unwrap())
        );
    }
}
