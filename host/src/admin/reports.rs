//! Providers' reports, their breaks, and what no report has settled yet.

use super::{OPERATOR, Refusal, act, failed, note, refuse};
use crate::server::Shared;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use portolan_domain::ids::{ChannelId, Name};
use portolan_domain::ports::ReadError;
use portolan_domain::settlement::{self, BatchLine, Break, ReportLine};
use portolan_engine::EngineError;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest report.
pub const REPORT_MAX: usize = 64 * 1024 * 1024;
/// Breaks in one answer; all that were ever found are in the audit chain.
const BREAKS_SHOWN: usize = 1_000;
/// Payments in one list of what is not settled.
const UNSETTLED_SHOWN: usize = 1_000;
/// Lines of batches that are on their way, in one answer.
const TRANSIT_LINES: usize = 10_000;
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
        .map(|(line, broken)| break_json(line, broken))
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

fn break_json(line: &ReportLine, broken: &Break) -> Value {
    json!({
        "kind": broken.kind.as_str(), "why": broken.why, "line": line.kind, "reference": line.reference,
        "key": line.key, "batch": line.batch, "gross": line.gross.to_string(),
    })
}

/// `GET /admin/breaks`: what no report has mended and nobody has closed, the oldest first, with its age and owner.
pub async fn breaks(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Refusal> {
    let now_ms = shared.app.ambient.now_ms();
    let open = shared.app.library.breaks(0, BREAKS_SHOWN).map_err(failed)?;
    let shown = open.iter().map(|(number, open)| {
        let mut shown = break_json(&open.line, &open.found);
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("id".into(), json!(number));
            fields.insert("channel".into(), json!(open.channel.as_str()));
            fields.insert("owner".into(), json!(open.owner));
            fields.insert("age_s".into(), json!(now_ms.saturating_sub(open.opened_ms) / 1_000));
        }
        shown
    });
    Ok(Json(json!({ "breaks": shown.collect::<Vec<_>>() })))
}

/// Who does something about a break, and what or why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Give {
    owner: String,
    by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    by: String,
    reason: String,
}

fn words<'a, T: Deserialize<'a>>(body: &'a [u8], of: impl Fn(&T) -> [&str; 2]) -> Result<T, Refusal> {
    let bad = |error: &dyn std::fmt::Display| refuse(StatusCode::UNPROCESSABLE_ENTITY, error);
    let read: T = serde_json::from_slice(body).map_err(|error| bad(&error))?;
    if of(&read).iter().any(|word| word.trim().is_empty()) {
        return Err(bad(&"say who does it, and for whom or why"));
    }
    Ok(read)
}

/// `POST /admin/breaks/{id}/give`: somebody looks after it from now on.
pub async fn give(
    State(shared): State<Arc<Shared>>,
    Path(number): Path<u64>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let ask: Give = words(&body, |ask: &Give| [&ask.owner, &ask.by])?;
    let line = line_of(&shared, number)?;
    let act = act(&shared.app, &ask.by, ("break.give", &line), &ask.owner);
    let given = shared.app.store.give_break(number, &ask.owner, act).await;
    done(given.map_err(failed)?, number)
}

/// `POST /admin/breaks/{id}/close`: it is settled by another way, or was none.
pub async fn close(
    State(shared): State<Arc<Shared>>,
    Path(number): Path<u64>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let ask: Close = words(&body, |ask: &Close| [&ask.reason, &ask.by])?;
    let line = line_of(&shared, number)?;
    let act = act(&shared.app, &ask.by, ("break.close", &line), &ask.reason);
    let closed = shared.app.store.close_break(number, act).await;
    done(closed.map_err(failed)?, number)
}

/// The line that the break is about, for the audit chain: its number says nothing once it is closed.
fn line_of(shared: &Shared, number: u64) -> Result<String, Refusal> {
    let found = shared.app.library.breaks(number, 1).map_err(failed)?;
    let found = found.into_iter().find(|(known, _)| *known == number);
    let (_, found) = found.ok_or_else(|| no_break(number))?;
    Ok(format!("{} {}", found.channel, found.line.event()))
}

fn no_break(number: u64) -> Refusal {
    refuse(StatusCode::NOT_FOUND, format!("no open break {number}"))
}

fn done(is_done: bool, number: u64) -> Result<Json<Value>, Refusal> {
    match is_done {
        true => Ok(Json(json!({ "break": number }))),
        // Another hand was quicker.
        false => Err(no_break(number)),
    }
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

/// `GET /admin/transit`: batches that channels settled and no bank's statement has shown, the oldest first, with their age.
pub async fn transit(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Refusal> {
    let now_ms = shared.app.ambient.now_ms();
    let lines = shared.app.library.in_transit(TRANSIT_LINES).map_err(failed)?;
    let is_cut = lines.len() == TRANSIT_LINES;
    let mut batches: BTreeMap<(ChannelId, String), Vec<BatchLine>> = BTreeMap::new();
    for line in lines {
        let of = (line.channel.clone(), line.batch.clone());
        batches.entry(of).or_default().push(line);
    }
    let mut batches: Vec<Vec<BatchLine>> = batches.into_values().collect();
    let since = |of: &Vec<BatchLine>| of.first().map_or(0, |line| line.at_ms);
    batches.sort_by_key(since);
    let shown = batches.iter().filter_map(|of| {
        let first = of.first()?;
        let sum = settlement::sum_of(of).map(|(sum, is_credit)| (sum.to_string(), is_credit));
        let (amount, is_credit) = sum.unwrap_or_default();
        Some(json!({
            "channel": first.channel.as_str(), "batch": first.batch, "lines": of.len(), "amount": amount,
            "comes": is_credit, "age_days": now_ms.saturating_sub(first.at_ms) / DAY_MS,
        }))
    });
    Ok(Json(json!({ "batches": shown.collect::<Vec<_>>(), "is_cut": is_cut })))
}
