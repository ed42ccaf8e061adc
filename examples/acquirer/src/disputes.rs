//! Disputes, as payers' banks raise them: told by whoever tries the router on, then shown, notified and settled like the rest.

#![expect(
    clippy::result_large_err,
    reason = "handlers answer with a whole response in either case"
)]

use crate::charge::Dispute;
use crate::http::{Shared, parse, problem};
use crate::notify;
use crate::record::Record;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use portolan_simulator::now_ms;
use serde::Deserialize;

/// How long a merchant has to answer.
const DUE_MS: u64 = 20 * 24 * 60 * 60 * 1_000;
/// What a dispute costs, in minor units.
const FEE: u64 = 1_500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    charge: String,
    amount: u64,
    status: String,
    /// Whether nobody is notified.
    #[serde(default)]
    silent: bool,
    /// Whether it shows in the report alone.
    #[serde(default)]
    hidden: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    status: String,
}

fn check_status(status: &str) -> Result<(), Response> {
    match status {
        "inquiry" | "needs_response" | "under_review" | "won" | "lost" => Ok(()),
        _ => Err(problem(StatusCode::BAD_REQUEST, "status", "no such status")),
    }
}

fn is_taken(status: &str) -> bool {
    matches!(status, "needs_response" | "under_review" | "lost")
}

/// `POST /disputes`.
pub async fn open(State(acquirer): Shared, body: Bytes) -> Result<Response, Response> {
    let new: New = parse(&body)?;
    check_status(&new.status)?;
    let dispute = Dispute {
        id: acquirer.id("dp"),
        amount: new.amount,
        reason: "fraudulent".into(),
        network_code: "10.4".into(),
        was_taken: is_taken(&new.status),
        status: if new.hidden {
            format!("hidden {}", new.status)
        } else {
            new.status
        },
        due_ms: now_ms().saturating_add(DUE_MS),
    };
    put(&acquirer, &new.charge, dispute.clone(), new.silent || new.hidden)?;
    Ok(axum::Json(dispute).into_response())
}

/// `POST /disputes/{id}`.
pub async fn change(State(acquirer): Shared, Path(id): Path<String>, body: Bytes) -> Result<Response, Response> {
    let change: Change = parse(&body)?;
    check_status(&change.status)?;
    let found = {
        let record = acquirer.record();
        let mut charges = record.charges.values();
        charges.find_map(|charge| {
            let dispute = charge.disputes.iter().find(|it| it.id == id)?;
            Some((charge.id.clone(), dispute.clone()))
        })
    };
    let (charge, dispute) = found.ok_or_else(|| problem(StatusCode::NOT_FOUND, "id", "no such dispute"))?;
    let dispute = Dispute {
        was_taken: dispute.was_taken || is_taken(&change.status),
        status: change.status,
        ..dispute
    };
    put(&acquirer, &charge, dispute.clone(), false)?;
    Ok(axum::Json(dispute).into_response())
}

fn put(acquirer: &crate::http::Acquirer, charge: &str, dispute: Dispute, silent: bool) -> Result<(), Response> {
    let mut record = acquirer.record();
    let found = record.charges.get(charge).cloned();
    let mut charge = found.ok_or_else(|| problem(StatusCode::NOT_FOUND, "charge", "no such charge"))?;
    if dispute.amount == 0 || dispute.amount > charge.captured {
        return Err(problem(StatusCode::BAD_REQUEST, "amount", "more than was captured"));
    }
    charge.disputes.retain(|it| it.id != dispute.id);
    charge.disputes.push(dispute.clone());
    let written = record.put_charge(charge.clone());
    written.map_err(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, "record", &error.to_string()))?;
    if let Some(key) = acquirer.notify_key().filter(|_| !silent) {
        let event = acquirer.id("ev");
        tokio::spawn(notify::send_dispute(charge, dispute, event, key));
    }
    Ok(())
}

/// The report's lines: what was taken, with what it costs, and what was given back.
pub fn report(record: &Record) -> String {
    let mut lines = vec![];
    for charge in record.charges.values() {
        let row = |kind: &str, it: &Dispute, sign: &str, fee: u64| {
            let net = it.amount.saturating_add(fee);
            format!(
                "batch-1,{kind},{},{},{},{sign}{},{fee},{sign}{net},2026-11-27\n",
                it.id, charge.key, charge.currency, it.amount
            )
        };
        for dispute in charge.disputes.iter().filter(|it| it.was_taken) {
            lines.push(row("chargeback", dispute, "-", FEE));
            if dispute.status == "won" {
                lines.push(row("chargeback_reversal", dispute, "", 0));
            }
        }
    }
    lines.sort();
    lines.concat()
}
