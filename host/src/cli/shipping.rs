//! `portolan plugin push` and `pull`: adapters to and from OCI registries. What is pulled is checked against the statement that
//! came with it, not trusted: the router does that when it is staged.

use super::plugin::{envelope_beside, envelope_of, read_component};
use super::say;
use crate::plugins::statement::Envelope;
use anyhow::Context;
use portolan_channels::Bench;
use portolan_oci::{Interfaces, Labels, Place};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Pushes a component that a router would take, with its envelope.
pub fn push(component: &Path, place: &Place, envelope: Option<PathBuf>) -> anyhow::Result<()> {
    let bytes = read_component(component)?;
    let bench = Bench::load(component).map_err(anyhow::Error::msg)?;
    let described = bench.described();
    let envelope = envelope_beside(component, envelope)?;
    if let Some(envelope) = &envelope {
        let statement = envelope.statement().map_err(anyhow::Error::msg)?;
        anyhow::ensure!(
            statement.component == described.digest,
            "statement: it is about {}, not {}; make it again: `portolan plugin sign`",
            statement.component,
            described.digest
        );
    }
    let (imports, exports) = bench.interfaces();
    let interfaces = Interfaces {
        exports: exports.to_vec(),
        imports: imports.to_vec(),
    };
    let labels = Labels {
        title: described.name.clone(),
        version: described.version.clone(),
        description: described.summary.clone(),
    };
    let signed = envelope.as_ref().map(serde_json::to_vec_pretty).transpose()?;
    let pushed = runtime()?.block_on(portolan_oci::push(place, bytes, (&interfaces, &labels), signed))?;
    let with = match (&pushed.envelope, &envelope) {
        (Some(digest), Some(envelope)) => format!("signed by {}: {digest}", signers(envelope)),
        _ => "unsigned: a live channel does not take it".into(),
    };
    say(&format!("{place}\ncomponent: {}\n{with}", pushed.digest))
}

/// Pulls a component and its envelope into files.
pub fn pull(place: &Place, to: &Path) -> anyhow::Result<()> {
    let (bytes, envelope) = fetch(place, &[])?;
    let beside = envelope_of(to);
    std::fs::write(to, &bytes).with_context(|| to.display().to_string())?;
    match &envelope {
        Some(envelope) => std::fs::write(&beside, serde_json::to_vec_pretty(envelope)?)?,
        // One that lies there is about something else.
        None if beside.exists() => std::fs::remove_file(&beside)?,
        None => {}
    }
    let with = match &envelope {
        Some(envelope) => format!(
            "{}: signed, as it says, by {}; `stage` checks the keys",
            beside.display(),
            signers(envelope)
        ),
        None => "nothing is signed about it".into(),
    };
    let digest = hex::encode(Sha256::digest(&bytes));
    say(&format!("{}: sha256 {digest}\n{with}", to.display()))
}

/// A component, and the one envelope that its referrers make together; `keys`: whose signatures count.
pub fn fetch(place: &Place, keys: &[&[u8]]) -> anyhow::Result<(Vec<u8>, Option<Envelope>)> {
    // The client reads a registry's manifests and errors whole, however long they are.
    at_most(MEMORY_MAX)?;
    let pulled = runtime()?.block_on(portolan_oci::pull(place))?;
    let digest = hex::encode(Sha256::digest(&pulled.component));
    // What does not parse was not made by us, and says nothing.
    let envelopes = pulled.envelopes.iter().filter_map(|it| serde_json::from_slice(it).ok());
    Ok((pulled.component, Envelope::merged(envelopes, &digest, keys)))
}

/// The most memory that a pull may take.
const MEMORY_MAX: u64 = 1 << 30;

fn at_most(bytes: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let known = getrlimit(Resource::Data);
    let limit = Rlimit {
        current: Some(known.maximum.map_or(bytes, |most| most.min(bytes))),
        maximum: known.maximum,
    };
    Ok(setrlimit(Resource::Data, limit)?)
}

fn signers(envelope: &Envelope) -> String {
    let names: Vec<&str> = envelope.signatures.iter().map(|it| it.keyid.as_str()).collect();
    names.join(", ")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
