//! Speed, as ratios in one run: one sync's p50 first, then floor and host at 1, 16 and 128 connections.

use crate::build;
use anyhow::Context;
use portolan_tests::{Options, World, binary, workspace};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const CONNECTIONS: [usize; 3] = [1, 16, 128];

/// Builds everything for release and measures. `seconds` for each row.
pub fn run(as_json: bool, seconds: u64) -> anyhow::Result<()> {
    build::guests()?;
    build::cargo(&[
        "build",
        "--release",
        "-p",
        "portolan",
        "-p",
        "portolan-acquirer",
        "-p",
        "portolan-bench",
    ])?;
    let temporary = workspace().join("target/bench");
    let _ = std::fs::remove_dir_all(&temporary);
    std::fs::create_dir_all(&temporary)?;
    let mut out = std::io::stdout();
    if !as_json {
        writeln!(
            out,
            "one sync (p50 of 200): {} µs on {}",
            sync_p50(&temporary)?,
            temporary.display()
        )?;
        writeln!(
            out,
            "{:<8}{:>6}{:>12}{:>10}{:>10}{:>16}{:>10}",
            "name", "conn", "payments/s", "p50 µs", "p99 µs", "CPU µs/payment", "RSS MiB"
        )?;
    }
    let options = Options {
        acquirer: vec!["--silent".into(), "--no-sync".into()],
        timeout_ms: 20_000,
        server: "requests_per_second = 1000000".into(),
        env: vec![("PORTOLAN_LOG".into(), "warn".into())],
        ..Options::default()
    };
    let world = World::start_in(temporary.clone(), options)?;
    let method = card(&world)?;
    let floor = Floor::start(&world)?;
    for connections in CONNECTIONS {
        let pid = world.host_pid().context("no host")?;
        let rows = [
            load("floor", floor.at, floor.child.id(), connections, seconds, ("", ""))?,
            load("host", world.api, pid, connections, seconds, (&world.key, &method))?,
        ];
        for row in &rows {
            if as_json {
                writeln!(out, "{row}")?;
            } else {
                let number = |name: &str| row.get(name).and_then(Value::as_f64).unwrap_or(0.0) as u64;
                let name = row.get("name").and_then(Value::as_str).unwrap_or_default();
                writeln!(
                    out,
                    "{name:<8}{:>6}{:>12}{:>10}{:>10}{:>16}{:>10}",
                    number("connections"),
                    number("payments_per_s"),
                    number("p50_us"),
                    number("p99_us"),
                    number("cpu_us_per_payment"),
                    number("rss_bytes") >> 20
                )?;
            }
        }
    }
    world.assert_books()
}

fn card(world: &World) -> anyhow::Result<String> {
    let card = json!({ "number": "4242424242424242", "expiry_month": 12, "expiry_year": 2031 });
    let stored = world.post("/v1/payment_methods", &json!({ "type": "card", "card": card }))?;
    Ok(stored.text_at("/id").to_owned())
}

fn sync_p50(folder: &std::path::Path) -> anyhow::Result<u128> {
    let mut file = std::fs::File::create(folder.join("sync"))?;
    let mut times = vec![];
    for _ in 0..200 {
        file.write_all(&[7; 4096])?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed().as_micros());
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or(0))
}

struct Floor {
    child: Child,
    at: SocketAddr,
}

impl Floor {
    fn start(world: &World) -> anyhow::Result<Self> {
        let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(binary("portolan-floor"))
            .args([
                "--listen",
                &at.to_string(),
                "--acquirer",
                &world.acquirer_at.to_string(),
                "--file",
            ])
            .arg(world.folder.join("floor.db"))
            .spawn()?;
        let started = Instant::now();
        while std::net::TcpStream::connect(at).is_err() {
            anyhow::ensure!(started.elapsed() < Duration::from_secs(10), "the floor does not start");
        }
        Ok(Self { child, at })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(
    name: &str,
    at: SocketAddr,
    pid: u32,
    connections: usize,
    seconds: u64,
    (key, method): (&str, &str),
) -> anyhow::Result<Value> {
    let out = Command::new(binary("portolan-load"))
        .args(["--name", name, "--at", &at.to_string(), "--pid", &pid.to_string()])
        .args([
            "--connections",
            &connections.to_string(),
            "--seconds",
            &seconds.to_string(),
        ])
        .args(["--key", key, "--method", method])
        .output()?;
    anyhow::ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(serde_json::from_slice(&out.stdout)?)
}
