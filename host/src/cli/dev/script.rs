//! What a provider would answer, as an adapter's vectors tell it: a request is answered as the vector whose request it is like,
//! with its own amounts and ids in the answer. It remembers what it took, so that whoever asks for it is told. Knows no HTTP.
//!
//! Which of several vectors with one request is played is the payer's choice: the last two digits of the amount are the
//! vector's number among those of its function.

use super::case::{Case, Ending};
use super::leaves::{Leaves, Sent};
use super::memory::{FAILED, Found, Memory, Names, asked_about};
use super::sample::Bound;
use portolan_channels::{Answered, Vector};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// What is remembered; then everything is forgotten, as a test account is wiped.
const TAKEN_MAX: usize = 10_000;
/// The amount's digits that choose.
const NUMBERS: u64 = 100;

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
    /// What it is about, of all that was taken.
    pub about: Option<usize>,
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
    names: Names,
    memory: Memory,
    /// By path and key: the same request again has the same answer.
    answered: HashMap<(String, String), Told>,
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
        Self {
            names: Names::of(&mut cases),
            cases,
            memory: Memory::default(),
            answered: HashMap::new(),
        }
    }

    /// The vectors.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Takes other vectors; what was taken stays.
    pub fn learn(&mut self, vectors: Vec<(String, Vector)>) {
        let Self { cases, names, .. } = Self::new(vectors);
        (self.cases, self.names) = (cases, names);
    }

    /// Answers a request.
    pub fn answer(&mut self, sent: &Sent) -> Told {
        if self.memory.len().max(self.answered.len()) >= TAKEN_MAX {
            (self.memory, self.answered) = (Memory::default(), HashMap::new());
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

    /// What became of something.
    fn tell(&self, mut fits: Vec<Fit>, function: &str, bound: &Bound) -> Told {
        let Found { own, other } = self.memory.find(&self.names.all, bound, asked_about(function));
        let state = own.and_then(|at| self.memory.state(at));
        // What was refused is told only where a vector says how.
        let is_told = |fit: &Fit| self.case(fit).is_some_and(|case| case.state.as_deref() == state);
        let own = own.filter(|_| state != Some(FAILED) || fits.iter().any(is_told));
        let rank = |fit: &Fit| {
            let case = self.case(fit);
            let ending = case.map_or(Ending::Unclear, |case| case.ending);
            let is_other = case.is_none_or(|case| case.state.as_deref() != state);
            // A payment is not said to be captured that is only authorized, or waits, or was canceled.
            let is_wrong =
                (ending == Ending::Absent) != own.is_none() || own.is_some() && is_other && function == "status";
            (is_wrong, is_other, ending, -fit.score)
        };
        fits.sort_by_key(rank);
        let Some(fit) = fits.into_iter().next().filter(|fit| !rank(fit).0) else {
            return unshown(own.map(|at| (at, state.unwrap_or("done"))));
        };
        let bound = self.known(&fit, own.or(other));
        Told {
            is_absent: own.is_none(),
            ..self.said(fit.at, &bound, own)
        }
    }

    /// Something is to be done.
    fn take(&mut self, sent: &Sent, mut fits: Vec<Fit>, function: &str) -> Told {
        fits.sort_by_key(|fit| (!fit.is_kind, self.case(fit).map(|case| case.ending), -fit.score));
        let of = |fit: &Fit| {
            let found = self.memory.find(&self.names.ids, &fit.bound, function);
            (found, self.known(fit, found.own.or(found.other)))
        };
        let number = |fit: &&Fit| {
            let units = of(fit).1.amount.and_then(|units| units.parse::<u64>().ok());
            let chosen = self.case(fit).map(|case| case.number);
            fit.is_kind && chosen.is_some() && units.map(|it| it % NUMBERS) == chosen
        };
        let Some(done) = fits.first() else { return unheard(sent) };
        let chosen = fits.iter().find(number).unwrap_or(done);
        let ending = self.case(chosen).map_or(Ending::Unclear, |case| case.ending);
        // Where nobody knows, it was done: whoever asks will be told.
        let performed = if ending == Ending::Unclear { done } else { chosen };
        let (found, mut bound) = of(performed);
        let (at, chosen_at, key) = (performed.at, chosen.at, again(sent, &performed.bound));
        let case = self.cases.get(at.0);
        let place = case.map(|case| self.memory.take((case, at.1), found, &self.names, &mut bound));
        let told = self.said(at, &bound, place);
        if let Some(again) = key {
            // Who did not hear it asks again, with the same key, and is told.
            self.answered.insert(again, told.clone());
        }
        if chosen_at == at {
            told
        } else {
            self.said(chosen_at, &bound, place)
        }
    }

    /// What the request says, and what is known of what it names.
    fn known(&self, fit: &Fit, taken: Option<usize>) -> Bound {
        let case = self.case(fit).zip(taken);
        case.map_or_else(
            || fit.bound.clone(),
            |(case, at)| self.memory.known(case, at, &fit.bound),
        )
    }

    fn said(&self, at: (usize, usize), bound: &Bound, about: Option<usize>) -> Told {
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
            about,
        }
    }
}

/// What makes a request the same one again.
fn again(sent: &Sent, bound: &Bound) -> Option<(String, String)> {
    let key = bound.texts.iter().find(|(sample, _)| sample.starts_with("key-"));
    key.map(|(_, key)| (sent.path.clone(), key.clone()))
}

fn text(body: &Value) -> String {
    body.as_str().map_or_else(|| body.to_string(), str::to_owned)
}

/// No vector shows what is told of what is there, in that state, or of what is not.
fn unshown(there: Option<(usize, &str)>) -> Told {
    // What was taken is not said to be missing: whoever believed it would take the money again.
    let (status, problem) = match there {
        Some((_, state)) => (
            501,
            format!("no vector shows what is told of something that is {state}: write one"),
        ),
        None => (404, "not there".to_owned()),
    };
    Told {
        answer: Answer::Said(status, vec![], json!({ "error": problem }).to_string()),
        by: None,
        is_absent: there.is_none(),
        about: there.map(|(at, _)| at),
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
        about: None,
    }
}

#[cfg(test)]
mod tests;
