//! The channels of this host: which adapter version each runs, what it is granted, and the two things the engine asks of
//! them, the next step and the wire.

use crate::artifact::Artifacts;
use crate::asks::{Described, Fit};
use crate::channel::ChannelConfig;
use crate::counts::{Counts, Usage};
use crate::grants;
use crate::home::{CallScope, Home, Wall};
use crate::limits::Limits;
use crate::ring::Naming;
use crate::sandbox::{Sandbox, SandboxError};
use crate::table::{Adapter, Line, Slot, Table, make_line};
use crate::worker::Workers;
use async_trait::async_trait;
use portolan_domain::channel::{Capability, ChannelFacts, Stop};
use portolan_domain::exchange::{Answer, Body, Effect, Reply, Request, Response};
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::lifecycle::{Stage, Version};
use portolan_domain::operation::{Context, Fault, FaultKind, Input, KEYS, Kind, Operation, Verdict};
use portolan_domain::ports::{
    Ambient, Channels, ContextRequest, Fill, Method, Need, Notification, Receipt, Rejection, Step, Vault,
};
use portolan_domain::settlement::ReportLine;
use portolan_egress::{Egress, Sent};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// A write for which no session was open so soon does not leave any more.
const SETS_OUT_WITHIN: Duration = Duration::from_secs(5);

/// An adapter's file, by its configured name.
#[derive(Clone, Debug)]
pub struct AdapterSource {
    /// The name that channels use.
    pub name: String,
    /// The component.
    pub file: PathBuf,
    /// Where it runs.
    pub wall: Wall,
}

/// Why the channels cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The sandbox refuses a component.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A component does not say who it is.
    #[error("{0} does not describe itself: {1}")]
    Describe(String, Fault),
    /// A channel's configuration does not fit its adapter.
    #[error("channel {0}: {1}")]
    Channel(ChannelId, String),
}

/// All channels.
pub struct Registry {
    sandbox: Sandbox,
    slots: Vec<Slot>,
    loaded: Mutex<HashMap<String, Arc<Adapter>>>,
    table: RwLock<Arc<Table>>,
    stops: RwLock<Arc<[Stop]>>,
    pub(crate) egress: Egress,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) ambient: Arc<dyn Ambient>,
    pub(crate) limits: Limits,
    public_url: String,
}

impl Registry {
    /// The configured channels, none of them with an adapter yet. `public_url` is where providers and payers reach this host.
    pub fn new(
        sandbox: Sandbox,
        channels: Vec<ChannelConfig>,
        (egress, vault, ambient): (Egress, Arc<dyn Vault>, Arc<dyn Ambient>),
        public_url: String,
    ) -> Self {
        let slot = |config: ChannelConfig| Slot {
            config: Arc::new(config),
            opening: Arc::default(),
        };
        Self {
            sandbox,
            slots: channels.into_iter().map(slot).collect(),
            loaded: Mutex::default(),
            table: RwLock::new(Arc::new(Table::empty())),
            stops: RwLock::new(Arc::new([])),
            egress,
            vault,
            ambient,
            limits: Limits::default(),
            public_url,
        }
    }

    /// Loads a component: checks what it imports and exports, compiles it, instantiates it once, and asks it who it is. It
    /// takes no payments before [`Registry::apply`] says so. `digest`: what it must be; `wall`: where it runs. Already
    /// loaded, it costs nothing.
    pub fn load(
        &self,
        artifacts: &Artifacts,
        (file, digest): (&Path, &str),
        wall: Wall,
    ) -> Result<Described, RegistryError> {
        if let Some(known) = self.described(digest) {
            return Ok(known);
        }
        let home = match wall {
            Wall::Workers => Home::Apart(Workers::start(artifacts, file.to_owned(), digest.to_owned())?),
            Wall::Sandbox => self.home_here(artifacts, file, digest)?,
        };
        let adapter = Arc::new(self.prepare(digest.to_owned(), home)?);
        let known = self.loaded().entry(digest.to_owned()).or_insert(adapter).clone();
        Ok(Described::new(&known))
    }

    fn home_here(&self, artifacts: &Artifacts, file: &Path, digest: &str) -> Result<Home, RegistryError> {
        let component = artifacts.load(&self.sandbox, file, digest)?;
        Ok(Home::Here(Box::new(self.sandbox.prepare(&component)?)))
    }

    /// Compiles a component, so that loading it is quick.
    pub fn warm(&self, artifacts: &Artifacts, (file, digest): (&Path, &str)) -> Result<(), SandboxError> {
        artifacts.warm(file, digest)
    }

    fn prepare(&self, digest: String, home: Home) -> Result<Adapter, RegistryError> {
        let counts = Arc::new(Counts::default());
        let scope = CallScope {
            vault: self.vault.clone(),
            channel: ChannelId::parse("admission").ok_or_else(|| SandboxError::Engine("a name".into()))?,
            operation: OperationId(uuid::Uuid::nil()),
            limits: self.limits,
            // Go's runtime takes no clock that stands at zero.
            now_ms: 1_000,
            entropy: [0; 32],
            naming: Naming::Secret,
            keys: Arc::from([]),
            counts: counts.clone(),
        };
        let manifest = home.describe(&scope);
        let manifest = manifest.map_err(|fault| RegistryError::Describe(digest.clone(), fault))?;
        Ok(Adapter {
            digest,
            manifest,
            home,
            counts,
        })
    }

    /// Makes the table that the versions' stages say, in one step; versions that need not be loaded are forgotten. What is
    /// rejected while it runs stays for the operations that began in it. On an error nothing has changed.
    pub fn apply(&self, versions: &[Version]) -> Result<(), RegistryError> {
        let mut loaded = self.loaded();
        let ran = self.table();
        let is_needed = |digest: &str| {
            let mut of = versions.iter().filter(|it| it.digest == digest);
            of.any(|it| match it.stage {
                Stage::Retired => false,
                Stage::Rejected => ran.has(digest),
                Stage::Staged
                | Stage::Verified
                | Stage::Ready
                | Stage::Shadow
                | Stage::Canary
                | Stage::Active
                | Stage::Draining => true,
            })
        };
        let needed = loaded.iter().filter(|(digest, _)| is_needed(digest));
        let needed: HashMap<String, Arc<Adapter>> = needed.map(|(digest, it)| (digest.clone(), it.clone())).collect();
        let refused = |(channel, problem)| RegistryError::Channel(channel, problem);
        let table = Table::make(&self.slots, versions, &needed).map_err(refused)?;
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        *loaded = needed;
        Ok(())
    }

    /// What operators stopped, from now on; the next request that would go there is not sent.
    pub fn stop(&self, stops: Vec<Stop>) {
        *self.stops.write().unwrap_or_else(PoisonError::into_inner) = stops.into();
    }

    fn stopped(&self) -> Arc<[Stop]> {
        self.stops.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn refuse_stopped(&self, channel: &ChannelId, endpoint: &str) -> Result<(), Fault> {
        let is_it = |stop: &&Stop| stop.channel == *channel && stop.endpoint.as_deref() == Some(endpoint);
        match self.stopped().iter().find(is_it) {
            Some(stop) => Err(Fault {
                kind: FaultKind::Other,
                text: format!("the endpoint {endpoint:?} is stopped: {}", stop.reason),
            }),
            None => Ok(()),
        }
    }

    /// What [`Registry::apply`] would say, without doing it.
    pub fn check(&self, versions: &[Version]) -> Result<(), RegistryError> {
        let refused = |(channel, problem)| RegistryError::Channel(channel, problem);
        Table::make(&self.slots, versions, &self.loaded())
            .map(drop)
            .map_err(refused)
    }

    /// Whether a loaded version could take the payments of its adapter's channels, and what it asks for that they do not grant.
    pub fn fits(&self, adapter: &str, digest: &str) -> Vec<Fit> {
        let Some(version) = self.loaded().get(digest).cloned() else {
            return vec![];
        };
        let slots = self.slots.iter().filter(|slot| slot.config.adapter == adapter);
        slots.map(|slot| Fit::new(slot, &version)).collect()
    }

    /// What a loaded version says of itself.
    pub fn described(&self, digest: &str) -> Option<Described> {
        self.loaded().get(digest).map(|adapter| Described::new(adapter))
    }

    /// What a loaded version did since it was loaded.
    pub fn usage(&self, digest: &str) -> Option<Usage> {
        self.loaded().get(digest).map(|adapter| adapter.counts.usage())
    }

    /// The channels of an adapter.
    pub fn channels_of(&self, adapter: &str) -> Vec<ChannelId> {
        let of = self.slots.iter().filter(|slot| slot.config.adapter == adapter);
        of.map(|slot| slot.config.id.clone()).collect()
    }

    /// Runs one step of a journaled operation in another version: nothing leaves. Its cost is not that version's.
    pub fn step_in(
        &self,
        digest: &str,
        operation: &Operation,
        answers: &[Answer],
    ) -> Result<(Result<Step, Fault>, Duration), String> {
        let version = self.loaded().get(digest).cloned();
        let adapter = version.ok_or_else(|| format!("{digest} is not loaded"))?;
        let mut slots = self.slots.iter().filter(|slot| slot.config.id == operation.channel);
        let slot = slots
            .next()
            .ok_or_else(|| format!("the channel {} is not configured", operation.channel))?;
        let line = make_line(slot, adapter)?;
        let scope = CallScope {
            counts: Arc::default(),
            ..self.scope(&line, operation.id, operation.context.now_ms, operation.context.entropy)
        };
        let started = Instant::now();
        let step = line.adapter.step(&scope, operation, &operation.input, answers);
        let took = started.elapsed();
        let judged = step.and_then(|step| match step {
            Step::Send(request) => {
                let effect = line.grants.effect(&request)?;
                Ok(Step::Send(Request { effect, ..request }))
            }
            Step::Done(outcome) => Ok(Step::Done(outcome)),
        });
        Ok((judged, took))
    }

    pub(crate) fn loaded(&self) -> MutexGuard<'_, HashMap<String, Arc<Adapter>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The request with the effect that method and grant give it; a request that the grant does not allow is refused.
    pub fn judged(&self, operation: &Operation, request: Request) -> Result<Request, Fault> {
        let effect = self.line_of(operation)?.grants.effect(&request)?;
        Ok(Request { effect, ..request })
    }

    fn line_of(&self, operation: &Operation) -> Result<Arc<Line>, Fault> {
        self.table().line(&operation.channel, &operation.adapter).cloned()
    }

    /// The channel in its active version.
    pub(crate) fn line(&self, channel: &ChannelId) -> Result<Arc<Line>, Fault> {
        self.table().line(channel, "").cloned()
    }

    pub(crate) fn scope(&self, line: &Line, operation: OperationId, now_ms: u64, entropy: [u8; 32]) -> CallScope {
        CallScope {
            vault: self.vault.clone(),
            channel: line.config.id.clone(),
            operation,
            limits: self.limits,
            now_ms,
            entropy,
            naming: Naming::Secret,
            keys: line.keys.clone(),
            counts: line.adapter.counts.clone(),
        }
    }

    /// The bare context: what does not need an open session.
    fn bare_context(&self, line: &Line, request: ContextRequest<'_>) -> Context {
        let handle = |name: &str| self.vault.handle(request.operation, name);
        let secrets = line
            .grants
            .secret_names()
            .map(|name| (name.to_owned(), handle(name)))
            .collect();
        let base = &self.public_url;
        Context {
            operation: request.operation,
            keys: (0..KEYS)
                .map(|n| self.vault.provider_key(request.operation, n))
                .collect(),
            now_ms: self.ambient.now_ms(),
            entropy: self.vault.entropy(request.operation),
            settings: line.config.settings.clone(),
            secrets,
            card_number: request.card.map(|_| handle("card number")).unwrap_or_default(),
            card_code: request.card.filter(|_| request.has_code).map(|_| handle("card code")),
            notify_url: format!("{base}/notify/{}", line.config.id),
            return_url: format!("{base}/return/{}-{}", request.operation, &handle("return")),
        }
    }

    fn scrubbed(&self, line: &Line, sent: Sent, fills: &[Fill], card: Option<&Method>) -> Reply {
        match sent {
            Sent::NotSent(text) => Reply::NotSent(text),
            Sent::Unknown(text) => Reply::Unknown(text),
            Sent::Response { status, headers, body } => {
                let kept = headers.into_iter().filter(|(name, _)| name != "set-cookie");
                let (names, mut texts): (Vec<String>, Vec<Vec<u8>>) = kept.unzip();
                texts.push(body);
                let mut texts = self.vault.scrub(&line.config.id, texts, fills, card);
                let body = Body::from(texts.pop().unwrap_or_default());
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                Reply::Response(Response {
                    status,
                    headers: names.into_iter().zip(texts.into_iter().map(text)).collect(),
                    body,
                })
            }
        }
    }
}

#[async_trait]
impl Channels for Registry {
    fn facts(&self) -> Arc<[ChannelFacts]> {
        let facts = self.table().facts.clone();
        let stops = self.stopped();
        let is_stopped = |it: &ChannelFacts| {
            stops
                .iter()
                .any(|stop| stop.channel == it.id && stop.endpoint.is_none())
        };
        if !facts.iter().any(is_stopped) {
            return facts;
        }
        let with = |it: &ChannelFacts| ChannelFacts {
            disabled: it.disabled || is_stopped(it),
            ..it.clone()
        };
        facts.iter().map(with).collect()
    }

    fn version(&self, channel: &ChannelId, need: Need<'_>) -> Option<String> {
        self.table().version(channel, need)
    }

    fn concluded(&self, operation: &Operation, verdict: &Verdict) {
        if let Ok(line) = self.line_of(operation) {
            line.adapter.counts.concluded(operation, verdict, self.ambient.now_ms());
        }
    }

    fn capability(&self, channel: &ChannelId, kind: Kind) -> Option<Capability> {
        grants::capability(&self.line(channel).ok()?.adapter.manifest, kind)
    }

    fn authenticates(&self, channel: &ChannelId, adapter: &str) -> bool {
        let line = self.table().line(channel, adapter).cloned();
        line.is_ok_and(|line| grants::authenticates(&line.adapter.manifest))
    }

    async fn context(&self, request: ContextRequest<'_>) -> Result<Context, Fault> {
        let line = self.table().line(request.channel, request.adapter).cloned()?;
        let context = self.bare_context(&line, request);
        let opened = self.ensure_sessions(&line, &context).await;
        opened.inspect_err(|fault| line.adapter.counts.unusable(fault))?;
        Ok(context)
    }

    fn step(&self, operation: &Operation, input: &Input, answers: &[Answer]) -> Result<Step, Fault> {
        let line = self.line_of(operation)?;
        if answers.len() > self.limits.rounds {
            return Err(Fault {
                kind: FaultKind::Rounds,
                text: format!("more than {} requests", self.limits.rounds),
            });
        }
        // Answers to one version's requests say nothing to another: it would take them for answers to its own.
        if !answers.is_empty() && line.adapter.digest != operation.adapter {
            return Err(Fault {
                kind: FaultKind::Other,
                text: "the version that began this is not loaded any more".into(),
            });
        }
        let context = &operation.context;
        let scope = self.scope(&line, operation.id, context.now_ms, context.entropy);
        match line.adapter.step(&scope, operation, input, answers)? {
            Step::Send(request) => {
                let effect = line.grants.effect(&request)?;
                Ok(Step::Send(Request { effect, ..request }))
            }
            Step::Done(outcome) => check_memo(outcome, self.limits.memo_bytes),
        }
    }

    async fn send(&self, operation: &Operation, request: &Request, card: Option<&Method>) -> Result<Answer, Fault> {
        let line = self.line_of(operation)?;
        self.refuse_stopped(&operation.channel, &request.endpoint)?;
        let entered = Instant::now();
        self.ensure_sessions(&line, &operation.context).await?;
        if request.effect == Effect::Write && entered.elapsed() > SETS_OUT_WITHIN {
            return Ok(Answer {
                at_ms: self.ambient.now_ms(),
                reply: Reply::NotSent("no session in time".into()),
            });
        }
        let fills = line.grants.fills(&request.endpoint, &operation.context);
        let wire = self.vault.fill(&line.config.id, request, &fills, card)?;
        let longest = Duration::from_millis(u64::from(request.timeout_ms));
        let started = Instant::now();
        let sent = self.egress.send(line.endpoint(&request.endpoint)?, wire, longest).await;
        let back = match &sent {
            Sent::Response { body, .. } => body.len(),
            Sent::NotSent(_) | Sent::Unknown(_) => 0,
        };
        let out = request.body.as_bytes().len();
        line.adapter.counts.sent(out, back, started.elapsed());
        let reply = self.scrubbed(&line, sent, &fills, card);
        Ok(Answer {
            at_ms: self.ambient.now_ms(),
            reply,
        })
    }

    fn forget_session(&self, channel: &ChannelId, name: &str) {
        self.vault.forget_session(channel, name);
    }

    fn parse_report(
        &self,
        channel: &ChannelId,
        piece: &[u8],
        carry: &[u8],
        is_last: bool,
    ) -> Result<(Vec<ReportLine>, Vec<u8>), Fault> {
        let line = self.line(channel)?;
        let operation = OperationId(self.ambient.uuid_v7());
        let request = ContextRequest {
            channel,
            adapter: &line.adapter.digest,
            operation,
            card: None,
            has_code: false,
        };
        let context = self.bare_context(&line, request);
        let scope = self.scope(&line, operation, context.now_ms, context.entropy);
        line.adapter.parse_report(&scope, &context, (piece, carry, is_last))
    }

    fn receive(&self, channel: &ChannelId, notification: &Notification) -> Result<Receipt, Rejection> {
        let line = self
            .line(channel)
            .map_err(|fault| Rejection("unknown_channel", fault.text))?;
        let operation = OperationId(self.ambient.uuid_v7());
        let request = ContextRequest {
            channel,
            adapter: &line.adapter.digest,
            operation,
            card: None,
            has_code: false,
        };
        let context = self.bare_context(&line, request);
        let scope = self.scope(&line, operation, context.now_ms, context.entropy);
        line.adapter.receive(&scope, &context, notification)
    }
}

fn check_memo(outcome: portolan_domain::operation::Outcome, longest: usize) -> Result<Step, Fault> {
    use portolan_domain::operation::Outcome;
    let memo = match &outcome {
        Outcome::Accepted { memo, .. }
        | Outcome::Waiting { memo, .. }
        | Outcome::Done { memo, .. }
        | Outcome::Converted { memo, .. }
        | Outcome::Sent { memo, .. } => memo.as_ref(),
        Outcome::Quoted(quotation) => quotation.memo.as_ref(),
        Outcome::Expired
        | Outcome::Page(_)
        | Outcome::Returned { .. }
        | Outcome::Declined(_)
        | Outcome::Standing(_)
        | Outcome::NotFound
        | Outcome::Unknown(_) => None,
    };
    match memo {
        Some(memo) if memo.bytes.len() > longest => Err(Fault {
            kind: FaultKind::TooLarge,
            text: format!("the memo has more than {longest} bytes"),
        }),
        Some(_) | None => Ok(Step::Done(outcome)),
    }
}
