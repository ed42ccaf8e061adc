//! Routes: a merchant's rules, and what would be decided about a payment. Neither moves money.

use crate::api::auth::Caller;
use crate::api::problem::Problem;
use crate::api::strict::{self, Fields};
use crate::api::v1::payments::read_payer;
use crate::api::{Api, open_body, read_body};
use crate::routes::RouteError;
use crate::wire::{ListView, RoutingView, RuleSetView};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use portolan_domain::operation::{CardFacts, Instrument, Kind};
use portolan_domain::payment::request::{FieldError, PaymentRequest, validate};
use portolan_domain::routing::{Places, RouteFacts, Subjects};

/// `POST /v1/routes/evaluate`.
pub async fn evaluate(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = open_body(&headers, body).await?;
    let mut card = fields.inside("card");
    let (network, bin) = (card.text("network"), card.text("bin"));
    let mut card_errors = vec![];
    check_network(network.as_deref(), &mut card_errors);
    check_bin(bin.as_deref(), &mut card_errors);
    fields.close(card);
    let draft = fields.json("rules");
    let request = PaymentRequest {
        amount: fields.integer("amount"),
        currency: fields.text("currency"),
        capture_method: fields.text("capture_method"),
        payment_method: fields.text("payment_method"),
        payment_method_type: fields.text("payment_method_type"),
        authentication: fields.text("authentication"),
        ..PaymentRequest::default()
    };
    let request = read_payer(&mut fields, request);
    let valid = validate(request, |code| api.app.config.asset(code));
    let valid = fields.finish(and_errors(valid, card_errors))?;
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
        must_authenticate: valid.must_authenticate,
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
        places: Places {
            ip: valid.ip_country.as_deref(),
            shipping: valid.shipping_country.as_deref(),
            beneficiary: None,
        },
        subjects: Subjects {
            payer: valid.payer_id.as_deref(),
            email: valid.payer_email.as_deref(),
            ip: valid.payer_ip,
            beneficiary: None,
        },
    };
    let decision = api.app.routes.evaluate(&facts, rules.as_ref())?;
    Ok(axum::Json(RoutingView::of(&decision, None, None)).into_response())
}

/// A network's name as cards have it.
pub(super) fn check_network(network: Option<&str>, errors: &mut Vec<FieldError>) {
    let fits = |name: &str| (1..=20).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase());
    if network.is_some_and(|name| !fits(name)) {
        let how = "a network's name in small letters: visa, mastercard, amex";
        errors.push(FieldError::new("/card/network", "invalid_value", how));
    }
}

/// The first digits of a card, and never all of them.
fn check_bin(bin: Option<&str>, errors: &mut Vec<FieldError>) {
    let fits = |bin: &str| bin.len() == 6 && bin.bytes().all(|byte| byte.is_ascii_digit());
    if bin.is_some_and(|bin| !fits(bin)) {
        let how = "the first six digits; a card number goes to POST /v1/payment_methods only";
        errors.push(FieldError::new("/card/bin", "invalid_value", how));
    }
}

/// The value, if there are no errors besides.
pub(super) fn and_errors<T>(value: Result<T, Vec<FieldError>>, more: Vec<FieldError>) -> Result<T, Vec<FieldError>> {
    match value {
        Ok(value) if more.is_empty() => Ok(value),
        Ok(_) => Err(more),
        Err(mut errors) => {
            errors.extend(more);
            Err(errors)
        }
    }
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
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let limit = limit_of(&pairs)?;
    let sets = api.app.routes.versions((caller.mode, &caller.merchant), limit + 1)?;
    let views = sets.iter().map(RuleSetView::of).collect();
    Ok(axum::Json(ListView::of(limit + 1, false, views)).into_response())
}

/// Sets in one answer: each may be long.
const LIMIT_MAX: usize = 10;

fn limit_of(pairs: &[(String, String)]) -> Result<usize, Problem> {
    let mut limit = LIMIT_MAX;
    for (name, value) in pairs {
        if name != "limit" {
            let error = FieldError::new(format!("?{name}"), "unknown_field", "this parameter does not exist");
            return Err(Problem::fields(vec![error]));
        }
        let given = value.parse().ok().filter(|it| (1..=LIMIT_MAX).contains(it));
        let wrong = || FieldError::new("?limit", "invalid_value", format!("from 1 to {LIMIT_MAX}"));
        limit = given.ok_or_else(|| Problem::fields(vec![wrong()]))?;
    }
    Ok(limit)
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
