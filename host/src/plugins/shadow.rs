//! A version over what others did: every journaled request compared byte by byte, every outcome field by field, the cost of
//! each call. Nothing leaves. A report names fields, never what is in them: bodies hold payers' data.

use super::{PluginError, Plugins};
use portolan_domain::commit::Journaled;
use portolan_domain::exchange::{Answer, RUN_OF_CHECKS, Request};
use portolan_domain::lifecycle::{self, Stage, Version};
use portolan_domain::operation::{Fault, Operation, Outcome};
use portolan_domain::ports::Step;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

/// Operations that one report is made of, at most.
pub const OPERATIONS_MAX: usize = 10_000;
/// Differences that a report shows; more are counted.
const SHOWN_MAX: usize = 100;
/// Operations that are compared at each look beside live ones; where more are concluded, the newest.
const FOLLOWED: usize = 64;
/// Operations that a shadow remembers having seen.
const SEEN_MAX: usize = 20_000;

/// What would have been different.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Operations that were compared.
    pub operations: u64,
    /// Of these: the same requests, the same outcome.
    pub same: u64,
    /// Another request, or more or fewer.
    pub requests_differ: u64,
    /// The same requests, another outcome.
    pub outcomes_differ: u64,
    /// The version failed where the journal goes on.
    pub faults: u64,
    /// What it does not do, or is not granted: not compared.
    pub not_compared: u64,
    /// Calls, and what they took in it and in the active version, in microseconds.
    pub calls: u64,
    /// In the version that is compared.
    pub guest_us: u64,
    /// In the active version.
    pub active_guest_us: u64,
    /// The differences, the newest first.
    pub differences: Vec<Comparison>,
    /// Differences that are not shown.
    pub not_shown: u64,
}

/// One operation that would have gone another way.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Its payment.
    pub payment: String,
    /// Its id.
    pub operation: String,
    /// Its kind.
    pub kind: &'static str,
    /// Where it parts: `request 1`, `outcome`.
    pub at: String,
    /// Which fields, or what failed.
    pub fields: Vec<String>,
}

enum Verdict {
    Same,
    Request(String, Vec<String>),
    Outcome(Vec<String>),
    Fault(String, Fault),
    NotCompared,
}

/// A version in the shadow, and what it has seen.
#[derive(Default)]
pub(super) struct Following {
    seen: HashSet<uuid::Uuid>,
    report: Report,
}

impl Report {
    fn add(&mut self, operation: &Operation, verdict: Verdict) {
        self.operations = self.operations.saturating_add(1);
        let (counter, at, fields) = match verdict {
            Verdict::Same => return self.same = self.same.saturating_add(1),
            Verdict::NotCompared => return self.not_compared = self.not_compared.saturating_add(1),
            Verdict::Request(at, fields) => (&mut self.requests_differ, at, fields),
            Verdict::Outcome(fields) => (&mut self.outcomes_differ, "outcome".to_owned(), fields),
            Verdict::Fault(at, fault) => (&mut self.faults, at, vec![format!("fault {}", fault.kind)]),
        };
        *counter = counter.saturating_add(1);
        if self.differences.len() >= SHOWN_MAX {
            self.not_shown = self.not_shown.saturating_add(1);
            return;
        }
        self.differences.push(Comparison {
            payment: operation.payment.to_string(),
            operation: operation.id.to_string(),
            kind: operation.kind.as_str(),
            at,
            fields,
        });
    }

    fn merge(&mut self, other: Self) {
        for (own, more) in [
            (&mut self.operations, other.operations),
            (&mut self.same, other.same),
            (&mut self.requests_differ, other.requests_differ),
            (&mut self.outcomes_differ, other.outcomes_differ),
            (&mut self.faults, other.faults),
            (&mut self.not_compared, other.not_compared),
            (&mut self.calls, other.calls),
            (&mut self.guest_us, other.guest_us),
            (&mut self.active_guest_us, other.active_guest_us),
            (&mut self.not_shown, other.not_shown),
        ] {
            *own = own.saturating_add(more);
        }
        for difference in other.differences {
            if self.differences.len() < SHOWN_MAX {
                self.differences.push(difference);
            } else {
                self.not_shown = self.not_shown.saturating_add(1);
            }
        }
    }

    /// In a few lines, for people.
    pub fn text(&self) -> String {
        let mean = |sum: u64| sum.checked_div(self.calls).unwrap_or(0);
        let mut lines = vec![
            format!(
                "{} operations: {} the same, {} other requests, {} other outcomes, {} faults, {} not compared",
                self.operations, self.same, self.requests_differ, self.outcomes_differ, self.faults, self.not_compared
            ),
            format!(
                "{} µs a call, {} µs in the active version",
                mean(self.guest_us),
                mean(self.active_guest_us)
            ),
        ];
        let of = |it: &Comparison| format!("{} {} {}: {}", it.payment, it.kind, it.at, it.fields.join(", "));
        lines.extend(self.differences.iter().map(of));
        if self.not_shown > 0 {
            lines.push(format!("and {} more", self.not_shown));
        }
        lines.join("\n")
    }
}

impl Plugins {
    /// Runs a loaded version over the last operations of its adapter's channels.
    pub async fn replay(&self, adapter: &str, digest: &str, last: usize) -> Result<Report, PluginError> {
        let versions = self.list();
        let version = lifecycle::find(&versions, adapter, digest)?;
        let channels = self.registry.channels_of(adapter);
        tokio::task::block_in_place(|| {
            let mut report = Report::default();
            for journaled in self.library.recent_operations(&channels, 0, last.min(OPERATIONS_MAX))? {
                self.compare(version, &versions, &journaled, &mut report);
            }
            Ok(report)
        })
    }

    /// What the live shadow of a version has found so far.
    pub fn shadow_report(&self, version: &Version) -> Option<Report> {
        let shadows = self.shadows.lock().unwrap_or_else(PoisonError::into_inner);
        shadows.get(&term_of(version)).map(|following| following.report.clone())
    }

    /// Compares what was concluded since the last look.
    pub(super) async fn follow(&self, version: &Version) -> Result<(), PluginError> {
        let channels = self.registry.channels_of(&version.adapter);
        tokio::task::block_in_place(|| {
            let recent = self
                .library
                .recent_operations(&channels, version.changed_ms, FOLLOWED)?;
            let versions = self.list();
            let new: Vec<_> = {
                let mut shadows = self.shadows.lock().unwrap_or_else(PoisonError::into_inner);
                let in_shadow = |term: &String| {
                    versions
                        .iter()
                        .any(|it| it.stage == Stage::Shadow && term_of(it) == *term)
                };
                shadows.retain(|term, _| in_shadow(term));
                let following = shadows.entry(term_of(version)).or_default();
                if following.seen.len() > SEEN_MAX {
                    following.seen.clear();
                }
                recent
                    .into_iter()
                    .filter(|it| following.seen.insert(it.0.id.0))
                    .collect()
            };
            for journaled in new {
                let mut report = Report::default();
                self.compare(version, &versions, &journaled, &mut report);
                let mut shadows = self.shadows.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(following) = shadows.get_mut(&term_of(version)) {
                    following.report.merge(report);
                }
            }
            Ok(())
        })
    }

    fn compare(&self, version: &Version, versions: &[Version], journaled: &Journaled, report: &mut Report) {
        let (operation, exchanges) = journaled.as_ref();
        let active = lifecycle::active(versions, &version.adapter).map(|it| it.digest.clone());
        let mut runs: Vec<u8> = exchanges.iter().map(|it| it.run).collect();
        runs.retain(|run| *run != RUN_OF_CHECKS);
        let run = runs.first().copied().unwrap_or(0);
        let of_run: Vec<_> = exchanges.iter().filter(|it| it.run == run).collect();
        let mut answers: Vec<Answer> = vec![];
        let mut took = (Duration::ZERO, Duration::ZERO, 0_u64);
        let mut verdict = None;
        // Whoever comes second finds everything warm: they take turns.
        let is_second = operation.id.0.as_u128() % 2 == 1;
        for (at, exchange) in of_run.iter().enumerate() {
            if is_second {
                took.1 += self.cost_in(active.as_deref(), operation, &answers);
            }
            match self.registry.step_in(&version.digest, operation, &answers) {
                Err(_) => verdict = Some(Verdict::NotCompared),
                Ok((step, cost)) => {
                    took.0 += cost;
                    verdict = at_request(at, step, &exchange.request);
                }
            }
            if !is_second {
                took.1 += self.cost_in(active.as_deref(), operation, &answers);
            }
            took.2 = took.2.saturating_add(1);
            answers.extend(exchange.answer.clone());
            if verdict.is_some() {
                break;
            }
        }
        let verdict = verdict.unwrap_or_else(|| self.outcomes(version, active.as_deref(), operation, &answers));
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        report.guest_us = report.guest_us.saturating_add(micros(took.0));
        report.active_guest_us = report.active_guest_us.saturating_add(micros(took.1));
        report.calls = report.calls.saturating_add(took.2);
        report.add(operation, verdict);
    }

    fn cost_in(&self, digest: Option<&str>, operation: &Operation, answers: &[Answer]) -> Duration {
        let ran = digest.and_then(|digest| self.registry.step_in(digest, operation, answers).ok());
        ran.map_or(Duration::ZERO, |(_, took)| took)
    }

    /// The journal keeps what was concluded as facts, so the outcome is compared with what the active version makes of the
    /// same answers.
    fn outcomes(&self, version: &Version, active: Option<&str>, operation: &Operation, answers: &[Answer]) -> Verdict {
        let Some(active) = active else {
            return Verdict::NotCompared;
        };
        let new = self.registry.step_in(&version.digest, operation, answers);
        let old = self.registry.step_in(active, operation, answers);
        match (new, old) {
            (Ok((Ok(Step::Done(new)), _)), Ok((Ok(Step::Done(old)), _))) => match outcome_fields(&old, &new) {
                fields if fields.is_empty() => Verdict::Same,
                fields => Verdict::Outcome(fields),
            },
            (Ok((Err(new), _)), Ok((Err(old), _))) if new.kind == old.kind => Verdict::Same,
            (Ok((Err(fault), _)), Ok(_)) => Verdict::Fault("outcome".into(), fault),
            (Ok((Ok(Step::Send(_)), _)), Ok((Ok(Step::Send(_)), _))) => Verdict::Same,
            (Ok((Ok(Step::Send(request)), _)), Ok(_)) => {
                Verdict::Request("outcome".into(), vec![format!("one more request: {}", request.method)])
            }
            (Ok((Ok(Step::Done(_)), _)), Ok(_)) => {
                Verdict::Outcome(vec!["an outcome where the active version has none".into()])
            }
            (Err(_), _) | (_, Err(_)) => Verdict::NotCompared,
        }
    }
}

/// A version's time in the shadow.
fn term_of(version: &Version) -> String {
    format!("{} {} {}", version.adapter, version.digest, version.changed_ms)
}

fn at_request(at: usize, step: Result<Step, Fault>, journaled: &Request) -> Option<Verdict> {
    let place = format!("request {}", at.saturating_add(1));
    match step {
        Ok(Step::Send(request)) if request == *journaled => None,
        Ok(Step::Send(request)) => Some(Verdict::Request(place, request_fields(journaled, &request))),
        Ok(Step::Done(_)) => Some(Verdict::Request(
            place,
            vec!["an outcome instead of the request".into()],
        )),
        Err(fault) => Some(Verdict::Fault(place, fault)),
    }
}

fn request_fields(old: &Request, new: &Request) -> Vec<String> {
    let mut fields = vec![];
    let mut note = |differs: bool, what: &str| {
        if differs {
            fields.push(what.to_owned());
        }
    };
    note(old.endpoint != new.endpoint, "endpoint");
    note(old.method != new.method, "method");
    note(old.path != new.path, "path");
    note(old.effect != new.effect, "effect");
    note(old.timeout_ms != new.timeout_ms, "timeout");
    note(old.words != new.words, "signatures and digests");
    let header = |request: &Request, name: &str| request.headers.iter().find(|(it, _)| it == name).cloned();
    let names: Vec<&String> = old.headers.iter().chain(&new.headers).map(|(name, _)| name).collect();
    let differing = names.iter().filter(|name| header(old, name) != header(new, name));
    let named = |name: &&&String| match header(old, name) {
        Some(_) => format!("header {name}"),
        None => "a new header".to_owned(),
    };
    let mut headers: Vec<String> = differing.map(|name| named(&name)).collect();
    headers.sort();
    headers.dedup();
    fields.extend(headers);
    if old.body != new.body {
        let json = |request: &Request| serde_json::from_slice::<Value>(request.body.as_bytes()).ok();
        match (json(old), json(new)) {
            (Some(old), Some(new)) if old != new => pointers("body ", &old, &new, &mut fields),
            _ => fields.push("body".into()),
        }
    }
    fields
}

fn outcome_fields(old: &Outcome, new: &Outcome) -> Vec<String> {
    if old == new {
        return vec![];
    }
    let mut fields = vec![];
    match (serde_json::to_value(old), serde_json::to_value(new)) {
        (Ok(old), Ok(new)) => pointers("", &old, &new, &mut fields),
        _ => fields.push("outcome".into()),
    }
    fields
}

/// The places, as JSON pointers, where two values part.
fn pointers(at: &str, old: &Value, new: &Value, fields: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                pointers(
                    &format!("{at}/{name}"),
                    value,
                    new.get(name).unwrap_or(&Value::Null),
                    fields,
                );
            }
            // A name that was not there is the version's own word, and may hold anything.
            let added = new.keys().filter(|name| !old.contains_key(*name));
            fields.extend(added.map(|_| format!("{at}/(a new field)")));
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (n, (old, new)) in old.iter().zip(new).enumerate() {
                pointers(&format!("{at}/{n}"), old, new, fields);
            }
        }
        _ if old == new => {}
        _ => fields.push(at.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_is_named_by_its_place_and_its_content_stays_out() {
        let mut fields = vec![];
        let old = json!({ "amount": 1, "payer": { "email": "a@example.org" }, "items": [1, 2] });
        let new = json!({ "amount": 1, "payer": { "email": "b@example.org" }, "items": [1, 3], "note": "x" });
        pointers("body ", &old, &new, &mut fields);
        assert_eq!(fields, ["body /payer/email", "body /items/1", "body /(a new field)"]);
    }
}
