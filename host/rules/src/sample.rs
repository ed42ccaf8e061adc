//! Whether a rule can ever apply, and whether another is always in its way. A condition compares facts with the values that are
//! written in it, so between two such values its truth does not change: payments made of these values and of what lies beside
//! them stand for all.

use crate::check::Condition;
use crate::facts::{Place, Sample};
use cel::{Program, Value};

/// An amount that is larger than any that is written.
const AMOUNT_MAX: i64 = 1_000_000_000_000_000;
/// More combinations are not looked at: what was not found among so many is not claimed.
const SAMPLES_MAX: usize = 5_000;
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
    let all = spread(all, &values.currencies, |sample, it| sample.currency.clone_from(it));
    let all = spread(all, &values.methods, |sample, it| sample.method.clone_from(it));
    let all = spread(all, &values.networks, |sample, it| sample.network.clone_from(it));
    let all = spread(all, &values.bins, |sample, it| sample.bin.clone_from(it));
    let all = spread(all, &values.countries, |sample, it| sample.country.clone_from(it));
    let all = spread(all, values.of_place(Place::Ip), |sample, it| {
        sample.ip_country.clone_from(it)
    });
    let all = spread(all, values.of_place(Place::Shipping), |sample, it| {
        sample.shipping_country.clone_from(it);
    });
    let all = spread(all, values.of_place(Place::Beneficiary), |sample, it| {
        sample.beneficiary_country.clone_from(it);
    });
    let all = spread(all, &KINDS, |sample, it| (*it).clone_into(&mut sample.kind));
    Some(spread(all, &[false, true], |sample, it| sample.manual_capture = *it))
}

const KINDS: [&str; 2] = ["payment", "payout"];

/// What each fact is tried with: the values that are written, and one beside them.
struct Values {
    amounts: Vec<i64>,
    currencies: Vec<String>,
    methods: Vec<String>,
    networks: Vec<String>,
    bins: Vec<String>,
    countries: Vec<String>,
    /// The places that conditions look at besides the payer's country.
    places: Vec<Place>,
}

impl Values {
    fn of(conditions: &[&Condition]) -> Self {
        let texts: Vec<&str> = conditions
            .iter()
            .flat_map(|it| it.texts.iter().map(String::as_str))
            .collect();
        let is_currency = |it: &str| it.len() >= 3 && it.starts_with(|first: char| first.is_ascii_uppercase());
        let is_digits = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
        let is_country = |it: &str| it.len() == 2 && it.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_word = |it: &str| !is_currency(it) && !is_digits(it) && !is_country(it);
        // A card's first digits are six.
        let six = |it: String| if it.is_empty() { it } else { format!("{it:0<6}") };
        let places: Vec<Place> = conditions.iter().flat_map(|it| it.places.iter().copied()).collect();
        // Places are compared with one another: as many that nobody wrote as there are places, so that all may differ.
        let unwritten: &[&str] = if places.is_empty() {
            &["", "ZZ"]
        } else {
            &["", "XX", "XZ", "ZX", "ZZ"]
        };
        Self {
            amounts: amounts(conditions),
            currencies: written(&texts, is_currency, &["XTS"]),
            methods: written(&texts, is_word, &["card"]),
            networks: written(&texts, is_word, &["", "another"]),
            bins: written(&texts, is_digits, &["", "999999"])
                .into_iter()
                .map(six)
                .collect(),
            countries: written(&texts, is_country, unwritten),
            places,
        }
    }

    /// What a place is tried with: nothing, where no condition looks at it.
    fn of_place(&self, place: Place) -> &[String] {
        static NOWHERE: [String; 1] = [String::new()];
        match self.places.contains(&place) {
            true => &self.countries,
            false => &NOWHERE,
        }
    }

    fn combinations(&self) -> Option<usize> {
        let texts = [
            &self.currencies,
            &self.methods,
            &self.networks,
            &self.bins,
            &self.countries,
        ];
        let places = [Place::Ip, Place::Shipping, Place::Beneficiary].map(|it| self.of_place(it).len());
        let lengths = texts
            .into_iter()
            .map(Vec::len)
            .chain(places)
            .chain([self.amounts.len(), KINDS.len(), 2]);
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
