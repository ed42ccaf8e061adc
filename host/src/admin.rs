//! The operators' API, on loopback, with its own token: health, metrics, what really happened to a payment, unknowns and
//! tasks, keys, proofs of ledger and log, backups. The CLI is its client.

mod approvals;
mod books;
mod keys;
mod orders;
mod plugins;
mod reports;
mod routes;

use crate::server::Shared;
use crate::wire::{EventView, PaymentView, PayoutView};
use anyhow::Context;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use portolan_domain::commit::{Act, TimerKind, Versioned};
use portolan_domain::exchange::{Exchange, Reply};
use portolan_domain::ids::{EventId, OperationId, PaymentId, PayoutId, TaskId};
use portolan_domain::operation::Kind;
use portolan_domain::ports::Page;
use portolan_domain::task::{Resolution, Task};
use portolan_engine::Decided;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The operators' token: made on first start, mode 0600, beside the store.
pub fn token(folder: &std::path::Path) -> anyhow::Result<String> {
    let path = folder.join("admin.token");
    if let Ok(token) = std::fs::read_to_string(&path) {
        return Ok(token.trim().to_owned());
    }
    let token = format!("adm_{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    writeln!(file, "{token}")?;
    Ok(token)
}

/// Who holds the operators' token; names come with more operators.
const OPERATOR: &str = "operator";

type App = State<Arc<Shared>>;
type Refusal = (StatusCode, Json<Value>);

fn refuse(status: StatusCode, detail: impl std::fmt::Display) -> Refusal {
    (status, Json(json!({ "detail": detail.to_string() })))
}

fn failed(error: impl std::fmt::Display) -> Refusal {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, error)
}

/// What an operator did, now.
fn act(app: &crate::app::App, by: &str, (verb, about): (&str, &str), note: &str) -> Act {
    Act {
        id: EventId(app.ambient.uuid_v7()),
        at_ms: app.ambient.now_ms(),
        by: by.to_owned(),
        verb: verb.to_owned(),
        about: about.to_owned(),
        note: note.to_owned(),
    }
}

/// Writes down what an operator did. It stands in the chain before the operator is told.
async fn note(app: &crate::app::App, by: &str, about: (&str, &str), note: &str) -> Result<(), Refusal> {
    app.store.record(act(app, by, about, note)).await.map_err(failed)
}

/// Every route. Health and metrics need no token.
pub fn routes(shared: Arc<Shared>, token: String) -> Router {
    let guarded = Router::new()
        .route("/admin/payments/{id}", get(payment))
        .route("/admin/payments/{id}/orders", get(orders::show))
        .route("/admin/payments/{id}/vectors", get(plugins::vectors))
        .route("/admin/payments/{id}/sweep", post(sweep))
        .route("/admin/unknowns", get(unknowns))
        .route("/admin/webhooks", get(books::webhooks))
        .route("/admin/webhooks/{id}/remove", post(books::remove_webhook))
        .route("/admin/tasks", get(tasks))
        .route("/admin/tasks/{id}/resolve", post(resolve))
        .route("/admin/keys", post(keys::create).get(keys::list))
        .route("/admin/keys/{id}/revoke", post(keys::revoke))
        .route("/admin/ledger/check", get(books::check))
        .route("/admin/audit/verify", get(books::verify))
        .route("/admin/audit/acts", get(books::acts))
        .route(
            "/admin/reports/{channel}",
            post(reports::take).layer(DefaultBodyLimit::max(reports::REPORT_MAX)),
        )
        .route("/admin/unsettled", get(reports::unsettled))
        .route("/admin/transit", get(reports::transit))
        .route("/admin/breaks", get(reports::breaks))
        .route("/admin/breaks/{number}/give", post(reports::give))
        .route("/admin/breaks/{number}/close", post(reports::close))
        .route("/admin/plugins", get(plugins::list))
        .route("/admin/plugins/top", get(plugins::top))
        .route("/admin/plugins/{adapter}/history", get(plugins::history))
        .route("/admin/plugins/{adapter}/rollback", post(plugins::roll_back))
        .route(
            "/admin/plugins/{adapter}/versions",
            post(plugins::stage).layer(DefaultBodyLimit::max(plugins::UPLOAD_MAX)),
        )
        .route("/admin/plugins/{adapter}/versions/{digest}", get(plugins::inspect))
        .route(
            "/admin/plugins/{adapter}/versions/{digest}/replay",
            post(plugins::replay),
        )
        .route("/admin/plugins/{adapter}/versions/{digest}/{step}", post(plugins::step))
        .route("/admin/channels/stopped", get(plugins::stopped))
        .route("/admin/channels/health", get(self::routes::health))
        .route(
            "/admin/routes/{merchant}/{mode}",
            post(self::routes::put).get(self::routes::list),
        )
        .route("/admin/routes/{merchant}/{mode}/replay", post(self::routes::replay))
        .route("/admin/cards/{payment}/unblock", post(self::routes::unblock))
        .route("/admin/channels/{channel}/{switch}", post(plugins::switch))
        .route("/admin/approvals", get(approvals::list))
        .route("/admin/approvals/{merchant}/{mode}", post(approvals::set))
        .route("/admin/approvals/{merchant}/{mode}/lift", post(approvals::lift))
        .route("/admin/approvals/{merchant}/{mode}/invite", post(approvals::invite))
        .route("/admin/approvals/{merchant}/{mode}/confirm", post(approvals::confirm))
        .route("/admin/approvals/{merchant}/{mode}/remove", post(approvals::remove))
        .route("/admin/backup", post(backup))
        .layer(axum::middleware::from_fn(move |request: Request, next: Next| {
            let wanted = format!("Bearer {token}");
            async move {
                let given = request
                    .headers()
                    .get(header::AUTHORIZATION)
                    .map(|value| value.as_bytes().to_vec());
                if given.as_deref() == Some(wanted.as_bytes()) {
                    next.run(request).await
                } else {
                    refuse(StatusCode::UNAUTHORIZED, "send the token of admin.token").into_response()
                }
            }
        }));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(books::metrics))
        .merge(guarded)
        .with_state(shared)
}

async fn ready(State(shared): App) -> Response {
    if shared.is_ready.load(Ordering::SeqCst) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

/// Of a payment, or of a payout.
fn payment_id(id: &str) -> Result<PaymentId, Refusal> {
    let as_payout = || id.parse().map(PayoutId::payment).ok();
    let parsed: Result<PaymentId, _> = id.parse();
    parsed.or_else(|error| as_payout().ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("{id} {error}"))))
}

async fn payment(State(shared): App, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = payment_id(&id)?;
    let app = &shared.app;
    let found = app
        .store
        .payment(id)
        .map_err(failed)?
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, "no such payment"))?;
    let operations = app.library.operations(id).map_err(failed)?;
    let entries = app.library.entries(id).map_err(failed)?;
    let page = Page {
        merchant: found.payment.merchant.clone(),
        mode: found.payment.mode,
        limit: 1_000,
        after: None,
        before: None,
        created_gte_ms: None,
    };
    let mut events = app.library.events(&page, Some(id)).map_err(failed)?;
    events.reverse();
    let operations = operations.iter().map(|journaled| {
        let (operation, exchanges) = journaled.as_ref();
        json!({
            "id": operation.id.to_string(), "kind": operation.kind.as_str(), "channel": operation.channel.as_str(),
            "adapter": operation.adapter, "progress": operation.progress.as_str(), "checks": operation.checks,
            "keys": operation.context.keys.first(), "started_ms": operation.started_ms,
            "exchanges": exchanges.iter().map(exchange_json).collect::<Vec<_>>(),
        })
    });
    let now_ms = app.ambient.now_ms();
    let timers = found.payment.timers.iter().map(|it| {
        json!({
            "kind": it.kind.as_str(), "operation": it.operation.to_string(),
            "in_s": it.due_ms.saturating_sub(now_ms).div_ceil(1_000),
        })
    });
    Ok(Json(json!({
        "payment": PaymentView::of(&found.payment),
        "timers": timers.collect::<Vec<_>>(),
        "payout": PayoutView::of(&found.payment),
        "version": found.version,
        "operations": operations.collect::<Vec<_>>(),
        "entries": entries.iter().map(books::entry_json).collect::<Vec<_>>(),
        "events": events.iter().map(EventView::of).collect::<Vec<_>>(),
    })))
}

fn exchange_json(exchange: &Exchange) -> Value {
    let request = &exchange.request;
    let text = |body: &portolan_domain::exchange::Body| String::from_utf8_lossy(body.as_bytes()).into_owned();
    let answer = exchange.answer.as_ref().map(|answer| match &answer.reply {
        Reply::Response(response) => {
            json!({ "at_ms": answer.at_ms, "status": response.status, "body": text(&response.body) })
        }
        Reply::NotSent(why) => json!({ "at_ms": answer.at_ms, "not_sent": why }),
        Reply::Unknown(why) => json!({ "at_ms": answer.at_ms, "unknown": why }),
    });
    json!({
        "run": exchange.run, "endpoint": request.endpoint, "method": request.method, "path": request.path,
        "effect": format!("{:?}", request.effect).to_lowercase(), "body": text(&request.body), "answer": answer,
    })
}

fn task_json(task: &Task, now_ms: u64) -> Value {
    let allowed = task
        .kind
        .resolutions()
        .iter()
        .map(|(it, posts)| json!({ "resolution": it.as_str(), "postings": posts }));
    json!({
        "id": task.id.to_string(), "kind": task.kind.as_str(), "owner": if task.for_human { "operator" } else { "router" },
        "merchant": task.merchant.as_str(), "mode": task.mode.as_str(), "payment": task.payment.to_string(),
        "operation": task.operation.to_string(), "exposure": task.exposure.to_string(),
        "age_s": now_ms.saturating_sub(task.opened_ms) / 1_000, "allowed": allowed.collect::<Vec<_>>(),
        "proposed": task.proposed.as_ref().map(|it| json!({
            "by": it.by, "resolution": it.resolution.as_str(), "reference": it.reference, "at_ms": it.at_ms,
        })),
        "closed": task.closed.as_ref().map(|closed| json!({ "at_ms": closed.at_ms, "by": closed.by, "how": closed.how })),
    })
}

async fn tasks(
    State(shared): App,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
) -> Result<Json<Value>, Refusal> {
    let also_closed = query.as_deref() == Some("closed=true");
    let now_ms = shared.app.ambient.now_ms();
    let tasks = shared.app.library.tasks(also_closed).map_err(failed)?;
    Ok(Json(
        json!({ "tasks": tasks.iter().map(|task| task_json(task, now_ms)).collect::<Vec<_>>() }),
    ))
}

/// What happens next to an operation that nobody knows about: the router's own question, or nothing before a human decides.
fn next_step(found: Option<&Versioned>, operation: OperationId, now_ms: u64) -> String {
    let timers = found.map_or(&[][..], |found| found.payment.timers.as_slice());
    let check = timers
        .iter()
        .find(|it| it.kind == TimerKind::Check && it.operation == operation);
    match check {
        Some(timer) => {
            let seconds = timer.due_ms.saturating_sub(now_ms).div_ceil(1_000);
            format!("the router asks the provider again in {seconds} s; a human may decide before: tasks resolve")
        }
        None => "the call is under way".into(),
    }
}

async fn unknowns(State(shared): App) -> Result<Json<Value>, Refusal> {
    let store = &shared.app.store;
    let now_ms = shared.app.ambient.now_ms();
    let mut unknowns = vec![];
    for id in store.open_operations().map_err(failed)? {
        let Some(found) = store.operation(id).map_err(failed)? else {
            continue;
        };
        let operation = &found.0;
        unknowns.push(json!({
            "operation": id.to_string(), "kind": operation.kind.as_str(), "payment": operation.payment.to_string(),
            "progress": operation.progress.as_str(), "checks": operation.checks, "exposure": operation.amount.to_string(),
            "age_s": now_ms.saturating_sub(operation.started_ms) / 1_000,
            "next": next_step(store.payment(operation.payment).map_err(failed)?.as_ref(), operation.id, now_ms),
        }));
    }
    Ok(Json(json!({ "unknowns": unknowns })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    resolution: String,
    by: String,
    reason: String,
    reference: Option<String>,
}

async fn resolve(State(shared): App, Path(id): Path<String>, body: Bytes) -> Result<Json<Value>, Refusal> {
    let bad = |error: &dyn std::fmt::Display| refuse(StatusCode::UNPROCESSABLE_ENTITY, error);
    let ask: Resolve = serde_json::from_slice(&body).map_err(|error| bad(&error))?;
    let id: TaskId = id
        .parse()
        .map_err(|error| refuse(StatusCode::NOT_FOUND, format!("{id} {error}")))?;
    if ask.reason.trim().is_empty() || ask.by.trim().is_empty() {
        return Err(bad(&"by and reason must say who decided and why"));
    }
    let resolution = Resolution::parse(&ask.resolution).ok_or_else(|| bad(&"no such resolution"))?;
    let engine = &shared.app.engine;
    let decided = engine
        .resolve_task(id, resolution, (&ask.by, &ask.reason), ask.reference)
        .await
        .map_err(|error| bad(&error))?;
    let how = format!("{}: {}", ask.resolution, ask.reason);
    let (verb, answer) = match decided {
        Decided::Done => ("task.resolve", json!({ "resolved": id.to_string() })),
        Decided::Proposed => (
            "task.propose",
            json!({ "proposed": id.to_string(), "next": "a second person decides the same: so much takes two" }),
        ),
    };
    note(&shared.app, &ask.by, (verb, &id.to_string()), &how).await?;
    Ok(Json(answer))
}

/// Who decided something, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    by: String,
    reason: String,
}

impl Word {
    fn check(&self) -> Result<(), Refusal> {
        match self.by.trim().is_empty() || self.reason.trim().is_empty() {
            true => Err(refuse(
                StatusCode::UNPROCESSABLE_ENTITY,
                "by and reason must say who decided and why",
            )),
            false => Ok(()),
        }
    }
}

/// Brings what came to a payment's own address to where payouts are made from.
async fn sweep(State(shared): App, Path(id): Path<String>, body: Bytes) -> Result<Json<Value>, Refusal> {
    let bad = |error: &dyn std::fmt::Display| refuse(StatusCode::UNPROCESSABLE_ENTITY, error);
    let ask: Word = serde_json::from_slice(&body).map_err(|error| bad(&error))?;
    ask.check()?;
    let not_found = || refuse(StatusCode::NOT_FOUND, format!("there is no payment {id}"));
    let payment: PaymentId = id.parse().map_err(|_| not_found())?;
    if shared.app.store.payment(payment).map_err(failed)?.is_none() {
        return Err(not_found());
    }
    note(&shared.app, &ask.by, ("payment.sweep", &id), &ask.reason).await?;
    let swept = shared.app.engine.sweep(payment).await.map_err(|error| bad(&error))?;
    let last = swept.payment.follow_ups.iter().rev().find(|it| it.kind == Kind::Sweep);
    Ok(Json(json!({
        "payment": id, "status": last.map(|it| it.status.as_str()), "reference": last.and_then(|it| it.reference.as_deref()),
        "failure": last.and_then(|it| it.failure.as_deref()),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    to: PathBuf,
}

async fn backup(State(shared): App, body: Bytes) -> Result<Json<Value>, Refusal> {
    let ask: Backup = serde_json::from_slice(&body).map_err(|error| refuse(StatusCode::UNPROCESSABLE_ENTITY, error))?;
    let record = shared.app.record.clone();
    let to = ask.to.clone();
    let copied = tokio::task::spawn_blocking(move || record.backup(&to))
        .await
        .map_err(failed)?;
    copied.map_err(|error| refuse(StatusCode::UNPROCESSABLE_ENTITY, error))?;
    note(
        &shared.app,
        OPERATOR,
        ("store.backup", &ask.to.display().to_string()),
        "",
    )
    .await?;
    Ok(Json(json!({ "written": ask.to })))
}
