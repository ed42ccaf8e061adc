//! A set of rules as it is written: JSON with rules and tests. Reading it finds everything that is wrong with it, each with
//! the pointer to its place; what is read can be judged.

use crate::check::Condition;
use crate::facts::Sample;
use crate::sample::{holds, samples};
use crate::written::{RawTest, parse, problem, rule};
use portolan_domain::ids::ChannelId;
use portolan_domain::routing::RouteFacts;
use portolan_domain::routing::rule::{Act, Applied, Rulings};

/// Rules of one set.
const RULES_MAX: usize = 100;
/// Tests of one set.
const TESTS_MAX: usize = 200;
/// Limits of one set: what each counts is read for every payment that it applies to.
const LIMITS_MAX: usize = 10;
/// Characters of all conditions of a set: they are judged for every payment.
const CONDITIONS_MAX: usize = 16_000;
/// Characters of a set.
const SET_MAX: usize = 64 * 1024;

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

pub(crate) struct Rule {
    pub name: String,
    pub condition: Option<Condition>,
    pub act: Act,
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
        let mut problems = compiled.impossible();
        problems.extend(compiled.dead_rules());
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
        let limits = rules.iter().filter(|rule| matches!(rule.act, Act::Limit(_)));
        if limits.count() > LIMITS_MAX {
            problems.push(problem("/rules", "too_many", format!("at most {LIMITS_MAX} limits")));
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
                Err(why) => {
                    rulings.broken.push((rule.name.clone(), why));
                    // What protects is not dropped because its condition cannot be judged.
                    if rule.act.protects() {
                        rulings.applied.push(Applied {
                            rule: rule.name.clone(),
                            act: rule.act.clone(),
                        });
                    }
                }
            }
        }
        rulings
    }

    /// Comparisons with what a fact can never be: a word that is mistyped makes a rule that does something else than it says.
    fn impossible(&self) -> Vec<Problem> {
        let rules = self.rules.iter().enumerate();
        let found = rules.filter_map(|(at, rule)| {
            let why = rule.condition.as_ref()?.impossible.as_ref()?;
            Some(problem(&format!("/rules/{at}/when"), "impossible_value", why.clone()))
        });
        found.collect()
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
            if let Some(message) = test.payment.wrong() {
                return Some(problem(&format!("/tests/{at}/payment"), "invalid_value", message));
            }
            let rulings = self.judge_sample(&Sample::of_test(test));
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

#[cfg(test)]
mod tests;
