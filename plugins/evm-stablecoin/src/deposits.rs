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
                    None => standing(ctx, &settings, &of, (&deposit, asked, &arrived)),
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

/// What says of a deposit that the chain took it back.
const REORGANIZED: &str = "reorganization";
/// How often a deposit that counts is looked at: each time after half of its age, between these.
const WATCH_MS: (u64, u64) = (1_000, 600_000);

/// How long until a deposit that counts is looked at again; `None`: it is old enough to stay.
fn watch(ctx: &Ctx, settings: &Settings, of: &Target) -> Option<(String, String)> {
    let age_ms = ctx.now_ms().saturating_sub(of.started_ms);
    let next_ms = (age_ms / 2).clamp(WATCH_MS.0, WATCH_MS.1);
    (age_ms < settings.watch_ms).then(|| ("watch".into(), next_ms.to_string()))
}

fn standing(
    ctx: &Ctx,
    settings: &Settings,
    of: &Target,
    (deposit, asked, arrived): (&Deposit, U256, &Arrived),
) -> Standing {
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
        extra: watch(ctx, settings, of).filter(|_| is_captured).into_iter().collect(),
    }
}

/// A deposit that counted: a chain that goes further back than the confirmations takes it away again. Mostly it comes back with
/// the next blocks; what has not come once the watch is over is lost, until it comes.
fn watched(ctx: &Ctx, settings: &Settings, of: &Target, (taken, arrived): (U256, &Arrived)) -> Standing {
    let again = watch(ctx, settings, of);
    let missing = taken.saturating_sub(arrived.all);
    let was_missing = told(of, "disputed") == Some(REORGANIZED);
    let found = match () {
        () if !missing.is_zero() && again.is_some() => Some(("under_review", missing)),
        () if !missing.is_zero() => Some(("lost", missing)),
        // Seen, and deep: a node that lags behind by some blocks has taken nothing away.
        () if was_missing && arrived.confirmed >= taken => Some(("won", taken)),
        () => None,
    };
    let dispute = found.map(|(state, units)| {
        let body = json!({
            "reference": REORGANIZED, "state": state, "units": units.to_string(), "reason": REORGANIZED,
        });
        ("dispute".to_owned(), body.to_string())
    });
    Standing {
        reference: String::new(),
        state: State::Captured,
        authorized: None,
        captured: Some(settings.money(taken)),
        refunded: None,
        received: missing.is_zero().then(|| settings.money(arrived.confirmed)),
        fee: None,
        declined: None,
        progress: Some(arrived.progress.clone()),
        check_after_ms: LOOK_AGAIN_MS,
        memo: None,
        extra: dispute.into_iter().chain(again).collect(),
    }
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
    /// Blocks that are deep enough, from the cursor on: what stands in them stays.
    async fn poll(ctx: &Ctx, cursor: Vec<u8>) -> Result<Page, Fault> {
        let settings = Settings::of(ctx)?;
        let silent = |why: String| Fault::Other(format!("the node does not answer: {why}"));
        let head = number(ctx, "eth_blockNumber", json!([])).await?.map_err(silent)?;
        let head = u64::try_from(head).unwrap_or(0);
        let deep = (head + 1).saturating_sub(settings.confirmations);
        let read_to = cursor.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let page = |subjects, to: u64| Page {
            subjects,
            cursor: to.to_be_bytes().to_vec(),
            check_after_ms: FEED_MS,
        };
        // A chain that went back is read again from where it is now.
        let Some(read_to) = read_to.filter(|read_to| *read_to <= head) else {
            return Ok(page(vec![], deep));
        };
        if deep <= read_to {
            return Ok(page(vec![], read_to));
        }
        let mut refused = String::new();
        for blocks in FEED_BLOCKS {
            let to = deep.min(read_to.saturating_add(blocks));
            match transfers(ctx, &settings, (read_to + 1, to)).await? {
                Ok(subjects) => {
                    let check_after_ms = if to < deep { 0 } else { FEED_MS };
                    return Ok(Page {
                        check_after_ms,
                        ..page(subjects, to)
                    });
                }
                Err(why) => refused = why,
            }
        }
        Err(silent(refused))
    }
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
    let place = text("/transactionHash").zip(text("/logIndex"));
    match (receiver, place) {
        (Some(receiver), Some((transaction, index))) => Ok(Subject {
            key: None,
            reference: Some(format!("0x{}", receiver.to_lowercase())),
            event: format!("{transaction} {index}"),
            says: None,
            extra: vec![],
        }),
        _ => Err(Fault::Protocol("a log without its place".into())),
    }
}
