//! The world that tests and demo run in: the real binaries as processes on loopback, a merchant with a key, and what
//! the acquirer itself recorded. It owns processes and HTTP; what must hold is the tests' business.

pub mod chain;
pub mod http;
pub mod passkeys;
pub mod peers;
pub mod postgres;
mod seed;
pub mod world;

pub use http::{Reply, call};
pub use world::{Options, World, await_until, binary, card_number, guest, use_profile, workspace};
