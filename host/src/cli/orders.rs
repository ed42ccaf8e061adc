//! `portolan orders`: what a merchant signed about a payment, and what its people approved, as files that openssl checks without
//! the router.

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
    let list = |name: &'static str| answer.get(name).and_then(Value::as_array).context(name);
    let (orders, approvals) = (list("orders")?, list("approvals")?);
    let is_nothing = orders.is_empty() && approvals.is_empty();
    ensure!(!is_nothing, "nothing about {payment} was signed or approved");
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    ensure!(is_empty, "{} is not empty: name a new folder", folder.display());
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.with_context(|| folder.display().to_string())?;
    let mut script = String::from(
        "#!/bin/sh\n# What a merchant signed about a payment, and what its people approved, checked by openssl. Compare each .pem with the\n\
         # key that the merchant, or the person, gave you.\nset -eu\ncd \"$(dirname \"$0\")\"\n",
    );
    for (at, order) in orders.iter().enumerate() {
        write_order(folder, at.saturating_add(1), order)?;
        script.push_str(&check_of(at.saturating_add(1), order)?);
    }
    for (at, approval) in approvals.iter().enumerate() {
        script.push_str(&write_approval(folder, at.saturating_add(1), approval)?);
    }
    write_file(folder, "verify.sh", script.as_bytes())?;
    say(&format!(
        "{} orders, {} approvals; check them: sh '{}/verify.sh'",
        orders.len(),
        approvals.len(),
        folder.display()
    ))
}

/// Writes what was approved, and for each who did their key, what was signed and the signature; the lines that check it.
fn write_approval(folder: &Path, number: usize, approval: &Value) -> anyhow::Result<String> {
    let name = format!("approved-{number}");
    write_file(folder, &format!("{name}.text"), text(approval, "text")?.as_bytes())?;
    let mut lines = format!(
        "challenge=$(openssl dgst -sha256 -binary {name}.text | openssl base64 -A | tr '+/' '-_' | tr -d '=')\n"
    );
    let by = approval.get("by").and_then(Value::as_array).context("by")?;
    for (at, by) in by.iter().enumerate() {
        let one = format!("{name}-{}", at.saturating_add(1));
        let bytes = |field| anyhow::Ok(STANDARD.decode(text(by, field)?)?);
        let (authenticator, client) = (bytes("authenticator_data")?, bytes("client_data")?);
        write_file(folder, &format!("{one}.pem"), text(by, "public_key")?.as_bytes())?;
        write_file(folder, &format!("{one}.name"), text(by, "name")?.as_bytes())?;
        write_file(folder, &format!("{one}.authenticator"), &authenticator)?;
        write_file(folder, &format!("{one}.client.json"), &client)?;
        write_file(folder, &format!("{one}.signature"), &bytes("signature")?)?;
        writeln!(
            lines,
            "{{ cat {one}.authenticator; openssl dgst -sha256 -binary {one}.client.json; }} > {one}.signed\n\
             openssl pkeyutl -verify -pubin -inkey {one}.pem -rawin -digest sha256 -in {one}.signed -sigfile {one}.signature\n\
             begins=\"{{\\\"type\\\":\\\"webauthn.get\\\",\\\"challenge\\\":\\\"$challenge\\\",\\\"origin\\\":\\\"\"\n\
             if [ \"$(head -c ${{#begins}} {one}.client.json)\" != \"$begins\" ]; then echo 'the text is NOT what was approved'; exit 1; fi\n\
             flags=$(od -An -tu1 -j32 -N1 {one}.authenticator)\n\
             if [ $((flags & 5)) != 5 ]; then echo 'nobody was verified'; exit 1; fi\n\
             printf '%s.text is what was approved by %s, with a passkey of SHA-256 %s, on the page in %s\\n' {name} \"$(cat {one}.name)\" \\\n\
             \x20 \"$(openssl pkey -pubin -in {one}.pem -outform DER | openssl dgst -sha256 -r | cut -c1-64)\" {one}.client.json"
        )?;
    }
    Ok(lines)
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
