//! Whether a rule can ever apply, and whether another is always in its way. A condition compares facts with the values that are
//! written in it, so between two such values its truth does not change: payments made of these values and of what lies beside
//! them stand for all.

use crate::check::Condition;
use crate::facts::Sample;
use cel::{Program, Value};

/// More combinations are not looked at: what was not found among so many is not claimed.
const SAMPLES_MAX: usize = 5_000;
/// Nor more combinations times characters of conditions: some tenths of a second.
const WORK_MAX: usize = 4_000_000;

/// Payments that stand for all, as far as these conditions can tell them apart; `None`: there would be too many.
pub(crate) fn samples(conditions: &[&Condition]) -> Option<Vec<Sample>> {
    let mut numbers: Vec<i64> = vec![1];
    for number in conditions.iter().flat_map(|it| &it.numbers) {
        let near = [number.saturating_sub(1), *number, number.saturating_add(1)];
        numbers.extend(near.into_iter().filter(|it| *it >= 1));
    }
    numbers.push(1_000_000_000_000_000);
    numbers.sort_unstable();
    numbers.dedup();
    let written = conditions.iter().flat_map(|it| it.texts.iter().map(String::as_str));
    let mut texts: Vec<&str> = written.collect();
    texts.sort_unstable();
    texts.dedup();
    let is_currency = |it: &&str| it.len() >= 3 && it.bytes().next().is_some_and(|byte| byte.is_ascii_uppercase());
    let is_digits = |it: &&str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    let is_country = |it: &&str| it.len() == 2 && it.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_word = |it: &&str| !is_currency(it) && !is_digits(it) && !is_country(it);
    let others = |is_it: &dyn Fn(&&str) -> bool, more: &[&str]| -> Vec<String> {
        let own = texts.iter().copied().filter(is_it).map(str::to_owned);
        let mut all: Vec<String> = own.chain(more.iter().map(|it| (*it).to_owned())).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let currencies = others(&is_currency, &["XTS"]);
    let bins: Vec<String> = others(&is_digits, &["", "999999"])
        .into_iter()
        .map(|it| if it.is_empty() { it } else { format!("{it:0<6}") })
        .collect();
    let words = others(&is_word, &["card"]);
    let networks = others(&is_word, &["", "another"]);
    let countries = others(&is_country, &["", "ZZ"]);
    let wide = [
        numbers.len(),
        currencies.len(),
        words.len(),
        networks.len(),
        bins.len(),
        countries.len(),
        4,
    ];
    let count = wide.into_iter().try_fold(1_usize, usize::checked_mul)?;
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
    };
    let all = spread(vec![one], &numbers, |sample, amount| sample.amount = *amount);
    let all = spread(all, &currencies, |sample, it| sample.currency.clone_from(it));
    let all = spread(all, &words, |sample, it| sample.method.clone_from(it));
    let all = spread(all, &networks, |sample, it| sample.network.clone_from(it));
    let all = spread(all, &bins, |sample, it| sample.bin.clone_from(it));
    let all = spread(all, &countries, |sample, it| sample.country.clone_from(it));
    let all = spread(all, &["payment", "payout"], |sample, it| {
        (*it).clone_into(&mut sample.kind)
    });
    Some(spread(all, &[false, true], |sample, it| sample.manual_capture = *it))
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
