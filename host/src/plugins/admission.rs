//! Admission: from a component's bytes to a version that is ready. Size, signatures, a compile apart, one instance, what it
//! says of itself. Each refusal names its rule and what mends it.

use super::statement::{CONTRACT, Envelope, Statement};
use super::{
    COMPONENT_MAX, CONFIGURED, LESS_BUSY, MACHINE, Order, PluginError, Plugins, ROUTER, refused, registry_refusal,
    sandbox_refusal,
};
use crate::config::SignerRole;
use portolan_channels::{Described, Proof, ProofError};
use portolan_domain::lifecycle::{self, Stage, Step, StepRefusal, Version};
use sha2::{Digest, Sha256};
use tokio::task::block_in_place;

/// What is wrong with a component's vectors: so much of it is told.
const TOLD: usize = 3;
/// So much is told of a name that a stranger gave himself.
const NAME_TOLD: usize = 64;

/// In one line, with nothing that a terminal would obey.
pub fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether it says nothing about the component.
fn is_the_machines(error: &PluginError) -> bool {
    matches!(error, PluginError::Refused { rule: MACHINE, .. })
}

impl Plugins {
    /// Takes a component in and brings it as far as ready. With `dry_run` it is looked at and forgotten.
    pub async fn stage(
        &self,
        adapter: &str,
        bytes: &[u8],
        envelope: Option<&Envelope>,
        order: &Order,
    ) -> Result<(Version, Option<Proof>), PluginError> {
        self.check_upload(adapter, bytes)?;
        let digest = hex::encode(Sha256::digest(bytes));
        let signers = self.verify(adapter, &digest, envelope, true)?;
        let is_it = |it: &&Version| it.adapter == adapter && it.digest == digest;
        let is_half = |it: &Version| matches!(it.stage, Stage::Staged | Stage::Verified);
        let is_taken = |it: &&Version| is_it(it) && it.stage.after(Step::Stage).is_none();
        if let Some(known) = self.list().iter().find(|it| is_taken(it) && !is_half(it)) {
            return Ok((known.clone(), None));
        }
        let held = self.hold(&digest);
        self.keep(&digest, bytes)?;
        // Compiling and proving take their time: no other step waits for them.
        let examined = match self.examine(adapter, &digest, bytes) {
            // That says nothing about the component: nothing is written.
            Err(error) if is_the_machines(&error) => {
                self.let_go(held)?;
                return Err(error);
            }
            examined => examined,
        };
        let _alone = self.stepping.lock().await;
        let versions = self.list();
        let known = versions.iter().find(is_taken);
        if let Some(known) = known.filter(|it| !is_half(it)) {
            return Ok((known.clone(), None));
        }
        if order.dry_run {
            let tried = examined.and_then(|proof| {
                let described = self.try_component(adapter, &digest, envelope, order)?;
                Ok((described, proof))
            });
            self.take_over(versions)?;
            self.let_go(held)?;
            let (described, proof) = tried?;
            let version = Version {
                signers,
                ..new_version(adapter, &described, self.ambient.now_ms())
            };
            return Ok((version, proof));
        }
        // A kill, or a machine that was too busy, may have left it where it is already.
        if known.is_none() {
            self.share(&self.file(&digest))?;
            self.keep_envelope(adapter, &digest, envelope)?;
            let staged = Version {
                signers,
                reason: order.reason.clone(),
                ..blank(adapter, &digest, self.ambient.now_ms())
            };
            self.write(&versions, vec![staged], (&order.by, "plugin.stage", &order.reason))
                .await?;
        }
        // From here on the version holds it.
        drop(held);
        // Whether an older version is meant is the operator's word of this moment; it does not outlive a kill.
        let tried = examined.and_then(|proof| {
            let described = self.try_component(adapter, &digest, envelope, order);
            described.map(|_| proof)
        });
        match tried {
            Ok(proof) => {
                let version = self.admit(adapter, &digest, proof.as_ref()).await?;
                Ok((version, proof))
            }
            Err(error) => self.reject(adapter, &digest, error).await,
        }
    }

    fn check_upload(&self, adapter: &str, bytes: &[u8]) -> Result<(), PluginError> {
        if !self.sources.iter().any(|source| source.name == adapter) {
            return Err(refused(
                "adapter",
                format!("no adapter is called {adapter:?}"),
                "configure it as [[adapter]] first",
            ));
        }
        if bytes.len() > COMPONENT_MAX {
            let problem = format!("{} bytes are more than the {COMPONENT_MAX} that are taken", bytes.len());
            return Err(refused(
                "size",
                problem,
                "build it for release, without debug information",
            ));
        }
        Ok(())
    }

    /// Compiles it apart, loads it and runs its vectors.
    fn examine(&self, adapter: &str, digest: &str, bytes: &[u8]) -> Result<Option<Proof>, PluginError> {
        let file = self.file(digest);
        block_in_place(|| {
            let compiled = self.registry.warm(&self.artifacts, (&file, digest));
            compiled.map_err(|error| sandbox_refusal(&error))?;
            let loaded = self.registry.load(&self.artifacts, (&file, digest), self.wall(adapter));
            loaded.map_err(|error| registry_refusal(&error))?;
            self.prove(digest, bytes)
        })
    }

    /// What a kill left half admitted, from its proof on.
    pub(super) async fn take_up(&self, adapter: &str, digest: &str) -> Result<Version, PluginError> {
        let proved = std::fs::read(self.file(digest))
            .map_err(|error| refused("component", error.to_string(), "stage it again"))
            .and_then(|bytes| self.examine(adapter, digest, &bytes));
        match proved {
            Ok(proof) => self.admit(adapter, digest, proof.as_ref()).await,
            Err(error) => self.reject(adapter, digest, error).await,
        }
    }

    /// Runs the vectors that a component brings, where its calls would run.
    fn prove(&self, digest: &str, bytes: &[u8]) -> Result<Option<Proof>, PluginError> {
        let bad = |problem: String| {
            let mend = "mend what `portolan plugin test` and `conform` say, and build it again";
            refused("vectors", problem, mend)
        };
        let Some(section) = portolan_channels::packed(bytes).map_err(bad)? else {
            return match self.requires_vectors {
                true => Err(refused(
                    "vectors",
                    "it brings none, and this router wants some ([plugins] require_vectors)",
                    "put them in: `portolan plugin pack`",
                )),
                false => Ok(None),
            };
        };
        let proof = self.registry.prove(digest, section).map_err(|error| match error {
            ProofError::Machine(problem) => refused(MACHINE, problem, LESS_BUSY),
            ProofError::Unreadable(_) | ProofError::Fault(_) => bad(error.into()),
        })?;
        if proof.problems.is_empty() {
            return Ok(Some(proof));
        }
        let told: Vec<String> = proof.problems.iter().take(TOLD).map(|it| one_line(it)).collect();
        let more = proof
            .problems
            .len()
            .saturating_sub(told.len())
            .saturating_add(proof.more);
        let more = if more == 0 {
            String::new()
        } else {
            format!("; and {more} more")
        };
        Err(bad(format!("{}{more}", told.join("; "))))
    }

    /// Writes down that it may not run, and why; unless that is the machine's trouble, which rejects nothing.
    async fn reject<T>(&self, adapter: &str, digest: &str, error: PluginError) -> Result<T, PluginError> {
        if is_the_machines(&error) {
            return Err(error);
        }
        let (versions, why) = (self.list(), error.to_string());
        let step = (Step::Reject, None);
        let plan = lifecycle::plan(&versions, (adapter, digest), step, (&why, self.ambient.now_ms()))?;
        self.write(&versions, plan, (ROUTER, "plugin.reject", &why)).await?;
        self.forget(adapter, digest)?;
        Err(error)
    }

    /// From staged to ready: what was proven is written down step by step.
    async fn admit(&self, adapter: &str, digest: &str, proof: Option<&Proof>) -> Result<Version, PluginError> {
        let envelope = self.kept_envelope(adapter, digest)?;
        let order = Order {
            downgrade: true,
            ..Order::default()
        };
        let tried = self
            .verify(adapter, digest, envelope.as_ref(), true)
            .and_then(|_| self.try_component(adapter, digest, envelope.as_ref(), &order));
        let described = match tried {
            Ok(described) => described,
            Err(error) => return self.reject(adapter, digest, error).await,
        };
        for (step, verb) in [(Step::Verify, "plugin.verify"), (Step::Admit, "plugin.admit")] {
            let versions = self.list();
            if lifecycle::find(&versions, adapter, digest)?.stage.after(step).is_none() {
                continue;
            }
            let mut plan = lifecycle::plan(&versions, (adapter, digest), (step, None), ("", self.ambient.now_ms()))?;
            for version in &mut plan {
                (version.name, version.version) = (described.name.clone(), described.version.clone());
                version.reads_memo.clone_from(&described.reads_memo);
            }
            let proven = proof.map(ToString::to_string);
            let note = described
                .asks
                .iter()
                .cloned()
                .chain(proven)
                .collect::<Vec<_>>()
                .join("; ");
            self.write(&versions, plan, (ROUTER, verb, &note)).await?;
        }
        Ok(lifecycle::find(&self.list(), adapter, digest)?.clone())
    }

    /// Compiles it apart, instantiates it once, asks it who it is, and compares.
    fn try_component(
        &self,
        adapter: &str,
        digest: &str,
        envelope: Option<&Envelope>,
        order: &Order,
    ) -> Result<Described, PluginError> {
        let described = block_in_place(|| {
            let place = (self.file(digest), digest);
            self.registry
                .load(&self.artifacts, (&place.0, place.1), self.wall(adapter))
        })
        .map_err(|error| registry_refusal(&error))?;
        if let Some(statement) = envelope.and_then(|it| it.statement().ok()) {
            let said = Statement::about(&described, statement.not_before, statement.not_after);
            if said != statement {
                let asks = described.asks.iter().filter(|ask| !statement.asks.contains(ask));
                let asks: Vec<&str> = asks.map(String::as_str).collect();
                let problem = if asks.is_empty() {
                    format!(
                        "the component says {} {}, the statement {} {} or other asks",
                        said.name, said.version, statement.name, statement.version
                    )
                } else {
                    format!("the component asks for what was not signed: {}", asks.join("; "))
                };
                return Err(refused(
                    "statement",
                    problem,
                    "sign what the component says: `portolan plugin sign`",
                ));
            }
        }
        let versions = self.list();
        if let Some(active) = lifecycle::active(&versions, adapter) {
            if active.name != described.name && !active.name.is_empty() {
                let problem = format!("it is {:?}, the adapter runs {:?}", described.name, active.name);
                return Err(refused("name", problem, "stage it for its own [[adapter]]"));
            }
            if is_older(&described.version, &active.version) && !order.downgrade {
                return Err(StepRefusal::Downgrade(described.version, active.version.clone()).into());
            }
        }
        Ok(described)
    }

    /// Who signed it. For an adapter with a live channel a partner and an operator must have; elsewhere a statement that is
    /// given must hold.
    fn verify(
        &self,
        adapter: &str,
        digest: &str,
        envelope: Option<&Envelope>,
        is_new: bool,
    ) -> Result<Vec<String>, PluginError> {
        let is_live = self.live.iter().any(|it| it == adapter);
        let Some(envelope) = envelope else {
            if is_live {
                return Err(refused(
                    "signature",
                    "unsigned",
                    "a live channel takes what partner and operator signed: `portolan plugin sign`",
                ));
            }
            return Ok(vec![]);
        };
        let bad = |problem: String| refused("statement", problem, "make it again: `portolan plugin sign`");
        let statement = envelope.statement().map_err(bad)?;
        if statement.component != digest {
            return Err(bad(format!("it is about {}, not {digest}", statement.component)));
        }
        if statement.contract != CONTRACT {
            return Err(refused(
                "contract",
                format!("made for the contract {}", statement.contract),
                format!("this router speaks {CONTRACT}"),
            ));
        }
        let now_s = self.ambient.now_ms() / 1_000;
        if is_new && (now_s < statement.not_before || now_s > statement.not_after) {
            return Err(refused(
                "statement",
                format!(
                    "it holds from {} to {}, now is {now_s}",
                    statement.not_before, statement.not_after
                ),
                "sign it again",
            ));
        }
        let mut signers = vec![];
        for signer in &self.signers {
            let may = signer.role == SignerRole::Operator || is_within(&signer.namespace, &statement.name);
            if may && envelope.is_signed_by(&signer.key).map_err(bad)? {
                signers.push(format!("{} ({})", signer.name, signer.role.as_str()));
            }
        }
        let has = |role: SignerRole| {
            self.signers
                .iter()
                .any(|it| it.role == role && signers.contains(&format!("{} ({})", it.name, role.as_str())))
        };
        if signers.is_empty() {
            return Err(refused(
                "signature",
                self.strangers(envelope, &statement.name),
                "configure the key as [[signer]], or sign with one that is",
            ));
        }
        for role in [SignerRole::Partner, SignerRole::Operator] {
            if is_live && !has(role) {
                return Err(refused(
                    "signature",
                    format!("no {} signed it", role.as_str()),
                    "a live channel takes what both signed: `portolan plugin sign`",
                ));
            }
        }
        Ok(signers)
    }

    /// Whose signatures there are, and whose would count.
    fn strangers(&self, envelope: &Envelope, name: &str) -> String {
        let by = envelope.signatures.iter().map(|it| it.keyid.as_str());
        let known = self.signers.iter().map(|it| match it.role {
            SignerRole::Operator => format!("{} (operator)", it.name),
            SignerRole::Partner => format!("{} (partner, for {})", it.name, it.namespace),
        });
        let told = |names: Vec<String>| match names.is_empty() {
            true => "nobody".to_owned(),
            false => names.join(", "),
        };
        let clipped = |it: &str| one_line(&it.chars().take(NAME_TOLD).collect::<String>());
        let (by, name) = (by.take(TOLD).map(clipped), clipped(name));
        format!(
            "no signature is of a key that this router knows for {name:?}: signed by {}; known are {}",
            told(by.collect()),
            told(known.collect())
        )
    }

    /// Whether a version of an adapter with a live channel is signed as that wants; how long the statement holds was asked when it
    /// came in. A configured file is the operator's own word.
    pub(super) fn check_signed(&self, version: &Version) -> Result<(), PluginError> {
        let is_live = self.live.contains(&version.adapter);
        if !is_live || version.signers.iter().any(|it| it == CONFIGURED) {
            return Ok(());
        }
        let envelope = self.kept_envelope(&version.adapter, &version.digest)?;
        self.verify(&version.adapter, &version.digest, envelope.as_ref(), false)
            .map(drop)
    }
}

/// A version that is ready.
pub(super) fn new_version(adapter: &str, described: &Described, now_ms: u64) -> Version {
    Version {
        name: described.name.clone(),
        version: described.version.clone(),
        reads_memo: described.reads_memo.clone(),
        stage: Stage::Ready,
        ..blank(adapter, &described.digest, now_ms)
    }
}

/// A version that is here, and nothing more.
fn blank(adapter: &str, digest: &str, now_ms: u64) -> Version {
    Version {
        adapter: adapter.to_owned(),
        digest: digest.to_owned(),
        name: String::new(),
        version: String::new(),
        reads_memo: vec![],
        stage: Stage::Staged,
        share: None,
        signers: vec![],
        reason: String::new(),
        staged_ms: now_ms,
        changed_ms: now_ms,
        activated_ms: None,
        was_left: false,
    }
}

fn is_within(namespace: &str, name: &str) -> bool {
    name.strip_prefix(namespace)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether the first semantic version is lower, by its precedence: what was built of it does not count.
pub(super) fn is_older(version: &str, than: &str) -> bool {
    let parse = |text: &str| semver::Version::parse(text).ok();
    matches!((parse(version), parse(than)), (Some(version), Some(than)) if version.cmp_precedence(&than).is_lt())
}
