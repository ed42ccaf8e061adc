//! Crashes: the host is killed at named steps and at random moments; then three records are compared: what the client
//! was told, what the books say, what the acquirer did.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod disk;
mod random;
mod steps;
mod versions;
