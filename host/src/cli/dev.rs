//! `portolan plugin dev`: an adapter's folder, watched: whenever something in it is saved it is built, held to its vectors, put
//! into a router and paid with. A mistake is said, and the next save is waited for.

mod case;
mod leaves;
mod local;
mod memory;
mod order;
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
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Files of a folder, and folders in one another; more are not an adapter.
const FILES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 32;
/// What building makes, or needs; so is whatever begins with a dot.
const NOT_ITS_OWN: [&str; 7] = [
    "Cargo.lock",
    "go.sum",
    "target",
    "node_modules",
    "__pycache__",
    "adapter.wasm",
    "package-lock.json",
];
/// What editors leave for a moment.
const EDITORS: [&str; 4] = ["~", ".swp", ".tmp", ".bak"];

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
    if let To::Router(client, adapter) = &to {
        // Before anything is built for it.
        client.get(&format!("/admin/plugins/{adapter}/history"))?;
    }
    let alone = File::open(folder).with_context(|| folder.display().to_string())?;
    let is_alone = alone.try_lock();
    anyhow::ensure!(
        is_alone.is_ok(),
        "another `plugin dev` is at work in {}",
        folder.display()
    );
    loop {
        let before = files(folder)?;
        let went = once(folder, &mut to, (is_once, &before));
        if is_once {
            return went;
        }
        if let Err(error) = went {
            say(&format!("{error:#}"))?;
        }
        if files(folder)? == before {
            say("waiting for the next save; Ctrl-C ends")?;
        }
        // What was saved while it was built is not missed.
        let mut now = files(folder)?;
        let mut is_quiet = now == before;
        while now == before || !is_quiet {
            std::thread::sleep(LOOK);
            let seen = files(folder)?;
            // Several files may be saved at once, and one not all at once.
            is_quiet = seen == now;
            now = seen;
        }
    }
}

fn once(folder: &Path, to: &mut To, (is_once, before): (bool, &Seen)) -> anyhow::Result<()> {
    let started = Instant::now();
    scaffold::build(folder)?;
    let component = folder.join("adapter.wasm");
    let vectors = folder.join("vectors");
    let bench = kit::load(&component)?;
    if vectors.is_dir() {
        kit::hold(&bench, &component, (&vectors, None), false)?;
        kit::withstand(&bench, (&vectors, None))?;
    } else {
        say("it has no vectors: nothing was tested")?;
    }
    if !is_once && files(folder)? != *before {
        return say("saved again meanwhile: once more");
    }
    match to {
        To::Nowhere => {}
        To::Router(client, adapter) => {
            let digest = give(client, adapter, &component)?;
            let short: String = digest.chars().take(12).collect();
            say(&format!("{adapter} is {short}"))?;
        }
        To::Own(_) if !vectors.is_dir() => {
            anyhow::bail!("without vectors there is no provider to pay at: `plugin new` shows what they are")
        }
        To::Own(own) => own.take(folder, &component, &bench, is_once)?,
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

/// Every file of the folder with its length and when it was written. What goes away meanwhile is not there.
fn files(folder: &Path) -> anyhow::Result<Seen> {
    let mut seen = Seen::new();
    let mut folders = vec![(folder.to_owned(), 0_usize)];
    while let Some((at, depth)) = folders.pop() {
        let entries = match std::fs::read_dir(&at) {
            Ok(entries) => entries,
            Err(error) if depth > 0 && error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| at.display().to_string()),
        };
        for entry in entries.filter_map(Result::ok).filter(|it| is_its_own(&it.file_name())) {
            // A folder of vectors may be somewhere else.
            let Ok(about) = std::fs::metadata(entry.path()) else {
                continue;
            };
            if about.is_dir() && depth < DEPTH_MAX {
                folders.push((entry.path(), depth.saturating_add(1)));
            } else if about.is_file() {
                seen.insert(entry.path(), (about.len(), about.modified().ok()));
            }
            anyhow::ensure!(
                seen.len().max(folders.len()) <= FILES_MAX,
                "more than {FILES_MAX} files: is that an adapter's folder?"
            );
        }
    }
    Ok(seen)
}

fn is_its_own(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let is_made = NOT_ITS_OWN.iter().any(|it| name == *it);
    let is_editors = EDITORS.iter().any(|it| name.ends_with(it));
    !(is_made || is_editors || name.starts_with('.'))
}
