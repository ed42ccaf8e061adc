//! Versions of adapters from their first byte to their last payment: admission, the operator's steps, the start. What a
//! step means is `domain/src/lifecycle.rs`; what is written is the store's; what runs is the registry's. Each step is on disk
//! before it is done, so that a kill in between is made good at the next start.

mod canary;
mod inbox;
mod shadow;
pub mod statement;

use crate::config::{Signer, SignerRole};
use portolan_channels::{AdapterSource, Artifacts, Described, Fit, Registry, RegistryError, SandboxError, Usage};
use portolan_domain::channel::Stop;
use portolan_domain::commit::Act;
use portolan_domain::ids::{EventId, Mode};
use portolan_domain::lifecycle::canary::Tally;
use portolan_domain::lifecycle::{self, Share, Stage, Step, StepRefusal, Version};
use portolan_domain::ports::{Ambient, CommitError, Library, ReadError, Steps, Stops, Store, Versions};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use statement::{CONTRACT, Envelope};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use shadow::{Comparison, Report};

/// The largest component that is taken.
pub const COMPONENT_MAX: usize = 24 * 1024 * 1024;
/// Stands among the signers of a version that came with the configuration.
const CONFIGURED: &str = "configuration (operator)";
/// Who does what nobody told it to do.
const ROUTER: &str = "router";

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
    stops: Arc<dyn Stops>,
    store: Arc<dyn Store>,
    library: Arc<dyn Library>,
    ambient: Arc<dyn Ambient>,
    steps: Arc<dyn Steps>,
    folder: PathBuf,
    signers: Vec<Signer>,
    /// Adapters that a live channel uses: their versions must be signed.
    live: Vec<String>,
    sources: Vec<AdapterSource>,
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
            stops: parts.stops,
            store: parts.store,
            library: parts.library,
            ambient: parts.ambient,
            steps: parts.steps,
            folder: config.folder.join("plugins"),
            signers: config.signers.clone(),
            live: live.map(|channel| channel.adapter.clone()).collect(),
            sources: config.adapters.clone(),
            stepping: tokio::sync::Mutex::default(),
            current: RwLock::default(),
            marks: Mutex::default(),
            shadows: Mutex::default(),
        }
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

    /// Takes up what the store says: loads what may run, brings to its end what was being admitted. A configured file that the
    /// store has never seen becomes active, as if it were put there by an operator: it was. `is_check`: nothing is written.
    pub async fn start(&self, is_check: bool) -> anyhow::Result<()> {
        self.registry.stop(self.stops.stops()?);
        let stored = self.versions.versions()?;
        let mut versions = stored.clone();
        self.load_stored(&mut versions)?;
        for source in &self.sources {
            if let Some(configured) = self.take_configured(source, &versions, is_check)? {
                put(&mut versions, configured);
            }
        }
        let changed = changed(&stored, &versions);
        if !changed.is_empty() && !is_check {
            let about: Vec<String> = changed
                .iter()
                .map(|it| format!("{} {}", it.adapter, it.stage.as_str()))
                .collect();
            let about = about.join(", ");
            let act = self.act(
                ROUTER,
                "plugin.start",
                &about,
                "what the configuration and the files say",
            );
            self.versions
                .put_versions(&only(&stored, &changed), &changed, act)
                .await?;
        }
        self.registry.apply(&versions)?;
        self.mark(&versions);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = versions.clone();
        if !is_check {
            let half = versions
                .iter()
                .filter(|it| matches!(it.stage, Stage::Staged | Stage::Verified));
            for version in half {
                if let Err(error) = self.admit(&version.adapter, &version.digest).await {
                    tracing::warn!(adapter = version.adapter, digest = version.digest, %error, "not admitted");
                }
            }
        }
        Ok(())
    }

    /// Loads what the store says may run. A canary that does not load any more goes; an active version that does not is for the
    /// operator to say.
    fn load_stored(&self, versions: &mut [Version]) -> anyhow::Result<()> {
        for version in versions.iter_mut().filter(|it| it.stage.is_loaded()) {
            let signed = self.check_signed(version);
            let loaded = self
                .registry
                .load(&self.artifacts, &self.file(&version.digest), &version.digest);
            let problem = match (loaded, signed) {
                (Ok(_), Ok(())) => continue,
                (Err(error), _) => error.to_string(),
                (_, Err(error)) => error.to_string(),
            };
            let (adapter, digest) = (&version.adapter, &version.digest);
            tracing::error!(adapter, digest, problem, "a version may not run");
            anyhow::ensure!(
                version.stage != Stage::Active,
                "adapter {adapter}: its active version {digest}: {problem}"
            );
            version.stage = Stage::Rejected;
            version.share = None;
            version.changed_ms = self.ambient.now_ms();
            version.reason = problem;
        }
        Ok(())
    }

    /// A configured file that the store has never seen: its version, active, and the one before it, draining.
    fn take_configured(
        &self,
        source: &AdapterSource,
        versions: &[Version],
        is_check: bool,
    ) -> anyhow::Result<Option<Vec<Version>>> {
        let (digest, bytes) = read(&source.file)?;
        if versions
            .iter()
            .any(|it| it.adapter == source.name && it.digest == digest)
        {
            return Ok(None);
        }
        let file = if is_check {
            source.file.clone()
        } else {
            self.keep(&digest, &bytes)?;
            self.file(&digest)
        };
        let loaded = self.registry.load(&self.artifacts, &file, &digest);
        let described = loaded.map_err(|error| anyhow::anyhow!("adapter {}: {error}", source.name))?;
        let (adapter, version) = (&source.name, &described.version);
        tracing::info!(adapter, name = described.name, version, digest, "adapter loaded");
        let now_ms = self.ambient.now_ms();
        let mut with = versions.to_vec();
        with.push(Version {
            signers: vec![CONFIGURED.into()],
            ..self.new_version(adapter, &described, now_ms)
        });
        let plan = lifecycle::plan(
            &with,
            (adapter, &digest),
            (Step::Activate, None),
            ("configured", now_ms),
        )?;
        match self.unreadable(adapter, &described.reads_memo, &with, false)? {
            0 => Ok(Some(plan)),
            left => {
                tracing::error!(
                    adapter,
                    digest,
                    left,
                    "the configured file is ready and not active: open payments hold memos that it does not read"
                );
                Ok(with.pop().map(|ready| vec![ready]))
            }
        }
    }

    /// Whether a version of an adapter with a live channel is signed as that wants; how long the statement holds was asked when it
    /// came in. A configured file is the operator's own word.
    fn check_signed(&self, version: &Version) -> Result<(), PluginError> {
        let is_live = self.live.contains(&version.adapter);
        if !is_live || version.signers.iter().any(|it| it == CONFIGURED) {
            return Ok(());
        }
        let envelope = self.kept_envelope(&version.digest)?;
        self.verify(&version.adapter, &version.digest, envelope.as_ref(), false)
            .map(drop)
    }

    fn new_version(&self, adapter: &str, described: &Described, now_ms: u64) -> Version {
        Version {
            adapter: adapter.to_owned(),
            digest: described.digest.clone(),
            name: described.name.clone(),
            version: described.version.clone(),
            reads_memo: described.reads_memo.clone(),
            stage: Stage::Ready,
            share: None,
            signers: vec![],
            reason: "configured".into(),
            staged_ms: now_ms,
            changed_ms: now_ms,
            activated_ms: None,
        }
    }

    /// Takes a component in and brings it as far as ready. With `dry_run` it is looked at and forgotten.
    pub async fn stage(
        &self,
        adapter: &str,
        bytes: &[u8],
        envelope: Option<&Envelope>,
        order: &Order,
    ) -> Result<Version, PluginError> {
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
        let digest = hex::encode(Sha256::digest(bytes));
        let signers = self.verify(adapter, &digest, envelope, true)?;
        let is_new_file = self.keep(&digest, bytes)?;
        // Compiling takes its time: no other step waits for it.
        let compiled = tokio::task::block_in_place(|| self.registry.warm(&self.artifacts, &self.file(&digest)));
        let _alone = self.stepping.lock().await;
        let versions = self.list();
        let known = versions.iter().find(|it| it.adapter == adapter && it.digest == digest);
        if let Some(known) = known.filter(|it| it.stage.after(Step::Stage).is_none()) {
            return Ok(known.clone());
        }
        if order.dry_run {
            let tried = compiled
                .map_err(|error| not_compiled(&error))
                .and_then(|()| self.try_component(adapter, &digest, envelope, order));
            if is_new_file {
                std::fs::remove_file(self.file(&digest))?;
            }
            self.registry
                .apply(&versions)
                .map_err(|error| registry_refusal(&error))?;
            let described = tried?;
            return Ok(Version {
                signers,
                ..self.new_version(adapter, &described, self.ambient.now_ms())
            });
        }
        self.keep_envelope(&digest, envelope)?;
        let now_ms = self.ambient.now_ms();
        let staged = Version {
            adapter: adapter.to_owned(),
            digest: digest.clone(),
            name: String::new(),
            version: String::new(),
            reads_memo: vec![],
            stage: Stage::Staged,
            share: None,
            signers,
            reason: order.reason.clone(),
            staged_ms: now_ms,
            changed_ms: now_ms,
            activated_ms: None,
        };
        self.write(&versions, vec![staged], (&order.by, "plugin.stage", &order.reason))
            .await?;
        // Whether an older version is meant is the operator's word of this moment; it does not outlive a kill.
        let tried = compiled.map_err(|error| not_compiled(&error));
        if let Err(error) = tried.and_then(|()| self.try_component(adapter, &digest, envelope, order)) {
            let versions = self.list();
            let why = error.to_string();
            let plan = lifecycle::plan(
                &versions,
                (adapter, &digest),
                (Step::Reject, None),
                (&why, self.ambient.now_ms()),
            )?;
            self.write(&versions, plan, (ROUTER, "plugin.reject", &why)).await?;
            return Err(error);
        }
        self.admit(adapter, &digest).await
    }

    /// From staged to ready: what was proven is written down step by step.
    async fn admit(&self, adapter: &str, digest: &str) -> Result<Version, PluginError> {
        let envelope = self.kept_envelope(digest)?;
        let order = Order {
            downgrade: true,
            ..Order::default()
        };
        let described = match self
            .verify(adapter, digest, envelope.as_ref(), true)
            .and_then(|_| self.try_component(adapter, digest, envelope.as_ref(), &order))
        {
            Ok(described) => described,
            Err(error) => {
                let (versions, why) = (self.list(), error.to_string());
                let plan = lifecycle::plan(
                    &versions,
                    (adapter, digest),
                    (Step::Reject, None),
                    (&why, self.ambient.now_ms()),
                )?;
                self.write(&versions, plan, (ROUTER, "plugin.reject", &why)).await?;
                return Err(error);
            }
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
            let note = described.asks.join("; ");
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
        let described = tokio::task::block_in_place(|| self.registry.load(&self.artifacts, &self.file(digest), digest))
            .map_err(|error| registry_refusal(&error))?;
        if let Some(statement) = envelope.and_then(|it| it.statement().ok()) {
            let said = statement::Statement::about(&described, statement.not_before, statement.not_after);
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
            let problem = "no signature is of a key that this router knows for that name";
            return Err(refused(
                "signature",
                problem,
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

    /// One of the operator's steps with a version.
    pub async fn step(
        &self,
        adapter: &str,
        digest: &str,
        step: Step,
        order: &Order,
    ) -> Result<Vec<Version>, PluginError> {
        let _alone = self.stepping.lock().await;
        let versions = self.list();
        let version = lifecycle::find(&versions, adapter, digest)?.clone();
        let share = order.percent.map(|percent| Share {
            percent,
            takes_over_after: order.takes_over_after,
        });
        let plan = lifecycle::plan(
            &versions,
            (adapter, &version.digest),
            (step, share),
            (&order.reason, self.ambient.now_ms()),
        )?;
        self.check_step(adapter, &version, step, &versions, order)?;
        self.do_plan(&versions, plan, verb(step), order).await
    }

    /// What operators stopped.
    pub fn stopped(&self) -> Result<Vec<Stop>, PluginError> {
        Ok(self.stops.stops()?)
    }

    /// Stops a channel, or one of its endpoints, or lets it go on. On disk before it is done.
    pub async fn stop(
        &self,
        (channel, endpoint): (&str, Option<&str>),
        is_on: bool,
        order: &Order,
    ) -> Result<Vec<Stop>, PluginError> {
        let _alone = self.stepping.lock().await;
        let known = self
            .sources
            .iter()
            .flat_map(|source| self.registry.channels_of(&source.name));
        let found = known.into_iter().find(|id| id.as_str() == channel);
        let found = found.ok_or_else(|| {
            refused(
                "channel",
                format!("no channel is called {channel:?}"),
                "see `[[channel]]` in the configuration",
            )
        })?;
        let stop = Stop {
            channel: found,
            endpoint: endpoint.map(str::to_owned),
            by: order.by.clone(),
            reason: order.reason.clone(),
            at_ms: self.ambient.now_ms(),
        };
        let about = format!("{channel}{}", endpoint.map(|it| format!("/{it}")).unwrap_or_default());
        let act = self.act(
            &order.by,
            if is_on { "channel.stop" } else { "channel.start" },
            &about,
            &order.reason,
        );
        self.stops.put_stop(stop, is_on, act).await?;
        let stops = self.stops.stops()?;
        self.registry.stop(stops.clone());
        tracing::warn!(
            about,
            is_on,
            by = order.by,
            reason = order.reason,
            "an operator's switch"
        );
        Ok(stops)
    }

    /// Back to what was before.
    pub async fn roll_back(&self, adapter: &str, order: &Order) -> Result<Vec<Version>, PluginError> {
        let _alone = self.stepping.lock().await;
        let versions = self.list();
        let plan = lifecycle::plan_rollback(&versions, adapter, (&order.reason, self.ambient.now_ms()))?;
        if let Some(active) = plan.iter().find(|it| it.stage == Stage::Active) {
            let left = self.unreadable(adapter, &active.reads_memo, &versions, false)?;
            if left > 0 {
                return Err(StepRefusal::Memos(left).into());
            }
        }
        self.do_plan(&versions, plan, "plugin.rollback", order).await
    }

    async fn do_plan(
        &self,
        versions: &[Version],
        plan: Vec<Version>,
        verb: &str,
        order: &Order,
    ) -> Result<Vec<Version>, PluginError> {
        let mut after = versions.to_vec();
        put(&mut after, plan.clone());
        self.registry.check(&after).map_err(|error| registry_refusal(&error))?;
        if !order.dry_run {
            self.write(versions, plan.clone(), (&order.by, verb, &order.reason))
                .await?;
        }
        Ok(plan)
    }

    fn check_step(
        &self,
        adapter: &str,
        version: &Version,
        step: Step,
        versions: &[Version],
        order: &Order,
    ) -> Result<(), PluginError> {
        match step {
            Step::Activate | Step::Canary => {
                self.check_signed(version)?;
                if let Some(active) = lifecycle::active(versions, adapter)
                    && is_older(&version.version, &active.version)
                    && version.stage != Stage::Draining
                    && !order.downgrade
                {
                    return Err(StepRefusal::Downgrade(version.version.clone(), active.version.clone()).into());
                }
                match self.unreadable(adapter, &version.reads_memo, versions, false)? {
                    0 => Ok(()),
                    left => Err(StepRefusal::Memos(left).into()),
                }
            }
            Step::Retire => {
                let stay = versions
                    .iter()
                    .filter(|it| it.adapter == adapter && it.digest != version.digest && it.stage.is_loaded());
                let reads: Vec<u16> = stay.flat_map(|it| it.reads_memo.clone()).collect();
                let left = self.unreadable(adapter, &reads, versions, true)?;
                if left > 0 {
                    return Err(refused(
                        "retire",
                        format!("{left} payments hold a memo that no other loaded version reads"),
                        "keep it, or ship a version that reads it",
                    ));
                }
                let mut open = 0_usize;
                for id in self.store.open_operations()? {
                    let operation = self.store.operation(id)?;
                    open = open.saturating_add(usize::from(operation.is_some_and(|it| it.0.adapter == version.digest)));
                }
                if open > 0 {
                    return Err(refused(
                        "retire",
                        format!("{open} of its operations are not over"),
                        "wait for them, or resolve their tasks",
                    ));
                }
                Ok(())
            }
            Step::Stage
            | Step::Verify
            | Step::Admit
            | Step::Shadow
            | Step::Supersede
            | Step::RollBack
            | Step::Reject => Ok(()),
        }
    }

    /// How many payments hold a memo in a format that is not among `reads`: open ones, and with `also_over` those that may still
    /// be refunded. Where `reads` has every format that a version of the adapter reads, none can, and nothing is counted.
    fn unreadable(
        &self,
        adapter: &str,
        reads: &[u16],
        versions: &[Version],
        also_over: bool,
    ) -> Result<u64, ReadError> {
        let mut formats = versions
            .iter()
            .filter(|it| it.adapter == adapter)
            .flat_map(|it| &it.reads_memo);
        if formats.all(|format| reads.contains(format)) {
            return Ok(0);
        }
        let channels = self.registry.channels_of(adapter);
        let mut left = 0_u64;
        in_place(|| {
            self.library.each_payment(&mut |found| {
                let holds = found.payment.attempts.iter().any(|attempt| {
                    let format = attempt.memo.as_ref().map(|memo| memo.format);
                    channels.contains(&attempt.channel) && format.is_some_and(|format| !reads.contains(&format))
                });
                left = left.saturating_add(u64::from(holds && (also_over || !found.payment.is_over())));
            })
        })?;
        Ok(left)
    }

    /// Writes what changes with the act, then does it.
    async fn write(
        &self,
        before: &[Version],
        after: Vec<Version>,
        (by, verb, note): (&str, &str, &str),
    ) -> Result<(), PluginError> {
        let mut versions = before.to_vec();
        put(&mut versions, after.clone());
        let about = after
            .first()
            .map(|it| format!("{} {}", it.adapter, it.digest))
            .unwrap_or_default();
        let by = if by.trim().is_empty() { "operator" } else { by };
        let moves: Vec<String> = after
            .iter()
            .map(|it| format!("{} {}", lifecycle::short(&it.digest), it.stage.as_str()))
            .collect();
        let note = if note.is_empty() {
            moves.join(", ")
        } else {
            format!("{}: {note}", moves.join(", "))
        };
        let act = self.act(by, verb, &about, &note);
        self.steps.reached("before_version");
        if let Err(error) = self.versions.put_versions(&only(before, &after), &after, act).await {
            self.read_again()?;
            return Err(error.into());
        }
        self.steps.reached("after_version");
        self.registry
            .apply(&versions)
            .map_err(|error| registry_refusal(&error))?;
        self.mark(&versions);
        tracing::info!(by, verb, about, note, "adapter versions changed");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = versions;
        Ok(())
    }

    /// Takes over what the store says, should it be something else than is known here.
    fn read_again(&self) -> Result<(), PluginError> {
        let versions = self.versions.versions()?;
        self.registry
            .apply(&versions)
            .map_err(|error| registry_refusal(&error))?;
        self.mark(&versions);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = versions;
        Ok(())
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

    fn file(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    /// Keeps the component under its digest; whether it was not there.
    fn keep(&self, digest: &str, bytes: &[u8]) -> std::io::Result<bool> {
        let file = self.file(digest);
        if std::fs::read(&file).is_ok_and(|there| there == bytes) {
            return Ok(false);
        }
        write_durably(&file, bytes)?;
        Ok(true)
    }

    fn keep_envelope(&self, digest: &str, envelope: Option<&Envelope>) -> Result<(), PluginError> {
        let file = self.folder.join(format!("{digest}.dsse.json"));
        match envelope {
            Some(envelope) => {
                let text = serde_json::to_vec_pretty(envelope).map_err(std::io::Error::from)?;
                Ok(write_durably(&file, &text)?)
            }
            None if file.exists() => Ok(std::fs::remove_file(&file)?),
            None => Ok(()),
        }
    }

    fn kept_envelope(&self, digest: &str) -> Result<Option<Envelope>, PluginError> {
        let file = self.folder.join(format!("{digest}.dsse.json"));
        if !file.exists() {
            return Ok(None);
        }
        let read = serde_json::from_slice(&std::fs::read(&file)?);
        read.map(Some)
            .map_err(|error| refused("statement", error.to_string(), "stage it again"))
    }
}

fn not_compiled(error: &SandboxError) -> PluginError {
    refused(
        "component",
        error.to_string(),
        "build it with the kit: `portolan plugin build`",
    )
}

/// Long work on this thread, where the runtime can do without it.
fn in_place<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

fn write_durably(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let part = file.with_extension("part");
    let mut out = std::fs::File::create(&part)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    std::fs::rename(&part, file)?;
    std::fs::File::open(folder)?.sync_all()
}

fn read(file: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    let bytes = std::fs::read(file).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    Ok((hex::encode(Sha256::digest(&bytes)), bytes))
}

/// Puts the changed versions in the place of what they were.
fn put(versions: &mut Vec<Version>, changed: Vec<Version>) {
    for version in changed {
        let same = |it: &&mut Version| (&it.adapter, &it.digest) == (&version.adapter, &version.digest);
        match versions.iter_mut().find(same) {
            Some(known) => *known = version,
            None => versions.push(version),
        }
    }
}

fn changed(before: &[Version], after: &[Version]) -> Vec<Version> {
    after.iter().filter(|it| !before.contains(it)).cloned().collect()
}

/// Of `all` those that are in `of`, as they are in `all`.
fn only(all: &[Version], of: &[Version]) -> Vec<Version> {
    let is_in = |it: &&Version| {
        of.iter()
            .any(|other| (&it.adapter, &it.digest) == (&other.adapter, &other.digest))
    };
    all.iter().filter(is_in).cloned().collect()
}

fn verb(step: Step) -> &'static str {
    match step {
        Step::Stage => "plugin.stage",
        Step::Verify => "plugin.verify",
        Step::Admit => "plugin.admit",
        Step::Shadow => "plugin.shadow",
        Step::Canary => "plugin.canary",
        Step::Activate => "plugin.activate",
        Step::Supersede => "plugin.supersede",
        Step::RollBack => "plugin.rollback",
        Step::Retire => "plugin.retire",
        Step::Reject => "plugin.reject",
    }
}

fn is_within(namespace: &str, name: &str) -> bool {
    name.strip_prefix(namespace)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether the first version number is lower; what is no number in three parts is not compared.
fn is_older(version: &str, than: &str) -> bool {
    let parts = |text: &str| -> Option<Vec<u64>> {
        let numbers = text.split(['-', '+']).next()?.split('.').map(|part| part.parse().ok());
        numbers.collect::<Option<Vec<u64>>>().filter(|parts| parts.len() == 3)
    };
    matches!((parts(version), parts(than)), (Some(version), Some(than)) if version < than)
}

fn registry_refusal(error: &RegistryError) -> PluginError {
    let text = error.to_string();
    match error {
        RegistryError::Sandbox(_) => refused("component", text, "build it with the kit: `portolan plugin build`"),
        RegistryError::Describe(..) => refused("describe", text, "run `portolan plugin check` on it"),
        RegistryError::Channel(..) => refused("grants", text, "grant it in the configuration, or ask for less"),
    }
}
