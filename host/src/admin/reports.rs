//! Providers' reports, and what no report has settled yet.

use super::{OPERATOR, Refusal, failed, note, refuse};
use crate::server::Shared;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use portolan_domain::ids::Name;
use portolan_domain::ports::ReadError;
use portolan_domain::settlement;
use portolan_engine::EngineError;
use serde_json::{Value, json};
use std::sync::Arc;

/// The largest report.
pub const REPORT_MAX: usize = 64 * 1024 * 1024;
/// Breaks in one answer; all of them are in the audit chain.
const BREAKS_SHOWN: usize = 1_000;
/// Payments in one list of what is not settled.
const UNSETTLED_SHOWN: usize = 1_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// `POST /admin/reports/{channel}`: the report's bytes. Taken again, it changes nothing.
pub async fn take(
    State(shared): State<Arc<Shared>>,
    Path(channel): Path<String>,
    report: Bytes,
) -> Result<Json<Value>, Refusal> {
    let no_channel = || refuse(StatusCode::NOT_FOUND, format!("no channel {channel:?}"));
    let id = Name::parse(&channel).ok_or_else(no_channel)?;
    let reconciled = shared.app.engine.reconcile(&id, &report).await;
    let reconciled = reconciled.map_err(|error| match error {
        EngineError::Channel(fault) => refuse(StatusCode::UNPROCESSABLE_ENTITY, format!("the report: {fault}")),
        other => failed(other),
    })?;
    let breaks: Vec<Value> = reconciled
        .breaks
        .iter()
        .map(|(line, broken)| {
            json!({
                "kind": broken.kind.as_str(), "why": broken.why, "line": line.kind, "reference": line.reference,
                "key": line.key, "batch": line.batch, "gross": line.gross.to_string(),
            })
        })
        .collect();
    for broken in &breaks {
        let reference = broken.get("reference").and_then(Value::as_str).unwrap_or_default();
        note(&shared.app, OPERATOR, ("report.break", reference), &broken.to_string()).await?;
    }
    let (matched, repeated) = (reconciled.matched, reconciled.repeated);
    let how = format!("{matched} matched, {repeated} repeated, {} breaks", breaks.len());
    note(&shared.app, OPERATOR, ("report.take", &channel), &how).await?;
    let shown: Vec<_> = breaks.into_iter().take(BREAKS_SHOWN).collect();
    Ok(Json(
        json!({ "matched": matched, "repeated": repeated, "breaks": shown }),
    ))
}

/// `GET /admin/unsettled`: what was taken and no report has named, the oldest first, with its age.
pub async fn unsettled(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Refusal> {
    // It reads every payment: not on a thread that serves others.
    let listed = tokio::task::spawn_blocking(move || list_unsettled(&shared)).await;
    let open = listed.map_err(failed)?.map_err(failed)?;
    Ok(Json(json!({ "unsettled": open })))
}

fn list_unsettled(shared: &Shared) -> Result<Vec<Value>, ReadError> {
    let now_ms = shared.app.ambient.now_ms();
    let mut open = vec![];
    shared.app.library.each_payment(&mut |found| {
        let payment = found.payment;
        if let Some((attempt, left)) = settlement::unsettled(&payment).filter(|_| open.len() < UNSETTLED_SHOWN) {
            open.push(json!({
                "payment": payment.id.to_string(), "channel": attempt.channel.as_str(), "reference": attempt.reference,
                "captured": payment.captured.to_string(), "unsettled": left.to_string(),
                "age_days": now_ms.saturating_sub(payment.created_ms) / DAY_MS,
            }));
        }
    })?;
    Ok(open)
}
