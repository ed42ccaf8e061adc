//! The folder's own router and provider: started with the first component that holds to its vectors, and again when one asks for
//! something else; each later one is staged in it and paid with.

use super::local::{Local, NAME};
use super::provider::Provider;
use super::rehearsal::{Rehearsed, rehearse};
use super::script::Script;
use super::{give, say};
use crate::cli::kit;
use anyhow::Context;
use portolan_channels::{Asked, Bench, Vector};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Both, once they were started.
#[derive(Default)]
pub struct Own {
    provider: Option<Provider>,
    running: Option<Running>,
}

/// A router, and what it was started with.
struct Running {
    local: Local,
    asked: Asked,
    settings: Value,
}

impl Own {
    /// Puts a component into the router and pays with it; how many payments ended otherwise than their vectors say.
    pub fn take(&mut self, folder: &Path, component: &Path, bench: &Bench) -> anyhow::Result<usize> {
        let vectors: Vec<(String, Vector)> = kit::vectors(&folder.join("vectors"), None)?
            .into_iter()
            .map(named)
            .collect();
        let settings = settings(&vectors)?;
        let provider = match self.provider.take() {
            Some(provider) => {
                provider.with(|script| script.learn(vectors));
                provider
            }
            None => Provider::start(Script::new(vectors))?,
        };
        let asked = bench.asked();
        let is_same = |it: &mut Running| it.local.is_alive() && it.asked == asked && it.settings == settings;
        let (running, is_new) = match self.running.take().map(|mut it| (is_same(&mut it), it)) {
            Some((true, running)) => {
                give(&running.local.operator, NAME, component)?;
                (running, false)
            }
            before => {
                // The old one ends before the new one begins where it was.
                drop(before);
                let local = Local::start(folder, &asked, provider.at, &settings)?;
                say("a router of its own, and a provider that answers as the vectors say:")?;
                (Running { local, asked, settings }, true)
            }
        };
        let rehearsed = rehearse(&running.local, &provider, is_new);
        let told = rehearsed.and_then(|it| {
            if is_new {
                hint(&running.local, &it).map(|()| it)
            } else {
                Ok(it)
            }
        });
        (self.provider, self.running) = (Some(provider), Some(running));
        Ok(told?.surprises)
    }
}

fn named((path, vector): (PathBuf, Vector)) -> (String, Vector) {
    (
        path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        vector,
    )
}

/// The channel's settings: those of the first vector that has some.
fn settings(vectors: &[(String, Vector)]) -> anyhow::Result<Value> {
    let first = vectors
        .iter()
        .find_map(|(name, vector)| Some((name, vector.settings.as_ref()?)));
    let parsed = first.map(|(name, text)| serde_json::from_str(text).with_context(|| format!("{name}: its settings")));
    Ok(parsed.transpose()?.unwrap_or_else(|| json!({})))
}

/// How to go on by hand.
fn hint(local: &Local, rehearsed: &Rehearsed) -> anyhow::Result<()> {
    let Some(body) = &rehearsed.body else { return Ok(()) };
    let (at, key, config) = (local.at, &local.key, local.config.display());
    say(&format!(
        "pay yourself: the last two digits of the amount are the vector's number among those of `authorize`\n  \
         curl http://{at}/v1/payments -H 'Authorization: Bearer {key}' -H \"Idempotency-Key: $RANDOM-$RANDOM\" \
         -H 'Content-Type: application/json' -d '{body}'\n\
         look: portolan --config {config} payment pay_…"
    ))
}
