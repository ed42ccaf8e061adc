//! An adapter for a bank that speaks ISO 20022 over HTTPS: payouts as pain.001, what became of them as pain.002 and camt.054,
//! statements as camt.053. It owns the mapping of those messages and the signed calls of the Berlin Group's NextGenPSD2 that
//! carry them; `README.md` says where each part of it was read.

mod account_report;
mod call;
mod credit_transfer;
mod declines;
mod describe;
mod feed;
mod payouts;
mod statement;
mod status_report;

/// The adapter.
pub struct Bank;

portolan_adapter::export_channel!(Bank: adapter, payouts, feeds, settlements);

const API: &str = "api";

/// The end-to-end reference of a payout: its idempotency key without hyphens, for the field holds 35 characters.
fn bare(key: &str) -> String {
    key.replace('-', "")
}

/// The idempotency key behind an end-to-end reference; `None`: it is not one of the router's.
fn key_of(reference: &str) -> Option<String> {
    let is_bare = reference.len() == 32 && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parsed = uuid::Uuid::try_parse(reference).ok().filter(|_| is_bare)?;
    Some(parsed.to_string())
}
