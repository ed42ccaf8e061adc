//! Whether a rule can ever apply, and whether another is always in its way. A condition compares facts with the values that are
//! written in it, so between two such values its truth does not change: payments made of these values and of what lies beside
//! them stand for all.

use crate::check::Condition;
use crate::facts::Sample;
use cel::{Program, Value};

/// An amount that is larger than any that is written.
const AMOUNT_MAX: i64 = 1_000_000_000_000_000;
/// More combinations are not looked at: what was not found among so many is not claimed.
const SAMPLES_MAX: usize = 20_000;
/// Nor more combinations times characters of conditions: some tenths of a second.
const WORK_MAX: usize = 4_000_000;

/// Payments that stand for all, as far as these conditions can tell them apart; `None`: there would be too many.
pub(crate) fn samples(conditions: &[&Condition]) -> Option<Vec<Sample>> {
    let values = Values::of(conditions);
    let count = values.combinations()?;
    let length: usize = conditions.iter().map(|it| it.length).sum();
    if count > SAMPLES_MAX || count.saturating_mul(length) > WORK_MAX {
        return None;
    }
    let one = Sample {
        amount: 1,
        currency: String::new(),
        method: String::new(),
        kind: String::new(),
        manual_capture: false,
        network: String::new(),
        bin: String::new(),
        country: String::new(),
        ip_country: String::new(),
        shipping_country: String::new(),
        beneficiary_country: String::new(),
    };
    let all = spread(vec![one], &values.amounts, |sample, it| sample.amount = *it);
    let all = values
        .texts
        .iter()
        .fold(all, |all, (set, values)| spread(all, values, set));
    Some(spread(all, &values.manual, |sample, it| sample.manual_capture = *it))
}

/// The facts that are countries.
const COUNTRIES: [&str; 4] = [
    "payer.country",
    "payer.ip_country",
    "shipping.country",
    "beneficiary.country",
];
const KINDS: [&str; 2] = ["payment", "payout"];

/// How a text becomes a fact of a payment.
type Set = fn(&mut Sample, &String);

/// What each fact is tried with: the values that are written and some beside them, where a condition looks at it; else one.
struct Values {
    amounts: Vec<i64>,
    texts: Vec<(Set, Vec<String>)>,
    manual: Vec<bool>,
}

impl Values {
    fn of(conditions: &[&Condition]) -> Self {
        let texts: Vec<&str> = conditions
            .iter()
            .flat_map(|it| it.texts.iter().map(String::as_str))
            .collect();
        let is_looked_at = |fact: &str| {
            conditions
                .iter()
                .any(|it| it.looks_at.iter().any(|known| known == fact))
        };
        let is_currency = |it: &str| it.len() >= 3 && it.starts_with(|first: char| first.is_ascii_uppercase());
        let is_digits = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
        let is_country = |it: &str| it.len() == 2 && it.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_word = |it: &str| !is_currency(it) && !is_digits(it) && !is_country(it);
        // A card's first digits are six.
        let six = |it: String| if it.is_empty() { it } else { format!("{it:0<6}") };
        // Places are compared with one another: as many that nobody wrote as there are places, so that all may differ.
        let places = COUNTRIES.into_iter().filter(|fact| is_looked_at(fact)).count();
        let unwritten = ["", "ZZ", "ZX", "XZ", "XX"];
        let countries = written(&texts, is_country, unwritten.get(..=places).unwrap_or(&unwritten));
        let bins = written(&texts, is_digits, &["", "999999"])
            .into_iter()
            .map(six)
            .collect();
        let all: [(&str, Set, Vec<String>); 9] = [
            (
                "payment.currency",
                |sample, it| sample.currency.clone_from(it),
                written(&texts, is_currency, &["XTS"]),
            ),
            (
                "payment.method",
                |sample, it| sample.method.clone_from(it),
                written(&texts, is_word, &["card"]),
            ),
            (
                "payment.kind",
                |sample, it| sample.kind.clone_from(it),
                KINDS.map(str::to_owned).to_vec(),
            ),
            (
                "card.network",
                |sample, it| sample.network.clone_from(it),
                written(&texts, is_word, &["", "another"]),
            ),
            ("card.bin", |sample, it| sample.bin.clone_from(it), bins),
            (
                "payer.country",
                |sample, it| sample.country.clone_from(it),
                countries.clone(),
            ),
            (
                "payer.ip_country",
                |sample, it| sample.ip_country.clone_from(it),
                countries.clone(),
            ),
            (
                "shipping.country",
                |sample, it| sample.shipping_country.clone_from(it),
                countries.clone(),
            ),
            (
                "beneficiary.country",
                |sample, it| sample.beneficiary_country.clone_from(it),
                countries,
            ),
        ];
        let looked_at = all.into_iter().filter(|(fact, _, _)| is_looked_at(fact));
        Self {
            amounts: match is_looked_at("payment.amount") {
                true => amounts(conditions),
                false => vec![1],
            },
            texts: looked_at.map(|(_, set, values)| (set, values)).collect(),
            manual: match is_looked_at("payment.manual_capture") {
                true => vec![false, true],
                false => vec![false],
            },
        }
    }

    fn combinations(&self) -> Option<usize> {
        let texts = self.texts.iter().map(|(_, values)| values.len());
        let lengths = texts.chain([self.amounts.len(), self.manual.len()]);
        lengths.into_iter().try_fold(1_usize, usize::checked_mul)
    }
}

/// The numbers that are written, and those beside them.
fn amounts(conditions: &[&Condition]) -> Vec<i64> {
    let numbers = conditions.iter().flat_map(|it| &it.numbers);
    let near = numbers.flat_map(|it| [it.saturating_sub(1), *it, it.saturating_add(1)]);
    let mut all: Vec<i64> = near.filter(|it| *it >= 1).chain([1, AMOUNT_MAX]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The texts of one kind that are written, and some beside them.
fn written(texts: &[&str], is_it: impl Fn(&str) -> bool, more: &[&str]) -> Vec<String> {
    let own = texts.iter().filter(|it| is_it(it)).chain(more);
    let mut all: Vec<String> = own.map(|it| (*it).to_owned()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Each payment once for each value of one fact.
fn spread<T>(of: Vec<Sample>, values: &[T], set: impl Fn(&mut Sample, &T)) -> Vec<Sample> {
    let with = |sample: Sample, value: &T| {
        let mut sample = sample;
        set(&mut sample, value);
        sample
    };
    of.iter()
        .flat_map(|sample| values.iter().map(|value| with(sample.clone(), value)))
        .collect()
}

/// Whether the condition holds. An error, such as an amount that is too large to be multiplied, is told.
pub(crate) fn holds(program: Option<&Program>, context: &cel::Context<'_, '_>) -> Result<bool, String> {
    match program.map(|program| program.execute(context)) {
        None => Ok(true),
        Some(Ok(Value::Bool(held))) => Ok(held),
        Some(Ok(_)) => Err("it is neither true nor false".into()),
        Some(Err(error)) => Err(error.to_string()),
    }
}
