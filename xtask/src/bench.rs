//! Speed, as ratios in one run: one sync's p50 first, then the floor, the host with its adapter in its own process, behind
//! the second wall, compiled in, and with its store in a PostgreSQL beside it, at 1, 16 and 128 connections, and the host with 1,000 payments in flight. `stored` compares a store of 10^4
//! payments with one of 10^6.

mod hostile;
mod swaps;

pub use hostile::run as hostile;
pub use swaps::run as swaps;

use crate::build;
use anyhow::Context;
use base64::Engine;
use portolan_tests::postgres::Postgres;
use portolan_tests::{Options, Reply, World, binary, workspace};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const CONNECTIONS: [usize; 3] = [1, 16, 128];
/// Payments in flight at which memory is read.
const MANY: usize = 1_000;
/// Stores that are compared.
const STORED: [u64; 2] = [10_000, 1_000_000];
/// How often each list page is read.
const PAGES: usize = 200;

/// Builds everything for release and measures. `seconds` for each row.
pub fn run(as_json: bool, seconds: u64) -> anyhow::Result<()> {
    let temporary = prepare()?;
    let table = Table { as_json };
    if !as_json {
        table.say(&format!(
            "one sync (p50 of 200): {} µs on {}",
            sync_p50(&temporary)?,
            temporary.display()
        ))?;
    }
    table.head()?;
    let host = Subject::start("host", ("portolan", true), &temporary)?;
    let walled = Subject::start("host-workers", ("portolan", false), &temporary)?;
    let native = Subject::start("host-native-adapter", ("portolan-native", true), &temporary)?;
    let cluster = Postgres::start(true)?;
    let connection = cluster.database()?;
    let in_database = Subject::start_with("host-postgres", ("portolan", true), &temporary, |options| {
        options.postgres = Some(connection);
    })?;
    let floor = Floor::start(&host.world)?;
    for connections in CONNECTIONS {
        table.row(&load(
            "floor",
            floor.at,
            floor.child.id(),
            connections,
            seconds,
            ("", ""),
        )?)?;
        table.row(&host.load(connections, seconds)?)?;
        table.row(&walled.load(connections, seconds)?)?;
        table.row(&native.load(connections, seconds)?)?;
        table.row(&in_database.load(connections, seconds)?)?;
    }
    table.row(&host.load(MANY, seconds)?)?;
    host.world.assert_books()?;
    walled.world.assert_books()?;
    in_database.world.assert_books()?;
    native.world.assert_books()
}

/// The same load and the same list pages over a small and a large store.
pub fn stored(as_json: bool, seconds: u64) -> anyhow::Result<()> {
    let temporary = prepare()?;
    let table = Table { as_json };
    table.head()?;
    for payments in STORED {
        let mut host = Subject::start("host", ("portolan", true), &temporary)?;
        host.world.stop_host()?;
        let seed = Command::new(binary("portolan-seed"))
            .arg("--config")
            .arg(host.world.config())
            .args(["--payments", &payments.to_string()])
            .env("PORTOLAN_LOG", "warn")
            .status()?;
        anyhow::ensure!(seed.success(), "seeding failed");
        host.world.start_host()?;
        for connections in [1, 16] {
            let mut row = host.load(connections, seconds)?;
            if let Some(fields) = row.as_object_mut() {
                fields.insert("name".into(), json!(format!("host, {payments} stored")));
            }
            table.row(&row)?;
        }
        pages(&host.world, payments, &table)?;
        std::fs::remove_dir_all(&host.world.folder)?;
    }
    Ok(())
}

/// Median times of list pages: the first and one from the middle, of payments and of events.
fn pages(world: &World, payments: u64, table: &Table) -> anyhow::Result<()> {
    let page = world.get("/v1/payments?limit=100")?;
    let last = page.text_at("/data/99/id").to_owned();
    for (name, path) in [
        ("first page of payments", "/v1/payments?limit=100".to_owned()),
        (
            "next page of payments",
            format!("/v1/payments?limit=100&starting_after={last}"),
        ),
        ("first page of events", "/v1/events?limit=100".into()),
    ] {
        let mut times = vec![];
        for _ in 0..PAGES {
            let started = Instant::now();
            anyhow::ensure!(world.get(&path)?.status == 200, "{path}");
            times.push(started.elapsed().as_micros());
        }
        times.sort_unstable();
        let p50 = times.get(times.len() / 2).copied().unwrap_or(0);
        if table.as_json {
            table.say(&json!({ "name": name, "stored": payments, "p50_us": p50 }).to_string())?;
        } else {
            table.say(&format!("{name}, {payments} stored: p50 {p50} µs"))?;
        }
    }
    Ok(())
}

fn prepare() -> anyhow::Result<PathBuf> {
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
    Ok(temporary)
}

struct Table {
    as_json: bool,
}

impl Table {
    fn say(&self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(std::io::stdout(), "{text}")?)
    }

    fn head(&self) -> anyhow::Result<()> {
        if self.as_json {
            return Ok(());
        }
        self.say(&format!(
            "{:<22}{:>6}{:>12}{:>10}{:>10}{:>16}{:>10}",
            "name", "conn", "payments/s", "p50 µs", "p99 µs", "CPU µs/payment", "RSS MiB"
        ))
    }

    fn row(&self, row: &Value) -> anyhow::Result<()> {
        if self.as_json {
            return self.say(&row.to_string());
        }
        let number = |name: &str| row.get(name).and_then(Value::as_f64).unwrap_or(0.0) as u64;
        let name = row.get("name").and_then(Value::as_str).unwrap_or_default();
        self.say(&format!(
            "{name:<22}{:>6}{:>12}{:>10}{:>10}{:>16}{:>10}",
            number("connections"),
            number("payments_per_s"),
            number("p50_us"),
            number("p99_us"),
            number("cpu_us_per_payment"),
            number("rss_bytes") >> 20
        ))
    }
}

/// A host under load, with a card to pay with.
struct Subject {
    name: &'static str,
    world: World,
    method: String,
}

impl Subject {
    fn start(name: &'static str, program: (&'static str, bool), folder: &Path) -> anyhow::Result<Self> {
        Self::start_with(name, program, folder, |_| {})
    }

    fn start_with(
        name: &'static str,
        (program, trusted): (&'static str, bool),
        folder: &Path,
        more: impl FnOnce(&mut Options),
    ) -> anyhow::Result<Self> {
        let mut options = Options {
            is_fresh: true,
            acquirer: vec!["--silent".into(), "--no-sync".into()],
            timeout_ms: 20_000,
            server: "requests_per_second = 1000000".into(),
            env: vec![("PORTOLAN_LOG".into(), "warn".into())],
            program,
            trusted,
            ..Options::default()
        };
        more(&mut options);
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let world = World::start_in(folder, options)?;
        let method = card(&world)?;
        Ok(Self { name, world, method })
    }

    fn load(&self, connections: usize, seconds: u64) -> anyhow::Result<Value> {
        let pid = self.world.host_pid().context("no host")?;
        let with = (self.world.key.as_str(), self.method.as_str());
        load(self.name, self.world.api, pid, connections, seconds, with)
    }
}

fn card(world: &World) -> anyhow::Result<String> {
    card_of(world, &world.key)
}

fn card_of(world: &World, key: &str) -> anyhow::Result<String> {
    let card = json!({ "number": "4242424242424242", "expiry_month": 12, "expiry_year": 2031 });
    let body = json!({ "type": "card", "card": card });
    let stored = world.post_as(key, "/v1/payment_methods", &body, &world.fresh_key())?;
    Ok(stored.text_at("/id").to_owned())
}

/// Gives a component to the router, as far as ready.
fn upload(world: &World, adapter: &str, component: &[u8]) -> anyhow::Result<Reply> {
    let component = base64::engine::general_purpose::STANDARD.encode(component);
    let body = json!({ "by": "bench", "component": component });
    let reply = world.admin_call("POST", &format!("/admin/plugins/{adapter}/versions"), Some(&body))?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text);
    Ok(reply)
}

fn sync_p50(folder: &Path) -> anyhow::Result<u128> {
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
