//! Sweeping: what came to a deposit's address is brought to the payout address. The deposit's address has no coins, so it is
//! given some for gas first, and sends its tokens once they are there: two transactions, one after the other, both between
//! addresses of the same wallet.

use crate::deposits::Deposit;
use crate::node::{ask, number};
use crate::transactions::{
    Offer, PRICES_MAX, Sender, Signed, balance_of, base_fee, declined, found, goes_on, next_number, offer,
    offered_enough, price, raised, send, signed, silent, too_dear, transfer,
};
use crate::{HOT, Settings, address_at};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use portolan_adapter::payouts::{OnItsWay, Outcome, Payout};
use portolan_adapter::types::{Fault, Retry, Target};
use portolan_adapter::{Ctx, Value, json};

/// The account of a payout that is a sweep.
pub const DEPOSIT: &str = "deposit";
/// What moving coins takes.
const COIN_GAS: u64 = 21_000;

/// When what counted is to be swept, and whether it is worth that.
pub fn wanted(settings: &Settings, taken: U256, age_ms: u64) -> Option<(String, String)> {
    let least = settings.sweep_from?;
    let after_ms = settings.sweep_after_ms.saturating_sub(age_ms).min(u64::from(u32::MAX));
    (taken >= least).then(|| ("sweep".into(), after_ms.to_string()))
}

/// Coins for gas come from the payout address, tokens from the deposit's.
fn apart(settings: &Settings, all: Vec<Signed>) -> (Vec<Signed>, Vec<Signed>) {
    let is_move = |it: &Signed| it.transaction.to == TxKind::Call(settings.token);
    all.into_iter().partition(|it| !is_move(it))
}

/// The next of the two transactions; or the same one at a price of today, where it waits for too low a one.
pub async fn sweep(ctx: &Ctx, settings: &Settings, request: &Payout) -> Result<Outcome, Fault> {
    let deposit = Deposit::told(&request.extra)?;
    let from = deposit.address()?;
    let (coins, moves) = apart(settings, signed(&request.extra));
    let held = balance_of(ctx, settings, from).await?;
    if held.is_zero() {
        return Ok(declined(
            "nothing-there",
            Retry::Never,
            "nothing lies at the deposit's address".into(),
        ));
    }
    let offer = match priced(ctx, settings, moves.last()).await? {
        Ok(offer) => offer,
        Err(refusal) => return Ok(refusal),
    };
    let waiting = moves.last().map(|it| &it.transaction);
    if let Some(same) = waiting.filter(|it| it.max_fee_per_gas == offer.most) {
        return send(ctx, same.clone(), &deposit.path()).await;
    }
    if moves.len() >= PRICES_MAX {
        return Ok(offered_enough());
    }
    let lookup = json!([from, "latest"]);
    let coin = number(ctx, "eth_getBalance", lookup).await?.map_err(silent)?;
    let gas_limit = waiting.map_or(settings.sweep_gas, |it| it.gas_limit);
    let gas = |wei: u128| U256::from(wei).saturating_mul(U256::from(gas_limit));
    // What a block takes, and more than what waits: with coins for that much, nothing more is given.
    let least = waiting.map_or(0, |it| raised(it.max_fee_per_gas));
    let least = least.max(offer.base.saturating_add(offer.tip)).min(offer.most);
    if coin < gas(least) {
        return give_coins(
            ctx,
            settings,
            (from, gas(offer.most).saturating_sub(coin)),
            (&coins, offer),
        )
        .await;
    }
    let affordable = u128::try_from(coin / U256::from(gas_limit.max(1))).unwrap_or(u128::MAX);
    let most = offer.most.min(affordable);
    let offer = Offer {
        most,
        tip: offer.tip.min(most),
        ..offer
    };
    let transaction = match waiting {
        Some(waiting) => again(waiting, offer),
        None => {
            let nonce = next_number(ctx, from, "latest").await?;
            let input = transfer(address_at(HOT)?, held, &ctx.next_key()?);
            let to_wallet = (TxKind::Call(settings.token), U256::ZERO, Bytes::from(input));
            made(settings, (nonce, gas_limit), offer, to_wallet)
        }
    };
    send(ctx, transaction, &deposit.path()).await
}

/// The same transaction, dearer.
fn again(waiting: &TxEip1559, offer: Offer) -> TxEip1559 {
    TxEip1559 {
        max_fee_per_gas: offer.most,
        max_priority_fee_per_gas: offer.tip,
        ..waiting.clone()
    }
}

/// What the tokens' transaction offers: a little above what a block takes now, for a dearer one may follow; or more than the one
/// that waits.
async fn priced(ctx: &Ctx, settings: &Settings, waiting: Option<&Signed>) -> Result<Result<Offer, Outcome>, Fault> {
    let Some(waiting) = waiting else {
        return Ok(offer(ctx, settings).await?.map(|offer| {
            let lean = offer.base.saturating_add(offer.base / 4).saturating_add(offer.tip);
            Offer {
                most: lean.min(offer.most),
                ..offer
            }
        }));
    };
    let base = base_fee(ctx).await?.map_err(silent)?;
    let dearer = price(settings, &waiting.transaction, base);
    let offer = dearer.map(|(tip, most)| Offer { base, tip, most });
    Ok(offer.ok_or_else(|| too_dear(settings, base)))
}

/// Coins for the gas of the deposit's address, from the payout address: an eighth more than is missing, for chains that take
/// something besides.
async fn give_coins(
    ctx: &Ctx,
    settings: &Settings,
    (to, missing): (Address, U256),
    (earlier, offer): (&[Signed], Offer),
) -> Result<Outcome, Fault> {
    let waiting = still_waiting(ctx, earlier.last()).await?;
    let same = waiting.filter(|it| it.max_fee_per_gas >= offer.base);
    if let Some(same) = same {
        return send(ctx, same.clone(), HOT).await;
    }
    if earlier.len() >= PRICES_MAX {
        return Ok(offered_enough());
    }
    let own = address_at(HOT)?;
    let lookup = json!([own, "latest"]);
    let coin = number(ctx, "eth_getBalance", lookup).await?.map_err(silent)?;
    let value = missing.saturating_add(missing / U256::from(8));
    let gas = U256::from(offer.most).saturating_mul(U256::from(COIN_GAS));
    if coin < value.saturating_add(gas).saturating_add(settings.gas_reserve_wei) {
        let why = format!("the payout address has {coin} wei for gas");
        return Ok(declined("insufficient-gas", Retry::OtherChannel, why));
    }
    let transaction = match waiting {
        Some(waiting) => match price(settings, waiting, offer.base) {
            Some((tip, most)) => TxEip1559 {
                value: waiting.value.max(value),
                ..again(waiting, Offer { tip, most, ..offer })
            },
            None => return Ok(too_dear(settings, offer.base)),
        },
        None => {
            let nonce = next_number(ctx, own, "pending").await?;
            made(
                settings,
                (nonce, COIN_GAS),
                offer,
                (TxKind::Call(to), value, Bytes::new()),
            )
        }
    };
    send(ctx, transaction, HOT).await
}

/// The last coins, if they wait in a pool: only then their number is theirs, and another price may take their place.
async fn still_waiting<'a>(ctx: &Ctx, last: Option<&'a Signed>) -> Result<Option<&'a TxEip1559>, Fault> {
    let Some(last) = last else { return Ok(None) };
    let found = ask(ctx, "eth_getTransactionByHash", json!([last.hash]))
        .await?
        .map_err(silent)?;
    let is_mined = found.get("blockNumber").is_some_and(Value::is_string);
    Ok(Some(&last.transaction).filter(|_| !found.is_null() && !is_mined))
}

fn made(
    settings: &Settings,
    (nonce, gas_limit): (u64, u64),
    offer: Offer,
    (to, value, input): (TxKind, U256, Bytes),
) -> TxEip1559 {
    TxEip1559 {
        chain_id: settings.chain,
        nonce,
        gas_limit,
        max_fee_per_gas: offer.most,
        max_priority_fee_per_gas: offer.tip,
        to,
        value,
        access_list: Default::default(),
        input,
    }
}

/// How far it is: done once the tokens' transaction is deep.
pub async fn status(
    ctx: &Ctx,
    settings: &Settings,
    (of, all): (&Target, Vec<Signed>),
    head: u64,
) -> Result<Outcome, Fault> {
    let (coins, moves) = apart(settings, all);
    if !moves.is_empty() {
        let sender = Sender {
            address: Deposit::of(of)?.address()?,
            confirmations: settings.confirmations,
        };
        return match found(ctx, &sender, &moves, head).await? {
            // Coins went before it: the first of all is not the one to go out again.
            Outcome::NotFound => Ok(goes_on(hash_of(&moves), "no node keeps it".into())),
            outcome => Ok(outcome),
        };
    }
    // In a block is enough: where that one goes, coins are given again.
    let sender = Sender {
        address: address_at(HOT)?,
        confirmations: 1,
    };
    match found(ctx, &sender, &coins, head).await? {
        Outcome::Sent(OnItsWay { final_: true, .. }) => Ok(goes_on(hash_of(&coins), "coins for gas are there".into())),
        Outcome::Declined(why) => Ok(goes_on(hash_of(&coins), why.message)),
        outcome => Ok(outcome),
    }
}

fn hash_of(all: &[Signed]) -> alloy_primitives::B256 {
    all.last().map(|it| it.hash).unwrap_or_default()
}
