//! `portolan orders`: what a merchant signed about a payment, as files that openssl checks without the router.

use super::client::Client;
use super::say;
use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Shows the orders, or writes each as four files, with a script that checks them all.
pub fn show(client: &Client, payment: &str, into: Option<&Path>) -> anyhow::Result<()> {
    let answer = client.get(&format!("/admin/payments/{payment}/orders"))?;
    let Some(folder) = into else {
        return say(&serde_json::to_string_pretty(&answer)?);
    };
    let orders = answer.get("orders").and_then(Value::as_array).context("orders")?;
    ensure!(!orders.is_empty(), "no signed order is kept for {payment}");
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    ensure!(is_empty, "{} is not empty: name a new folder", folder.display());
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.with_context(|| folder.display().to_string())?;
    let mut script = String::from(
        "#!/bin/sh\n# What a merchant signed about a payment, checked by openssl. Compare each .pem with the key that the merchant gave you.\n\
         set -eu\ncd \"$(dirname \"$0\")\"\n",
    );
    for (at, order) in orders.iter().enumerate() {
        write_order(folder, at.saturating_add(1), order)?;
        script.push_str(&check_of(at.saturating_add(1), order)?);
    }
    write_file(folder, "verify.sh", script.as_bytes())?;
    say(&format!(
        "{} orders; check them: sh '{}/verify.sh'",
        orders.len(),
        folder.display()
    ))
}

/// It may hold personal data: for its owner alone.
fn write_file(folder: &Path, name: &str, content: &[u8]) -> anyhow::Result<()> {
    let file = folder.join(name);
    let opened = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&file);
    let written = opened.and_then(|mut open| open.write_all(content));
    written.with_context(|| file.display().to_string())
}

fn text<'a>(order: &'a Value, name: &'static str) -> anyhow::Result<&'a str> {
    order.get(name).and_then(Value::as_str).context(name)
}

fn write_order(folder: &Path, number: usize, order: &Value) -> anyhow::Result<()> {
    let signature = STANDARD.decode(text(order, "signature")?)?;
    let files: [(&str, &[u8]); 4] = [
        ("pem", text(order, "public_key")?.as_bytes()),
        ("signed", text(order, "signed")?.as_bytes()),
        ("signature", &signature),
        ("body", text(order, "body")?.as_bytes()),
    ];
    for (end, content) in files {
        write_file(folder, &format!("{number}.{end}"), content)?;
    }
    Ok(())
}

/// The lines that check one order: its signature, and that the body is the one whose digest was signed.
fn check_of(number: usize, order: &Value) -> anyhow::Result<String> {
    let signed = text(order, "signed")?;
    let algorithm = if signed.contains("sha-256=:") { "256" } else { "512" };
    let at_ms = order.get("at_ms").and_then(Value::as_u64).unwrap_or_default();
    let operation = order.get("operation").and_then(Value::as_str).unwrap_or("no operation");
    let mut lines = String::new();
    writeln!(
        lines,
        "echo '{number}: came {} s after 1970, began {operation}'\n\
         openssl pkeyutl -verify -pubin -inkey {number}.pem -rawin -in {number}.signed -sigfile {number}.signature\n\
         digest=$(openssl dgst -sha{algorithm} -binary {number}.body | openssl base64 -A)\n\
         if ! grep -qF \"sha-{algorithm}=:$digest:\" {number}.signed; then echo 'the body is NOT what was signed'; exit 1; fi\n\
         echo 'the body is what was signed'",
        at_ms / 1_000
    )?;
    Ok(lines)
}
