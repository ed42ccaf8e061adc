//! `portolan orders`: what a merchant signed about a payment, as files that openssl checks without the router.

use super::client::Client;
use super::say;
use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::Path;

/// Shows the orders, or writes each as four files.
pub fn show(client: &Client, payment: &str, into: Option<&Path>) -> anyhow::Result<()> {
    let answer = client.get(&format!("/admin/payments/{payment}/orders"))?;
    let Some(folder) = into else {
        return say(&serde_json::to_string_pretty(&answer)?);
    };
    let orders = answer.get("orders").and_then(Value::as_array).context("orders")?;
    ensure!(!orders.is_empty(), "no signed order is kept for {payment}");
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    ensure!(is_empty, "{} is not empty: name a new folder", folder.display());
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (at, order) in orders.iter().enumerate() {
        write(folder, at.saturating_add(1), order)?;
    }
    say("# each .pem is the key that the router has: compare it with the one that the merchant gave you")
}

fn write(folder: &Path, number: usize, order: &Value) -> anyhow::Result<()> {
    let text = |name: &str| order.get(name).and_then(Value::as_str);
    let put = |end: &str, content: &[u8]| {
        let file = folder.join(format!("{number}.{end}"));
        std::fs::write(&file, content).with_context(|| file.display().to_string())
    };
    put("pem", text("public_key").context("public_key")?.as_bytes())?;
    put("signed", text("signed").context("signed")?.as_bytes())?;
    put("signature", &STANDARD.decode(text("signature").context("signature")?)?)?;
    let at = folder.join(number.to_string());
    let at = at.display();
    say(&format!(
        "openssl pkeyutl -verify -pubin -inkey '{at}.pem' -rawin -in '{at}.signed' -sigfile '{at}.signature'"
    ))?;
    put("body", text("body").context("body")?.as_bytes())?;
    let is_long = text("signed").is_some_and(|signed| signed.contains("sha-512=:") && !signed.contains("sha-256=:"));
    let algorithm = if is_long { "sha512" } else { "sha256" };
    say(&format!(
        "openssl dgst -{algorithm} -binary '{at}.body' | openssl base64 -A    # is the content-digest in {at}.signed"
    ))
}
