//! The one HTTP client: endpoints, TLS, limits, and how far the bytes went. It knows no adapter and no money; whoever
//! calls it gets a whole reply, the proof that nothing was sent, or the word that nobody knows.

mod address;
mod client;
mod counted;

pub use address::is_public;
pub use client::{Egress, Endpoint, EndpointError, Sent, Timeouts};
