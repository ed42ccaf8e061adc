//! What a provider would answer, as an adapter's vectors tell it: a request is answered as the vector whose request it is like,
//! with its own amounts and ids in the answer. It remembers what it took, so that whoever asks for it is told. Knows no HTTP.
//!
//! Which of several vectors with one request is played is the payer's choice: the last two digits of the amount are the
//! vector's number among those of its function.

use super::case::{Case, Ending, said};
use super::leaves::{Leaves, Sent};
use super::sample::Bound;
use portolan_channels::{Answered, Vector};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is remembered; then everything is forgotten, as a test account is wiped.
const TAKEN_MAX: usize = 10_000;
/// The amount's digits that choose.
const NUMBERS: u64 = 100;
/// The contract's word for what came to nothing.
const FAILED: &str = "Failed";

/// What is sent back.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Status, headers, body.
    Said(u16, Vec<(String, String)>, String),
    /// The connection ends.
    Silence,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Told {
    /// What is sent back.
    pub answer: Answer,
    /// The vector that it comes from; `None`: no vector has an answer.
    pub by: Option<String>,
    /// Whether it was asked for something that is not there.
    pub is_absent: bool,
}

/// Something that was taken.
#[derive(Default)]
struct Taken {
    function: String,
    amount: Option<String>,
    asset: Option<String>,
    /// Sample and real id.
    ids: BTreeMap<String, String>,
    reference: Option<String>,
    state: Option<String>,
}

/// A vector's request that is like the one that came, by its place: vector and request.
struct Fit {
    at: (usize, usize),
    score: i64,
    is_kind: bool,
    bound: Bound,
}

/// All vectors of an adapter, and what was taken so far.
pub struct Script {
    cases: Vec<Case>,
    names: BTreeSet<String>,
    ids: BTreeSet<String>,
    taken: Vec<Taken>,
    known_by: HashMap<String, Vec<usize>>,
    /// By path and key: the same request again has the same answer.
    answered: HashMap<(String, String), Told>,
    made: u64,
}

impl Script {
    /// From the vectors, by name, in order.
    pub fn new(vectors: Vec<(String, Vector)>) -> Self {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut cases = vec![];
        for (name, vector) in vectors {
            let number = counts.entry(vector.function.clone()).or_default();
            *number = number.saturating_add(1);
            cases.push(Case::new(name, *number, vector));
        }
        let (names, ids) = named(&mut cases);
        Self {
            cases,
            names,
            ids,
            taken: vec![],
            known_by: HashMap::new(),
            answered: HashMap::new(),
            made: 0,
        }
    }

    /// The vectors.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Takes other vectors; what was taken stays.
    pub fn learn(&mut self, vectors: Vec<(String, Vector)>) {
        let Self { cases, names, ids, .. } = Self::new(vectors);
        (self.cases, self.names, self.ids) = (cases, names, ids);
    }

    /// Answers a request.
    pub fn answer(&mut self, sent: &Sent) -> Told {
        if self.taken.len().max(self.answered.len()).max(self.known_by.len()) >= TAKEN_MAX {
            (self.taken, self.known_by, self.answered) = (vec![], HashMap::new(), HashMap::new());
        }
        let mut fits = self.fits(sent);
        // The first of those that are as good, in the order of their files.
        let best = fits.iter().min_by_key(|fit| -fit.score);
        let Some((best, case)) = best.and_then(|fit| Some((fit, self.case(fit)?))) else {
            return unheard(sent);
        };
        let (function, is_question) = (case.function.clone(), case.is_question());
        if let Some(before) = again(sent, &best.bound).and_then(|again| self.answered.get(&again)) {
            return before.clone();
        }
        let bound = best.bound.clone();
        fits.retain(|fit| self.case(fit).is_some_and(|case| case.function == function));
        if is_question {
            return self.tell(fits, &function, &bound);
        }
        self.take(sent, fits, &function)
    }

    fn case(&self, fit: &Fit) -> Option<&Case> {
        self.cases.get(fit.at.0)
    }

    /// The vectors' requests that are like this one.
    fn fits(&self, sent: &Sent) -> Vec<Fit> {
        let leaves: Leaves = sent.leaves();
        let mut fits = vec![];
        for (case_at, case) in self.cases.iter().enumerate().filter(|(_, case)| case.is_playable()) {
            for (line_at, line) in case.lines.iter().enumerate() {
                if let Some(like) = case.fit(line, &sent.method, &leaves) {
                    let (at, score) = ((case_at, line_at), like.score);
                    let (is_kind, bound) = (like.is_kind, like.bound);
                    fits.push(Fit {
                        at,
                        score,
                        is_kind,
                        bound,
                    });
                }
            }
        }
        fits
    }

    /// What was taken and is named in the request: of this function, and of others. `by_id`: only by the provider's own names.
    fn named(&self, bound: &Bound, function: &str, by_id: bool) -> (Option<usize>, Option<usize>) {
        let names = if by_id { &self.ids } else { &self.names };
        let texts = bound.texts.iter().filter(|(sample, _)| names.contains(*sample));
        let found: Vec<usize> = texts
            .filter_map(|(_, text)| self.known_by.get(text))
            .flatten()
            .copied()
            .collect();
        let is_own = |at: &usize| self.taken.get(*at).is_some_and(|it| it.function == function);
        let own = found.iter().rev().copied().find(|at| is_own(at));
        (own, found.iter().copied().find(|at| !is_own(at)))
    }

    /// What became of something.
    fn tell(&self, mut fits: Vec<Fit>, function: &str, bound: &Bound) -> Told {
        let (own, other) = self.named(bound, asked_about(function), false);
        let state_of = |at: usize| self.taken.get(at).and_then(|it| it.state.clone());
        let state = own.and_then(state_of);
        // What was refused is told only where a vector says how.
        let is_told = |fit: &Fit| self.case(fit).is_some_and(|case| case.state == state);
        let own = own.filter(|_| state.as_deref() != Some(FAILED) || fits.iter().any(is_told));
        let rank = |fit: &Fit| {
            let case = self.case(fit);
            let ending = case.map_or(Ending::Unclear, |case| case.ending);
            let is_other = case.is_none_or(|case| case.state != state);
            // A payment is not said to be captured that is only authorized, or waits, or was canceled.
            let is_wrong =
                (ending == Ending::Absent) != own.is_none() || own.is_some() && is_other && function == "status";
            (is_wrong, is_other, ending, -fit.score)
        };
        fits.sort_by_key(rank);
        let Some(fit) = fits.into_iter().next().filter(|fit| !rank(fit).0) else {
            return unshown(own.map(|_| state.as_deref().unwrap_or("done")));
        };
        let bound = self.with_taken(&fit, own.or(other));
        Told {
            is_absent: own.is_none(),
            ..self.said(fit.at, &bound)
        }
    }

    /// Something is to be done.
    fn take(&mut self, sent: &Sent, mut fits: Vec<Fit>, function: &str) -> Told {
        fits.sort_by_key(|fit| (!fit.is_kind, self.case(fit).map(|case| case.ending), -fit.score));
        let of = |fit: &Fit| {
            let (own, other) = self.named(&fit.bound, function, true);
            (own, other, self.with_taken(fit, own.or(other)))
        };
        let number = |fit: &&Fit| {
            let units = of(fit).2.amount.and_then(|units| units.parse::<u64>().ok());
            let chosen = self.case(fit).map(|case| case.number);
            fit.is_kind && chosen.is_some() && units.map(|it| it % NUMBERS) == chosen
        };
        let Some(done) = fits.first() else { return unheard(sent) };
        let chosen = fits.iter().find(number).unwrap_or(done);
        let ending = self.case(chosen).map_or(Ending::Unclear, |case| case.ending);
        // Where nobody knows, it was done: whoever asks will be told.
        let performed = if ending == Ending::Unclear { done } else { chosen };
        let (own, other, mut bound) = of(performed);
        let (at, chosen_at, key) = (performed.at, chosen.at, again(sent, &performed.bound));
        self.remember(at, function, (own, other), &mut bound);
        let told = self.said(at, &bound);
        if let Some(again) = key {
            // Who did not hear it asks again, with the same key, and is told.
            self.answered.insert(again, told.clone());
        }
        if chosen_at == at {
            told
        } else {
            self.said(chosen_at, &bound)
        }
    }

    /// What the request says, and what is known of what it names.
    fn with_taken(&self, fit: &Fit, taken: Option<usize>) -> Bound {
        let mut bound = fit.bound.clone();
        let (Some(taken), Some(case)) = (taken.and_then(|at| self.taken.get(at)), self.case(fit)) else {
            return bound;
        };
        let is_same = asked_about(&case.function) == taken.function;
        let amount = if is_same { &mut bound.amount } else { &mut bound.whole };
        *amount = amount.take().or_else(|| taken.amount.clone());
        bound.asset = bound.asset.or_else(|| taken.asset.clone());
        for (sample, id) in &taken.ids {
            bound.texts.entry(sample.clone()).or_insert_with(|| id.clone());
        }
        if let (true, Some(sample), Some(reference)) = (is_same, &case.reference, &taken.reference) {
            bound.texts.insert(sample.clone(), reference.clone());
        }
        bound
    }

    /// Keeps what was taken, with new ids where the answer has some.
    fn remember(
        &mut self,
        at: (usize, usize),
        function: &str,
        before: (Option<usize>, Option<usize>),
        bound: &mut Bound,
    ) {
        let Some(case) = self.cases.get(at.0) else { return };
        let answer = case.lines.get(at.1).and_then(|line| said(&line.answer));
        let answer = answer.unwrap_or_default();
        let mut said = BTreeSet::new();
        super::leaves::walk(&answer, String::new(), &mut |_, text| {
            said.insert(text.to_owned());
        });
        let is_said = |id: &&String| said.iter().any(|text| text.contains(id.as_str()));
        for id in self.ids.iter().filter(is_said) {
            if !bound.texts.contains_key(id) {
                self.made = self.made.saturating_add(1);
                bound.texts.insert(id.clone(), another(id, self.made));
            }
        }
        let is_last = at.1.saturating_add(1) == case.lines.len();
        let state = if case.ending == Ending::Refused {
            Some(FAILED.to_owned())
        } else {
            case.state.clone()
        };
        let (reference, state) = (case.reference.clone(), state.filter(|_| is_last));
        let place = before.0.unwrap_or(self.taken.len());
        if place == self.taken.len() {
            self.taken.push(Taken::default());
        }
        if let Some(parent) = before.1.and_then(|at| self.taken.get_mut(at)) {
            parent.state = after(function).map(str::to_owned).or(parent.state.take());
        }
        let Some(taken) = self.taken.get_mut(place) else { return };
        taken.function = function.to_owned();
        taken.amount = bound.amount.clone().or(taken.amount.take());
        taken.asset = bound.asset.clone().or(taken.asset.take());
        taken.state = state.or(taken.state.take());
        for (sample, text) in &bound.texts {
            if self.ids.contains(sample) {
                taken.ids.insert(sample.clone(), text.clone());
            }
            let is_parents = before.1.is_some() && reference.as_ref() != Some(sample) && !sample.starts_with("key-");
            if self.names.contains(sample) && !is_parents {
                let places = self.known_by.entry(text.clone()).or_default();
                places.retain(|known| *known != place);
                places.push(place);
            }
        }
        let own = reference.and_then(|sample| taken.ids.get(&sample).cloned());
        taken.reference = own.or(taken.reference.take());
    }

    fn said(&self, at: (usize, usize), bound: &Bound) -> Told {
        let case = self.cases.get(at.0);
        let answer = case.and_then(|case| Some((case, &case.lines.get(at.1)?.answer)));
        let filled = answer.map(|(case, answer)| match answer {
            Answered::Response(status, body) => Answer::Said(*status, vec![], text(&case.samples.fill(body, bound))),
            Answered::ResponseWith(status, headers, body) => {
                let fill = |value: &str| text(&case.samples.fill(&json!(value), bound));
                let headers = headers.iter().map(|(name, value)| (name.clone(), fill(value)));
                Answer::Said(*status, headers.collect(), text(&case.samples.fill(body, bound)))
            }
            Answered::NotSent(_) | Answered::Unknown(_) => Answer::Silence,
        });
        Told {
            answer: filled.unwrap_or(Answer::Silence),
            by: case.map(|case| case.name.clone()),
            is_absent: false,
        }
    }
}

/// What names something, and what of that the provider makes: texts of answers that stand in requests and references too, of
/// whatever vector. Each vector learns them: an id that its own answers do not show may stand in its path.
fn named(cases: &mut [Case]) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut names: BTreeSet<String> = cases.iter().flat_map(Case::names).collect();
    let asked: BTreeSet<&String> = cases.iter().flat_map(Case::sent).chain(&names).collect();
    let is_asked = |text: &String| asked.iter().any(|it| it.contains(text.as_str()));
    let made = cases.iter().flat_map(Case::made).filter(is_asked);
    let references = cases.iter().filter_map(|case| case.reference.clone());
    let ids: BTreeSet<String> = made.chain(references).collect();
    names.extend(ids.iter().cloned());
    for case in cases {
        case.samples.learn(&json!({ "reference": ids }));
    }
    (names, ids)
}

/// The function that a question is about.
fn asked_about(function: &str) -> &str {
    match function {
        "status" => "authorize",
        "payouts-status" => "pay",
        "exchange-status" => "convert",
        other => other.strip_suffix("-status").unwrap_or(other),
    }
}

/// The state that a payment is in after it.
fn after(function: &str) -> Option<&'static str> {
    match function {
        "capture" => Some("Captured"),
        "cancel" => Some("Canceled"),
        "reverse" => Some("Reversed"),
        _ => None,
    }
}

/// What makes a request the same one again.
fn again(sent: &Sent, bound: &Bound) -> Option<(String, String)> {
    let key = bound.texts.iter().find(|(sample, _)| sample.starts_with("key-"));
    key.map(|(_, key)| (sent.path.clone(), key.clone()))
}

/// Another id of the same kind.
fn another(id: &str, number: u64) -> String {
    let is_uuid = id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    if is_uuid {
        return format!("{}{number:012x}", id.get(..24).unwrap_or_default());
    }
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        format!("{id}{number:04}")
    } else {
        format!("{id}_{number}")
    }
}

fn text(body: &Value) -> String {
    body.as_str().map_or_else(|| body.to_string(), str::to_owned)
}

/// No vector shows what is told of what is there, in that state, or of what is not.
fn unshown(state: Option<&str>) -> Told {
    // What was taken is not said to be missing: whoever believed it would take the money again.
    let (status, problem) = match state {
        Some(state) => (
            501,
            format!("no vector shows what is told of something that is {state}: write one"),
        ),
        None => (404, "not there".to_owned()),
    };
    Told {
        answer: Answer::Said(status, vec![], json!({ "error": problem }).to_string()),
        by: None,
        is_absent: state.is_none(),
    }
}

fn unheard(sent: &Sent) -> Told {
    let path = sent.path.split('?').next().unwrap_or_default();
    let problem = format!(
        "no vector sends {} {path}: write one, with what your provider answers",
        sent.method
    );
    Told {
        answer: Answer::Said(501, vec![], json!({ "error": problem }).to_string()),
        by: None,
        is_absent: false,
    }
}

#[cfg(test)]
mod tests;
