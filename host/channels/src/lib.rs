//! The sandbox: adapters as WebAssembly components, called as pure functions; and the wire behind them. The only crate
//! with wasmtime. It implements the `Channels` port; it decides no order, no retry and no certainty.

mod abi;
mod artifact;
mod asks;
mod bench;
mod channel;
mod clock;
mod counts;
mod grants;
mod guest;
mod home;
mod limits;
mod registry;
mod ring;
mod sandbox;
mod sessions;
mod settings;
mod table;
mod trial;
mod wasi;
mod worker;

pub use artifact::{Artifacts, compile};
pub use asks::{Asked, Described, Fit};
pub use bench::{
    Answered, Bench, Finding, Gave, Packed, Proof, ProofError, Vector, difference, pack, packed, parse_packed,
};
pub use channel::{ChannelConfig, ChannelRouting, EndpointConfig};
pub use counts::Usage;
pub use home::Wall;
pub use limits::Limits;
pub use registry::{AdapterSource, Registry, RegistryError};
pub use sandbox::{Sandbox, SandboxError};
pub use worker::serve as serve_worker;
