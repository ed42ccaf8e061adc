//! The channels of this host: which adapter version each runs, what it is granted, and the two things the engine asks of
//! them, the next step and the wire.

use crate::abi::{self, exported::adapter::Manifest};
use crate::artifact::Artifacts;
use crate::channel::ChannelConfig;
use crate::grants::{self, Grants};
use crate::guest::CallScope;
use crate::limits::Limits;
use crate::sandbox::{Prepared, Sandbox, SandboxError};
use async_trait::async_trait;
use portolan_domain::channel::{Capability, ChannelFacts};
use portolan_domain::exchange::{Answer, Body, Reply, Request, Response};
use portolan_domain::ids::{ChannelId, OperationId};
use portolan_domain::operation::{Context, Fault, FaultKind, Input, KEYS, Kind, Operation};
use portolan_domain::ports::{
    Ambient, Channels, ContextRequest, Fill, Method, Notification, Receipt, Rejection, Step, Vault,
};
use portolan_domain::settlement::ReportLine;
use portolan_egress::{Egress, Endpoint, Sent};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An adapter's file, by its configured name.
#[derive(Clone, Debug)]
pub struct AdapterSource {
    /// The name that channels use.
    pub name: String,
    /// The component.
    pub file: PathBuf,
}

/// Why the channels cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The sandbox refuses a component.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// An adapter does not say who it is.
    #[error("adapter {0}: {1}")]
    Describe(String, Fault),
    /// A channel's configuration does not fit its adapter.
    #[error("channel {0}: {1}")]
    Channel(ChannelId, String),
}

/// A loaded adapter version.
pub(crate) struct Adapter {
    pub digest: String,
    pub manifest: Manifest,
    pub prepared: Prepared,
}

/// A channel with its adapter.
pub(crate) struct Line {
    pub config: ChannelConfig,
    pub adapter: Arc<Adapter>,
    pub grants: Grants,
    pub opening: tokio::sync::Mutex<()>,
    endpoints: HashMap<String, Endpoint>,
    keys: Arc<[String]>,
}

impl Line {
    pub(crate) fn endpoint(&self, name: &str) -> Result<&Endpoint, Fault> {
        let text = || format!("the endpoint {name:?} is not configured for this channel");
        self.endpoints.get(name).ok_or_else(|| Fault {
            kind: FaultKind::NotGranted,
            text: text(),
        })
    }
}

/// All channels.
pub struct Registry {
    sandbox: Sandbox,
    lines: Vec<Arc<Line>>,
    facts: Arc<[ChannelFacts]>,
    pub(crate) egress: Egress,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) ambient: Arc<dyn Ambient>,
    pub(crate) limits: Limits,
    public_url: String,
}

impl Registry {
    /// Loads the adapters and makes the channels. `public_url` is where providers and payers reach this host.
    pub fn load(
        sandbox: Sandbox,
        artifacts: &Artifacts,
        (adapters, channels): (&[AdapterSource], Vec<ChannelConfig>),
        (egress, vault, ambient): (Egress, Arc<dyn Vault>, Arc<dyn Ambient>),
        public_url: String,
    ) -> Result<Self, RegistryError> {
        let mut registry = Self {
            sandbox,
            lines: vec![],
            facts: Arc::new([]),
            egress,
            vault,
            ambient,
            limits: Limits::default(),
            public_url,
        };
        let mut loaded = HashMap::new();
        for source in adapters {
            loaded.insert(source.name.clone(), Arc::new(registry.load_adapter(artifacts, source)?));
        }
        for config in channels {
            let unknown = || RegistryError::Channel(config.id.clone(), format!("no adapter {:?}", config.adapter));
            let adapter = loaded.get(&config.adapter).cloned().ok_or_else(unknown)?;
            let line = make_line(config, adapter)?;
            registry.lines.push(Arc::new(line));
        }
        registry.facts = registry.lines.iter().map(|line| facts(line)).collect();
        Ok(registry)
    }

    fn load_adapter(&self, artifacts: &Artifacts, source: &AdapterSource) -> Result<Adapter, RegistryError> {
        let (digest, component) = artifacts.load(&self.sandbox, &source.file)?;
        let prepared = self.sandbox.prepare(&component)?;
        let scope = CallScope {
            vault: self.vault.clone(),
            channel: ChannelId::parse("admission").ok_or_else(|| SandboxError::Engine("a name".into()))?,
            operation: OperationId(uuid_nil()),
            limits: self.limits,
            now_ms: 0,
            entropy: [0; 32],
            keys: Arc::from([]),
        };
        let manifest =
            abi::describe(&prepared, scope).map_err(|fault| RegistryError::Describe(source.name.clone(), fault))?;
        tracing::info!(
            adapter = source.name,
            name = manifest.name,
            version = manifest.version,
            digest,
            "adapter loaded"
        );
        Ok(Adapter {
            digest,
            manifest,
            prepared,
        })
    }

    /// The request with the effect that method and grant give it; a request that the grant does not allow is refused.
    pub fn judged(&self, channel: &ChannelId, request: Request) -> Result<Request, Fault> {
        let effect = self.line(channel)?.grants.effect(&request)?;
        Ok(Request { effect, ..request })
    }

    fn line(&self, channel: &ChannelId) -> Result<&Arc<Line>, Fault> {
        let found = self.lines.iter().find(|line| line.config.id == *channel);
        found.ok_or_else(|| Fault {
            kind: FaultKind::Misconfigured,
            text: format!("the channel {channel} is not configured"),
        })
    }

    pub(crate) fn scope(&self, line: &Line, operation: OperationId, now_ms: u64, entropy: [u8; 32]) -> CallScope {
        CallScope {
            vault: self.vault.clone(),
            channel: line.config.id.clone(),
            operation,
            limits: self.limits,
            now_ms,
            entropy,
            keys: line.keys.clone(),
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

fn uuid_nil() -> uuid::Uuid {
    uuid::Uuid::nil()
}

fn make_line(config: ChannelConfig, adapter: Arc<Adapter>) -> Result<Line, RegistryError> {
    let bad = |text: String| RegistryError::Channel(config.id.clone(), text);
    let manifest = &adapter.manifest;
    let mut endpoints = HashMap::new();
    for endpoint in &config.endpoints {
        if !manifest.endpoints.iter().any(|ask| ask.name == endpoint.name) {
            return Err(bad(format!("its adapter asks for no endpoint {:?}", endpoint.name)));
        }
        let parsed = Endpoint::parse(&endpoint.url, endpoint.allow_private).map_err(|error| bad(error.to_string()))?;
        if !parsed.is_tls() && (config.mode == portolan_domain::ids::Mode::Live || !endpoint.allow_private) {
            return Err(bad(format!(
                "{} is not encrypted: plain http is for private addresses in test mode",
                endpoint.url
            )));
        }
        endpoints.insert(endpoint.name.clone(), parsed);
    }
    if let Some(missing) = manifest.endpoints.iter().find(|ask| !endpoints.contains_key(&ask.name)) {
        return Err(bad(format!(
            "its adapter asks for the endpoint {:?} ({})",
            missing.name, missing.purpose
        )));
    }
    let grants = Grants::new(manifest, &config);
    let keys = manifest
        .keys
        .iter()
        .map(|ask| ask.name.clone())
        .filter(|name| config.keys.contains(name))
        .collect();
    Ok(Line {
        grants,
        endpoints,
        keys,
        opening: tokio::sync::Mutex::new(()),
        adapter,
        config,
    })
}

#[async_trait]
impl Channels for Registry {
    fn facts(&self) -> Arc<[ChannelFacts]> {
        self.facts.clone()
    }

    fn capability(&self, channel: &ChannelId, kind: Kind) -> Option<Capability> {
        grants::capability(&self.line(channel).ok()?.adapter.manifest, kind)
    }

    async fn context(&self, request: ContextRequest<'_>) -> Result<Context, Fault> {
        let line = self.line(request.channel)?;
        let context = self.bare_context(line, request);
        self.ensure_sessions(line, &context).await?;
        Ok(context)
    }

    fn step(&self, operation: &Operation, input: &Input, answers: &[Answer]) -> Result<Step, Fault> {
        let line = self.line(&operation.channel)?;
        if answers.len() > self.limits.rounds {
            return Err(Fault {
                kind: FaultKind::Rounds,
                text: format!("more than {} requests", self.limits.rounds),
            });
        }
        let context = &operation.context;
        let scope = self.scope(line, operation.id, context.now_ms, context.entropy);
        match abi::step(&line.adapter.prepared, scope, operation, input, answers)? {
            Step::Send(request) => self.judged(&operation.channel, request).map(Step::Send),
            Step::Done(outcome) => check_memo(outcome, self.limits.memo_bytes),
        }
    }

    async fn send(&self, operation: &Operation, request: &Request, card: Option<&Method>) -> Result<Answer, Fault> {
        let line = self.line(&operation.channel)?;
        self.ensure_sessions(line, &operation.context).await?;
        let fills = line.grants.fills(&request.endpoint, &operation.context);
        let wire = self.vault.fill(&line.config.id, request, &fills, card)?;
        let longest = Duration::from_millis(u64::from(request.timeout_ms));
        let sent = self.egress.send(line.endpoint(&request.endpoint)?, wire, longest).await;
        let reply = self.scrubbed(line, sent, &fills, card);
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
        let context = self.bare_context(line, request);
        let scope = self.scope(line, operation, context.now_ms, context.entropy);
        abi::parse_report(&line.adapter.prepared, scope, &context, (piece, carry, is_last))
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
        let context = self.bare_context(line, request);
        let scope = self.scope(line, operation, context.now_ms, context.entropy);
        abi::receive(&line.adapter.prepared, scope, &context, notification)
    }
}

fn facts(line: &Line) -> ChannelFacts {
    let indices = &line.adapter.prepared.indices;
    let says = |of: &str| {
        let mut capabilities = line.adapter.manifest.capabilities.iter();
        capabilities.any(|capability| capability.of == of)
    };
    let kinds = [
        (Kind::Authorize, indices.payments.is_some()),
        (Kind::Resume, indices.actions.is_some()),
        // An adapter may export the interface for its cancel alone; capturing is what it says of itself.
        (Kind::Capture, indices.captures.is_some() && says("captures")),
        (Kind::Cancel, indices.captures.is_some()),
        (Kind::Refund, indices.refunds.is_some()),
        (Kind::Reverse, indices.reversals.is_some()),
        (Kind::Quote, indices.exchange.is_some()),
        (Kind::Convert, indices.exchange.is_some()),
        (Kind::Pay, indices.payouts.is_some()),
        (Kind::Poll, indices.feeds.is_some()),
    ];
    let rules = line
        .adapter
        .manifest
        .capabilities
        .iter()
        .filter(|capability| matches!(capability.of.as_str(), "payments" | "payouts"));
    ChannelFacts {
        id: line.config.id.clone(),
        mode: line.config.mode,
        merchant: line.config.merchant.clone(),
        methods: line.adapter.manifest.methods.clone(),
        currencies: line.config.currencies.clone(),
        adapter: line.adapter.digest.clone(),
        disabled: line.config.disabled,
        has_lane: line.adapter.manifest.keys.iter().any(|key| key.lane),
        kinds: kinds
            .into_iter()
            .filter(|(_, can)| *can)
            .map(|(kind, _)| kind)
            .collect(),
        steps: rules
            .flat_map(|rules| &rules.assets)
            .filter_map(|rule| Some((rule.asset.clone(), rule.step.parse().ok()?)))
            .collect(),
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
