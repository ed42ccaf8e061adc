//! A set of rules as it is written: JSON with rules and tests. Reading it finds everything that is wrong with it, each with
//! the pointer to its place; what is read can be judged.

use crate::check::Condition;
use crate::facts::Sample;
use crate::sample::{holds, samples};
use portolan_domain::ids::{ChannelId, Name};
use portolan_domain::routing::RouteFacts;
use portolan_domain::routing::rule::{Act, Applied, Rulings};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Rules of one set.
const RULES_MAX: usize = 100;
/// Tests of one set.
const TESTS_MAX: usize = 200;
/// Characters of all conditions of a set: they are judged for every payment.
const CONDITIONS_MAX: usize = 16_000;
/// Characters of a set.
const SET_MAX: usize = 128 * 1024;

/// Something that is wrong with a set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// JSON pointer.
    pub pointer: String,
    /// A word for programs.
    pub code: &'static str,
    /// What to do about it.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    rules: Vec<RawRule>,
    #[serde(default)]
    tests: Vec<RawTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: String,
    when: Option<String>,
    prefer: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
    split: Option<BTreeMap<String, u32>>,
    sticky: Option<bool>,
    attempts: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTest {
    name: String,
    payment: PaymentSample,
    card: Option<CardSample>,
    payer: Option<PayerSample>,
    applies: Vec<String>,
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

/// The payer of a test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PayerSample {
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

struct Rule {
    name: String,
    condition: Option<Condition>,
    act: Act,
}

/// A set that can be judged.
pub struct Compiled {
    rules: Vec<Rule>,
    /// How many tests it holds; all of them passed.
    pub tests: usize,
}

impl Compiled {
    /// Reads a set and runs its tests. `known`: the channels that rules may name; `None`: they are not looked at.
    pub fn read(source: &str, known: Option<&[ChannelId]>) -> Result<Self, Vec<Problem>> {
        if source.len() > SET_MAX {
            return Err(vec![problem("", "too_long", format!("at most {SET_MAX} characters"))]);
        }
        let (compiled, tests) = Self::parsed(source, known)?;
        let mut problems = compiled.dead_rules();
        problems.extend(compiled.run_tests(&tests));
        if problems.is_empty() {
            Ok(compiled)
        } else {
            Err(problems)
        }
    }

    /// Reads a set that was read before, perhaps by an earlier engine: its tests must still pass.
    pub fn reread(source: &str) -> Result<Self, Vec<Problem>> {
        let (compiled, tests) = Self::parsed(source, None)?;
        let problems = compiled.run_tests(&tests);
        if problems.is_empty() {
            Ok(compiled)
        } else {
            Err(problems)
        }
    }

    fn parsed(source: &str, known: Option<&[ChannelId]>) -> Result<(Self, Vec<RawTest>), Vec<Problem>> {
        let document = parse(source)?;
        let mut problems = vec![];
        if document.rules.len() > RULES_MAX {
            problems.push(problem("/rules", "too_many", format!("at most {RULES_MAX}")));
        }
        if document.tests.len() > TESTS_MAX {
            problems.push(problem("/tests", "too_many", format!("at most {TESTS_MAX}")));
        }
        let mut rules: Vec<Rule> = vec![];
        for (at, raw) in document.rules.into_iter().enumerate() {
            if rules.iter().any(|rule| rule.name == raw.name) {
                let at = format!("/rules/{at}/name");
                problems.push(problem(&at, "taken", "another rule has this name".into()));
            }
            match rule(raw, at, known) {
                Ok(rule) => rules.push(rule),
                Err(more) => problems.extend(more),
            }
        }
        let lengths = rules.iter().filter_map(|rule| rule.condition.as_ref());
        if lengths.map(|it| it.length).sum::<usize>() > CONDITIONS_MAX {
            let message = format!("at most {CONDITIONS_MAX} characters of conditions in all");
            problems.push(problem("/rules", "too_long", message));
        }
        let compiled = Self {
            rules,
            tests: document.tests.len(),
        };
        match problems.is_empty() {
            true => Ok((compiled, document.tests)),
            false => Err(problems),
        }
    }

    /// What the rules say of a payment.
    pub fn judge(&self, facts: &RouteFacts<'_>) -> Rulings {
        self.judge_sample(&Sample::of(facts))
    }

    fn judge_sample(&self, sample: &Sample) -> Rulings {
        let context = sample.context();
        let mut rulings = Rulings::default();
        for rule in &self.rules {
            match holds(rule.condition.as_ref().map(|it| &it.program), &context) {
                Ok(true) => rulings.applied.push(Applied {
                    rule: rule.name.clone(),
                    act: rule.act.clone(),
                }),
                Ok(false) => {}
                Err(why) => rulings.broken.push((rule.name.clone(), why)),
            }
        }
        rulings
    }

    /// Rules that never apply, and rules about the order behind others that always come first.
    fn dead_rules(&self) -> Vec<Problem> {
        let conditions: Vec<&Condition> = self.rules.iter().filter_map(|rule| rule.condition.as_ref()).collect();
        let Some(samples) = samples(&conditions) else {
            return vec![];
        };
        // What is reckoned with facts may hold between the values that are written: nothing is claimed of it, nor of what it hides.
        let is_plain = |rule: &Rule| rule.condition.as_ref().is_none_or(|it| it.is_plain);
        let mut plain_so_far = true;
        let mut ever = vec![false; self.rules.len()];
        let mut decides = vec![false; self.rules.len()];
        for sample in &samples {
            let context = sample.context();
            let mut is_ordered = false;
            for ((rule, ever), decides) in self.rules.iter().zip(&mut ever).zip(&mut decides) {
                // What cannot be judged for an extreme amount may hold for others.
                if holds(rule.condition.as_ref().map(|it| &it.program), &context) != Ok(true) {
                    continue;
                }
                *ever = true;
                *decides |= !rule.act.is_about_order() || !is_ordered;
                is_ordered |= rule.act.is_about_order();
            }
        }
        let dead = self.rules.iter().enumerate().zip(ever.into_iter().zip(decides));
        dead.filter_map(|((at, rule), found)| {
            let is_certain = is_plain(rule);
            let was_plain = plain_so_far;
            plain_so_far &= is_certain || !rule.act.is_about_order();
            match found {
                _ if !is_certain => None,
                (true, false) if !was_plain => None,
                (false, _) => Some(problem(
                    &format!("/rules/{at}/when"),
                    "never_true",
                    format!("the rule {:?} applies to no payment", rule.name),
                )),
                (true, false) => Some(problem(
                    &format!("/rules/{at}"),
                    "unreachable",
                    format!("an earlier rule about the order applies whenever {:?} does", rule.name),
                )),
                (true, true) => None,
            }
        })
        .collect()
    }

    fn run_tests(&self, tests: &[RawTest]) -> Vec<Problem> {
        let run = |(at, test): (usize, &RawTest)| {
            let rulings = self.judge_sample(&Sample::of_test(
                &test.payment,
                test.card.as_ref(),
                test.payer.as_ref().map(|payer| payer.country.as_str()),
            ));
            let applied: Vec<&str> = rulings.applied.iter().map(|it| it.rule.as_str()).collect();
            if let Some((rule, why)) = rulings.broken.first() {
                let message = format!("the test {:?}: the rule {rule:?} cannot be judged: {why}", test.name);
                return Some(problem(&format!("/tests/{at}"), "test_failed", message));
            }
            (applied != test.applies).then(|| {
                let message = format!(
                    "the test {:?}: these rules apply: {applied:?}, expected were {:?}",
                    test.name, test.applies
                );
                problem(&format!("/tests/{at}/applies"), "test_failed", message)
            })
        };
        tests.iter().enumerate().filter_map(run).collect()
    }
}

fn problem(pointer: &str, code: &'static str, message: String) -> Problem {
    Problem {
        pointer: pointer.to_owned(),
        code,
        message,
    }
}

fn parse(source: &str) -> Result<Document, Vec<Problem>> {
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

fn rule(raw: RawRule, at: usize, known: Option<&[ChannelId]>) -> Result<Rule, Vec<Problem>> {
    let mut problems = vec![];
    let place = |field: &str| format!("/rules/{at}/{field}");
    if raw.name.is_empty() || raw.name.len() > 80 || raw.name.chars().any(char::is_control) {
        problems.push(problem(&place("name"), "invalid_value", "1 to 80 characters".into()));
    }
    let condition = match raw.when.as_deref().map(Condition::read) {
        None => None,
        Some(Ok(condition)) => Some(condition),
        Some(Err(why)) => {
            problems.push(problem(&place("when"), "invalid_condition", why));
            None
        }
    };
    let mut channel = |name: String, field: &str| {
        let id = Name::parse(&name).filter(|id| known.is_none_or(|known| known.contains(id)));
        if id.is_none() {
            let message = format!("there is no channel {name:?}");
            problems.push(problem(&place(field), "unknown_channel", message));
        }
        id
    };
    let mut acts: Vec<Act> = vec![];
    if let Some(names) = raw.prefer {
        acts.push(Act::Prefer(
            names.into_iter().filter_map(|it| channel(it, "prefer")).collect(),
        ));
    }
    if let Some(names) = raw.exclude {
        acts.push(Act::Exclude(
            names.into_iter().filter_map(|it| channel(it, "exclude")).collect(),
        ));
    }
    if let Some(weights) = raw.split {
        let weights = weights.into_iter();
        acts.push(Act::Split(
            weights
                .filter_map(|(it, weight)| Some((channel(it, "split")?, weight)))
                .collect(),
        ));
    }
    if raw.sticky == Some(true) {
        acts.push(Act::Sticky);
    }
    if let Some(most) = raw.attempts {
        acts.push(Act::Attempts(most));
    }
    let act = match (acts.pop(), acts.is_empty()) {
        (Some(act), true) => act,
        (_, _) => {
            let message = "a rule asks for one thing: prefer, exclude, split, sticky or attempts";
            problems.push(problem(&format!("/rules/{at}"), "one_act", message.into()));
            return Err(problems);
        }
    };
    let empty = match &act {
        Act::Prefer(names) | Act::Exclude(names) if names.is_empty() && problems.is_empty() => Some("names no channel"),
        Act::Split(weights) if weights.iter().all(|(_, weight)| *weight == 0) && problems.is_empty() => {
            Some("needs a weight above 0")
        }
        Act::Attempts(0) => Some("a payment has at least one attempt"),
        _ => None,
    };
    if let Some(why) = empty {
        problems.push(problem(&format!("/rules/{at}"), "invalid_value", why.into()));
    }
    match problems.is_empty() {
        true => Ok(Rule {
            name: raw.name,
            condition,
            act,
        }),
        false => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(source: &str) -> Vec<(String, &'static str)> {
        let known = [Name::parse("a").unwrap(), Name::parse("b").unwrap()];
        match Compiled::read(source, Some(&known)) {
            Ok(_) => vec![],
            Err(problems) => problems.into_iter().map(|it| (it.pointer, it.code)).collect(),
        }
    }

    const GOOD: &str = r#"{ "rules": [
        { "name": "large", "when": "payment.amount >= 100000", "prefer": ["a", "b"] },
        { "name": "visa", "when": "card.network == 'visa'", "split": { "a": 70, "b": 30 } },
        { "name": "no b in USD", "when": "payment.currency == 'USD'", "exclude": ["b"] },
        { "name": "rest", "sticky": true },
        { "name": "two", "when": "payment.amount < 500", "attempts": 1 } ],
      "tests": [
        { "name": "large goes to a", "payment": { "amount": 100000, "currency": "EUR" }, "applies": ["large", "rest"] },
        { "name": "small", "payment": { "amount": 499, "currency": "USD" }, "card": { "network": "visa" },
          "applies": ["visa", "no b in USD", "rest", "two"] } ] }"#;

    #[test]
    fn a_good_set_is_read_and_judged() {
        assert_eq!(problems(GOOD), []);
        assert_eq!(Compiled::read(GOOD, None).ok().map(|it| it.tests), Some(2));
    }

    #[test]
    fn everything_wrong_is_named_with_its_place() {
        let set = r#"{ "rules": [
            { "name": "x", "when": "payment.amout > 1", "prefer": ["c"] },
            { "name": "x", "prefer": ["a"], "exclude": ["b"] },
            { "name": "y" },
            { "name": "z", "split": { "a": 0 } } ] }"#;
        let found = problems(set);
        let expected = [
            ("/rules/0/when", "invalid_condition"),
            ("/rules/0/prefer", "unknown_channel"),
            ("/rules/1", "one_act"),
            ("/rules/2", "one_act"),
            ("/rules/3", "invalid_value"),
        ];
        assert_eq!(found, expected.map(|(at, code)| (at.to_owned(), code)));
        assert_eq!(
            problems(r#"{ "rules": [ { "name": "x", "prefre": ["a"] } ] }"#),
            [("/rules/0/prefre".to_owned(), "malformed")]
        );
    }

    #[test]
    fn rules_that_never_decide_are_refused() {
        let never = r#"{ "rules": [
            { "name": "n", "when": "payment.amount > 500 && payment.amount < 400", "prefer": ["a"] } ] }"#;
        assert_eq!(problems(never), [("/rules/0/when".to_owned(), "never_true")]);
        let behind = r#"{ "rules": [
            { "name": "wide", "when": "payment.amount > 100", "prefer": ["a"] },
            { "name": "narrow", "when": "payment.amount > 500 && payment.currency == 'EUR'", "prefer": ["b"] },
            { "name": "other", "when": "payment.amount > 500", "exclude": ["b"] } ] }"#;
        assert_eq!(problems(behind), [("/rules/1".to_owned(), "unreachable")]);
        let beside = behind.replace("payment.amount > 100\"", "payment.amount > 600\"");
        assert_eq!(problems(&beside), []);
    }

    #[test]
    fn nothing_is_claimed_of_what_is_reckoned() {
        for condition in [
            "payment.amount * 2 == 30",
            "payment.currency.startsWith('EU')",
            "payment.method.startsWith('wallet:') && payment.method.endsWith('pay')",
            "card.bin.startsWith('4') && card.bin.contains('77')",
            "size(payer.country) == 2",
        ] {
            let set = format!(r#"{{ "rules": [{{ "name": "x", "when": "{condition}", "prefer": ["a"] }}] }}"#);
            assert_eq!(problems(&set), [], "{condition}");
        }
        let long = format!("payment.amount > 1 {}", "&& payment.amount > 1".repeat(40));
        let rule = |n: usize| format!(r#"{{ "name": "{n}", "when": "{long}", "attempts": 1 }}"#);
        let rules: Vec<String> = (0..20).map(rule).collect();
        let set = format!(r#"{{ "rules": [{}] }}"#, rules.join(","));
        assert!(problems(&set).contains(&("/rules".to_owned(), "too_long")));
    }

    #[test]
    fn a_test_that_fails_refuses_the_set() {
        let wrong = GOOD.replace(r#""applies": ["large", "rest"]"#, r#""applies": ["large"]"#);
        assert_eq!(problems(&wrong), [("/tests/0/applies".to_owned(), "test_failed")]);
    }
}
