//! The story's last chapter: a new version of the acquirer's adapter comes in while the router runs, is looked at on what
//! was, gets half of what comes, takes over by itself, and is taken back.

use super::say;
use anyhow::{Context, ensure};
use base64::Engine;
use portolan_tests::{Reply, World, guest};
use serde_json::{Value, json};

/// After so many payments the canary takes over.
const ENOUGH: u64 = 50;
/// More than it can need for that.
const PAYMENTS_MAX: usize = 400;

fn ask(world: &World, path: &str, body: &Value) -> anyhow::Result<Reply> {
    let reply = world.admin_call("POST", &format!("/admin/plugins/sandbox/{path}"), Some(body))?;
    ensure!(reply.status == 200, "{path}: {}", reply.text);
    Ok(reply)
}

fn stage_of(world: &World, digest: &str) -> anyhow::Result<(String, String)> {
    let all = world.admin_call("GET", "/admin/plugins", None)?.body;
    let all = all.get("versions").and_then(Value::as_array).context("versions")?;
    let found = all.iter().find(|it| it.get("digest") == Some(&json!(digest)));
    let found = found.context("the version")?;
    let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok((text("stage"), text("reason")))
}

/// Tells it.
pub fn story(world: &World) -> anyhow::Result<()> {
    let mut bytes = std::fs::read(guest("portolan_sandbox_adapter"))?;
    // A custom section says nothing to anybody and makes it another build.
    bytes.extend_from_slice(&[0, 3, 1, b'm', b'2']);
    let component = base64::engine::general_purpose::STANDARD.encode(bytes);
    let staged = ask(world, "versions", &json!({ "by": "operator", "component": component }))?;
    let digest = staged.text_at("/changed/0/digest").to_owned();
    say(&format!(
        "\n— a new build of the acquirer's adapter, while the router runs: {} —",
        staged.text_at("/changed/0/stage")
    ))?;
    let replayed = ask(world, &format!("versions/{digest}/replay"), &json!({ "last": 1_000 }))?;
    let first = replayed.text_at("/text").lines().next().unwrap_or_default().to_owned();
    say(&format!("    over what was: {first}"))?;
    let canary = json!({ "by": "operator", "percent": 50, "takes_over_after": ENOUGH });
    ask(world, &format!("versions/{digest}/canary"), &canary)?;
    let mut paid = 0_usize;
    while stage_of(world, &digest)?.0 == "canary" && paid < PAYMENTS_MAX {
        let told = world.pay("4242424242424242", 700)?;
        ensure!(told.text_at("/status") == "succeeded", "{}", told.text);
        paid = paid.saturating_add(1);
    }
    let (stage, reason) = stage_of(world, &digest)?;
    ensure!(stage == "active", "the canary is {stage}: {reason}");
    say(&format!(
        "    half of {paid} payments, all of them succeeded: {stage}, for {reason}"
    ))?;
    ask(
        world,
        "rollback",
        &json!({ "by": "operator", "reason": "the end of the story" }),
    )?;
    say("    and rolled back in one step; `portolan plugin history sandbox` says who did what")
}
