//! Reading: one payment or refund, and the lists.

use crate::api::Api;
use crate::api::problem::Problem;
use crate::api::v1::payments::payment_id;
use crate::wire::{balances_json, event_json, payment_json, refund_json};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::ids::{EventId, OperationId, PaymentId, RefundId};
use portolan_domain::payment::request::FieldError;
use portolan_domain::ports::Page;
use serde_json::{Value, json};
use std::str::FromStr;

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 100;

type Pairs = Query<Vec<(String, String)>>;

/// `GET /v1/payments/{id}`.
pub async fn payment(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let caller = api.caller(&headers, "payments:read")?;
    let found = api.app.store.payment(payment_id(&id)?)?.map(|found| found.payment);
    let theirs = found.filter(|payment| payment.merchant == caller.merchant && payment.mode == caller.mode);
    let payment = theirs.ok_or_else(|| Problem::not_found("payment"))?;
    Ok(axum::Json(payment_json(&payment)).into_response())
}

/// `GET /v1/refunds/{id}`.
pub async fn refund(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let caller = api.caller(&headers, "payments:read")?;
    let id: RefundId = id.parse().map_err(|_| Problem::not_found("refund"))?;
    let found = api.app.library.refund(id)?.map(|found| found.payment);
    let theirs = found.filter(|payment| payment.merchant == caller.merchant && payment.mode == caller.mode);
    let payment = theirs.ok_or_else(|| Problem::not_found("refund"))?;
    let refund = payment
        .follow_up(OperationId(id.0))
        .ok_or_else(|| Problem::not_found("refund"))?;
    Ok(axum::Json(refund_json(&payment, refund)).into_response())
}

/// `GET /v1/payments`.
pub async fn payments(State(api): State<Api>, headers: HeaderMap, Query(pairs): Pairs) -> Result<Response, Problem> {
    let (page, _) = read_page::<PaymentId>(&api, &headers, "payments:read", pairs, &[])?;
    let found = api.app.library.payments(&page)?;
    Ok(list(
        page.limit,
        found.iter().map(|found| payment_json(&found.payment)).collect(),
    ))
}

/// `GET /v1/refunds`.
pub async fn refunds(State(api): State<Api>, headers: HeaderMap, Query(pairs): Pairs) -> Result<Response, Problem> {
    let (page, _) = read_page::<RefundId>(&api, &headers, "payments:read", pairs, &[])?;
    let found = api.app.library.refunds(&page)?;
    let shown = |(found, refund): &(portolan_domain::commit::Versioned, OperationId)| {
        found
            .payment
            .follow_up(*refund)
            .map(|refund| refund_json(&found.payment, refund))
    };
    Ok(list(page.limit, found.iter().filter_map(shown).collect()))
}

/// `GET /v1/events`, narrowed by `payment`.
pub async fn events(State(api): State<Api>, headers: HeaderMap, Query(pairs): Pairs) -> Result<Response, Problem> {
    let (page, others) = read_page::<EventId>(&api, &headers, "events:read", pairs, &["payment"])?;
    let payment = others
        .into_iter()
        .map(|(_, value)| payment_id(&value))
        .next_back()
        .transpose()?;
    let found = api.app.library.events(&page, payment)?;
    Ok(list(page.limit, found.iter().map(event_json).collect()))
}

/// `GET /v1/balances`.
pub async fn balances(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    let caller = api.caller(&headers, "balances:read")?;
    let balances = api.app.library.balances(caller.mode, Some(&caller.merchant))?;
    Ok(axum::Json(balances_json(&balances, caller.mode)).into_response())
}

/// One more than asked was read, to know whether there is more.
fn list(limit: usize, mut data: Vec<Value>) -> Response {
    let has_more = data.len() >= limit;
    data.truncate(limit.saturating_sub(1));
    axum::Json(json!({ "object": "list", "data": data, "has_more": has_more })).into_response()
}

type PageAndOthers<I> = (Page<I>, Vec<(String, String)>);

/// The parameters of a list. Its limit is one more than asked.
fn read_page<I: FromStr>(
    api: &Api,
    headers: &HeaderMap,
    scope: &'static str,
    pairs: Vec<(String, String)>,
    also: &[&str],
) -> Result<PageAndOthers<I>, Problem> {
    let caller = api.caller(headers, scope)?;
    let mut page = Page {
        merchant: caller.merchant,
        mode: caller.mode,
        limit: LIMIT_DEFAULT + 1,
        after: None,
        before: None,
        created_gte_ms: None,
    };
    let (mut errors, mut others) = (vec![], vec![]);
    for (name, value) in pairs {
        let bad = |message: &str| FieldError::new(format!("?{name}"), "invalid_value", message);
        match name.as_str() {
            "limit" => match value.parse() {
                Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => page.limit = limit + 1,
                _ => errors.push(bad("from 1 to 100")),
            },
            "starting_after" | "ending_before" => match value.parse() {
                Ok(id) if name == "starting_after" => page.after = Some(id),
                Ok(id) => page.before = Some(id),
                Err(_) => errors.push(bad("an id of this list")),
            },
            "created[gte]" => match value.parse::<u64>() {
                Ok(seconds) => page.created_gte_ms = Some(seconds.saturating_mul(1_000)),
                Err(_) => errors.push(bad("seconds since 1970")),
            },
            other if also.contains(&other) => others.push((name, value)),
            _ => errors.push(FieldError::new(
                format!("?{name}"),
                "unknown_field",
                "this parameter does not exist",
            )),
        }
    }
    if errors.is_empty() {
        Ok((page, others))
    } else {
        Err(Problem::fields(errors))
    }
}
