//! Versions of adapters from their first byte to their last payment: admission, the operator's steps, the start, each in its
//! file; here is what they share. What a
//! step means is `domain/src/lifecycle.rs`; what is written is the store's; what runs is the registry's. Each step is on disk
//! before it is done, so that a kill in between is made good at the next start.

mod admission;
mod canary;
mod files;
mod inbox;
mod record;
mod shadow;
mod start;
pub mod statement;
mod steps;
mod stops;

use crate::config::Signer;
use portolan_channels::{AdapterSource, Artifacts, Described, Fit, Registry, RegistryError, SandboxError, Usage, Wall};
use portolan_domain::commit::Act;
use portolan_domain::ids::{EventId, Mode};
use portolan_domain::lifecycle::canary::Tally;
use portolan_domain::lifecycle::{self, StepRefusal, Version};
use portolan_domain::ports::{Ambient, CommitError, Files, Library, ReadError, Steps, Stops, Store, Versions};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use admission::one_line;
pub use files::mirror;
pub use shadow::{Comparison, Report};

/// The largest component that is taken.
pub const COMPONENT_MAX: usize = 24 * 1024 * 1024;
/// Stands among the signers of a version that came with the configuration.
const CONFIGURED: &str = "the configuration";
/// Who does what nobody told it to do.
const ROUTER: &str = "router";

/// The rule that a machine breaks, not the component: nothing is rejected for it.
const MACHINE: &str = "machine";
/// What mends that.
const LESS_BUSY: &str = "stage it again when this machine is less busy";

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Not from there.
    #[error(transparent)]
    Step(#[from] StepRefusal),
    /// A rule of admission: its name, what is wrong, what mends it.
    #[error("{rule}: {problem}; {mend}")]
    Refused {
        /// The rule.
        rule: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        mend: String,
    },
    /// Nothing was written.
    #[error("{0}")]
    Store(#[from] CommitError),
    /// The store cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The disk does not take the component.
    #[error("keeping the component: {0}")]
    File(#[from] std::io::Error),
}

fn refused(rule: &'static str, problem: impl Into<String>, mend: impl Into<String>) -> PluginError {
    PluginError::Refused {
        rule,
        problem: problem.into(),
        mend: mend.into(),
    }
}

/// Who does a step, why, and whether it is only asked what it would do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Order {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Nothing is changed.
    pub dry_run: bool,
    /// An older version than the active one is meant.
    pub downgrade: bool,
    /// A canary's share.
    pub percent: Option<u8>,
    /// After so many payments a canary takes over by itself.
    pub takes_over_after: Option<u64>,
}

/// What an adapter's version is to the router, for operators.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// How far it is.
    pub version: Version,
    /// What it says of itself, while it is loaded.
    pub described: Option<Described>,
    /// The channels that it would run on.
    pub fits: Vec<Fit>,
    /// What it asks for and the active version does not.
    pub new_asks: Vec<String>,
    /// What it did.
    pub usage: Option<Usage>,
}

/// What the service is made of.
pub struct Plugins {
    registry: Arc<Registry>,
    artifacts: Artifacts,
    versions: Arc<dyn Versions>,
    files: Arc<dyn Files>,
    stops: Arc<dyn Stops>,
    store: Arc<dyn Store>,
    library: Arc<dyn Library>,
    ambient: Arc<dyn Ambient>,
    steps: Arc<dyn Steps>,
    folder: PathBuf,
    signers: Vec<Signer>,
    /// Adapters that a live channel uses: their versions must be signed.
    live: Vec<String>,
    /// Whether a component must bring vectors.
    requires_vectors: bool,
    sources: Vec<AdapterSource>,
    /// Components that are being staged.
    held: files::HeldFiles,
    /// One step at a time.
    stepping: tokio::sync::Mutex<()>,
    /// The versions as they were last written.
    current: RwLock<Vec<Version>>,
    /// What active version and canary had done when the canary got its share.
    marks: Mutex<HashMap<String, (Tally, Tally)>>,
    shadows: Mutex<HashMap<String, shadow::Following>>,
}

/// What [`Plugins::new`] is given.
pub struct Parts {
    /// The sandbox.
    pub registry: Arc<Registry>,
    /// Compiled components.
    pub artifacts: Artifacts,
    /// The store, as it keeps versions.
    pub versions: Arc<dyn Versions>,
    /// The store, as it keeps what they are made of.
    pub files: Arc<dyn Files>,
    /// The store, as it keeps what is stopped.
    pub stops: Arc<dyn Stops>,
    /// The store, for what is open.
    pub store: Arc<dyn Store>,
    /// The store, for journals.
    pub library: Arc<dyn Library>,
    /// Time and ids.
    pub ambient: Arc<dyn Ambient>,
    /// Where a crash test may stop.
    pub steps: Arc<dyn Steps>,
}

impl Plugins {
    /// Over its parts, as configured. Nothing is loaded yet.
    pub fn new(parts: Parts, config: &crate::config::Config) -> Self {
        let live = config.channels.iter().filter(|channel| channel.mode == Mode::Live);
        Self {
            registry: parts.registry,
            artifacts: parts.artifacts,
            versions: parts.versions,
            files: parts.files,
            stops: parts.stops,
            store: parts.store,
            library: parts.library,
            ambient: parts.ambient,
            steps: parts.steps,
            folder: config.folder.join("plugins"),
            signers: config.signers.clone(),
            live: live.map(|channel| channel.adapter.clone()).collect(),
            requires_vectors: config.requires_vectors,
            sources: config.adapters.clone(),
            held: files::HeldFiles::default(),
            stepping: tokio::sync::Mutex::default(),
            current: RwLock::default(),
            marks: Mutex::default(),
            shadows: Mutex::default(),
        }
    }

    /// Where the versions of an adapter run: other people's code behind the second wall.
    pub fn wall(&self, adapter: &str) -> Wall {
        let source = self.sources.iter().find(|source| source.name == adapter);
        source.map_or(Wall::Workers, |source| source.wall)
    }

    /// Every version.
    pub fn list(&self) -> Vec<Version> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The versions, each with what it did since it was loaded.
    pub fn usage(&self) -> Vec<(Version, Option<Usage>)> {
        let with = |version: Version| {
            let usage = self.registry.usage(&version.digest);
            (version, usage)
        };
        self.list().into_iter().map(with).collect()
    }

    /// Everything about one version.
    pub fn inspect(&self, adapter: &str, digest: &str) -> Result<Inspection, PluginError> {
        let versions = self.list();
        let version = lifecycle::find(&versions, adapter, digest)?.clone();
        let described = self.registry.described(&version.digest);
        let active = lifecycle::active(&versions, adapter).and_then(|it| self.registry.described(&it.digest));
        let known = active.map(|active| active.asks).unwrap_or_default();
        let asks = described.iter().flat_map(|it| &it.asks);
        Ok(Inspection {
            new_asks: asks.filter(|ask| !known.contains(ask)).cloned().collect(),
            fits: self.registry.fits(adapter, &version.digest),
            usage: self.registry.usage(&version.digest),
            described,
            version,
        })
    }

    fn act(&self, by: &str, verb: &str, about: &str, note: &str) -> Act {
        Act {
            id: EventId(self.ambient.uuid_v7()),
            at_ms: self.ambient.now_ms(),
            by: by.to_owned(),
            verb: verb.to_owned(),
            about: about.to_owned(),
            note: note.to_owned(),
        }
    }
}

/// The rule behind what the registry says.
fn registry_refusal(error: &RegistryError) -> PluginError {
    let text = error.to_string();
    match error {
        RegistryError::Sandbox(error) => sandbox_refusal(error),
        RegistryError::Describe(..) => refused("describe", text, "run `portolan plugin check` on it"),
        RegistryError::Channel(..) => refused("grants", text, "mend the channel in the configuration, or ask for less"),
    }
}

fn sandbox_refusal(error: &SandboxError) -> PluginError {
    let problem = match error {
        SandboxError::Component(text) => text.clone(),
        SandboxError::Engine(_) => error.to_string(),
        SandboxError::Worker(_) => return refused(MACHINE, error.to_string(), LESS_BUSY),
    };
    refused("component", problem, "build it with the kit: `portolan plugin build`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_cannot_do_is_not_the_components_fault() {
        let rule = |error: SandboxError| match sandbox_refusal(&error) {
            PluginError::Refused { rule, .. } => rule,
            other => panic!("{other}"),
        };
        assert_eq!(rule(SandboxError::Worker("no process".into())), MACHINE);
        assert_eq!(rule(SandboxError::Component("no component".into())), "component");
    }
}
