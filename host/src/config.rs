//! The configuration: what was written (TOML, nothing unknown) becomes what is meant, before any port opens. Secrets are
//! never in it, only where they are: `env:NAME` or `file:PATH`.

mod routing;

pub use routing::time_ms;

use portolan_channels::{AdapterSource, ChannelConfig, EndpointConfig, Wall};
use portolan_domain::ids::{Mode, Name};
use portolan_domain::money::Asset;
use portolan_domain::payment::decide::Policy;
use portolan_engine::{QuotePolicy, Retention, RoutingPolicy};
use routing::{RawAmounts, RawCost, RawRouting, RawWindow};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest share that the router takes of an exchange: a tenth.
const MARKUP_MAX_BPS: u32 = 1_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// The least that `leaves_within_ms` may be: a commit takes its time.
const LEAVES_WITHIN_MIN_MS: u64 = 100;
/// How long a write may take from the engine to the wire: a session, a connection, its TLS.
const ON_THE_WAY_OUT_MS: u64 = 15_000;

/// What is wrong, in one line.
#[derive(Debug, thiserror::Error)]
#[error("configuration {file}: {problem}")]
pub struct ConfigError {
    file: String,
    problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    server: RawServer,
    #[serde(default)]
    store: RawStore,
    #[serde(default)]
    policy: RawPolicy,
    #[serde(default)]
    pricing: RawPricing,
    #[serde(default)]
    routing: RawRouting,
    #[serde(default)]
    token: Vec<RawToken>,
    #[serde(default)]
    plugins: RawPlugins,
    #[serde(default)]
    webhooks: RawWebhooks,
    #[serde(default)]
    signer: Vec<RawSigner>,
    #[serde(default)]
    adapter: Vec<RawAdapter>,
    #[serde(default)]
    channel: Vec<RawChannel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawServer {
    listen: SocketAddr,
    admin: SocketAddr,
    public_url: Option<String>,
    answer_within_ms: u64,
    drain_ms: u64,
    connections_max: usize,
    in_flight_max: usize,
    requests_per_second: NonZeroU32,
}

impl Default for RawServer {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 8081)),
            public_url: None,
            answer_within_ms: 25_000,
            drain_ms: 30_000,
            connections_max: 4_096,
            in_flight_max: 2_048,
            requests_per_second: NonZeroU32::MIN.saturating_add(999),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawWebhooks {
    allow_private: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawStore {
    folder: PathBuf,
    postgres: Option<String>,
    postgres_ca: Option<PathBuf>,
    disk_floor_mb: u64,
    durable: bool,
    answers_days: u64,
    journal_days: u64,
}

impl Default for RawStore {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("data"),
            postgres: None,
            postgres_ca: None,
            disk_floor_mb: 64,
            durable: true,
            answers_days: 30,
            journal_days: 90,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPolicy {
    check_first_ms: u64,
    check_max_ms: u64,
    leaves_within_ms: u64,
    checks_before_reversal: u32,
    checks_before_human: u32,
    action_ms: u64,
    authorization_ms: u64,
    attempts_max: usize,
    two_people_above: BTreeMap<String, u64>,
}

impl Default for RawPolicy {
    fn default() -> Self {
        Self {
            check_first_ms: 1_000,
            check_max_ms: 300_000,
            leaves_within_ms: 10_000,
            checks_before_reversal: 6,
            checks_before_human: 10,
            action_ms: 30 * 60 * 1_000,
            authorization_ms: 7 * 24 * 60 * 60 * 1_000,
            attempts_max: 3,
            two_people_above: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPricing {
    markup_bps: u32,
    deadline_ms: u64,
    exposure_max: BTreeMap<String, i64>,
}

impl Default for RawPricing {
    fn default() -> Self {
        Self {
            markup_bps: 0,
            deadline_ms: 3_000,
            exposure_max: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    code: String,
    exponent: u8,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawPlugins {
    inbox: Option<PathBuf>,
    #[serde(default)]
    require_vectors: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSigner {
    name: String,
    role: SignerRole,
    key: PathBuf,
    #[serde(default)]
    namespace: String,
}

/// On whose behalf a key signs adapters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignerRole {
    /// Who made it.
    Partner,
    /// Who lets it in.
    Operator,
}

impl SignerRole {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Operator => "operator",
        }
    }
}

/// Whose signature on an adapter counts.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The key's name.
    pub name: String,
    /// On whose behalf.
    pub role: SignerRole,
    /// The public key, PEM.
    pub key: Vec<u8>,
    /// A partner signs adapters whose names begin with this.
    pub namespace: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdapter {
    name: String,
    file: PathBuf,
    #[serde(default)]
    trusted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChannel {
    id: String,
    mode: String,
    merchant: Option<String>,
    adapter: String,
    #[serde(default)]
    card_data: bool,
    #[serde(default)]
    harmless: Vec<String>,
    #[serde(default)]
    currencies: Vec<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    cost: Vec<RawCost>,
    #[serde(default)]
    amounts: BTreeMap<String, RawAmounts>,
    in_flight_max: Option<usize>,
    #[serde(default)]
    maintenance: Vec<RawWindow>,
    #[serde(default)]
    settings: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    endpoints: BTreeMap<String, RawEndpoint>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    #[serde(default)]
    keys: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEndpoint {
    url: String,
    #[serde(default)]
    allow_private: bool,
}

/// What is meant.
pub struct Config {
    /// Where merchants call.
    pub listen: SocketAddr,
    /// Where operators call: loopback.
    pub admin: SocketAddr,
    /// Where payers and providers reach this host.
    pub public_url: String,
    /// After this time a call answers `processing`, and the work goes on.
    pub answer_within: Duration,
    /// How long requests in flight may take after the first signal.
    pub drain: Duration,
    /// Connections at once.
    pub connections_max: usize,
    /// Requests at once; more are shed with 503.
    pub in_flight_max: usize,
    /// How often one key may call; more gets 429.
    pub requests_per_second: NonZeroU32,
    /// Where everything durable is that is not in a database.
    pub folder: PathBuf,
    /// The database: a string that connects to it, or where that is (`env:…`, `file:…`). `None`: a file in the folder.
    pub postgres: Option<String>,
    /// A PEM file with the authorities of the database's certificate; `None`: the public ones.
    pub postgres_ca: Option<PathBuf>,
    /// Below so much free disk no new money is taken.
    pub disk_floor_bytes: u64,
    /// Whether commits are synced.
    pub is_durable: bool,
    /// How long answers and journals are kept.
    pub retention: Retention,
    /// How long the router waits for what.
    pub policy: Policy,
    /// What the router takes for an exchange, and how long it waits for prices.
    pub pricing: QuotePolicy,
    /// How payments are routed.
    pub routing: RoutingPolicy,
    /// The tokens that amounts may be in, besides ISO 4217.
    pub tokens: Vec<Asset>,
    /// Whether merchants may be told of events at addresses that are not public, and without TLS.
    pub webhooks_allow_private: bool,
    /// A folder whose components are staged.
    pub inbox: Option<PathBuf>,
    /// Whether a component that is staged must bring its vectors.
    pub requires_vectors: bool,
    /// Whose signatures on adapters count.
    pub signers: Vec<Signer>,
    /// The adapters.
    pub adapters: Vec<AdapterSource>,
    /// The channels.
    pub channels: Vec<ChannelConfig>,
    /// Secrets and keys by channel and name, with where they are.
    pub secrets: Vec<(Name, String, String)>,
}

impl Config {
    /// Reads and checks a file.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let failed = |problem: String| ConfigError {
            file: file.display().to_string(),
            problem,
        };
        let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
        let raw: Raw = toml::from_str(&text).map_err(|error| failed(error.to_string().trim().replace('\n', " | ")))?;
        Self::check(raw, file.parent().unwrap_or(Path::new("."))).map_err(failed)
    }

    /// A currency of ISO 4217, or one of the tokens.
    pub fn asset(&self, code: &str) -> Option<Asset> {
        let token = || self.tokens.iter().find(|token| token.code() == code).cloned();
        Asset::currency(code).or_else(token)
    }

    fn check(mut raw: Raw, base: &Path) -> Result<Self, String> {
        if !raw.server.admin.ip().is_loopback() {
            return Err(format!(
                "server.admin = {}: operators' listener stays on loopback",
                raw.server.admin
            ));
        }
        let token = |it: RawToken| {
            let wrong = format!(
                "token {:?}: a code is SYMBOL:namespace:chain, with at most 18 decimals",
                it.code
            );
            Asset::token(&it.code, it.exponent).ok_or(wrong)
        };
        let tokens = raw
            .token
            .into_iter()
            .map(token)
            .collect::<Result<Vec<Asset>, String>>()?;
        let known = |code: &str| Asset::currency(code).is_some() || tokens.iter().any(|it| it.code() == code);
        let mut secrets = vec![];
        let mut channels: Vec<ChannelConfig> = vec![];
        for channel in raw.channel {
            let channel = check_channel(channel, &mut secrets, &known)?;
            if channels.iter().any(|known| known.id == channel.id) {
                return Err(format!("channel {}: there are two of that id", channel.id));
            }
            channels.push(channel);
        }
        // As all paths are: beside the configuration, wherever the router was started.
        let postgres = raw.store.postgres.as_mut();
        for place in secrets.iter_mut().map(|(_, _, place)| place).chain(postgres) {
            if let Some(file) = place.strip_prefix("file:") {
                *place = format!("file:{}", base.join(file).display());
            }
        }
        if let Some(channel) = channels
            .iter()
            .find(|it| !raw.adapter.iter().any(|known| known.name == it.adapter))
        {
            let (id, adapter) = (&channel.id, &channel.adapter);
            return Err(format!(
                "channel {id}: adapter = {adapter:?}: no [[adapter]] has that name"
            ));
        }
        let policy = raw.policy;
        if raw.pricing.markup_bps > MARKUP_MAX_BPS {
            return Err(format!(
                "pricing.markup_bps = {}: at most {MARKUP_MAX_BPS}",
                raw.pricing.markup_bps
            ));
        }
        if policy.leaves_within_ms < LEAVES_WITHIN_MIN_MS {
            return Err(format!(
                "policy.leaves_within_ms = {}: at least {LEAVES_WITHIN_MIN_MS}, or nothing would leave on a busy machine",
                policy.leaves_within_ms
            ));
        }
        // The file's lock is let go with the process that had it; a database's lease is not.
        let overlap_ms = match &raw.store.postgres {
            Some(_) => policy.leaves_within_ms.saturating_add(ON_THE_WAY_OUT_MS),
            None => 0,
        };
        Ok(Self {
            listen: raw.server.listen,
            admin: raw.server.admin,
            public_url: raw
                .server
                .public_url
                .unwrap_or_else(|| format!("http://{}", raw.server.listen)),
            answer_within: Duration::from_millis(raw.server.answer_within_ms),
            drain: Duration::from_millis(raw.server.drain_ms),
            connections_max: raw.server.connections_max,
            in_flight_max: raw.server.in_flight_max,
            requests_per_second: raw.server.requests_per_second,
            folder: base.join(raw.store.folder),
            postgres: raw.store.postgres,
            postgres_ca: raw.store.postgres_ca.map(|file| base.join(file)),
            disk_floor_bytes: raw.store.disk_floor_mb.saturating_mul(1024 * 1024),
            is_durable: raw.store.durable,
            retention: Retention {
                answers_ms: raw.store.answers_days.saturating_mul(DAY_MS),
                journals_ms: raw.store.journal_days.saturating_mul(DAY_MS),
            },
            policy: Policy {
                check_first_ms: policy.check_first_ms,
                check_max_ms: policy.check_max_ms,
                leaves_within_ms: policy.leaves_within_ms,
                overlap_ms,
                checks_before_reversal: policy.checks_before_reversal,
                checks_before_human: policy.checks_before_human,
                action_ms: policy.action_ms,
                authorization_ms: policy.authorization_ms,
                attempts_max: policy.attempts_max,
                two_people_above: policy
                    .two_people_above
                    .into_iter()
                    .map(|(currency, most)| (currency, i128::from(most)))
                    .collect(),
            },
            pricing: QuotePolicy {
                markup_bps: raw.pricing.markup_bps,
                deadline: Duration::from_millis(raw.pricing.deadline_ms),
                exposure_max: exposure_max(raw.pricing.exposure_max)?,
                ..QuotePolicy::default()
            },
            routing: routing::policy(raw.routing, &known)?,
            tokens,
            webhooks_allow_private: raw.webhooks.allow_private,
            inbox: raw.plugins.inbox.map(|folder| base.join(folder)),
            requires_vectors: raw.plugins.require_vectors,
            signers: signers(raw.signer, base)?,
            adapters: adapters(raw.adapter, base)?,
            channels,
            secrets,
        })
    }
}

/// Adapters by name; files and addresses are made of it.
fn adapters(raw: Vec<RawAdapter>, base: &Path) -> Result<Vec<AdapterSource>, String> {
    let mut all: Vec<AdapterSource> = vec![];
    for RawAdapter { name, file, trusted } in raw {
        if Name::parse(&name).is_none() {
            return Err(format!("adapter {name:?}: a name has 1 to 40 of a-z 0-9 - _"));
        }
        if all.iter().any(|it| it.name == name) {
            return Err(format!("adapter {name}: there are two of that name"));
        }
        let file = base.join(file);
        let wall = if trusted { Wall::Sandbox } else { Wall::Workers };
        all.push(AdapterSource { name, file, wall });
    }
    Ok(all)
}

fn signers(raw: Vec<RawSigner>, base: &Path) -> Result<Vec<Signer>, String> {
    let mut all: Vec<Signer> = vec![];
    for raw in raw {
        let new = signer(raw, base)?;
        // One hand may not sign for both sides.
        if let Some(other) = all.iter().find(|it| it.role != new.role && it.key == new.key) {
            return Err(format!(
                "signer {:?}: its key is that of {:?}, in another role",
                new.name, other.name
            ));
        }
        all.push(new);
    }
    Ok(all)
}

fn signer(raw: RawSigner, base: &Path) -> Result<Signer, String> {
    let wrong = |problem: &str| format!("signer {:?}: {problem}", raw.name);
    let key = std::fs::read(base.join(&raw.key)).map_err(|error| wrong(&format!("{}: {error}", raw.key.display())))?;
    if !key.starts_with(b"-----BEGIN PUBLIC KEY") {
        return Err(wrong(
            "key must be a public key in PEM, as `portolan plugin keygen` makes it",
        ));
    }
    if raw.role == SignerRole::Partner && raw.namespace.is_empty() {
        return Err(wrong(
            "a partner has a namespace: the beginning of its adapters' names, \"com.acme\"",
        ));
    }
    Ok(Signer {
        name: raw.name,
        role: raw.role,
        key,
        namespace: raw.namespace,
    })
}

/// `"EUR/HKD" = 5000000`: minor units of what is sold.
fn exposure_max(raw: BTreeMap<String, i64>) -> Result<BTreeMap<(String, String), i128>, String> {
    let pair = |(pair, most): (String, i64)| match pair.split_once('/') {
        Some((sold, bought)) if most >= 0 && !sold.is_empty() && !bought.is_empty() => {
            Ok(((sold.to_owned(), bought.to_owned()), i128::from(most)))
        }
        _ => Err(format!(
            "pricing.exposure_max: {pair:?} = {most}: \"EUR/HKD\" = minor units of what is sold"
        )),
    };
    raw.into_iter().map(pair).collect()
}

fn check_channel(
    raw: RawChannel,
    secrets: &mut Vec<(Name, String, String)>,
    known: &dyn Fn(&str) -> bool,
) -> Result<ChannelConfig, String> {
    let id = Name::parse(&raw.id).ok_or_else(|| format!("channel {:?}: an id has 1 to 40 of a-z 0-9 - _", raw.id))?;
    let mode = match raw.mode.as_str() {
        "test" => Mode::Test,
        "live" => Mode::Live,
        other => return Err(format!("channel {id}: mode = {other:?} is neither test nor live")),
    };
    let merchant = match raw.merchant {
        Some(name) => Some(Name::parse(&name).ok_or_else(|| format!("channel {id}: merchant = {name:?} is no name"))?),
        None => None,
    };
    let settings = serde_json::to_string(&raw.settings).map_err(|error| format!("channel {id}: settings: {error}"))?;
    for (name, place) in raw.secrets.iter().chain(&raw.keys) {
        if !place.starts_with("env:") && !place.starts_with("file:") {
            return Err(format!(
                "channel {id}: {name} must say where the secret is: env:NAME or file:PATH"
            ));
        }
        secrets.push((id.clone(), name.clone(), place.clone()));
    }
    let said = (raw.cost, raw.amounts, raw.in_flight_max, raw.maintenance);
    let routing = routing::channel(said, known).map_err(|problem| format!("channel {id}: {problem}"))?;
    let endpoint = |(name, it): (String, RawEndpoint)| EndpointConfig {
        name,
        url: it.url,
        allow_private: it.allow_private,
    };
    Ok(ChannelConfig {
        id,
        mode,
        merchant,
        adapter: raw.adapter,
        endpoints: raw.endpoints.into_iter().map(endpoint).collect(),
        secrets: raw.secrets.into_keys().collect(),
        keys: raw.keys.into_keys().collect(),
        harmless: raw.harmless,
        card_data: raw.card_data,
        currencies: raw.currencies,
        settings,
        disabled: raw.disabled,
        routing,
    })
}

/// Reads a secret from where the configuration says that it is.
pub fn read_secret(place: &str) -> Result<Vec<u8>, String> {
    if let Some(name) = place.strip_prefix("env:") {
        return std::env::var(name)
            .map(String::into_bytes)
            .map_err(|_| format!("the variable {name} is not set"));
    }
    let file = place.strip_prefix("file:").unwrap_or(place);
    let mut bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    while bytes.last().is_some_and(u8::is_ascii_whitespace) {
        bytes.pop();
    }
    Ok(bytes)
}
