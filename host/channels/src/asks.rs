//! What a version asks for, as sorted lines that people read, statements sign and diffs compare; and whether a channel
//! grants it. Nothing is granted because it was asked for.

use crate::abi::exported::adapter::{Manifest, Place, PlaceAsk};
use crate::channel::ChannelConfig;
use crate::grants::SESSION_PREFIX;
use crate::table::{Adapter, Slot, fitting_line};
use portolan_domain::ids::ChannelId;
use std::sync::Arc;

/// What a loaded version says of itself.
#[derive(Clone, Debug)]
pub struct Described {
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// Its reverse-domain name.
    pub name: String,
    /// Its semantic version.
    pub version: String,
    /// In one line.
    pub summary: String,
    /// Payment methods.
    pub methods: Vec<String>,
    /// Interfaces that it speaks about.
    pub capabilities: Vec<String>,
    /// Memo formats that it reads.
    pub reads_memo: Vec<u16>,
    /// What it asks the operator for, sorted.
    pub asks: Vec<String>,
}

impl Described {
    pub(crate) fn new(adapter: &Adapter) -> Self {
        let manifest = &adapter.manifest;
        let mut asks: Vec<String> = asks(manifest).into_iter().map(|ask| ask.line).collect();
        asks.sort();
        asks.dedup();
        Self {
            digest: adapter.digest.clone(),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            summary: manifest.summary.clone(),
            methods: manifest.methods.clone(),
            capabilities: manifest.capabilities.iter().map(|it| it.of.clone()).collect(),
            reads_memo: manifest.reads_memo.clone(),
            asks,
        }
    }
}

/// Whether a version could run on a channel.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The channel.
    pub channel: ChannelId,
    /// Why it cannot; `None`: it can.
    pub problem: Option<String>,
    /// What it asks for and the channel does not grant: each with the line that would grant it.
    pub not_granted: Vec<(String, String)>,
    /// What the channel grants and it does not ask for.
    pub not_asked: Vec<String>,
}

impl Fit {
    pub(crate) fn new(slot: &Slot, adapter: &Arc<Adapter>) -> Self {
        let config = &slot.config;
        let asks = asks(&adapter.manifest);
        let names = |kind: fn(&Grant) -> Option<&str>| -> Vec<&str> {
            asks.iter().filter_map(|ask| kind(&ask.grant)).collect()
        };
        let secrets = names(|grant| match grant {
            Grant::Secret(name) => Some(name),
            _ => None,
        });
        let keys = names(|grant| match grant {
            Grant::Key(name) => Some(name),
            _ => None,
        });
        let harmless = names(|grant| match grant {
            Grant::Harmless(line) => Some(line),
            _ => None,
        });
        let unasked = |what: &str, granted: &[String], asked: &[&str]| -> Vec<String> {
            let not = granted.iter().filter(|name| !asked.contains(&name.as_str()));
            not.map(|name| format!("{what} {name}")).collect()
        };
        let mut not_asked = unasked("secret", &config.secrets, &secrets);
        not_asked.extend(unasked("key", &config.keys, &keys));
        not_asked.extend(unasked("harmless", &config.harmless, &harmless));
        let open = asks.iter().filter(|ask| !ask.grant.is_given(config));
        Self {
            channel: config.id.clone(),
            problem: fitting_line(slot, adapter).err(),
            not_granted: open.map(|ask| (ask.line.clone(), ask.grant.line())).collect(),
            not_asked,
        }
    }
}

/// What a component asks for, as a configuration names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Endpoints.
    pub endpoints: Vec<String>,
    /// Secrets.
    pub secrets: Vec<String>,
    /// Keys, each with its algorithm.
    pub keys: Vec<(String, String)>,
    /// Requests that only look: `POST /v1/sessions`.
    pub harmless: Vec<String>,
    /// Whether it puts card numbers or security codes somewhere.
    pub card_data: bool,
}

impl Asked {
    pub(crate) fn new(manifest: &Manifest) -> Self {
        let mut asked = Self {
            keys: manifest
                .keys
                .iter()
                .map(|it| (it.name.clone(), it.algorithm.clone()))
                .collect(),
            ..Self::default()
        };
        for ask in asks(manifest) {
            match ask.grant {
                Grant::Endpoint(name) => asked.endpoints.push(name),
                Grant::Secret(name) => asked.secrets.push(name),
                Grant::Harmless(line) => asked.harmless.push(line),
                Grant::CardData => asked.card_data = true,
                Grant::Session | Grant::Key(_) => {}
            }
        }
        for names in [&mut asked.endpoints, &mut asked.secrets, &mut asked.harmless] {
            names.sort();
            names.dedup();
        }
        asked
    }
}

/// One thing that is asked for.
struct Ask {
    line: String,
    grant: Grant,
}

/// How the operator's configuration grants it.
enum Grant {
    Endpoint(String),
    Secret(String),
    Session,
    Harmless(String),
    CardData,
    Key(String),
}

impl Grant {
    fn is_given(&self, config: &ChannelConfig) -> bool {
        match self {
            Self::Endpoint(name) => config.endpoints.iter().any(|it| it.name == *name),
            Self::Secret(name) => config.secrets.contains(name),
            // It opens it itself; the host keeps the token.
            Self::Session => true,
            Self::Harmless(line) => config.harmless.contains(line),
            Self::CardData => config.card_data,
            Self::Key(name) => config.keys.contains(name),
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Endpoint(name) => format!("endpoints.{name} = {{ url = \"https://…\" }}"),
            Self::Secret(name) => format!("secrets.{name} = \"env:…\""),
            Self::Session => String::new(),
            Self::Harmless(line) => format!("harmless = [\"{line}\"]"),
            Self::CardData => "card_data = true".into(),
            Self::Key(name) => format!("keys.{name} = \"file:…\""),
        }
    }
}

fn place(place: &Place) -> String {
    match place {
        Place::Header((name, prefix)) => format!("header {name} after {prefix:?}"),
        Place::JsonPointer(pointer) => format!("json {pointer}"),
        Place::FormField(field) => format!("form field {field}"),
        Place::XmlPath(path) => format!("xml {path}"),
        Place::Basic => "basic".into(),
    }
}

fn places(asks: &[PlaceAsk]) -> String {
    let at = asks.iter().map(|ask| {
        let all: Vec<String> = ask.places.iter().map(place).collect();
        format!("{} ({})", ask.endpoint, all.join(", "))
    });
    at.collect::<Vec<_>>().join("; ")
}

fn asks(manifest: &Manifest) -> Vec<Ask> {
    let ask = |line: String, grant: Grant| Ask { line, grant };
    let endpoints = manifest.endpoints.iter().map(|it| {
        ask(
            format!("endpoint {}: {}", it.name, it.purpose),
            Grant::Endpoint(it.name.clone()),
        )
    });
    let secrets = manifest.secrets.iter().map(|it| {
        let grant = if it.name.starts_with(SESSION_PREFIX) {
            Grant::Session
        } else {
            Grant::Secret(it.name.clone())
        };
        ask(
            format!("secret {} at {}: {}", it.name, places(&it.at), it.purpose),
            grant,
        )
    });
    let harmless = manifest.harmless.iter().map(|it| {
        let effect = if it.prepare { "prepare" } else { "read" };
        let without = if it.without.is_empty() {
            String::new()
        } else {
            format!(" without {}", it.without.join(", "))
        };
        let line = format!(
            "harmless {} {} at {} as {effect}{without}",
            it.method, it.path, it.endpoint
        );
        ask(line, Grant::Harmless(format!("{} {}", it.method, it.path)))
    });
    let keys = manifest.keys.iter().map(|it| {
        let lane = if it.lane { ", in a lane" } else { "" };
        ask(
            format!("key {} for {}{lane}: {}", it.name, it.algorithm, it.purpose),
            Grant::Key(it.name.clone()),
        )
    });
    let card = [
        ("number", &manifest.card_number),
        ("security code", &manifest.card_security_code),
    ];
    let card = card
        .into_iter()
        .filter(|(_, at)| !at.is_empty())
        .map(|(what, at)| ask(format!("card {what} at {}", places(at)), Grant::CardData));
    endpoints
        .chain(secrets)
        .chain(harmless)
        .chain(keys)
        .chain(card)
        .collect()
}
