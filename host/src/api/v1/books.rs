//! The merchant's books: balances, the postings of one payment, statements of account.

use super::lists::{list, payout_id};
use super::payments::payment_id;
use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::wire::{BalancesView, Holder, PostingView, StatementView, camt_053, csv};
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use portolan_domain::ids::{MerchantId, Mode, PaymentId};
use portolan_domain::money::Asset;
use portolan_domain::payment::fact::Event;
use portolan_domain::payment::request::FieldError;
use portolan_domain::ports::{Page, ReadError};
use portolan_domain::statement::{Posting, Statement, postings, statement};
use std::collections::HashMap;

/// The most entries in one statement, with what came after it: a longer time is asked for in parts.
const ENTRIES_MAX: usize = 50_000;
/// The most events of one payment.
const EVENTS_MAX: usize = 10_000;
/// The end of the year 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

type Pairs = Query<Vec<(String, String)>>;

/// `GET /v1/balances`.
pub async fn balances(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let balances = api.app.library.balances(caller.mode, Some(&caller.merchant))?;
    Ok(axum::Json(BalancesView::of(&balances, caller.mode)).into_response())
}

/// `GET /v1/postings`: every line on the merchant's accounts that one payment or payout caused.
pub async fn list_postings(State(api): State<Api>, caller: Caller, Query(pairs): Pairs) -> Result<Response, Problem> {
    let id = one_of(pairs)?;
    let page = Page {
        merchant: caller.merchant,
        mode: caller.mode,
        limit: EVENTS_MAX,
        after: None,
        before: None,
        created_gte_ms: None,
    };
    let events = api.app.library.events(&page, Some(id))?;
    let by_id: HashMap<_, &Event> = events.iter().map(|event| (event.id, event)).collect();
    let entries = api.app.library.entries(id)?;
    let caused = entries
        .iter()
        .filter_map(|entry| Some((entry, *by_id.get(&entry.event)?)));
    let found: Vec<Posting> = caused
        .flat_map(|(entry, event)| postings(entry, event, &page.merchant))
        .collect();
    Ok(list(&page, found.iter().map(|it| PostingView::of(it, None)).collect()))
}

fn one_of(pairs: Vec<(String, String)>) -> Result<PaymentId, Problem> {
    let how = "name one payment=pay_… or payout=po_…";
    match pairs.as_slice() {
        [(name, id)] if name == "payment" => payment_id(id),
        [(name, id)] if name == "payout" => payout_id(id),
        [] => Err(Problem::fields(vec![FieldError::new("?payment", "missing", how)])),
        many => {
            let wrong = many
                .iter()
                .find(|(name, _)| !matches!(name.as_str(), "payment" | "payout"));
            let at = wrong.map_or("?payment".to_owned(), |(name, _)| format!("?{name}"));
            Err(Problem::fields(vec![FieldError::new(at, "unknown_field", how)]))
        }
    }
}

/// How a statement is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
    Camt053,
}

/// What a statement is asked for.
struct Ask {
    asset: Asset,
    from_ms: u64,
    until_ms: u64,
    format: Format,
}

/// `GET /v1/statements`: what was booked in one currency in a time.
pub async fn show_statement(State(api): State<Api>, caller: Caller, Query(pairs): Pairs) -> Result<Response, Problem> {
    let now_ms = api.app.ambient.now_ms();
    let ask = read_ask(pairs, now_ms, |code| api.app.config.asset(code))?;
    let (library, format) = (api.app.library.clone(), ask.format);
    let (merchant, mode) = (caller.merchant, caller.mode);
    let make = move || -> Result<_, ReadError> {
        let history = library.history(mode, &merchant, ask.from_ms, ENTRIES_MAX)?;
        if history.is_cut {
            return Ok(None);
        }
        let made = statement(&history, (&merchant, &ask.asset), (ask.from_ms, ask.until_ms));
        let made = made.map_err(|error| ReadError(error.to_string()))?;
        Ok(Some((made, merchant)))
    };
    let made = tokio::task::spawn_blocking(make);
    match made.await.map_err(|error| ReadError(error.to_string()))?? {
        Some((made, merchant)) => written(&made, (&merchant, mode, now_ms), format),
        None => Err(Problem::fields(vec![FieldError::new(
            "?created[gte]",
            "out_of_range",
            format!("more than {ENTRIES_MAX} entries since then: begin later"),
        )])),
    }
}

fn read_ask(pairs: Vec<(String, String)>, now_ms: u64, asset: impl Fn(&str) -> Option<Asset>) -> Result<Ask, Problem> {
    let (mut errors, mut currency, mut from_ms, mut until_ms) = (vec![], None, None, None);
    let mut format = Format::Json;
    for (name, value) in pairs {
        let mut bad = |code, how: &str| errors.push(FieldError::new(format!("?{name}"), code, how));
        let seconds = || value.parse::<u64>().ok().filter(|at| *at <= SECONDS_MAX);
        let ms = || seconds().map(|at| at.saturating_mul(1_000));
        match name.as_str() {
            "currency" => match asset(&value) {
                Some(found) => currency = Some(found),
                None => bad("invalid_value", "ISO 4217, or a configured token's code"),
            },
            "created[gte]" | "created[lt]" => match ms() {
                Some(at) if name == "created[gte]" => from_ms = Some(at),
                Some(at) => until_ms = Some(at),
                None => bad("invalid_value", "seconds since 1970, up to the year 9999"),
            },
            "format" => match value.as_str() {
                "json" => format = Format::Json,
                "csv" => format = Format::Csv,
                "camt.053" => format = Format::Camt053,
                _ => bad("invalid_value", "json, csv or camt.053"),
            },
            _ => bad("unknown_field", "this parameter does not exist"),
        }
    }
    let until_ms = until_ms.unwrap_or_else(|| now_ms.max(from_ms.unwrap_or(0)));
    // What is there and wrong is not missing as well.
    let mut missing = |at: &str, how: &str| {
        if errors.iter().all(|error| error.pointer != at) {
            errors.push(FieldError::new(at, "missing", how));
        }
    };
    if currency.is_none() {
        missing("?currency", "a statement is of one currency");
    }
    if from_ms.is_none() {
        missing("?created[gte]", "where it begins, in seconds since 1970");
    }
    if from_ms.is_some_and(|from_ms| from_ms > until_ms) {
        errors.push(FieldError::new(
            "?created[lt]",
            "out_of_range",
            "it ends before it begins",
        ));
    }
    if format == Format::Camt053 && currency.as_ref().is_some_and(|asset| asset.code().len() != 3) {
        let how = "camt.053 knows currencies of ISO 4217 only: json or csv";
        errors.push(FieldError::new("?format", "invalid_value", how));
    }
    match (currency, from_ms) {
        (Some(asset), Some(from_ms)) if errors.is_empty() => Ok(Ask {
            asset,
            from_ms,
            until_ms,
            format,
        }),
        _ => Err(Problem::fields(errors)),
    }
}

fn written(
    statement: &Statement,
    (merchant, mode, now_ms): (&MerchantId, Mode, u64),
    format: Format,
) -> Result<Response, Problem> {
    let failed = |error: String| Problem::from(ReadError(error));
    let holder = Holder { merchant, mode, now_ms };
    let (body, content_type, name) = match format {
        Format::Json => return Ok(axum::Json(StatementView::of(statement, mode)).into_response()),
        Format::Csv => {
            let body = csv(statement).map_err(|error| failed(error.to_string()))?;
            (body, "text/csv; charset=utf-8", "statement.csv")
        }
        Format::Camt053 => {
            let body = camt_053(statement, &holder).map_err(|error| failed(error.to_string()))?;
            (body, "application/xml", "statement.xml")
        }
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (CONTENT_TYPE, content_type.to_owned()),
        (CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, body).into_response())
}
