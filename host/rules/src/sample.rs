//! Whether a rule can ever apply, and whether another is always in its way. A condition compares facts with the values that are
//! written in it, so between two such values its truth does not change: payments made of these values and of what lies beside
//! them stand for all.

use crate::check::Condition;
use crate::facts::Sample;
use cel::{Program, Value};

/// More combinations are not looked at: what was not found among so many is not claimed.
const SAMPLES_MAX: usize = 5_000;

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
    let is_word = |it: &&str| !is_currency(it) && !is_digits(it);
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
    let wide = [
        numbers.len(),
        currencies.len(),
        words.len(),
        networks.len(),
        bins.len(),
        4,
    ];
    let count = wide.into_iter().try_fold(1_usize, usize::checked_mul)?;
    if count > SAMPLES_MAX {
        return None;
    }
    let mut all = Vec::with_capacity(count);
    for amount in &numbers {
        for currency in &currencies {
            for method in &words {
                for network in &networks {
                    for bin in &bins {
                        for (kind, manual_capture) in [
                            ("payment", false),
                            ("payment", true),
                            ("payout", false),
                            ("payout", true),
                        ] {
                            all.push(Sample {
                                amount: *amount,
                                currency: currency.clone(),
                                method: method.clone(),
                                kind: kind.to_owned(),
                                manual_capture,
                                network: network.clone(),
                                bin: bin.clone(),
                            });
                        }
                    }
                }
            }
        }
    }
    Some(all)
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
