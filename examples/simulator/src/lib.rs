//! What every provider simulator has: connections that a scripted fault can drop, a durable record of what was really
//! done, notifications with a signature. What a provider is, is each simulator's own business.

pub mod journal;
pub mod notify;
mod serve;

pub use serve::{DropConnection, serve};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(0))
}

/// The answer that is none: the connection is closed.
pub fn dropped() -> Response {
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(DropConnection);
    response
}

/// Says on standard output where a simulator listens: whoever started it reads that line.
pub fn announce(line: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
