//! Payouts: one signed transaction, found again by its hash; where it waits for too low a price, a dearer one under the same
//! number, of which the chain takes one.

use crate::node::{Called, ask, call, hex64, number};
use crate::{HOT, Settings, Token, WALLET, address_at};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Signature, TxKind, U256, hex, keccak256};
use portolan_adapter::payouts::{Account, OnItsWay, Outcome, Payout};
use portolan_adapter::types::{Decline, Fault, Retry, Target};
use portolan_adapter::{Ctx, Payouts, Value, from_slice, json, keys};

/// Enough for a token's `transfer`, some of which keep more books than others.
const GAS_LIMIT: u64 = 120_000;
/// Prices that are offered for one payout: `status` asks after each, in the requests that it has.
const PRICES_MAX: usize = 4;
/// When a transaction on its way is looked at again.
const LOOK_AGAIN_MS: u32 = 1_000;

/// What a node says to a transaction that it does not take. Text, reason, what it allows next.
const REFUSALS: &[(&str, &str, Retry)] = &[
    ("nonce too low", "number-taken", Retry::Later),
    ("underpriced", "number-taken", Retry::Later),
    ("insufficient funds", "insufficient-gas", Retry::OtherChannel),
    ("intrinsic gas too low", "gas-limit", Retry::OtherChannel),
    ("exceeds block gas limit", "gas-limit", Retry::OtherChannel),
    ("max fee per gas less than block base fee", "gas-too-dear", Retry::Later),
];

fn declined(reason: &str, retry: Retry, message: String) -> Outcome {
    Outcome::Declined(Decline {
        retry,
        reason: reason.into(),
        provider_code: String::new(),
        network_code: None,
        advice: None,
        message,
        extra: vec![],
    })
}

fn sent(hash: B256, is_final: bool) -> Outcome {
    Outcome::Sent(on_its_way(hash, is_final))
}

fn on_its_way(hash: B256, is_final: bool) -> OnItsWay {
    OnItsWay {
        reference: hash.to_string(),
        final_: is_final,
        check_after_ms: LOOK_AGAIN_MS,
        iso_status: Some(if is_final { "ACSC" } else { "ACSP" }.into()),
        fee: None,
        memo: None,
        extra: vec![],
    }
}

impl Payouts for Token {
    async fn pay(ctx: &Ctx, request: Payout) -> Result<Outcome, Fault> {
        let settings = Settings::of(ctx)?;
        let amount = settings.units(&request.amount)?;
        let to = match &request.account {
            Account::Address(text) => text
                .parse::<Address>()
                .map_err(|_| Fault::Invalid(("account.address".into(), "no address of this chain".into())))?,
            _ => return Err(Fault::Unsupported("only addresses of this chain".into())),
        };
        let key = ctx.next_key()?;
        let all = signed(&request.extra);
        let prepared = match all.last() {
            Some(_) => dearer(ctx, &settings, &all, &transfer(to, amount, &key)).await?,
            None => prepare(ctx, &settings, (to, amount), &key).await?,
        };
        match prepared {
            Ok(transaction) => send(ctx, transaction).await,
            Err(refusal) => Ok(refusal),
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Outcome, Fault> {
        let settings = Settings::of(ctx)?;
        let all = signed(&of.extra);
        let Some(newest) = all.last() else {
            // Nothing was ever signed.
            return Ok(Outcome::NotFound);
        };
        // The head first: what is deep below it stays deep, whatever is read after.
        let head = match number(ctx, "eth_blockNumber", json!([])).await? {
            Ok(head) => u64::try_from(head).unwrap_or(0),
            Err(why) => return Ok(Outcome::Unknown(why)),
        };
        // Before the transactions: if one of ours took the number that deep, it is seen in its block.
        let deep = format!("0x{:x}", head.saturating_sub(settings.confirmations));
        // A node that keeps no such old states does not say: then nothing is concluded from it.
        let next = number(ctx, "eth_getTransactionCount", json!([address_at(HOT)?, deep])).await?;
        let mut waiting = None;
        for it in all.iter().rev() {
            match ask(ctx, "eth_getTransactionByHash", json!([it.hash])).await? {
                Ok(found) if found.get("blockNumber").is_some_and(Value::is_string) => {
                    return mined(ctx, &settings, it.hash, head).await;
                }
                Ok(Value::Null) => {}
                Ok(_) => waiting = waiting.or(Some(it)),
                Err(why) => return Ok(Outcome::Unknown(why)),
            }
        }
        match next {
            Ok(next) if next > U256::from(newest.transaction.nonce) => {
                let why = "another transaction took its number: it will never be mined";
                Ok(declined("number-taken", Retry::Later, why.into()))
            }
            Err(why) if waiting.is_none() => Ok(Outcome::Unknown(why)),
            Ok(_) | Err(_) => not_mined(ctx, (&all, newest), waiting).await,
        }
    }
}

/// A transaction that was signed and may have left.
struct Signed {
    transaction: TxEip1559,
    hash: B256,
}

/// The transactions in the requests that were sent, each once, in order.
fn signed(extra: &[(String, String)]) -> Vec<Signed> {
    let bodies = extra.iter().filter(|(name, _)| name == "sent").map(|(_, body)| body);
    let mut all: Vec<Signed> = vec![];
    for raw in bodies.filter_map(|body| raw_of(body)) {
        let hash = keccak256(&raw);
        let Ok(TxEnvelope::Eip1559(decoded)) = TxEnvelope::decode_2718(&mut raw.as_slice()) else {
            continue;
        };
        all.retain(|it| it.hash != hash);
        all.push(Signed {
            transaction: decoded.strip_signature(),
            hash,
        });
    }
    all
}

/// Signs and sends.
async fn send(ctx: &Ctx, transaction: TxEip1559) -> Result<Outcome, Fault> {
    let signature = sign(&transaction)?;
    let signed = transaction.into_signed(signature);
    let hash = *signed.hash();
    let raw = hex::encode_prefixed(signed.encoded_2718());
    Ok(match call(ctx, "eth_sendRawTransaction", json!([raw])).await? {
        Called::Result(_) => sent(hash, false),
        Called::Refused(why) if why.contains("already known") || why.contains("already imported") => sent(hash, false),
        Called::Refused(why) => {
            let lower = why.to_lowercase();
            match REFUSALS.iter().find(|(text, ..)| lower.contains(text)) {
                // This very transaction may have taken it: only a deep block tells, and `status` reads it.
                Some((_, "number-taken", _)) => Outcome::Unknown(why),
                Some((_, reason, retry)) => declined(reason, *retry, why),
                // What no table knows may have been taken all the same.
                None => Outcome::Unknown(why),
            }
        }
        Called::Nothing(why) => Outcome::Unknown(why),
    })
}

/// In a block: there once it is deep.
async fn mined(ctx: &Ctx, settings: &Settings, hash: B256, head: u64) -> Result<Outcome, Fault> {
    let receipt = match ask(ctx, "eth_getTransactionReceipt", json!([hash])).await? {
        // Its block is gone again.
        Ok(Value::Null) => return Ok(sent(hash, false)),
        Ok(receipt) => receipt,
        Err(why) => return Ok(Outcome::Unknown(why)),
    };
    let field = |name: &str| {
        let found = receipt.get(name);
        found.ok_or_else(|| Fault::Protocol(format!("a receipt without {name}")))
    };
    let block = hex64(field("blockNumber")?)?;
    let is_deep = head.saturating_add(1).saturating_sub(block) >= settings.confirmations;
    let is_reverted = hex64(field("status")?)? == 0;
    // In another block it may end otherwise: a shallow revert is no answer.
    Ok(if is_reverted && is_deep {
        declined("reverted", Retry::Never, "the token refused the transfer".into())
    } else {
        sent(hash, is_deep)
    })
}

/// In no block yet: waiting, perhaps for too low a price; or in no pool either, perhaps for the same reason.
async fn not_mined(ctx: &Ctx, (all, newest): (&[Signed], &Signed), waiting: Option<&Signed>) -> Result<Outcome, Fault> {
    if waiting.is_none() {
        let held = number(ctx, "eth_getTransactionCount", json!([address_at(HOT)?, "pending"])).await?;
        match held {
            // Nobody else waits under its number: a dearer one pushes nothing out.
            Ok(next) if next <= U256::from(newest.transaction.nonce) => {}
            Ok(_) => return Ok(Outcome::NotFound),
            Err(why) => return Ok(Outcome::Unknown(why)),
        }
    }
    let base = match base_fee(ctx).await? {
        Ok(base) => base,
        Err(why) => return Ok(Outcome::Unknown(why)),
    };
    let Signed { transaction, hash } = waiting.unwrap_or(newest);
    // Said even where the channel pays no more: then somebody has to hear of it. Of several that no pool keeps the last one
    // goes out again, not the first.
    let is_lost = waiting.is_none() && all.len() > 1;
    if transaction.max_fee_per_gas < base || is_lost {
        let why = match waiting {
            Some(_) => format!(
                "it pays at most {} wei, a block takes {base}",
                transaction.max_fee_per_gas
            ),
            None => "no node keeps it".to_owned(),
        };
        return Ok(Outcome::Sent(OnItsWay {
            extra: vec![("replace".into(), why)],
            ..on_its_way(*hash, false)
        }));
    }
    Ok(waiting.map_or(Outcome::NotFound, |it| sent(it.hash, false)))
}

async fn base_fee(ctx: &Ctx) -> Result<Result<u128, String>, Fault> {
    let block = match ask(ctx, "eth_getBlockByNumber", json!(["latest", false])).await? {
        Ok(block) => block,
        Err(why) => return Ok(Err(why)),
    };
    let base = block.get("baseFeePerGas");
    let base = base.ok_or_else(|| Fault::Protocol("a block without base fee".into()))?;
    Ok(Ok(u128::from(hex64(base)?)))
}

/// What the next transaction pays, as tip and as most: what the last one does, if a block takes that; else enough more for nodes
/// to take it instead (they want a tenth more of both, some an eighth). `None`: that is more than the channel pays.
fn price(settings: &Settings, waiting: &TxEip1559, base: u128) -> Option<(u128, u128)> {
    if waiting.max_fee_per_gas >= base {
        return Some((waiting.max_priority_fee_per_gas, waiting.max_fee_per_gas));
    }
    let raised = |wei: u128| wei.saturating_add(wei / 8).saturating_add(1);
    let tip = raised(waiting.max_priority_fee_per_gas);
    let max_fee = base.saturating_mul(2).saturating_add(tip).min(settings.max_fee_wei);
    let is_enough = max_fee >= raised(waiting.max_fee_per_gas) && max_fee >= base.saturating_add(tip);
    is_enough.then_some((tip, max_fee))
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
        let why = format!(
            "the base fee is {base} wei, the channel pays at most {}",
            settings.max_fee_wei
        );
        return Ok(Err(declined("gas-too-dear", Retry::Later, why)));
    };
    if max_fee != waiting.max_fee_per_gas && all.len() >= PRICES_MAX {
        let why = format!("{PRICES_MAX} prices were offered");
        return Ok(Err(declined("gas-too-dear", Retry::Later, why)));
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

fn silent(why: String) -> Fault {
    Fault::Other(format!("the node does not answer: {why}"))
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
    let balance_of = [hex::decode("70a08231").unwrap_or_default(), own.into_word().to_vec()].concat();
    let lookup = json!([{ "to": settings.token, "data": hex::encode_prefixed(balance_of) }, "latest"]);
    let held = number(ctx, "eth_call", lookup).await?.map_err(silent)?;
    if held < amount {
        let why = format!("the payout address holds {held}");
        return Ok(Err(declined("insufficient-prefund", Retry::OtherChannel, why)));
    }
    let nonce = number(ctx, "eth_getTransactionCount", json!([own, "pending"]))
        .await?
        .map_err(silent)?;
    let base = base_fee(ctx).await?.map_err(silent)?;
    let tip = number(ctx, "eth_maxPriorityFeePerGas", json!([]))
        .await?
        .map_err(silent)?;
    let tip = u128::try_from(tip).unwrap_or(u128::MAX);
    if base.saturating_add(tip) > settings.max_fee_wei {
        let why = format!(
            "the base fee is {base} wei, the channel pays at most {}",
            settings.max_fee_wei
        );
        return Ok(Err(declined("gas-too-dear", Retry::Later, why)));
    }
    let max_fee = base.saturating_mul(2).saturating_add(tip).min(settings.max_fee_wei);
    if let Err(refusal) = has_gas(ctx, settings, max_fee).await? {
        return Ok(Err(refusal));
    }
    Ok(Ok(TxEip1559 {
        chain_id: settings.chain,
        nonce: u64::try_from(nonce).map_err(|_| Fault::Protocol("the number is out of range".into()))?,
        gas_limit: GAS_LIMIT,
        max_fee_per_gas: max_fee,
        max_priority_fee_per_gas: tip.min(max_fee),
        to: TxKind::Call(settings.token),
        value: U256::ZERO,
        access_list: Default::default(),
        input: transfer(to, amount, key).into(),
    }))
}

/// `transfer(to, amount)`, and the operation's key behind it, which contracts do not read: so a payout is told apart from
/// another to the same address on the chain itself.
fn transfer(to: Address, amount: U256, key: &str) -> Vec<u8> {
    let selector = hex::decode("a9059cbb").unwrap_or_default();
    let key = hex::decode(key.replace('-', "")).unwrap_or_else(|_| key.as_bytes().to_vec());
    let word = amount.to_be_bytes::<32>();
    [selector.as_slice(), to.into_word().as_slice(), word.as_slice(), &key].concat()
}

fn sign(transaction: &TxEip1559) -> Result<Signature, Fault> {
    let bytes = keys::sign_hash(WALLET, HOT, transaction.signature_hash().as_slice())?;
    let (scalars, recovery) = bytes.split_at_checked(64).unwrap_or((&[], &[]));
    let odd = recovery.first().is_some_and(|id| id & 1 == 1);
    if scalars.len() != 64 {
        return Err(Fault::Other("the signature has not its length".into()));
    }
    Ok(Signature::from_bytes_and_parity(scalars, odd))
}

/// The signed transaction in the body of a request that was sent.
fn raw_of(body: &str) -> Option<Vec<u8>> {
    let body: Value = from_slice(body.as_bytes()).ok()?;
    hex::decode(body.pointer("/params/0")?.as_str()?).ok()
}
