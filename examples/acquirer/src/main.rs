//! A card acquirer to try the router on: its own process, HTTP on loopback, a durable record of what it really did, and
//! scripted faults. It refuses unknown fields, bad sessions and bad signatures: a simulator that forgives proves nothing.

mod charge;
mod disputes;
mod fault;
mod http;
mod notify;
mod record;

use anyhow::Context;
use clap::Parser;
use std::path::PathBuf;
use std::sync::Arc;

/// Options.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "portolan-acquirer",
    about = "A card acquirer simulator with a durable record and scripted faults"
)]
pub struct Options {
    /// Where to listen; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:4100")]
    listen: std::net::SocketAddr,
    /// The durable record: one JSON line per change.
    #[arg(long, default_value = "acquirer.jsonl")]
    record: PathBuf,
    /// What opens a session.
    #[arg(long, default_value = "acquirer-client-secret")]
    client_secret: String,
    /// What requests are signed with.
    #[arg(long, default_value = "acquirer-signing-key")]
    signing_key: String,
    /// What notifications are signed with.
    #[arg(long, default_value = "acquirer-notify-key")]
    notify_key: String,
    /// How long a session lives, in seconds.
    #[arg(long, default_value_t = 3_600)]
    session_s: u64,
    /// Forget idempotency keys, as careless providers do.
    #[arg(long)]
    ignore_idempotency: bool,
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
    let record = record::Record::open(&options.record, !options.no_sync).context("opening the record")?;
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .context("listening")?;
    let address = listener.local_addr()?;
    portolan_simulator::announce(&format!("acquirer listening on http://{address}"))?;
    let acquirer = Arc::new(http::Acquirer::new(options, record, format!("http://{address}")));
    portolan_simulator::serve(listener, http::routes(acquirer)).await
}
