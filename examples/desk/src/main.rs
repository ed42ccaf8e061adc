//! An FX desk that also pays out, to try the router on: its own process, the API of Airwallex (2025-06-30) on loopback, a
//! durable record of what it really did, and scripted faults. It refuses unknown fields, old versions and bad sessions.

#![expect(
    clippy::result_large_err,
    reason = "handlers answer with a whole response in either case"
)]

mod books;
mod fault;
mod fx;
mod http;
mod rates;
mod transfers;

use anyhow::Context;
use clap::Parser;
use std::path::PathBuf;
use std::sync::Arc;

/// Options.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "portolan-desk",
    about = "An FX desk simulator with a durable record and scripted faults"
)]
pub struct Options {
    /// Where to listen; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:4200")]
    listen: std::net::SocketAddr,
    /// The durable record: one JSON line per change.
    #[arg(long, default_value = "desk.jsonl")]
    record: PathBuf,
    /// What opens a session.
    #[arg(long, default_value = "desk-client-id")]
    client_id: String,
    /// What opens a session.
    #[arg(long, default_value = "desk-api-key")]
    api_key: String,
    /// What notifications are signed with.
    #[arg(long, default_value = "desk-webhook-secret")]
    webhook_secret: String,
    /// Where notifications go, as it would be set in the provider's console; none if absent.
    #[arg(long)]
    webhook_url: Option<String>,
    /// The desk's share, in basis points.
    #[arg(long, default_value_t = 40)]
    spread_bps: u32,
    /// How long a session lives, in seconds.
    #[arg(long, default_value_t = 1_800)]
    session_s: u64,
    /// How long a locked price holds at most, in milliseconds: shorter than promised, for tests.
    #[arg(long, default_value_t = u64::MAX)]
    lock_max_ms: u64,
    /// How long a transfer takes to be paid, in milliseconds.
    #[arg(long, default_value_t = 200)]
    pays_after_ms: u64,
    /// Nobody is asked for a price before so many milliseconds have passed: a slow desk.
    #[arg(long, default_value_t = 0)]
    slow_ms: u64,
    /// Send no notifications.
    #[arg(long)]
    silent: bool,
    /// Do not sync the record (for benchmarks).
    #[arg(long)]
    no_sync: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let books = books::Books::open(&options.record, !options.no_sync).context("opening the record")?;
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .context("listening")?;
    let address = listener.local_addr()?;
    portolan_simulator::announce(&format!("desk listening on http://{address}"))?;
    let desk = Arc::new(http::Desk::new(options, books));
    portolan_simulator::serve(listener, http::routes(desk)).await
}
