//! Load: so many connections, each paying one after the other, for so many seconds. Prints one JSON line: payments a
//! second, latencies, and CPU and memory of the process under test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::float_arithmetic,
    clippy::print_stdout,
    reason = "a measuring instrument fails by panicking"
)]

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Parser, Clone)]
struct Options {
    /// Name of the row.
    #[arg(long)]
    name: String,
    #[arg(long)]
    at: std::net::SocketAddr,
    /// The process whose CPU and memory count.
    #[arg(long)]
    pid: u32,
    #[arg(long)]
    connections: usize,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value = "")]
    key: String,
    #[arg(long, default_value = "")]
    method: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let counter = Arc::new(AtomicU64::new(0));
    // A moment to warm up: sessions, pools, statements.
    run(
        &options,
        Duration::from_millis(500),
        &counter,
        &Arc::new(Mutex::new(vec![])),
    )
    .await;
    let (cpu_before, started) = (cpu_us(options.pid), Instant::now());
    run(&options, Duration::from_secs(options.seconds), &counter, &latencies).await;
    let (elapsed, cpu) = (started.elapsed(), cpu_us(options.pid) - cpu_before);
    let mut sorted = latencies.lock().unwrap().clone();
    sorted.sort_unstable();
    let count = sorted.len().max(1);
    let at = |share: usize| sorted.get(count * share / 100).copied().unwrap_or(0);
    println!(
        "{}",
        json!({
            "name": options.name, "connections": options.connections, "payments": sorted.len(),
            "payments_per_s": (sorted.len() as f64 / elapsed.as_secs_f64()).round(),
            "p50_us": at(50), "p99_us": at(99), "cpu_us_per_payment": cpu / count as u64, "rss_bytes": rss(options.pid),
        })
    );
    Ok(())
}

async fn run(options: &Options, time: Duration, counter: &Arc<AtomicU64>, latencies: &Arc<Mutex<Vec<u64>>>) {
    let end = Instant::now() + time;
    let local = tokio::task::LocalSet::new();
    for _ in 0..options.connections {
        let (options, counter, latencies) = (options.clone(), counter.clone(), latencies.clone());
        local.spawn_local(async move { connection(&options, end, &counter, &latencies).await });
    }
    local.await;
}

async fn connection(options: &Options, end: Instant, counter: &AtomicU64, latencies: &Mutex<Vec<u64>>) {
    let stream = tokio::net::TcpStream::connect(options.at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    let body =
        json!({ "amount": 1000, "currency": "EUR", "payment_method": options.method, "confirm": true }).to_string();
    while Instant::now() < end {
        let n = counter.fetch_add(1, Ordering::Relaxed);
        let request = hyper::Request::post("/v1/payments")
            .header("host", "router")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", options.key))
            .header(
                "idempotency-key",
                format!("{}-{}-{n}", std::process::id(), options.connections),
            )
            .body(Full::new(Bytes::from(body.clone())))
            .unwrap();
        let started = Instant::now();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(
            status == 200 && body.windows(9).any(|it| it == b"succeeded"),
            "{status} {}",
            String::from_utf8_lossy(&body)
        );
        latencies
            .lock()
            .unwrap()
            .push(u64::try_from(started.elapsed().as_micros()).unwrap());
    }
}

/// User and system time of a process, in microseconds (ticks of 10 ms).
fn cpu_us(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * 10_000
}

fn rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}
