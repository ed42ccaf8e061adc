//! `portolan plugin dev`: an adapter's folder, watched: whenever something in it is saved it is built, held to its vectors, put
//! into a router and paid with. A mistake is said, and the next save is waited for.

mod case;
mod leaves;
mod local;
mod own;
mod provider;
mod rehearsal;
mod sample;
mod script;

use super::client::Client;
use super::plugin::OrderArgs;
use super::{kit, say, scaffold, shipping};
use anyhow::Context;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Files of a folder; more are not an adapter.
const FILES_MAX: usize = 10_000;
/// What building makes, or needs.
const NOT_ITS_OWN: [&str; 7] = [
    "target",
    "node_modules",
    ".venv",
    "adapter.wasm",
    ".core.wasm",
    "package-lock.json",
    local::PLACE,
];

type Seen = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// Who gets the component.
pub enum To {
    /// Nobody: it is only built and tested.
    Nowhere,
    /// A running router, by the adapter's configured name there.
    Router(Client, String),
    /// A router of the folder's own, whose provider answers as the vectors say.
    Own(Box<own::Own>),
}

impl To {
    /// The folder's own, not started yet.
    pub fn own() -> Self {
        Self::Own(Box::default())
    }
}

/// Builds and tests a folder at every save. `is_once`: only now.
pub fn dev(folder: &Path, mut to: To, is_once: bool) -> anyhow::Result<()> {
    loop {
        let before = files(folder)?;
        let went = once(folder, &mut to);
        if is_once {
            return went;
        }
        if let Err(error) = went {
            say(&format!("{error:#}"))?;
        }
        say("waiting for the next save; Ctrl-C ends")?;
        // What was saved while it was built is not missed.
        while files(folder)? == before {
            std::thread::sleep(LOOK);
        }
    }
}

fn once(folder: &Path, to: &mut To) -> anyhow::Result<()> {
    let started = Instant::now();
    scaffold::build(folder)?;
    let component = folder.join("adapter.wasm");
    let vectors = folder.join("vectors");
    let bench = kit::load(&component)?;
    if vectors.is_dir() {
        kit::hold(&bench, &component, (&vectors, None), false)?;
    }
    match to {
        To::Nowhere => {}
        To::Router(client, adapter) => {
            let digest = give(client, adapter, &component)?;
            let short: String = digest.chars().take(12).collect();
            say(&format!("{adapter} is {short}"))?;
        }
        To::Own(_) if !vectors.is_dir() => say("no vectors: there is no provider to pay at")?,
        To::Own(own) => {
            let surprises = own.take(folder, &component, &bench)?;
            anyhow::ensure!(surprises == 0, "{surprises} ended otherwise than their vectors say");
        }
    }
    say(&format!("good after {} ms", started.elapsed().as_millis()))
}

/// Stages the component and lets it take all new payments, unless it does so already.
fn give(client: &Client, adapter: &str, component: &Path) -> anyhow::Result<String> {
    let order = OrderArgs::of("plugin dev");
    let staged = shipping::stage((client, &[]), adapter, component, None, &order)?;
    let version = staged.pointer("/changed/0").or_else(|| staged.get("version"));
    let version = version.context("the router does not say what it staged")?;
    let text = |name: &str| version.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let digest = text("digest");
    if text("stage") != "active" {
        let body = json!({ "by": order.by, "reason": "saved", "downgrade": true });
        client.post(&format!("/admin/plugins/{adapter}/versions/{digest}/activate"), &body)?;
    }
    Ok(digest)
}

/// Every file of the folder with its length and when it was written.
fn files(folder: &Path) -> anyhow::Result<Seen> {
    let mut seen = Seen::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if NOT_ITS_OWN.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            // An editor's own file may be gone again already.
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                folders.push(entry.path());
            } else {
                seen.insert(entry.path(), (about.len(), about.modified().ok()));
            }
            anyhow::ensure!(
                seen.len() <= FILES_MAX,
                "more than {FILES_MAX} files: is that an adapter's folder?"
            );
        }
    }
    Ok(seen)
}
