//! The facts that conditions may name, with their types, and how they come from a payment. Amounts are integers in minor units.

use crate::written::{PlaceSample, RawTest};
use cel::{Context, Env, Value};
use portolan_domain::money::Asset;
use portolan_domain::operation::{CARD_BRANDS, Kind};
use portolan_domain::payment::request::check_country;
use portolan_domain::routing::RouteFacts;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// What a value is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Type {
    Int,
    Text,
    Bool,
    List(Box<Type>),
    /// An empty list fits any.
    Empty,
}

impl Type {
    pub fn word(&self) -> String {
        match self {
            Self::Int => "a number".into(),
            Self::Text => "a text".into(),
            Self::Bool => "true or false".into(),
            Self::List(of) => format!("a list, each {}", of.word()),
            Self::Empty => "an empty list".into(),
        }
    }
}

/// Every fact.
pub(crate) const FACTS: &[(&str, &str, Type)] = &[
    ("payment", "amount", Type::Int),
    ("payment", "currency", Type::Text),
    ("payment", "method", Type::Text),
    ("payment", "kind", Type::Text),
    ("payment", "manual_capture", Type::Bool),
    ("card", "network", Type::Text),
    ("card", "bin", Type::Text),
    ("payer", "country", Type::Text),
    ("payer", "ip_country", Type::Text),
    ("shipping", "country", Type::Text),
    ("beneficiary", "country", Type::Text),
];

pub(crate) fn type_of(root: &str, field: &str) -> Option<&'static Type> {
    let found = FACTS.iter().find(|(r, f, _)| (*r, *f) == (root, field));
    found.map(|(_, _, kind)| kind)
}

/// Whether a fact can ever be that text: a rule that compares it with another one never holds, or always. Empty: not known.
pub(crate) fn check_value(root: &str, field: &str, text: &str) -> Result<(), String> {
    let is_digits = |many: usize| text.len() == many && text.bytes().all(|it| it.is_ascii_digit());
    let (fits, form) = match (root, field) {
        _ if text.is_empty() => return Ok(()),
        ("payment", "currency") => (
            Asset::currency(text).is_some() || Asset::token(text, 0).is_some(),
            "a currency of ISO 4217, or a token and its network".to_owned(),
        ),
        ("payment", "kind") => (KINDS.contains(&text), KINDS.join(", ")),
        ("card", "network") => (CARD_BRANDS.contains(&text), CARD_BRANDS.join(", ")),
        ("card", "bin") => (is_digits(BIN), format!("the first {BIN} digits")),
        (_, "country" | "ip_country") => {
            let mut errors = vec![];
            check_country("", Some(text), &mut errors);
            (errors.is_empty(), "a country of ISO 3166-1, by its two letters".into())
        }
        _ => return Ok(()),
    };
    match fits {
        true => Ok(()),
        false => Err(format!("{root}.{field} is never '{text}'; it is {form}")),
    }
}

/// Digits of a card that are known to rules.
const BIN: usize = 6;
/// What `payment.kind` is.
const KINDS: [&str; 2] = ["payment", "payout"];

/// The facts of one payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) method: String,
    pub(crate) kind: String,
    pub(crate) manual_capture: bool,
    pub(crate) network: String,
    pub(crate) bin: String,
    pub(crate) country: String,
    pub(crate) ip_country: String,
    pub(crate) shipping_country: String,
    pub(crate) beneficiary_country: String,
}

impl Sample {
    /// Of a payment. An amount that no such number holds counts as the largest.
    pub fn of(facts: &RouteFacts<'_>) -> Self {
        Self {
            amount: i64::try_from(facts.amount.minor()).unwrap_or(i64::MAX),
            currency: facts.amount.asset().code().to_owned(),
            method: facts.method.to_owned(),
            kind: match facts.kind {
                Kind::Pay => "payout".into(),
                _ => "payment".into(),
            },
            manual_capture: facts.manual_capture,
            network: facts.network.unwrap_or_default().to_owned(),
            bin: facts.issuer.unwrap_or_default().to_owned(),
            country: facts.country.unwrap_or_default().to_owned(),
            ip_country: facts.places.ip.unwrap_or_default().to_owned(),
            shipping_country: facts.places.shipping.unwrap_or_default().to_owned(),
            beneficiary_country: facts.places.beneficiary.unwrap_or_default().to_owned(),
        }
    }

    /// Of a test in a set.
    pub(crate) fn of_test(test: &RawTest) -> Self {
        let (payment, card, payer) = (&test.payment, test.card.as_ref(), test.payer.as_ref());
        let country = |of: &Option<PlaceSample>| of.as_ref().map(|it| it.country.clone()).unwrap_or_default();
        Self {
            amount: payment.amount,
            currency: payment.currency.clone(),
            method: payment.method.clone().unwrap_or_else(|| "card".into()),
            kind: payment.kind.clone().unwrap_or_else(|| "payment".into()),
            manual_capture: payment.manual_capture,
            network: card.map(|card| card.network.clone()).unwrap_or_default(),
            bin: card.map(|card| card.bin.clone()).unwrap_or_default(),
            country: payer.map(|payer| payer.country.clone()).unwrap_or_default(),
            ip_country: payer.map(|payer| payer.ip_country.clone()).unwrap_or_default(),
            shipping_country: country(&test.shipping),
            beneficiary_country: country(&test.beneficiary),
        }
    }

    /// As conditions see it.
    pub(crate) fn context(&self) -> Context<'static, 'static> {
        static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));
        let text = |value: &str| Value::String(Arc::new(value.to_owned()));
        let payment: HashMap<String, Value> = HashMap::from([
            ("amount".to_owned(), Value::Int(self.amount)),
            ("currency".to_owned(), text(&self.currency)),
            ("method".to_owned(), text(&self.method)),
            ("kind".to_owned(), text(&self.kind)),
            ("manual_capture".to_owned(), Value::Bool(self.manual_capture)),
        ]);
        let card: HashMap<String, Value> = HashMap::from([
            ("network".to_owned(), text(&self.network)),
            ("bin".to_owned(), text(&self.bin)),
        ]);
        let mut context = Context::with_env(ENV.clone());
        context.add_variable_from_value("payment", payment);
        context.add_variable_from_value("card", card);
        let payer = HashMap::from([
            ("country".to_owned(), text(&self.country)),
            ("ip_country".to_owned(), text(&self.ip_country)),
        ]);
        context.add_variable_from_value("payer", payer);
        for (root, country) in [
            ("shipping", &self.shipping_country),
            ("beneficiary", &self.beneficiary_country),
        ] {
            let place = HashMap::from([("country".to_owned(), text(country))]);
            context.add_variable_from_value(root, place);
        }
        context
    }
}
