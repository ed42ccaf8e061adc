//! Whether a component does what the vectors that it brings say, and survives what providers and networks do on bad days.

use super::Subject;
use super::pack::{self, Packed};
use super::vectors::Stopped;
use portolan_domain::operation::Fault;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long all vectors together may take; the one that is being run comes to its end.
const WITHIN: Duration = Duration::from_secs(120);
/// Problems that are told; the others are counted.
const TOLD_MAX: usize = 10;
/// Of one problem.
const TEXT_MAX: usize = 400;

/// Why there is no proof.
#[derive(Debug, Serialize, Deserialize)]
pub enum ProofError {
    /// The vectors cannot be read.
    Unreadable(String),
    /// Running them broke what ran them.
    Fault(Fault),
    /// This machine could not run them now: that says nothing about the component.
    Machine(String),
}

impl ProofError {
    /// What a worker says, held to what is told.
    pub(crate) fn held(self) -> Self {
        let clipped = |text: String| text.chars().take(TEXT_MAX).collect();
        match self {
            Self::Unreadable(text) => Self::Unreadable(clipped(text)),
            Self::Machine(text) => Self::Machine(clipped(text)),
            Self::Fault(Fault { kind, text }) => Self::Fault(Fault {
                kind,
                text: clipped(text),
            }),
        }
    }
}

impl From<ProofError> for String {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Unreadable(text) | ProofError::Machine(text) => text,
            ProofError::Fault(fault) => fault.to_string(),
        }
    }
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Proof {
    /// Vectors that were run.
    pub vectors: usize,
    /// Attacks that were tried.
    pub attacks: usize,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// How much more is wrong.
    pub more: usize,
}

impl std::fmt::Display for Proof {
    /// What was tried.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} vectors, {} attacks", self.vectors, self.attacks)
    }
}

impl Proof {
    fn found(&mut self, problem: String) {
        if self.problems.len() < TOLD_MAX {
            self.problems.push(problem.chars().take(TEXT_MAX).collect());
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// What a worker says, held to what a proof may say.
    pub(crate) fn held(self) -> Self {
        let mut held = Self {
            more: self.more,
            ..Self {
                problems: vec![],
                ..self
            }
        };
        for problem in self.problems {
            held.found(problem);
        }
        held
    }
}

/// Runs every vector of a section, and every attack on it.
pub(crate) fn prove(subject: &Subject<'_>, section: &[u8]) -> Result<Proof, ProofError> {
    let vectors = pack::parse(section).map_err(ProofError::Unreadable)?;
    let until = Instant::now() + WITHIN;
    let mut proof = Proof {
        vectors: vectors.len(),
        ..Proof::default()
    };
    for vector in &vectors {
        if Instant::now() > until {
            proof.found(format!("not done within {} s", WITHIN.as_secs()));
            break;
        }
        match hold(subject, vector, &mut proof) {
            Ok(()) => {}
            Err(Stopped::Wrong(problem)) => {
                proof.found(format!("{} ({}): {problem}", vector.name, vector.vector.shows))
            }
            Err(busy @ Stopped::Busy) => return Err(ProofError::Machine(busy.into())),
        }
    }
    Ok(proof)
}

/// Holds the component to one vector, and attacks it there.
fn hold(subject: &Subject<'_>, Packed { name, vector }: &Packed, proof: &mut Proof) -> Result<(), Stopped> {
    let steps = subject.run(vector)?;
    if steps != vector.expect {
        let problem = difference(&vector.expect, &steps);
        proof.found(format!("{name} ({}): {problem}", vector.shows));
    }
    let (tried, findings) = subject.attack(vector)?;
    proof.attacks = proof.attacks.saturating_add(tried);
    for it in findings {
        proof.found(format!("{name}, answer {}, {}: {}", it.at, it.attack, it.problem));
    }
    Ok(())
}

/// Where two lists of steps part, in a few words.
pub fn difference(expected: &[Value], seen: &[Value]) -> String {
    for (at, step) in seen.iter().enumerate() {
        if expected.get(at) != Some(step) {
            let wanted = expected.get(at).map_or(
                "nothing (`portolan plugin test` with --update writes down what is seen)".to_owned(),
                Value::to_string,
            );
            let seen = step.to_string();
            return format!(
                "step {}:\n    seen     {seen}\n    expected {wanted}",
                at.saturating_add(1)
            );
        }
    }
    format!("{} steps were expected, {} seen", expected.len(), seen.len())
}
