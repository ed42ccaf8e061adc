//! A bank to try the router on: its own process, ISO 20022 over the calls of NextGenPSD2 on loopback, a durable record of what
//! it really did, and scripted faults. It refuses unknown elements, wrong sums, bad digests and bad signatures.

#![expect(
    clippy::result_large_err,
    reason = "handlers answer with a whole response in either case"
)]

mod books;
mod caller;
mod credit_transfer;
mod fault;
mod http;
mod report;

use anyhow::Context;
use clap::Parser;
use std::path::PathBuf;
use std::sync::Arc;

/// Options.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "portolan-bank",
    about = "A bank simulator with a durable record and scripted faults"
)]
pub struct Options {
    /// Where to listen; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:4400")]
    listen: std::net::SocketAddr,
    /// The durable record: one JSON line per change.
    #[arg(long, default_value = "bank.jsonl")]
    record: PathBuf,
    /// The client's seal certificate, PEM.
    #[arg(long)]
    client_certificate: PathBuf,
    /// Who may call.
    #[arg(long, default_value = "bank-access-token")]
    access_token: String,
    /// The right to read the account.
    #[arg(long, default_value = "bank-consent")]
    consent: String,
    /// The account, as paths name it.
    #[arg(long, default_value = "acc-1")]
    account: String,
    /// The account's IBAN.
    #[arg(long, default_value = "DE89370400440532013000")]
    iban: String,
    /// How long a transfer takes to be settled, in milliseconds.
    #[arg(long, default_value_t = 200)]
    pays_after_ms: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let books = books::Books::open(&options.record).context("opening the record")?;
    let certificate = caller::Certificate::read(&options.client_certificate)?;
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .context("listening")?;
    let address = listener.local_addr()?;
    portolan_simulator::announce(&format!("bank listening on http://{address}"))?;
    let bank = Arc::new(http::Bank::new(options, certificate, books));
    portolan_simulator::serve(listener, http::routes(bank)).await
}
