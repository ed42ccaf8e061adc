//! The imperative shell: the order of steps, deadlines, retries. It knows the domain and its ports; no HTTP, no SQL, no
//! wasmtime. Read `create_payment.rs` first; everything else joins its walk at `run.rs`.

mod attempt;
mod bank;
mod check;
mod create_payment;
mod deliver;
mod feeds;
mod follow_up;
mod idempotency;
mod legs;
mod notify;
mod progress;
mod prune;
mod quote;
mod recommend;
mod recover;
mod resume;
mod risk;
mod route;
mod run;
mod send_again;
mod settle;
mod tasks;
mod timers;
mod traffic;
mod update;
mod walk;

pub use create_payment::{ConfirmPayment, CreatePayment};
pub use follow_up::{CancelPayment, CapturePayment, RefundPayment};
pub use idempotency::ClaimRequest;
pub use notify::Notified;
pub use prune::Retention;
pub use quote::{CreateQuote, QuotePolicy};
pub use recommend::{Offer, Offers, Wish};
pub use risk::Past;
pub use route::{facts_of, word_of};
pub use settle::Reconciled;
pub use tasks::{Decided, TaskError};
pub use traffic::{ChannelHealth, RoutingPolicy};

use dashmap::DashMap;
use portolan_domain::commit::{ClaimName, StoredAnswer};
use portolan_domain::ids::{ChannelId, OperationId, PaymentId};
use portolan_domain::operation::Fault;
use portolan_domain::payment::decide::{Policy, Refusal};
use portolan_domain::payment::request::FieldError;
use portolan_domain::payment::status::IllegalEvent;
use portolan_domain::ports::{Ambient, Channels, CommitError, ReadError, Render, Rules, Steps, Store, Vault};
use portolan_domain::quote::{Quote, QuoteRefusal};
use std::sync::Arc;

/// What the engine is made of.
pub struct Ports {
    /// The durable record.
    pub store: Arc<dyn Store>,
    /// Adapters and the wire.
    pub channels: Arc<dyn Channels>,
    /// Security codes and handles.
    pub vault: Arc<dyn Vault>,
    /// Time and ids.
    pub ambient: Arc<dyn Ambient>,
    /// The merchants' rules about routes.
    pub rules: Arc<dyn Rules>,
    /// How answers are written.
    pub render: Arc<dyn Render>,
    /// Where a crash test may stop.
    pub steps: Arc<dyn Steps>,
}

/// The engine of one node.
pub struct Engine {
    pub(crate) ports: Ports,
    pub(crate) policy: Policy,
    /// When this router began.
    pub(crate) born_ms: u64,
    pub(crate) pricing: QuotePolicy,
    pub(crate) routing: RoutingPolicy,
    pub(crate) traffic: traffic::Traffic,
    pub(crate) claims: DashMap<ClaimName, ()>,
    pub(crate) locks: DashMap<PaymentId, Arc<tokio::sync::Mutex<()>>>,
    /// Held while a payment's legs are done, one after the other.
    pub(crate) legs: DashMap<PaymentId, Arc<tokio::sync::Mutex<()>>>,
    pub(crate) busy: DashMap<OperationId, ()>,
    /// Attempts under way here: what they come to, they say themselves.
    pub(crate) walking: DashMap<OperationId, ()>,
    /// What merchants' rules brought about since the start.
    pub(crate) flagged: risk::Flagged,
    pub(crate) asking: DashMap<OperationId, Arc<tokio::sync::Mutex<()>>>,
    pub(crate) lanes: DashMap<ChannelId, Arc<tokio::sync::Mutex<()>>>,
    /// The channels where a sweep is under way that a timer began.
    pub(crate) sweeping: DashMap<ChannelId, ()>,
}

/// An answer for the merchant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Status and body.
    pub answer: StoredAnswer,
    /// Whether the key was used before.
    pub is_replay: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such thing, or somebody else's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Not now, or not so much.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The key was used with other content.
    #[error("this Idempotency-Key was used with another request")]
    KeyReused,
    /// The key is in use at this moment.
    #[error("a request with this Idempotency-Key is in flight")]
    KeyInFlight,
    /// Fields that cannot be accepted.
    #[error("the request cannot be accepted")]
    Invalid(Vec<FieldError>),
    /// The quote cannot be used; where its time was up, with a fresh one in its place.
    #[error("{0}")]
    Quote(QuoteRefusal, Option<Box<Quote>>),
    /// No exchange has a price.
    #[error("no exchange has a price for this now")]
    NoPrice(Vec<portolan_domain::quote::Unavailable>),
    /// The store cannot write; nothing was done.
    #[error("{0}")]
    Store(#[from] CommitError),
    /// The store cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The channel could not be asked.
    #[error("{0}")]
    Channel(Fault),
}

impl From<IllegalEvent> for EngineError {
    fn from(error: IllegalEvent) -> Self {
        Self::Refused(Refusal::Illegal(error))
    }
}

impl Engine {
    /// An engine over its ports.
    pub fn new(ports: Ports, policy: Policy, pricing: QuotePolicy, routing: RoutingPolicy) -> Self {
        Self {
            born_ms: ports.ambient.now_ms(),
            ports,
            policy,
            pricing,
            routing,
            traffic: traffic::Traffic::default(),
            claims: DashMap::new(),
            locks: DashMap::new(),
            legs: DashMap::new(),
            busy: DashMap::new(),
            walking: DashMap::new(),
            flagged: risk::Flagged::default(),
            asking: DashMap::new(),
            lanes: DashMap::new(),
            sweeping: DashMap::new(),
        }
    }
}
