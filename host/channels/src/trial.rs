//! Vectors in a running router: a version held to those that it brings, and a payment's journal made into new ones. They run
//! where the version's calls run; nothing leaves and no key of the router is used.

use crate::bench::{self, Proof, ProofError, Subject, Vector};
use crate::home::Home;
use crate::registry::Registry;
use crate::table::Adapter;
use portolan_domain::exchange::Exchange;
use portolan_domain::operation::Operation;
use serde_json::Value;
use std::sync::Arc;

impl Registry {
    /// Runs the vectors that a loaded version brought along (see [`crate::packed`]), and everything that providers and networks
    /// do on bad days.
    pub fn prove(&self, digest: &str, section: &[u8]) -> Result<Proof, ProofError> {
        let version = self.loaded().get(digest).cloned();
        let version = version.ok_or_else(|| ProofError::Machine(format!("{digest} is not loaded any more")))?;
        match &version.home {
            Home::Apart(workers) => workers.prove(section),
            Home::Here(prepared) => bench::prove(&Subject::new(prepared, &version.manifest, &Arc::default()), section),
        }
    }

    /// A payment's operations as test vectors, in order, without secrets and without the payer; `expect` is what the version that
    /// made each, or else the active one, does with them. Of operations whose channel is gone `expect` is empty.
    pub fn vectors(&self, journal: &[(&Operation, &[Exchange])]) -> Result<Vec<Vector>, String> {
        let mut vectors = bench::recorded(journal)?;
        for (vector, (operation, _)) in vectors.iter_mut().zip(journal) {
            let version = self.loaded().get(&operation.adapter).cloned();
            let active = || self.line(&operation.channel).ok().map(|line| line.adapter.clone());
            let Some(version) = version.or_else(active) else {
                continue;
            };
            // What it cannot do with what is left is for whoever looks at it.
            match steps_in(&version, vector) {
                Ok(steps) => vector.expect = steps,
                Err(problem) => tracing::warn!(operation = %operation.id, problem, "recorded without its steps"),
            }
        }
        Ok(vectors)
    }
}

fn steps_in(version: &Adapter, vector: &Vector) -> Result<Vec<Value>, String> {
    match &version.home {
        Home::Here(prepared) => Ok(Subject::new(prepared, &version.manifest, &Arc::default()).run(vector)?),
        Home::Apart(workers) => {
            let vector = serde_json::to_vec(vector).map_err(|error| error.to_string())?;
            serde_json::from_slice(&workers.run(&vector)?).map_err(|error| error.to_string())
        }
    }
}
