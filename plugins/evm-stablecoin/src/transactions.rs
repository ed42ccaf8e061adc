//! Transactions: signed, sent, and found again by their hashes. Of those that share a number the chain takes one; where it waits
//! for too low a price, a dearer one may take its place.

use crate::node::{Called, ask, call, hex64, number};
use crate::{Settings, WALLET};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Signature, U256, hex, keccak256};
use portolan_adapter::payouts::{OnItsWay, Outcome};
use portolan_adapter::types::{Decline, Fault, Retry};
use portolan_adapter::{Ctx, Value, from_slice, json, keys};

/// Enough for a token's `transfer`, some of which keep more books than others.
pub const GAS_LIMIT: u64 = 120_000;
/// Prices that are offered for one payout: `status` asks after each, in the requests that it has.
pub const PRICES_MAX: usize = 4;
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

/// A certain no.
pub fn declined(reason: &str, retry: Retry, message: String) -> Outcome {
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

/// It is on its way, or there.
pub fn sent(hash: B256, is_final: bool) -> Outcome {
    Outcome::Sent(on_its_way(hash, is_final))
}

/// The same, to be added to.
pub fn on_its_way(hash: B256, is_final: bool) -> OnItsWay {
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

/// Another write is to go out, beside what left.
pub fn goes_on(hash: B256, why: String) -> Outcome {
    Outcome::Sent(OnItsWay {
        extra: vec![("replace".into(), why)],
        ..on_its_way(hash, false)
    })
}

/// A transaction that was signed and may have left.
pub struct Signed {
    pub transaction: TxEip1559,
    pub hash: B256,
}

/// The transactions in the requests that were sent, each once, in order.
pub fn signed(extra: &[(String, String)]) -> Vec<Signed> {
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

/// Signs with the key at that path, and sends.
pub async fn send(ctx: &Ctx, transaction: TxEip1559, path: &str) -> Result<Outcome, Fault> {
    let signature = sign(&transaction, path)?;
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

/// Whose number the transactions share, and how deep one counts.
pub struct Sender {
    pub address: Address,
    pub confirmations: u64,
}

/// What became of transactions of one number, of which the chain takes one (or of several numbers one after the other, of which the
/// last counts); `all`: in order, at least one.
pub async fn found(ctx: &Ctx, sender: &Sender, all: &[Signed], head: u64) -> Result<Outcome, Fault> {
    let Some(newest) = all.last() else {
        // Nothing was ever signed.
        return Ok(Outcome::NotFound);
    };
    // Before the transactions: if one of ours took the number that deep, it is seen in its block.
    let deep = format!("0x{:x}", head.saturating_sub(sender.confirmations));
    // A node that keeps no such old states does not say: then nothing is concluded from it.
    let next = number(ctx, "eth_getTransactionCount", json!([sender.address, deep])).await?;
    let mut waiting = None;
    for it in all.iter().rev() {
        match ask(ctx, "eth_getTransactionByHash", json!([it.hash])).await? {
            Ok(found) if found.get("blockNumber").is_some_and(Value::is_string) => {
                return mined(ctx, sender.confirmations, it.hash, head).await;
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
        Ok(_) | Err(_) => not_mined(ctx, sender.address, (all, newest), waiting).await,
    }
}

/// In a block: there once it is deep.
async fn mined(ctx: &Ctx, confirmations: u64, hash: B256, head: u64) -> Result<Outcome, Fault> {
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
    let is_deep = head.saturating_add(1).saturating_sub(block) >= confirmations;
    let is_reverted = hex64(field("status")?)? == 0;
    // In another block it may end otherwise: a shallow revert is no answer.
    Ok(if is_reverted && is_deep {
        declined("reverted", Retry::Never, "the token refused the transfer".into())
    } else {
        sent(hash, is_deep)
    })
}

/// In no block yet: waiting, perhaps for too low a price; or in no pool either, perhaps for the same reason.
async fn not_mined(
    ctx: &Ctx,
    from: Address,
    (all, newest): (&[Signed], &Signed),
    waiting: Option<&Signed>,
) -> Result<Outcome, Fault> {
    if waiting.is_none() {
        let held = number(ctx, "eth_getTransactionCount", json!([from, "pending"])).await?;
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
        return Ok(goes_on(*hash, why));
    }
    Ok(waiting.map_or(Outcome::NotFound, |it| sent(it.hash, false)))
}

/// What a block takes for a unit of gas now, in wei.
pub async fn base_fee(ctx: &Ctx) -> Result<Result<u128, String>, Fault> {
    let block = match ask(ctx, "eth_getBlockByNumber", json!(["latest", false])).await? {
        Ok(block) => block,
        Err(why) => return Ok(Err(why)),
    };
    let base = block.get("baseFeePerGas");
    let base = base.ok_or_else(|| Fault::Protocol("a block without base fee".into()))?;
    Ok(Ok(u128::from(hex64(base)?)))
}

/// Enough more for nodes to take another transaction in the place of one (they want a tenth more, some an eighth).
pub fn raised(wei: u128) -> u128 {
    wei.saturating_add(wei / 8).saturating_add(1)
}

/// What the next transaction pays, as tip and as most: what the last one does, if a block takes that; else enough more for nodes
/// to take it instead (they want a tenth more of both, some an eighth). `None`: that is more than the channel pays.
pub fn price(settings: &Settings, waiting: &TxEip1559, base: u128) -> Option<(u128, u128)> {
    if waiting.max_fee_per_gas >= base {
        return Some((waiting.max_priority_fee_per_gas, waiting.max_fee_per_gas));
    }
    let tip = raised(waiting.max_priority_fee_per_gas);
    let max_fee = base.saturating_mul(2).saturating_add(tip).min(settings.max_fee_wei);
    let is_enough = max_fee >= raised(waiting.max_fee_per_gas) && max_fee >= base.saturating_add(tip);
    is_enough.then_some((tip, max_fee))
}

/// Nothing was sent, for the node does not answer.
pub fn silent(why: String) -> Fault {
    Fault::Other(format!("the node does not answer: {why}"))
}

/// No block takes what the channel pays.
pub fn too_dear(settings: &Settings, base: u128) -> Outcome {
    let why = format!(
        "the base fee is {base} wei, the channel pays at most {}",
        settings.max_fee_wei
    );
    declined("gas-too-dear", Retry::Later, why)
}

/// Enough prices were offered.
pub fn offered_enough() -> Outcome {
    let why = format!("{PRICES_MAX} prices were offered");
    declined("gas-too-dear", Retry::Later, why)
}

/// What a transaction offers for a unit of gas, in wei.
#[derive(Clone, Copy)]
pub struct Offer {
    /// What a block takes now.
    pub base: u128,
    pub tip: u128,
    pub most: u128,
}

/// What a new transaction offers now; or why nothing is sent.
pub async fn offer(ctx: &Ctx, settings: &Settings) -> Result<Result<Offer, Outcome>, Fault> {
    let base = base_fee(ctx).await?.map_err(silent)?;
    let tip = number(ctx, "eth_maxPriorityFeePerGas", json!([]))
        .await?
        .map_err(silent)?;
    let tip = u128::try_from(tip).unwrap_or(u128::MAX);
    if base.saturating_add(tip) > settings.max_fee_wei {
        return Ok(Err(too_dear(settings, base)));
    }
    let most = base.saturating_mul(2).saturating_add(tip).min(settings.max_fee_wei);
    let tip = tip.min(most);
    Ok(Ok(Offer { base, tip, most }))
}

/// A transaction's number, as the chain counts those of an address.
pub async fn next_number(ctx: &Ctx, address: Address, block: &str) -> Result<u64, Fault> {
    let next = number(ctx, "eth_getTransactionCount", json!([address, block]))
        .await?
        .map_err(silent)?;
    u64::try_from(next).map_err(|_| Fault::Protocol("the number is out of range".into()))
}

/// What an address holds of the token, by the last block.
pub async fn balance_of(ctx: &Ctx, settings: &Settings, address: Address) -> Result<U256, Fault> {
    let call = [
        hex::decode("70a08231").unwrap_or_default(),
        address.into_word().to_vec(),
    ]
    .concat();
    let lookup = json!([{ "to": settings.token, "data": hex::encode_prefixed(call) }, "latest"]);
    number(ctx, "eth_call", lookup).await?.map_err(silent)
}

/// `transfer(to, amount)`, and the operation's key behind it, which contracts do not read: so a payout is told apart from
/// another to the same address on the chain itself.
pub fn transfer(to: Address, amount: U256, key: &str) -> Vec<u8> {
    let selector = hex::decode("a9059cbb").unwrap_or_default();
    let key = hex::decode(key.replace('-', "")).unwrap_or_else(|_| key.as_bytes().to_vec());
    let word = amount.to_be_bytes::<32>();
    [selector.as_slice(), to.into_word().as_slice(), word.as_slice(), &key].concat()
}

fn sign(transaction: &TxEip1559, path: &str) -> Result<Signature, Fault> {
    let bytes = keys::sign_hash(WALLET, path, transaction.signature_hash().as_slice())?;
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
