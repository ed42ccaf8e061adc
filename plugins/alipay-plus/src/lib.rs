//! An adapter for Antom (Alipay+): wallets, by QR code and redirect. It owns the mapping of that provider's JSON;
//! `README.md` says where each part of it was read.

mod declines;
mod describe;
mod notify;
mod payments;
mod signed;
mod undo;

/// The adapter.
pub struct AlipayPlus;

portolan_adapter::export_channel!(AlipayPlus: adapter, payments, actions, captures, refunds, reversals, notifications);

const API: &str = "api";
/// When a payment that waits for its payer is looked at again.
const LOOK_AGAIN_MS: u32 = 2_000;
