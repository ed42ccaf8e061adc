//! How a set is written: its JSON, and one rule of it read.

use crate::check::Condition;
use crate::document::{Problem, Rule};
use crate::limits::{self, RawLimit};
use portolan_domain::ids::{ChannelId, Name};
use portolan_domain::risk::Limit;
use portolan_domain::routing::rule::Act;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub rules: Vec<RawRule>,
    #[serde(default)]
    pub tests: Vec<RawTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    pub name: String,
    when: Option<String>,
    prefer: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
    split: Option<BTreeMap<String, u32>>,
    sticky: Option<bool>,
    attempts: Option<usize>,
    authenticate: Option<bool>,
    refuse: Option<bool>,
    warn: Option<bool>,
    limit: Option<RawLimit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTest {
    pub name: String,
    pub payment: PaymentSample,
    pub card: Option<CardSample>,
    pub payer: Option<PayerSample>,
    pub shipping: Option<PlaceSample>,
    pub beneficiary: Option<PlaceSample>,
    pub applies: Vec<String>,
}

/// The payment of a test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaymentSample {
    pub amount: i64,
    pub currency: String,
    pub method: Option<String>,
    pub kind: Option<String>,
    #[serde(default)]
    pub manual_capture: bool,
}

impl PaymentSample {
    /// Why no payment is like this.
    pub fn wrong(&self) -> Option<String> {
        let kind = self.kind.as_deref().unwrap_or("payment");
        if self.amount < 1 {
            Some(format!("an amount of {}: from 1 minor unit up", self.amount))
        } else if !["payment", "payout"].contains(&kind) {
            Some(format!("{kind:?} is neither payment nor payout"))
        } else {
            None
        }
    }
}

/// The payer of a test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PayerSample {
    #[serde(default)]
    pub country: String,
    #[serde(default)]
    pub ip_country: String,
}

/// Where goods or money go in a test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceSample {
    pub country: String,
}

/// The card of a test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CardSample {
    #[serde(default)]
    pub network: String,
    #[serde(default)]
    pub bin: String,
}

/// Attempts that a rule may allow.
const ATTEMPTS_MAX: usize = 10;
/// Characters of a rule's name.
const NAME_MAX: usize = 80;

pub(crate) fn problem(pointer: &str, code: &'static str, message: String) -> Problem {
    Problem {
        pointer: pointer.to_owned(),
        code,
        message,
    }
}

pub(crate) fn parse(source: &str) -> Result<Document, Vec<Problem>> {
    let mut reader = serde_json::Deserializer::from_str(source);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let pointer = match path.as_str() {
            "." => String::new(),
            path => format!("/{}", path.replace(['.', '['], "/").replace(']', "")),
        };
        vec![problem(&pointer, "malformed", error.into_inner().to_string())]
    })
}

/// A rule as it was written, or everything that is wrong with it.
pub(crate) fn rule(raw: RawRule, at: usize, known: Option<&[ChannelId]>) -> Result<Rule, Vec<Problem>> {
    let mut reader = Reader {
        at,
        known,
        problems: vec![],
    };
    if raw.name.is_empty() || raw.name.len() > NAME_MAX || raw.name.chars().any(char::is_control) {
        reader.bad(
            "/name",
            "invalid_value",
            "1 to 80 characters, no control characters".into(),
        );
    }
    let condition = raw.when.as_deref().and_then(|text| reader.condition(text));
    let name = raw.name.clone();
    match (reader.act(raw), reader.problems.is_empty()) {
        (Some(act), true) => Ok(Rule { name, condition, act }),
        (_, _) => Err(reader.problems),
    }
}

/// Reads one rule and keeps what is wrong with it.
struct Reader<'a> {
    at: usize,
    known: Option<&'a [ChannelId]>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn bad(&mut self, field: &str, code: &'static str, message: String) {
        let place = format!("/rules/{}{field}", self.at);
        self.problems.push(problem(&place, code, message));
    }

    fn condition(&mut self, text: &str) -> Option<Condition> {
        match Condition::read(text) {
            Ok(condition) => Some(condition),
            Err(why) => {
                self.bad("/when", "invalid_condition", why);
                None
            }
        }
    }

    fn channel(&mut self, name: &str, field: &str) -> Option<ChannelId> {
        let id = Name::parse(name).filter(|id| self.known.is_none_or(|known| known.contains(id)));
        if id.is_none() {
            let known: Vec<&str> = self.known.unwrap_or_default().iter().map(|it| it.as_str()).collect();
            let message = format!("there is no channel {name:?}; there are {}", known.join(", "));
            self.bad(field, "unknown_channel", message);
        }
        id
    }

    fn channels(&mut self, names: &[String], field: &str) -> Vec<ChannelId> {
        if names.is_empty() {
            self.bad(field, "invalid_value", "names no channel".into());
        }
        let mut channels: Vec<ChannelId> = vec![];
        for name in names {
            match self.channel(name, field) {
                Some(id) if channels.contains(&id) => {
                    self.bad(field, "taken", format!("{name:?} stands twice"));
                    break;
                }
                found => channels.extend(found),
            }
        }
        channels
    }

    fn split(&mut self, weights: BTreeMap<String, u32>) -> Vec<(ChannelId, u32)> {
        if weights.values().all(|weight| *weight == 0) {
            self.bad("/split", "invalid_value", "needs a weight above 0".into());
        }
        let read = weights.into_iter();
        read.filter_map(|(name, weight)| Some((self.channel(&name, "/split")?, weight)))
            .collect()
    }

    fn limit(&mut self, raw: RawLimit) -> Option<Limit> {
        match limits::read(raw) {
            Ok(limit) => Some(limit),
            Err(wrong) => {
                for (field, message) in wrong {
                    self.bad(&format!("/limit{field}"), "invalid_value", message);
                }
                None
            }
        }
    }

    /// The one thing that it asks for.
    fn act(&mut self, raw: RawRule) -> Option<Act> {
        let mut acts: Vec<Act> = vec![];
        acts.extend(raw.prefer.map(|names| Act::Prefer(self.channels(&names, "/prefer"))));
        acts.extend(raw.exclude.map(|names| Act::Exclude(self.channels(&names, "/exclude"))));
        acts.extend(raw.split.map(|weights| Act::Split(self.split(weights))));
        acts.extend(raw.sticky.filter(|is_on| *is_on).map(|_| Act::Sticky));
        if raw.attempts.is_some_and(|most| !(1..=ATTEMPTS_MAX).contains(&most)) {
            let message = format!("from 1 to {ATTEMPTS_MAX}; [policy] attempts_max holds too");
            self.bad("/attempts", "invalid_value", message);
        }
        acts.extend(raw.attempts.map(Act::Attempts));
        acts.extend(raw.authenticate.filter(|is_on| *is_on).map(|_| Act::Authenticate));
        if raw.refuse == Some(true) && raw.when.is_none() {
            let message = "says which payments are refused; all of them: when = \"true\"";
            self.bad("/when", "missing", message.into());
        }
        acts.extend(raw.refuse.filter(|is_on| *is_on).map(|_| Act::Refuse));
        acts.extend(raw.warn.filter(|is_on| *is_on).map(|_| Act::Warn));
        let is_limit = raw.limit.is_some();
        acts.extend(raw.limit.and_then(|raw| self.limit(raw)).map(Act::Limit));
        match (acts.pop(), acts.is_empty()) {
            (Some(act), true) => Some(act),
            // What is wrong with it was said.
            (None, _) if is_limit => None,
            (_, _) => {
                let message = "a rule asks for one thing: prefer, exclude, split, sticky, attempts, authenticate, refuse, \
                               warn or limit";
                self.bad("", "one_act", message.into());
                None
            }
        }
    }
}
