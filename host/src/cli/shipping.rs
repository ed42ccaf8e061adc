//! How an adapter travels: made sure of by signatures, through files and OCI registries, into a running router. What is pulled is
//! not trusted: the router holds it to the statement that came with it when it is staged.

use super::client::Client;
use super::plugin::OrderArgs;
use super::say;
use crate::config::Signer;
use crate::plugins::COMPONENT_MAX;
use crate::plugins::statement::{Envelope, Statement};
use anyhow::Context;
use base64::Engine;
use portolan_channels::Bench;
use portolan_oci::{Interfaces, Labels, Place};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Makes a key pair to sign with.
pub fn keygen(file: &Path) -> anyhow::Result<()> {
    let (private, public) = portolan_vault::new_signer().map_err(anyhow::Error::msg)?;
    let mut options = std::fs::OpenOptions::new();
    let mut out = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| file.display().to_string())?;
    out.write_all(private.as_bytes())?;
    let shown = file.with_added_extension("pub");
    std::fs::write(&shown, public).with_context(|| shown.display().to_string())?;
    say(&format!(
        "{} signs; give {} to the router's operator",
        file.display(),
        shown.display()
    ))
}

/// Signs a component, beside those who signed the same statement already.
pub fn sign(component: &Path, key: &Path, key_name: &str, days: Option<u64>) -> anyhow::Result<()> {
    let described = Bench::load(component).map_err(anyhow::Error::msg)?.described();
    let pem = std::fs::read(key).with_context(|| key.display().to_string())?;
    let file = envelope_of(component);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let holds = days.unwrap_or(365).saturating_mul(86_400);
    let statement = Statement::about(&described, now, now.saturating_add(holds));
    let mut envelope = if file.exists() {
        read_envelope(&file)?
    } else {
        Envelope::of(&statement)?
    };
    let signed = envelope.statement().map_err(anyhow::Error::msg)?;
    let is_of_this = Statement::about(&described, signed.not_before, signed.not_after) == signed;
    if !is_of_this || signed.not_after <= now || days.is_some() {
        // It is about an earlier build, or over: whoever signed that has not seen this one.
        envelope = Envelope::of(&statement)?;
    }
    envelope.sign(key_name, &pem).map_err(anyhow::Error::msg)?;
    std::fs::write(&file, serde_json::to_vec_pretty(&envelope)?)?;
    let names: Vec<&str> = envelope.signatures.iter().map(|it| it.keyid.as_str()).collect();
    say(&format!("{}: signed by {}", file.display(), names.join(", ")))
}

/// Gives a component to a running router, from a file or a registry; `signers`: whose keys it knows.
pub fn stage(
    (client, signers): (&Client, &[Signer]),
    adapter: &str,
    component: &Path,
    envelope: Option<PathBuf>,
    order: &OrderArgs,
) -> anyhow::Result<Value> {
    let (bytes, envelope) = match component.to_str().filter(|word| Place::is_meant(word)) {
        Some(word) => {
            let keys: Vec<&[u8]> = signers.iter().map(|it| it.key.as_slice()).collect();
            let (bytes, pulled) = fetch(&word.parse()?, &keys)?;
            let given = envelope.map(|file| read_envelope(&file)).transpose()?;
            (bytes, given.or(pulled))
        }
        None => (read_component(component)?, envelope_beside(component, envelope)?),
    };
    let mut body = order.json();
    if let Some(fields) = body.as_object_mut() {
        let component = base64::engine::general_purpose::STANDARD.encode(bytes);
        fields.insert("component".into(), json!(component));
        fields.insert("envelope".into(), json!(envelope));
    }
    client.post(&format!("/admin/plugins/{adapter}/versions"), &body)
}

/// Pushes a component that a router would take, with its envelope.
pub fn push(component: &Path, place: &Place, envelope: Option<PathBuf>, moves_tag: bool) -> anyhow::Result<()> {
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
    let pushed = portolan_oci::push(place, bytes, (&interfaces, &labels), signed, moves_tag);
    let pushed = runtime()?.block_on(pushed)?;
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
fn fetch(place: &Place, keys: &[&[u8]]) -> anyhow::Result<(Vec<u8>, Option<Envelope>)> {
    let pulled = runtime()?.block_on(portolan_oci::pull(place, u64::try_from(COMPONENT_MAX)?))?;
    let digest = hex::encode(Sha256::digest(&pulled.component));
    // What does not parse was not made by us, and says nothing.
    let envelopes = pulled.envelopes.iter().filter_map(|it| serde_json::from_slice(it).ok());
    Ok((pulled.component, Envelope::merged(envelopes, &digest, keys)))
}

fn signers(envelope: &Envelope) -> String {
    let names: Vec<&str> = envelope.signatures.iter().map(|it| it.keyid.as_str()).collect();
    names.join(", ")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn envelope_of(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".dsse.json");
    PathBuf::from(name)
}

fn read_component(component: &Path) -> anyhow::Result<Vec<u8>> {
    let size = std::fs::metadata(component)
        .with_context(|| component.display().to_string())?
        .len();
    // More would not even be read by the router.
    anyhow::ensure!(
        size <= u64::try_from(COMPONENT_MAX)?,
        "size: {size} bytes are more than the {COMPONENT_MAX} that are taken; build it for release, without debug information"
    );
    Ok(std::fs::read(component)?)
}

/// The envelope that is named, or the one that lies beside the component.
fn envelope_beside(component: &Path, named: Option<PathBuf>) -> anyhow::Result<Option<Envelope>> {
    let beside = envelope_of(component);
    let file = named.or_else(|| beside.exists().then_some(beside));
    file.map(|file| read_envelope(&file)).transpose()
}

fn read_envelope(file: &Path) -> anyhow::Result<Envelope> {
    let text = std::fs::read(file).with_context(|| file.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no DSSE envelope", file.display()))
}
