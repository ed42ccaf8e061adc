//! Operators and routes: merchants' rules on their behalf, what a set would change, and how the channels are.

use super::{App, Refusal, failed, refuse};
use crate::routes::{RouteError, Routes};
use crate::wire::FlagView;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use portolan_domain::ids::{MerchantId, Mode, Name, PaymentId};
use portolan_domain::routing::health::Standing;
use portolan_domain::routing::rule::RuleSet;
use portolan_domain::routing::tries::CardKey;
use portolan_engine::ChannelHealth;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn owner_of((merchant, mode): (String, String)) -> Result<(Mode, MerchantId), Refusal> {
    let bad = |what: String| refuse(StatusCode::NOT_FOUND, what);
    let merchant = Name::parse(&merchant).ok_or_else(|| bad(format!("{merchant:?} is no merchant's name")))?;
    match mode.as_str() {
        "test" => Ok((Mode::Test, merchant)),
        "live" => Ok((Mode::Live, merchant)),
        other => Err(bad(format!("{other:?} is neither test nor live"))),
    }
}

fn refused(error: RouteError) -> Refusal {
    match error {
        RouteError::Problems(problems) => {
            let errors = problems
                .iter()
                .map(|it| json!({ "pointer": it.pointer, "code": it.code, "message": it.message }));
            let lines = problems.iter().map(|it| format!("\n  {}: {}", it.pointer, it.message));
            let detail = format!("the rules cannot be accepted:{}", lines.collect::<String>());
            let body = json!({ "detail": detail, "errors": errors.collect::<Vec<_>>() });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body))
        }
        RouteError::Store(error) => failed(error),
        RouteError::Read(error) => failed(error),
    }
}

fn set_json(set: &RuleSet) -> Value {
    let source: Value = serde_json::from_str(&set.source).unwrap_or_default();
    json!({ "version": set.version, "engine": set.engine, "created_ms": set.created_ms, "by": set.by, "set": source })
}

/// `POST /admin/routes/{merchant}/{mode}`: the next version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Put {
    by: String,
    set: Value,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn put(
    State(shared): App,
    Path(owner): Path<(String, String)>,
    Json(ask): Json<Put>,
) -> Result<Json<Value>, Refusal> {
    let (mode, merchant) = owner_of(owner)?;
    if ask.by.trim().is_empty() {
        return Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, "by must say who decided"));
    }
    let routes: &Routes = &shared.app.routes;
    let source = ask.set.to_string();
    if ask.dry_run {
        let read = routes.check((mode, &merchant), source).await.map_err(refused)?;
        return Ok(Json(json!({ "good": true, "tests": read.tests })));
    }
    let set = routes.put((mode, &merchant), source, &ask.by).await.map_err(refused)?;
    Ok(Json(set_json(&set)))
}

/// `GET /admin/routes/{merchant}/{mode}`: every version, the newest first.
pub(super) async fn list(State(shared): App, Path(owner): Path<(String, String)>) -> Result<Json<Value>, Refusal> {
    let (mode, merchant) = owner_of(owner)?;
    let sets = shared
        .app
        .routes
        .versions((mode, &merchant), usize::MAX)
        .map_err(failed)?;
    Ok(Json(json!(sets.iter().map(set_json).collect::<Vec<_>>())))
}

/// How many payments a set is tried on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Last {
    last: usize,
}

/// `POST /admin/routes/{merchant}/{mode}/replay`: what a set would change.
pub(super) async fn replay(
    State(shared): App,
    Path(owner): Path<(String, String)>,
    Query(Last { last }): Query<Last>,
    Json(set): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let (mode, merchant) = owner_of(owner)?;
    let app = shared.app.clone();
    let rules = app
        .routes
        .check((mode, &merchant), set.to_string())
        .await
        .map_err(refused)?;
    let replayed = tokio::task::spawn_blocking(move || app.routes.replay((mode, &merchant), &rules, last));
    let replayed = replayed.await.map_err(failed)?.map_err(refused)?;
    let changed = replayed.changed.iter().map(|it| {
        json!({
            "payment": it.payment.to_string(), "was": it.was.as_ref().map(ToString::to_string), "from": it.from.as_ref().map(ToString::to_string),
            "to": it.to.as_ref().map(ToString::to_string), "rules": it.applied,
            "flags": it.flags.iter().map(FlagView::of).collect::<Vec<_>>(),
        })
    });
    Ok(Json(
        json!({ "payments": replayed.payments, "changed": changed.collect::<Vec<_>>() }),
    ))
}

/// A card that its issuer declined for good is tried again: somebody says why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unblock {
    by: String,
    reason: String,
}

/// `POST /admin/cards/{payment}/unblock`: the card that the payment was paid with.
pub(super) async fn unblock(
    State(shared): App,
    Path(payment): Path<String>,
    Json(ask): Json<Unblock>,
) -> Result<Json<Value>, Refusal> {
    let not_found = || refuse(StatusCode::NOT_FOUND, format!("{payment} is no payment with a card"));
    if ask.by.trim().is_empty() || ask.reason.trim().is_empty() {
        let what = "by and reason must say who decided and why";
        return Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, what));
    }
    let id: PaymentId = payment.parse().map_err(|_| not_found())?;
    let app = &shared.app;
    let found = app.store.payment(id).map_err(failed)?.ok_or_else(not_found)?;
    let card = CardKey::of(&found.payment).ok_or_else(not_found)?;
    let act = super::act(app, &ask.by, ("card.unblock", &payment), &ask.reason);
    let forgotten = app.store.forget_tries(&card, act).await.map_err(failed)?;
    Ok(Json(json!({ "forgotten": forgotten })))
}

/// `GET /admin/channels/health`.
pub(super) async fn health(State(shared): App) -> Json<Value> {
    let now_ms = shared.app.ambient.now_ms();
    let all = shared.app.engine.health();
    Json(json!(all.iter().map(|it| health_json(it, now_ms)).collect::<Vec<_>>()))
}

fn health_json(it: &ChannelHealth, now_ms: u64) -> Value {
    let (state, again_ms) = match it.standing {
        Standing::Well if it.is_stopped => ("stopped", None),
        Standing::Well => ("well", None),
        Standing::Sick { until_ms } => ("failing", Some(until_ms.saturating_sub(now_ms))),
        Standing::Probe | Standing::BeingProbed => ("probing", None),
    };
    json!({
        "channel": it.channel.as_str(), "operation": it.kind.as_str(), "state": state, "tried_again_in_ms": again_ms,
        "failing_ppm": it.failing_ppm, "latency_ms": it.latency_ms, "in_flight": it.in_flight,
    })
}
