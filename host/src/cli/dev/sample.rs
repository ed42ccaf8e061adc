//! What stands in a vector and is another thing in each payment: amounts, currencies, ids, keys, secrets. Found in a request by
//! the place where the vector's own request has it, and put into the answer wherever the vector's answer has it.

use super::leaves::{PATH, walk};
use portolan_domain::money::Asset;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A text shorter than this is a sample only where it stands alone.
const WITHIN_MIN: usize = 3;
/// Fields of a vector's arguments whose texts name what it is about.
pub const NAMES: [&str; 5] = ["payment", "operation", "keys", "reference", "parent_reference"];

/// An amount, as vectors write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Minor units.
    pub units: String,
    /// Decimals.
    pub exponent: usize,
    /// The currency.
    pub asset: String,
}

impl Sum {
    /// Of `{"units": …, "exponent": …, "asset": …}`.
    pub fn of(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            units: text("units")?,
            exponent: usize::try_from(value.get("exponent")?.as_u64()?).ok()?,
            asset: text("asset")?,
        })
    }

    /// `10.99`
    pub fn major(&self) -> String {
        let digits = format!("{:0>width$}", self.units, width = self.exponent.saturating_add(1));
        let (whole, part) = digits.split_at(digits.len().saturating_sub(self.exponent));
        if part.is_empty() {
            whole.to_owned()
        } else {
            format!("{whole}.{part}")
        }
    }

    /// Whether the text says this amount: in minor units, or in major ones with a point.
    pub fn is_said(&self, text: &str) -> bool {
        text == self.units || (text.contains('.') && short(text) == short(&self.major()))
    }

    /// The units in a text that is written as that sample of this amount is, in a currency with so many decimals.
    fn read(&self, sample: &str, text: &str, exponent: usize) -> Option<String> {
        let digits = if sample == self.units {
            text.to_owned()
        } else {
            let (whole, part) = text.split_once('.').unwrap_or((text, ""));
            let part = part.trim_end_matches('0');
            if part.len() > exponent {
                return None;
            }
            format!("{whole}{part:0<exponent$}")
        };
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let units = digits.trim_start_matches('0');
        is_number.then(|| if units.is_empty() { "0".into() } else { units.to_owned() })
    }

    /// Another amount, written as that sample is, in a currency with so many decimals.
    fn write(&self, sample: &str, units: &str, exponent: usize) -> String {
        let other = Self {
            units: units.to_owned(),
            exponent,
            asset: String::new(),
        };
        if sample == self.units {
            other.units
        } else {
            other.major()
        }
    }
}

fn short(number: &str) -> &str {
    number.trim_end_matches('0').trim_end_matches('.')
}

/// The samples of one vector.
#[derive(Debug, Default)]
pub struct Samples {
    /// What the operation is about.
    pub amount: Option<Sum>,
    /// What the payment was about that it follows, where that is another amount.
    pub whole: Option<Sum>,
    /// Names and numbers, the longest first: they may stand within a text.
    names: Vec<String>,
    /// Everything else. What a path says in such words is no sample: `refund` is what is done there.
    words: BTreeSet<String>,
}

/// What stands in a real request, or is known of what it is about, in place of the samples.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// Minor units.
    pub amount: Option<String>,
    /// The same of the payment that it follows.
    pub whole: Option<String>,
    /// The currency, in capitals.
    pub asset: Option<String>,
    /// Sample and what stands for it.
    pub texts: BTreeMap<String, String>,
}

impl Bound {
    /// The decimals of the currency that was asked for; a token has those of the vector's.
    fn exponent(&self, sum: &Sum) -> usize {
        let asked = self.asset.as_deref().and_then(Asset::currency);
        asked.map_or(sum.exponent, |asset| usize::from(asset.exponent()))
    }
}

impl Samples {
    /// Of a vector's arguments.
    pub fn new(input: &[Value]) -> Self {
        let is_target = |value: &&Value| value.get("started_ms").is_some();
        let about = |value: &Value| Sum::of(value).or_else(|| value.get("amount").and_then(Sum::of));
        let own = input.iter().filter(|value| !is_target(value)).find_map(about);
        let of_target = input.iter().filter(is_target).find_map(about);
        let mut samples = Self {
            whole: of_target.clone().filter(|_| own.is_some()),
            amount: own.or(of_target),
            ..Self::default()
        };
        for value in input {
            samples.learn(value);
        }
        samples
    }

    /// Takes every text of a value for a sample.
    pub fn learn(&mut self, value: &Value) {
        walk(value, String::new(), &mut |place, text| {
            let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
            let is_name = has_digit || place.split('/').any(|field| NAMES.contains(&field));
            if is_name && !text.is_empty() && !self.names.iter().any(|known| known == text) {
                self.names.push(text.to_owned());
            } else if !is_name && !matches!(text, "" | "true" | "false") {
                self.words.insert(text.to_owned());
            }
        });
        self.names.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
    }

    /// Whether a text is the vector's currency.
    pub fn is_asset(&self, text: &str) -> bool {
        self.amount
            .as_ref()
            .is_some_and(|sum| sum.asset.eq_ignore_ascii_case(text))
    }

    /// Whether the text stands at that place as the sample stands; what it says is noted.
    pub fn bind(&self, place: &str, (sample, text): (&str, &str), bound: &mut Bound) -> bool {
        for (sum, is_whole) in [(&self.amount, false), (&self.whole, true)] {
            if let Some(sum) = sum.as_ref().filter(|sum| sum.is_said(sample)) {
                let read = sum.read(sample, text, bound.exponent(sum));
                let to = if is_whole { &mut bound.whole } else { &mut bound.amount };
                return read.is_some_and(|units| to.get_or_insert(units.clone()) == &units);
            }
        }
        if self.is_asset(sample) {
            bound.asset = Some(text.to_ascii_uppercase());
            return true;
        }
        let word = self.words.get(sample).filter(|_| !place.starts_with(PATH));
        let Some(known) = self.names.iter().find(|known| is_within(known, sample)).or(word) else {
            return sample == text;
        };
        let around = sample.split_once(known.as_str());
        let stands = around.and_then(|(before, after)| text.strip_prefix(before)?.strip_suffix(after));
        let Some(stands) = stands.filter(|it| !it.is_empty()) else {
            return false;
        };
        bound.texts.insert(known.clone(), stands.to_owned());
        true
    }

    /// The vector's answer with what was bound in it.
    pub fn fill(&self, answer: &Value, bound: &Bound) -> Value {
        match answer {
            Value::Object(fields) => {
                let filled = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), self.fill(value, bound)));
                Value::Object(filled.collect())
            }
            Value::Array(items) => items.iter().map(|item| self.fill(item, bound)).collect(),
            Value::String(text) => Value::String(self.filled(text, bound)),
            Value::Number(number) => {
                let text = self.filled(&number.to_string(), bound);
                // What was a number stays one.
                serde_json::from_str(&text)
                    .ok()
                    .filter(Value::is_number)
                    .unwrap_or(Value::String(text))
            }
            other => other.clone(),
        }
    }

    fn filled(&self, text: &str, bound: &Bound) -> String {
        for (sum, units) in [(&self.amount, &bound.amount), (&self.whole, &bound.whole)] {
            if let (Some(sum), Some(units)) = (sum, units)
                && sum.is_said(text)
            {
                return sum.write(text, units, bound.exponent(sum));
            }
        }
        if let (Some(sum), Some(asset)) = (&self.amount, &bound.asset)
            && sum.asset.eq_ignore_ascii_case(text)
        {
            let is_lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
            return if is_lower {
                asset.to_ascii_lowercase()
            } else {
                asset.clone()
            };
        }
        let mut texts: Vec<(&String, &String)> = bound.texts.iter().collect();
        texts.sort_by_key(|(sample, _)| std::cmp::Reverse(sample.len()));
        let found = texts.into_iter().find(|(sample, _)| is_within(sample, text));
        found.map_or_else(|| text.to_owned(), |(sample, stands)| text.replacen(sample, stands, 1))
    }
}

fn is_within(sample: &str, text: &str) -> bool {
    sample == text || (sample.len() >= WITHIN_MIN && text.contains(sample))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn money(units: &str) -> Value {
        json!({ "units": units, "exponent": 2, "asset": "EUR" })
    }

    #[test]
    fn what_an_answer_repeats_it_repeats_of_the_real_request() {
        let samples = Samples::new(&[json!({ "payment": "pay_1", "amount": money("1099"), "kind": "authorize" })]);
        let mut bound = Bound::default();
        for (sample, text) in [("1099", "5001"), ("eur", "usd"), ("order pay_1", "order pay_77")] {
            assert!(samples.bind("body/x", (sample, text), &mut bound), "{sample}");
        }
        let mut binds = |place: &str, pair| samples.bind(place, pair, &mut bound);
        assert!(!binds("body/x", ("order pay_1", "basket pay_77")));
        assert!(binds("path/0", ("charge", "charge")) && !binds("path/0", ("charge", "refund")));
        assert!(!binds("path/0", ("authorize", "capture")) && binds("body/type", ("authorize", "capture")));
        let answer = json!({ "amount": 1099, "value": "10.99", "currency": "EUR", "code": "eur", "url": "https://x/pay_1", "n": 7 });
        assert_eq!(
            samples.fill(&answer, &bound),
            json!({ "amount": 5001, "value": "50.01", "currency": "USD", "code": "usd", "url": "https://x/pay_77", "n": 7 })
        );
    }

    #[test]
    fn amounts_in_major_units_are_read_and_written_so() {
        let samples = Samples::new(&[json!({ "amount": money("1000") })]);
        let mut bound = Bound::default();
        assert!(samples.bind("body/x", ("10.0", "7.5"), &mut bound));
        assert_eq!(bound.amount.as_deref(), Some("750"));
        assert_eq!(
            samples.fill(&json!({ "a": "10.00", "b": 1000 }), &bound),
            json!({ "a": "7.50", "b": 750 })
        );
        assert!(!samples.bind("body/x", ("10.0", "much"), &mut bound));
        // Each currency has its own decimals.
        for (asset, said, units, told) in [("JPY", "1002", "1002", "1002"), ("KWD", "1.001", "1001", "1.001")] {
            let mut bound = Bound::default();
            assert!(samples.bind("body/y", ("EUR", asset), &mut bound));
            assert!(samples.bind("body/x", ("10.00", said), &mut bound));
            assert_eq!(bound.amount.as_deref(), Some(units));
            assert_eq!(samples.fill(&json!("10.00"), &bound), json!(told));
        }
        assert!(
            !samples.bind("body/x", ("10.0", "7.505"), &mut Bound::default()),
            "no cents of cents"
        );
    }

    #[test]
    fn a_part_is_told_from_the_whole() {
        let target = json!({ "reference": "ch_1", "amount": money("1099"), "started_ms": 500 });
        let samples = Samples::new(&[target.clone(), money("400"), Value::Null]);
        assert_eq!(samples.amount.as_ref().unwrap().units, "400");
        assert_eq!(samples.whole.as_ref().unwrap().units, "1099");
        let alone = Samples::new(&[target]);
        assert_eq!(alone.amount.as_ref().unwrap().units, "1099");
        assert!(alone.whole.is_none());
    }
}
