//! Reading: one payment or refund, and the lists.

use crate::api::Api;
use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::v1::payments::payment_id;
use crate::wire::{DisputeView, EventView, ListView, PaymentView, RefundView};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use portolan_domain::commit::Versioned;
use portolan_domain::ids::{DisputeId, EventId, OperationId, PaymentId, PayoutId, RefundId};
use portolan_domain::payment::request::FieldError;
use portolan_domain::ports::Page;
use serde::Serialize;
use std::str::FromStr;

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 100;
/// Events of a payment in a dispute's evidence.
const EVIDENCE_EVENTS: usize = 1_000;
/// The end of the year 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

type Pairs = Query<Vec<(String, String)>>;

/// `GET /v1/payments/{id}`, with `expand[]=routing` if asked.
pub async fn payment(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Query(pairs): Pairs,
) -> Result<Response, Problem> {
    let with_routing = expands_routing(&pairs)?;
    let found = api.app.store.payment(payment_id(&id)?)?.map(|found| found.payment);
    let theirs = found.filter(|payment| payment.merchant == caller.merchant && payment.mode == caller.mode);
    let payment = theirs
        .filter(|payment| payment.payout.is_none())
        .ok_or_else(|| Problem::not_found("payment"))?;
    let view = PaymentView::of(&payment);
    if with_routing {
        let decisions = api.app.library.decisions(payment.id)?;
        return Ok(axum::Json(view.with_routing(&payment, &decisions)).into_response());
    }
    Ok(axum::Json(view).into_response())
}

/// Whether the only thing that can be expanded is.
fn expands_routing(pairs: &[(String, String)]) -> Result<bool, Problem> {
    let bad = |(name, value): &&(String, String)| (name.as_str(), value.as_str()) != ("expand[]", "routing");
    match pairs.iter().find(bad) {
        None => Ok(!pairs.is_empty()),
        Some((name, _)) if name == "expand[]" => {
            let error = FieldError::new("?expand[]", "invalid_value", "only routing can be expanded");
            Err(Problem::fields(vec![error]))
        }
        Some((name, _)) => {
            let error = FieldError::new(format!("?{name}"), "unknown_field", "this parameter does not exist");
            Err(Problem::fields(vec![error]))
        }
    }
}

/// `GET /v1/refunds/{id}`.
pub async fn refund(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let id: RefundId = id.parse().map_err(|_| Problem::not_found("refund"))?;
    let found = api.app.library.refund(id)?.map(|found| found.payment);
    let theirs = found.filter(|payment| payment.merchant == caller.merchant && payment.mode == caller.mode);
    let payment = theirs.ok_or_else(|| Problem::not_found("refund"))?;
    let refund = payment.refund(id).ok_or_else(|| Problem::not_found("refund"))?;
    Ok(axum::Json(RefundView::of(&payment, refund)).into_response())
}

/// `GET /v1/payments`.
pub async fn payments(State(api): State<Api>, caller: Caller, Query(pairs): Pairs) -> Result<Response, Problem> {
    let (page, _) = read_page::<PaymentId>(caller, pairs, &[])?;
    let found = api.app.library.payments(&page)?;
    Ok(list(
        &page,
        found.iter().map(|found| PaymentView::of(&found.payment)).collect(),
    ))
}

/// `GET /v1/refunds`.
pub async fn refunds(State(api): State<Api>, caller: Caller, Query(pairs): Pairs) -> Result<Response, Problem> {
    let (page, _) = read_page::<RefundId>(caller, pairs, &[])?;
    let found = api.app.library.refunds(&page)?;
    Ok(list(&page, found.iter().filter_map(shown).collect()))
}

fn shown((found, refund): &(Versioned, OperationId)) -> Option<RefundView<'_>> {
    let refund = found.payment.follow_up(*refund)?;
    Some(RefundView::of(&found.payment, refund))
}

/// `GET /v1/disputes`.
pub async fn disputes(State(api): State<Api>, caller: Caller, Query(pairs): Pairs) -> Result<Response, Problem> {
    let (page, _) = read_page::<DisputeId>(caller, pairs, &[])?;
    let found = api.app.library.disputes(&page)?;
    let views = found.iter().filter_map(|(found, id)| {
        let dispute = found.payment.dispute(*id)?;
        Some(DisputeView::of(&found.payment, dispute))
    });
    Ok(list(&page, views.collect()))
}

/// `GET /v1/disputes/{id}`, with the router's own evidence.
pub async fn dispute(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let id: DisputeId = id.parse().map_err(|_| Problem::not_found("dispute"))?;
    let found = api.app.store.payment(id.payment())?.map(|found| found.payment);
    let theirs = found.filter(|payment| payment.merchant == caller.merchant && payment.mode == caller.mode);
    let payment = theirs.ok_or_else(|| Problem::not_found("dispute"))?;
    let dispute = payment.dispute(id).ok_or_else(|| Problem::not_found("dispute"))?;
    let page = Page {
        merchant: caller.merchant,
        mode: caller.mode,
        limit: EVIDENCE_EVENTS,
        after: None,
        before: None,
        created_gte_ms: None,
    };
    let mut events = api.app.library.events(&page, Some(payment.id))?;
    events.reverse();
    let view = DisputeView::of(&payment, dispute).with_evidence(&payment, dispute, &events);
    Ok(axum::Json(view).into_response())
}

/// `GET /v1/events`, narrowed by `payment`.
pub async fn events(State(api): State<Api>, caller: Caller, Query(pairs): Pairs) -> Result<Response, Problem> {
    let (page, others) = read_page::<EventId>(caller, pairs, &["payment", "payout"])?;
    let payment = others
        .into_iter()
        .map(|(name, value)| match name.as_str() {
            "payout" => payout_id(&value),
            _ => payment_id(&value),
        })
        .next_back()
        .transpose()?;
    let found = api.app.library.events(&page, payment)?;
    Ok(list(&page, found.iter().map(EventView::of).collect()))
}

/// A payout's id, as the payment that it is.
pub(super) fn payout_id(text: &str) -> Result<PaymentId, Problem> {
    let id: Result<PayoutId, _> = text.parse();
    id.map(PayoutId::payment).map_err(|_| Problem::not_found("payout"))
}

pub(super) fn list<I, T: Serialize>(page: &Page<I>, data: Vec<T>) -> Response {
    let is_backwards = page.before.is_some() && page.after.is_none();
    axum::Json(ListView::of(page.limit, is_backwards, data)).into_response()
}

type PageAndOthers<I> = (Page<I>, Vec<(String, String)>);

/// The parameters of a list. Its limit is one more than asked.
pub(super) fn read_page<I: FromStr>(
    caller: Caller,
    pairs: Vec<(String, String)>,
    also: &[&str],
) -> Result<PageAndOthers<I>, Problem> {
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
                Ok(seconds) if seconds <= SECONDS_MAX => page.created_gte_ms = Some(seconds.saturating_mul(1_000)),
                Ok(_) | Err(_) => errors.push(bad("seconds since 1970, up to the year 9999")),
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
