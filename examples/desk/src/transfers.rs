//! Transfers to bank accounts: taken, processed, paid, or failed, or sent back after they were paid; each change is told.

use crate::books::Transfer;
use crate::fault::{self, Fault};
use crate::fx::{ByRequest, NEVER, Page};
use crate::http::{Desk, Shared, decimal, minor, number, parse, problem, time_text};
use crate::rates;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use portolan_simulator::notify::{self, hmac_hex};
use portolan_simulator::{dropped, now_ms};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTransfer {
    request_id: String,
    source_currency: String,
    transfer_currency: String,
    transfer_amount: Box<RawValue>,
    transfer_method: String,
    reason: String,
    reference: String,
    fee_paid_by: String,
    #[serde(default)]
    swift_charge_option: Option<String>,
    beneficiary: Beneficiary,
    #[serde(default)]
    metadata: Value,
}

#[derive(Deserialize, Serialize, Clone)]
#[serde(deny_unknown_fields)]
struct Beneficiary {
    #[serde(rename = "type")]
    kind: String,
    entity_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    company_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Address>,
    bank_details: Bank,
}

#[derive(Deserialize, Serialize, Clone)]
#[serde(deny_unknown_fields)]
struct Address {
    country_code: String,
    street_address: String,
    city: Option<String>,
    postcode: Option<String>,
}

#[derive(Deserialize, Serialize, Clone)]
#[serde(deny_unknown_fields)]
struct Bank {
    account_currency: String,
    account_name: String,
    bank_country_code: String,
    account_number: Option<String>,
    iban: Option<String>,
    account_routing_type1: Option<String>,
    account_routing_value1: Option<String>,
    bank_account_category: Option<String>,
}

/// `POST /api/v1/transfers/create`.
pub async fn create(State(desk): Shared, headers: HeaderMap, body: Bytes) -> Result<Response, Response> {
    desk.authenticate(&headers)?;
    let new: NewTransfer = parse(&body)?;
    check(&new)?;
    let (transfer, fault) = take(&desk, new)?;
    tell(&desk, &transfer);
    match fault {
        Fault::TimeoutThenSuccess => {
            tokio::time::sleep(NEVER).await;
            Ok(dropped())
        }
        Fault::ErrorAfterEffect => Ok(problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "-",
            "scripted, after the effect",
        )),
        _ => Ok((StatusCode::CREATED, axum::Json(TransferView::of(&transfer))).into_response()),
    }
}

fn check(new: &NewTransfer) -> Result<(), Response> {
    let bad = |source: &str, why: &str| Err(problem(StatusCode::BAD_REQUEST, "validation_failed", source, why));
    let bank = &new.beneficiary.bank_details;
    let is_person = new.beneficiary.entity_type == "PERSONAL" && new.beneficiary.last_name.is_some();
    let is_company = new.beneficiary.entity_type == "COMPANY" && new.beneficiary.company_name.is_some();
    if !(10..=50).contains(&new.request_id.len()) {
        bad("request_id", "10 to 50 characters")
    } else if new.source_currency != new.transfer_currency {
        bad("source_currency", "this desk transfers what it holds: convert first")
    } else if !matches!(new.transfer_method.as_str(), "LOCAL" | "SWIFT") {
        bad("transfer_method", "LOCAL or SWIFT")
    } else if new.swift_charge_option.is_some() && new.transfer_method != "SWIFT" {
        bad("swift_charge_option", "for SWIFT only")
    } else if !matches!(new.fee_paid_by.as_str(), "PAYER" | "BENEFICIARY") {
        bad("fee_paid_by", "PAYER or BENEFICIARY")
    } else if new.reference.is_empty() || new.reference.len() > 140 {
        bad("reference", "1 to 140 characters")
    } else if new.beneficiary.kind != "BANK_ACCOUNT" || !(is_person || is_company) {
        bad(
            "beneficiary",
            "a bank account of a person with a last name, or of a company with its name",
        )
    } else if bank.account_currency != new.transfer_currency || bank.account_name.is_empty() {
        bad(
            "beneficiary.bank_details",
            "account_name, and account_currency as the transfer's",
        )
    } else if bank.iban.is_none() && (bank.account_number.is_none() || bank.account_routing_value1.is_none()) {
        bad("beneficiary.bank_details", "an iban, or account_number and routing")
    } else {
        Ok(())
    }
}

fn take(desk: &Desk, new: NewTransfer) -> Result<(Transfer, Fault), Response> {
    let mut books = desk.books();
    if let Some(known) = books.transfers.get(&new.request_id) {
        let body = json!({
            "code": "duplicate_request_id", "source": "request_id",
            "details": { "id": known.id, "request_id": known.request_id },
            "message": format!("The request ID {} has been used for a transfer with the transfer ID {} before.", known.request_id, known.id),
        });
        return Err((StatusCode::BAD_REQUEST, axum::Json(body)).into_response());
    }
    let amount = decimal(&new.transfer_amount)?;
    let decimals = rates::decimals(&new.transfer_currency);
    let unsupported = || {
        problem(
            StatusCode::BAD_REQUEST,
            "unsupported_currency",
            "transfer_currency",
            "not here",
        )
    };
    let fault = fault::of_amount(minor(amount, decimals.ok_or_else(unsupported)?));
    match fault {
        Fault::ErrorWithoutEffect => {
            return Err(problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "-",
                "scripted, without effect",
            ));
        }
        Fault::InsufficientFunds => {
            return Err(problem(
                StatusCode::BAD_REQUEST,
                "insufficient_funds",
                "transfer_amount",
                "the wallet holds too little",
            ));
        }
        _ => {}
    }
    let now = now_ms();
    let (statuses, failure) = course(fault, now, desk.options.pays_after_ms);
    let transfer = Transfer {
        id: desk.id(),
        request_id: new.request_id,
        currency: new.transfer_currency,
        amount,
        method: new.transfer_method,
        reference: new.reference,
        reason: new.reason,
        fee_paid_by: new.fee_paid_by,
        beneficiary: serde_json::to_value(&new.beneficiary).unwrap_or_default(),
        metadata: new.metadata,
        failure,
        created_ms: now,
        statuses,
    };
    let written = books.put_transfer(transfer.clone());
    written.map_err(|error| {
        problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "record",
            &error.to_string(),
        )
    })?;
    Ok((transfer, fault))
}

type Course = (Vec<(u64, String)>, Option<(String, String)>);

/// What becomes of a transfer, and when.
fn course(fault: Fault, now: u64, pays_after_ms: u64) -> Course {
    let at = |after: u64, status: &str| (now.saturating_add(after), status.to_owned());
    let mut statuses = vec![
        at(0, "SCHEDULED"),
        at(pays_after_ms / 4, "PROCESSING"),
        at(pays_after_ms / 2, "SENT"),
    ];
    let failure = match fault {
        Fault::AccountClosed => {
            statuses.push(at(pays_after_ms, "CANCELLED"));
            Some(("90701".to_owned(), "Account closed".to_owned()))
        }
        Fault::ReturnedAfterPaid => {
            statuses.push(at(pays_after_ms, "PAID"));
            statuses.push(at(pays_after_ms.saturating_mul(5), "CANCELLED"));
            Some(("90802".to_owned(), "Returned by the beneficiary bank".to_owned()))
        }
        Fault::NeverPaid => None,
        _ => {
            statuses.push(at(pays_after_ms, "PAID"));
            None
        }
    };
    (statuses, failure)
}

/// Tells the router of every change, when it happens.
fn tell(desk: &Arc<Desk>, transfer: &Transfer) {
    let Some(url) = desk.options.webhook_url.clone().filter(|_| !desk.options.silent) else {
        return;
    };
    let (transfer, secret) = (transfer.clone(), desk.options.webhook_secret.clone());
    tokio::spawn(async move {
        for (at_ms, status) in transfer.statuses.clone() {
            tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms()))).await;
            let body = json!({
                "id": format!("evt_{}_{}", transfer.id, status.to_ascii_lowercase()),
                "name": format!("payout.transfer.{}", status.to_ascii_lowercase()), "account_id": "acct_desk",
                "data": TransferView::of(&transfer), "created_at": time_text(at_ms), "version": "2025-06-30",
            });
            let body = body.to_string();
            notify::send(&url, &body, || {
                let time = now_ms().to_string();
                let signature = hmac_hex(&secret, format!("{time}{body}").as_bytes());
                vec![("x-timestamp".into(), time), ("x-signature".into(), signature)]
            })
            .await;
        }
    });
}

/// `GET /api/v1/transfers/{id}`.
pub async fn show(State(desk): Shared, headers: HeaderMap, Path(id): Path<String>) -> Result<Response, Response> {
    desk.authenticate(&headers)?;
    let books = desk.books();
    let found = books.transfers.values().find(|transfer| transfer.id == id);
    let found = found.ok_or_else(|| problem(StatusCode::NOT_FOUND, "not_found", "id", "no such transfer"))?;
    Ok(axum::Json(TransferView::of(found)).into_response())
}

/// `GET /api/v1/transfers`.
pub async fn list(State(desk): Shared, headers: HeaderMap, Query(by): Query<ByRequest>) -> Result<Response, Response> {
    desk.authenticate(&headers)?;
    let books = desk.books();
    let items: Vec<TransferView<'_>> = books
        .transfers
        .get(&by.request_id)
        .map(TransferView::of)
        .into_iter()
        .collect();
    Ok(axum::Json(Page { items, has_more: false }).into_response())
}

#[derive(Serialize)]
struct TransferView<'a> {
    id: &'a str,
    request_id: &'a str,
    short_reference_id: String,
    status: &'a str,
    source_currency: &'a str,
    transfer_currency: &'a str,
    transfer_amount: Box<RawValue>,
    transfer_method: &'a str,
    fee_amount: Box<RawValue>,
    fee_currency: &'a str,
    fee_paid_by: &'a str,
    beneficiary: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_type: Option<&'a str>,
    reason: &'a str,
    reference: &'a str,
    metadata: &'a Value,
    created_at: String,
    updated_at: String,
}

impl<'a> TransferView<'a> {
    fn of(transfer: &'a Transfer) -> Self {
        let status = transfer.status_at(now_ms());
        let failure = transfer.failure.as_ref().filter(|_| status == "CANCELLED");
        Self {
            id: &transfer.id,
            request_id: &transfer.request_id,
            short_reference_id: format!("P-{}", transfer.id.get(..8).unwrap_or_default()),
            status,
            source_currency: &transfer.currency,
            transfer_currency: &transfer.currency,
            transfer_amount: number(transfer.amount),
            transfer_method: &transfer.method,
            fee_amount: number(0.into()),
            fee_currency: &transfer.currency,
            fee_paid_by: &transfer.fee_paid_by,
            beneficiary: &transfer.beneficiary,
            failure_reason: failure.map(|(_, message)| message.as_str()),
            failure_type: failure.map(|(code, _)| code.as_str()),
            reason: &transfer.reason,
            reference: &transfer.reference,
            metadata: &transfer.metadata,
            created_at: time_text(transfer.created_ms),
            updated_at: time_text(transfer.created_ms),
        }
    }
}
