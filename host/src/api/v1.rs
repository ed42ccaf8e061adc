//! Version 1: one file per resource. Each handler reads JSON into a command, hands it to the engine, and shows the
//! answer.

pub mod approvers;
pub mod beneficiaries;
pub mod books;
pub mod lists;
pub mod methods;
pub mod payments;
pub mod payouts;
pub mod public;
pub mod quotes;
pub mod recommend;
pub mod refunds;
pub mod routes;
pub mod webhooks;
