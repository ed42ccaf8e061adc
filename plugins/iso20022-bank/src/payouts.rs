//! Credit transfers: sent once, asked about by pain.002, found again on the account where no answer came, and seen there when
//! they come back.

use crate::account_report::{self, Entry};
use crate::call::{self, TppMessage};
use crate::credit_transfer::{self, CROSS_BORDER, SEPA};
use crate::status_report::{self, Standing};
use crate::{Bank, bare, declines};
use portolan_adapter::payouts::{CameBack, OnItsWay, Outcome, Payout};
use portolan_adapter::types::{Fault, Memo, Response, Target};
use portolan_adapter::{Ctx, Payouts, ReplyExt};
use serde::Deserialize;

/// When a transfer on its way is looked at again; one that waits for a person at the bank, later.
const LOOK_AGAIN_MS: u32 = 2_000;
const LOOK_LATER_MS: u32 = 10_000;
const DAY_MS: u64 = 86_400_000;
/// What a memo says: the product that the bank knows the transfer under.
const MEMO: u16 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initiated {
    transaction_status: String,
    payment_id: String,
    #[serde(default)]
    tpp_messages: Vec<TppMessage>,
}

impl Payouts for Bank {
    async fn pay(ctx: &Ctx, request: Payout) -> Result<Outcome, Fault> {
        let key = ctx.next_key()?;
        let product = credit_transfer::product(&request);
        let document = credit_transfer::write(ctx, &request, &bare(&key))?;
        let response = match ctx.send(call::initiate(ctx, product, document)?).await {
            Err(no) => return Ok(Outcome::Unknown(portolan_adapter::why(&no))),
            Ok(response) => response,
        };
        match response.status {
            201 => initiated(ctx, response.read()?, product, &key).await,
            400..=499 => match call::refused_caller(&response) {
                Some(fault) => Err(fault),
                None => refused(ctx, &call::problem(&response), &key).await,
            },
            status => Ok(Outcome::Unknown(format!("status {status}"))),
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Outcome, Fault> {
        let key = of
            .keys
            .first()
            .ok_or_else(|| Fault::Unsupported("a transfer is found by its key".into()))?;
        let Some((product, id)) = of.memo.as_ref().and_then(product_of).zip(of.reference.as_deref()) else {
            return booked(ctx, key, of.started_ms).await;
        };
        let response = match ctx.send(call::status(ctx, product, id)?).await {
            Err(no) => return Ok(Outcome::Unknown(portolan_adapter::why(&no))),
            Ok(response) => response,
        };
        match response.status {
            200 => {
                let standing = status_report::read(&response, &bare(key))?;
                match outcome(&standing, id, product) {
                    // What was paid may have come back since: the account tells, not the report.
                    Outcome::Sent(sent) if sent.final_ => returned_or(ctx, key, of.started_ms, sent).await,
                    outcome => Ok(outcome),
                }
            }
            404 => Ok(Outcome::NotFound),
            status => refused_to_look(&response, status),
        }
    }
}

/// The bank has it, says the answer to the first call.
async fn initiated(ctx: &Ctx, told: Initiated, product: &str, key: &str) -> Result<Outcome, Fault> {
    let message = told.tpp_messages.into_iter().next().unwrap_or_default();
    let standing = Standing {
        status: told.transaction_status,
        code: message.code,
        text: message.text,
    };
    match outcome(&standing, &told.payment_id, product) {
        Outcome::Unknown(_) if declines::is_duplicate(&standing.code) => first_of_its_kind(ctx, key).await,
        outcome => Ok(outcome),
    }
}

async fn refused(ctx: &Ctx, problem: &TppMessage, key: &str) -> Result<Outcome, Fault> {
    if declines::is_duplicate(&problem.code) {
        first_of_its_kind(ctx, key).await
    } else {
        Ok(Outcome::Declined(declines::of(&problem.code, &problem.text)))
    }
}

/// The bank had this message before: what became of that one is on the account, or not known.
async fn first_of_its_kind(ctx: &Ctx, key: &str) -> Result<Outcome, Fault> {
    // Whatever is wrong with the look at the account, the bank has the money's order: never is that no effect.
    Ok(match booked(ctx, key, ctx.now_ms()).await {
        Ok(Outcome::NotFound) => Outcome::Unknown("the bank has it already, and it is not booked yet".into()),
        Ok(found) => found,
        Err(fault) => Outcome::Unknown(format!(
            "the bank has it already, and its account cannot be read: {fault:?}"
        )),
    })
}

/// The days on which a transfer that began then is booked or comes back: around its beginning, and now. The bank's day is not
/// UTC's; a return in between is heard of by the feed on its own day.
fn days(started_ms: u64, now_ms: u64) -> Vec<u64> {
    let begun = [
        started_ms.saturating_sub(DAY_MS),
        started_ms,
        started_ms.saturating_add(DAY_MS),
    ];
    let mut days: Vec<u64> = begun
        .into_iter()
        .chain([now_ms.saturating_sub(DAY_MS), now_ms])
        .collect();
    days.retain(|day| *day <= now_ms.max(started_ms));
    days.sort_unstable();
    days.dedup_by_key(|day| *day / DAY_MS);
    days
}

/// Where it stands, by the account alone.
async fn booked(ctx: &Ctx, key: &str, started_ms: u64) -> Result<Outcome, Fault> {
    let entries = match entries(ctx, started_ms).await? {
        Ok(entries) => entries,
        Err(nothing) => return Ok(nothing),
    };
    if let Some(back) = came_back(&entries, key)? {
        return Ok(Outcome::Returned(back));
    }
    let own = entries.iter().filter(|it| it.is_booked() && it.is_about(key));
    for entry in own {
        if !entry.is_credit()? {
            return Ok(Outcome::Sent(OnItsWay {
                reference: entry.reference().unwrap_or_else(|| bare(key)),
                final_: true,
                check_after_ms: LOOK_AGAIN_MS,
                iso_status: Some("ACSC".into()),
                fee: entry.charges()?,
                memo: None,
                extra: vec![],
            }));
        }
    }
    Ok(Outcome::NotFound)
}

async fn returned_or(ctx: &Ctx, key: &str, started_ms: u64, sent: OnItsWay) -> Result<Outcome, Fault> {
    // That the account cannot be read now, or may not be, takes nothing from what the bank said.
    Ok(match entries(ctx, started_ms).await {
        Ok(Ok(entries)) => match came_back(&entries, key)? {
            Some(back) => Outcome::Returned(CameBack {
                reference: sent.reference,
                ..back
            }),
            None => Outcome::Sent(sent),
        },
        Ok(Err(_)) | Err(_) => Outcome::Sent(sent),
    })
}

/// The account's entries of the days that matter, or why nobody knows them.
async fn entries(ctx: &Ctx, started_ms: u64) -> Result<Result<Vec<Entry>, Outcome>, Fault> {
    let mut all = vec![];
    for (day, number) in days(started_ms, ctx.now_ms()).into_iter().zip(2..) {
        match ctx.send(call::transactions(ctx, day, number)?).await {
            Err(no) => return Ok(Err(Outcome::Unknown(portolan_adapter::why(&no)))),
            Ok(response) => match response.status {
                200 => all.extend(account_report::read(&response)?),
                status => return Ok(Err(refused_to_look(&response, status)?)),
            },
        }
    }
    Ok(Ok(all))
}

fn refused_to_look(response: &Response, status: u16) -> Result<Outcome, Fault> {
    match call::refused_caller(response) {
        Some(fault) => Err(fault),
        None => Ok(Outcome::Unknown(format!("status {status}"))),
    }
}

fn came_back(entries: &[Entry], key: &str) -> Result<Option<CameBack>, Fault> {
    for entry in entries.iter().filter(|it| it.is_booked() && it.is_about(key)) {
        let reason = entry.return_reason();
        if let (true, Some(reason)) = (entry.is_credit()?, reason) {
            return Ok(Some(CameBack {
                reference: entry.reference().unwrap_or_else(|| bare(key)),
                amount: entry.gross()?,
                reason,
                extra: vec![],
            }));
        }
    }
    Ok(None)
}

/// The table of ISO 20022's statuses; one that is not in it says nothing.
fn outcome(standing: &Standing, id: &str, product: &str) -> Outcome {
    let sent = |is_final: bool, check_after_ms: u32| {
        Outcome::Sent(OnItsWay {
            reference: id.to_owned(),
            final_: is_final,
            check_after_ms,
            iso_status: Some(standing.status.clone()),
            fee: None,
            memo: Some(Memo {
                format: MEMO,
                bytes: product.as_bytes().to_vec(),
            }),
            extra: vec![],
        })
    };
    match standing.status.as_str() {
        "ACSC" | "ACCC" => sent(true, LOOK_AGAIN_MS),
        "ACCP" | "ACSP" | "ACTC" | "ACWC" | "ACWP" | "ACFC" => sent(false, LOOK_AGAIN_MS),
        // A person at the merchant's has to sign at the bank.
        "RCVD" | "PDNG" | "PATC" => sent(false, LOOK_LATER_MS),
        "RJCT" if declines::is_duplicate(&standing.code) => {
            Outcome::Unknown(format!("refused as a duplicate: {}", standing.code))
        }
        "RJCT" => Outcome::Declined(declines::of(&standing.code, &standing.text)),
        "CANC" => Outcome::Declined(declines::of("CUST", "canceled at the bank")),
        other => Outcome::Unknown(format!("status {other:?} is none of ISO 20022's for one transfer")),
    }
}

fn product_of(memo: &Memo) -> Option<&'static str> {
    let known = [SEPA, CROSS_BORDER].into_iter();
    known
        .filter(|_| memo.format == MEMO)
        .find(|product| product.as_bytes() == memo.bytes)
}
