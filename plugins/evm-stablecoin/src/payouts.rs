//! Payouts: one signed transaction, found again by its hash; where it waits for too low a price, a dearer one under the same
//! number, of which the chain takes one.

use crate::node::number;
use crate::sweep::{self, DEPOSIT};
use crate::transactions::{
    GAS_LIMIT, PRICES_MAX, Sender, Signed, balance_of, base_fee, declined, found, next_number, offer, offered_enough,
    price, send, signed, silent, too_dear, transfer,
};
use crate::{HOT, Settings, Token, address_at};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, TxKind, U256};
use portolan_adapter::payouts::{Account, Outcome, Payout};
use portolan_adapter::types::{Fault, Retry, Target};
use portolan_adapter::{Ctx, Payouts, json};

impl Payouts for Token {
    async fn pay(ctx: &Ctx, request: Payout) -> Result<Outcome, Fault> {
        let settings = Settings::of(ctx)?;
        let amount = settings.units(&request.amount)?;
        let to = match &request.account {
            Account::Address(text) => text
                .parse::<Address>()
                .map_err(|_| Fault::Invalid(("account.address".into(), "no address of this chain".into())))?,
            Account::Other((what, _)) if what == DEPOSIT => return sweep::sweep(ctx, &settings, &request).await,
            _ => return Err(Fault::Unsupported("only addresses of this chain".into())),
        };
        let key = ctx.next_key()?;
        let all = signed(&request.extra);
        let prepared = match all.last() {
            Some(_) => dearer(ctx, &settings, &all, &transfer(to, amount, &key)).await?,
            None => prepare(ctx, &settings, (to, amount), &key).await?,
        };
        match prepared {
            Ok(transaction) => send(ctx, transaction, HOT).await,
            Err(refusal) => Ok(refusal),
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Outcome, Fault> {
        let settings = Settings::of(ctx)?;
        let all = signed(&of.extra);
        if all.is_empty() {
            return Ok(Outcome::NotFound);
        }
        // The head first: what is deep below it stays deep, whatever is read after.
        let head = match number(ctx, "eth_blockNumber", json!([])).await? {
            Ok(head) => u64::try_from(head).unwrap_or(0),
            Err(why) => return Ok(Outcome::Unknown(why)),
        };
        if of.kind == "sweep" {
            return sweep::status(ctx, &settings, (&of, all), head).await;
        }
        let sender = Sender {
            address: address_at(HOT)?,
            confirmations: settings.confirmations,
        };
        found(ctx, &sender, &all, head).await
    }
}

/// The same transfer under the same number at a price of today; or why nothing is sent.
async fn dearer(
    ctx: &Ctx,
    settings: &Settings,
    all: &[Signed],
    transfer: &[u8],
) -> Result<Result<TxEip1559, Outcome>, Fault> {
    let Some(Signed {
        transaction: waiting, ..
    }) = all.last()
    else {
        return Err(Fault::Other("nothing waits".into()));
    };
    if waiting.input.as_ref() != transfer {
        return Err(Fault::Other("what waits is another transfer".into()));
    }
    let base = base_fee(ctx).await?.map_err(silent)?;
    let Some((tip, max_fee)) = price(settings, waiting, base) else {
        return Ok(Err(too_dear(settings, base)));
    };
    if max_fee != waiting.max_fee_per_gas && all.len() >= PRICES_MAX {
        return Ok(Err(offered_enough()));
    }
    if let Err(refusal) = has_gas(ctx, settings, max_fee).await? {
        return Ok(Err(refusal));
    }
    Ok(Ok(TxEip1559 {
        max_fee_per_gas: max_fee,
        max_priority_fee_per_gas: tip,
        ..waiting.clone()
    }))
}

/// Whether the payout address can pay for a transaction and keeps its reserve.
async fn has_gas(ctx: &Ctx, settings: &Settings, max_fee: u128) -> Result<Result<(), Outcome>, Fault> {
    let lookup = json!([address_at(HOT)?, "latest"]);
    let coin = number(ctx, "eth_getBalance", lookup).await?.map_err(silent)?;
    let gas = U256::from(max_fee).saturating_mul(U256::from(GAS_LIMIT));
    if coin < gas.saturating_add(settings.gas_reserve_wei) {
        let why = format!("the payout address has {coin} wei for gas");
        return Ok(Err(declined("insufficient-gas", Retry::OtherChannel, why)));
    }
    Ok(Ok(()))
}

/// The transaction, with the chain's number for it; or why nothing is sent.
async fn prepare(
    ctx: &Ctx,
    settings: &Settings,
    (to, amount): (Address, U256),
    key: &str,
) -> Result<Result<TxEip1559, Outcome>, Fault> {
    let own = address_at(HOT)?;
    let held = balance_of(ctx, settings, own).await?;
    if held < amount {
        let why = format!("the payout address holds {held}");
        return Ok(Err(declined("insufficient-prefund", Retry::OtherChannel, why)));
    }
    let nonce = next_number(ctx, own, "pending").await?;
    let offer = match offer(ctx, settings).await? {
        Ok(offer) => offer,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Err(refusal) = has_gas(ctx, settings, offer.most).await? {
        return Ok(Err(refusal));
    }
    Ok(Ok(TxEip1559 {
        chain_id: settings.chain,
        nonce,
        gas_limit: GAS_LIMIT,
        max_fee_per_gas: offer.most,
        max_priority_fee_per_gas: offer.tip,
        to: TxKind::Call(settings.token),
        value: U256::ZERO,
        access_list: Default::default(),
        input: transfer(to, amount, key).into(),
    }))
}
