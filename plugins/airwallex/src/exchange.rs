//! Prices and conversions. A quote is a preparation: it binds the provider to a price and moves nothing.

use crate::{API, Airwallex, Items, Problem, SESSION, authorized, declines};
use portolan_adapter::exchange::{Conversion, Converted, Fixed, Inquiry, Outcome, Quotation, QuoteOutcome};
use portolan_adapter::types::{Fault, Memo, Money, Response, Target};
use portolan_adapter::{Ctx, Exact, Exchange, RawValue, ReplyExt, RequestExt, epoch_ms, get, major, post};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// How long a price can be locked, in seconds, with the provider's word for it.
const VALIDITIES: [(u32, &str); 7] = [
    (60, "MIN_1"),
    (900, "MIN_15"),
    (1_800, "MIN_30"),
    (3_600, "HR_1"),
    (14_400, "HR_4"),
    (28_800, "HR_8"),
    (86_400, "HR_24"),
];
/// The memo's format: the side that was fixed, `sell` or `buy`.
const FIXED_SIDE: u16 = 1;

#[derive(Serialize)]
struct QuoteRequest<'a> {
    sell_currency: &'a str,
    buy_currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sell_amount: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    buy_amount: Option<Box<RawValue>>,
    validity: &'a str,
}

#[derive(Deserialize)]
struct Quote {
    quote_id: String,
    currency_pair: String,
    mid_rate: Option<Exact>,
    buy_currency: String,
    buy_amount: Exact,
    sell_currency: String,
    sell_amount: Exact,
    valid_to_at: String,
}

#[derive(Serialize)]
struct ConversionRequest<'a> {
    request_id: String,
    quote_id: &'a str,
    sell_currency: &'a str,
    buy_currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sell_amount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    buy_amount: Option<String>,
}

#[derive(Deserialize)]
struct Booked {
    #[serde(default)]
    request_id: Option<String>,
    conversion_id: String,
    status: String,
    buy_currency: String,
    buy_amount: Exact,
    sell_currency: String,
    sell_amount: Exact,
}

impl Exchange for Airwallex {
    async fn quote(ctx: &Ctx, request: Inquiry) -> Result<QuoteOutcome, Fault> {
        let number = |money: &Money| RawValue::from_string(major(money)).map_err(|e| Fault::Other(e.to_string()));
        let (sell_amount, buy_amount, side) = match &request.fixed {
            Fixed::Sell(money) => (Some(number(money)?), None, "sell"),
            Fixed::Buy(money) => (None, Some(number(money)?), "buy"),
        };
        let longest = VALIDITIES.last().map_or("HR_24", |(_, word)| word);
        let validity = VALIDITIES.iter().find(|(seconds, _)| *seconds >= request.lock_s);
        let body = QuoteRequest {
            sell_currency: &request.sell_asset,
            buy_currency: &request.buy_asset,
            sell_amount,
            buy_amount,
            validity: validity.map_or(longest, |(_, word)| word),
        };
        let ask = authorized(ctx, post(API, "/api/v1/fx/quotes/create").json_of(&body)?)?.prepares();
        let response = ctx
            .send(ask)
            .await
            .map_err(|no| Fault::Other(format!("no price: {}", portolan_adapter::why(&no))))?;
        match response.status {
            200 | 201 => quotation(&response.read()?, &request, side),
            401 => Err(Fault::StaleSession(SESSION.into())),
            400 | 422 => Ok(QuoteOutcome::Refused(declines::of(&Problem::of(&response)))),
            status => Err(Fault::Other(format!("no price: status {status}"))),
        }
    }

    async fn convert(ctx: &Ctx, request: Conversion) -> Result<Outcome, Fault> {
        let quotation = &request.quotation;
        let key = ctx.next_key()?;
        let buys = quotation.memo.as_ref().is_some_and(|memo| memo.bytes == b"buy");
        let body = ConversionRequest {
            request_id: key.clone(),
            quote_id: &quotation.reference,
            sell_currency: &quotation.sell.asset,
            buy_currency: &quotation.buy.asset,
            sell_amount: (!buys).then(|| major(&quotation.sell)),
            buy_amount: buys.then(|| major(&quotation.buy)),
        };
        let write = authorized(ctx, post(API, "/api/v1/fx/conversions/create").json_of(&body)?)?;
        let exponents = (quotation.sell.exponent, quotation.buy.exponent);
        match ctx.send(write).await {
            Err(no) => Ok(Outcome::Unknown(portolan_adapter::why(&no))),
            Ok(response) => match response.status {
                200 | 201 => outcome(&response.read()?, exponents),
                401 => Err(Fault::StaleSession(SESSION.into())),
                400 | 404 | 422 => refused(ctx, &response, (&key, exponents)).await,
                status => Ok(Outcome::Unknown(format!("status {status}"))),
            },
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Outcome, Fault> {
        let key = of
            .keys
            .first()
            .ok_or_else(|| Fault::Unsupported("a conversion is found by its key".into()))?;
        look_up(ctx, key, None).await
    }
}

async fn refused(ctx: &Ctx, response: &Response, (key, exponents): (&str, (u8, u8))) -> Result<Outcome, Fault> {
    let problem = Problem::of(response);
    if problem.is_duplicate() {
        // The first one was taken: what became of it stands in the list.
        match look_up(ctx, key, Some(exponents)).await? {
            Outcome::NotFound => Ok(Outcome::Unknown(
                "it was taken before, and is not in the list yet".into(),
            )),
            found => Ok(found),
        }
    } else if problem.is_expired_quote() {
        Ok(Outcome::Expired)
    } else {
        Ok(Outcome::Refused(declines::of(&problem)))
    }
}

/// The conversion of that key. Without exponents, those of the currencies' ISO minor units are told by the amounts.
async fn look_up(ctx: &Ctx, key: &str, exponents: Option<(u8, u8)>) -> Result<Outcome, Fault> {
    let path = format!("/api/v1/fx/conversions?request_id={key}");
    match ctx.send(authorized(ctx, get(API, path))?).await {
        Err(no) => Ok(Outcome::Unknown(portolan_adapter::why(&no))),
        Ok(response) => match response.status {
            200 => {
                let found: Items<Booked> = response.read()?;
                // A list that was not filtered tells of others: that says nothing about this one.
                match found.items.iter().find(|it| it.request_id.as_deref() == Some(key)) {
                    Some(booked) => {
                        let own = || (decimals(&booked.sell_amount), decimals(&booked.buy_amount));
                        outcome(booked, exponents.unwrap_or_else(own))
                    }
                    None if found.items.is_empty() => Ok(Outcome::NotFound),
                    None => Ok(Outcome::Unknown("the list tells of other conversions".into())),
                }
            }
            401 => Err(Fault::StaleSession(SESSION.into())),
            status => Ok(Outcome::Unknown(format!("status {status}"))),
        },
    }
}

/// How many decimals a number is written with: the host counts it in its own.
fn decimals(exact: &Exact) -> u8 {
    let part = exact.0.split_once('.').map_or("", |(_, part)| part);
    u8::try_from(part.len()).unwrap_or(u8::MAX)
}

fn quotation(quote: &Quote, asked: &Inquiry, side: &str) -> Result<QuoteOutcome, Fault> {
    let exponent = |money: &Money| money.exponent;
    let (sell_exponent, buy_exponent) = match &asked.fixed {
        Fixed::Sell(money) => (exponent(money), decimals(&quote.buy_amount)),
        Fixed::Buy(money) => (decimals(&quote.sell_amount), exponent(money)),
    };
    let sell = quote.sell_amount.money(&quote.sell_currency, sell_exponent)?;
    let buy = quote.buy_amount.money(&quote.buy_currency, buy_exponent)?;
    // The pair is written in the market's direction; rates here are for whoever sells.
    let is_direct = quote.currency_pair.starts_with(&quote.sell_currency);
    let mid = match &quote.mid_rate {
        Some(mid) if is_direct => Some(decimal(&mid.0)?),
        Some(mid) => Decimal::ONE.checked_div(decimal(&mid.0)?),
        None => None,
    };
    Ok(QuoteOutcome::Quoted(Quotation {
        reference: quote.quote_id.clone(),
        rate: rate(&quote.sell_amount, &quote.buy_amount)?,
        mid: mid.map(|mid| mid.round_dp(12).normalize().to_string()),
        sell,
        buy,
        fee: None,
        expires_ms: epoch_ms(&quote.valid_to_at)?,
        memo: Some(Memo {
            format: FIXED_SIDE,
            bytes: side.as_bytes().to_vec(),
        }),
        extra: vec![],
    }))
}

fn decimal(text: &str) -> Result<Decimal, Fault> {
    Decimal::from_str_exact(text).map_err(|error| Fault::Protocol(format!("{text:?} is no number: {error}")))
}

/// Units bought for one unit sold, from the amounts that bind.
fn rate(sold: &Exact, bought: &Exact) -> Result<String, Fault> {
    let rate = decimal(&bought.0)?.checked_div(decimal(&sold.0)?);
    let rate = rate.ok_or_else(|| Fault::Protocol("a quote that sells nothing".into()))?;
    Ok(rate.round_dp(12).normalize().to_string())
}

fn outcome(booked: &Booked, (sell_exponent, buy_exponent): (u8, u8)) -> Result<Outcome, Fault> {
    match booked.status.as_str() {
        "SCHEDULED" | "SETTLED" | "OVERDUE" | "AWAITING_FUNDS" | "PENDING_SETTLEMENT" => {
            Ok(Outcome::Converted(Converted {
                reference: booked.conversion_id.clone(),
                sold: booked.sell_amount.money(&booked.sell_currency, sell_exponent)?,
                bought: booked.buy_amount.money(&booked.buy_currency, buy_exponent)?,
                settles_ms: 0,
                memo: None,
                extra: vec![],
            }))
        }
        "CANCELLED" => Ok(Outcome::Refused(declines::by_code(
            "CANCELLED",
            "the conversion was canceled",
        ))),
        other => Ok(Outcome::Unknown(format!(
            "status {other:?} is not in the provider's documents"
        ))),
    }
}
