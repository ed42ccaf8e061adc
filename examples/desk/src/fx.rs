//! Prices and conversions: a quote is used once, in time, with the currencies and the amount that it was made for. A
//! `request_id` that was taken is refused, as the provider does, not replayed.

use crate::books::{Conversion, Quote};
use crate::fault::{self, Fault};
use crate::http::{Desk, Shared, decimal, minor, number, parse, problem, time_text};
use crate::rates;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portolan_simulator::{dropped, now_ms};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long "no answer ever comes" lasts.
pub const NEVER: Duration = Duration::from_secs(120);

/// The provider's words for how long a price holds, in milliseconds.
const VALIDITIES: [(&str, u64); 7] = [
    ("MIN_1", 60_000),
    ("MIN_15", 900_000),
    ("MIN_30", 1_800_000),
    ("HR_1", 3_600_000),
    ("HR_4", 14_400_000),
    ("HR_8", 28_800_000),
    ("HR_24", 86_400_000),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewQuote {
    sell_currency: String,
    buy_currency: String,
    sell_amount: Option<Box<RawValue>>,
    buy_amount: Option<Box<RawValue>>,
    validity: String,
}

/// `POST /api/v1/fx/quotes/create`.
pub async fn quote(State(desk): Shared, headers: HeaderMap, body: Bytes) -> Result<Response, Response> {
    desk.authenticate(&headers)?;
    let new: NewQuote = parse(&body)?;
    tokio::time::sleep(Duration::from_millis(desk.options.slow_ms)).await;
    let quote = price(&desk, &new)?;
    let written = desk.books().put_quote(quote.clone());
    written.map_err(|error| {
        problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "record",
            &error.to_string(),
        )
    })?;
    Ok((StatusCode::CREATED, axum::Json(QuoteView::of(&quote))).into_response())
}

fn price(desk: &Desk, new: &NewQuote) -> Result<Quote, Response> {
    let bad = |code: &str, source: &str, why: &str| problem(StatusCode::BAD_REQUEST, code, source, why);
    let (sell, buy) = (new.sell_currency.as_str(), new.buy_currency.as_str());
    let moved = desk.moved_bps.load(Ordering::Relaxed);
    let pair = rates::mid(sell, buy, moved).filter(|_| sell != buy);
    let (pair, mid) = pair.ok_or_else(|| {
        bad(
            "unsupported_currency",
            "buy_currency",
            "the desk does not trade this pair",
        )
    })?;
    let rate = rates::client(&pair, sell, mid, desk.options.spread_bps);
    let rate = rate.ok_or_else(|| bad("operation_failed", "rate", "no rate"))?;
    let lives_ms = VALIDITIES
        .iter()
        .find(|(word, _)| *word == new.validity)
        .map(|(_, ms)| *ms);
    let lives_ms = lives_ms.ok_or_else(|| bad("field_required", "validity", "MIN_1 to HR_24"))?;
    let (dealt, given) = match (&new.sell_amount, &new.buy_amount) {
        (Some(amount), None) => (sell, decimal(amount)?),
        (None, Some(amount)) => (buy, decimal(amount)?),
        _ => {
            return Err(bad(
                "invalid_argument",
                "sell_amount",
                "exactly one of sell_amount and buy_amount",
            ));
        }
    };
    if given.normalize().scale() > rates::decimals(dealt).unwrap_or(0) {
        return Err(bad("invalid_argument", "amount", "more decimals than the currency has"));
    }
    let other = if dealt == sell { buy } else { sell };
    let computed = rates::other_side(&pair, rate, (dealt, given), other);
    let computed = computed.ok_or_else(|| bad("amount_above_limit", "amount", "out of range"))?;
    let (sell_amount, buy_amount) = if dealt == sell {
        (given, computed)
    } else {
        (computed, given)
    };
    let now = now_ms();
    Ok(Quote {
        id: desk.id(),
        client_rate: rate,
        mid_rate: mid,
        sell_currency: sell.to_owned(),
        sell_amount,
        buy_currency: buy.to_owned(),
        buy_amount,
        dealt_currency: dealt.to_owned(),
        validity: new.validity.clone(),
        from_ms: now,
        to_ms: now.saturating_add(lives_ms.min(desk.options.lock_max_ms)),
        is_used: false,
        pair,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewConversion {
    request_id: String,
    quote_id: String,
    sell_currency: String,
    buy_currency: String,
    sell_amount: Option<Box<RawValue>>,
    buy_amount: Option<Box<RawValue>>,
}

/// `POST /api/v1/fx/conversions/create`.
pub async fn convert(State(desk): Shared, headers: HeaderMap, body: Bytes) -> Result<Response, Response> {
    desk.authenticate(&headers)?;
    let new: NewConversion = parse(&body)?;
    let (conversion, fault) = book(&desk, &new)?;
    match fault {
        Fault::TimeoutThenSuccess => {
            tokio::time::sleep(NEVER).await;
            Ok(dropped())
        }
        Fault::ErrorAfterEffect => Ok(problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "-",
            "scripted, after the effect",
        )),
        _ => Ok((StatusCode::CREATED, axum::Json(ConversionView::of(&conversion))).into_response()),
    }
}

fn book(desk: &Desk, new: &NewConversion) -> Result<(Conversion, Fault), Response> {
    let bad = |code: &str, source: &str, why: &str| problem(StatusCode::BAD_REQUEST, code, source, why);
    let mut books = desk.books();
    if let Some(known) = books.conversions.get(&new.request_id) {
        let why = format!("the request ID was used for the conversion {}", known.id);
        return Err(bad("duplicate_request_id", "request_id", &why));
    }
    let quote = books.quotes.get(&new.quote_id).cloned();
    let mut quote = quote.ok_or_else(|| bad("invalid_quote_id", "quote_id", "no such quote"))?;
    let (given, of_quote) = match (&new.sell_amount, &new.buy_amount) {
        (Some(amount), None) => (decimal(amount)?, (&quote.sell_currency, quote.sell_amount)),
        (None, Some(amount)) => (decimal(amount)?, (&quote.buy_currency, quote.buy_amount)),
        _ => {
            return Err(bad(
                "invalid_argument",
                "sell_amount",
                "exactly one of sell_amount and buy_amount",
            ));
        }
    };
    let fits = quote.sell_currency == new.sell_currency && quote.buy_currency == new.buy_currency;
    if !fits || *of_quote.0 != quote.dealt_currency || given != of_quote.1 {
        return Err(bad(
            "invalid_quote_id",
            "quote_id",
            "currencies or amount are not the quote's",
        ));
    }
    let fault = fault::of_amount(minor(
        quote.sell_amount,
        rates::decimals(&quote.sell_currency).unwrap_or(2),
    ));
    match fault {
        Fault::ErrorWithoutEffect => {
            return Err(problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "-",
                "scripted, without effect",
            ));
        }
        Fault::InsufficientFunds => {
            return Err(bad("insufficient_funds", "sell_amount", "the wallet holds too little"));
        }
        // Only the first price for this amount is gone: a fresh one holds.
        Fault::QuoteGone
            if !books
                .quotes
                .values()
                .any(|it| it.is_used && it.sell_amount == quote.sell_amount) =>
        {
            quote.is_used = true;
            let _ = books.put_quote(quote);
            return Err(bad("expired_quote", "quote_id", "the quote has expired"));
        }
        _ => {}
    }
    if quote.is_used || quote.to_ms < now_ms() {
        return Err(bad("expired_quote", "quote_id", "the quote has expired or was used"));
    }
    quote.is_used = true;
    let conversion = Conversion {
        id: desk.id(),
        request_id: new.request_id.clone(),
        quote: quote.clone(),
        status: "SETTLED".into(),
        created_ms: now_ms(),
    };
    let written = books
        .put_quote(quote)
        .and_then(|()| books.put_conversion(conversion.clone()));
    written.map_err(|error| {
        problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "record",
            &error.to_string(),
        )
    })?;
    Ok((conversion, fault))
}

#[derive(Deserialize)]
pub struct ByRequest {
    pub request_id: String,
}

/// `GET /api/v1/fx/conversions`.
pub async fn conversions(
    State(desk): Shared,
    headers: HeaderMap,
    Query(by): Query<ByRequest>,
) -> Result<Response, Response> {
    desk.authenticate(&headers)?;
    let books = desk.books();
    let items: Vec<ConversionView<'_>> = books
        .conversions
        .get(&by.request_id)
        .map(ConversionView::of)
        .into_iter()
        .collect();
    Ok(axum::Json(Page { items, has_more: false }).into_response())
}

#[derive(Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub has_more: bool,
}

#[derive(Serialize)]
struct QuoteView<'a> {
    quote_id: &'a str,
    currency_pair: &'a str,
    client_rate: Box<RawValue>,
    awx_rate: Box<RawValue>,
    mid_rate: Box<RawValue>,
    buy_currency: &'a str,
    buy_amount: Box<RawValue>,
    sell_currency: &'a str,
    sell_amount: Box<RawValue>,
    dealt_currency: &'a str,
    validity: &'a str,
    usage: &'a str,
    valid_from_at: String,
    valid_to_at: String,
    rate_details: [Detail; 1],
}

#[derive(Serialize)]
struct Detail {
    level: &'static str,
    rate: Box<RawValue>,
    buy_amount: Box<RawValue>,
    sell_amount: Box<RawValue>,
}

impl Detail {
    fn of(quote: &Quote) -> Self {
        Self {
            level: "CLIENT",
            rate: number(quote.client_rate),
            buy_amount: number(quote.buy_amount),
            sell_amount: number(quote.sell_amount),
        }
    }
}

impl<'a> QuoteView<'a> {
    fn of(quote: &'a Quote) -> Self {
        Self {
            quote_id: &quote.id,
            currency_pair: &quote.pair,
            client_rate: number(quote.client_rate),
            awx_rate: number(quote.client_rate),
            mid_rate: number(quote.mid_rate),
            buy_currency: &quote.buy_currency,
            buy_amount: number(quote.buy_amount),
            sell_currency: &quote.sell_currency,
            sell_amount: number(quote.sell_amount),
            dealt_currency: &quote.dealt_currency,
            validity: &quote.validity,
            usage: "SINGLE_USE",
            valid_from_at: time_text(quote.from_ms),
            valid_to_at: time_text(quote.to_ms),
            rate_details: [Detail::of(quote)],
        }
    }
}

#[derive(Serialize)]
struct ConversionView<'a> {
    request_id: &'a str,
    conversion_id: &'a str,
    short_reference_id: String,
    status: &'a str,
    currency_pair: &'a str,
    client_rate: Box<RawValue>,
    mid_rate: Box<RawValue>,
    buy_currency: &'a str,
    buy_amount: Box<RawValue>,
    sell_currency: &'a str,
    sell_amount: Box<RawValue>,
    dealt_currency: &'a str,
    quote_id: &'a str,
    rate_details: [Detail; 1],
    created_at: String,
    updated_at: String,
}

impl<'a> ConversionView<'a> {
    fn of(conversion: &'a Conversion) -> Self {
        let quote = &conversion.quote;
        let zero = Decimal::ZERO;
        debug_assert!(quote.buy_amount > zero);
        Self {
            request_id: &conversion.request_id,
            conversion_id: &conversion.id,
            short_reference_id: format!("C-{}", conversion.id.get(..8).unwrap_or_default()),
            status: &conversion.status,
            currency_pair: &quote.pair,
            client_rate: number(quote.client_rate),
            mid_rate: number(quote.mid_rate),
            buy_currency: &quote.buy_currency,
            buy_amount: number(quote.buy_amount),
            sell_currency: &quote.sell_currency,
            sell_amount: number(quote.sell_amount),
            dealt_currency: &quote.dealt_currency,
            quote_id: &quote.id,
            rate_details: [Detail::of(quote)],
            created_at: time_text(conversion.created_ms),
            updated_at: time_text(conversion.created_ms),
        }
    }
}
