//! Building: guests in their own target folder, host and simulators in the usual one.

use anyhow::{Context, ensure};
use portolan_tests::workspace;
use std::process::Command;

/// Everything that runs, in that profile.
pub fn all(profile: &str) -> anyhow::Result<()> {
    guests()?;
    cargo(&[
        "build",
        "--profile",
        profile,
        "-p",
        "portolan",
        "-p",
        "portolan-acquirer",
        "-p",
        "portolan-desk",
        "-p",
        "portolan-wallet",
        "-p",
        "portolan-bank",
        "-p",
        "portolan-office",
    ])
}

/// The guests, for the sandbox.
pub fn guests() -> anyhow::Result<()> {
    let target = ["target", "add", "wasm32-wasip2"];
    let added = Command::new("rustup").args(target).current_dir(workspace()).output();
    ensure!(
        added.is_ok_and(|out| out.status.success()),
        "run: rustup target add wasm32-wasip2"
    );
    let all = [
        "portolan-sandbox-adapter",
        "portolan-stripe-adapter",
        "portolan-airwallex-adapter",
        "portolan-alipay-plus-adapter",
        "portolan-evm-stablecoin-adapter",
        "portolan-iso20022-bank-adapter",
    ];
    components(&all, "target/guests")?;
    // It is built on the sandbox adapter, whose component it would overwrite.
    components(&["portolan-misbehaving-adapter"], "target/guests-misbehaving")
}

/// At once, so that what they share is built once.
fn components(packages: &[&str], target: &str) -> anyhow::Result<()> {
    let into = [
        "--profile",
        "guest",
        "--target",
        "wasm32-wasip2",
        "--target-dir",
        target,
    ];
    let named = packages.iter().flat_map(|package| ["-p", package]);
    let words: Vec<&str> = ["build"].into_iter().chain(named).chain(into).collect();
    cargo(&words)
}

/// Runs cargo in the workspace.
pub fn cargo(words: &[&str]) -> anyhow::Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let status = Command::new(cargo)
        .args(words)
        .current_dir(workspace())
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "cargo {} failed", words.join(" "));
    Ok(())
}
