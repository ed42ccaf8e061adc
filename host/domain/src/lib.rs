//! Vocabulary and rules of the router. Pure: no I/O, no clock, no randomness, no JSON, no SQL; what it needs of the
//! world comes in as arguments or through the traits in [`ports`]. Types that the journal keeps derive serde; the
//! format is storage's business, and merchants' JSON is the API's.

pub mod approval;
pub mod beneficiary;
pub mod certainty;
pub mod channel;
pub mod commit;
pub mod exchange;
pub mod ids;
pub mod ledger;
pub mod lifecycle;
pub mod money;
pub mod operation;
pub mod order;
pub mod payment;
pub mod ports;
pub mod quote;
pub mod risk;
pub mod routing;
pub mod settlement;
pub mod statement;
pub mod task;
pub mod webhook;
pub mod wire;
