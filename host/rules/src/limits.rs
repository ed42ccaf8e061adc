//! A limit as it is written in a rule, read: one measure, for one subject, over some time.

use portolan_domain::money::Asset;
use portolan_domain::risk::{COUNT_MAX, Effect, Limit, Most, Per, WITHIN_MAX_MS, WITHIN_MIN_MS};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A limit as it stands in a set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLimit {
    per: String,
    within: String,
    payments: Option<u32>,
    cards: Option<u32>,
    countries: Option<u32>,
    total: Option<BTreeMap<String, i64>>,
    then: Option<String>,
}

/// What is wrong: the field of the limit, and what to do about it.
pub(crate) type Wrong = (String, String);

/// The limit, or everything that is wrong with it.
pub(crate) fn read(raw: RawLimit) -> Result<Limit, Vec<Wrong>> {
    let mut wrong: Vec<Wrong> = vec![];
    let per = keep(per(&raw.per), &mut wrong);
    let within_ms = keep(within(&raw.within), &mut wrong);
    let then = keep(then(raw.then.as_deref()), &mut wrong);
    let most = keep(most(raw), &mut wrong);
    match (per, most, within_ms, then) {
        (Some(per), Some(most), Some(within_ms), Some(then)) => {
            let limit = Limit {
                per,
                most,
                within_ms,
                then,
            };
            senseless(&limit).map_or(Ok(limit), |why| Err(vec![why]))
        }
        _ => Err(wrong),
    }
}

fn keep<T>(read: Result<T, Wrong>, wrong: &mut Vec<Wrong>) -> Option<T> {
    read.map_err(|why| wrong.push(why)).ok()
}

fn per(word: &str) -> Result<Per, Wrong> {
    let found = Per::ALL.into_iter().find(|it| it.as_str() == word);
    let all = Per::ALL.map(Per::as_str).join(", ");
    found.ok_or_else(|| ("/per".into(), format!("{word:?} is none of {all}")))
}

fn then(word: Option<&str>) -> Result<Effect, Wrong> {
    let word = word.unwrap_or(Effect::Refuse.as_str());
    let found = Effect::ALL.into_iter().find(|it| it.as_str() == word);
    let all = Effect::ALL.map(Effect::as_str).join(", ");
    found.ok_or_else(|| ("/then".into(), format!("{word:?} is none of {all}")))
}

/// `30s`, `10m`, `24h`, `30d`.
fn within(text: &str) -> Result<u64, Wrong> {
    let unit = |last: char| match last {
        's' => Some(1_000),
        'm' => Some(60_000),
        'h' => Some(3_600_000),
        'd' => Some(86_400_000_u64),
        _ => None,
    };
    let read = || {
        let (at, last) = text.char_indices().next_back()?;
        let number = text.get(..at)?;
        let is_plain = (1..=5).contains(&number.len()) && number.bytes().all(|it| it.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| is_plain)?;
        let ms = number.checked_mul(unit(last)?)?;
        (WITHIN_MIN_MS..=WITHIN_MAX_MS).contains(&ms).then_some(ms)
    };
    read().ok_or_else(|| {
        (
            "/within".into(),
            format!("{text:?} is no time from 1s to 30d, such as 10m or 24h"),
        )
    })
}

fn most(raw: RawLimit) -> Result<Most, Wrong> {
    let mut all: Vec<Most> = vec![];
    for (field, many, most) in [
        ("/payments", raw.payments, Most::Payments as fn(u32) -> Most),
        ("/cards", raw.cards, Most::Cards),
        ("/countries", raw.countries, Most::Countries),
    ] {
        if many.is_some_and(|many| !(1..=COUNT_MAX).contains(&many)) {
            return Err((field.into(), format!("from 1 to {COUNT_MAX}")));
        }
        all.extend(many.map(most));
    }
    all.extend(raw.total.map(total).transpose()?);
    match (all.pop(), all.is_empty()) {
        (Some(most), true) => Ok(most),
        (_, _) => Err((
            String::new(),
            "counts one thing: payments, cards, countries or total".into(),
        )),
    }
}

fn total(limits: BTreeMap<String, i64>) -> Result<Most, Wrong> {
    let wrong = |code: &str, why: String| Err((format!("/total{code}"), why));
    if limits.is_empty() {
        return wrong("", "names no currency: { EUR = 50000 } is 500.00 EUR".into());
    }
    for (code, most) in &limits {
        if Asset::currency(code).is_none() && Asset::token(code, 0).is_none() {
            return wrong(
                &format!("/{code}"),
                format!("{code:?} is no currency of ISO 4217, and no token"),
            );
        }
        if *most < 1 {
            return wrong(&format!("/{code}"), format!("{code}: from 1 minor unit up"));
        }
    }
    let read = limits.into_iter().map(|(code, most)| (code, i128::from(most)));
    Ok(Most::Total(read.collect()))
}

/// A limit that could never be passed, or that nothing is counted by.
fn senseless(limit: &Limit) -> Option<Wrong> {
    let (field, why) = match (limit.per, &limit.most, limit.then) {
        (Per::Card, Most::Cards(_), _) => ("/cards", "one card is always one card: count it per payer or ip"),
        (Per::Beneficiary, Most::Cards(_), _) => ("/cards", "a payout is made with no card"),
        (Per::Beneficiary, Most::Countries(_), _) => ("/countries", "who is paid comes from nowhere"),
        (Per::Beneficiary, _, Effect::Authenticate) => ("/then", "who is paid is not authenticated: refuse or warn"),
        (_, _, _) => return None,
    };
    Some((field.into(), why.into()))
}
