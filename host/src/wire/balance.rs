//! A merchant's balances by currency.

use super::Minor;
use portolan_domain::ids::Mode;
use portolan_domain::ledger::{Account, Balances};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

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
    /// Taken from payers, not yet settled by the channels or exchanged.
    pending: Minor,
    /// It can be paid out now.
    available: Minor,
    /// Held for refunds, exchanges and payouts in flight.
    reserved: Minor,
    /// Held on payers' cards.
    authorized: Minor,
}

impl<'a> BalancesView<'a> {
    /// The balances as their merchant sees them.
    pub fn of(balances: &'a Balances, mode: Mode) -> Self {
        let mut by_asset: BTreeMap<&str, BalanceView<'_>> = BTreeMap::new();
        for ((account, asset), balance) in balances {
            let view = by_asset.entry(asset.code()).or_insert(BalanceView {
                currency: asset.code(),
                pending: Minor(0),
                available: Minor(0),
                reserved: Minor(0),
                authorized: Minor(0),
            });
            match account {
                Account::MerchantPending(_) => {
                    view.pending = Minor(balance.credit.saturating_sub(balance.debit));
                    view.authorized = Minor(balance.pending_credit);
                }
                Account::MerchantAvailable(_) => view.available = Minor(balance.to_give()),
                Account::ChannelReceivable(_)
                | Account::InTransit(_)
                | Account::ChannelPrefund(_)
                | Account::FxPosition
                | Account::FxSpread
                | Account::FxGainLoss
                | Account::FeesChannel
                | Account::SuspenseUnmatched => continue,
            }
            view.reserved = Minor(view.reserved.0.saturating_add(balance.pending_debit));
        }
        Self {
            object: "balances",
            livemode: mode == Mode::Live,
            balances: by_asset.into_values().collect(),
        }
    }
}
