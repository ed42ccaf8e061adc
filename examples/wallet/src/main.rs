//! A wallet provider to try the router on: its own process, the API of Antom (Alipay+) on loopback, a durable record of what
//! it really did, and scripted faults. It refuses bad signatures and unknown fields, and signs its own answers.
#![expect(
    clippy::result_large_err,
    reason = "handlers answer with a whole response in either case"
)]

mod book;
mod fault;
mod http;
mod keys;
mod payer;

use anyhow::Context;
use clap::Parser;
use std::path::PathBuf;
use std::sync::Arc;

/// Options.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "portolan-wallet",
    about = "A wallet provider simulator with a durable record and scripted faults"
)]
pub struct Options {
    /// Where to listen; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:4300")]
    listen: std::net::SocketAddr,
    /// The durable record: one JSON line per change.
    #[arg(long, default_value = "wallet.jsonl")]
    record: PathBuf,
    /// The one client.
    #[arg(long, default_value = "SANDBOX_5Y00000000000000")]
    client_id: String,
    /// The client's public key, PEM.
    #[arg(long)]
    client_key: PathBuf,
    /// The provider's own private key, PEM.
    #[arg(long)]
    provider_key: PathBuf,
    /// Send no notifications.
    #[arg(long)]
    silent: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let book = book::Book::open(&options.record).context("opening the record")?;
    let keys = keys::Keys::read(&options.provider_key, &options.client_key)?;
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .context("listening")?;
    let base = format!("http://{}", listener.local_addr()?);
    portolan_simulator::announce(&format!("wallet listening on {base}"))?;
    let wallet = Arc::new(http::Wallet::new(options, keys, book, base));
    portolan_simulator::serve(listener, http::routes(wallet)).await
}
