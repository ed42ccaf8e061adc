//! Deposits: an address per payment, what arrived there and how deep it lies, the feed of everybody's, and what a chain takes
//! back of a deposit that counted already.

use crate::node::{ask, hex, hex64, number};
use crate::{Settings, Token, address_at, transfer_topic};
use alloy_primitives::{Address, U256};
use portolan_adapter::captures::{Done, Outcome as Undone};
use portolan_adapter::feeds::{Page, Subject};
use portolan_adapter::payments::{Authorization, Finding, Instrument, Outcome, Standing, State, Waiting};
use portolan_adapter::types::{Action, Decline, Fault, Memo, Money, Retry, Target};
use portolan_adapter::{Captures, Ctx, Feeds, Payments, Value, from_slice, json};
use serde::{Deserialize, Serialize};

/// When a deposit that was not seen yet is looked for again; the feed is quicker.
const LOOK_AGAIN_MS: u32 = 5_000;
/// When a feed that has nothing new is read again.
const FEED_MS: u32 = 500;
/// Blocks in one page of the feed; where a node refuses so many logs at once, fewer.
const FEED_BLOCKS: [u64; 4] = [64, 16, 4, 1];
/// So many blocks are read again where the chain is another one.
const REREAD_BLOCKS: u64 = 256;
/// The memo's format.
const DEPOSIT: u16 = 1;

/// What later operations need to know.
#[derive(Serialize, Deserialize)]
struct Deposit {
    index: u64,
    /// The chain's head when the address was made: nothing came before.
    block: u64,
    expires_ms: u64,
}

impl Deposit {
    fn of(target: &Target) -> Result<Self, Fault> {
        let memo = target.memo.as_ref().filter(|memo| memo.format == DEPOSIT);
        let parsed = memo.and_then(|memo| from_slice(&memo.bytes).ok());
        parsed.ok_or_else(|| Fault::Unsupported("the payment has no deposit address".into()))
    }

    fn address(&self) -> Result<Address, Fault> {
        address_at(&format!("m/44'/60'/1'/0/{}", self.index))
    }

    fn memo(&self) -> Memo {
        Memo {
            format: DEPOSIT,
            bytes: json!(self).to_string().into_bytes(),
        }
    }
}

impl Payments for Token {
    async fn authorize(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
        let settings = Settings::of(ctx)?;
        settings.units(&request.amount)?;
        match &request.instrument {
            Instrument::Token(code) if *code == settings.asset => {}
            Instrument::Token(code) => {
                let why = format!("this channel takes {}, not {code}", settings.asset);
                return Err(Fault::Invalid(("payment_method_type".into(), why)));
            }
            _ => return Err(Fault::Unsupported("only tokens".into())),
        }
        let head = number(ctx, "eth_blockNumber", json!([])).await?;
        let head = head.map_err(|why| Fault::Other(format!("the node does not answer: {why}")))?;
        let deposit = Deposit {
            index: request.index,
            block: u64::try_from(head).map_err(|_| Fault::Protocol("the head is out of range".into()))?,
            expires_ms: request.expires_ms,
        };
        let address = deposit.address()?.to_string();
        Ok(Outcome::Waiting(Waiting {
            // As logs write it, for the feed.
            reference: Some(address.to_lowercase()),
            action: Some(Action::TransferTo((address, request.amount))),
            check_after_ms: LOOK_AGAIN_MS,
            progress: None,
            memo: Some(deposit.memo()),
            extra: vec![],
        }))
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Finding, Fault> {
        let settings = Settings::of(ctx)?;
        let deposit = Deposit::of(&of)?;
        let asked = settings.units(of.amount.as_ref().ok_or_else(|| Fault::Other("no amount".into()))?)?;
        match arrived(ctx, &settings, &deposit).await? {
            Err(why) => Ok(Finding::Unknown(why)),
            Ok(arrived) => {
                let standing = match told(&of, "captured").and_then(|units| units.parse::<U256>().ok()) {
                    Some(taken) => watched(ctx, &settings, &of, (taken, &arrived)),
                    None => standing(ctx, &settings, (&deposit, asked), &arrived),
                };
                Ok(Finding::Standing(Standing {
                    reference: deposit.address()?.to_string().to_lowercase(),
                    ..standing
                }))
            }
        }
    }
}

/// What the host tells of the target beside its fields.
fn told<'a>(of: &'a Target, name: &str) -> Option<&'a str> {
    let found = of.extra.iter().find(|(it, _)| it == name);
    found.map(|(_, text)| text.as_str())
}

/// What lies at an address: all of it, and what is deep enough.
struct Arrived {
    all: U256,
    confirmed: U256,
    progress: String,
}

async fn arrived(ctx: &Ctx, settings: &Settings, deposit: &Deposit) -> Result<Result<Arrived, String>, Fault> {
    let head = match number(ctx, "eth_blockNumber", json!([])).await? {
        Ok(head) => u64::try_from(head).unwrap_or(u64::MAX),
        Err(why) => return Ok(Err(why)),
    };
    let filter = json!([{
        "fromBlock": format!("{:#x}", deposit.block), "toBlock": format!("{head:#x}"),
        "address": settings.token, "topics": [transfer_topic(), (Value::Null), deposit.address()?.into_word()],
    }]);
    let logs = match ask(ctx, "eth_getLogs", filter).await? {
        Ok(Value::Array(logs)) => logs,
        Ok(other) => return Err(Fault::Protocol(format!("eth_getLogs gave {other}"))),
        Err(why) => return Ok(Err(why)),
    };
    let (mut all, mut confirmed, mut shallow) = (U256::ZERO, U256::ZERO, 0_u64);
    for log in &logs {
        let (amount, block) = (hex(field(log, "data")?)?, hex64(field(log, "blockNumber")?)?);
        let depth = (head + 1).saturating_sub(block);
        let needed = if amount >= settings.large {
            settings.large_confirmations
        } else {
            settings.confirmations
        };
        all = all.saturating_add(amount);
        if depth >= needed {
            confirmed = confirmed.saturating_add(amount);
        } else {
            shallow = shallow.max(needed - depth);
        }
    }
    let progress = if shallow > 0 {
        format!("{shallow} confirmations to come")
    } else {
        String::new()
    };
    Ok(Ok(Arrived {
        all,
        confirmed,
        progress,
    }))
}

fn field<'a>(log: &'a Value, name: &str) -> Result<&'a Value, Fault> {
    log.get(name)
        .ok_or_else(|| Fault::Protocol(format!("a log without {name}")))
}

/// The reference of a dispute about what the chain took back, with how much that is behind it.
const REORGANIZED: &str = "reorganization";
/// How often a deposit that counts is looked at: each time after half of its age, between these.
const WATCH_MS: (u64, u64) = (1_000, 600_000);

/// When a deposit that counts is looked at again.
fn watch(age_ms: u64) -> (String, String) {
    let next_ms = (age_ms / 2).clamp(WATCH_MS.0, WATCH_MS.1);
    ("watch".into(), next_ms.to_string())
}

fn standing(ctx: &Ctx, settings: &Settings, (deposit, asked): (&Deposit, U256), arrived: &Arrived) -> Standing {
    let is_over = ctx.now_ms() > deposit.expires_ms;
    let state = if arrived.confirmed >= asked {
        State::Captured
    } else if is_over && arrived.all == arrived.confirmed {
        State::Expired
    } else {
        State::Waiting
    };
    let is_captured = state == State::Captured;
    Standing {
        reference: String::new(),
        state,
        authorized: None,
        captured: is_captured.then(|| settings.money(arrived.confirmed)),
        refunded: None,
        received: Some(settings.money(arrived.confirmed)),
        fee: None,
        declined: None,
        progress: Some(arrived.progress.clone()),
        check_after_ms: LOOK_AGAIN_MS,
        memo: None,
        extra: is_captured.then(|| watch(0)).into_iter().collect(),
    }
}

/// A deposit that counted: a chain that goes further back than the confirmations takes it away again, or some of it. Mostly it
/// comes back with the next blocks; what has not come after twice the watch is lost, until it comes.
fn watched(ctx: &Ctx, settings: &Settings, of: &Target, (taken, arrived): (U256, &Arrived)) -> Standing {
    let since_ms = told(of, "captured-ms")
        .and_then(|at| at.parse().ok())
        .unwrap_or(of.started_ms);
    let age_ms = ctx.now_ms().saturating_sub(since_ms);
    let missing = taken.saturating_sub(arrived.all);
    // Seen, and deep: a node that lags behind by some blocks has taken nothing away.
    let is_there = missing.is_zero() && arrived.confirmed >= taken;
    let may_come = age_ms < settings.watch_ms.saturating_mul(2);
    let known = || {
        of.extra
            .iter()
            .filter(|(name, _)| name == "disputed")
            .map(|(_, it)| it.as_str())
    };
    let current = (!missing.is_zero()).then(|| format!("{REORGANIZED} {missing}"));
    let mut extra: Vec<(String, String)> = vec![];
    // What is missing now takes the place of what was missing before.
    for other in known().filter(|it| current.as_deref() != Some(it) && (is_there || current.is_some())) {
        extra.extend(
            other
                .strip_prefix(REORGANIZED)
                .map(|units| dispute(other, "won", units.trim())),
        );
    }
    if let Some(current) = &current {
        let state = if may_come { "under_review" } else { "lost" };
        extra.push(dispute(current, state, &missing.to_string()));
    }
    let is_open = (current.is_some() && may_come) || (known().next().is_some() && !is_there && current.is_none());
    if is_open || age_ms < settings.watch_ms {
        extra.push(watch(age_ms));
    }
    Standing {
        reference: String::new(),
        state: State::Captured,
        authorized: None,
        captured: Some(settings.money(taken)),
        refunded: None,
        received: is_there.then(|| settings.money(arrived.confirmed)),
        fee: None,
        declined: None,
        progress: Some(arrived.progress.clone()),
        check_after_ms: LOOK_AGAIN_MS,
        memo: None,
        extra,
    }
}

fn dispute(reference: &str, state: &str, units: &str) -> (String, String) {
    let body = json!({ "reference": reference, "state": state, "units": units, "reason": REORGANIZED });
    ("dispute".to_owned(), body.to_string())
}

impl Captures for Token {
    async fn capture(_: &Ctx, _: Target, _: Money, _: bool) -> Result<Undone, Fault> {
        Err(Fault::Unsupported("what arrived is there".into()))
    }

    /// Nobody can be kept from paying to an address; giving it up is possible while nothing has come.
    async fn cancel(ctx: &Ctx, of: Target) -> Result<Undone, Fault> {
        given_up(ctx, &of).await
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Undone, Fault> {
        given_up(ctx, &of).await
    }
}

async fn given_up(ctx: &Ctx, of: &Target) -> Result<Undone, Fault> {
    let settings = Settings::of(ctx)?;
    let deposit = Deposit::of(of)?;
    let amount = of.amount.clone().ok_or_else(|| Fault::Other("no amount".into()))?;
    match arrived(ctx, &settings, &deposit).await? {
        Err(why) => Ok(Undone::Unknown(why)),
        Ok(arrived) if arrived.all.is_zero() => Ok(Undone::Done(Done {
            reference: deposit.address()?.to_string().to_lowercase(),
            amount,
            fee: None,
            memo: None,
            extra: vec![],
        })),
        Ok(arrived) => Ok(Undone::Declined(Decline {
            retry: Retry::Never,
            reason: "money-arrived".into(),
            provider_code: String::new(),
            network_code: None,
            advice: None,
            message: format!("{} have arrived already", arrived.all),
            extra: vec![],
        })),
    }
}

impl Feeds for Token {
    /// Blocks that are deep enough, from the cursor on.
    async fn poll(ctx: &Ctx, cursor: Vec<u8>) -> Result<Page, Fault> {
        let settings = Settings::of(ctx)?;
        let silent = |why: String| Fault::Other(format!("the node does not answer: {why}"));
        let head = number(ctx, "eth_blockNumber", json!([])).await?.map_err(silent)?;
        let head = u64::try_from(head).unwrap_or(0);
        let deep = (head + 1).saturating_sub(settings.confirmations);
        let (read_to, read_hash) = read(&cursor);
        let page = |subjects, (to, hash): (u64, &[u8]), check_after_ms| Page {
            subjects,
            cursor: [&to.to_be_bytes(), hash].concat(),
            check_after_ms,
        };
        let Some(read_to) = read_to else {
            return Ok(page(vec![], (deep, &[]), FEED_MS));
        };
        if read_to > head {
            // A shorter chain is another one: what came back with other blocks is read again.
            return Ok(page(vec![], (deep.saturating_sub(REREAD_BLOCKS), &[]), FEED_MS));
        }
        if deep <= read_to {
            return Ok(page(vec![], (read_to, read_hash), FEED_MS));
        }
        // Another block where the last page ended: what came back with other blocks is read again.
        let from = match read_hash.is_empty() || block_hash(ctx, read_to).await?.map_err(silent)? == read_hash {
            true => read_to,
            false => read_to.saturating_sub(REREAD_BLOCKS),
        };
        let mut refused = String::new();
        for blocks in FEED_BLOCKS {
            let to = deep.min(from.saturating_add(blocks));
            match transfers(ctx, &settings, (from + 1, to)).await? {
                Ok(subjects) => {
                    let check_after_ms = if to < deep { 0 } else { FEED_MS };
                    let hash = block_hash(ctx, to).await?.map_err(silent)?;
                    return Ok(page(subjects, (to, &hash), check_after_ms));
                }
                Err(why) => refused = why,
            }
        }
        Err(silent(refused))
    }
}

/// The last block that was read, and its hash: none in the cursor of an older version.
fn read(cursor: &[u8]) -> (Option<u64>, &[u8]) {
    match cursor.split_first_chunk() {
        Some((number, hash)) => (Some(u64::from_be_bytes(*number)), hash),
        None => (None, &[]),
    }
}

/// The hash of a block on the chain of now; empty: it has none there.
async fn block_hash(ctx: &Ctx, number: u64) -> Result<Result<Vec<u8>, String>, Fault> {
    let block = match ask(ctx, "eth_getBlockByNumber", json!([format!("{number:#x}"), false])).await? {
        Ok(block) => block,
        Err(why) => return Ok(Err(why)),
    };
    let hash = block.get("hash").and_then(Value::as_str);
    let hash = hash.map(alloy_primitives::hex::decode).transpose();
    let hash = hash.map_err(|_| Fault::Protocol("a block whose hash is none".into()))?;
    Ok(Ok(hash.unwrap_or_default()))
}

/// Everybody's transfers in these blocks.
async fn transfers(
    ctx: &Ctx,
    settings: &Settings,
    (from, to): (u64, u64),
) -> Result<Result<Vec<Subject>, String>, Fault> {
    let filter = json!([{
        "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"),
        "address": settings.token, "topics": [transfer_topic()],
    }]);
    match ask(ctx, "eth_getLogs", filter).await? {
        Ok(Value::Array(logs)) => logs.iter().map(subject).collect::<Result<_, _>>().map(Ok),
        Ok(other) => Err(Fault::Protocol(format!("eth_getLogs gave {other}"))),
        Err(why) => Ok(Err(why)),
    }
}

fn subject(log: &Value) -> Result<Subject, Fault> {
    let text = |pointer: &str| log.pointer(pointer).and_then(Value::as_str);
    let receiver = text("/topics/2").and_then(|word| word.get(word.len().saturating_sub(40)..));
    // With its block: a transaction that is mined again in another one is news.
    let place = text("/transactionHash").zip(text("/logIndex")).zip(text("/blockHash"));
    match (receiver, place) {
        (Some(receiver), Some(((transaction, index), block))) => Ok(Subject {
            key: None,
            reference: Some(format!("0x{}", receiver.to_lowercase())),
            event: format!("{block} {transaction} {index}"),
            says: None,
            extra: vec![],
        }),
        _ => Err(Fault::Protocol("a log without its place".into())),
    }
}
