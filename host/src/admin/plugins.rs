//! Versions of adapters, for operators: stage, inspect, shadow, canary, activate, roll back, retire, reject; what each
//! did. Each step says who does it and may be asked what it would do.

use super::{App, Refusal, failed, refuse};
use crate::plugins::statement::Envelope;
use crate::plugins::{COMPONENT_MAX, Inspection, Order, PluginError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine;
use portolan_channels::Usage;
use portolan_domain::channel::Stop;
use portolan_domain::lifecycle::canary::Tally;
use portolan_domain::lifecycle::{Stage, Step, StepRefusal, Version};
use portolan_domain::ports::CommitError;
use serde::Deserialize;
use serde_json::{Value, json};

/// A component in base64, with its envelope.
pub(super) const UPLOAD_MAX: usize = COMPONENT_MAX / 3 * 4 + 256 * 1024;
/// Operators' acts that are looked through for an adapter's history.
const ACTS_MAX: usize = 100_000;

fn answer(error: PluginError) -> Refusal {
    match error {
        PluginError::Step(StepRefusal::Unknown(..) | StepRefusal::NoAdapter(_)) => refuse(StatusCode::NOT_FOUND, error),
        PluginError::Store(CommitError::VersionConflict) => refuse(StatusCode::CONFLICT, error),
        PluginError::Step(_) | PluginError::Refused { .. } => refuse(StatusCode::UNPROCESSABLE_ENTITY, error),
        PluginError::Store(_) | PluginError::Read(_) | PluginError::File(_) => failed(error),
    }
}

/// Does a step to its end, even if whoever asked for it does not wait: what is written must be done too.
async fn to_its_end<T: Send + 'static>(
    step: impl Future<Output = Result<T, PluginError>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(step).await.map_err(failed)?.map_err(answer)
}

fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| refuse(StatusCode::UNPROCESSABLE_ENTITY, error))
}

fn version_json(version: &Version) -> Value {
    json!({
        "adapter": version.adapter, "digest": version.digest, "name": version.name, "version": version.version,
        "stage": version.stage.as_str(), "share_percent": version.share.map(|share| share.percent),
        "takes_over_after": version.share.and_then(|share| share.takes_over_after),
        "signers": version.signers, "reason": version.reason, "changed_ms": version.changed_ms,
        "activated_ms": version.activated_ms,
    })
}

fn tally_json(tally: &Tally) -> Value {
    json!({
        "payments": tally.concluded, "declined": tally.declined, "unknown": tally.unknown, "faulted": tally.faulted,
        "took_ms": tally.took_ms, "calls": tally.calls, "guest_us": tally.guest_us,
    })
}

fn usage_json(usage: &Usage) -> Value {
    let mean = |sum: u64, of: u64| sum.checked_div(of).unwrap_or(0);
    let faults: serde_json::Map<String, Value> = usage
        .faults
        .iter()
        .map(|(kind, count)| (kind.as_str().to_owned(), json!(count)))
        .collect();
    json!({
        "calls": usage.calls, "us_per_call": mean(usage.guest_us, usage.calls), "guest_us": usage.guest_us,
        "memory_peak_bytes": usage.memory_peak, "faults": faults, "requests": usage.requests, "bytes_out": usage.bytes_out,
        "bytes_in": usage.bytes_in, "provider_us": usage.provider_us,
        "payments": tally_json(&usage.tally),
    })
}

fn versions_json(versions: &[Version], is_dry: bool) -> Json<Value> {
    Json(json!({ "dry_run": is_dry, "changed": versions.iter().map(version_json).collect::<Vec<_>>() }))
}

/// Every version.
pub(super) async fn list(State(shared): App) -> Json<Value> {
    let all = shared.app.plugins.list();
    Json(json!({ "versions": all.iter().map(version_json).collect::<Vec<_>>() }))
}

/// What each did since it was loaded.
pub(super) async fn top(State(shared): App) -> Json<Value> {
    let all = shared.app.plugins.usage();
    let rows = all.iter().filter_map(|(version, usage)| {
        let usage = usage.as_ref()?;
        Some(json!({ "version": version_json(version), "usage": usage_json(usage) }))
    });
    Json(json!({ "versions": rows.collect::<Vec<_>>() }))
}

/// Everything about one.
pub(super) async fn inspect(
    State(shared): App,
    Path((adapter, digest)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let plugins = &shared.app.plugins;
    let found: Inspection = plugins.inspect(&adapter, &digest).map_err(answer)?;
    let described = found.described.as_ref().map(|it| {
        json!({
            "summary": it.summary, "methods": it.methods, "capabilities": it.capabilities, "reads_memo": it.reads_memo,
            "asks": it.asks,
        })
    });
    let fits = found.fits.iter().map(|fit| {
        let open: Vec<Value> = fit
            .not_granted
            .iter()
            .map(|(ask, grant)| json!({ "ask": ask, "grant": grant }))
            .collect();
        json!({
            "channel": fit.channel.as_str(), "fits": fit.problem.is_none(), "problem": fit.problem,
            "not_granted": open, "granted_and_not_asked": fit.not_asked,
        })
    });
    let beside = (found.version.stage == Stage::Canary)
        .then(|| plugins.tallies(&found.version))
        .flatten();
    Ok(Json(json!({
        "version": version_json(&found.version), "says": described, "asks_more_than_active": found.new_asks,
        "channels": fits.collect::<Vec<_>>(), "usage": found.usage.as_ref().map(usage_json),
        "canary": beside.map(|(active, own)| json!({ "active": tally_json(&active), "canary": tally_json(&own) })),
        "shadow": plugins.shadow_report(&found.version), "runs_in": plugins.wall(&adapter).as_str(),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upload {
    component: String,
    envelope: Option<Envelope>,
    #[serde(flatten)]
    order: OrderFields,
}

// `flatten` and unknown fields do not go together, so the fields stand here once more.
#[derive(Deserialize)]
struct OrderFields {
    #[serde(default)]
    by: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    downgrade: bool,
}

/// Takes a component in.
pub(super) async fn stage(
    State(shared): App,
    Path(adapter): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let upload: Upload = parse(&body)?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(&upload.component);
    let component = decoded.map_err(|error| {
        refuse(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("component: no base64: {error}"),
        )
    })?;
    let order = Order {
        by: upload.order.by,
        reason: upload.order.reason,
        dry_run: upload.order.dry_run,
        downgrade: upload.order.downgrade,
        ..Order::default()
    };
    let (plugins, is_dry) = (shared.app.plugins.clone(), order.dry_run);
    let envelope = upload.envelope;
    let staged =
        to_its_end(async move { plugins.stage(&adapter, &component, envelope.as_ref(), &order).await }).await?;
    let (version, proof) = staged;
    Ok(Json(json!({
        "dry_run": is_dry, "changed": [version_json(&version)], "tried_with": proof.as_ref().map(ToString::to_string),
    })))
}

/// One step with one version.
pub(super) async fn step(
    State(shared): App,
    Path((adapter, digest, step)): Path<(String, String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let order: Order = parse(&body)?;
    let step = match step.as_str() {
        "shadow" => Step::Shadow,
        "canary" => Step::Canary,
        "activate" => Step::Activate,
        "retire" => Step::Retire,
        "reject" => Step::Reject,
        other => {
            let known = "shadow, canary, activate, retire, reject";
            return Err(refuse(
                StatusCode::NOT_FOUND,
                format!("no step {other:?}; there are {known}"),
            ));
        }
    };
    let (plugins, is_dry) = (shared.app.plugins.clone(), order.dry_run);
    let changed = to_its_end(async move { plugins.step(&adapter, &digest, step, &order).await }).await?;
    Ok(versions_json(&changed, is_dry))
}

/// Back to what was before.
pub(super) async fn roll_back(
    State(shared): App,
    Path(adapter): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let order: Order = parse(&body)?;
    let (plugins, is_dry) = (shared.app.plugins.clone(), order.dry_run);
    let changed = to_its_end(async move { plugins.roll_back(&adapter, &order).await }).await?;
    Ok(versions_json(&changed, is_dry))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    last: usize,
}

/// A version over the last operations.
pub(super) async fn replay(
    State(shared): App,
    Path((adapter, digest)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let ask: Replay = parse(&body)?;
    let report = shared
        .app
        .plugins
        .replay(&adapter, &digest, ask.last)
        .await
        .map_err(answer)?;
    Ok(Json(json!({ "text": report.text(), "report": report })))
}

/// A payment's operations as test vectors, each with a name for its file.
pub(super) async fn vectors(State(shared): App, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = super::payment_id(&id)?;
    let plugins = &shared.app.plugins;
    let vectors = plugins.vectors(id).map_err(answer)?;
    if vectors.is_empty() {
        return Err(refuse(
            StatusCode::NOT_FOUND,
            "no such payment, or it has no operations yet",
        ));
    }
    let named = (1..).zip(vectors).map(|(n, (channel, vector)): (usize, _)| {
        json!({ "name": format!("{n}-{channel}-{}", vector.function), "vector": vector })
    });
    Ok(Json(json!({ "vectors": named.collect::<Vec<_>>() })))
}

/// Who did what with an adapter's versions, the newest first.
pub(super) async fn history(State(shared): App, Path(adapter): Path<String>) -> Result<Json<Value>, Refusal> {
    let acts = shared.app.library.acts(ACTS_MAX).map_err(failed)?;
    let of = |about: &str| about == adapter || about.strip_prefix(&adapter).is_some_and(|rest| rest.starts_with(' '));
    let acts = acts
        .iter()
        .filter(|act| act.verb.starts_with("plugin.") && of(&act.about))
        .map(|act| json!({ "at_ms": act.at_ms, "by": act.by, "verb": act.verb, "about": act.about, "note": act.note }));
    Ok(Json(json!({ "history": acts.collect::<Vec<_>>() })))
}

fn stops_json(stops: &[Stop]) -> Json<Value> {
    let one = |it: &Stop| json!({ "channel": it.channel.as_str(), "endpoint": it.endpoint, "by": it.by, "reason": it.reason, "at_ms": it.at_ms });
    Json(json!({ "stopped": stops.iter().map(one).collect::<Vec<_>>() }))
}

/// What operators stopped.
pub(super) async fn stopped(State(shared): App) -> Result<Json<Value>, Refusal> {
    Ok(stops_json(&shared.app.plugins.stopped().map_err(answer)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    endpoint: Option<String>,
    by: String,
    reason: String,
}

/// Stops a channel or an endpoint, or lets it go on.
pub(super) async fn switch(
    State(shared): App,
    Path((channel, word)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let ask: Switch = parse(&body)?;
    let is_on = match word.as_str() {
        "stop" => true,
        "start" => false,
        other => {
            return Err(refuse(
                StatusCode::NOT_FOUND,
                format!("{other:?} is neither stop nor start"),
            ));
        }
    };
    if ask.by.trim().is_empty() || ask.reason.trim().is_empty() {
        return Err(refuse(
            StatusCode::UNPROCESSABLE_ENTITY,
            "by and reason must say who decided and why",
        ));
    }
    let order = Order {
        by: ask.by,
        reason: ask.reason,
        ..Order::default()
    };
    let plugins = shared.app.plugins.clone();
    let stopping = async move { plugins.stop((&channel, ask.endpoint.as_deref()), is_on, &order).await };
    let stops = to_its_end(stopping).await?;
    Ok(stops_json(&stops))
}
