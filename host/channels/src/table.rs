//! Which version of its adapter each channel runs: a table that is replaced as a whole, in one step. An operation finds
//! the version that it began with as long as that is loaded.

use crate::abi::exported::adapter::Manifest;
use crate::channel::ChannelConfig;
use crate::counts::Counts;
use crate::grants::Grants;
use crate::home::Home;
use crate::ring::KeyGrant;
use crate::settings;
use portolan_domain::channel::ChannelFacts;
use portolan_domain::ids::{ChannelId, Mode};
use portolan_domain::lifecycle::canary::takes_part;
use portolan_domain::lifecycle::{Stage, Version};
use portolan_domain::operation::{Fault, FaultKind, Kind};
use portolan_domain::ports::Need;
use portolan_egress::Endpoint;
use std::collections::HashMap;
use std::sync::Arc;

/// A loaded adapter version.
pub(crate) struct Adapter {
    pub digest: String,
    pub manifest: Manifest,
    pub home: Home,
    pub counts: Arc<Counts>,
}

/// A channel in one version of its adapter.
pub(crate) struct Line {
    pub config: Arc<ChannelConfig>,
    pub adapter: Arc<Adapter>,
    pub grants: Grants,
    /// One session is opened at a time; when that failed last, and how.
    pub opening: Arc<tokio::sync::Mutex<Option<(u64, Fault)>>>,
    pub keys: Arc<[KeyGrant]>,
    endpoints: HashMap<String, Endpoint>,
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

/// A channel as configured; what its versions share.
#[derive(Clone)]
pub(crate) struct Slot {
    pub config: Arc<ChannelConfig>,
    /// One session is opened at a time; when that failed last, and how.
    pub opening: Arc<tokio::sync::Mutex<Option<(u64, Fault)>>>,
}

struct Row {
    slot: Slot,
    lines: Vec<Arc<Line>>,
    /// Of these, by digest, those that no new operation may run in.
    rejected: Vec<String>,
    active: Option<Arc<Line>>,
    canary: Option<(Arc<Line>, u8)>,
}

/// All channels with their versions.
pub(crate) struct Table {
    rows: Vec<Row>,
    pub facts: Arc<[ChannelFacts]>,
}

impl Table {
    pub fn empty() -> Self {
        Self {
            rows: vec![],
            facts: Arc::new([]),
        }
    }

    /// The table that the versions' stages make. An error names the channel that a version which takes payments does not fit.
    pub fn make(
        slots: &[Slot],
        versions: &[Version],
        loaded: &HashMap<String, Arc<Adapter>>,
    ) -> Result<Self, (ChannelId, String)> {
        let rows = slots.iter().map(|slot| row(slot, versions, loaded));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let facts = rows.iter().filter_map(facts).collect();
        Ok(Self { rows, facts })
    }

    /// Whether a channel runs that version, or ran it when it was taken back.
    pub fn has(&self, digest: &str) -> bool {
        let mut lines = self.rows.iter().flat_map(|row| &row.lines);
        lines.any(|line| line.adapter.digest == digest)
    }

    fn row(&self, channel: &ChannelId) -> Option<&Row> {
        self.rows.iter().find(|row| row.slot.config.id == *channel)
    }

    /// The channel in that version; in the active one where that version is not loaded any more. What was rejected while it
    /// ran is still here for the operations that began in it, and for no other.
    pub fn line(&self, channel: &ChannelId, digest: &str) -> Result<&Arc<Line>, Fault> {
        let fault = |text: String| Fault {
            kind: FaultKind::Misconfigured,
            text,
        };
        let row = self
            .row(channel)
            .ok_or_else(|| fault(format!("the channel {channel} is not configured")))?;
        let own = row.lines.iter().find(|line| line.adapter.digest == digest);
        own.or(row.active.as_ref()).ok_or_else(|| {
            fault(format!(
                "the channel {channel} has no version of its adapter that may run"
            ))
        })
    }

    /// The version that an operation of the channel runs in.
    pub fn version(&self, channel: &ChannelId, need: Need<'_>) -> Option<String> {
        let row = self.row(channel)?;
        let active = row.active.as_ref()?;
        let digest = |line: &Arc<Line>| line.adapter.digest.clone();
        Some(match need {
            Need::New(payment) => match &row.canary {
                Some((canary, percent)) if takes_part(payment, *percent) => digest(canary),
                Some(_) | None => digest(active),
            },
            Need::Later { memo, begun } => {
                let may_run = |line: &&Arc<Line>| !row.rejected.contains(&line.adapter.digest);
                let reads =
                    |line: &&Arc<Line>| memo.is_none_or(|format| line.adapter.manifest.reads_memo.contains(&format));
                let began = |line: &&Arc<Line>| line.adapter.digest == begun;
                let others = || row.lines.iter().filter(may_run);
                let found = Some(active).filter(reads).or_else(|| others().find(began));
                digest(found.or_else(|| others().rev().find(reads)).unwrap_or(active))
            }
        })
    }
}

fn row(slot: &Slot, versions: &[Version], loaded: &HashMap<String, Arc<Adapter>>) -> Result<Row, (ChannelId, String)> {
    let mut row = Row {
        slot: slot.clone(),
        lines: vec![],
        rejected: vec![],
        active: None,
        canary: None,
    };
    for version in versions.iter().filter(|it| it.adapter == slot.config.adapter) {
        let takes_payments = matches!(version.stage, Stage::Active | Stage::Canary);
        let may_stay = version.stage.is_loaded() || version.stage == Stage::Rejected;
        let Some(adapter) = loaded.get(&version.digest).filter(|_| may_stay) else {
            if takes_payments {
                return Err((slot.config.id.clone(), format!("{} is not loaded", version.digest)));
            }
            continue;
        };
        let line = match fitting_line(slot, adapter) {
            Ok(line) => Arc::new(line),
            Err(problem) if takes_payments => return Err((slot.config.id.clone(), problem)),
            // It does not fit this channel any more, or not yet: nothing of it runs here.
            Err(_) => continue,
        };
        row.lines.push(line.clone());
        if version.stage == Stage::Rejected {
            row.rejected.push(version.digest.clone());
        }
        match version.stage {
            Stage::Active => row.active = Some(line),
            Stage::Canary => row.canary = version.share.map(|share| (line, share.percent)),
            Stage::Staged
            | Stage::Verified
            | Stage::Ready
            | Stage::Shadow
            | Stage::Draining
            | Stage::Retired
            | Stage::Rejected => {}
        }
    }
    Ok(row)
}

/// The channel in that version, if settings and grants are what the version asks for.
pub(crate) fn fitting_line(slot: &Slot, adapter: &Arc<Adapter>) -> Result<Line, String> {
    settings::check(&slot.config.settings, &adapter.manifest.settings_schema)?;
    make_line(slot, adapter.clone())
}

/// The channel in that version, if what the version asks for is what the operator configured.
pub(crate) fn make_line(slot: &Slot, adapter: Arc<Adapter>) -> Result<Line, String> {
    let (config, manifest) = (&slot.config, &adapter.manifest);
    let mut endpoints = HashMap::new();
    for endpoint in &config.endpoints {
        if !manifest.endpoints.iter().any(|ask| ask.name == endpoint.name) {
            return Err(format!("its adapter asks for no endpoint {:?}", endpoint.name));
        }
        let parsed = Endpoint::parse(&endpoint.url, endpoint.allow_private).map_err(|error| error.to_string())?;
        if !parsed.is_tls() && (config.mode == Mode::Live || !endpoint.allow_private) {
            return Err(format!(
                "{} is not encrypted: plain http is for private addresses in test mode",
                endpoint.url
            ));
        }
        endpoints.insert(endpoint.name.clone(), parsed);
    }
    if let Some(missing) = manifest.endpoints.iter().find(|ask| !endpoints.contains_key(&ask.name)) {
        return Err(format!(
            "its adapter asks for the endpoint {:?} ({})",
            missing.name, missing.purpose
        ));
    }
    let grants = Grants::new(manifest, config);
    let keys = manifest
        .keys
        .iter()
        .filter(|ask| config.keys.contains(&ask.name))
        .map(|ask| KeyGrant {
            name: ask.name.clone(),
            algorithm: ask.algorithm.clone(),
        })
        .collect();
    Ok(Line {
        grants,
        endpoints,
        keys,
        opening: slot.opening.clone(),
        config: config.clone(),
        adapter,
    })
}

/// What routing knows of a channel: what its active version says. A channel without one is taken out.
fn facts(row: &Row) -> Option<ChannelFacts> {
    let line = row.active.as_ref().or(row.lines.last())?;
    let (config, manifest) = (&line.config, &line.adapter.manifest);
    let exports = line.adapter.home.exports();
    let says = |of: &str| manifest.capabilities.iter().any(|capability| capability.of == of);
    let kinds = [
        (Kind::Authorize, exports.payments),
        (Kind::Resume, exports.actions),
        // An adapter may export the interface for its cancel alone; capturing is what it says of itself.
        (Kind::Capture, exports.captures && says("captures")),
        (Kind::Cancel, exports.captures),
        (Kind::Refund, exports.refunds),
        (Kind::Reverse, exports.reversals),
        (Kind::Quote, exports.exchange),
        (Kind::Convert, exports.exchange),
        (Kind::Pay, exports.payouts),
        (Kind::Poll, exports.feeds),
    ];
    let rules = manifest
        .capabilities
        .iter()
        .filter(|capability| matches!(capability.of.as_str(), "payments" | "payouts"));
    Some(ChannelFacts {
        id: config.id.clone(),
        mode: config.mode,
        merchant: config.merchant.clone(),
        methods: manifest.methods.clone(),
        currencies: config.currencies.clone(),
        adapter: line.adapter.digest.clone(),
        disabled: config.disabled || row.active.is_none(),
        has_lane: manifest.keys.iter().any(|key| key.lane),
        authenticates: crate::grants::authenticates(manifest),
        kinds: kinds
            .into_iter()
            .filter(|(_, can)| *can)
            .map(|(kind, _)| kind)
            .collect(),
        steps: rules
            .flat_map(|rules| &rules.assets)
            .filter_map(|rule| Some((rule.asset.clone(), rule.step.parse().ok()?)))
            .collect(),
        costs: config.routing.costs.clone(),
        limits: config.routing.limits.clone(),
        in_flight_max: config.routing.in_flight_max,
        maintenance: config.routing.maintenance.clone(),
    })
}
