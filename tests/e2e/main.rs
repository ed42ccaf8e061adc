//! End to end: the real host, the real guest, a real acquirer over HTTP. One binary; one file per subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod admission;
mod approvals;
mod authentication;
mod banks;
mod configuration;
mod contract;
mod cross_border;
mod disputes;
mod faults;
mod flows;
mod hostile;
mod idempotency;
mod kit;
mod leaks;
mod limits;
mod oci;
mod orders;
mod payments;
mod payouts;
mod plugins;
mod postgres;
mod refusals;
mod reports;
mod risk;
mod routing;
mod standby;
mod statements;
mod stripe;
mod sweeps;
mod tokens;
mod wallets;
mod walls;
mod webhooks;
mod wechat;
