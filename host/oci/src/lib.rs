//! Adapters in OCI registries: a component as the WebAssembly ecosystem stores it (CNCF TAG Runtime, "Wasm OCI Artifact
//! layout"), and what partners and operators signed about it as referrers to it (OCI image spec 1.1). A registry is
//! transport, never trust: what comes from one is admitted like any file. Only the command line talks to registries, so a
//! router in service has no way out to one.

mod client;
mod place;
mod pull;
mod push;

pub use place::Place;
pub use pull::{Pulled, pull};
pub use push::{Interfaces, Labels, Pushed, push};

/// A component's configuration.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// A component.
const COMPONENT: &str = "application/wasm";
/// A DSSE envelope: both the kind of artifact that refers to a component, and its only layer.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// What has no configuration (image spec 1.1, "empty descriptor").
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// An image manifest.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A list of manifests.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The largest envelope that is pulled.
const ENVELOPE_MAX: u64 = 64 << 10;
/// Envelopes that are read for one component.
const ENVELOPES_MAX: usize = 32;

/// Why nothing came, or went.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// It names no place.
    #[error("{0:?} is no place in a registry: {1}; write oci://registry.example/acme/cards:1.2.0")]
    Place(String, String),
    /// The login that the configuration of Docker names cannot be had.
    #[error("the login for {0} cannot be read: {1}; `docker login {0}` writes it")]
    Login(String, String),
    /// The registry refused, or did not answer.
    #[error("{0}: {1}")]
    Registry(String, String),
    /// What lies there is not an adapter.
    #[error("{0} is no WebAssembly component: {1}")]
    NoComponent(String, String),
    /// Larger than it may be.
    #[error("{0}: {1} bytes are more than the {2} that are taken")]
    Size(String, u64, u64),
    /// Something else lies there already.
    #[error("{0} is {1} already; push it under another tag, or move the tag with --move-tag")]
    Taken(String, String),
    /// It did not come in time.
    #[error("{0}: no answer within {1} s")]
    Late(String, u64),
    /// What would have been sent cannot be written.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}
