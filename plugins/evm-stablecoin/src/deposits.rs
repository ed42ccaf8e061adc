//! Deposits: an address per payment, what arrived there and how deep it lies. What becomes of one that counts is in `watched.rs`.

use crate::node::{ask, hex, hex64, number};
use crate::sweep::wanted;
use crate::watched::{told, watch, watched};
use crate::{Settings, Token, address_at, transfer_topic};
use alloy_primitives::hex::decode as unhex;
use alloy_primitives::{Address, U256};
use portolan_adapter::captures::{Done, Outcome as Undone};
use portolan_adapter::payments::{Authorization, Finding, Instrument, Outcome, Standing, State, Waiting};
use portolan_adapter::types::{Action, Decline, Fault, Memo, Money, Retry, Target};
use portolan_adapter::{Captures, Ctx, Payments, Value, from_slice, json};
use serde::{Deserialize, Serialize};

/// When a deposit that was not seen yet is looked for again; the feed is quicker.
pub const LOOK_AGAIN_MS: u32 = 5_000;
/// The memo's format.
const DEPOSIT: u16 = 1;

/// What later operations need to know.
#[derive(Serialize, Deserialize)]
pub struct Deposit {
    index: u64,
    /// The chain's head when the address was made: nothing came before.
    block: u64,
    expires_ms: u64,
}

impl Deposit {
    /// Of a payment, as its memo says.
    pub fn of(target: &Target) -> Result<Self, Fault> {
        let memo = target.memo.as_ref().filter(|memo| memo.format == DEPOSIT);
        let parsed = memo.and_then(|memo| from_slice(&memo.bytes).ok());
        parsed.ok_or_else(no_deposit)
    }

    /// Of what is to be swept: the memo in the words beside it.
    pub fn told(extra: &[(String, String)]) -> Result<Self, Fault> {
        let word = |name: &str| {
            let found = extra.iter().find(|(it, _)| it == name);
            found.map(|(_, text)| text.as_str())
        };
        let is_its = word("memo-format") == Some(DEPOSIT.to_string().as_str());
        let bytes = word("memo").filter(|_| is_its).and_then(|it| unhex(it).ok());
        bytes.and_then(|bytes| from_slice(&bytes).ok()).ok_or_else(no_deposit)
    }

    /// Where its key is.
    pub fn path(&self) -> String {
        format!("m/44'/60'/1'/0/{}", self.index)
    }

    /// Where the payer sends the tokens.
    pub fn address(&self) -> Result<Address, Fault> {
        address_at(&self.path())
    }

    fn memo(&self) -> Memo {
        Memo {
            format: DEPOSIT,
            bytes: json!(self).to_string().into_bytes(),
        }
    }
}

fn no_deposit() -> Fault {
    Fault::Unsupported("the payment has no deposit address".into())
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

/// What lies at an address: all of it, and what is deep enough.
pub struct Arrived {
    pub all: U256,
    pub confirmed: U256,
    pub progress: String,
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
        extra: match is_captured {
            true => std::iter::once(watch(0))
                .chain(wanted(settings, arrived.confirmed, 0))
                .collect(),
            false => vec![],
        },
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
