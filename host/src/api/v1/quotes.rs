//! Quotes, and the corridors that payouts may take.

use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::{Api, open_body};
use crate::wire::QuoteView;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::ids::QuoteId;
use portolan_domain::operation::Kind;
use portolan_domain::quote::{QuoteRequest, validate};
use portolan_engine::CreateQuote;
use serde_json::json;

/// `POST /v1/quotes`. It moves no money and takes no key.
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = open_body(&headers, body).await?;
    let (mut source, mut destination) = (fields.inside("source"), fields.inside("destination"));
    let request = QuoteRequest {
        source_amount: source.integer("amount"),
        source_currency: source.text("currency"),
        destination_amount: destination.integer("amount"),
        destination_currency: destination.text("currency"),
        lock_s: fields.integer("lock_seconds"),
    };
    fields.close(source);
    fields.close(destination);
    let inquiry = fields.finish(validate(&request, |code| api.app.config.asset(code)))?;
    let Caller { merchant, mode, .. } = caller;
    let command = CreateQuote {
        merchant,
        mode,
        inquiry,
    };
    let quote = api.app.engine.create_quote(command).await?;
    Ok(axum::Json(QuoteView::of(&quote)).into_response())
}

/// `GET /v1/quotes/{id}`.
pub async fn show(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<Response, Problem> {
    let id: QuoteId = id.parse().map_err(|_| Problem::not_found("quote"))?;
    let quote = api.app.engine.quote(&caller.merchant, caller.mode, id)?;
    Ok(axum::Json(QuoteView::of(&quote)).into_response())
}

/// `GET /v1/corridors`.
pub async fn corridors(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let facts = api.app.channels.facts();
    let shown = api.app.corridors.iter().map(|corridor| {
        let rules = &corridor.rules;
        let pays = facts.iter().filter(|facts| {
            facts.mode == caller.mode
                && facts.merchant.as_ref().is_none_or(|owner| *owner == caller.merchant)
                && facts.kinds.contains(&Kind::Pay)
                && facts.methods.contains(&rules.rail)
                && !facts.disabled
        });
        let names: Vec<&str> = pays.map(|facts| facts.id.as_str()).collect();
        corridor.view(&names)
    });
    let data: Vec<_> = shown.collect();
    let body = json!({ "object": "list", "edition": api.app.corridors.edition, "data": data, "has_more": false });
    Ok(axum::Json(body).into_response())
}
