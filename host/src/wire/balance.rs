//! A merchant's balances by currency.

use super::Minor;
use portolan_domain::ids::Mode;
use portolan_domain::ledger::{Account, Balances};
use schemars::JsonSchema;
use serde::Serialize;

/// All balances of a merchant.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Balances")]
pub struct BalancesView<'a> {
    object: &'static str,
    livemode: bool,
    balances: Vec<BalanceView<'a>>,
}

/// What a merchant is owed in one currency.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Balance")]
struct BalanceView<'a> {
    currency: &'a str,
    /// Taken from payers, not yet settled by the channels.
    pending: Minor,
    /// Settled: it can be paid out.
    available: Minor,
    /// Held for refunds in flight.
    reserved: Minor,
    /// Held on payers' cards.
    authorized: Minor,
}

impl<'a> BalancesView<'a> {
    /// The balances as their merchant sees them.
    pub fn of(balances: &'a Balances, mode: Mode) -> Self {
        let pending = balances
            .iter()
            .filter(|((account, _), _)| matches!(account, Account::MerchantPending(_)));
        let view = pending.map(|((_, asset), balance)| BalanceView {
            currency: asset.code(),
            pending: Minor(balance.credit.saturating_sub(balance.debit)),
            available: Minor(0),
            reserved: Minor(balance.pending_debit),
            authorized: Minor(balance.pending_credit),
        });
        Self {
            object: "balances",
            livemode: mode == Mode::Live,
            balances: view.collect(),
        }
    }
}
