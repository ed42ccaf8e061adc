//! What a partner writes an adapter with: the contract's types, one trait per capability, `ctx.send(request).await`,
//! builders for requests, and a kit that runs test vectors natively. It owns no policy: what may be sent where is the
//! host's business.
//!
//! Start with [`Adapter`] and [`Payments`], read `plugins/sandbox` as an example, and end `lib.rs` with
//! [`export_channel!`].
#![allow(async_fn_in_trait)]

mod amount;
mod authentication;
pub mod bindings;
mod capability;
mod ctx;
mod decline;
mod dispute;
mod export;
pub mod keys;
mod reply;
mod request;
#[cfg(not(target_family = "wasm"))]
pub mod testkit;

pub use amount::{Exact, currency_exponent, epoch_ms, from_major, major};
pub use authentication::{Authentication, AuthenticationResult, authenticates_on_demand, must_authenticate};
pub use capability::*;
pub use ctx::{Ctx, Progress, replay};
pub use decline::{Declines, declined};
pub use dispute::{Dispute, DisputeState, about_dispute};
pub use export::report_panics;
pub use reply::{ReplyExt, why};
pub use request::{Form, RequestExt, get, minor_units, percent_decode, percent_encode, post};
pub use serde_json::value::RawValue;
pub use serde_json::{Map, Value, from_slice, from_value, json};

/// The types of the contract, by interface.
pub mod types {
    pub use crate::bindings::base::exports::portolan::channel::adapter::*;
    pub use crate::bindings::base::portolan::channel::types::*;
}
pub use bindings::captures::exports::portolan::channel::captures;
pub use bindings::exchange::exports::portolan::channel::exchange;
pub use bindings::feeds::exports::portolan::channel::feeds;
pub use bindings::notifications::exports::portolan::channel::notifications;
pub use bindings::payments::exports::portolan::channel::payments;
pub use bindings::payouts::exports::portolan::channel::payouts;
pub use bindings::sessions::exports::portolan::channel::sessions;
pub use bindings::settlements::exports::portolan::channel::settlements;
