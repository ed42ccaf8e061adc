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
    /// Whether it was said how to go on by hand in this router.
    is_hinted: bool,
}

/// A router, and what it was started with.
struct Running {
    local: Local,
    asked: Asked,
    settings: Value,
}

impl Own {
    /// Puts a component into the router and pays with it. `is_once`: the router ends after that.
    pub fn take(&mut self, folder: &Path, component: &Path, bench: &Bench, is_once: bool) -> anyhow::Result<()> {
        let vectors = kit::vectors(&folder.join("vectors"), None)?;
        let vectors: Vec<(String, Vector)> = vectors.into_iter().map(named).collect();
        let settings = settings(&vectors)?;
        let asked = bench.asked();
        let provider = match self.provider.take() {
            Some(provider) => {
                provider.with(|script| script.learn(vectors));
                provider
            }
            None => Provider::start(Script::new(vectors))?,
        };
        // It stays, whatever becomes of the rest.
        let provider = self.provider.insert(provider);
        let is_same = |it: &mut Running| it.local.is_alive() && it.asked == asked && it.settings == settings;
        let is_new = !self.running.as_mut().is_some_and(is_same);
        if is_new {
            // The old one ends before the new one begins where it was.
            (self.running, self.is_hinted) = (None, false);
            let local = Local::start(folder, &asked, provider.at, &settings)?;
            self.running = Some(Running { local, asked, settings });
            say("a router of its own, and a provider that answers as the vectors say:")?;
        }
        let running = self.running.as_ref().context("no router")?;
        if !is_new {
            let why =
                "the router does not take it in; its channel's settings are those of the first vector that has some";
            give(&running.local.operator, NAME, component).context(why)?;
        }
        let rehearsed = rehearse(&running.local, provider, is_new)?;
        if !self.is_hinted && !is_once {
            hint(&running.local, &rehearsed)?;
            self.is_hinted = true;
        }
        anyhow::ensure!(
            rehearsed.first.is_some(),
            "nothing was paid: no vector of `authorize` could be tried"
        );
        let surprises = rehearsed.surprises;
        anyhow::ensure!(surprises == 0, "{surprises} went otherwise than their vectors say");
        Ok(())
    }
}

fn named((path, vector): (PathBuf, Vector)) -> (String, Vector) {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    (name.into_owned(), vector)
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
    let Some((body, payment)) = &rehearsed.first else {
        return Ok(());
    };
    let (at, key) = (local.at, &local.key);
    let (program, config) = (std::env::current_exe()?, std::path::absolute(&local.config)?);
    let quoted = |text: String| text.replace('\'', r"'\''");
    let (program, config) = (
        quoted(program.display().to_string()),
        quoted(config.display().to_string()),
    );
    let body = quoted(body.to_string());
    say(&format!(
        "pay yourself: the last two digits of the amount are the vector's number among those of `authorize`\n  \
         curl http://{at}/v1/payments -H 'Authorization: Bearer {key}' -H \"Idempotency-Key: $(date +%s%N)\" \
         -H 'Content-Type: application/json' -d '{body}'\n\
         look:\n  '{program}' --config '{config}' payment {payment}"
    ))
}
