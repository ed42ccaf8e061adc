//! Routes: a merchant's rules, and what would be decided about a payment. Neither moves money.

use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::strict::{self, Fields};
use crate::api::{Api, read_body};
use crate::routes::RouteError;
use crate::wire::{ListView, RoutingView, RuleSetView};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::operation::{CardFacts, Instrument, Kind};
use portolan_domain::payment::request::{FieldError, PaymentRequest, validate};
use portolan_domain::routing::RouteFacts;

/// `POST /v1/routes/evaluate`.
pub async fn evaluate(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = read_body(&headers, body).await?;
    let mut fields = Fields::of(strict::parse(&bytes)?)?;
    let mut card = fields.inside("card");
    let (network, bin) = (card.text("network"), card.text("bin"));
    fields.close(card);
    let mut payer = fields.inside("payer");
    let payer_country = payer.text("country");
    fields.close(payer);
    let draft = fields.json("rules");
    let request = PaymentRequest {
        amount: fields.integer("amount"),
        currency: fields.text("currency"),
        capture_method: fields.text("capture_method"),
        payment_method: fields.text("payment_method"),
        payment_method_type: fields.text("payment_method_type"),
        payer_country,
        ..PaymentRequest::default()
    };
    let valid = fields.finish(validate(request, |code| api.app.config.asset(code)))?;
    let stored = stored_card(&api, &caller, valid.method)?;
    let rules = match draft {
        Some(source) => {
            let read = api.app.routes.check((caller.mode, &caller.merchant), source).await;
            Some(read.map_err(|error| of_error(error, "/rules"))?)
        }
        None => None,
    };
    let word = valid
        .instrument
        .as_ref()
        .map_or_else(|| "card".to_owned(), Instrument::word);
    let facts = RouteFacts {
        merchant: &caller.merchant,
        mode: caller.mode,
        method: &word,
        amount: &valid.amount,
        kind: Kind::Authorize,
        manual_capture: valid.manual_capture,
        network: stored.as_ref().map(|card| card.brand.as_str()).or(network.as_deref()),
        issuer: stored.as_ref().map(|card| card.bin.as_str()).or(bin.as_deref()),
        card: stored.as_ref().map(|card| card.fingerprint.as_str()),
        country: valid.payer_country.as_deref(),
    };
    let decision = api.app.routes.evaluate(&facts, rules.as_ref());
    Ok(axum::Json(RoutingView::of(&decision, None, None)).into_response())
}

fn stored_card(
    api: &Api,
    caller: &Caller,
    method: Option<portolan_domain::ids::MethodId>,
) -> Result<Option<CardFacts>, Problem> {
    let Some(id) = method else { return Ok(None) };
    let found = api.app.store.method(id)?;
    let theirs = found.filter(|it| it.merchant == caller.merchant && it.mode == caller.mode);
    match theirs {
        Some(method) => Ok(Some(method.card)),
        None => Err(Problem::fields(vec![FieldError::new(
            "/payment_method",
            "not_found",
            "there is no such payment method",
        )])),
    }
}

/// `POST /v1/routes/rules`.
pub async fn put(State(api): State<Api>, caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let bytes = read_body(&headers, body).await?;
    let mut fields = Fields::of(strict::parse(&bytes)?)?;
    fields.json("rules");
    fields.json("tests");
    fields.finish(Ok(()))?;
    let source = String::from_utf8(bytes.to_vec()).map_err(|_| Problem::malformed("the body is not UTF-8"))?;
    let by = format!("key {}", caller.key);
    let put = api.app.routes.put((caller.mode, &caller.merchant), source, &by).await;
    let set = put.map_err(|error| of_error(error, ""))?;
    Ok(axum::Json(RuleSetView::of(&set)).into_response())
}

/// `GET /v1/routes/rules`.
pub async fn list(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let sets = api.app.routes.versions(caller.mode, &caller.merchant)?;
    let views = sets.iter().map(RuleSetView::of).collect();
    Ok(axum::Json(ListView::of(sets.len() + 1, false, views)).into_response())
}

fn of_error(error: RouteError, at: &str) -> Problem {
    match error {
        RouteError::Problems(problems) => {
            let field =
                |it: portolan_rules::Problem| FieldError::new(format!("{at}{}", it.pointer), it.code, it.message);
            Problem::fields(problems.into_iter().map(field).collect())
        }
        RouteError::Store(portolan_domain::ports::CommitError::VersionConflict) => Problem::new(
            409,
            "changed_meanwhile",
            "somebody else put rules in force at this moment; look at them and try again",
        ),
        RouteError::Store(error) => Problem::from(portolan_engine::EngineError::Store(error)),
        RouteError::Read(error) => Problem::from(error),
    }
}
