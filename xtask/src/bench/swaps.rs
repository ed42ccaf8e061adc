//! The same load with and without versions of its adapter being swapped 100 times, in one run; how long it takes to take a
//! version in, and to swap a ready one.

use super::{Subject, Table, prepare, upload};
use anyhow::{Context, ensure};
use portolan_tests::{World, guest};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SWAPS: u32 = 100;
const CONNECTIONS: usize = 16;

/// Measures. `seconds` for each row.
pub fn run(as_json: bool, seconds: u64) -> anyhow::Result<()> {
    let temporary = prepare()?;
    let table = Table { as_json };
    table.head()?;
    let host = Subject::start("host", ("portolan", false), &temporary)?;
    host.load(CONNECTIONS, seconds.min(5))?;
    let without = host.load(CONNECTIONS, seconds)?;
    table.row(&without)?;
    let (second, staged) = stage(&host.world)?;
    let first = active(&host.world)?;
    let each = Duration::from_secs(seconds) / (SWAPS + 10);
    let (with, mut times) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let loading = scope.spawn(|| host.load(CONNECTIONS, seconds));
        let mut times = vec![];
        for n in 0..SWAPS {
            std::thread::park_timeout(each);
            let digest = if n % 2 == 0 { &second } else { &first };
            let started = Instant::now();
            step(&host.world, digest, "activate", &json!({ "by": "bench" }))?;
            times.push(started.elapsed().as_micros());
        }
        Ok((loading.join().map_err(|_| anyhow::anyhow!("the load stopped"))??, times))
    })?;
    table.row(&with)?;
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied().unwrap_or(0);
    let number = |row: &Value, name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    let line = json!({
        "swaps": SWAPS, "payments": number(&with, "payments"), "staged_ms": staged.as_millis(), "activate_p50_us": at(50),
        "activate_p99_us": at(99), "p99_in_percent_of_without": number(&with, "p99_us") * 100 / number(&without, "p99_us").max(1),
    });
    table.say(&line.to_string())?;
    host.world.assert_books()
}

/// The same adapter under another digest, taken in.
fn stage(world: &World) -> anyhow::Result<(String, Duration)> {
    let mut bytes = std::fs::read(guest("portolan_sandbox_adapter"))?;
    // A custom section at the end says nothing to anybody.
    bytes.extend_from_slice(&[0, 3, 1, b'm', b'2']);
    let started = Instant::now();
    let reply = upload(world, "sandbox", &bytes)?;
    Ok((reply.text_at("/changed/0/digest").to_owned(), started.elapsed()))
}

fn step(world: &World, digest: &str, step: &str, order: &Value) -> anyhow::Result<()> {
    let path = format!("/admin/plugins/sandbox/versions/{digest}/{step}");
    let reply = world.admin_call("POST", &path, Some(order))?;
    ensure!(reply.status == 200, "{}", reply.text);
    Ok(())
}

fn active(world: &World) -> anyhow::Result<String> {
    let all = world.admin_call("GET", "/admin/plugins", None)?;
    let versions = all.body.get("versions").and_then(Value::as_array).context("versions")?;
    let active = versions.iter().find(|it| it.get("stage") == Some(&json!("active")));
    let digest = active.and_then(|it| it.get("digest")).and_then(Value::as_str);
    Ok(digest.context("an active version")?.to_owned())
}
