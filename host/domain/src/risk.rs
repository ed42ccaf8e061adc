//! Risk, as merchants' rules see it: limits by amount, frequency and place over what was let through lately, and what follows
//! where one is passed. Pure: the store keeps the uses and asks [`LimitGuard::check`] in the commit of a payment's intent, so that
//! payments side by side cannot pass a limit together. Which rules apply to a payment is `routing`'s business.

use crate::commit::Change;
use crate::ids::{MerchantId, Mode, PaymentId};
use crate::payment::Payment;
use crate::payment::decide::Refusal;
use crate::payment::fact::{Event, Fact};
use crate::payment::status::PaymentStatus;
use crate::routing::rule::{Act, Applied, Rulings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The shortest time that a limit looks back.
pub const WITHIN_MIN_MS: u64 = 1_000;
/// The longest: uses are kept no longer.
pub const WITHIN_MAX_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// The largest number of payments, cards or countries that a limit may allow.
pub const COUNT_MAX: u32 = 500;
/// So many uses are looked at for one limit, the newest; where there are as many, it is passed.
pub const USES_MAX: usize = 1_000;

/// For whom a limit counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// For each card, by its fingerprint.
    Card,
    /// For each payer, by the merchant's own id or the e-mail.
    Payer,
    /// For each address that payers come from.
    Ip,
    /// For each account that is paid.
    Beneficiary,
}

impl Per {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Card, Self::Payer, Self::Ip, Self::Beneficiary];

    /// The word in a rule.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Payer => "payer",
            Self::Ip => "ip",
            Self::Beneficiary => "beneficiary",
        }
    }
}

/// What may not be passed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Most {
    /// So many payments, whatever became of them.
    Payments(u32),
    /// So many different cards.
    Cards(u32),
    /// Payments from so many different countries.
    Countries(u32),
    /// So much in each currency, in minor units, of payments that did not fail. Others are not limited.
    Total(Vec<(String, i128)>),
}

/// What follows where a rule says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The payment fails before anything is sent.
    Refuse,
    /// The payer is authenticated, where it is a card.
    Authenticate,
    /// It goes its way, and whoever listens is told.
    Warn,
}

impl Effect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Refuse, Self::Authenticate, Self::Warn];

    /// The word in a rule, in events and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Authenticate => "authenticate",
            Self::Warn => "warn",
        }
    }
}

/// A limit over some time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limit {
    /// For whom it counts.
    pub per: Per,
    /// How much.
    pub most: Most,
    /// In how long.
    pub within_ms: u64,
    /// What follows where it is passed.
    pub then: Effect,
}

/// Whose uses a rule counts: never in clear.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UseKey(pub String);

impl UseKey {
    /// The uses of one rule for one subject, by a name that says nothing about who it is.
    pub fn new((mode, merchant): (Mode, &MerchantId), rule: &str, (per, pseudonym): (Per, &str)) -> Self {
        Self(format!(
            "{}:{merchant}:{}:{pseudonym}:{rule}",
            mode.as_str(),
            per.as_str()
        ))
    }
}

/// A payment that was let through where a limit applied to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Use {
    /// Which.
    pub payment: PaymentId,
    /// When.
    pub at_ms: u64,
    /// How much, in minor units.
    pub minor: i128,
    /// Of what.
    pub asset: String,
    /// The card's fingerprint; empty: none.
    pub card: String,
    /// From where; empty: nobody said.
    pub country: String,
    /// Whether it failed or was given up: it is no part of a total.
    pub is_over: bool,
}

/// A limit that applies to a payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    /// The rule.
    pub rule: String,
    /// Its limit.
    pub limit: Limit,
    /// Whose uses it counts; `None`: the payment does not say who that is.
    pub key: Option<UseKey>,
}

/// What a limit counts, with the payment that is looked at: so much, or too many uses to count.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The rule.
    pub rule: String,
    /// How much it is with this payment; `None`: there is nothing to count it by.
    pub seen: Option<i128>,
    /// How much it may be.
    pub most: Option<i128>,
    /// Whether there are more uses than are looked at.
    #[serde(default)]
    pub is_cut: bool,
}

impl Measured {
    /// Whether it is too much.
    pub fn is_passed(&self) -> bool {
        let is_more = matches!((self.seen, self.most), (Some(seen), Some(most)) if seen > most);
        is_more || self.is_cut
    }
}

/// What a rule brought about for one payment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Flag {
    /// The rule.
    pub rule: String,
    /// What follows.
    pub effect: Effect,
    /// Why, in words.
    pub why: String,
}

impl std::fmt::Display for Flag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = match self.effect {
            Effect::Refuse => "refuses it",
            Effect::Authenticate => "wants its payer authenticated",
            Effect::Warn => "warns of it",
        };
        write!(f, "the rule {:?} {verb}: {}", self.rule, self.why)
    }
}

impl Limit {
    /// How much it is with this use, after these others of the same subject.
    pub fn measure(&self, this: &Use, others: &[Use]) -> (Option<i128>, Option<i128>) {
        let age = |it: &Use| this.at_ms.saturating_sub(it.at_ms);
        let counts = |it: &&Use| it.payment != this.payment && age(it) < self.within_ms;
        let all = || others.iter().filter(counts).chain([this]);
        let distinct = |of: fn(&Use) -> &str| {
            let texts: BTreeSet<&str> = all().map(of).filter(|it| !it.is_empty()).collect();
            count(texts.len())
        };
        let (seen, most) = match &self.most {
            Most::Payments(most) => (count(all().count()), i128::from(*most)),
            Most::Cards(most) => (distinct(|it| &it.card), i128::from(*most)),
            Most::Countries(most) => (distinct(|it| &it.country), i128::from(*most)),
            Most::Total(limits) => {
                let Some((_, most)) = limits.iter().find(|(asset, _)| *asset == this.asset) else {
                    return (None, None);
                };
                let open = all().filter(|it| !it.is_over && it.asset == this.asset);
                let sum = open.fold(0_i128, |sum, it| sum.saturating_add(it.minor));
                (sum, *most)
            }
        };
        (Some(seen), Some(most))
    }

    /// So many uses say whether it is passed.
    pub fn uses_max(&self) -> usize {
        match &self.most {
            // With the payment itself, which may be among them.
            Most::Payments(most) => usize::try_from(*most).map_or(USES_MAX, |most| most.saturating_add(2)),
            Most::Cards(_) | Most::Countries(_) | Most::Total(_) => USES_MAX,
        }
    }

    /// What it counts, as a sentence goes on: `payments by one card in 60 minutes`.
    fn in_words(&self, asset: &str) -> String {
        let what = match &self.most {
            Most::Payments(_) => "payments".to_owned(),
            Most::Cards(_) => "cards".to_owned(),
            Most::Countries(_) => "countries".to_owned(),
            Most::Total(_) => format!("minor units of {asset}"),
        };
        let whom = match self.per {
            Per::Card => "card",
            Per::Payer => "payer",
            Per::Ip => "IP address",
            Per::Beneficiary => "beneficiary",
        };
        format!("{what} for one {whom} in {}", in_words(self.within_ms))
    }
}

fn count(many: usize) -> i128 {
    i128::try_from(many).unwrap_or(i128::MAX)
}

/// `24 hours`, `60 minutes`.
fn in_words(ms: u64) -> String {
    let units = [(86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes")];
    let fits = units
        .into_iter()
        .find(|(unit, _)| ms.is_multiple_of(*unit) && ms > *unit);
    let (unit, word) = fits.unwrap_or((1_000, "seconds"));
    format!("{} {word}", ms / unit)
}

/// A limit would be passed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{flag}")]
pub struct LimitPassed {
    /// What follows.
    pub flag: Flag,
    /// What was counted.
    pub measured: Measured,
}

/// The guard of an intent: the payment as a use, and what it counts for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitGuard {
    /// The payment.
    pub this: Use,
    /// Whether its payer can be authenticated: others are warned of.
    pub can_authenticate: bool,
    /// The limits that apply to it.
    pub counted: Vec<Counted>,
}

impl LimitGuard {
    /// Whether any limit knows whom to count it for.
    pub fn counts_anything(&self) -> bool {
        self.counted.iter().any(|it| it.key.is_some())
    }

    /// Since when uses count for a limit.
    pub fn since_ms(&self, counted: &Counted) -> u64 {
        self.this.at_ms.saturating_sub(counted.limit.within_ms)
    }

    /// How much it is with this payment, after these others.
    pub fn measure(&self, counted: &Counted, others: &[Use]) -> Measured {
        let (seen, most) = match &counted.key {
            Some(_) => counted.limit.measure(&self.this, others),
            None => (None, None),
        };
        Measured {
            rule: counted.rule.clone(),
            is_cut: seen.is_some() && others.len() >= USES_MAX,
            seen,
            most,
        }
    }

    /// What follows if that was measured; `None`: nothing.
    pub fn flag(&self, counted: &Counted, measured: &Measured) -> Option<Flag> {
        let (seen, most) = (measured.seen?, measured.most?);
        let what = counted.limit.in_words(&self.this.asset);
        measured.is_passed().then(|| Flag {
            rule: counted.rule.clone(),
            effect: match counted.limit.then {
                Effect::Authenticate if !self.can_authenticate => Effect::Warn,
                effect => effect,
            },
            why: match measured.is_cut {
                true => format!("more than {USES_MAX} payments stand behind the {what}: too many to count"),
                false => format!("{seen} {what} with this payment, and {most} are allowed"),
            },
        })
    }

    /// Whether the payment may begin, after these others: what only warns or authenticates does not stand in its way.
    pub fn check(&self, counted: &Counted, others: &[Use]) -> Result<(), Box<LimitPassed>> {
        let measured = self.measure(counted, others);
        let flag = self.flag(counted, &measured);
        match flag.filter(|flag| flag.effect == Effect::Refuse) {
            Some(flag) => Err(Box::new(LimitPassed { flag, measured })),
            None => Ok(()),
        }
    }

    /// The limits that may refuse it, each with whose uses it counts.
    pub fn refusing(&self) -> impl Iterator<Item = (&Counted, &UseKey)> {
        let all = self.counted.iter().filter(|it| it.limit.then == Effect::Refuse);
        all.filter_map(|it| Some((it, it.key.as_ref()?)))
    }
}

/// Puts what was measured, and what follows of it and of the rules that need no measure, beside the rulings.
pub fn assess(mut rulings: Rulings, guard: &LimitGuard, measured: Vec<Measured>) -> Rulings {
    let passed = |rule: &str| {
        let counted = guard.counted.iter().find(|it| it.rule == rule)?;
        let measured = measured.iter().find(|it| it.rule == rule)?;
        guard.flag(counted, measured)
    };
    let flag = |it: &Applied| match &it.act {
        Act::Refuse => Some(flagged(it, Effect::Refuse)),
        Act::Warn => Some(flagged(it, Effect::Warn)),
        Act::Limit(_) => passed(&it.rule),
        Act::Prefer(_) | Act::Exclude(_) | Act::Split(_) | Act::Sticky | Act::Attempts(_) | Act::Authenticate => None,
    };
    rulings.flags = rulings.applied.iter().filter_map(flag).collect();
    rulings.measured = measured;
    rulings
}

fn flagged(applied: &Applied, effect: Effect) -> Flag {
    Flag {
        rule: applied.rule.clone(),
        effect,
        why: "its condition holds".into(),
    }
}

/// Writes down what rules brought about: once for each rule, however often the payment is confirmed. One that has gone on, or ended,
/// meanwhile is beyond them.
pub fn write_flags(payment: &mut Payment, change: &mut Change, flags: &[Flag]) -> Result<(), Refusal> {
    use PaymentStatus as S;
    if !matches!(payment.status, S::RequiresPaymentMethod | S::RequiresConfirmation) {
        return Ok(());
    }
    for flag in flags {
        if payment
            .flags
            .iter()
            .any(|known| (&known.rule, known.effect) == (&flag.rule, flag.effect))
        {
            continue;
        }
        payment.flags.push(flag.clone());
        payment.record(change, Fact::Flagged { flag: flag.clone() })?;
    }
    Ok(())
}

/// Whether the payment is a part of totals after these facts; `None`: nothing changes. What was certainly not taken, or came back,
/// is none; what was taken late is one again.
pub fn is_over(events: &[Event]) -> Option<bool> {
    let mut said = events.iter().filter_map(|event| match event.fact {
        Fact::Failed { .. } | Fact::Canceled { .. } | Fact::CodeRequired | Fact::Returned { .. } => Some(true),
        Fact::LateSuccess { .. } => Some(false),
        _ => None,
    });
    said.next_back()
}

#[cfg(test)]
mod tests;
