//! Whether a component does what the vectors that it brings say, and survives what providers and networks do on bad days.

use super::pack::Packed;
use super::{Subject, Vector};
use crate::abi::exported::adapter::Manifest;
use crate::counts::Counts;
use crate::sandbox::Prepared;
use portolan_domain::operation::Fault;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long all vectors together may take; the one that is being run comes to its end.
pub(crate) const WITHIN: Duration = Duration::from_secs(120);
/// Problems that are told; the others are counted.
const TOLD_MAX: usize = 10;
/// Of one problem.
const TEXT_MAX: usize = 400;

/// Why there is no proof.
#[derive(Debug)]
pub enum ProofError {
    /// The vectors cannot be read, or running them broke what ran them.
    Fault(Fault),
    /// This machine could not run them now: that says nothing about the component.
    Machine(String),
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

/// Runs every vector, and every attack on it.
pub(crate) fn prove(prepared: &Prepared, manifest: &Manifest, counts: &Arc<Counts>, vectors: &[Packed]) -> Proof {
    let until = Instant::now() + WITHIN;
    let subject = Subject::new(prepared, manifest, counts);
    let mut proof = Proof {
        vectors: vectors.len(),
        ..Proof::default()
    };
    for Packed { name, vector } in vectors {
        if Instant::now() > until {
            proof.found(format!("not done within {} s", WITHIN.as_secs()));
            break;
        }
        if let Err(problem) = runs(&subject, vector) {
            proof.found(format!("{name} ({}): {problem}", vector.shows));
        }
        match subject.attack(vector) {
            Ok((tried, findings)) => {
                proof.attacks = proof.attacks.saturating_add(tried);
                for it in findings {
                    proof.found(format!("{name}, answer {}, {}: {}", it.at, it.attack, it.problem));
                }
            }
            Err(problem) => proof.found(format!("{name}: {problem}")),
        }
    }
    proof
}

/// The steps of one vector.
pub(crate) fn steps(
    prepared: &Prepared,
    manifest: &Manifest,
    counts: &Arc<Counts>,
    vector: &Vector,
) -> Result<Vec<Value>, String> {
    Subject::new(prepared, manifest, counts).run(vector)
}

fn runs(subject: &Subject<'_>, vector: &Vector) -> Result<(), String> {
    let steps = subject.run(vector)?;
    match steps == vector.expect {
        true => Ok(()),
        false => Err(difference(&vector.expect, &steps)),
    }
}

/// Where two lists of steps part, in a few words.
pub fn difference(expected: &[Value], seen: &[Value]) -> String {
    for (at, step) in seen.iter().enumerate() {
        if expected.get(at) != Some(step) {
            let wanted = expected.get(at).map_or(
                "nothing (write down what is seen with --update)".to_owned(),
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
